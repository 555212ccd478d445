//! What an organization configures about itself: pure types and the rules on them.
//!
//! Names are what people and files refer to, so each name is unique in its organization and compared exactly.

use std::collections::BTreeSet;

use async_graphql::Enum;
use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OrganizationId;

/// An organization: whose data, keys and rules these are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Organization {
    /// Its id; first in every table key.
    pub id: OrganizationId,
    /// Its name as people read it.
    pub name: String,
    /// Its name as it stands in addresses: lower-case letters, digits and hyphens.
    pub uri: String,
    /// The consent manager that every organization has one of. Written out, it is the key of the default partition.
    pub consent_manager: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Organization {
    /// The key of the partition that always exists.
    pub fn default_partition(&self) -> String {
        self.consent_manager.to_string()
    }
}

/// What a data subject request demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RequestAction")]
pub enum Action {
    /// A copy of the data.
    Access,
    /// Deletion of the data.
    Erasure,
    /// Correction of what is wrong.
    Rectification,
    /// A limit on what the data is used for.
    Restriction,
    /// A report on the purposes the data serves.
    BusinessPurpose,
    /// Internal: keep the data for a legal case.
    PlaceOnLegalHold,
    /// Internal: the legal case is over.
    RemoveFromLegalHold,
    /// No more decisions by machine alone.
    AutomatedDecisionMakingOptOut,
    /// No more use of sensitive information.
    UseOfSensitiveInformationOptOut,
    /// No more messages.
    ContactOptOut,
    /// No more sale of the data.
    SaleOptOut,
    /// No more tracking.
    TrackingOptOut,
    /// The organization's own opt-out.
    CustomOptOut,
    /// Decisions by machine are allowed again.
    AutomatedDecisionMakingOptIn,
    /// Use of sensitive information is allowed again.
    UseOfSensitiveInformationOptIn,
    /// Sale is allowed again.
    SaleOptIn,
    /// Tracking is allowed again.
    TrackingOptIn,
    /// Messages are allowed again.
    ContactOptIn,
    /// The organization's own opt-in.
    CustomOptIn,
}

impl Action {
    /// Every action, in the order in which lists show them.
    pub const ALL: [Action; 19] = [
        Action::Access,
        Action::Erasure,
        Action::Rectification,
        Action::Restriction,
        Action::BusinessPurpose,
        Action::PlaceOnLegalHold,
        Action::RemoveFromLegalHold,
        Action::AutomatedDecisionMakingOptOut,
        Action::UseOfSensitiveInformationOptOut,
        Action::ContactOptOut,
        Action::SaleOptOut,
        Action::TrackingOptOut,
        Action::CustomOptOut,
        Action::AutomatedDecisionMakingOptIn,
        Action::UseOfSensitiveInformationOptIn,
        Action::SaleOptIn,
        Action::TrackingOptIn,
        Action::ContactOptIn,
        Action::CustomOptIn,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Access => "ACCESS",
            Action::Erasure => "ERASURE",
            Action::Rectification => "RECTIFICATION",
            Action::Restriction => "RESTRICTION",
            Action::BusinessPurpose => "BUSINESS_PURPOSE",
            Action::PlaceOnLegalHold => "PLACE_ON_LEGAL_HOLD",
            Action::RemoveFromLegalHold => "REMOVE_FROM_LEGAL_HOLD",
            Action::AutomatedDecisionMakingOptOut => "AUTOMATED_DECISION_MAKING_OPT_OUT",
            Action::UseOfSensitiveInformationOptOut => "USE_OF_SENSITIVE_INFORMATION_OPT_OUT",
            Action::ContactOptOut => "CONTACT_OPT_OUT",
            Action::SaleOptOut => "SALE_OPT_OUT",
            Action::TrackingOptOut => "TRACKING_OPT_OUT",
            Action::CustomOptOut => "CUSTOM_OPT_OUT",
            Action::AutomatedDecisionMakingOptIn => "AUTOMATED_DECISION_MAKING_OPT_IN",
            Action::UseOfSensitiveInformationOptIn => "USE_OF_SENSITIVE_INFORMATION_OPT_IN",
            Action::SaleOptIn => "SALE_OPT_IN",
            Action::TrackingOptIn => "TRACKING_OPT_IN",
            Action::ContactOptIn => "CONTACT_OPT_IN",
            Action::CustomOptIn => "CUSTOM_OPT_IN",
        }
    }

    /// The action with this name on the wire.
    pub fn parse(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// The id of a data subject type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectTypeId(pub Uuid);

/// A kind of person that can make data subject requests, such as customers or employees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectType {
    /// Its id.
    pub id: SubjectTypeId,
    /// What `subjectType` says on the wire.
    pub slug: String,
    /// What people read.
    pub title: String,
    /// The broad class it belongs to.
    pub class: SubjectClass,
    /// Whether new requests may name it.
    pub active: bool,
    /// Requests made by an administrator send no mail unless told otherwise.
    pub silent_by_default: bool,
    /// An agent may act for the person.
    pub supports_authorized_agent: bool,
    /// What these people may demand.
    pub actions: BTreeSet<Action>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SubjectType {
    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.slug)?;
        check_text(&self.title, TITLE_MAX)?;
        if self.title.is_empty() {
            Err(SettingError::Empty)
        } else {
            Ok(())
        }
    }
}

