//! Which identifiers an organization knows people by, and the form that it asks of their values.

use std::collections::BTreeSet;

use async_graphql::Enum;
use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Action, SettingError, SubjectTypeId, TEXT_MAX, TITLE_MAX, check_name, check_text};
const SELECT_OPTIONS_MAX: usize = 500;

/// The id of an identifier's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentifierId(pub Uuid);

/// An identifier that the organization knows people by. It holds no one's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    /// Its id.
    pub id: IdentifierId,
    /// Its name on the wire.
    pub name: String,
    /// What kind of identifier it is.
    pub kind: IdentifierKind,
    /// What a value must look like. Empty accepts anything.
    pub regex: String,
    /// The values it may have. Empty accepts any.
    pub select_options: Vec<String>,
    /// The actions whose form asks for it.
    pub privacy_center_visibility: Vec<Action>,
    /// The data subject types it is for; empty means all.
    pub subject_types: BTreeSet<SubjectTypeId>,
    /// The form does not go through without it.
    pub is_required_in_form: bool,
    /// What an empty field of the form shows.
    pub placeholder: String,
    /// Its name on the form.
    pub display_title: Option<String>,
    /// Its explanation on the form.
    pub display_description: Option<String>,
    /// What the form says to a value that does not fit.
    pub validation_error_message: Option<String>,
    /// Its place on the form.
    pub display_order: Option<i32>,
    /// Which identifier databases are asked by first.
    pub sql_priority: Option<i32>,
    /// The variable that stands for its value in database queries.
    pub sql_variable: Option<String>,
    /// The variable that stands for its looked-up value in database queries.
    pub sql_lookup_variable: Option<String>,
    /// One preference record at most has a given value.
    pub is_unique_on_preference_store: bool,
    /// The form takes several values.
    pub is_multi_input: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Identifier {
    /// An identifier with nothing set but what it is.
    pub fn new(id: IdentifierId, name: String, kind: IdentifierKind, created_at: Timestamp) -> Identifier {
        Identifier {
            id,
            name,
            kind,
            regex: ANYTHING.to_owned(),
            select_options: Vec::new(),
            privacy_center_visibility: Vec::new(),
            subject_types: BTreeSet::new(),
            is_required_in_form: false,
            placeholder: String::new(),
            display_title: None,
            display_description: None,
            validation_error_message: None,
            display_order: None,
            sql_priority: None,
            sql_variable: None,
            sql_lookup_variable: None,
            is_unique_on_preference_store: false,
            is_multi_input: false,
            created_at,
        }
    }

    /// Checks everything that can be told without looking at others.
    pub(in crate::organization) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.name)?;
        if !self.kind.may_repeat() && self.name != self.kind.as_str() {
            return Err(SettingError::KindNamesItself);
        }
        compile(&self.regex)?;
        if self.select_options.len() > SELECT_OPTIONS_MAX {
            return Err(SettingError::TooMany);
        }
        for text in [&self.placeholder]
            .into_iter()
            .chain(&self.select_options)
            .chain(&self.display_title)
        {
            check_text(text, TITLE_MAX)?;
        }
        for text in [&self.display_description, &self.validation_error_message]
            .into_iter()
            .flatten()
        {
            check_text(text, TEXT_MAX)?;
        }
        Ok(())
    }
}

/// The pattern that every value matches.
const ANYTHING: &str = "^.*$";

