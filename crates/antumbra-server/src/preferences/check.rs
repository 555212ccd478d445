//! From what a caller wrote to what the rules of the store take: every reference looked up, every value normalised.
//!
//! All problems of a batch are found in one go, each with its place, because callers that get a refusal split the batch
//! to find the bad row; only a refusal of more than a thousand lines ends with how many it leaves out. No message quotes
//! what the caller sent.

use std::collections::HashSet;

use super::{
    iab,
    identifiers::{self, TRANSCEND},
    model::{Choice, Consent, ConsentString, Identifier, PurposeWrite, RecordId, Write},
    moment::Moment,
    triggers::{RequestSettings, Urge, Workflow, workflow_of},
    wire::{
        Region, UpsertAttribute, UpsertBatch, UpsertChoice, UpsertMetadata, UpsertOptions, UpsertPreference,
        UpsertPurpose, UpsertRecord, UpsertStrings, WorkflowSettings,
    },
};
use crate::{
    config::IabContradiction,
    organization::Settings,
    purposes::{Catalog, PartitionId, PurposeEntry, TopicEntry, TopicKind},
};

/// Most records of one call.
pub(super) const RECORDS_MAX: usize = 100;

/// Most entries of any list inside a record. Places in messages stay below it.
pub(super) const LIST_MAX: usize = 200;

/// Most problems that are told one by one. A body of some megabytes can hold hundreds of thousands.
const TOLD_MAX: usize = 1_000;

/// What is said of a name that nothing is configured under.
pub(super) const UNKNOWN_IDENTIFIER: &str = "is not an identifier of this organization";

/// Longest key and longest value of a metadata entry, in bytes. Browsers put a consent string of 8 KiB into a value.
pub(super) const METADATA_KEY_BYTES_MAX: usize = 256;
pub(super) const METADATA_VALUE_BYTES_MAX: usize = 16 << 10;

/// Longest of all other texts, in characters.
const TEXT_CHARACTERS_MAX: usize = 256;

/// Longest name of a source system, in characters.
const SOURCE_SYSTEM_CHARACTERS_MAX: usize = 128;

/// A place in the body and the rule that is broken there.
pub(super) type Broken = (String, String);

/// What a batch is checked against.
pub(super) struct Rules<'a> {
    pub(super) settings: &'a Settings,
    pub(super) catalog: &'a Catalog,
    pub(super) iab_contradiction: IabContradiction,
    pub(super) now: Moment,
}

/// A record of a batch that breaks no rule.
pub(super) struct Checked {
    pub(super) partition: PartitionId,
    /// The partition as the caller wrote it.
    pub(super) partition_key: String,
    pub(super) write: Write,
    /// Which of the write's identifiers find a record, by place.
    pub(super) unique: Vec<usize>,
    /// Records that are named by their own ids.
    pub(super) named: Vec<RecordId>,
    pub(super) on_conflict: OnConflict,
    /// What it says about workflow triggers.
    pub(super) workflow: Workflow,
}

/// What happens when the identifiers belong to several records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OnConflict {
    /// They become one.
    Merge,
    /// The record is refused.
    Refuse,
}

/// Checks a whole batch. Fails with every problem up to a thousand; past them, one more line says how many are left out.
pub(super) fn check(batch: UpsertBatch, rules: &Rules<'_>) -> Result<Vec<Checked>, Vec<Broken>> {
    if !(1..=RECORDS_MAX).contains(&batch.records.len()) {
        return Err(vec![(
            "records".to_owned(),
            format!("must hold 1 to {RECORDS_MAX} records"),
        )]);
    }
    let mut checker = Checker {
        rules,
        broken: Vec::new(),
        untold: 0,
    };
    let urge = Urge::of(batch.skip_workflow_triggers, batch.force_trigger_workflows);
    let records = batch.records.into_iter().enumerate();
    let checked: Vec<Option<Checked>> = records
        .map(|(place, record)| checker.record(&Place::root("records").at(place), record, urge))
        .collect();
    if checker.untold > 0 {
        let rule = format!("have {} further problems, which are not listed", checker.untold);
        checker.broken.push(("records".to_owned(), rule));
    }
    if checker.broken.is_empty() {
        Ok(checked
            .into_iter()
            .map(|record| record.expect("a record without problems is whole"))
            .collect())
    } else {
        Err(checker.broken)
    }
}

