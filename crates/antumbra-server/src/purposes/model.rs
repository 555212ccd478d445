//! Purposes, preference topics, options and partitions: pure types and the rules on them.

use std::{collections::BTreeSet, time::Duration};

use antumbra_store::{Corrupt, Key};
use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest name of a purpose, topic or option, in characters.
pub(super) const SLUG_CHARACTERS_MAX: usize = 64;

/// Longest key of a partition, in characters.
pub(super) const PARTITION_CHARACTERS_MAX: usize = 128;

/// Longest text that people read, in bytes.
const TEXT_BYTES_MAX: usize = 10_000;

/// The id of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PurposeId(pub Uuid);

/// The id of a preference topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub Uuid);

/// The id of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OptionId(pub Uuid);

/// The id of a partition: what rows are filed under. Clients know a partition by its key only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub Uuid);

impl Key for PurposeId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(PurposeId)
    }
}

impl Key for TopicId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(TopicId)
    }
}

impl Key for OptionId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(OptionId)
    }
}

impl Key for PartitionId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(PartitionId)
    }
}

/// What a purpose means before anyone has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[graphql(name = "DefaultConsentOption")]
pub enum DefaultConsent {
    /// Refused.
    #[serde(rename = "off")]
    #[graphql(name = "off")]
    Off,
    /// As the law of the place has it.
    #[graphql(name = "Auto")]
    Auto,
}

/// Who may change an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "PreferenceStoreAuthLevel")]
pub enum AuthLevel {
    /// Only someone who has proved who they are.
    Required,
    /// Anyone.
    Optional,
    /// Anyone may opt out; opting in takes proof.
    AllowOptOut,
}

/// A signal of a browser that counts as an opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "UserPrivacySignalEnum")]
pub enum PrivacySignal {
    /// Global Privacy Control.
    Gpc,
    /// Do Not Track.
    Dnt,
}

/// What becomes of an answer when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
pub enum OnConsentExpiry {
    /// It stays, and the person should be asked again.
    #[graphql(name = "Prompt")]
    Prompt,
    /// It counts no longer, as if it had not been given.
    #[graphql(name = "ResetAll")]
    ResetAll,
    /// If it allowed the purpose, it counts no longer. A refusal does not expire.
    #[graphql(name = "ResetOptIns")]
    ResetOptIns,
}

/// How long answers to a purpose count, from when that was set until the next rule was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryRule {
    /// When it was set. What holds at an earlier time does not depend on it.
    pub since: Timestamp,
    /// How long an answer counts from when it was given. None: for ever.
    pub period: Option<Duration>,
    /// What becomes of it then.
    pub on_expiry: OnConsentExpiry,
}

/// A day, as periods are set in.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest period that can be set, in days: a hundred years.
const EXPIRY_DAYS_MAX: u32 = 36_525;

/// Rules of one purpose that are kept. Before the oldest of them answers count for ever.
const EXPIRY_RULES_MAX: usize = 100;

/// A reason for processing that can be allowed or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// Its id.
    pub id: PurposeId,
    /// What preference records call it. Never given twice in one organization.
    pub number: u32,
    /// Its name on the wire. Never changes.
    pub tracking_type: String,
    /// What people read.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its heading, where that differs from its name.
    pub title: Option<String>,
    /// What it means before anyone has answered.
    pub default_consent: DefaultConsent,
    /// Whether people can change it.
    pub configurable: bool,
    /// It can't be refused.
    pub essential: bool,
    /// Made with the organization, not by it.
    pub built_in: bool,
    /// The consent manager lists it.
    pub show_in_consent_manager: bool,
    /// The privacy centre lists it.
    pub show_in_privacy_center: bool,
    /// Answers to it can be written.
    pub is_active: bool,
    /// Its place in lists.
    pub display_order: i32,
    /// Signals that count as refusing it.
    pub opt_out_signals: BTreeSet<PrivacySignal>,
    /// Who may change an answer.
    pub auth_level: AuthLevel,
    /// The identifier that messages under this purpose go to.
    pub communication_preferences_identifier_id: Option<Uuid>,
    /// Preferences about messages show a disclosure.
    pub show_disclosure_in_comm_preferences: bool,
    /// The data subject types it is for; empty means all.
    pub data_subject_ids: BTreeSet<Uuid>,
    /// How long its answers count: each rule that was set, oldest first. Before the first they count for ever.
    #[serde(default)]
    pub expiry: Vec<ExpiryRule>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted. Its answers stay stored and are no longer shown.
    pub deleted_at: Option<Timestamp>,
}

