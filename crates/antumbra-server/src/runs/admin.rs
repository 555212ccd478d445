//! What people do to silo runs through the management API: look, decide, ask again.

use std::collections::{BTreeSet, HashMap};

use antumbra_store::{Reader, StoreError, Tx};
use jiff::Timestamp;

use super::{
    RunError, absence,
    jobs::{let_go_on, look_once},
    model::{Proof, RunId, RunStatus, SiloRun, Verdict},
    store,
    visual::VisualStatus,
};
use crate::{
    audit::{self, AuditEntry},
    dsr::{self, Deed, DsrHead, DsrId, DsrStatus, Order},
    jobs,
    organization::{Action, OrganizationId},
    silos::{self, DataSilo, DataSiloId},
};

/// Which runs to list. `None` and an empty list ask for nothing.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this request.
    pub request: Option<DsrId>,
    /// At this silo.
    pub silo: Option<DataSiloId>,
    /// With one of these statuses.
    pub statuses: Vec<RunStatus>,
    /// That look so.
    pub visual: Option<VisualStatus>,
    /// Of requests with one of these statuses.
    pub request_statuses: Vec<DsrStatus>,
    /// With data handed over, or without.
    pub has_files: Option<bool>,
    /// With an identifier to look up, or without.
    pub has_profiles: Option<bool>,
    /// Only the last run of each request at each silo, and none of earlier phases and rounds: clients expect one.
    pub newest_only: bool,
    /// Which end comes first.
    pub order: Order,
}

impl RunFilter {
    fn lets_through(&self, run: &SiloRun) -> bool {
        self.silo.is_none_or(|silo| silo == run.silo)
            && (self.statuses.is_empty() || self.statuses.contains(&run.status()))
            && self.has_files.is_none_or(|wanted| wanted == run.has_data())
            && self.has_profiles.is_none_or(|wanted| wanted != run.profiles.is_empty())
    }
}

/// A page of runs, and how many there are altogether.
#[derive(Clone, Debug)]
pub struct Listed {
    /// This page.
    pub runs: Vec<SiloRun>,
    /// All that match.
    pub total: usize,
}

/// Runs that match, in the order asked for. Without a request it looks at every run of the organization, in batches.
pub async fn list_runs(
    reader: &mut Reader,
    organization: OrganizationId,
    filter: &RunFilter,
    offset: usize,
    limit: usize,
) -> Result<Listed, StoreError> {
    let mut places: Vec<(Timestamp, RunId, DsrId)> = Vec::new();
    let mut newest: HashMap<(DsrId, DataSiloId), RunId> = HashMap::new();
    let mut after = None;
    loop {
        let batch = match filter.request {
            Some(request) => store::list(reader, organization, request).await?,
            None => store::list_all(reader, organization, after, 1_000).await?,
        };
        let Some(last) = batch.last() else { break };
        after = Some((last.request, last.id));
        // Runs come in the order in which they were made.
        newest.extend(batch.iter().map(|run| ((run.request, run.silo), run.id)));
        let mut kept: Vec<SiloRun> = batch.into_iter().filter(|run| filter.lets_through(run)).collect();
        if let Some(visual) = filter.visual {
            let looks = look_at(reader, organization, &kept).await?;
            let mut looks = looks.into_iter();
            kept.retain(|_| looks.next() == Some(visual));
        }
        places.extend(kept.iter().map(|run| (run.created_at, run.id, run.request)));
        if filter.request.is_some() {
            break;
        }
    }
    if filter.newest_only {
        let newest: BTreeSet<RunId> = newest.into_values().collect();
        places.retain(|(_, run, _)| newest.contains(run));
    }
    if !filter.request_statuses.is_empty() {
        let ids: BTreeSet<DsrId> = places.iter().map(|(_, _, request)| *request).collect();
        let heads = dsr::find_heads(reader, organization, &Vec::from_iter(ids)).await?;
        let wanted = heads
            .iter()
            .filter(|head| filter.request_statuses.contains(&head.state.status()));
        let wanted: BTreeSet<DsrId> = wanted.map(|head| head.id).collect();
        places.retain(|(_, _, request)| wanted.contains(request));
    }
    places.sort_unstable();
    if filter.order == Order::NewestFirst {
        places.reverse();
    }
    let mut runs = Vec::new();
    for (_, id, request) in places.iter().skip(offset).take(limit) {
        runs.extend(store::find(reader, organization, *request, *id).await?);
    }
    Ok(Listed {
        runs,
        total: places.len(),
    })
}

