//! A look at a request that is at its preflight checks: which runs there are to be, what each of them does now, and whether
//! anything still stands in the request's way.
//!
//! A look reads the present state and does what is missing, so it may be had as often as one likes.

use std::collections::BTreeSet;

use antumbra_store::Tx;

use super::{
    PreflightError,
    answer::{end_checks, forget_job, keep},
    jobs::{ask_job, next_ask, wake_job},
    mail,
    model::{
        self, Decision, End, PREFLIGHTS_MAX, Preflight, PreflightEvent, PreflightId, PreflightState, Reason, applies,
        blockers, concerns, decide, takes_unverified,
    },
    store,
    verification::{BUILT_IN_TITLE, Verification, built_in, wake_at, window},
};
use crate::{
    AppState,
    audit::{self, AuditEntry, Detail},
    dsr::{self, Deed, Dsr, DsrError, DsrEvent, DsrId, DsrIdentifier, DsrState},
    jobs::{self, Waiting},
    keyring::OrganizationKeys,
    organization::{MessageKind, TemplateId},
    silos::{self, Enricher, EnricherKind},
};

/// The enricher of a run that is configured no more, or never was, as far as the run remembers it.
pub(super) fn without_configuration(run: &Preflight) -> Enricher {
    let title = match run.kind {
        EnricherKind::Email => BUILT_IN_TITLE,
        _ => "Removed enricher",
    };
    Enricher::new(run.enricher, title.to_owned(), run.kind, run.created_at)
}

/// What a look sees and changes.
struct Look<'a> {
    app: &'a AppState,
    tx: &'a mut Tx,
    keys: &'a OrganizationKeys,
    deed: &'a Deed<'a>,
    dsr: Dsr,
    enrichers: Vec<Enricher>,
    runs: Vec<Preflight>,
    changed: BTreeSet<PreflightId>,
    /// Whether the person is on legal hold, once somebody has asked.
    on_hold: Option<bool>,
}

