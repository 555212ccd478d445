//! What the documents of one HTTP request work on: their caller and their one transaction.

use std::sync::Arc;

use antumbra_store::{Reader, StoreError, Tx};
use async_graphql::Context;
use jiff::Timestamp;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::Refusal;
use crate::{
    AppState,
    audit::Actor,
    http::Caller,
    organization::{OrganizationId, Settings},
};

/// One HTTP request to the management API.
///
/// Sibling fields are resolved at the same time, so a field holds the transaction no longer than it works on it.
pub(crate) struct Session {
    pub(crate) app: AppState,
    pub(crate) caller: Caller,
    /// When the HTTP request came in; the one instant that everything in it bears.
    pub(crate) now: Timestamp,
    work: Mutex<Work>,
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
        Ok(Session {
            now: app.clock.now(),
            app,
            caller,
            work: Mutex::new(work),
        })
    }

    /// A session that may change something.
    pub(crate) async fn writing(app: AppState, caller: Caller) -> Result<Session, StoreError> {
        let work = Work::Writing(app.store.begin_write().await?);
        Ok(Session {
            now: app.clock.now(),
            app,
            caller,
            work: Mutex::new(work),
        })
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
            Work::Reading(_) | Work::Over => unreachable!("only mutations write, and their session is a writing one"),
        })
    }

    /// The organization's settings, as the transaction sees them.
    pub(crate) async fn settings(&self) -> Result<Arc<Settings>, Refusal> {
        let mut reader = self.read().await;
        Ok(self.app.settings.get(&mut reader, self.organization()).await?)
    }

    /// Makes everything that was written durable and visible.
    pub(crate) async fn commit(&self) -> Result<(), StoreError> {
        let work = std::mem::replace(&mut *self.work.lock().await, Work::Over);
        match work {
            Work::Writing(tx) => tx.commit().await,
            Work::Reading(_) | Work::Over => Ok(()),
        }
    }
}
