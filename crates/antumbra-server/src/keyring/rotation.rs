//! A new key-encryption key for an organization, and the re-wrapping of every key that the one before it wrapped; and the
//! same for the root.
//!
//! Whoever adds a key reads the row of the KEK that wraps it ([`OrganizationKeys::adding`]), and a rotation writes that row.
//! So in the order that the store gives its transactions, a key wrapped under the old KEK comes before the rotation. Each
//! page of the re-wrapping reads what the rotation wrote, so it comes after it, and sees every such key. That holds for
//! any number of processes, and no clock or waiting is part of it.

use std::sync::Arc;

use antumbra_crypto::{Key32, OpenFailed};
use antumbra_store::{Store, StoreError, Tx};

use super::{
    KeyKind, KeyringError, OrganizationKeys, RootError, RootFile,
    keys::Keks,
    root,
    store::{self, Canary, EpochRow, KekState, RewrapRow},
    wrappers::Wrappers,
};
use crate::organization::OrganizationId;

/// Keys looked at in one transaction.
const PAGE: usize = 512;

/// Whether there is more to re-wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrapped {
    /// There may be.
    Page,
    /// Every key is under the active KEK, and the older ones are gone.
    All,
}

/// Makes a new KEK the active one. Its keys have to be re-wrapped from the first one on.
pub(super) async fn rotate(
    tx: &mut Tx,
    wrappers: &Wrappers,
    organization: OrganizationId,
    epoch: u32,
) -> Result<(), KeyringError> {
    let keks = store::get_keks(tx, wrappers, organization, None).await?;
    let rows = store::list_keks(tx, organization).await?;
    for (version, mut row) in rows.into_iter().filter(|(_, row)| row.state == KekState::Active) {
        row.state = KekState::DecryptOnly;
        store::put_kek_row(tx, organization, version, &row);
    }
    let newest = keks.all().map(|kek| kek.version()).max().unwrap_or_default();
    let kek = store::put_kek(tx, wrappers, epoch, organization, newest + 1);
    store::rewrap_purposes(tx, &keks, &kek, organization).await?;
    store::put_rewrap(tx, organization, &RewrapRow::from_the_first(kek.version()));
    Ok(())
}

/// Re-wraps one page of keys, and after the last one removes the older KEKs. May run twice, and beside itself.
pub(super) async fn rewrap_page(store: &Store, keys: &OrganizationKeys) -> Result<Rewrapped, KeyringError> {
    let organization = keys.organization;
    // Looking on takes a transaction of its own that writes nothing: on the embedded engine it is no conflict when keys
    // are added beyond the last one, and PostgreSQL takes what it saw into account as soon as it is committed.
    let mut look = store.begin_write().await?;
    let Some(at) = store::find_rewrap(&mut look, organization).await? else {
        return Ok(Rewrapped::All);
    };
    let keks = under(keys, &mut look, &at).await?;
    let kind = kind(&at);
    let page = match kind {
        Some(kind) => store::list_keys(&mut look, organization, kind, at.after, PAGE).await?,
        None => Vec::new(),
    };
    look.commit().await?;

    let mut tx = store.begin_write().await?;
    if store::find_rewrap(&mut tx, organization).await?.as_ref() != Some(&at) {
        // Another has done this page, or there has been a further rotation.
        return Ok(Rewrapped::Page);
    }
    let Some(kind) = kind else {
        remove_older(&mut tx, &keks, organization).await?;
        tx.commit().await?;
        return Ok(Rewrapped::All);
    };
    let old = page.iter().filter(|(_, wrapped)| wrapped.kek_id() != keks.active.id());
    let owners: Vec<_> = old.map(|(owner, _)| *owner).collect();
    let found = store::get_keys(&mut tx, organization, kind, &owners).await?;
    for (owner, wrapped) in owners.into_iter().zip(found) {
        // Nothing is there any more if it was destroyed in the meantime.
        if let Some(wrapped) = wrapped
            .transpose()?
            .filter(|wrapped| wrapped.kek_id() != keks.active.id())
        {
            let wrapped = keys.rewrap(&keks, kind, owner, &wrapped)?;
            store::put_key(&mut tx, organization, kind, owner, &wrapped);
        }
    }
    let next = match page.last() {
        Some((last, _)) if page.len() == PAGE => RewrapRow {
            after: Some(*last),
            ..at
        },
        _ => RewrapRow {
            kind: at.kind + 1,
            after: None,
            ..at
        },
    };
    store::put_rewrap(&mut tx, organization, &next);
    tx.commit().await?;
    Ok(Rewrapped::Page)
}

/// The KEKs, with the one that is wanted as the active one.
async fn under(keys: &OrganizationKeys, tx: &mut Tx, at: &RewrapRow) -> Result<Arc<Keks>, KeyringError> {
    let mut keks = keys.keks();
    if keks.active.version() != at.kek_version {
        keks = keys.reload(tx).await?;
    }
    if keks.active.version() != at.kek_version {
        return Err(StoreError::Conflict.into());
    }
    Ok(keks)
}

/// Wraps whatever is under an older root under the newest, and gives the key of callers.
pub(super) async fn move_to_newest_root(
    tx: &mut Tx,
    wrappers: &Wrappers,
    file: &RootFile,
    canary: &Canary,
    epoch: Option<EpochRow>,
) -> Result<Key32, KeyringError> {
    for (organization, version, mut row) in store::list_all_keks(tx).await? {
        let context = version.to_be_bytes();
        let context = store::kek_context(&organization, &context);
        if wrappers.find(&row.wrapped).is_none() {
            return Err(RootError::Epoch(file.epoch_path(row.wrapped.kek_version())).into());
        }
        let moved = wrappers.under_newest_root(&context, &row.wrapped);
        if let Some(wrapped) = moved.map_err(store::sealed("key of the organization"))? {
            row.wrapped = wrapped;
            store::put_kek_row(tx, organization, version, &row);
        }
    }
    let newest = wrappers.root();
    if !root::is_of(newest, canary) {
        store::put_canary(tx, &root::canary(newest));
    }
    if let Some(epoch) = epoch.filter(|epoch| epoch.key_id.is_some()) {
        let key_id = Some(wrappers.active().kek.id().0);
        if key_id != epoch.key_id {
            store::put_epoch(tx, &EpochRow { key_id, ..epoch });
        }
    }
    let wrapped = store::get_callers_key(tx).await?;
    let mut opened = Err(OpenFailed::OtherKek);
    for root in wrappers.roots() {
        opened = opened.or_else(|_| store::open_callers_key(root, &wrapped));
    }
    let callers = opened.map_err(store::sealed("key of callers"))?;
    if wrapped.kek_id() != newest.kek.id() {
        store::put_callers_key(tx, newest, &callers);
    }
    Ok(callers)
}

fn kind(at: &RewrapRow) -> Option<KeyKind> {
    KeyKind::ALL.get(usize::from(at.kind)).copied()
}

async fn remove_older(tx: &mut Tx, keks: &Keks, organization: OrganizationId) -> Result<(), StoreError> {
    for (version, row) in store::list_keks(tx, organization).await? {
        if version != keks.active.version() && row.state == KekState::DecryptOnly {
            store::delete_kek(tx, organization, version);
        }
    }
    store::delete_rewrap(tx, organization);
    Ok(())
}