/// The kinds of identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "IdentifierType", rename_items = "camelCase")]
#[allow(missing_docs, reason = "each is the name that its maker gave to its own identifier")]
pub enum IdentifierKind {
    Email,
    Phone,
    CoreIdentifier,
    Custom,
    Gaid,
    Idfa,
    Idfv,
    BrowserId,
    MicrosoftAdvertisingId,
    AmazonFireAdvertisingId,
    Rida,
    FilestackHandle,
    StripeId,
    BraintreeCustomerId,
    ChargebeeId,
    ThriveTrmContactId,
    #[serde(rename = "talkableUUID")]
    #[graphql(name = "talkableUUID")]
    TalkableUuid,
    RecurlyId,
    CustomerIoId,
    SprigVisitorId,
    #[serde(rename = "linkedInURL")]
    #[graphql(name = "linkedInURL")]
    LinkedInUrl,
    AdvertisingId,
    PersonaReferenceId,
    StreamUserId,
    PlaidProcessorToken,
    OnfidoApplicantId,
    VeroUserId,
    AdobeAdvertisingCloudId,
    AdobeAudienceManagerId,
    AdobeExperienceCloudId,
    AdobeTargetId,
    AdobeCampaignRecipientId,
    Transcend,
}

impl IdentifierKind {
    /// The four that every organization has.
    pub const BUILT_IN: [IdentifierKind; 4] = [
        IdentifierKind::Email,
        IdentifierKind::Phone,
        IdentifierKind::CoreIdentifier,
        IdentifierKind::Transcend,
    ];

    /// Whether an organization may have several of the kind, told apart by name.
    pub fn may_repeat(self) -> bool {
        self == IdentifierKind::Custom
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = IdentifierKind> {
        use async_graphql::resolver_utils::EnumType;
        IdentifierKind::items().iter().map(|item| item.value)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        use async_graphql::resolver_utils::EnumType;
        IdentifierKind::items()
            .iter()
            .find(|item| item.value == self)
            .map(|item| item.name)
            .expect("the list of kinds holds every kind")
    }

    /// The kind with this name on the wire.
    pub fn parse(name: &str) -> Option<IdentifierKind> {
        IdentifierKind::all().find(|kind| kind.as_str() == name)
    }
}

/// Compiles the pattern of an identifier; an empty one accepts anything.
pub(in crate::organization) fn compile(pattern: &str) -> Result<Option<Regex>, SettingError> {
    if pattern.is_empty() || pattern == ANYTHING {
        return Ok(None);
    }
    if pattern.len() > 1_024 {
        return Err(SettingError::TooLong);
    }
    RegexBuilder::new(pattern)
        .size_limit(256 * 1024)
        .build()
        .map(Some)
        .map_err(|_| SettingError::BadRegex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_kind_has_the_spelling_of_the_wire() {
        assert_eq!(IdentifierKind::all().count(), 33);
        for kind in IdentifierKind::all() {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for spelling in [
            "coreIdentifier",
            "talkableUUID",
            "linkedInURL",
            "thriveTrmContactId",
            "customerIoId",
            "transcend",
        ] {
            assert!(IdentifierKind::parse(spelling).is_some(), "{spelling}");
        }
    }

    #[test]
    fn identifier_settings_that_could_not_work_are_refused() {
        let good =
            |kind, name: &str| Identifier::new(IdentifierId(Uuid::nil()), name.into(), kind, Timestamp::UNIX_EPOCH);
        assert_eq!(good(IdentifierKind::Custom, "IP Address").check(), Ok(()));
        assert_eq!(good(IdentifierKind::Custom, "").check(), Err(SettingError::Empty));
        assert_eq!(
            good(IdentifierKind::Custom, "a\0b").check(),
            Err(SettingError::ControlCharacter)
        );
        assert_eq!(
            good(IdentifierKind::Custom, &"x".repeat(129)).check(),
            Err(SettingError::TooLong)
        );
        assert_eq!(
            good(IdentifierKind::Email, "mail").check(),
            Err(SettingError::KindNamesItself)
        );
        let mut pattern = good(IdentifierKind::Custom, "id");
        pattern.regex = "(?!a)b".into();
        assert_eq!(pattern.check(), Err(SettingError::BadRegex));
        pattern.regex = "a{1000}{1000}".into();
        assert_eq!(pattern.check(), Err(SettingError::BadRegex));
    }
}