impl Purpose {
    /// How many days its answers count, 0 for ever, and what becomes of them then.
    pub fn present_expiry(&self) -> (u32, OnConsentExpiry) {
        let rule = self.expiry.last();
        let days = rule.and_then(|rule| rule.period).unwrap_or_default().as_secs() / DAY.as_secs();
        let on_expiry = rule.map_or(OnConsentExpiry::ResetOptIns, |rule| rule.on_expiry);
        (u32::try_from(days).unwrap_or(u32::MAX), on_expiry)
    }

    /// Sets what was given of how long answers count, from now on. What held until now is not touched.
    fn set_expiry(&mut self, days: Option<u32>, on_expiry: Option<OnConsentExpiry>, now: Timestamp) {
        let held = self.present_expiry();
        let wanted = (days.unwrap_or(held.0), on_expiry.unwrap_or(held.1));
        if wanted == held {
            return;
        }
        if self.expiry.len() == EXPIRY_RULES_MAX {
            self.expiry.remove(0);
        }
        self.expiry.push(ExpiryRule {
            since: now,
            period: (wanted.0 > 0).then(|| DAY * wanted.0),
            on_expiry: wanted.1,
        });
    }
}

/// A purpose to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPurpose {
    /// What people read.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its name on the wire.
    pub tracking_type: String,
    /// The rest. What is not given gets its default.
    pub settings: PurposeSettings,
}

/// What shall be different about a purpose. What is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurposeChange {
    /// What people read.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The data subject types it is for.
    pub data_subject_ids: Option<BTreeSet<Uuid>>,
    /// The rest.
    pub settings: PurposeSettings,
}

/// What can be set about a purpose, when it is made and later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurposeSettings {
    /// Its heading, where that differs from its name.
    pub title: Option<String>,
    /// What it means before anyone has answered. By default as the law of the place has it.
    pub default_consent: Option<DefaultConsent>,
    /// Signals that count as refusing it.
    pub opt_out_signals: Option<BTreeSet<PrivacySignal>>,
    /// The consent manager lists it. By default it does not.
    pub show_in_consent_manager: Option<bool>,
    /// The privacy centre lists it. By default it does.
    pub show_in_privacy_center: Option<bool>,
    /// Its place in lists. By default the last.
    pub display_order: Option<i32>,
    /// Whether people can change it. By default they can.
    pub configurable: Option<bool>,
    /// Answers to it can be written. By default they can.
    pub is_active: Option<bool>,
    /// Who may change an answer.
    pub auth_level: Option<AuthLevel>,
    /// The identifier that messages under this purpose go to.
    pub communication_preferences_identifier_id: Option<Uuid>,
    /// Preferences about messages show a disclosure.
    pub show_disclosure_in_comm_preferences: Option<bool>,
    /// How many days an answer counts from when it was given; 0 for ever, which is the default.
    pub consent_expiry_days: Option<u32>,
    /// What becomes of an answer then. By default it counts no longer if it allowed the purpose.
    pub on_consent_expiry: Option<OnConsentExpiry>,
}

impl PurposeSettings {
    /// Whether what was given can be set.
    pub(super) fn check(&self) -> Result<(), PurposeError> {
        check_text("title", self.title.as_deref().unwrap_or_default())?;
        match self.consent_expiry_days {
            Some(days) if days > EXPIRY_DAYS_MAX => Err(PurposeError::BadExpiry),
            _ => Ok(()),
        }
    }

    /// Sets what was given.
    pub(super) fn apply(self, purpose: &mut Purpose, now: Timestamp) {
        purpose.set_expiry(self.consent_expiry_days, self.on_consent_expiry, now);
        take_given(&mut purpose.default_consent, self.default_consent);
        take_given(&mut purpose.opt_out_signals, self.opt_out_signals);
        take_given(&mut purpose.show_in_consent_manager, self.show_in_consent_manager);
        take_given(&mut purpose.show_in_privacy_center, self.show_in_privacy_center);
        take_given(&mut purpose.display_order, self.display_order);
        take_given(&mut purpose.configurable, self.configurable);
        take_given(&mut purpose.is_active, self.is_active);
        take_given(&mut purpose.auth_level, self.auth_level);
        take_given(
            &mut purpose.show_disclosure_in_comm_preferences,
            self.show_disclosure_in_comm_preferences,
        );
        purpose.title = self.title.or(purpose.title.take());
        purpose.communication_preferences_identifier_id = self
            .communication_preferences_identifier_id
            .or(purpose.communication_preferences_identifier_id);
    }
}

