//! What configuration is in use. What is configured does not know what is kept under it; here the two are brought together.

use antumbra_store::Reader;

use super::{Refusal, Session};
use crate::{preferences, purposes::PartitionId};

impl Session {
    /// Whether people have answered anything in a partition.
    pub(crate) async fn holds_records(&self, reader: &mut Reader, partition: PartitionId) -> Result<bool, Refusal> {
        Ok(preferences::has_records(reader, self.organization(), partition).await?)
    }
}
