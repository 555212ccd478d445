//! What the preference routes read and write as JSON.
//!
//! Absent and `null` differ where the field table of the contract says so: a consent string that is `null` is cleared,
//! one that is absent stays. In answers an optional member is left out rather than `null`, because strict clients fail
//! to decode the latter; only the consent strings are written as `null`.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use utoipa::ToSchema;

use super::{
    expiry::Sight,
    iab,
    identifiers::EMAIL_NAME,
    model::{Choice, ConsentString, PurposeAnswer, Record, RecordId},
    moment::Moment,
    old_dialect::OldIdentifier,
};
use crate::{
    config::IabContradiction,
    http::careful,
    organization::Settings,
    purposes::{Catalog, PurposeEntry},
};

/// `PUT /v1/preferences`: records of up to 100 people.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertBatch {
    /// 1 to 100 records.
    pub(super) records: Vec<UpsertRecord>,
    /// True keeps workflow triggers from firing.
    pub(super) skip_workflow_triggers: Option<bool>,
    /// True fires workflow triggers even where nothing changed.
    pub(super) force_trigger_workflows: Option<bool>,
}

/// What one person chose.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertRecord {
    /// The key of the partition.
    pub(super) partition: String,
    /// When the person chose: any ISO 8601 date and time.
    pub(super) timestamp: String,
    /// Who the person is. Either this or `userId` is required.
    pub(super) identifiers: Option<Vec<NamedValue>>,
    /// Who the person is, as one value without a name.
    pub(super) user_id: Option<String>,
    /// The purposes that were answered; others stay as they are.
    pub(super) purposes: Option<Vec<UpsertPurpose>>,
    /// The consent manager's own strings.
    pub(super) consent_management: Option<UpsertStrings>,
    /// An older place for the member of `consentManagement`.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) usp: Option<Option<String>>,
    /// An older place for the member of `consentManagement`.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) gpp: Option<Option<String>>,
    /// An older place for the member of `consentManagement`.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) tcf: Option<Option<String>>,
    /// An older place for the member of `consentManagement`.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) airgap_version: Option<Option<String>>,
    /// Whether the person made the choice. True by default.
    pub(super) confirmed: Option<bool>,
    /// Annotations. A value of `null` removes the key.
    pub(super) metadata: Option<Vec<UpsertMetadata>>,
    /// When the annotations were made. By default `timestamp`.
    pub(super) metadata_timestamp: Option<String>,
    /// Language of data subject requests that triggers open.
    pub(super) locale: Option<String>,
    /// `YYYY-MM-DD`, `YYYY-MM` or `MM-YYYY`. Kept, not returned.
    pub(super) birth_date: Option<String>,
    /// How to go about it.
    pub(super) options: Option<UpsertOptions>,
}

/// How to go about one record.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertOptions {
    /// Identifiers of several records make these one (the default), or are refused.
    pub(super) merge_records_on_conflict: Option<bool>,
    /// The same, as one page of the contract spells it.
    pub(super) merge_record_on_conflict: Option<bool>,
}

/// A named identifier.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NamedValue {
    /// The name of an identifier that the organization has configured.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
}

/// One purpose that was answered.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertPurpose {
    /// The purpose's tracking type.
    pub(super) purpose: String,
    /// Allowed or refused. Required.
    #[schema(required)]
    pub(super) enabled: Option<bool>,
    /// Refused by name: `enabled` is meant.
    #[schema(ignore)]
    pub(super) consent: Option<IgnoredAny>,
    /// When this purpose was answered. By default the record's `timestamp`.
    pub(super) timestamp: Option<String>,
    /// The topics that were answered; others stay as they are.
    pub(super) preferences: Option<Vec<UpsertPreference>>,
    /// Which system wrote this: 1 to 128 characters.
    pub(super) source_system: Option<String>,
    /// Older place of `workflowSettings.attributes`.
    pub(super) attributes: Option<Vec<UpsertAttribute>>,
    /// Language of data subject requests that triggers open.
    pub(super) locale: Option<String>,
    /// How data subject requests that triggers open are made.
    pub(super) workflow_settings: Option<WorkflowSettings>,
}

/// An answer to one topic. No member, or only `null` ones, clears it.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self")]
pub(crate) struct UpsertPreference {
    /// The topic's slug.
    pub(super) topic: String,
    /// The answer.
    pub(super) choice: UpsertChoice,
}

