//! Many submissions at once: all are taken, or none.
//!
//! What each asks for is checked as if it came alone. Then all are kept in one transaction, in their order, so that one
//! that repeats an earlier one of the same call finds it.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Deed, DsrError,
    change::record,
    drop_runs::{self, DropLink},
    model::{Dsr, DsrId},
    refusal::{Checks, InputCode},
    restart::{self, Restart, Standing},
    store,
    submission::{Configured, Draft, Submission},
    submit,
};
use crate::{
    audit::Detail,
    config::DsrConfig,
    http::Problem,
    keyring::{KeyKind, OrganizationKeys},
    organization::{ActionSettings, OrganizationId, Settings},
    purposes,
    silos::{self, DataSiloId},
};

/// Submissions in one call.
pub(crate) const INPUTS_MAX: usize = 100;

/// Answers: which request came of a submission of that name: (organization, blind name).
pub(super) const NAMED: Table<(Uuid, [u8; 16]), Taken> = Table::new("dsr_idempotency_keys");

/// Answers: which names a request's submissions had: (organization, request, blind name).
pub(super) const NAMES: Table<(Uuid, Uuid, [u8; 16]), ()> = Table::new("dsr_idempotency_keys_by_request");

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Outcome {
    /// It is a new request.
    Created,
    /// An equivalent one is there; nothing was made.
    AlreadyOpen,
    /// An equivalent one is there, and answers further records of a deletion platform now.
    DropRecordsLinked,
    /// The request that it names began again.
    Restarted,
}

/// What a submission of some name was, and what came of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Taken {
    request: DsrId,
    outcome: Outcome,
    /// Blind, since the words name the person.
    words: [u8; 16],
}

impl Record for Taken {
    const VERSION: u8 = 1;
}

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(super) const ROWS: [fn(&[u8]); 1] = [crate::fuzz::same_when_written_again::<Taken>];

/// One submission, as far as it could be read.
pub(crate) struct Input {
    pub(crate) draft: Draft,
    pub(crate) checks: Checks,
    pub(crate) drop: drop_runs::Named,
}

/// A submission that keeps every rule, ready to be kept.
pub(crate) struct Ready {
    submission: Submission,
    restart: Option<Restart>,
    idempotency_key: Option<String>,
}

/// The draft, if it keeps every rule.
pub(crate) fn ready(
    mut draft: Draft,
    settings: &Settings,
    configured: &Configured,
    standing: Option<&Standing>,
    now: Timestamp,
    checks: Checks,
) -> Result<Ready, Checks> {
    let (restart, idempotency_key) = (draft.restart, draft.idempotency_key.take());
    Ok(Ready {
        submission: draft.check(settings, configured, standing, now, checks)?,
        restart,
        idempotency_key,
    })
}

/// What the organization has configured of what the drafts name.
pub(crate) async fn configured(
    reader: &mut Reader,
    organization: OrganizationId,
    drafts: &[&Draft],
) -> Result<Configured, StoreError> {
    let mut configured = Configured::default();
    if drafts.iter().any(|draft| !draft.named_silos().1.is_empty()) {
        let silos = silos::list_silos(reader, organization).await?;
        configured.silos = silos.into_iter().map(|silo| silo.id.0).collect();
    }
    if drafts
        .iter()
        .any(|draft| draft.skipped_enrichers.as_ref().is_some_and(|named| !named.is_empty()))
    {
        let enrichers = silos::list_enrichers(reader, organization).await?;
        configured.enrichers = enrichers.into_iter().map(|enricher| enricher.id.0).collect();
    }
    if drafts.iter().any(|draft| draft.partition.is_some()) {
        let partitions = purposes::list_partitions(reader, organization).await?;
        configured.partitions = partitions.into_iter().map(Into::into).collect();
    }
    Ok(configured)
}

