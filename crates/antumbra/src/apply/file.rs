//! The configuration file: what it may say, and a named place for everything that is wrong with it.
//!
//! The keys are those that files for the vendor's command line use, so that such a file can be brought along, and a few
//! of ours where those have no word for a thing. A key that neither knows is an error: a setting that was written and
//! has no effect is worse than none.

use std::{collections::BTreeSet, fmt, path::Path};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, DeserializeSeed},
};
use serde_yaml_ng::{Mapping, Value};

use crate::config::Hidden;

mod walk;

use walk::Walk;

/// Everything a configuration file asks for, in the order in which the file says it.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) organization: Option<Organization>,
    pub(crate) api_keys: Vec<ApiKey>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) data_subjects: Vec<DataSubject>,
    pub(crate) actions: Vec<Action>,
    pub(crate) identifiers: Vec<Identifier>,
    pub(crate) enrichers: Vec<Enricher>,
    pub(crate) preference_options: Vec<PreferenceOption>,
    pub(crate) purposes: Vec<Purpose>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) templates: Vec<Template>,
    pub(crate) data_silos: Vec<DataSilo>,
    pub(crate) triggers: Vec<Trigger>,
    /// What the file says and this server has no use for: paths.
    pub(crate) ignored: Vec<String>,
}

impl ConfigFile {
    /// Whether the file says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        let ConfigFile {
            organization,
            api_keys,
            attributes,
            data_subjects,
            actions,
            identifiers,
            enrichers,
            preference_options,
            purposes,
            partitions,
            templates,
            data_silos,
            triggers,
            ignored,
        } = self;
        let said = [
            usize::from(organization.is_some()),
            api_keys.len(),
            attributes.len(),
            data_subjects.len(),
            actions.len(),
            identifiers.len(),
            enrichers.len(),
            preference_options.len(),
            purposes.len(),
            partitions.len(),
            templates.len(),
            data_silos.len(),
            triggers.len(),
            ignored.len(),
        ];
        said.iter().all(|entries| *entries == 0)
    }
}

/// What the organization says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Organization {
    pub(crate) name: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) holidays: Option<Vec<String>>,
    pub(crate) restart_time_limit_days: Option<u16>,
    pub(crate) retention: Option<Retention>,
}

/// What becomes of data subject requests that have been over for long.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Retention {
    pub(crate) kind: String,
    pub(crate) after_days: u16,
}

/// An API key, found by its title.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKey {
    pub(crate) title: String,
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(rename = "data-silos")]
    pub(crate) data_silos: Option<Vec<String>>,
}

/// A label that things can carry, found by its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) description: Option<String>,
    pub(crate) resources: Option<Vec<String>>,
    pub(crate) values: Option<Vec<AttributeValue>>,
}

/// One value of an attribute.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttributeValue {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) color: Option<String>,
}

/// A data subject type, found by its type.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSubject {
    #[serde(rename = "type")]
    pub(crate) slug: String,
    pub(crate) title: Option<String>,
    #[serde(rename = "subjectClass")]
    pub(crate) class: Option<String>,
    pub(crate) active: Option<bool>,
    #[serde(rename = "adminDashboardDefaultSilentMode")]
    pub(crate) silent_by_default: Option<bool>,
    pub(crate) actions: Option<Vec<String>>,
    #[serde(rename = "timesToAnswer")]
    pub(crate) times_to_answer: Option<Vec<TimeToAnswer>>,
}

/// Days in which people are answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeToAnswer {
    /// None for every action that has no entry.
    pub(crate) action: Option<String>,
    pub(crate) days: u16,
}

/// How one action is handled.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Action {
    #[serde(rename = "type")]
    pub(crate) action: String,
    pub(crate) waiting_period: Option<u16>,
    pub(crate) delay: Option<Delay>,
    pub(crate) requires_review: Option<bool>,
    pub(crate) requires_secondary_review: Option<bool>,
    pub(crate) requires_approved_plan: Option<bool>,
    pub(crate) skip_secondary_if_no_files: Option<bool>,
    pub(crate) skip_downloadable_step: Option<bool>,
    pub(crate) download_availability_duration: Option<u16>,
    pub(crate) post_compile_status: Option<String>,
    pub(crate) allow_post_compile_choice: Option<bool>,
    pub(crate) send_receipt_email: Option<bool>,
    pub(crate) expiry_time_regions: Option<Vec<RegionExpiry>>,
    pub(crate) region_detection_method: Option<String>,
    pub(crate) region_list: Option<Vec<String>>,
    pub(crate) region_block_list: Option<Value>,
}