/// The broad class of a data subject type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "DataSubjectClass")]
pub enum SubjectClass {
    /// Someone who uses what the organization offers.
    EndUser,
    /// Someone who works for the organization.
    Employee,
    /// Someone who works for another business.
    BusinessContact,
    /// Anyone else.
    Other,
}

/// The id of an action's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub Uuid);

/// Whole days of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u16);

impl Days {
    /// The most days any setting may have: ten years.
    pub const MAX: Days = Days(3_660);

    /// The same span, to add to an instant.
    pub fn span(self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.0))
    }

    /// Whether the span is empty.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// How requests with one action are handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSettings {
    /// The id under which clients change these settings.
    pub id: ActionId,
    /// The action they are about.
    pub action: Action,
    /// How long a request waits before silos are asked. None skips the wait.
    pub waiting_period: Days,
    /// Makes the action two-phase: a preview first, the action itself after a delay.
    pub delay: Option<Delay>,
    /// A person approves what was compiled before it leaves.
    pub requires_review: bool,
    /// A person approves the end of the second phase.
    pub requires_secondary_review: bool,
    /// The second phase is left out when the preview found nothing.
    pub skip_secondary_if_no_files: bool,
    /// The request ends without a time in which its report can be downloaded.
    pub skip_downloadable_step: bool,
    /// How long a report can be downloaded.
    pub download_availability: Days,
    /// What the data subject gets to see.
    pub post_compile_status: PostCompileStatus,
    /// The data subject may choose what they get to see.
    pub allow_post_compile_choice: bool,
    /// A receipt is sent when the request arrives.
    pub send_receipt_email: bool,
    /// The time allowed by law, by region. The first entry is the default, and has no region.
    pub expiry: Vec<RegionExpiry>,
    /// How the data subject's region is found.
    pub region_detection: RegionDetection,
    /// Where the action is offered; empty means everywhere.
    pub regions: Vec<String>,
}

impl ActionSettings {
    /// The settings an action starts with: review by a person, two weeks of download, a month to answer.
    pub fn initial(id: ActionId, action: Action) -> ActionSettings {
        ActionSettings {
            id,
            action,
            waiting_period: Days(0),
            delay: None,
            requires_review: true,
            requires_secondary_review: false,
            skip_secondary_if_no_files: false,
            skip_downloadable_step: false,
            download_availability: Days(14),
            post_compile_status: PostCompileStatus::Downloadable,
            allow_post_compile_choice: false,
            send_receipt_email: true,
            expiry: vec![RegionExpiry {
                region: None,
                days: Days(30),
            }],
            region_detection: RegionDetection::Disabled,
            regions: Vec::new(),
        }
    }

    /// The time allowed by law for someone in this country and subdivision: the narrowest entry counts.
    pub fn expiry_in(&self, country: Option<&str>, subdivision: Option<&str>) -> Days {
        let of = |region: Option<&str>| self.expiry.iter().find(|entry| entry.region.as_deref() == region);
        [subdivision, country]
            .into_iter()
            .flatten()
            .find_map(|region| of(Some(region)))
            .or(of(None))
            .map_or(Days(30), |entry| entry.days)
    }

    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        for days in [self.waiting_period, self.download_availability]
            .into_iter()
            .chain(self.delay.as_ref().map(|delay| delay.time))
            .chain(self.expiry.iter().map(|entry| entry.days))
        {
            if days > Days::MAX {
                return Err(SettingError::TooManyDays);
            }
        }
        if !self.skip_downloadable_step && self.download_availability.is_none() {
            return Err(SettingError::NoTimeToDownload);
        }
        let mut regions = BTreeSet::new();
        for entry in &self.expiry {
            if entry.days.is_none() {
                return Err(SettingError::NoTimeToAnswer);
            }
            if !regions.insert(entry.region.as_deref()) {
                return Err(SettingError::RegionTwice);
            }
        }
        if !regions.contains(&None) {
            return Err(SettingError::NoDefaultExpiry);
        }
        for region in regions
            .into_iter()
            .flatten()
            .chain(self.regions.iter().map(String::as_str))
        {
            check_region(region)?;
        }
        if self
            .delay
            .as_ref()
            .is_some_and(|delay| delay.preview_action == self.action)
        {
            return Err(SettingError::PreviewsItself);
        }
        Ok(())
    }
}

