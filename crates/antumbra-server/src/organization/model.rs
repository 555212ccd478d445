//! What an organization configures about itself: pure types and the rules on them.
//!
//! Names are what people and files refer to, so each name is unique in its organization and compared exactly.

mod action;
mod attribute;
mod calendar;
mod identifier;
mod template;

use std::collections::BTreeSet;

use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use action::*;
pub use attribute::*;
pub use calendar::{Holiday, NoHoliday, knows_zone};
pub use identifier::*;
pub use template::*;

use super::OrganizationId;
use crate::config::IabContradiction;

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
    /// What becomes of a consent string that says the opposite of the purposes beside it. `None`: what the server is set to.
    #[serde(default)]
    pub iab_contradiction: Option<IabContradiction>,
    /// How long after its status last changed a data subject request can be restarted. `None`: for ever.
    #[serde(default)]
    pub restart_time_limit_days: Option<Days>,
    /// What becomes of data subject requests that have been over for long.
    #[serde(default)]
    pub retention: Retention,
    /// The time zone whose days count, as `Europe/Berlin`. `None`: what the server is set to.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Days on which nobody works there, beside weekends.
    #[serde(default)]
    pub holidays: Vec<Holiday>,
    /// It was made to rehearse: every request of it is a test, and its time can be moved forward.
    #[serde(default)]
    pub rehearses: bool,
}

/// What becomes of data subject requests that have been over for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// What is removed.
    pub kind: RetentionKind,
    /// How long a request has to be over.
    pub after: Days,
}

/// What is removed of a data subject request that has been over for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetentionKind {
    /// Nothing.
    Keep,
    /// Everything about the person: identifiers, texts and files. What stays says what was demanded, when, and how it ended.
    DeletePersonalData,
    /// The same, and what stays.
    DeleteRequest,
}

impl Default for Retention {
    /// Three years.
    fn default() -> Retention {
        Retention {
            kind: RetentionKind::DeletePersonalData,
            after: Days(3 * 365),
        }
    }
}

impl Retention {
    /// Checks everything that can be told without looking at others.
    pub fn check(&self) -> Result<(), SettingError> {
        match self.after {
            after if after.is_none() => Err(SettingError::NoTimeToKeep),
            after if after > Days::MAX => Err(SettingError::TooManyDays),
            _ => Ok(()),
        }
    }
}

impl Organization {
    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.name)?;
        self.retention.check()?;
        calendar::check(self.time_zone.as_deref(), &self.holidays)
    }

    /// The key of the partition that always exists.
    pub fn default_partition(&self) -> String {
        self.consent_manager.to_string()
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
    /// How long it takes to answer them, where it is neither what their action says nor what the law says.
    #[serde(default)]
    pub times_to_answer: Vec<TimeToAnswer>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SubjectType {
    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.slug)?;
        check_text(&self.title, TITLE_MAX)?;
        if self.title.is_empty() {
            return Err(SettingError::Empty);
        }
        for (place, time) in self.times_to_answer.iter().enumerate() {
            if time.days.is_none() {
                return Err(SettingError::NoTimeToAnswer);
            }
            if time.days > Days::MAX {
                return Err(SettingError::TooManyDays);
            }
            if self.times_to_answer[..place]
                .iter()
                .any(|earlier| earlier.action == time.action)
            {
                return Err(SettingError::ActionTwice);
            }
        }
        Ok(())
    }

    /// How long it takes to answer such a person's `action`, if the organization has set that.
    pub fn time_to_answer(&self, action: Action) -> Option<Days> {
        let of = |action: Option<Action>| self.times_to_answer.iter().find(|time| time.action == action);
        of(Some(action)).or(of(None)).map(|time| time.days)
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

/// The templates that clients expect from the start.
pub(super) const BUILT_IN_TEMPLATES: [&str; 2] = ["Request Canceled", "Additional Time Needed"];

/// The most identifiers, data subject types, attribute keys or templates of one organization, each.
pub(super) const EACH_MAX: usize = 1_000;
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
    #[error("must not begin or end with a space")]
    Padded,
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
    #[error("names one action twice")]
    ActionTwice,
    #[error("needs an entry without a region: the default")]
    NoDefaultExpiry,
    #[error("must allow at least one day to answer")]
    NoTimeToAnswer,
    #[error("must allow at least one day to download")]
    NoTimeToDownload,
    #[error("must be at least one day")]
    NoTimeToKeep,
    #[error("has a time zone that this server does not know; it knows names such as Europe/Berlin")]
    UnknownTimeZone,
    #[error("names one holiday twice")]
    HolidayTwice,
    #[error("must be at most ten years of days")]
    TooManyDays,
    #[error("cannot preview itself")]
    PreviewsItself,
    #[error("must be called as its type is; only identifiers of type custom have names of their own")]
    KindNamesItself,
    #[error("is built in and cannot be changed in this way")]
    BuiltIn,
    #[error("cannot begin or cease to be unique on the preference store while any partition holds preference records")]
    UniquenessInUse,
    #[error("must be a language such as de or pt-BR")]
    BadLocale,
    #[error(
        "has {{{{ in line {line}, column {column}, that begins no known placeholder; known here: {}",
        names_for(MessageKind::parse(names)).join(", ")
    )]
    UnknownPlaceholder {
        line: usize,
        column: usize,
        names: &'static str,
    },
    #[error(
        "must have {{{{{}}}}}, or who reads it can do nothing with it",
        MessageKind::parse(names).map_or_else(String::new, |kind| kind.openers().join("}} or {{"))
    )]
    OpensNothing { names: &'static str },
}

fn check_name(name: &str) -> Result<(), SettingError> {
    if name.is_empty() {
        return Err(SettingError::Empty);
    }
    if name.trim() != name {
        return Err(SettingError::Padded);
    }
    if name.chars().any(char::is_control) {
        return Err(SettingError::ControlCharacter);
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