/// A place in the body. Written out only when something is wrong there.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Member(&'static str),
    Entry(usize),
}

impl<'a> Place<'a> {
    fn root(member: &'static str) -> Place<'static> {
        Place {
            parent: None,
            step: Step::Member(member),
        }
    }

    fn at(&'a self, entry: usize) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Entry(entry),
        }
    }

    fn member(&'a self, member: &'static str) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Member(member),
        }
    }

    fn written(&self) -> String {
        let parent = self.parent.map(Place::written).unwrap_or_default();
        match self.step {
            Step::Entry(entry) => format!("{parent}[{entry}]"),
            Step::Member(member) if parent.is_empty() => member.to_owned(),
            Step::Member(member) => format!("{parent}.{member}"),
        }
    }
}

struct Checker<'a> {
    rules: &'a Rules<'a>,
    broken: Vec<Broken>,
    /// Problems past those that are told.
    untold: usize,
}

impl<'a> Checker<'a> {
    fn complain(&mut self, place: &Place<'_>, rule: impl Into<String>) {
        if self.broken.len() < TOLD_MAX {
            self.broken.push((place.written(), rule.into()));
        } else {
            self.untold += 1;
        }
    }

    fn record(&mut self, place: &Place<'_>, record: UpsertRecord, urge: Urge) -> Option<Checked> {
        let partition = self.rules.catalog.partition(&record.partition);
        if partition.is_none() {
            self.complain(&place.member("partition"), "is not a partition of this organization");
        }
        let timestamp = self.moment(&place.member("timestamp"), &record.timestamp);
        let who = self.who(place, &record);
        // Without a time nothing is kept; the rest is still looked at, for what may be wrong with it.
        let base = timestamp.unwrap_or(self.rules.now);
        let (purposes, settings) = self.purposes(&place.member("purposes"), record.purposes.unwrap_or_default(), base);
        let flat = [record.usp, record.gpp, record.tcf, record.airgap_version];
        let strings = self.strings(place, flat, record.consent_management.unwrap_or_default(), &purposes);
        let metadata = self.metadata(&place.member("metadata"), record.metadata.unwrap_or_default());
        let metadata_timestamp = match &record.metadata_timestamp {
            Some(text) => self.moment(&place.member("metadataTimestamp"), text),
            None => Some(base),
        };
        self.text(&place.member("locale"), record.locale.as_deref());
        if record.birth_date.as_deref().is_some_and(|date| !is_birth_date(date)) {
            self.complain(&place.member("birthDate"), "must be YYYY-MM-DD, YYYY-MM or MM-YYYY");
        }
        Some(Checked {
            partition: partition?,
            partition_key: record.partition,
            unique: who.unique,
            named: who.named,
            on_conflict: on_conflict(record.options.as_ref()),
            workflow: Workflow {
                urge,
                locale: record.locale,
                purposes: settings,
            },
            write: Write {
                timestamp: timestamp?,
                confirmed: record.confirmed.unwrap_or(true),
                identifiers: who.identifiers,
                user_id: record.user_id,
                purposes,
                strings,
                metadata,
                metadata_timestamp: metadata_timestamp?,
                birth_date: record.birth_date,
                updated: None,
                prompted: None,
            },
        })
    }