/// Checks every input, so that their sender learns of all mistakes at once.
pub(crate) async fn check_all(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    settings: &Settings,
    deed: &Deed<'_>,
    inputs: Vec<Input>,
) -> Result<Vec<Ready>, Problem> {
    let drafts: Vec<&Draft> = inputs.iter().map(|input| &input.draft).collect();
    let configured = configured(tx, deed.organization, &drafts).await?;
    let mut workflow = Workflow {
        serving: BTreeMap::new(),
    };
    let (mut ready, mut refused) = (Vec::with_capacity(inputs.len()), Vec::new());
    let mut drop_names = BTreeSet::new();
    for (index, input) in inputs.into_iter().enumerate() {
        let Input {
            draft,
            mut checks,
            drop,
        } = input;
        let answers_drop = drop.run.is_some();
        let link = drop.check(tx, keys, settings, &draft, &mut checks).await?;
        if let (true, Some(name)) = (answers_drop, &draft.idempotency_key)
            && !drop_names.insert(name.clone())
        {
            let rule = "is that of an earlier input of this call that answers records of a deletion platform";
            checks.refused(InputCode::InBatchDropIdempotencyKeyCollision, "idempotencyKey", rule);
        }
        workflow
            .check(tx, settings, deed.organization, &draft, &configured, &mut checks)
            .await?;
        let standing = Standing::of(tx, keys, &draft).await?;
        match self::ready(draft, settings, &configured, standing.as_ref(), deed.now, checks) {
            Ok(mut one) => {
                one.submission.drop = link;
                ready.push(one);
            }
            Err(checks) => refused.extend(checks.into_each().map(|broken| (index, broken))),
        }
    }
    match refused.is_empty() {
        true => Ok(ready),
        false => Err(super::wire::batch_refused(refused)),
    }
}

/// Keeps every submission, in order.
pub(crate) async fn keep_all(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    config: &DsrConfig,
    ready: Vec<Ready>,
) -> Result<Vec<(Dsr, Outcome)>, Problem> {
    let mut kept = Vec::with_capacity(ready.len());
    for (index, ready) in ready.into_iter().enumerate() {
        match keep_one(tx, keys, deed, config, ready).await? {
            Ok(one) => kept.push(one),
            Err(checks) => {
                let refused = checks.into_each().map(|broken| (index, broken)).collect();
                return Err(super::wire::batch_refused(refused));
            }
        }
    }
    Ok(kept)
}