/// The wait between two phases.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Delay {
    pub(crate) time: u16,
    pub(crate) preview_action: String,
}

/// The days that the law of one region allows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegionExpiry {
    /// `default` for the entry that counts where no other does.
    #[serde(default = "default_region")]
    pub(crate) region: String,
    pub(crate) value: u16,
}

fn default_region() -> String {
    "default".to_owned()
}

/// An identifier, found by its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Identifier {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) regex: Option<String>,
    pub(crate) select_options: Option<Vec<String>>,
    pub(crate) privacy_center_visibility: Option<Vec<String>>,
    pub(crate) data_subjects: Option<Vec<String>>,
    pub(crate) is_required_in_form: Option<bool>,
    pub(crate) placeholder: Option<String>,
    pub(crate) display_title: Option<String>,
    pub(crate) display_description: Option<String>,
    pub(crate) validation_error_message: Option<String>,
    pub(crate) display_order: Option<i32>,
    pub(crate) sql_priority: Option<i32>,
    pub(crate) sql_variable: Option<String>,
    pub(crate) sql_lookup_variable: Option<String>,
    pub(crate) is_unique_on_preference_store: Option<bool>,
    pub(crate) is_multi_input: Option<bool>,
}

/// An enricher, found by its title.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enricher {
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) headers: Option<Vec<Header>>,
    #[serde(rename = "input-identifier")]
    pub(crate) input_identifier: Option<String>,
    #[serde(rename = "output-identifiers")]
    pub(crate) output_identifiers: Vec<String>,
    #[serde(rename = "testRegex")]
    pub(crate) test_regex: Option<String>,
    #[serde(rename = "lookerQueryTitle")]
    pub(crate) looker_query_title: Option<String>,
    #[serde(rename = "expirationDuration")]
    pub(crate) expiration_duration: Option<u64>,
    #[serde(rename = "transitionRequestStatus")]
    pub(crate) transition_request_status: Option<String>,
    #[serde(rename = "phoneNumbers")]
    pub(crate) phone_numbers: Option<Vec<String>>,
    #[serde(rename = "regionList")]
    pub(crate) region_list: Option<Vec<String>>,
    #[serde(rename = "data-subjects")]
    pub(crate) data_subjects: Option<Vec<String>>,
    #[serde(rename = "privacy-actions")]
    pub(crate) privacy_actions: Option<Vec<String>>,
    #[serde(rename = "reminderDurations")]
    pub(crate) reminder_durations: Option<Vec<u64>>,
    /// Titles of the enrichers that are to end first.
    #[serde(rename = "depends-on")]
    pub(crate) depends_on: Option<Vec<String>>,
    #[serde(rename = "paused")]
    pub(crate) is_paused: Option<bool>,
    #[serde(rename = "daily-window")]
    pub(crate) daily_window: Option<DailyWindow>,
    /// The title of the template of the messages that ask the data subject to verify an identifier.
    #[serde(rename = "verification-template")]
    pub(crate) verification_template: Option<String>,
    /// The title of the template of the message that tells of the end it has brought upon a request.
    #[serde(rename = "end-template")]
    pub(crate) end_template: Option<String>,
}

/// The part of each day in which an enricher is asked; the same time twice for the whole day.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DailyWindow {
    pub(crate) from: String,
    pub(crate) until: String,
}

/// A header that goes out with a webhook. Its value is never shown, not even in errors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
    #[serde(rename = "isSecret", default)]
    pub(crate) is_secret: bool,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("name", &self.name)
            .field("is_secret", &self.is_secret)
            .finish_non_exhaustive()
    }
}

/// An answer that topics can offer, found by its slug.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreferenceOption {
    pub(crate) title: String,
    pub(crate) slug: Option<String>,
}

/// A purpose, found by its tracking type.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purpose {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    #[serde(rename = "trackingType")]
    pub(crate) tracking_type: String,
    pub(crate) description: Option<String>,
    #[serde(rename = "default-consent")]
    pub(crate) default_consent: Option<String>,
    pub(crate) configurable: Option<bool>,
    #[serde(rename = "show-in-consent-manager")]
    pub(crate) show_in_consent_manager: Option<bool>,
    #[serde(rename = "show-in-privacy-center")]
    pub(crate) show_in_privacy_center: Option<bool>,
    #[serde(rename = "is-active")]
    pub(crate) is_active: Option<bool>,
    #[serde(rename = "display-order")]
    pub(crate) display_order: Option<i32>,
    #[serde(rename = "opt-out-signals")]
    pub(crate) opt_out_signals: Option<Vec<String>>,
    #[serde(rename = "auth-level")]
    pub(crate) auth_level: Option<String>,
    #[serde(rename = "consent-expiry-days")]
    pub(crate) consent_expiry_days: Option<u32>,
    #[serde(rename = "on-consent-expiry")]
    pub(crate) on_consent_expiry: Option<String>,
    #[serde(rename = "preference-topics", default)]
    pub(crate) topics: Vec<Topic>,
}

