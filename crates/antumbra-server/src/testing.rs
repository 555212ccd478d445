//! A server's inside in a folder, for the tests beside the slices. It puts all slices together, as `lib.rs` does.

use std::path::Path;

use antumbra_store::{Blobs, EmbeddedConfig, Store, StoreConfig};

use crate::{
    AppState, Clock, Ids, World,
    api_keys::{self, ApiKeyInput, ScopeName},
    audit::Actor,
    keyring::{Keyring, RootFile},
    organization::OrganizationId,
};

/// What the slices see of the world: a small embedded store, and a clock that stands at `now` until it is moved.
pub(crate) async fn world(folder: &Path, now: &str) -> World {
    let store = EmbeddedConfig {
        cache_bytes: 16 << 20,
        journal_bytes: 64 << 20,
        ..EmbeddedConfig::new(folder.join("store"))
    };
    let store = Store::open(StoreConfig::Embedded(store), &crate::tables())
        .await
        .expect("the store of an empty folder opens");
    let clock = Clock::manual(now.parse().expect("the test writes its moment as RFC 3339"));
    World {
        blobs: Blobs::local(folder.join("blobs"))
            .await
            .expect("the folder can be written"),
        keys: Keyring::open(&store, &RootFile::at(folder.join("root.key")))
            .await
            .expect("a root key is made for an empty store"),
        ids: Ids::new(clock.clone()),
        clock,
        store,
    }
}

/// An API key that may do everything in `organization`.
pub(crate) async fn admin_key(app: &AppState, organization: OrganizationId) -> String {
    let input = ApiKeyInput {
        title: "test".into(),
        scopes: vec![ScopeName::FullAdmin],
        ..ApiKeyInput::default()
    };
    let key = api_keys::create(app, organization, Actor::Operator, input)
        .await
        .expect("a key can be made");
    key.secret.expose().to_owned()
}
