//! What runs before silos are asked.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{DailyWindow, LIST_MAX, SealedHeader, SiloError, bounded, named};
use crate::{
    organization::{Action, TemplateId},
    silos::{EnricherId, address::AddressRules},
};

/// A lookup of further identifiers, or a rule, that runs before silos are asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enricher {
    /// Its id.
    pub id: EnricherId,
    /// What people read; files refer to it by this.
    pub title: String,
    /// How it works.
    pub kind: EnricherKind,
    /// A sentence about it.
    pub description: Option<String>,
    /// Where notices of new lookups go.
    pub url: Option<String>,
    /// Added to each notice.
    pub headers: Vec<SealedHeader>,
    /// The name of the identifier it starts from.
    pub input_identifier: Option<String>,
    /// Names of the identifiers it may find.
    pub output_identifiers: Vec<String>,
    /// Slugs of the data subject types it runs for; empty means all.
    pub subject_types: BTreeSet<String>,
    /// The actions it runs for; empty means all.
    pub actions: BTreeSet<Action>,
    /// The regions it runs for; empty means all.
    pub regions: Vec<String>,
    /// How long a data subject has to verify an identifier, how long it waits, or how long its address has to answer.
    pub expiration: Option<Duration>,
    /// For `REGEX_MATCH`: the pattern.
    pub test_regex: Option<String>,
    /// The status a request gets when what the rule asks for is the case, or when an identifier is not verified in time.
    pub transition_request_status: Option<String>,
    /// For `PERSON` and `phone`: who is called.
    pub phone_numbers: Vec<String>,
    /// For `LOOKER`: the query.
    pub looker_query_title: Option<String>,
    /// When the data subject is reminded to verify an identifier, counted from the first message; nothing for the usual times.
    #[serde(default)]
    pub reminders: Option<Vec<Duration>>,
    /// Enrichers that are to end first.
    #[serde(default)]
    pub depends_on: BTreeSet<EnricherId>,
    /// It does not run for the time being.
    #[serde(default)]
    pub is_paused: bool,
    /// The part of each day in which its address is asked; nothing for the whole day.
    #[serde(default)]
    pub daily_window: Option<DailyWindow>,
    /// The template of the messages that ask the data subject to verify an identifier.
    #[serde(default)]
    pub verification_template: Option<TemplateId>,
    /// The template of the message that tells of the end it has brought upon a request.
    #[serde(default)]
    pub end_template: Option<TemplateId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Reminders of one verification.
pub const REMINDERS_MAX: usize = 3;
/// The longest time a data subject has, or an enricher waits.
const EXPIRATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How an enricher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, async_graphql::Enum)]
#[graphql(name = "EnricherType")]
#[allow(missing_docs, reason = "the names say it, and each is what the wire says")]
pub enum EnricherKind {
    #[graphql(name = "SOMBRA")]
    Sombra,
    #[graphql(name = "email")]
    Email,
    #[graphql(name = "phone")]
    Phone,
    #[graphql(name = "SERVER")]
    Server,
    #[graphql(name = "PERSON")]
    Person,
    #[graphql(name = "LEGAL_HOLD")]
    LegalHold,
    #[graphql(name = "AUTO_APPROVE")]
    AutoApprove,
    #[graphql(name = "REGEX_MATCH")]
    RegexMatch,
    #[graphql(name = "REGION_MATCH")]
    RegionMatch,
    #[graphql(name = "DATABASE")]
    Database,
    #[graphql(name = "LOOKER")]
    Looker,
    #[graphql(name = "WAIT_PERIOD")]
    WaitPeriod,
    #[graphql(name = "GOVERNMENT_ID")]
    GovernmentId,
    #[graphql(name = "CUSTOM_FUNCTION")]
    CustomFunction,
}

impl Enricher {
    /// An enricher with nothing set but what it is.
    pub fn new(id: EnricherId, title: String, kind: EnricherKind, created_at: Timestamp) -> Enricher {
        Enricher {
            id,
            title,
            kind,
            description: None,
            url: None,
            headers: Vec::new(),
            input_identifier: None,
            output_identifiers: Vec::new(),
            subject_types: BTreeSet::new(),
            actions: BTreeSet::new(),
            regions: Vec::new(),
            expiration: None,
            test_regex: None,
            transition_request_status: None,
            phone_numbers: Vec::new(),
            looker_query_title: None,
            reminders: None,
            depends_on: BTreeSet::new(),
            is_paused: false,
            daily_window: None,
            verification_template: None,
            end_template: None,
            created_at,
        }
    }

    /// Whether the pattern matches the value; nothing if there is no pattern.
    pub fn matches(&self, value: &str) -> Option<bool> {
        let pattern = compile(self.test_regex.as_deref()?).ok()?;
        Some(pattern.is_match(value))
    }

    pub(in crate::silos) fn check(&self, addresses: &AddressRules) -> Result<(), SiloError> {
        named("title", &self.title)?;
        if let Some(url) = &self.url {
            addresses.parse_url(url)?;
        }
        if let Some(pattern) = &self.test_regex {
            compile(pattern)?;
        }
        let spans = self.expiration.iter().chain(self.reminders.iter().flatten());
        if spans.into_iter().any(|span| *span > EXPIRATION_MAX) {
            return Err(SiloError::TooLong);
        }
        bounded("reminders", self.reminders.iter().flatten().count(), REMINDERS_MAX)?;
        bounded("dependencies", self.depends_on.len(), LIST_MAX)?;
        let names = self.input_identifier.iter().chain(&self.output_identifiers);
        names.into_iter().try_for_each(|name| named("identifier", name))?;
        bounded("identifiers", self.output_identifiers.len(), LIST_MAX)?;
        bounded("regions", self.regions.len() + self.phone_numbers.len(), LIST_MAX)?;
        self.lacks().map_or(Ok(()), |what| Err(SiloError::Lacks { what }))
    }

    /// What a rule needs and has not: without it every request would pass.
    fn lacks(&self) -> Option<&'static str> {
        match self.kind {
            EnricherKind::RegexMatch if self.test_regex.is_none() => Some("testRegex"),
            EnricherKind::RegionMatch if self.regions.is_empty() => Some("regionList"),
            EnricherKind::WaitPeriod if self.expiration.is_none() => Some("expirationDuration"),
            _ => None,
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, SiloError> {
    let bounded = RegexBuilder::new(pattern).size_limit(256 * 1024).build();
    bounded.map_err(|_| SiloError::BadPattern)
}