/// The wait between the two phases of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// How long after the first phase the second begins.
    pub time: Days,
    /// What the first phase does.
    pub preview_action: Action,
}

/// The time allowed by law in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionExpiry {
    /// A country (`FR`) or subdivision (`US-CA`); none for the default.
    pub region: Option<String>,
    /// The days allowed.
    pub days: Days,
}

/// What a data subject gets to see at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PostCompileStatus {
    /// The categories of data, without the data.
    ViewCategories,
    /// The data.
    Downloadable,
}

/// How the data subject's region is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RegionDetectionMethod")]
pub enum RegionDetection {
    /// It is not.
    Disabled,
    /// From the address they come from.
    Auto,
    /// They are asked.
    Form,
}

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
    pub(super) fn check(&self) -> Result<(), SettingError> {
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

/// The id of an attribute key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeKeyId(pub Uuid);

/// The id of one value of an attribute key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeValueId(pub Uuid);

/// A label that things of certain kinds can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeKey {
    /// Its id.
    pub id: AttributeKeyId,
    /// Its name.
    pub name: String,
    /// How its values are given.
    pub kind: AttributeKind,
    /// What it is for.
    pub description: Option<String>,
    /// What may carry it: the names of resource kinds, such as `request`.
    pub enabled_on: BTreeSet<String>,
    /// Whether the organization made it, or the server.
    pub is_custom: bool,
    /// The values known so far.
    pub values: Vec<AttributeValue>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl AttributeKey {
    /// The name of the resource kind that data subject requests have here.
    pub const ON_REQUESTS: &str = "request";

    /// Whether data subject requests may carry it.
    pub fn is_for_requests(&self) -> bool {
        self.enabled_on.contains(AttributeKey::ON_REQUESTS)
    }

    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.name)?;
        if self.values.len() > ATTRIBUTE_VALUES_MAX || self.enabled_on.len() > 100 {
            return Err(SettingError::TooMany);
        }
        let mut names = BTreeSet::new();
        for value in &self.values {
            check_text(&value.name, TITLE_MAX)?;
            if value.name.is_empty() {
                return Err(SettingError::Empty);
            }
            if !names.insert(&value.name) {
                return Err(SettingError::NameTaken);
            }
        }
        self.description
            .as_deref()
            .map_or(Ok(()), |text| check_text(text, TEXT_MAX))
    }
}

/// One value of an attribute key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeValue {
    /// Its id.
    pub id: AttributeValueId,
    /// What it says.
    pub name: String,
    /// What it means.
    pub description: Option<String>,
    /// The colour it is shown in.
    pub color: Option<String>,
}

/// How the values of an attribute key are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "AttributeKeyType")]
pub enum AttributeKind {
    /// Any number of the known values.
    MultiSelect,
    /// One of the known values.
    SingleSelect,
    /// Free text.
    Text,
    /// A mail address.
    Email,
    /// A telephone number.
    Telephone,
    /// An address on the web.
    Url,
    /// A reference to an assessment.
    Assessment,
}

impl AttributeKind {
    /// Whether values are picked from a list.
    pub fn is_select(self) -> bool {
        matches!(self, AttributeKind::MultiSelect | AttributeKind::SingleSelect)
    }
}

/// The id of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateId(pub Uuid);

/// The text of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// What it is called; clients look for exact titles.
    pub title: String,
    /// The subject line.
    pub subject: String,
    /// The body.
    pub body: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Template {
    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.title)?;
        check_text(&self.subject, TITLE_MAX)?;
        if self.body.len() > BODY_MAX {
            Err(SettingError::TooLong)
        } else {
            Ok(())
        }
    }
}

/// The templates that clients expect from the start.
pub(super) const BUILT_IN_TEMPLATES: [&str; 2] = ["Request Canceled", "Additional Time Needed"];

/// The attribute key that data subject requests can carry from the start.
pub const TAGS: &str = "Tags";

