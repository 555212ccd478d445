//! The fulfilment routes, one file each.

mod closing_record;
mod completion;
mod data_silo;
mod datapoint;
mod datapoint_chunked;
mod pending_requests;
mod public_key;

use antumbra_store::Tx;
use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream;
use std::{borrow::Cow, convert::Infallible};

pub(crate) use closing_record::*;
pub(crate) use completion::*;
pub(crate) use data_silo::*;
pub(crate) use datapoint::*;
pub(crate) use datapoint_chunked::*;
pub(crate) use pending_requests::*;
pub(crate) use public_key::*;

use super::{
    RunError,
    report::Admitted,
    store::{self, Slot},
};
use crate::{
    AppState,
    files::{self, Description, FileError, FileId, Naming, Received, Upload},
    silos::DataPoint,
};

const JSON: &str = "application/json";

/// A header as text, if it is there and not empty: UTF-8, or what many a library still sends, Latin-1.
fn text_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let value = headers.get(name)?.as_bytes();
    let text = match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text.trim()),
        Err(_) => Cow::Owned(
            value
                .iter()
                .copied()
                .map(char::from)
                .collect::<String>()
                .trim()
                .to_owned(),
        ),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Seals `json` as a file to which nothing refers yet.
async fn receive_json(app: &AppState, admitted: &Admitted, json: Vec<u8>) -> Result<Received, FileError> {
    let upload = Upload {
        organization: admitted.organization,
        request: admitted.nonce.request.0,
        bytes_max: 0,
    };
    files::receive(app, upload, stream::iter([Ok::<_, Infallible>(Bytes::from(json))])).await
}

/// What a file of `point` is.
fn describe<'a>(
    app: &AppState,
    admitted: &Admitted,
    point: &'a DataPoint,
    naming: Naming<'a>,
    content_type: Option<&'a str>,
) -> Description<'a> {
    Description {
        silo: point.silo.0,
        data_point: point.id.0,
        folder: category(point),
        naming,
        content_type,
        at: app.now(admitted.organization),
    }
}

/// The category of the report that a data point's files stand under.
fn category(point: &DataPoint) -> &str {
    let title = point.title.as_ref().map(|title| title.default_message.as_str());
    point.data_collection_tag.as_deref().or(title).unwrap_or(&point.name)
}

/// The place of something handed over under `name`, which a repeat replaces.
fn slot(admitted: &Admitted, point: &DataPoint, kind: &str, name: &str) -> Slot {
    Slot {
        organization: admitted.organization,
        request: admitted.nonce.request,
        profile: admitted.nonce.profile,
        data_point: point.id,
        name: admitted
            .keys
            .index
            .blind(&[b"handed-over", kind.as_bytes(), name.as_bytes()]),
    }
}

/// Takes away the file that stands in `slot`. Says whether there was one.
async fn clear_slot(tx: &mut Tx, admitted: &Admitted, slot: &Slot) -> Result<bool, RunError> {
    let Some(file) = store::find_handed_over(tx, slot).await? else {
        return Ok(false);
    };
    files::discard(tx, &admitted.keys, slot.request.0, FileId(file)).await?;
    store::put_handed_over(tx, slot, None);
    Ok(true)
}

/// Makes what was received a file of the request.
async fn record(
    app: &AppState,
    tx: &mut Tx,
    admitted: &Admitted,
    received: &Received,
    described: Description<'_>,
) -> Result<FileId, RunError> {
    let id = FileId(app.ids.uuid());
    files::record(tx, &admitted.keys, id, received, &described).await?;
    Ok(id)
}