/// An answer: the member that belongs to the type of the topic.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertChoice {
    /// For BOOLEAN topics.
    pub(super) boolean_value: Option<bool>,
    /// For SELECT topics: the slug of an option.
    pub(super) select_value: Option<String>,
    /// For MULTI_SELECT topics: slugs of options.
    pub(super) select_values: Option<Vec<String>>,
}

/// The consent manager's own strings. `null` clears, absent leaves.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct UpsertStrings {
    /// IAB US Privacy: four characters. Like the next two it is refused if it is malformed, and at most 8 KiB long.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) usp: Option<Option<String>>,
    /// IAB Global Privacy Platform.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) gpp: Option<Option<String>>,
    /// IAB Transparency and Consent Framework, version 2.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) tcf: Option<Option<String>>,
    /// Version of the browser library that set the record.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) airgap_version: Option<Option<String>>,
}

/// One annotation.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UpsertMetadata {
    /// Its key.
    pub(super) key: String,
    /// Its value; `null` removes it.
    #[serde(default)]
    pub(super) value: Option<String>,
}

/// A custom field of a data subject request.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UpsertAttribute {
    /// The attribute key.
    pub(super) key: String,
    /// Its values.
    pub(super) values: Vec<String>,
}

/// How data subject requests that triggers open are made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct WorkflowSettings {
    /// Custom fields.
    pub(super) attributes: Option<Vec<UpsertAttribute>>,
    /// Process only these data silos.
    pub(super) data_silo_ids: Option<Vec<String>>,
    /// Process all but these data silos.
    pub(super) ignore_data_silo_ids: Option<Vec<String>>,
    /// The mail template of the receipt.
    pub(super) email_receipt_template_id: Option<String>,
    /// No mails.
    pub(super) is_silent: Option<bool>,
    /// A test.
    pub(super) is_test: Option<bool>,
    /// No receipt.
    pub(super) skip_sending_receipt: Option<bool>,
    /// No waiting.
    pub(super) skip_waiting_period: Option<bool>,
    /// No triggers for this purpose.
    pub(super) skip_workflow_trigger: Option<bool>,
    /// Triggers even if nothing changed.
    pub(super) force_trigger_workflow: Option<bool>,
    /// Where the person is.
    pub(super) region: Option<Region>,
    /// Language.
    pub(super) locale: Option<String>,
    /// The data subject type.
    pub(super) subject_type: Option<String>,
    /// The workflow configuration: the id of one of the organization's `actions`, which is demanded instead of the trigger's.
    pub(super) workflow_config_id: Option<String>,
}

/// Where a person is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Region {
    /// ISO 3166-1 alpha-2, such as `FR`.
    pub(super) country: Option<String>,
    /// ISO 3166-2, such as `US-CA`.
    pub(super) country_sub_division: Option<String>,
}

/// `POST /v1/preferences/{partition}/query`: which records.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Query {
    /// Every member that is given must hold.
    pub(super) filter: Option<QueryFilter>,
    /// 1 to 100; by default 50.
    #[schema(minimum = 1, maximum = 100)]
    pub(super) limit: Option<i64>,
    /// Records as of this time: with what their people had chosen by then. The filter still looks at what is stored now.
    #[schema(format = DateTime)]
    pub(super) as_of: Option<String>,
    /// Records as they were known at this time: without what we have learned since. By default now.
    #[schema(format = DateTime)]
    pub(super) known_at: Option<String>,
    /// From the answer that held the page before.
    pub(super) cursor: Option<String>,
    /// What older clients send in place of `filter`.
    pub(super) identifiers: Option<Vec<OldIdentifier>>,
}

/// Which records. Bounds on time include their ends. Members of other names are ignored, but there have to be some of these
/// among them.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct QueryFilter {
    /// Records that have at least one of these, at most 100.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) identifiers: Option<Vec<QueryIdentifier>>,
    /// Records whose `timestamp` is not before this.
    pub(super) timestamp_after: Option<String>,
    /// Records whose `timestamp` is not after this.
    pub(super) timestamp_before: Option<String>,
    /// Bounds on when we last wrote a record.
    pub(super) system: Option<QuerySystem>,
}