/// The most identifiers, data subject types, attribute keys or templates of one organization, each.
pub(super) const EACH_MAX: usize = 1_000;
const ATTRIBUTE_VALUES_MAX: usize = 5_000;
const SELECT_OPTIONS_MAX: usize = 500;
const NAME_MAX: usize = 128;
const TITLE_MAX: usize = 256;
const TEXT_MAX: usize = 16 * 1024;
const BODY_MAX: usize = 256 * 1024;

/// Why a setting is refused. The text is made for the person who wrote the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it means")]
pub enum SettingError {
    #[error("must not be empty")]
    Empty,
    #[error("is too long")]
    TooLong,
    #[error("holds more entries than allowed")]
    TooMany,
    #[error("must not hold control characters")]
    ControlCharacter,
    #[error("is taken by another one")]
    NameTaken,
    #[error("must be letters, digits, hyphens or underscores")]
    BadSlug,
    #[error("is not a regular expression that this server can run; look-around and back-references are not supported")]
    BadRegex,
    #[error("is not a region: a country such as FR, or a subdivision such as US-CA")]
    BadRegion,
    #[error("names one region twice")]
    RegionTwice,
    #[error("needs an entry without a region: the default")]
    NoDefaultExpiry,
    #[error("must allow at least one day to answer")]
    NoTimeToAnswer,
    #[error("must allow at least one day to download")]
    NoTimeToDownload,
    #[error("must be at most ten years of days")]
    TooManyDays,
    #[error("cannot preview itself")]
    PreviewsItself,
    #[error("must be called as its type is; only identifiers of type custom have names of their own")]
    KindNamesItself,
    #[error("is built in and cannot be changed in this way")]
    BuiltIn,
}

/// Compiles the pattern of an identifier; an empty one accepts anything.
pub(super) fn compile(pattern: &str) -> Result<Option<Regex>, SettingError> {
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

fn check_name(name: &str) -> Result<(), SettingError> {
    if name.is_empty() || name.trim() != name {
        return Err(SettingError::Empty);
    }
    check_text(name, NAME_MAX)
}

fn check_text(text: &str, bytes_max: usize) -> Result<(), SettingError> {
    if text.len() > bytes_max {
        return Err(SettingError::TooLong);
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(SettingError::ControlCharacter);
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), SettingError> {
    let (country, rest) = region.split_once('-').unwrap_or((region, "0"));
    let country_fits = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    let rest_fits = (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if country_fits && rest_fits {
        Ok(())
    } else {
        Err(SettingError::BadRegion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(Action::parse("ACCOUNT_DELETION"), None);
    }

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
    fn the_narrowest_region_sets_the_time_to_answer() {
        let mut settings = ActionSettings::initial(ActionId(Uuid::nil()), Action::Access);
        settings.expiry.push(RegionExpiry {
            region: Some("US".into()),
            days: Days(45),
        });
        settings.expiry.push(RegionExpiry {
            region: Some("US-VT".into()),
            days: Days(60),
        });
        assert_eq!(settings.expiry_in(None, None), Days(30));
        assert_eq!(settings.expiry_in(Some("FR"), None), Days(30));
        assert_eq!(settings.expiry_in(Some("US"), Some("US-CA")), Days(45));
        assert_eq!(settings.expiry_in(Some("US"), Some("US-VT")), Days(60));
        assert_eq!(settings.check(), Ok(()));
    }

    #[test]
    fn action_settings_that_could_not_work_are_refused() {
        let good = ActionSettings::initial(ActionId(Uuid::nil()), Action::Erasure);
        type Spoil = fn(&mut ActionSettings);
        let cases: [(Spoil, SettingError); 7] = [
            (|s| s.waiting_period = Days(4_000), SettingError::TooManyDays),
            (|s| s.download_availability = Days(0), SettingError::NoTimeToDownload),
            (|s| s.expiry.clear(), SettingError::NoDefaultExpiry),
            (|s| s.expiry[0].days = Days(0), SettingError::NoTimeToAnswer),
            (
                |s| {
                    s.expiry.push(RegionExpiry {
                        region: None,
                        days: Days(9),
                    })
                },
                SettingError::RegionTwice,
            ),
            (|s| s.regions.push("Paris".into()), SettingError::BadRegion),
            (
                |s| {
                    s.delay = Some(Delay {
                        time: Days(3),
                        preview_action: Action::Erasure,
                    })
                },
                SettingError::PreviewsItself,
            ),
        ];
        for (spoil, why) in cases {
            let mut settings = good.clone();
            spoil(&mut settings);
            assert_eq!(settings.check(), Err(why));
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