/// A question under a purpose, found by its slug.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    pub(crate) title: String,
    pub(crate) slug: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) description: Option<String>,
    #[serde(rename = "default-configuration")]
    pub(crate) default_configuration: Option<String>,
    #[serde(rename = "show-in-privacy-center")]
    pub(crate) show_in_privacy_center: Option<bool>,
    #[serde(default)]
    pub(crate) options: Vec<PreferenceOption>,
}

/// A partition, found by its key, or by its name where the file gives none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    pub(crate) name: String,
    pub(crate) partition: Option<String>,
    /// What consent tokens of it are signed with, in base64. Shown nowhere.
    #[serde(rename = "token-secret", skip_serializing)]
    pub(crate) token_secret: Option<Hidden>,
}

/// A template, found by its title.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    pub(crate) title: String,
    pub(crate) kind: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) text: Option<String>,
}

/// A data silo, found by its title.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSilo {
    pub(crate) title: String,
    #[serde(rename = "integrationName")]
    pub(crate) integration_name: String,
    #[serde(rename = "outer-type")]
    pub(crate) outer_type: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) headers: Option<Vec<Header>>,
    #[serde(rename = "api-key-title")]
    pub(crate) api_key_title: Option<String>,
    #[serde(rename = "data-subjects")]
    pub(crate) data_subjects: Option<Vec<String>>,
    #[serde(rename = "identity-keys")]
    pub(crate) identity_keys: Option<Vec<String>>,
    #[serde(rename = "deletion-dependencies")]
    pub(crate) deletion_dependencies: Option<Vec<String>>,
    pub(crate) disabled: Option<bool>,
    /// Ours: left alone until it is resumed.
    pub(crate) paused: Option<bool>,
    /// Ours: asked after an erasure whether anything is left.
    #[serde(rename = "confirm-absence")]
    pub(crate) confirm_absence: Option<bool>,
    pub(crate) country: Option<String>,
    #[serde(rename = "countrySubDivision")]
    pub(crate) country_subdivision: Option<String>,
    #[serde(default)]
    pub(crate) datapoints: Vec<DataPoint>,
    // Known, and of no use to this server yet.
    pub(crate) owners: Option<Value>,
    pub(crate) teams: Option<Value>,
    pub(crate) attributes: Option<Value>,
    #[serde(rename = "email-settings")]
    pub(crate) email_settings: Option<Value>,
}

/// One collection inside a data silo, found by its key and path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataPoint {
    pub(crate) key: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) path: Vec<String>,
    #[serde(rename = "data-collection-tag")]
    pub(crate) data_collection_tag: Option<String>,
    #[serde(rename = "privacy-actions")]
    pub(crate) privacy_actions: Option<Vec<String>>,
    pub(crate) references: Option<Vec<String>>,
    pub(crate) encryption: Option<String>,
    // Known, and of no use to this server yet.
    pub(crate) owners: Option<Value>,
    pub(crate) teams: Option<Value>,
    pub(crate) fields: Option<Value>,
    #[serde(rename = "privacy-action-queries")]
    pub(crate) privacy_action_queries: Option<Value>,
}

/// A rule by which choices open data subject requests, found by its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) purposes: Vec<TriggerPurpose>,
    /// In place of an action and data silos: the action whose settings are the workflow configuration.
    pub(crate) workflow_title: Option<String>,
    pub(crate) action_type: Option<String>,
    pub(crate) data_subject_type: Option<String>,
    pub(crate) is_silent: Option<bool>,
    pub(crate) allow_unauthenticated: Option<bool>,
    pub(crate) is_active: Option<bool>,
    pub(crate) data_silo_titles: Option<Vec<String>>,
}

/// A purpose, and the answer that a trigger waits for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TriggerPurpose {
    pub(crate) tracking_type: String,
    pub(crate) matching_state: bool,
}

/// The sections this server has a use for.
const SECTIONS: [&str; 13] = [
    "organization",
    "api-keys",
    "attributes",
    "data-subjects",
    "actions",
    "identifiers",
    "enrichers",
    "preference-options",
    "purposes",
    "partitions",
    "templates",
    "data-silos",
    "consent-workflow-triggers",
];

