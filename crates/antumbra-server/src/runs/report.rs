//! A silo's report on one profile: who may make it, on what, and what follows from it.
//!
//! Every fulfilment route goes the same way: [`Admitted`] by nonce and key, an [`Open`] profile found in the transaction,
//! something done to it, then [`Open::keep`]: the run, its next notice, the audit entry and, if this was the last run, the
//! request's next state, all in one transaction.

use std::sync::Arc;

use antumbra_crypto::value;
use antumbra_store::{Reader, Tx};
use axum::http::HeaderMap;
use jiff::Timestamp;

use super::{
    RunError, absence,
    jobs::{let_go_on, replan_notice},
    model::{Profile, Proof, RunStatus, SiloRun},
    nonce::SiloNonce,
    send::text_context,
    store,
};
use crate::{
    AppState,
    api_keys::ApiKeyId,
    audit::{self, Actor, AuditEntry, Digest},
    dsr::{self, Deed, DsrError},
    http::{Caller, Problem, scope},
    keyring::{KeyKind, OrganizationKeys},
    organization::OrganizationId,
    silos::{self, DataPoint},
};

/// A caller that holds a nonce and a key that is attached to the nonce's silo.
pub(super) struct Admitted {
    pub(super) organization: OrganizationId,
    pub(super) keys: Arc<OrganizationKeys>,
    pub(super) nonce: SiloNonce,
    /// None: a link that was signed for the profile stood in its place.
    key: Option<ApiKeyId>,
}

impl Admitted {
    /// Refuses with 400 whatever is no nonce of a silo, and with 403 a key that is not attached to that silo.
    pub(super) async fn new(
        app: &AppState,
        caller: &Caller<scope::Attached>,
        headers: &HeaderMap,
    ) -> Result<Admitted, Problem> {
        let keys = app.keys.organization(caller.organization).await?;
        let nonce = SiloNonce::from_headers(&keys, headers)?;
        caller.attached_to(nonce.silo)?;
        Ok(Admitted {
            organization: caller.organization,
            keys,
            nonce,
            key: Some(caller.key),
        })
    }

    /// The silo's data point of that name. Refuses an unknown one with 400, naming it at `path`.
    pub(super) async fn data_point(&self, reader: &mut Reader, name: &str, path: &str) -> Result<DataPoint, Problem> {
        let found = silos::find_data_point_by_name(reader, self.organization, self.nonce.silo, name).await?;
        found.ok_or_else(|| Problem::validation([(path, "is not a data point of this integration")]))
    }

    /// Whoever holds a link that was signed for the profile. There is no key to it, which the proof of what they say shows.
    pub(super) fn by_link(keys: Arc<OrganizationKeys>, nonce: SiloNonce) -> Admitted {
        Admitted {
            organization: keys.organization,
            keys,
            nonce,
            key: None,
        }
    }

    /// The profile, still open. Refuses with 409 once it, its run or its request is closed.
    pub(super) async fn open(&self, reader: &mut Reader) -> Result<Open<'_>, RunError> {
        let SiloNonce {
            request, run, profile, ..
        } = self.nonce;
        let mut run = store::find(reader, self.organization, request, run)
            .await?
            .ok_or(RunError::Closed)?;
        let head = match dsr::get_head(reader, self.organization, request).await {
            Err(DsrError::NotFound) => return Err(RunError::Closed),
            head => head?,
        };
        let before = run.clone();
        if run.abandoned || !run.is_of(&head) || run.open_profile(profile).is_err() {
            return Err(RunError::Closed);
        }
        Ok(Open {
            admitted: self,
            before,
            run,
        })
    }
}

/// A run with a profile that can be reported on.
pub(super) struct Open<'a> {
    admitted: &'a Admitted,
    before: SiloRun,
    pub(super) run: SiloRun,
}

impl Open<'_> {
    /// The profile that the nonce names.
    pub(super) fn profile(&mut self) -> &mut Profile {
        let id = self.admitted.nonce.profile;
        let found = self.run.profiles.iter_mut().find(|profile| profile.id == id);
        found.expect("`Admitted::open` has found it, and profiles are never taken out of a run")
    }

    /// Whether what comes is kept and delivered. A silo that is asked whether anything is left shows that, and no more.
    pub(super) fn keeps_data(&self) -> bool {
        self.run.confirms.is_none()
    }

    /// `text`, sealed so that it goes with the request's key.
    pub(super) async fn seal(&self, reader: &mut Reader, text: &str) -> Result<Vec<u8>, RunError> {
        let keys = &self.admitted.keys;
        let key = keys
            .find_key(reader, KeyKind::Request, self.run.request.0)
            .await?
            .ok_or(RunError::Closed)?;
        Ok(value::seal(&key, &text_context(&self.run), text.as_bytes()))
    }

    /// Keeps what was done to the profile, with everything that follows. `deed` is what the audit log calls it.
    /// `sent` stands for what the silo sent.
    pub(super) async fn keep(
        mut self,
        app: &AppState,
        tx: &mut Tx,
        deed: &'static str,
        sent: [u8; 32],
    ) -> Result<(), RunError> {
        let (organization, id) = (self.admitted.organization, self.admitted.nonce.profile);
        let now = app.now(organization);
        let proof = self.proof(sent);
        self.run.follow(&self.before, now, proof);
        let planning = |run: &SiloRun| {
            let profile = run.profiles.iter().find(|profile| profile.id == id);
            profile.map(|profile| (profile.status, profile.retry_after, profile.poll_id.is_some()))
        };
        let status = self.profile().status;
        if planning(&self.before) != planning(&self.run) {
            replan_notice(app, tx, organization, &mut self.run, id, now);
        }
        store::replace(tx, organization, &self.before, &self.run);
        self.record(app, tx, deed, status, now);
        let actor = Actor::DataSilo(self.run.silo.0);
        let deed = Deed {
            organization,
            by: actor,
            now,
            ids: &app.ids,
        };
        absence::record(tx, &deed, &self.before, &self.run);
        Ok(let_go_on(tx, &deed, &self.run).await?)
    }

    /// What proves that the silo said so. The digest is keyed: what was sent may be guessed, and is about a person.
    fn proof(&self, sent: [u8; 32]) -> Proof {
        let (run, profile) = (self.run.id.0, self.admitted.nonce.profile.0);
        let parts: [&[u8]; 4] = [b"answer", run.as_bytes(), profile.as_bytes(), &sent];
        let body = Digest::of(&self.admitted.keys.index.blind(&parts));
        match self.admitted.key {
            Some(key) => Proof::Report { key: key.0, body },
            None => Proof::Link { body },
        }
    }

    fn record(&self, app: &AppState, tx: &mut Tx, action: &'static str, status: RunStatus, at: Timestamp) {
        let entry = AuditEntry {
            actor: Actor::DataSilo(self.run.silo.0),
            action,
            object: ("silo_run", self.run.id.0),
            at,
            details: vec![
                ("request", self.run.request.0.into()),
                ("profile", self.admitted.nonce.profile.0.into()),
                ("status", status.as_str().into()),
            ],
        };
        audit::record(tx, &app.ids, self.admitted.organization, entry);
    }
}
