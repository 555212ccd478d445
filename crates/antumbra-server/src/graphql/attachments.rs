//! API keys and the data silos they are attached to. The two slices do not know each other; here they are brought together.

use antumbra_store::{Reader, Tx};
use async_graphql::ID;

use super::{Refusal, Session, parse_id};
use crate::{
    api_keys::{self, ApiKeyChange, ApiKeyId, ScopeName},
    silos::{self, DataSiloId},
};

/// An API key, as data silos see it.
pub(crate) struct AttachedKey {
    id: ApiKeyId,
    /// What people call it.
    pub(crate) title: String,
    /// The silos that its holder may answer for.
    pub(crate) silos: Vec<DataSiloId>,
}

/// A data silo, as API keys see it.
pub(crate) struct KnownSilo {
    /// Its id.
    pub(crate) id: DataSiloId,
    /// What people call it.
    pub(crate) title: String,
}

impl Session {
    /// The API keys, as data silos see them.
    pub(crate) async fn attached_keys(&self, reader: &mut Reader) -> Result<Vec<AttachedKey>, Refusal> {
        let listed = api_keys::list_in(reader, &self.app, self.organization()).await?;
        let key = |key: api_keys::Listed| AttachedKey {
            id: key.id,
            title: key.record.title,
            silos: key.record.silos,
        };
        Ok(listed.into_iter().map(key).collect())
    }

    /// The data silos, as API keys see them.
    pub(crate) async fn known_silos(&self, reader: &mut Reader) -> Result<Vec<KnownSilo>, Refusal> {
        let silos = silos::list_silos(reader, self.organization()).await?;
        Ok(silos
            .into_iter()
            .map(|silo| KnownSilo {
                id: silo.id,
                title: silo.title,
            })
            .collect())
    }

    /// Lets the holder of an API key answer for a silo.
    pub(crate) async fn attach_key(
        &self,
        tx: &mut Tx,
        keys: &[AttachedKey],
        key: &ID,
        silo: DataSiloId,
    ) -> Result<(), Refusal> {
        let key = ApiKeyId(parse_id(key, "API key")?);
        let known = keys
            .iter()
            .find(|known| known.id == key)
            .ok_or_else(|| Refusal::not_found("API key"))?;
        if known.silos.contains(&silo) {
            return Ok(());
        }
        let silos = known.silos.iter().copied().chain([silo]).collect();
        let change = ApiKeyChange {
            silos: Some(silos),
            ..ApiKeyChange::default()
        };
        api_keys::change_in(tx, &self.app, self.organization(), self.actor(), key, change).await?;
        self.forget_key_after_commit(key);
        Ok(())
    }

    /// Refuses unless the caller may change how data silos are reached.
    pub(crate) fn require_connecting(&self) -> Result<(), Refusal> {
        Ok(self.caller.require(ScopeName::ConnectDataSilos)?)
    }
}
