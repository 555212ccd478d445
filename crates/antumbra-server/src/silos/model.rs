//! Data silos, data points and enrichers: pure types and the rules on them.

mod daily_window;
mod data_point;
mod enricher;

use std::{collections::BTreeSet, fmt};

use axum::http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use daily_window::DailyWindow;
pub use data_point::{DataPoint, Encryption, Field, Localized, Named, Query};
pub use enricher::{Enricher, EnricherKind, REMINDERS_MAX};

use super::{
    DataSiloId,
    address::{AddressRules, Refused},
};
use crate::organization::Action;

/// A system that holds personal data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataSilo {
    /// Its id.
    pub id: DataSiloId,
    /// What sort of system it is, such as `server`, `cron` or `database`. The catalogue is open: any string.
    pub kind: String,
    /// The sort of system behind a generic kind.
    pub outer_type: Option<String>,
    /// What people read.
    pub title: String,
    /// A sentence about it; may be empty.
    pub description: String,
    /// Where notices of new runs go. None: the silo asks for its work itself.
    pub url: Option<String>,
    /// Added to each notice.
    pub headers: Vec<SealedHeader>,
    /// Names of the identifiers it can look people up by.
    pub identity_keys: Vec<String>,
    /// Slugs of the data subject types it holds nothing about.
    pub subject_blocklist: BTreeSet<String>,
    /// What it can do as a whole. None: everything that its data points do not narrow down; see [`DataSilo::serves`].
    pub actions: Option<BTreeSet<Action>>,
    /// For erasures: the silos that are to finish first.
    pub depends_on: BTreeSet<DataSiloId>,
    /// The same, for the requests of one workflow.
    pub depends_on_in_workflow: Vec<WorkflowDependencies>,
    /// Whether it takes part in requests that are not tests.
    pub is_live: bool,
    /// Whether it is left alone for now: its runs are made, and wait until it is resumed.
    #[serde(default)]
    pub is_paused: bool,
    /// For erasures: once it says that it is done, it is asked whether anything is left.
    #[serde(default)]
    pub confirms_absence: bool,
    /// The country it stands in.
    pub country: Option<String>,
    /// The part of that country.
    pub country_sub_division: Option<String>,
    /// Who is told of its runs that need a person.
    pub notify_email_address: Option<String>,
    /// How a vendor without a technical connection is asked.
    pub vendor_mail: VendorMail,
    /// How often a run that waits for a person is brought up again, in the words of whoever set it.
    pub manual_work_retry_frequency: String,
    /// Mail addresses of the people answerable for it.
    pub owners: Vec<String>,
    /// The teams answerable for it.
    pub teams: Vec<String>,
    /// Titles of the business entities it belongs to.
    pub business_entities: Vec<String>,
    /// The organization's own attributes.
    pub attributes: Vec<Attribute>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Silos that are to finish first, in one workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowDependencies {
    /// The workflow.
    pub workflow: Uuid,
    /// The silos.
    pub silos: BTreeSet<DataSiloId>,
}

/// How a vendor without a technical connection is asked by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorMail {
    /// Days between two mails.
    pub every_days: u32,
    /// What one mail is about.
    pub send_type: VendorMailSendType,
    /// Whether the identifiers are attached.
    pub attaches_identifiers: bool,
    /// What the link in the mail leads to.
    pub completion_link: VendorMailCompletionLink,
}

/// What one mail to a vendor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "PromptAVendorEmailSendType")]
pub enum VendorMailSendType {
    /// One request.
    PerDsr,
    /// One profile of one request.
    PerProfile,
    /// Every request the vendor has not been told of yet.
    CrossDsr,
}

/// What the link in a vendor's mail leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "PromptAVendorEmailCompletionLinkType")]
pub enum VendorMailCompletionLink {
    /// A page that needs a login.
    LoggedInUser,
    /// A page for whoever holds the link.
    UnauthenticatedExternalUser,
    /// There is none; the mail itself completes the run.
    NoLinkMarkDatapointAsResolved,
}

impl Default for VendorMail {
    fn default() -> VendorMail {
        VendorMail {
            every_days: 1,
            send_type: VendorMailSendType::PerDsr,
            attaches_identifiers: false,
            completion_link: VendorMailCompletionLink::UnauthenticatedExternalUser,
        }
    }
}

