//! A server's inside, for the tests beside the slices. It puts all slices together, as `lib.rs` does.

#[cfg(test)]
#[path = "../tests/it/support/place.rs"]
mod place;

use std::path::Path;

use antumbra_store::{Blobs, Store, StoreConfig};

use crate::{
    AppState, Clock, Ids, World,
    api_keys::{self, ApiKeyInput, ScopeName},
    audit::Actor,
    keyring::{Keyring, RootFile},
    organization::OrganizationId,
};

#[cfg(test)]
pub(crate) use place::Place;

/// What the slices see of the world: the store of `place`, and a clock that stands at `now` until it is moved.
#[cfg(test)]
pub(crate) async fn world(place: &Place, now: &str) -> World {
    world_on(place.store(), place.folder(), now).await
}

/// The same with any store, its blobs and its root key in `folder`.
pub(crate) async fn world_on(store: StoreConfig, folder: &Path, now: &str) -> World {
    let store = Store::open(store, &crate::tables())
        .await
        .expect("an empty store opens");
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