/// Keeps one submission, or finds what it repeats. The inner error: its name is that of another one.
pub(crate) async fn keep_one(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    config: &DsrConfig,
    ready: Ready,
) -> Result<Result<(Dsr, Outcome), Checks>, DsrError> {
    let Some(name) = &ready.idempotency_key else {
        return Ok(Ok(take(tx, keys, deed, config, ready).await?));
    };
    let place = (
        deed.organization.0,
        keys.index.blind(&[b"dsr-idempotency-key", name.as_bytes()]),
    );
    let words = keys.index.blind(&[b"dsr-submission", &ready.submission.words]);
    if let Some(taken) = tx.get(&NAMED, &place).await? {
        if taken.words != words {
            let mut checks = Checks::default();
            checks.broken("idempotencyKey", "has been used for another submission");
            return Ok(Err(checks));
        }
        match super::get(tx, keys, taken.request).await {
            Ok(dsr) => return Ok(Ok((dsr, taken.outcome))),
            Err(DsrError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let (dsr, outcome) = take(tx, keys, deed, config, ready).await?;
    let taken = Taken {
        request: dsr.head.id,
        outcome,
        words,
    };
    tx.put(&NAMED, &place, &taken);
    tx.put(&NAMES, &(place.0, dsr.head.id.0, place.1), &());
    Ok(Ok((dsr, outcome)))
}

/// Forgets names of a request's submissions, at most `limit`: from then on a repeat is a submission of its own. Says whether more
/// may be left.
pub(super) async fn forget_names(
    tx: &mut Tx,
    organization: OrganizationId,
    id: DsrId,
    limit: usize,
) -> Result<bool, StoreError> {
    let names = tx
        .scan(&NAMES, Scan::prefix(&(organization.0, id.0)).limit(limit))
        .await?;
    for (place, ()) in &names {
        tx.delete(&NAMES, place);
        tx.delete(&NAMED, &(place.0, place.2));
    }
    Ok(!names.is_empty())
}

async fn take(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    config: &DsrConfig,
    ready: Ready,
) -> Result<(Dsr, Outcome), DsrError> {
    let link = ready.submission.drop.clone();
    let outcome = match ready.restart {
        None => submit::submit(tx, keys, deed, ready.submission, config)
            .await
            .map(|dsr| (dsr, Outcome::Created)),
        Some(asked) => {
            let standing = super::get(tx, keys, asked.id).await?;
            restart::restart(tx, keys, deed, standing, asked, ready.submission, config)
                .await
                .map(|dsr| (dsr, Outcome::Restarted))
        }
    };
    match outcome {
        Err(DsrError::Duplicate(known)) => link_to(tx, keys, deed, known, link).await,
        outcome => outcome,
    }
}

/// Has a request that is there answer further records of a deletion platform, if it does not yet.
async fn link_to(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    link: Option<DropLink>,
) -> Result<(Dsr, Outcome), DsrError> {
    let mut dsr = super::get(tx, keys, id).await?;
    let key = keys.find_key(tx, KeyKind::Request, id.0).await?;
    let (Some(mut link), Some(key)) = (link, key) else {
        return Ok((dsr, Outcome::AlreadyOpen));
    };
    let known: Vec<_> = dsr.subject.drop.iter().filter(|known| known.run == link.run).collect();
    link.records
        .retain(|record| !known.iter().any(|known| known.records.contains(record)));
    if link.records.is_empty() {
        return Ok((dsr, Outcome::AlreadyOpen));
    }
    drop_runs::link(tx, keys, id, &link);
    let details = vec![
        ("run", link.run.0.into()),
        ("records", Detail::Count(link.records.len() as u64)),
    ];
    record(tx, deed, id, "dsr.drop_records_linked", details);
    dsr.subject.drop.push(link);
    store::put_subject(tx, deed.organization, id, &key, &dsr.subject)?;
    Ok((dsr, Outcome::DropRecordsLinked))
}

/// What belongs to the workflow that an input names: an action, as this organization handles it.
struct Workflow {
    /// Which silos do an action, as far as looked up.
    serving: BTreeMap<(DataSiloId, crate::organization::Action), bool>,
}

impl Workflow {
    async fn check(
        &mut self,
        reader: &mut Reader,
        settings: &Settings,
        organization: OrganizationId,
        draft: &Draft,
        configured: &Configured,
        checks: &mut Checks,
    ) -> Result<(), StoreError> {
        let Some(action) = draft.action.and_then(|action| settings.find_action(action)) else {
            return Ok(());
        };
        let (field, named) = draft.named_silos();
        for (at, silo) in named
            .iter()
            .enumerate()
            .filter(|(_, silo)| configured.silos.contains(silo))
        {
            let place = (DataSiloId(*silo), action.action);
            let serves = match self.serving.get(&place) {
                Some(known) => *known,
                None => does(reader, organization, place.0, action).await?,
            };
            self.serving.insert(place, serves);
            if !serves {
                let rule = "is not a data silo that does this action";
                checks.refused(InputCode::DataSiloNotInWorkflow, format!("{field}[{at}]"), rule);
            }
        }
        Ok(())
    }
}

async fn does(
    reader: &mut Reader,
    organization: OrganizationId,
    id: DataSiloId,
    action: &ActionSettings,
) -> Result<bool, StoreError> {
    let Some(silo) = silos::find_silo(reader, organization, id).await? else {
        return Ok(false);
    };
    let points = silos::list_data_points(reader, organization, id).await?;
    let previews = action.delay.as_ref().map(|delay| delay.preview_action);
    Ok([Some(action.action), previews]
        .into_iter()
        .flatten()
        .any(|action| silo.serves(action, &points)))
}
