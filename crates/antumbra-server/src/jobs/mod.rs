//! Durable jobs: claim, lease, retry, give up. It knows no slice.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the runner of this process that a job was enqueued; without it the runner would find the job a little later.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// A job is due.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Returns when [`Wake::ring`] was called since the last time.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