/// The sections that files for the vendor's service may have and this server has no use for.
const FOREIGN_SECTIONS: [&str; 21] = [
    "action-item-collections",
    "action-items",
    "agent-files",
    "agent-functions",
    "agents",
    "assessment-templates",
    "assessments",
    "business-entities",
    "consent-manager",
    "cookies",
    "data-categories",
    "data-flows",
    "messages",
    "policies",
    "privacy-center",
    "processing-activities",
    "processing-purposes",
    "prompts",
    "teams",
    "vendors",
    "version",
];

/// The most bytes a file may have.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A place in the file, from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

impl Place {
    /// The section of this name.
    pub(crate) fn section(name: &str) -> Place {
        Place(vec![Step::Key(name.to_owned())])
    }

    /// The entry with this key.
    pub(crate) fn key(&self, name: &str) -> Place {
        self.and(Step::Key(name.to_owned()))
    }

    /// The entry at this place of a list, counted from zero.
    pub(crate) fn item(&self, index: usize) -> Place {
        self.and(Step::Item(index))
    }

    fn and(&self, step: Step) -> Place {
        Place(self.0.iter().cloned().chain([step]).collect())
    }

    /// The line of `text` at which the place begins, or the nearest place around it that the text has.
    fn line(&self, text: &str) -> Option<usize> {
        (0..=self.0.len()).rev().find_map(|depth| {
            let walk = Walk(&self.0[..depth]);
            let stopped = walk.deserialize(serde_yaml_ng::Deserializer::from_str(text)).err()?;
            stopped
                .to_string()
                .contains(Walk::ARRIVED)
                .then(|| stopped.location().map(|at| at.line()))
                .flatten()
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) message: String,
}

/// Everything that is wrong with a file, in the form `file:line: place: what`.
#[derive(Debug)]
pub(crate) struct Faults {
    lines: Vec<String>,
}

impl Faults {
    /// Names each fault by its line in `text`.
    pub(crate) fn new(path: &Path, text: &str, faults: &[Fault]) -> Faults {
        let name = path.display();
        let mut found: Vec<(usize, String)> = faults
            .iter()
            .map(|fault| match fault.place.line(text) {
                Some(line) => (line, format!("{name}:{line}: {}: {}", fault.place, fault.message)),
                None => (0, format!("{name}: {}: {}", fault.place, fault.message)),
            })
            .collect();
        found.sort();
        found.dedup();
        Faults {
            lines: found.into_iter().map(|(_, line)| line).collect(),
        }
    }

    fn of_text(path: &Path, line: Option<usize>, message: &str) -> Faults {
        let at = line.map(|line| format!(":{line}")).unwrap_or_default();
        Faults {
            lines: vec![format!("{}{at}: {message}", path.display())],
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Reads a file, or says everything that is wrong with its form.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigFile, Faults> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Faults::of_text(path, None, "is larger than 8 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|broken| {
        let line = bytes[..broken.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Faults::of_text(path, Some(line), "is not UTF-8 text")
    })?;
    let document: Value = serde_yaml_ng::from_str(text).map_err(|error| {
        Faults::of_text(
            path,
            error.location().map(|at| at.line()),
            &format!("is not valid YAML: {error}"),
        )
    })?;
    let mapping = match document {
        Value::Null => Mapping::new(),
        Value::Mapping(mapping) => mapping,
        _ => {
            return Err(Faults::of_text(
                path,
                Some(1),
                "must be a mapping of sections such as `data-silos:`",
            ));
        }
    };
    let mut reader = Reader {
        faults: Vec::new(),
        ignored: Vec::new(),
    };
    let file = reader.file(mapping);
    if reader.faults.is_empty() {
        Ok(file)
    } else {
        Err(Faults::new(path, text, &reader.faults))
    }
}

struct Reader {
    faults: Vec<Fault>,
    ignored: Vec<String>,
}

impl Reader {
    fn file(&mut self, mut mapping: Mapping) -> ConfigFile {
        let mut file = ConfigFile {
            organization: mapping
                .remove("organization")
                .filter(|value| !value.is_null())
                .and_then(|value| self.entry(Place::section("organization"), value)),
            api_keys: self.section(&mut mapping, "api-keys"),
            attributes: self.section(&mut mapping, "attributes"),
            data_subjects: self.section(&mut mapping, "data-subjects"),
            actions: self.section(&mut mapping, "actions"),
            identifiers: self.section(&mut mapping, "identifiers"),
            enrichers: self.section(&mut mapping, "enrichers"),
            preference_options: self.section(&mut mapping, "preference-options"),
            purposes: self.section(&mut mapping, "purposes"),
            partitions: self.section(&mut mapping, "partitions"),
            templates: self.section(&mut mapping, "templates"),
            data_silos: self.section(&mut mapping, "data-silos"),
            triggers: self.section(&mut mapping, "consent-workflow-triggers"),
            ignored: Vec::new(),
        };
        for key in mapping.keys() {
            match key.as_str() {
                Some(name) if FOREIGN_SECTIONS.contains(&name) => self.ignored.push(name.to_owned()),
                Some(name) => {
                    let message = format!("is not a section; expected one of {}", SECTIONS.join(", "));
                    self.faults.push(Fault {
                        place: Place::section(name),
                        message,
                    });
                }
                None => self.faults.push(Fault {
                    place: Place::default(),
                    message: "has a section whose name is not text".into(),
                }),
            }
        }
        self.note_ignored(&file);
        file.ignored = std::mem::take(&mut self.ignored);
        file
    }

    fn section<T: DeserializeOwned>(&mut self, mapping: &mut Mapping, name: &str) -> Vec<T> {
        let place = Place::section(name);
        match mapping.remove(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(items)) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| self.entry(place.item(index), item))
                .collect(),
            Some(_) => {
                self.faults.push(Fault {
                    place,
                    message: "must be a list".into(),
                });
                Vec::new()
            }
        }
    }

    fn entry<T: DeserializeOwned>(&mut self, place: Place, value: Value) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(entry) => Some(entry),
            Err(error) => {
                let place = error.path().iter().fold(place, |place, segment| match segment {
                    serde_path_to_error::Segment::Seq { index } => place.item(*index),
                    serde_path_to_error::Segment::Map { key } => place.key(key),
                    _ => place,
                });
                self.faults.push(Fault {
                    place,
                    message: without_values(&error.into_inner().to_string()),
                });
                None
            }
        }
    }

