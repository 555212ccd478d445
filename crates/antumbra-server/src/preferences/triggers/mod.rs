//! Workflow triggers: choices that open data subject requests.
//!
//! A trigger fires in the transaction of the write that sets it off, so a request is there exactly if the write is; a
//! replay changes nothing and fires nothing. A trigger that can't do its part (its data subject type is gone, or the
//! person has no identifier that requests take) does not hold up the write: the audit log says what was not opened and
//! why, and a job tries again for a week.
//!
//! | File | Holds |
//! | --- | --- |
//! | `model.rs` | a trigger, and the rule by which it fires |
//! | `settings.rs` | what a write wants of the requests that it may open |
//! | `store.rs` | the table, and what of it is kept in memory |
//! | `missed.rs` | what could not be opened, and the job that tries again |
//! | `graphql.rs` | its part of the management API |

pub(crate) mod graphql;
mod missed;
mod model;
mod settings;
mod store;

use antumbra_store::Tx;

use super::{
    expiry::Sight,
    model::{Choice, PurposeAnswer, Record, RecordId, TopicAnswer},
    store::{Batch, Held, Refused, Site},
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    dsr::{self, Deed, DsrError, DsrId, Labelled, Occasion, OccasionPartition, Prompt, SiloChoice, TopicChoice, Unfit},
    http::Problem,
    purposes::{Catalog, PartitionId, PurposeEntry},
};

#[cfg(any(test, fuzzing))]
pub(crate) use missed::RECORDS as MISSED_RECORDS;
pub use missed::{FIRE_AGAIN, fire_again};
pub(super) use model::Trigger;
use model::{Firing, Taken, TriggerId, firings};
pub(super) use settings::{RequestSettings, Urge, Workflow, workflow_of};
pub use store::ArmedTriggers;
#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

/// The names of this folder's tables.
pub(super) const TABLES: [&str; 2] = [store::TABLE, missed::TABLE];

/// What the audit log calls a firing that opened a request.
const FIRED: &str = "consent_workflow_trigger.fired";
/// One that could not.
const FAILED: &str = "consent_workflow_trigger.failed";
/// One that could not, and has no reason any more.
const LAPSED: &str = "consent_workflow_trigger.lapsed";

/// What takes part when a batch of writes sets off triggers.
pub(super) struct Scene<'a> {
    pub(super) app: &'a AppState,
    pub(super) site: &'a Site<'a>,
    pub(super) catalog: &'a Catalog,
    /// Those that can fire.
    pub(super) triggers: &'a [Trigger],
    /// Who writes.
    pub(super) by: Actor,
}

