//! What the documents of one HTTP request work on: their caller and their one transaction.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use antumbra_store::{Reader, StoreError, Tx};
use async_graphql::Context;
use jiff::Timestamp;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use uuid::Uuid;

use super::Refusal;
use crate::{
    AppState,
    api_keys::ApiKeyId,
    audit::{self, Actor, AuditEntry},
    dsr::Deed,
    http::{Caller, Problem},
    keyring::OrganizationKeys,
    organization::{OrganizationId, Settings},
};

/// One HTTP request to the management API.
///
/// Sibling fields are resolved at the same time, so a field holds the transaction no longer than it works on it.
pub(crate) struct Session {
    pub(crate) app: AppState,
    pub(crate) caller: Caller,
    /// When the HTTP request came in, as the organization counts time; the one instant that everything in it bears.
    pub(crate) now: Timestamp,
    work: Mutex<Work>,
    changed_keys: std::sync::Mutex<Vec<ApiKeyId>>,
    ahead: std::sync::Mutex<Option<Duration>>,
}

enum Work {
    /// No mutation is among the documents.
    Reading(Reader),
    Writing(Tx),
    /// Committed or given up.
    Over,
}

impl Session {
    /// A session that only looks.
    pub(crate) async fn reading(app: AppState, caller: Caller) -> Result<Session, StoreError> {
        let work = Work::Reading(app.store.begin_read().await?);
        Ok(Session::over(app, caller, work))
    }

    /// A session that may change something.
    pub(crate) async fn writing(app: AppState, caller: Caller) -> Result<Session, StoreError> {
        let work = Work::Writing(app.store.begin_write().await?);
        Ok(Session::over(app, caller, work))
    }

    fn over(app: AppState, caller: Caller, work: Work) -> Session {
        Session {
            now: app.now(caller.organization),
            app,
            caller,
            work: Mutex::new(work),
            changed_keys: Default::default(),
            ahead: Default::default(),
        }
    }

    /// The session of a field that is being resolved.
    pub(crate) fn of<'a>(context: &Context<'a>) -> &'a Session {
        context.data_unchecked::<Arc<Session>>()
    }

    /// Whose things these are.
    pub(crate) fn organization(&self) -> OrganizationId {
        self.caller.organization
    }

    /// Who is acting, for the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::ApiKey(self.caller.key.0)
    }

    /// The transaction, to read. Reads see what earlier fields of a mutation wrote.
    pub(crate) async fn read(&self) -> MappedMutexGuard<'_, Reader> {
        MutexGuard::map(self.work.lock().await, |work| match work {
            Work::Reading(reader) => reader,
            Work::Writing(tx) => tx,
            Work::Over => unreachable!("fields are resolved before the session ends"),
        })
    }

    /// The transaction, to write.
    pub(crate) async fn write(&self) -> MappedMutexGuard<'_, Tx> {
        MutexGuard::map(self.work.lock().await, |work| match work {
            Work::Writing(tx) => tx,
            Work::Reading(_) | Work::Over => {
                unreachable!("`access.rs` names the fields that write, as mutations or as recorded")
            }
        })
    }

    /// The organization's settings, as the transaction sees them.
    pub(crate) async fn settings(&self) -> Result<Arc<Settings>, Refusal> {
        let mut reader = self.read().await;
        Ok(self.app.settings.get(&mut reader, self.organization()).await?)
    }

    /// The organization's keys.
    pub(crate) async fn keys(&self) -> Result<Arc<OrganizationKeys>, Refusal> {
        Ok(self
            .app
            .keys
            .organization(self.organization())
            .await
            .map_err(Problem::from)?)
    }

    /// What is being done to a data subject request, by whom and when.
    pub(crate) fn deed(&self) -> Deed<'_> {
        Deed {
            organization: self.organization(),
            by: self.actor(),
            now: self.now,
            ids: &self.app.ids,
        }
    }

    /// Records what was done to what, for slices that leave that to their callers.
    pub(crate) fn record(&self, tx: &mut Tx, action: &'static str, object: (&'static str, Uuid)) {
        let entry = AuditEntry {
            actor: self.actor(),
            action,
            object,
            at: self.now,
            details: Vec::new(),
        };
        audit::record(tx, &self.app.ids, self.organization(), entry);
    }

    /// A key was changed or revoked: once that is in force, this process does not act on what it remembers of it.
    pub(crate) fn forget_key_after_commit(&self, key: ApiKeyId) {
        self.changed_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key);
    }

    /// The time of the organization was moved: once that is in force, this process goes by it.
    pub(crate) fn run_ahead_after_commit(&self, ahead: Duration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
    }

    /// Makes everything that was written durable and visible.
    pub(crate) async fn commit(&self) -> Result<(), StoreError> {
        let work = std::mem::replace(&mut *self.work.lock().await, Work::Over);
        if let Work::Writing(tx) = work {
            tx.commit().await?;
            let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(ahead) = ahead {
                self.app.clock.run_ahead(self.organization(), ahead);
            }
            self.app.jobs.ring();
            let changed = std::mem::take(&mut *self.changed_keys.lock().unwrap_or_else(PoisonError::into_inner));
            changed.into_iter().for_each(|key| self.app.callers.forget(key));
        }
        Ok(())
    }
}