/// An identifier to look for. Without a name it is an e-mail address, or a value once given as `userId`.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self")]
pub(crate) struct QueryIdentifier {
    /// Its name.
    pub(super) name: Option<String>,
    /// Its value.
    pub(super) value: String,
}

/// Bounds on when we last wrote a record.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct QuerySystem {
    /// Not before this.
    pub(super) updated_after: Option<String>,
    /// Not after this.
    pub(super) updated_before: Option<String>,
}

/// Answer to an upsert.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpsertOutcome<'a> {
    /// Whether every record was stored.
    pub(super) success: bool,
    /// The stored state of each record that was, in order.
    pub(super) nodes: Vec<UpsertNode<'a>>,
    /// Records that were not stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) failures: Vec<Failure>,
    /// How many were stored, for older clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<usize>,
}

/// A record that was not stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    /// Its place in `records`.
    pub(super) index: usize,
    /// Why.
    pub(super) error: String,
}

/// Answer to a query.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryAnswer<'a> {
    /// The records, newest first.
    pub(super) nodes: Vec<QueryNode<'a>>,
    /// Gives the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    /// The records once more, for older clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(super) preferences: Option<Vec<QueryNode<'a>>>,
}

/// A stored record as an upsert shows it: the flat members of the first generation of clients, and the nested ones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpsertNode<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    partition: &'a str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    decryption_status: DecryptionStatus,
    #[schema(required)]
    usp: Option<&'a str>,
    #[schema(required)]
    gpp: Option<&'a str>,
    #[schema(required)]
    tcf: Option<&'a str>,
    #[schema(required)]
    airgap_version: Option<&'a str>,
    purposes: Vec<PurposeNode<'a>>,
    identifiers: Vec<IdentifierNode<'a>>,
    confirmed: bool,
    metadata: Vec<MetadataNode<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    metadata_timestamp: Option<Moment>,
    consent_management: StringsNode<'a>,
    system: SystemNode,
}

/// A stored record as a query shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryNode<'a> {
    partition: &'a str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    identifiers: Vec<IdentifierNode<'a>>,
    purposes: Vec<PurposeNode<'a>>,
    consent_management: StringsNode<'a>,
    metadata: Vec<MetadataNode<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    metadata_timestamp: Option<Moment>,
    system: SystemNode,
}

/// Whether the record's contents could be decrypted.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DecryptionStatus {
    /// They could.
    Decrypted,
    /// Its key is lost: only what is outside the seal is shown.
    Error,
}

/// An identifier of a record.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentifierNode<'a> {
    name: &'a str,
    #[schema(value_type = String)]
    value: IdentifierValue<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum IdentifierValue<'a> {
    Text(&'a str),
    Id(RecordId),
}

/// The answer to one purpose.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PurposeNode<'a> {
    pub(super) purpose: &'a str,
    pub(super) enabled: bool,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_system: Option<&'a str>,
    /// From when the answer counts no longer, or the person should be asked again. Absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    preferences: Vec<PreferenceNode<'a>>,
}

#[derive(Serialize, ToSchema, PartialEq)]
pub(crate) struct PreferenceNode<'a> {
    topic: &'a str,
    choice: ChoiceNode<'a>,
}

