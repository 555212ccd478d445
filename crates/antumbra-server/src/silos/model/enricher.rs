//! What runs before silos are asked.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LIST_MAX, SealedHeader, SiloError, bounded, named};
use crate::{
    organization::Action,
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
    /// How long it waits for an answer.
    pub expiration: Option<Duration>,
    /// For `REGEX_MATCH`: the pattern.
    pub test_regex: Option<String>,
    /// The status a request gets when the rule says no.
    pub transition_request_status: Option<String>,
    /// For `PERSON` and `phone`: who is called.
    pub phone_numbers: Vec<String>,
    /// For `LOOKER`: the query.
    pub looker_query_title: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

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
    pub(in crate::silos) fn check(&self, addresses: &AddressRules) -> Result<(), SiloError> {
        named("title", &self.title)?;
        if let Some(url) = &self.url {
            addresses.parse_url(url)?;
        }
        let names = self.input_identifier.iter().chain(&self.output_identifiers);
        names.into_iter().try_for_each(|name| named("identifier", name))?;
        bounded("identifiers", self.output_identifiers.len(), LIST_MAX)?;
        bounded("regions", self.regions.len() + self.phone_numbers.len(), LIST_MAX)
    }
}