    /// The identifiers of a record, with its `userId` folded in.
    fn who(&mut self, place: &Place<'_>, record: &UpsertRecord) -> Who {
        let mut found: Vec<(Identifier, Uniqueness)> = Vec::new();
        let mut named = Vec::new();
        let list = record.identifiers.as_deref().unwrap_or_default();
        let place_of_list = place.member("identifiers");
        if list.is_empty() && record.user_id.is_none() {
            self.complain(&place_of_list, "must not be empty unless userId is given");
        }
        for (entry, given) in self.bounded(&place_of_list, list) {
            let entry = place_of_list.at(entry);
            let value_place = entry.member("value");
            if given.name == TRANSCEND {
                match identifiers::record_id(&given.value) {
                    Some(id) if !named.contains(&id) => named.push(id),
                    Some(_) => {}
                    None => self.complain(&value_place, not_valid(TRANSCEND)),
                }
                continue;
            }
            let Some(known) = self.rules.settings.find_identifier(&given.name) else {
                self.complain(&entry.member("name"), UNKNOWN_IDENTIFIER);
                continue;
            };
            match identifiers::normalise(known, &given.value) {
                Some(value) => found.push((
                    Identifier {
                        name: given.name.clone(),
                        value,
                    },
                    Uniqueness(known.identifier.is_unique_on_preference_store),
                )),
                None => self.complain(&value_place, not_valid(&given.name)),
            }
        }
        if let Some(user_id) = &record.user_id {
            match identifiers::of_user_id(self.rules.settings, user_id) {
                Some((name, value)) => {
                    found.push((
                        Identifier {
                            name: name.to_owned(),
                            value,
                        },
                        self.uniqueness(name),
                    ));
                }
                None => self.complain(&place.member("userId"), not_valid(identifiers::LEGACY_NAME)),
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.dedup_by(|(one, _), (other, _)| one == other);
        let unique = found
            .iter()
            .enumerate()
            .filter(|(_, (_, unique))| unique.0)
            .map(|(place, _)| place)
            .collect();
        Who {
            identifiers: found.into_iter().map(|(identifier, _)| identifier).collect(),
            unique,
            named,
        }
    }

    fn uniqueness(&self, name: &str) -> Uniqueness {
        let known = self.rules.settings.find_identifier(name);
        Uniqueness(known.is_some_and(|known| known.identifier.is_unique_on_preference_store))
    }

    /// What is said about purposes, and how requests are made that this may open.
    fn purposes(
        &mut self,
        place: &Place<'_>,
        list: Vec<UpsertPurpose>,
        base: Moment,
    ) -> (Vec<PurposeWrite>, Vec<(u32, RequestSettings)>) {
        let mut seen = HashSet::new();
        let (mut writes, mut settings) = (Vec::with_capacity(list.len()), Vec::new());
        for (entry, said) in self.bounded(place, list) {
            let place = place.at(entry);
            let catalog = self.rules.catalog;
            let Some(purpose) = catalog.purpose(&said.purpose).filter(|purpose| purpose.writable) else {
                self.complain(
                    &place.member("purpose"),
                    "is not an active purpose of this organization",
                );
                continue;
            };
            if !seen.insert(purpose.number) {
                self.complain(&place.member("purpose"), "is given twice in this record");
                continue;
            }
            let (write, own) = self.purpose(&place, said, purpose, base);
            writes.extend(write);
            settings.extend(own.map(|own| (purpose.number, own)));
        }
        (writes, settings)
    }

    fn purpose(
        &mut self,
        place: &Place<'_>,
        said: UpsertPurpose,
        purpose: &PurposeEntry,
        base: Moment,
    ) -> (Option<PurposeWrite>, Option<RequestSettings>) {
        if said.consent.is_some() {
            self.complain(&place.member("consent"), "is not a member of a purpose; say enabled");
        } else if said.enabled.is_none() {
            self.complain(&place.member("enabled"), "is required");
        } else if purpose.essential && said.enabled == Some(false) {
            self.complain(&place.member("enabled"), "must be true: this purpose is essential");
        }
        let at = match &said.timestamp {
            Some(text) => self.moment(&place.member("timestamp"), text),
            None => Some(base),
        };
        if let Some(source) = &said.source_system
            && !(1..=SOURCE_SYSTEM_CHARACTERS_MAX).contains(&source.chars().count())
        {
            self.complain(&place.member("sourceSystem"), "must have 1 to 128 characters");
        }
        let mut topics = Vec::new();
        let mut seen = HashSet::new();
        let preferences = place.member("preferences");
        for (entry, said) in self.bounded(&preferences, said.preferences.unwrap_or_default()) {
            let place = preferences.at(entry);
            let Some(topic) = purpose.topic(&said.topic) else {
                self.complain(&place.member("topic"), "is not a preference topic of this purpose");
                continue;
            };
            if !seen.insert(topic.number) {
                self.complain(&place.member("topic"), "is given twice under this purpose");
                continue;
            }
            topics.push((topic.number, self.choice(&place, said, topic)));
        }
        self.text(&place.member("locale"), said.locale.as_deref());
        self.attributes(&place.member("attributes"), said.attributes.as_deref());
        if let Some(settings) = &said.workflow_settings {
            self.workflow_settings(&place.member("workflowSettings"), settings);
        }
        let settings = RequestSettings::read(said.attributes, said.locale, said.workflow_settings);
        let write = said.enabled.zip(at).map(|(enabled, at)| PurposeWrite {
            purpose: purpose.number,
            at,
            consent: Consent {
                enabled,
                source_system: said.source_system,
            },
            topics,
        });
        (write, settings)
    }

    fn choice(&mut self, place: &Place<'_>, said: UpsertPreference, topic: &TopicEntry) -> Option<Choice> {
        let place = place.member("choice");
        let UpsertChoice {
            boolean_value,
            select_value,
            select_values,
        } = said.choice;
        let (expected, fits) = match topic.kind {
            TopicKind::Boolean => ("booleanValue", select_value.is_none() && select_values.is_none()),
            TopicKind::Select => ("selectValue", boolean_value.is_none() && select_values.is_none()),
            TopicKind::MultiSelect => ("selectValues", boolean_value.is_none() && select_value.is_none()),
        };
        if !fits {
            self.complain(
                &place,
                format!("must hold {expected} and no other member: the topic is of that type"),
            );
            return None;
        }
        let no_option = "is not an option of this topic";
        match topic.kind {
            TopicKind::Boolean => boolean_value.map(Choice::Boolean),
            TopicKind::Select => {
                let option = topic.option(&select_value?);
                if option.is_none() {
                    self.complain(&place.member("selectValue"), no_option);
                }
                option.map(Choice::Select)
            }
            TopicKind::MultiSelect => {
                let place = place.member("selectValues");
                let mut options = Vec::new();
                for (entry, slug) in self.bounded(&place, select_values?) {
                    match topic.option(&slug) {
                        Some(option) if options.contains(&option) => {}
                        Some(option) => options.push(option),
                        None => self.complain(&place.at(entry), no_option),
                    }
                }
                Some(Choice::MultiSelect(options))
            }
        }
    }

    /// The four strings; a member of `consentManagement` wins over the older place of the same.
    fn strings(
        &mut self,
        place: &Place<'_>,
        flat: [Option<Option<String>>; 4],
        nested: UpsertStrings,
        purposes: &[PurposeWrite],
    ) -> Vec<(ConsentString, Option<String>)> {
        let names = ["usp", "gpp", "tcf", "airgapVersion"];
        let inner = place.member("consentManagement");
        let nested = [nested.usp, nested.gpp, nested.tcf, nested.airgap_version];
        let mut given = Vec::new();
        for (((string, name), flat), nested) in ConsentString::ALL.into_iter().zip(names).zip(flat).zip(nested) {
            let place = if nested.is_some() { &inner } else { place };
            let Some(value) = nested.or(flat) else { continue };
            if let Some(text) = &value {
                self.consent_string(&place.member(name), string, text, purposes);
            }
            given.push((string, value));
        }
        given
    }

    /// A string must be well-formed, and if the operator says so it must not contradict the purposes beside it.
    fn consent_string(&mut self, place: &Place<'_>, string: ConsentString, text: &str, purposes: &[PurposeWrite]) {
        let reading = match iab::read(string, text) {
            Ok(reading) => reading,
            Err(fault) => return self.complain(place, fault.to_string()),
        };
        if self.rules.iab_contradiction != IabContradiction::Refuse {
            return;
        }
        let catalog = self.rules.catalog;
        let answer = |purpose: iab::Purpose| {
            let known = catalog.purpose(purpose.slug())?;
            let said = purposes.iter().find(|said| said.purpose == known.number)?;
            Some(said.consent.enabled)
        };
        for said in iab::statements_against(&reading.statements, answer) {
            let purpose = said.purpose.slug();
            self.complain(
                place,
                format!("contradicts what this record says of the purpose {purpose}"),
            );
        }
    }

    fn metadata(&mut self, place: &Place<'_>, list: Vec<UpsertMetadata>) -> Vec<(String, Option<String>)> {
        let mut entries: Vec<(String, Option<String>)> = Vec::with_capacity(list.len());
        for (entry, said) in self.bounded(place, list) {
            let place = place.at(entry);
            if !(1..=METADATA_KEY_BYTES_MAX).contains(&said.key.len()) {
                self.complain(
                    &place.member("key"),
                    format!("must be 1 to {METADATA_KEY_BYTES_MAX} bytes long"),
                );
            }
            if said
                .value
                .as_ref()
                .is_some_and(|value| value.len() > METADATA_VALUE_BYTES_MAX)
            {
                let rule = format!("must be at most {METADATA_VALUE_BYTES_MAX} bytes long");
                self.complain(&place.member("value"), rule);
            }
            if entries.iter().any(|(key, _)| *key == said.key) {
                self.complain(&place.member("key"), "is given twice in this record");
            }
            entries.push((said.key, said.value));
        }
        entries
    }

    fn workflow_settings(&mut self, place: &Place<'_>, settings: &WorkflowSettings) {
        self.attributes(&place.member("attributes"), settings.attributes.as_deref());
        let (only, not) = (
            settings.data_silo_ids.as_deref(),
            settings.ignore_data_silo_ids.as_deref(),
        );
        if only.is_some_and(|ids| !ids.is_empty()) && not.is_some_and(|ids| !ids.is_empty()) {
            self.complain(
                &place.member("ignoreDataSiloIds"),
                "must not be given together with dataSiloIds",
            );
        }
        for (name, ids) in [("dataSiloIds", only), ("ignoreDataSiloIds", not)] {
            let place = place.member(name);
            for (entry, id) in self.bounded(&place, ids.unwrap_or_default()) {
                self.id(&place.at(entry), Some(id));
            }
        }
        let known =
            |id: &str| workflow_of(id).is_some_and(|id| self.rules.settings.actions.iter().any(|known| known.id == id));
        if settings.workflow_config_id.as_deref().is_some_and(|id| !known(id)) {
            let rule = "is not a workflow configuration of this organization: the id of one of its `actions`";
            self.complain(&place.member("workflowConfigId"), rule);
        }
        self.text(
            &place.member("emailReceiptTemplateId"),
            settings.email_receipt_template_id.as_deref(),
        );
        self.text(&place.member("locale"), settings.locale.as_deref());
        self.text(&place.member("subjectType"), settings.subject_type.as_deref());
        if let Some(region) = &settings.region {
            self.region(&place.member("region"), region);
        }
    }

    fn attributes(&mut self, place: &Place<'_>, list: Option<&[UpsertAttribute]>) {
        for (entry, attribute) in self.bounded(place, list.unwrap_or_default()) {
            let place = place.at(entry);
            self.text(&place.member("key"), Some(&attribute.key));
            let values = place.member("values");
            for (entry, value) in self.bounded(&values, attribute.values.as_slice()) {
                self.text(&values.at(entry), Some(value));
            }
        }
    }

    fn region(&mut self, place: &Place<'_>, region: &Region) {
        let is_country = |code: &str| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_subdivision = |code: &str| {
            code.split_once('-').is_some_and(|(country, rest)| {
                is_country(country)
                    && (1..=3).contains(&rest.len())
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            })
        };
        if region.country.as_deref().is_some_and(|code| !is_country(code)) {
            self.complain(&place.member("country"), "must be an ISO 3166-1 code of two letters");
        }
        if region
            .country_sub_division
            .as_deref()
            .is_some_and(|code| !is_subdivision(code))
        {
            self.complain(&place.member("countrySubDivision"), "must be an ISO 3166-2 code");
        }
    }

    fn moment(&mut self, place: &Place<'_>, text: &str) -> Option<Moment> {
        Moment::parse_event(text, self.rules.now)
            .map_err(|bad| self.complain(place, bad.to_string()))
            .ok()
    }

    fn id(&mut self, place: &Place<'_>, text: Option<&str>) {
        if text.is_some_and(|text| uuid::Uuid::try_parse(text).is_err()) {
            self.complain(place, "must be a UUID");
        }
    }

    fn text(&mut self, place: &Place<'_>, text: Option<&str>) {
        if text.is_some_and(|text| text.chars().count() > TEXT_CHARACTERS_MAX) {
            self.complain(place, format!("must have at most {TEXT_CHARACTERS_MAX} characters"));
        }
    }

    /// The entries of a list with their places; none, and a complaint, if there are too many.
    fn bounded<L: IntoIterator>(
        &mut self,
        place: &Place<'_>,
        list: L,
    ) -> impl Iterator<Item = (usize, L::Item)> + use<L>
    where
        L::IntoIter: ExactSizeIterator,
    {
        let list = list.into_iter();
        let fits = list.len() <= LIST_MAX;
        if !fits {
            self.complain(place, format!("must hold at most {LIST_MAX} entries"));
        }
        list.take(if fits { LIST_MAX } else { 0 }).enumerate()
    }
}

/// Who a record is about.
struct Who {
    identifiers: Vec<Identifier>,
    unique: Vec<usize>,
    named: Vec<RecordId>,
}

/// Whether at most one record has a given value.
struct Uniqueness(bool);

fn not_valid(name: &str) -> String {
    format!("Identifier {name} did not pass validation")
}

fn on_conflict(options: Option<&UpsertOptions>) -> OnConflict {
    OnConflict::unless_refused(
        options.and_then(|given| given.merge_records_on_conflict.or(given.merge_record_on_conflict)),
    )
}

impl OnConflict {
    /// What a caller wants who says so much about merging.
    pub(super) fn unless_refused(merge: Option<bool>) -> OnConflict {
        match merge {
            Some(false) => OnConflict::Refuse,
            Some(true) | None => OnConflict::Merge,
        }
    }
}

/// `YYYY-MM-DD`, `YYYY-MM` or `MM-YYYY`, of days that exist.
fn is_birth_date(text: &str) -> bool {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let day_exists = |year: &str, month: &str, day: &str| {
        digits(year, 4) && digits(month, 2) && digits(day, 2) && {
            let date = format!("{year}-{month}-{day}");
            date.parse::<jiff::civil::Date>().is_ok()
        }
    };
    match text.split('-').collect::<Vec<_>>()[..] {
        [year, month, day] => day_exists(year, month, day),
        [one, other] => day_exists(one, other, "01") || day_exists(other, one, "01"),
        _ => false,
    }
}