/// Only the member that has a value.
#[derive(Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ChoiceNode<'a> {
    BooleanValue(bool),
    SelectValue(&'a str),
    SelectValues(Vec<&'a str>),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StringsNode<'a> {
    pub(super) usp: Option<&'a str>,
    pub(super) gpp: Option<&'a str>,
    pub(super) tcf: Option<&'a str>,
    pub(super) airgap_version: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MetadataNode<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SystemNode {
    decryption_status: DecryptionStatus,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// Where a consent string and a purpose of this record say the opposite of each other, as they stand now: pairs as
    /// `SaleOfInfo:usp`, with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    iab_contradictions: Option<String>,
    /// `GPC` if a consent string says that the browser sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_privacy_signals: Option<&'static str>,
    /// Present, and true, if a query looks back and the person's history is longer than one call reads: what they had chosen
    /// can't be told, and `decryptionStatus` is `ERROR`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    history_too_long: bool,
}

/// A stored record and where it stands: what a node is made from.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) id: RecordId,
    pub(super) partition: &'a str,
    pub(super) timestamp: Moment,
    pub(super) updated_at: Moment,
    /// None if it could not be decrypted.
    pub(super) record: Option<&'a Record>,
    /// What `userId` shall say in place of what the record says.
    pub(super) user_id: Option<&'a str>,
    /// Which identifiers tell people apart.
    pub(super) settings: &'a Settings,
    /// From where its answers are looked at.
    pub(super) sight: Sight<'a>,
    /// Whether contradictions between strings and purposes are shown.
    pub(super) iab_contradiction: IabContradiction,
    /// Whether it is not shown because its history is too long.
    pub(super) is_too_long: bool,
}

impl<'a> UpsertNode<'a> {
    pub(super) fn new(shown: Shown<'a>, catalog: &'a Catalog) -> UpsertNode<'a> {
        let QueryNode {
            partition,
            timestamp,
            confirmed,
            user_id,
            identifiers,
            purposes,
            consent_management,
            metadata,
            metadata_timestamp,
            system,
        } = QueryNode::new(shown, catalog);
        let StringsNode {
            usp,
            gpp,
            tcf,
            airgap_version,
        } = consent_management;
        UpsertNode {
            user_id,
            partition,
            timestamp,
            updated_at: shown.updated_at,
            decryption_status: shown.decryption_status(),
            usp,
            gpp,
            tcf,
            airgap_version,
            purposes,
            identifiers,
            confirmed,
            metadata,
            metadata_timestamp,
            consent_management,
            system,
        }
    }
}

impl<'a> QueryNode<'a> {
    pub(super) fn new(shown: Shown<'a>, catalog: &'a Catalog) -> QueryNode<'a> {
        QueryNode {
            partition: shown.partition,
            timestamp: shown.timestamp,
            confirmed: shown.record.is_some_and(|record| record.confirmed),
            user_id: shown.user_id(),
            identifiers: shown.identifiers(),
            purposes: shown.purposes(catalog),
            consent_management: StringsNode::new(shown.record),
            metadata: shown.metadata(),
            metadata_timestamp: shown.record.and_then(|record| record.metadata_timestamp),
            system: shown.system(catalog),
        }
    }
}

impl<'a> StringsNode<'a> {
    pub(super) fn new(record: Option<&'a Record>) -> StringsNode<'a> {
        let text = |string: ConsentString| record?.strings[string as usize].as_ref()?.value.as_deref();
        StringsNode {
            usp: text(ConsentString::Usp),
            gpp: text(ConsentString::Gpp),
            tcf: text(ConsentString::Tcf),
            airgap_version: text(ConsentString::AirgapVersion),
        }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn decryption_status(&self) -> DecryptionStatus {
        if self.record.is_some() {
            DecryptionStatus::Decrypted
        } else {
            DecryptionStatus::Error
        }
    }

    fn system(&self, catalog: &Catalog) -> SystemNode {
        let found = self
            .record
            .map(|record| iab::found_in(&self.sight.left_of(record), catalog))
            .unwrap_or_default();
        let are_shown = self.iab_contradiction != IabContradiction::Ignore;
        SystemNode {
            decryption_status: self.decryption_status(),
            updated_at: self.updated_at,
            iab_contradictions: found.contradictions.filter(|_| are_shown),
            user_privacy_signals: found.gpc.then_some("GPC"),
            history_too_long: self.is_too_long,
        }
    }

    /// What stands for the person in the older way: what was asked for, else what was once given as `userId`, else their
    /// first e-mail address, else the first identifier that is nobody else's.
    pub(super) fn user_id(&self) -> Option<&'a str> {
        let record = self.record?;
        let said = self
            .user_id
            .or(record.user_id.as_ref().map(|user_id| user_id.value.as_str()));
        let is_unique = |name: &str| {
            let known = self.settings.find_identifier(name);
            known.is_some_and(|known| known.identifier.is_unique_on_preference_store)
        };
        said.or_else(|| {
            let mut held = record.identifiers.iter();
            let email = held.clone().find(|identifier| identifier.name == EMAIL_NAME);
            let found = email.or_else(|| held.find(|identifier| is_unique(&identifier.name)));
            found.map(|identifier| identifier.value.as_str())
        })
    }

    pub(super) fn identifiers(&self) -> Vec<IdentifierNode<'a>> {
        self.record
            .map(|record| IdentifierNode::all(self.id, record))
            .unwrap_or_default()
    }