/// Takes what was given and leaves what was not.
pub(super) fn take_given<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

/// What an answer to a topic looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "PreferenceTopicType")]
pub enum TopicKind {
    /// Yes or no.
    Boolean,
    /// One of the topic's options.
    Select,
    /// Any number of the topic's options.
    MultiSelect,
}

/// A finer question under a purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// What preference records call it. Never given twice in one organization.
    pub number: u32,
    /// The purpose it belongs to. Never changes.
    pub purpose: PurposeId,
    /// Its name on the wire, unique under its purpose. Never changes.
    pub slug: String,
    /// What an answer looks like. Never changes.
    pub kind: TopicKind,
    /// What people read.
    pub title: String,
    /// Its explanation.
    pub display_description: String,
    /// The colour it is shown in.
    pub color: String,
    /// The privacy centre lists it.
    pub show_in_privacy_center: bool,
    /// The answer that a form starts with, as clients write it.
    pub default_configuration: String,
    /// The options that an answer can have, in order.
    pub options: Vec<OptionId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted. Its answers stay stored and are no longer shown.
    pub deleted_at: Option<Timestamp>,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The purpose it belongs to.
    pub purpose: PurposeId,
    /// Its name on the wire.
    pub slug: String,
    /// What an answer looks like.
    pub kind: TopicKind,
    /// What people read.
    pub title: String,
    /// Its explanation.
    pub display_description: String,
    /// The privacy centre lists it.
    pub show_in_privacy_center: bool,
    /// The answer that a form starts with.
    pub default_configuration: String,
    /// The options that an answer can have, in order. A yes-or-no topic gets its two by itself.
    pub options: Vec<OptionId>,
}

/// What shall be different about a topic. What is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// What people read.
    pub title: Option<String>,
    /// Its explanation.
    pub display_description: Option<String>,
    /// The privacy centre lists it.
    pub show_in_privacy_center: Option<bool>,
    /// The answer that a form starts with.
    pub default_configuration: Option<String>,
    /// The options that an answer can have, in order.
    pub options: Option<Vec<OptionId>>,
}

/// One answer that topics can offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionValue {
    /// Its id.
    pub id: OptionId,
    /// What preference records call it. Never given twice in one organization.
    pub number: u32,
    /// Its name on the wire. Never changes.
    pub slug: String,
    /// What people read.
    pub title: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted. Answers that name it stay as they were given.
    pub deleted_at: Option<Timestamp>,
}

/// An option to be made, or one whose title shall change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionChange {
    /// The option to change; none to make one.
    pub id: Option<OptionId>,
    /// What people read.
    pub title: String,
    /// Its name on the wire, for a new one. By default made from the title.
    pub slug: Option<String>,
}

/// A walled-off set of preference data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What rows are filed under.
    pub id: PartitionId,
    /// What people read.
    pub name: String,
    /// What clients write in `partition`.
    pub key: String,
    /// Made with the organization; it can't be deleted.
    pub built_in: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why a purpose, topic, option or partition was refused.
