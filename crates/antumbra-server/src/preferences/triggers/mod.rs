//! Workflow triggers: choices that open data subject requests.
//!
//! A trigger fires in the transaction of the write that sets it off, so a request is there exactly if the write is; a
//! replay changes nothing and fires nothing. A trigger that can't do its part (its data subject type is gone, or the
//! person has no identifier that requests take) does not hold up the write: the audit log says what was not opened, and why.
//!
//! | File | Holds |
//! | --- | --- |
//! | `model.rs` | a trigger, and the rule by which it fires |
//! | `settings.rs` | what a write wants of the requests that it may open |
//! | `store.rs` | the table, and what of it is kept in memory |
//! | `graphql.rs` | its part of the management API |

pub(crate) mod graphql;
mod model;
mod settings;
mod store;

use antumbra_store::Tx;

use super::{
    check::Checked,
    model::{Choice, PurposeAnswer, RecordId, TopicAnswer},
    store::{Batch, Held, Refused, Site},
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    dsr::{self, Deed, Labelled, Occasion, OccasionPartition, Prompt, SiloChoice, TopicChoice, Unfit},
    http::Problem,
    purposes::{Catalog, PartitionId, PurposeEntry},
};

pub(super) use model::Trigger;
use model::{Firing, Taken, firings};
pub(super) use settings::{RequestSettings, Urge, Workflow};
pub use store::ArmedTriggers;
#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;
pub(super) use store::TABLE;

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
            let taken = Taken {
                before,
                after,
                write: &checked.write,
                workflow: &checked.workflow,
            };
            for firing in firings(self.triggers, &taken) {
                opened += usize::from(self.open(tx, checked, held.id, &taken, firing).await?);
            }
        }
        Ok(opened)
    }

    /// Opens one request. Says whether it could.
    async fn open(
        &self,
        tx: &mut Tx,
        checked: &Checked,
        record: RecordId,
        taken: &Taken<'_>,
        firing: Firing<'_>,
    ) -> Result<bool, Problem> {
        let organization = self.site.organization;
        let deed = Deed {
            organization,
            by: self.by,
            now: self.app.clock.now(),
            ids: self.site.ids,
        };
        let trigger = firing.trigger;
        let opened = match self.prompt(checked.partition, taken, firing) {
            Ok(prompt) => {
                let review = self.app.config.dsr.review;
                dsr::open_prompted(tx, self.site.keys, self.site.settings, &deed, review, prompt).await?
            }
            Err(unfit) => Err(unfit),
        };
        let (action, detail) = match opened {
            Ok(id) => ("consent_workflow_trigger.fired", ("dsr", Detail::Id(id.0))),
            Err(unfit) => {
                let reason = unfit.word();
                tracing::warn!(trigger.id = %trigger.id.0, reason, "a workflow trigger opened no request");
                ("consent_workflow_trigger.failed", ("reason", reason.into()))
            }
        };
        let entry = AuditEntry {
            actor: self.by,
            action,
            object: ("consent_workflow_trigger", trigger.id.0),
            at: deed.now,
            details: vec![("record", Detail::Id(record.0)), detail],
        };
        audit::record(tx, self.site.ids, organization, entry);
        Ok(opened.is_ok())
    }

    /// What a trigger wants opened.
    fn prompt(&self, partition: PartitionId, taken: &Taken<'_>, firing: Firing<'_>) -> Result<Prompt, Unfit> {
        let Firing {
            trigger,
            purpose,
            cause,
            settings,
        } = firing;
        let own_subject_type = || {
            let mut known = self.site.settings.subject_types.iter();
            Some(known.find(|known| known.id == trigger.subject_type)?.slug.clone())
        };
        let subject_type = settings
            .subject_type
            .or_else(own_subject_type)
            .ok_or(Unfit::SubjectType)?;
        let identifiers = taken.after.identifiers.iter();
        let (country, subdivision) = settings
            .region
            .map(|region| (region.country, region.subdivision))
            .unzip();
        Ok(Prompt {
            action: trigger.action,
            subject_type,
            identifiers: identifiers
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
            occasion: self.occasion(partition, taken, purpose).ok_or(Unfit::Purpose)?,
            cause,
        })
    }

    /// The choice, with the names that it has at present.
    fn occasion(&self, partition: PartitionId, taken: &Taken<'_>, purpose: u32) -> Option<Occasion> {
        let partition = self.catalog.partition_of(partition)?;
        let entry = self.catalog.purpose_numbered(purpose)?;
        let answer = taken.after.purposes.iter().find(|answer| answer.purpose == purpose)?;
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