/// Looks at the request. One that is not, or no longer, at its preflight checks is left alone.
pub(super) async fn look(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
) -> Result<(), PreflightError> {
    let dsr = match dsr::get(tx, keys, id).await {
        Ok(dsr) if dsr.head.state == DsrState::Enriching => dsr,
        Ok(_) | Err(DsrError::NotFound) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut enrichers = silos::list_enrichers(tx, deed.organization).await?;
    if !enrichers.iter().any(|enricher| enricher.kind == EnricherKind::Email) {
        enrichers.push(built_in(keys));
    }
    let runs = store::list(tx, deed.organization, id, dsr.head.round).await?;
    let mut look = Look {
        app,
        tx,
        keys,
        deed,
        dsr,
        enrichers,
        runs,
        changed: BTreeSet::new(),
        on_hold: None,
    };
    let end = look.go_on().await?;
    // One that is ended wants nothing more; one that is parked is looked at again when it is resumed.
    if end.is_none() {
        look.plan_jobs().await?;
    }
    look.keep();
    match end {
        Some((end, template)) => end_checks(look.tx, keys, deed, id, end, template).await?,
        None => look.let_go().await?,
    }
    Ok(())
}

impl Look<'_> {
    /// Makes and begins runs until there is nothing more that can be done at once. Says whether a rule ends the checks.
    async fn go_on(&mut self) -> Result<Option<(End, Option<TemplateId>)>, PreflightError> {
        loop {
            let before = self.changed.len();
            self.make_runs();
            self.drop_runs()?;
            self.release()?;
            let mut began = false;
            // What is approved without asking needs nobody to be asked.
            let mut order: Vec<usize> = (0..self.runs.len()).collect();
            order.sort_by_key(|at| self.runs[*at].kind != EnricherKind::AutoApprove);
            for at in order {
                if self.runs[at].state == PreflightState::Queued && self.runs[at].next.is_none() {
                    if let Some(end) = self.begin(at).await? {
                        return Ok(Some(end));
                    }
                    began |= self.runs[at].state != PreflightState::Queued;
                }
            }
            // What a run did may have let another begin, or found an identifier that others start from.
            if !began && self.changed.len() == before {
                return Ok(None);
            }
        }
    }

    /// A run for each enricher and identifier that belong together and have none yet.
    ///
    /// An identifier that an enricher finds can be another's input, so this ends only because a request has each value once
    /// and an enricher runs once for each, and because of [`PREFLIGHTS_MAX`].
    fn make_runs(&mut self) {
        for enricher in self
            .enrichers
            .iter()
            .filter(|enricher| applies(enricher, &self.dsr.head))
        {
            let inputs = self.dsr.subject.identifiers.iter();
            for input in inputs.filter(|input| concerns(enricher, input)) {
                let has_run = |run: &Preflight| run.enricher == enricher.id && run.input == input.id;
                if self.runs.len() >= PREFLIGHTS_MAX || self.runs.iter().any(has_run) {
                    continue;
                }
                let id = PreflightId(self.deed.ids.uuid());
                let mut run = Preflight::new(id, &self.dsr.head, enricher, input.id, self.deed.now);
                if self.runs.len() == PREFLIGHTS_MAX - 1 {
                    run.state = PreflightState::ActionRequired(Reason::TooMany);
                    tracing::warn!(
                        dsr.id = %self.dsr.head.id,
                        max = PREFLIGHTS_MAX,
                        "a request has more preflights than are run: the last of them waits for an administrator"
                    );
                }
                self.changed.insert(run.id);
                self.runs.push(run);
            }
        }
    }

    /// Ends runs whose enricher or identifier was taken away, and verifications of what is verified meanwhile.
    fn drop_runs(&mut self) -> Result<(), PreflightError> {
        for run in self.runs.iter_mut().filter(|run| run.is_open()) {
            let input = self.dsr.subject.identifiers.iter().find(|input| input.id == run.input);
            let is_configured = self.enrichers.iter().any(|enricher| enricher.id == run.enricher);
            let event = match input {
                Some(_) if !is_configured => PreflightEvent::NothingFound,
                Some(input) if input.verified_at.is_some() && run.kind == EnricherKind::Email => {
                    PreflightEvent::Answered
                }
                Some(_) => continue,
                None => PreflightEvent::NothingFound,
            };
            run.step(event)?;
            forget_job(self.tx, self.deed, run);
            self.changed.insert(run.id);
        }
        Ok(())
    }

    /// Lets runs go that wait for nothing any more.
    fn release(&mut self) -> Result<(), PreflightError> {
        let circle = model::circle(&self.enrichers, &self.runs);
        if !circle.is_empty() {
            tracing::warn!(
                dsr.id = %self.dsr.head.id,
                runs = circle.len(),
                "the dependencies of enrichers form a circle; none of them is waited for"
            );
        }
        for at in 0..self.runs.len() {
            let run = &self.runs[at];
            if run.state != PreflightState::WaitingOnDependencies {
                continue;
            }
            let Some((enricher, input)) = self.parts_of(run) else {
                continue;
            };
            let is_blocked = !circle.contains(&run.id) && blockers(enricher, &self.runs).next().is_some();
            if !is_blocked && (input.verified_at.is_some() || takes_unverified(enricher)) {
                let run = &mut self.runs[at];
                run.step(PreflightEvent::Released)?;
                self.changed.insert(run.id);
            }
        }
        Ok(())
    }

    /// The enricher of a run, and the identifier it starts from.
    fn parts_of(&self, run: &Preflight) -> Option<(&Enricher, &DsrIdentifier)> {
        let enricher = self.enrichers.iter().find(|enricher| enricher.id == run.enricher)?;
        let input = self
            .dsr
            .subject
            .identifiers
            .iter()
            .find(|input| input.id == run.input)?;
        Some((enricher, input))
    }

    /// Does what a run does when it begins, as far as that can be done here.
    async fn begin(&mut self, at: usize) -> Result<Option<(End, Option<TemplateId>)>, PreflightError> {
        let kind = self.runs[at].kind;
        let on_hold = kind == EnricherKind::LegalHold && self.is_on_legal_hold().await?;
        let run = &self.runs[at];
        let Some((enricher, input)) = self.parts_of(run) else {
            return Ok(None);
        };
        let decision = decide(enricher, &self.dsr.head, input, on_hold, self.deed.now);
        let (run_id, input, template, mut end) = (run.id, input.id, enricher.end_template, None);
        let may_take = enricher.expiration.filter(|span| !span.is_zero());
        let event = match decision {
            // Somebody outside is asked by a job of its own.
            Decision::Ask => {
                let run = &mut self.runs[at];
                if let (None, Some(span)) = (run.ends_at, may_take) {
                    run.ends_at = Some(self.deed.now + span);
                    self.changed.insert(run.id);
                }
                return Ok(None);
            }
            Decision::Verify => {
                self.verify(input, run_id).await?;
                PreflightEvent::Answered
            }
            Decision::Pass => PreflightEvent::Answered,
            Decision::PassOver => PreflightEvent::NothingFound,
            Decision::End(how) => {
                end = Some((how, template));
                PreflightEvent::Answered
            }
            Decision::WaitUntil(at) if at <= self.deed.now => PreflightEvent::Answered,
            Decision::WaitUntil(_) => PreflightEvent::Begun,
            Decision::Mail if self.app.config.mail.is_none() => PreflightEvent::Stuck(Reason::NoMail),
            Decision::Mail => {
                self.mail(at).await?;
                PreflightEvent::Begun
            }
            Decision::Stuck(why) => PreflightEvent::Stuck(why),
        };
        let run = &mut self.runs[at];
        if let Decision::WaitUntil(at) = decision {
            run.ends_at = Some(at);
        }
        run.step(event)?;
        self.changed.insert(run.id);
        Ok(end)
    }

    /// Asks the data subject, by the first of the messages that may follow.
    async fn mail(&mut self, at: usize) -> Result<(), PreflightError> {
        let mut run = self.runs[at].clone();
        let Some((enricher, input)) = self.parts_of(&run) else {
            return Ok(());
        };
        let (window, enricher, input) = (window(enricher), enricher.clone(), input.clone());
        run.ends_at = Some(self.deed.now + window);
        run.verification = Some(Verification::begun(self.deed.now));
        let about = (&run, &input, &enricher);
        mail::post(
            self.app,
            self.tx,
            self.keys,
            self.deed,
            &self.dsr,
            about,
            MessageKind::Verification,
        )
        .await?;
        self.runs[at] = run;
        Ok(())
    }

    async fn verify(&mut self, input: uuid::Uuid, run: PreflightId) -> Result<(), PreflightError> {
        let (id, now) = (self.dsr.head.id, self.deed.now);
        dsr::verify_identifiers(self.tx, self.keys, self.deed, id, &[input], run.0).await?;
        let known = self
            .dsr
            .subject
            .identifiers
            .iter_mut()
            .filter(|known| known.id == input);
        known.for_each(|known| known.verified_at = known.verified_at.or(Some(now)));
        Ok(())
    }

    /// Whether the person is on legal hold.
    async fn is_on_legal_hold(&mut self) -> Result<bool, PreflightError> {
        if let Some(known) = self.on_hold {
            return Ok(known);
        }
        let on_hold = dsr::is_held(self.tx, self.deed.organization, &self.dsr.head).await?;
        self.on_hold = Some(on_hold);
        Ok(on_hold)
    }

    /// Sees to it that each run that goes on by itself has its next job, and has those tried again that were given up.
    async fn plan_jobs(&mut self) -> Result<(), PreflightError> {
        let (organization, now) = (self.deed.organization, self.deed.now);
        let settings = self.app.settings.get(self.tx, organization).await?;
        for run in self.runs.iter_mut().filter(|run| run.is_open()) {
            let enricher = self.enrichers.iter().find(|enricher| enricher.id == run.enricher);
            if let Some(Waiting { id, .. }) = run.next {
                if jobs::retry_parked(self.tx, organization, id, now).await? {
                    let due_at_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
                    run.next = Some(Waiting { due_at_ms, id });
                    self.changed.insert(run.id);
                }
                continue;
            }
            let planned = match (run.kind, run.ends_at) {
                // It is asked when it is resumed.
                (EnricherKind::Server, _) if enricher.is_some_and(|enricher| enricher.is_paused) => None,
                (EnricherKind::Server, _) => {
                    let at = next_ask(self.app, &settings.organization, enricher, run, None, now);
                    at.map(|at| (ask_job(self.deed.ids, run), at))
                }
                (EnricherKind::Email, Some(_)) if run.state == PreflightState::Waiting => {
                    let at = enricher.and_then(|enricher| wake_at(run, enricher));
                    at.map(|at| (wake_job(self.deed.ids, run), at.max(now)))
                }
                (_, Some(at)) if run.state == PreflightState::Waiting => {
                    Some((wake_job(self.deed.ids, run), at.max(now)))
                }
                (_, _) => None,
            };
            if let Some((job, at)) = planned {
                run.next = Some(jobs::enqueue(self.tx, organization, job, at));
                self.changed.insert(run.id);
            }
        }
        Ok(())
    }

    fn keep(&mut self) {
        for run in self.runs.iter().filter(|run| self.changed.contains(&run.id)) {
            keep(self.tx, self.deed, run, "preflight.moved");
        }
    }

    /// Lets the request go on if nothing stands in its way, and leaves word of what does.
    async fn let_go(&mut self) -> Result<(), PreflightError> {
        let id = self.dsr.head.id;
        let unverified = self
            .dsr
            .subject
            .identifiers
            .iter()
            .filter(|known| known.verified_at.is_none())
            .count();
        let open = self.runs.iter().filter(|run| run.is_open()).count();
        if unverified == 0 && open == 0 {
            dsr::advance(self.tx, self.deed, id, DsrEvent::IdentitiesSettled).await?;
            return Ok(());
        }
        let by_itself = |run: &Preflight| run.is_open() && run.state.reason().is_none();
        if unverified > 0 && !self.runs.iter().any(by_itself) {
            tracing::warn!(
                dsr.id = %id,
                count = unverified,
                "the request waits for a person: nothing under way verifies some of its identifiers. The mutation \
                 removeRequestIdentifiers takes them out and lets the request go on, cancelRequest ends it"
            );
            let details = vec![
                ("count", Detail::Count(unverified as u64)),
                ("waits_for", "verified identifiers".into()),
                ("continued_by", "removeRequestIdentifiers".into()),
            ];
            let entry = AuditEntry {
                actor: self.deed.by,
                action: "dsr.verification_awaited",
                object: ("dsr", id.0),
                at: self.deed.now,
                details,
            };
            audit::record(self.tx, self.deed.ids, self.deed.organization, entry);
        }
        Ok(())
    }
}