impl Scene<'_> {
    /// Opens what a stored batch sets off, and says how many requests that made.
    ///
    /// Fails with 409 if somebody insists on a request while one like it can no longer be stopped. After the commit the
    /// job runner wants to be told.
    pub(super) async fn fire(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        outcomes: &[Result<Held, Refused>],
    ) -> Result<usize, Problem> {
        let mut opened = 0;
        for (checked, outcome) in batch.records.iter().zip(outcomes) {
            let Ok(held) = outcome else { continue };
            let (Some(before), Some(after)) = (&held.before, &held.record) else {
                continue;
            };
            let sight = Sight::now(self.catalog, self.site.now);
            let (before, after) = (sight.left_of(before), sight.left_of(after));
            let taken = Taken {
                before: &before,
                after: &after,
                write: &checked.write,
                workflow: &checked.workflow,
            };
            let is_vouched_for = self.by != Actor::Anyone;
            let may_fire = |firing: &Firing<'_>| is_vouched_for || firing.trigger.allow_unauthenticated;
            for firing in firings(self.triggers, &taken).into_iter().filter(may_fire) {
                let place = (firing.trigger.id, held.id);
                match self.open(tx, checked.partition, &after, &firing).await? {
                    Ok(dsr) => {
                        opened += 1;
                        self.record(tx, FIRED, place, ("dsr", dsr.0.into()));
                        missed::forget(tx, self.site.organization, place);
                    }
                    Err(unfit) => {
                        let reason = unfit.word();
                        tracing::warn!(trigger.id = %place.0.0, reason, "a workflow trigger opened no request");
                        self.record(tx, FAILED, place, ("reason", reason.into()));
                        let now = self.app.now(self.site.organization);
                        missed::keep(tx, self.site, now, (checked.partition, held.id), &firing).await?;
                    }
                }
            }
        }
        Ok(opened)
    }

    /// Opens one request, if it can.
    async fn open(
        &self,
        tx: &mut Tx,
        partition: PartitionId,
        after: &Record,
        firing: &Firing<'_>,
    ) -> Result<Result<DsrId, Unfit>, DsrError> {
        let deed = Deed {
            organization: self.site.organization,
            by: self.by,
            now: self.app.now(self.site.organization),
            ids: self.site.ids,
        };
        let config = &self.app.config.dsr;
        match self.prompt(partition, after, firing) {
            Ok(prompt) => dsr::open_prompted(tx, self.site.keys, self.site.settings, &deed, config, prompt).await,
            Err(unfit) => Ok(Err(unfit)),
        }
    }

    /// Writes down what became of a firing.
    fn record(
        &self,
        tx: &mut Tx,
        action: &'static str,
        (trigger, record): (TriggerId, RecordId),
        detail: (&'static str, Detail),
    ) {
        let entry = AuditEntry {
            actor: self.by,
            action,
            object: ("consent_workflow_trigger", trigger.0),
            at: self.app.now(self.site.organization),
            details: vec![("record", Detail::Id(record.0)), detail],
        };
        audit::record(tx, self.site.ids, self.site.organization, entry);
    }

    /// What a trigger wants opened.
    fn prompt(&self, partition: PartitionId, after: &Record, firing: &Firing<'_>) -> Result<Prompt, Unfit> {
        let trigger = firing.trigger;
        let settings = firing.settings.clone();
        let own_subject_type = || {
            let mut known = self.site.settings.subject_types.iter();
            Some(known.find(|known| known.id == trigger.subject_type)?.slug.clone())
        };
        let subject_type = settings
            .subject_type
            .or_else(own_subject_type)
            .ok_or(Unfit::SubjectType)?;
        let action = match settings.workflow {
            Some(id) => {
                let mut known = self.site.settings.actions.iter();
                known.find(|known| known.id == id).ok_or(Unfit::Action)?.action
            }
            None => trigger.action,
        };
        let (country, subdivision) = settings
            .region
            .map(|region| (region.country, region.subdivision))
            .unzip();
        Ok(Prompt {
            action,
            subject_type,
            identifiers: after
                .identifiers
                .iter()
                .map(|known| (known.name.clone(), known.value.clone()))
                .collect(),
            is_silent: settings.is_silent.unwrap_or(trigger.is_silent),
            is_test: settings.is_test.unwrap_or(false),
            skips_receipt: settings.skips_receipt.unwrap_or(false),
            receipt_template: settings.receipt_template,
            skips_waiting: settings.skips_waiting.unwrap_or(false),
            locale: settings.locale,
            country: country.flatten(),
            subdivision: subdivision.flatten(),
            attributes: settings.attributes,
            silos: trigger.choose_silos(settings.only, settings.except),
            occasion: self.occasion(partition, after, firing.purpose).ok_or(Unfit::Purpose)?,
            cause: firing.cause,
        })
    }

    /// The choice, with the names that it has at present.
    fn occasion(&self, partition: PartitionId, after: &Record, purpose: u32) -> Option<Occasion> {
        let partition = self.catalog.partition_of(partition)?;
        let entry = self.catalog.purpose_numbered(purpose)?;
        let answer = after.purposes.iter().find(|answer| answer.purpose == purpose)?;
        Some(Occasion {
            partition: OccasionPartition {
                id: partition.id.0,
                name: partition.name.clone(),
                key: partition.key.clone(),
            },
            purpose: entry.slug.clone(),
            name: entry.name.clone(),
            title: entry.title.clone().unwrap_or_else(|| entry.name.clone()),
            enabled: answer.consent.value.enabled,
            answers: self.answers(entry, answer),
        })
    }

    /// The answers to a purpose's topics that are shown: none of deleted topics and options, and none that was cleared.
    fn answers(&self, entry: &PurposeEntry, answer: &PurposeAnswer) -> Vec<dsr::TopicAnswer> {
        let shown = |answer: &TopicAnswer| {
            let topic = entry.topic_numbered(answer.topic).filter(|topic| topic.shown)?;
            let choice = match answer.choice.value.as_ref()? {
                Choice::Boolean(yes) => TopicChoice::Boolean(*yes),
                Choice::Select(option) => TopicChoice::Select(self.option(*option)?),
                Choice::MultiSelect(options) => {
                    TopicChoice::MultiSelect(options.iter().filter_map(|option| self.option(*option)).collect())
                }
            };
            Some(dsr::TopicAnswer {
                topic: Labelled {
                    id: topic.id.0,
                    slug: topic.slug.clone(),
                    title: topic.title.clone(),
                },
                choice,
            })
        };
        answer.topics.iter().filter_map(shown).collect()
    }

    fn option(&self, number: u32) -> Option<Labelled> {
        let option = self.catalog.option_entry(number)?;
        Some(Labelled {
            id: option.id.0,
            slug: option.slug.clone(),
            title: option.title.clone(),
        })
    }
}

impl Trigger {
    /// The silos that are asked: those that the write names, or else the trigger, without those that the write leaves out.
    pub(super) fn choose_silos(&self, only: Option<Vec<uuid::Uuid>>, except: Option<Vec<uuid::Uuid>>) -> SiloChoice {
        let own = || self.silos.iter().map(|silo| silo.0).collect::<Vec<_>>();
        let only = only.or_else(|| (!self.silos.is_empty()).then(own));
        match (only, except) {
            (Some(mut only), except) => {
                let except = except.unwrap_or_default();
                only.retain(|silo| !except.contains(silo));
                SiloChoice::Only(only)
            }
            (None, Some(except)) => SiloChoice::Except(except),
            (None, None) => SiloChoice::All,
        }
    }
}