    fn metadata(&self) -> Vec<MetadataNode<'a>> {
        let held = self.record.into_iter().flat_map(|record| &record.metadata);
        held.filter_map(|(key, register)| {
            Some(MetadataNode {
                key,
                value: register.value.as_deref()?,
            })
        })
        .collect()
    }

    /// The purposes that exist and whose answers count, by name; under each, its topics in the order in which they were first answered.
    pub(super) fn purposes(&self, catalog: &'a Catalog) -> Vec<PurposeNode<'a>> {
        let held = self.record.into_iter().flat_map(|record| &record.purposes);
        let held = held.filter(|answer| !self.sight.is_gone(answer));
        let nodes = held.filter_map(|answer| PurposeNode::new(answer, catalog, self.sight));
        let mut nodes: Vec<PurposeNode<'a>> = nodes.collect();
        nodes.sort_unstable_by_key(|node| node.purpose);
        nodes
    }
}

impl<'a> IdentifierNode<'a> {
    /// Those of a record, and its own id.
    pub(super) fn all(id: RecordId, record: &'a Record) -> Vec<IdentifierNode<'a>> {
        let held = record.identifiers.iter().map(|identifier| IdentifierNode {
            name: &identifier.name,
            value: IdentifierValue::Text(&identifier.value),
        });
        held.chain([IdentifierNode {
            name: "transcend",
            value: IdentifierValue::Id(id),
        }])
        .collect()
    }
}

impl<'a> PurposeNode<'a> {
    fn new(answer: &'a PurposeAnswer, catalog: &'a Catalog, sight: Sight<'_>) -> Option<PurposeNode<'a>> {
        let purpose = catalog
            .purpose_numbered(answer.purpose)
            .filter(|purpose| purpose.shown)?;
        Some(PurposeNode {
            purpose: &purpose.slug,
            enabled: answer.consent.value.enabled,
            timestamp: answer.consent.at,
            source_system: answer.consent.value.source_system.as_deref(),
            expires_at: sight.expires_at(answer.purpose, answer.consent.value.enabled, answer.consent.at),
            preferences: PreferenceNode::all(answer, purpose, catalog),
        })
    }
}

impl<'a> PreferenceNode<'a> {
    /// The topics of a purpose that exist and have an answer, in the order in which they were first answered.
    pub(super) fn all(
        answer: &PurposeAnswer,
        purpose: &'a PurposeEntry,
        catalog: &'a Catalog,
    ) -> Vec<PreferenceNode<'a>> {
        let preferences = answer.topics.iter().filter_map(|answer| {
            let topic = purpose.topic_numbered(answer.topic).filter(|topic| topic.shown)?;
            Some(PreferenceNode {
                topic: &topic.slug,
                choice: ChoiceNode::new(answer.choice.value.as_ref()?, catalog)?,
            })
        });
        preferences.collect()
    }
}

impl<'a> ChoiceNode<'a> {
    /// None if it is an option that does not exist.
    pub(super) fn new(choice: &Choice, catalog: &'a Catalog) -> Option<ChoiceNode<'a>> {
        Some(match choice {
            Choice::Boolean(yes) => ChoiceNode::BooleanValue(*yes),
            Choice::Select(option) => ChoiceNode::SelectValue(catalog.option_numbered(*option)?),
            Choice::MultiSelect(options) => ChoiceNode::SelectValues(
                options
                    .iter()
                    .filter_map(|option| catalog.option_numbered(*option))
                    .collect(),
            ),
        })
    }
}

// A record may consist of identifiers alone; one whose contents are all under names we do not know is a mistake.
careful! {
    UpsertBatch: [];
    UpsertRecord: ["purposes", "consentManagement", "usp", "gpp", "tcf", "airgapVersion", "metadata", "birthDate"];
    UpsertOptions: [];
    UpsertPurpose: [];
    UpsertPreference: [];
    UpsertChoice: [];
    UpsertStrings: [];
    WorkflowSettings: [];
    Query: ["filter", "cursor", "asOf", "knownAt", "identifiers"];
    QueryFilter: ["identifiers", "timestampAfter", "timestampBefore", "system"];
    QueryIdentifier: [];
    QuerySystem: ["updatedAfter", "updatedBefore"];
}

/// Tells `null` from absent: with `#[serde(default)]`, absent is none and `null` is some none.
pub(super) fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Takes `null` for no value at all, where absent would mean everybody: who sends it may have meant to name somebody.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
