//! Organizations that rehearse: their time can be moved forward, so that what takes weeks is seen in seconds.
//!
//! How far their time is ahead of the machine's is kept here and never gets less. Every process holds it in its [`Clock`],
//! which [`load_clocks`] fills; the process that moves a time forward knows at once, others on the same store when they
//! look next. A time that lags behind for that moment does what would have been done earlier, never something else.

use std::time::Duration;

use antumbra_store::{Reader, Record, Scan, StoreError, Table};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Changes, Organization, OrganizationId};
use crate::{
    audit::{self, AuditEntry, Detail},
    world::Clock,
};

/// Answers: how far the time of an organization that rehearses is ahead.
pub(super) const CLOCKS: Table<Uuid, Ahead> = Table::new("organization_clocks");

/// The furthest that a time runs ahead: ten years.
pub const AHEAD_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ahead {
    by_ms: u64,
    /// Up to which moment retention has been begun while time was moved.
    #[serde(default)]
    retained_until: Option<Timestamp>,
}

impl Record for Ahead {
    const VERSION: u8 = 1;
}

/// Tells `clock` of every organization that rehearses.
pub async fn load_clocks(reader: &mut Reader, clock: &Clock) -> Result<(), StoreError> {
    for (organization, ahead) in reader.scan(&CLOCKS, Scan::prefix(&())).await? {
        clock.run_ahead(OrganizationId(organization), Duration::from_millis(ahead.by_ms));
    }
    Ok(())
}

impl Changes<'_> {
    /// Makes an organization one that rehearses, for good.
    pub fn begin_rehearsal(&mut self, organization: &Organization) {
        let changed = Organization {
            rehearses: true,
            ..organization.clone()
        };
        self.save_organization(&changed);
        self.tx.put(&CLOCKS, &self.organization.0, &Ahead::default());
        self.audit("organization.rehearsal_begun", Vec::new());
    }

    /// Lets the time of the organization run `by` further ahead. Gives how far that is in all, or nothing if it were more
    /// than [`AHEAD_MAX`]. Tell the [`Clock`] once it is committed.
    pub async fn run_ahead(&mut self, by: Duration) -> Result<Option<Duration>, StoreError> {
        let kept = self.tx.get(&CLOCKS, &self.organization.0).await?.unwrap_or_default();
        let ahead = Duration::from_millis(kept.by_ms).saturating_add(by);
        if ahead > AHEAD_MAX {
            return Ok(None);
        }
        let by_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.tx.put(&CLOCKS, &self.organization.0, &Ahead { by_ms, ..kept });
        self.audit(
            "organization.clock_advanced",
            vec![("seconds", Detail::Count(by.as_secs()))],
        );
        Ok(Some(ahead))
    }

    /// Up to which moment retention has been begun while time was moved.
    pub async fn retained_until(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let kept = self.tx.get(&CLOCKS, &self.organization.0).await?;
        Ok(kept.and_then(|kept| kept.retained_until))
    }

    /// Retention has been begun for all that was due now.
    pub async fn note_retained(&mut self) -> Result<(), StoreError> {
        let kept = self.tx.get(&CLOCKS, &self.organization.0).await?.unwrap_or_default();
        let retained_until = Some(self.at);
        self.tx
            .put(&CLOCKS, &self.organization.0, &Ahead { retained_until, ..kept });
        Ok(())
    }

    fn audit(&mut self, action: &'static str, details: Vec<(&'static str, Detail)>) {
        let entry = AuditEntry {
            actor: self.actor,
            action,
            object: ("organization", self.organization.0),
            at: self.at,
            details,
        };
        audit::record(self.tx, self.ids, self.organization, entry);
    }
}