/// How these runs look, in their order.
pub async fn look_at(
    reader: &mut Reader,
    organization: OrganizationId,
    runs: &[SiloRun],
) -> Result<Vec<VisualStatus>, StoreError> {
    let requests: BTreeSet<DsrId> = runs.iter().map(|run| run.request).collect();
    let heads = dsr::find_heads(reader, organization, &Vec::from_iter(requests)).await?;
    let heads: HashMap<DsrId, DsrHead> = heads.into_iter().map(|head| (head.id, head)).collect();
    let silos = silos::list_silos(reader, organization).await?;
    let silos: HashMap<DataSiloId, DataSilo> = silos.into_iter().map(|silo| (silo.id, silo)).collect();
    let look = |run: &SiloRun| VisualStatus::of(run, heads.get(&run.request), silos.get(&run.silo));
    Ok(runs.iter().map(look).collect())
}

/// The run. Fails with [`RunError::NotFound`].
pub async fn get_run(reader: &mut Reader, organization: OrganizationId, id: RunId) -> Result<SiloRun, RunError> {
    store::find_by_id(reader, organization, id)
        .await?
        .ok_or(RunError::NotFound)
}

/// How many runs of an action, or of any, a silo has still to do, at most `limit`.
pub async fn count_work(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    action: Option<Action>,
    limit: usize,
) -> Result<usize, StoreError> {
    store::count_work(reader, organization, silo, action, limit).await
}

/// A person decides how a run stands. Fails with [`RunError::RequestMovedOn`] once the request has
/// left the run's phase.
pub async fn change_status(tx: &mut Tx, deed: &Deed<'_>, id: RunId, verdict: Verdict) -> Result<SiloRun, RunError> {
    let before = open_run(tx, deed, id).await?;
    if before.is_contradicted() {
        return Err(RunError::Contradicted);
    }
    let mut run = before.clone();
    run.decide(verdict);
    keep(tx, deed, &before, run, "silo_run.decided").await
}

/// A person has a silo asked again; one that showed that it still holds what it had erased is to erase it again. Fails with [`RunError::RequestMovedOn`] once the request has
/// left the run's phase.
pub async fn retry(tx: &mut Tx, deed: &Deed<'_>, id: RunId) -> Result<SiloRun, RunError> {
    let before = open_run(tx, deed, id).await?;
    if before.is_contradicted() {
        return absence::erase_again(tx, deed, &before).await;
    }
    let mut run = before.clone();
    run.ask_again();
    absence::forget_question(tx, deed, &mut run).await?;
    keep(tx, deed, &before, run, "silo_run.retried").await
}

async fn open_run(tx: &mut Tx, deed: &Deed<'_>, id: RunId) -> Result<SiloRun, RunError> {
    let run = get_run(tx, deed.organization, id).await?;
    let head = dsr::get_head(tx, deed.organization, run.request).await?;
    if run.abandoned || !run.is_of(&head) {
        return Err(RunError::RequestMovedOn(head.state.status()));
    }
    Ok(run)
}

/// Keeps a run that a person has changed. Its notices are planned anew by a look at the request's runs, which
/// knows the silo.
async fn keep(
    tx: &mut Tx,
    deed: &Deed<'_>,
    before: &SiloRun,
    mut run: SiloRun,
    action: &'static str,
) -> Result<SiloRun, RunError> {
    for profile in &mut run.profiles {
        if let Some(planned) = profile.next_notice.take() {
            jobs::cancel(tx, deed.organization, planned);
        }
    }
    run.follow(before, deed.now, Proof::Decision { by: deed.by });
    store::replace(tx, deed.organization, before, &run);
    absence::record(tx, deed, before, &run);
    let entry = AuditEntry {
        actor: deed.by,
        action,
        object: ("silo_run", run.id.0),
        at: deed.now,
        details: vec![
            ("request", run.request.0.into()),
            ("status", run.status().as_str().into()),
        ],
    };
    audit::record(tx, deed.ids, deed.organization, entry);
    if run.is_open() {
        jobs::enqueue(tx, deed.organization, look_once(deed.ids, run.request), deed.now);
    }
    let_go_on(tx, deed, &run).await?;
    Ok(run)
}
