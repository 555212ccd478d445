//! What configuration is in use. What is configured does not know what is kept under it; here the two are brought together.

use antumbra_store::{Reader, Tx};

use super::{Refusal, Session};
use crate::{
    preferences,
    purposes::{Partition, PartitionId},
};

impl Session {
    /// Whether people have answered anything in a partition.
    pub(crate) async fn holds_records(&self, reader: &mut Reader, partition: PartitionId) -> Result<bool, Refusal> {
        Ok(preferences::has_records(reader, self.organization(), Some(partition)).await?)
    }

    /// Whether people have answered anything in any partition.
    pub(crate) async fn holds_any_records(&self, reader: &mut Reader) -> Result<bool, Refusal> {
        Ok(preferences::has_records(reader, self.organization(), None).await?)
    }

    /// Removes the secrets of a partition that is deleted in `tx`.
    pub(crate) async fn forget_secrets(&self, tx: &mut Tx, partition: &Partition) -> Result<(), Refusal> {
        Ok(preferences::forget_partition(tx, self.organization(), partition).await?)
    }
}