/// One of the organization's own attributes, and its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// The attribute's name.
    pub key: String,
    /// Its values.
    pub values: Vec<String>,
}

/// A header of a notice as it is kept: its value is sealed under the silo's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, sealed.
    pub sealed_value: Vec<u8>,
    /// Whether the value is never shown again.
    pub is_secret: bool,
}

/// A header of a notice in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value is never to be shown again.
    pub is_secret: bool,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({}: ..)", self.name)
    }
}

/// What a silo, data point or enricher may not be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SiloError {
    /// There is none of that id in this organization.
    #[error("there is no such integration")]
    NoSuchSilo,
    /// There is none of that id in this organization.
    #[error("there is no such data point")]
    NoSuchDataPoint,
    /// There is none of that id in this organization.
    #[error("there is no such preflight check")]
    NoSuchEnricher,
    /// A name is empty, too long, or holds control characters.
    #[error("{what} must have 1 to {TEXT_MAX} characters and no control characters")]
    BadName {
        /// Which name.
        what: &'static str,
    },
    /// There is more of something than is kept.
    #[error("there are too many {what}, or they are too long")]
    TooMuch {
        /// Of what.
        what: &'static str,
    },
    /// The address may not be called.
    #[error("url {0}")]
    Url(#[from] Refused),
    /// The pattern cannot be run.
    #[error(
        "testRegex is not a regular expression that this server can run; look-around and back-references are not supported"
    )]
    BadPattern,
    /// A rule lacks what it goes by, and would let everything pass.
    #[error("{what} is required for this type of preflight check")]
    Lacks {
        /// What it lacks.
        what: &'static str,
    },
    /// A span of time is longer than any request lasts.
    #[error("expirationDuration and reminders must be at most 366 days")]
    TooLong,
    /// It is no time of a day.
    #[error("dailyWindow must be two times of day such as 08:00 and 17:30")]
    NoTimeOfDay,
    /// The name is no header's, or belongs to the server.
    #[error("header {name} cannot be set: the name is not valid, or the server sets it")]
    HeaderName {
        /// The name.
        name: String,
    },
    /// The value holds what a header cannot carry.
    #[error("the value of header {name} holds characters that a header cannot carry")]
    HeaderValue {
        /// The name.
        name: String,
    },
}

/// Characters in a name or title at most.
pub(super) const TEXT_MAX: usize = 256;
/// Characters in a description at most.
const DESCRIPTION_MAX: usize = 10_000;
/// Headers of a notice at most.
const HEADERS_MAX: usize = 64;
/// Entries in any other list at most.
const LIST_MAX: usize = 2_000;

/// Headers that the server sets on a notice itself, or that shape the connection.
const OUR_HEADERS: [&str; 14] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-sombra-token",
    "x-transcend-nonce",
];

impl DataSilo {
    /// A silo with nothing but a kind and a title: what `createDataSilos` makes.
    pub fn new(id: DataSiloId, kind: String, title: String, created_at: Timestamp) -> DataSilo {
        DataSilo {
            id,
            kind,
            outer_type: None,
            title,
            description: String::new(),
            url: None,
            headers: Vec::new(),
            identity_keys: Vec::new(),
            subject_blocklist: BTreeSet::new(),
            actions: None,
            depends_on: BTreeSet::new(),
            depends_on_in_workflow: Vec::new(),
            is_live: true,
            is_paused: false,
            confirms_absence: false,
            country: None,
            country_sub_division: None,
            notify_email_address: None,
            vendor_mail: VendorMail::default(),
            manual_work_retry_frequency: "30 days".to_owned(),
            owners: Vec::new(),
            teams: Vec::new(),
            business_entities: Vec::new(),
            attributes: Vec::new(),
            created_at,
        }
    }

    /// Checks what the types allow and the rules do not.
    pub(super) fn check(&self, addresses: &AddressRules) -> Result<(), SiloError> {
        named("title", &self.title)?;
        named("type", &self.kind)?;
        if let Some(url) = &self.url {
            addresses.parse_url(url)?;
        }
        bounded(
            "characters of description",
            self.description.chars().count(),
            DESCRIPTION_MAX,
        )?;
        for name in &self.identity_keys {
            named("identifier", name)?;
        }
        bounded("identifiers", self.identity_keys.len(), LIST_MAX)?;
        bounded(
            "dependencies",
            self.depends_on.len() + self.depends_on_in_workflow.len(),
            LIST_MAX,
        )?;
        bounded("owners and teams", self.owners.len() + self.teams.len(), LIST_MAX)?;
        bounded(
            "attributes",
            self.attributes.len() + self.business_entities.len(),
            LIST_MAX,
        )
    }