#[derive(Debug, thiserror::Error)]
pub enum PurposeError {
    /// The name breaks the rule.
    #[error("a name has 1 to 64 letters, digits, spaces, underscores, hyphens or dots, and no space at its ends")]
    BadSlug,
    /// The key of a partition breaks the rule.
    #[error("the key of a partition has 1 to 128 characters, none of them a control character")]
    BadPartitionKey,
    /// A text is too long, or empty where it must not be.
    #[error("{0} must not be empty and at most 10,000 bytes long")]
    BadText(&'static str),
    /// Answers can't count that long.
    #[error("consentExpiryDays must be from 0 to 36,525")]
    BadExpiry,
    /// The name is kept for values that mean no purpose.
    #[error("this name is reserved")]
    Reserved,
    /// Another of its kind has this name.
    #[error("this name is taken")]
    Taken,
    /// There is no such thing, or it was deleted.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// What came with the organization can't be changed in this way.
    #[error("{0} of a built-in purpose does not change")]
    BuiltIn(&'static str),
    /// A yes-or-no topic has the options that it was made with.
    #[error("a BOOLEAN topic has its own two options")]
    BooleanOptions,
    /// The options that a topic still offers stay.
    #[error("an option that a topic offers can not be deleted")]
    OptionInUse,
    /// There are as many as there may be.
    #[error("there are already as many as an organization may have")]
    TooMany,
    /// The partition that came with the organization stays.
    #[error("the default partition can not be deleted")]
    DefaultPartition,
    /// What people answered in it would be lost from sight, and could no longer be deleted.
    #[error("holds preference records, which must be deleted first")]
    PartitionInUse,
    /// The store failed.
    #[error("the configuration could not be read or written")]
    Store(#[from] antumbra_store::StoreError),
}

/// The five purposes that every organization has: name on the wire, name, description, essential.
pub(super) const BUILT_IN: [(&str, &str, &str, bool); 5] = [
    ("Essential", "Essential", "What the service can not work without.", true),
    (
        "Functional",
        "Functional",
        "Remembering choices and making the service more useful.",
        false,
    ),
    ("Analytics", "Analytics", "Learning how the service is used.", false),
    (
        "Advertising",
        "Advertising",
        "Showing advertisements chosen for the person.",
        false,
    ),
    (
        "SaleOfInfo",
        "Sale of Info",
        "Selling or sharing personal information.",
        false,
    ),
];

/// A value that consent managers use where no purpose is known. It is never stored.
const UNKNOWN: &str = "Unknown";

/// Whether `slug` can name a topic or an option.
pub(super) fn check_slug(slug: &str) -> Result<(), PurposeError> {
    let fits = (1..=SLUG_CHARACTERS_MAX).contains(&slug.chars().count())
        && slug.trim() == slug
        && slug
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.'));
    if fits { Ok(()) } else { Err(PurposeError::BadSlug) }
}

/// Whether `slug` can name a purpose.
pub(super) fn check_tracking_type(slug: &str) -> Result<(), PurposeError> {
    check_slug(slug)?;
    if slug == UNKNOWN {
        Err(PurposeError::Reserved)
    } else {
        Ok(())
    }
}

pub(super) fn check_partition_key(key: &str) -> Result<(), PurposeError> {
    let fits = (1..=PARTITION_CHARACTERS_MAX).contains(&key.chars().count()) && !key.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(PurposeError::BadPartitionKey)
    }
}

pub(super) fn check_name(what: &'static str, text: &str) -> Result<(), PurposeError> {
    if text.trim().is_empty() {
        Err(PurposeError::BadText(what))
    } else {
        check_text(what, text)
    }
}

pub(super) fn check_text(what: &'static str, text: &str) -> Result<(), PurposeError> {
    if text.len() > TEXT_BYTES_MAX {
        Err(PurposeError::BadText(what))
    } else {
        Ok(())
    }
}

/// The name on the wire of an option that was only given a title: its letters and digits, words run together.
pub(super) fn slug_of_title(title: &str) -> Result<String, PurposeError> {
    let words = title
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug: String = words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters)
        })
        .take(SLUG_CHARACTERS_MAX)
        .collect();
    check_slug(&slug).map(|()| slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_spaces_but_not_at_their_ends() {
        let long = "x".repeat(64);
        for good in ["A", "Product Updates", "e-mail_v1.2", "Été", long.as_str()] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        let longer = "x".repeat(65);
        for bad in ["", " ", " A", "A ", "a/b", "a:b", "a\tb", "a\0b", longer.as_str()] {
            assert!(check_slug(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_name_that_means_no_purpose_is_reserved() {
        assert!(matches!(check_tracking_type("Unknown"), Err(PurposeError::Reserved)));
        assert!(check_tracking_type("unknown").is_ok());
    }

    #[test]
    fn a_partition_key_is_any_text_of_1_to_128_characters() {
        let (long, longer) = ("é".repeat(128), "é".repeat(129));
        for good in ["ea3a0845-694e-4820-9d51-50c7d0a2346", "shop", "a b/c", long.as_str()] {
            assert!(check_partition_key(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\0", longer.as_str()] {
            assert!(check_partition_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_option_without_a_name_gets_one_from_its_title() {
        assert_eq!(slug_of_title("once a week").unwrap(), "OnceAWeek");
        assert!(slug_of_title("!?").is_err());
    }
}