    fn note_ignored(&mut self, file: &ConfigFile) {
        let mut seen = BTreeSet::new();
        for silo in &file.data_silos {
            for (name, value) in [
                ("owners", &silo.owners),
                ("teams", &silo.teams),
                ("attributes", &silo.attributes),
                ("email-settings", &silo.email_settings),
            ] {
                if value.is_some() {
                    seen.insert(format!("data-silos[].{name}"));
                }
            }
            for point in &silo.datapoints {
                for (name, value) in [
                    ("owners", &point.owners),
                    ("teams", &point.teams),
                    ("fields", &point.fields),
                    ("privacy-action-queries", &point.privacy_action_queries),
                ] {
                    if value.is_some() {
                        seen.insert(format!("data-silos[].datapoints[].{name}"));
                    }
                }
            }
        }
        if file.actions.iter().any(|action| action.region_block_list.is_some()) {
            seen.insert("actions[].regionBlockList".to_owned());
        }
        self.ignored.extend(seen);
    }
}

/// A wrong value may be a secret that was put in the wrong place, so the parser's message is repeated without it.
fn without_values(message: &str) -> String {
    let Some(rest) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
    else {
        return message.to_owned();
    };
    let found = rest.split([' ', ',']).next().unwrap_or("something");
    match rest.rsplit_once(", expected ") {
        Some((_, expected)) => format!("is {}, expected {}", in_words(found), in_words(expected)),
        None => format!("is {}, which does not belong here", in_words(found)),
    }
}

/// The parser's names of types, in the words of YAML.
fn in_words(name: &str) -> String {
    let word = match name {
        "integer" => "a number",
        "floating" => "a number with a fraction",
        "unit" => "nothing",
        "map" | "a map" => "a mapping",
        "sequence" | "a sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, not too large",
        name if name.starts_with("struct ") => "a mapping",
        name if name.contains(' ') => return name.to_owned(),
        name => return format!("a {name}"),
    };
    word.to_owned()
}

/// Fuzz target. A file is read or refused with at least one fault, each on a line of the file, and no fault repeats a value.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let Err(faults) = parse(Path::new("antumbra.yml"), bytes) else {
        return;
    };
    assert!(!faults.lines.is_empty());
    for line in &faults.lines {
        assert!(line.starts_with("antumbra.yml"), "{line}");
        assert!(!line.contains("canary-9e1f"), "{line}");
    }
}

#[cfg(test)]
mod tests;