    /// The silos that are to finish first in an erasure that belongs to `workflow`.
    pub fn predecessors(&self, workflow: Option<Uuid>) -> BTreeSet<DataSiloId> {
        let of_workflow = self.depends_on_in_workflow.iter();
        let of_workflow = of_workflow.filter(|entry| workflow == Some(entry.workflow));
        let further = of_workflow.flat_map(|entry| &entry.silos);
        self.depends_on.iter().chain(further).copied().collect()
    }

    /// Whether notices are sent to it; otherwise it comes for its work itself.
    pub fn is_noticed(&self) -> bool {
        self.url.is_some()
    }

    /// Whether a notice may be sent to it now.
    pub fn may_be_told(&self) -> bool {
        self.is_noticed() && !self.is_paused
    }

    /// Whether its work is a person's. One with an address is a vendor who is told there, and answers by a link.
    pub fn is_worked_by_hand(&self) -> bool {
        self.kind == "promptAPerson"
    }

    /// After how many days its person is reminded, where its work is a person's: of `30 days` or `2 weeks`, the days.
    pub fn manual_days(&self) -> Option<u32> {
        const DEFAULT: u32 = 30;
        if !self.is_worked_by_hand() {
            return None;
        }
        let mut words = self.manual_work_retry_frequency.split_whitespace();
        let number: Option<u32> = words.next().and_then(|word| word.parse().ok());
        let days = match words.next().map(|unit| unit.trim_end_matches('s')) {
            None | Some("day") => 1,
            Some("week") => 7,
            Some("month") => 30,
            Some(_) => return Some(DEFAULT),
        };
        Some(
            number
                .map_or(DEFAULT, |number| number.saturating_mul(days))
                .clamp(1, 3_650),
        )
    }

    /// Whether a run for `action` is made at this silo, which has `data_points`.
    ///
    /// The silo's own list decides where there is one. Else the data points do: `ACCESS` needs one that takes part in it;
    /// any other action needs to be named by one, unless none names any. A silo without data points takes part in
    /// everything: to ask it in vain costs a notice, to leave it out of an erasure leaves data behind.
    pub fn serves(&self, action: Action, data_points: &[DataPoint]) -> bool {
        if let Some(actions) = &self.actions {
            return actions.contains(&action);
        }
        let named_by_one = data_points.iter().any(|point| point.enabled_actions.contains(&action));
        let names_only_access = data_points
            .iter()
            .all(|point| point.enabled_actions.iter().all(|named| *named == Action::Access));
        named_by_one || data_points.is_empty() || (action != Action::Access && names_only_access)
    }
}

/// Checks headers of a notice. A name the server sets itself is refused, not silently dropped.
pub(super) fn check_headers(headers: &[Header]) -> Result<(), SiloError> {
    bounded("headers", headers.len(), HEADERS_MAX)?;
    for Header { name, value, .. } in headers {
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(lower.as_bytes()).is_err() || is_ours(&lower) {
            return Err(SiloError::HeaderName {
                name: lower.chars().take(64).collect(),
            });
        }
        if HeaderValue::from_str(value).is_err() || value.len() > 8 * 1024 {
            return Err(SiloError::HeaderValue { name: lower });
        }
    }
    Ok(())
}

/// Whether the server sets this header, given in lower case, on a notice itself.
pub fn is_ours(name: &str) -> bool {
    OUR_HEADERS.contains(&name) || name.starts_with("proxy-")
}

pub(super) fn named(what: &'static str, name: &str) -> Result<(), SiloError> {
    let length = name.chars().count();
    if length == 0 || length > TEXT_MAX || name.chars().any(char::is_control) {
        return Err(SiloError::BadName { what });
    }
    Ok(())
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), SiloError> {
    if count > max {
        Err(SiloError::TooMuch { what })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silos::DataPointId;

    fn silo() -> DataSilo {
        DataSilo::new(
            DataSiloId(Uuid::nil()),
            "server".into(),
            "Shop".into(),
            Timestamp::UNIX_EPOCH,
        )
    }

    fn data_point(actions: &[Action]) -> DataPoint {
        let mut point = DataPoint::new(
            DataPointId(Uuid::nil()),
            DataSiloId(Uuid::nil()),
            "orders".into(),
            Timestamp::UNIX_EPOCH,
        );
        point.enabled_actions = actions.iter().copied().collect();
        point
    }

    #[test]
    fn a_silo_takes_part_in_what_it_or_its_data_points_name() {
        use Action::{Access, Erasure, SaleOptOut};
        let all: Option<&[Action]> = None;
        for (own, points, action, serves) in [
            (all, &[][..], Access, true),
            (all, &[][..], Erasure, true),
            (all, &[&[Access][..]][..], Access, true),
            (all, &[&[Access][..]][..], Erasure, true),
            (all, &[&[Access, Erasure][..]][..], Erasure, true),
            (all, &[&[Access, Erasure][..]][..], SaleOptOut, false),
            (all, &[&[Erasure][..]][..], Access, false),
            (all, &[&[][..]][..], Access, false),
            (all, &[&[][..]][..], Erasure, true),
            (Some(&[Erasure][..]), &[&[Access][..]][..], Access, false),
            (Some(&[Erasure][..]), &[&[Access][..]][..], Erasure, true),
        ] {
            let mut silo = silo();
            silo.actions = own.map(|own| own.iter().copied().collect());
            let points: Vec<DataPoint> = points.iter().map(|actions| data_point(actions)).collect();
            assert_eq!(silo.serves(action, &points), serves, "{own:?} {action:?}");
        }
    }

    #[test]
    fn whoever_works_by_hand_is_reminded_as_often_as_was_asked() {
        let mut silo = silo();
        assert_eq!(silo.manual_days(), None);
        silo.kind = "promptAPerson".into();
        for (asked, days) in [
            ("30 days", 30),
            ("1 day", 1),
            ("2 weeks", 14),
            ("3 months", 90),
            ("12", 12),
            ("0 days", 1),
            ("4294967295 months", 3_650),
            ("now and then", 30),
            ("5 fortnights", 30),
            ("", 30),
        ] {
            silo.manual_work_retry_frequency = asked.into();
            assert_eq!(silo.manual_days(), Some(days), "{asked}");
        }
    }

    #[test]
    fn a_silo_is_refused_with_an_address_that_may_not_be_called() {
        let mut silo = silo();
        silo.url = Some("http://169.254.169.254/".into());
        assert_eq!(
            silo.check(&AddressRules::default()),
            Err(SiloError::Url(Refused::NotPublic))
        );
        silo.url = Some("https://shop.example/transcend/new-dsr".into());
        assert_eq!(silo.check(&AddressRules::default()), Ok(()));
        silo.title = "a\nb".into();
        assert_eq!(
            silo.check(&AddressRules::default()),
            Err(SiloError::BadName { what: "title" })
        );
    }

    #[test]
    fn headers_cannot_take_the_place_of_ours_nor_break_the_head() {
        let header = |name: &str, value: &str| {
            check_headers(&[Header {
                name: name.into(),
                value: value.into(),
                is_secret: false,
            }])
        };
        assert_eq!(header("X-Shop-Key", "s3cret"), Ok(()));
        assert_eq!(header("Authorization", "Bearer abc"), Ok(()));
        for ours in [
            "Content-Length",
            "content-type",
            "X-Sombra-Token",
            "x-transcend-nonce",
            "Host",
            "Proxy-Foo",
            "a b",
            "",
        ] {
            assert!(matches!(header(ours, "x"), Err(SiloError::HeaderName { .. })), "{ours}");
        }
        assert!(matches!(
            header("x-shop", "a\r\nb: c"),
            Err(SiloError::HeaderValue { .. })
        ));
    }

    #[test]
    fn a_header_does_not_print_its_value() {
        let header = Header {
            name: "x-shop".into(),
            value: "s3cret".into(),
            is_secret: true,
        };
        assert!(!format!("{header:?}").contains("s3cret"));
    }
}
