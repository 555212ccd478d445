//! `GET /v1/data-subject-request/{id}/download-keys`.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use antumbra_store::Reader;
use axum::{
    extract::State,
    http::{HeaderMap, header},
};
use jiff::Timestamp;

use super::id_in_path;
use crate::{
    AppState,
    config::DownloadKeySize,
    dsr::{
        DsrId, get_head,
        wire::{DataPoint, DataSilo, DownloadKeys, File, Size, Window},
    },
    files::{self, DOWNLOAD_KEY_LIFETIME, Listed},
    http::{Caller, Json, Path, Problem, Query, scope},
    keyring::OrganizationKeys,
    silos::{self, DataPointId, DataSiloId},
};

/// `GET /v1/data-subject-request/{id}/download-keys`: the files of a request, each with a key to download it by.
#[utoipa::path(
    get,
    path = "/v1/data-subject-request/{id}/download-keys",
    tag = "data subject requests",
    params(
        ("id" = uuid::Uuid, Path, description = "The data subject request"),
        ("limit" = Option<u64>, Query, description = "Files on the page: 25 unless said, 1,000 at most"),
        ("offset" = Option<u64>, Query, description = "Files before the page: 0 unless said"),
    ),
    responses((status = 200, description = "A page of files, oldest first", body = DownloadKeys)),
)]
pub(crate) async fn download_keys(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequestCompilation>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<DownloadKeys>, Problem> {
    let id = id_in_path(&id)?;
    let window = Window::read(&query)?;
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let head = get_head(&mut reader, caller.organization, id).await?;
    let now = app.now(caller.organization);
    let (total, listed) = if head.shows_files(now) {
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        files::list(&mut reader, &keys, id.0, whole(window.offset), whole(window.limit)).await?
    } else {
        (0, Vec::new())
    };
    let a_while = now + DOWNLOAD_KEY_LIFETIME;
    let expires_at = head.available_until().map_or(a_while, |until| until.min(a_while));
    let page = Pages {
        keys: &keys,
        id,
        expires_at,
        size: size_for(&app, &headers),
    };
    let nodes = page.nodes(&mut reader, listed).await?;
    Ok(Json(DownloadKeys::new(id, window, total as u64, nodes)))
}

/// How sizes are written to this caller.
fn size_for(app: &AppState, headers: &HeaderMap) -> fn(u64) -> Size {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let number: fn(u64) -> Size = Size::Number;
    let digits: fn(u64) -> Size = |bytes| Size::Digits(bytes.to_string());
    match app.config.compat.download_key_size {
        DownloadKeySize::Number => number,
        DownloadKeySize::String => digits,
        // The one client that decodes only strings calls by this library.
        DownloadKeySize::Auto if agent.starts_with("got (") => digits,
        DownloadKeySize::Auto => number,
    }
}

/// The silo and the data point that a file came from.
fn place_of(file: &Listed) -> (DataSiloId, DataPointId) {
    (DataSiloId(file.silo), DataPointId(file.data_point))
}

/// What turns files into nodes of a page.
struct Pages<'a> {
    keys: &'a OrganizationKeys,
    id: DsrId,
    expires_at: Timestamp,
    size: fn(u64) -> Size,
}

impl Pages<'_> {
    async fn nodes(&self, reader: &mut Reader, listed: Vec<Listed>) -> Result<Vec<File>, Problem> {
        let organization = self.keys.organization;
        let points: BTreeSet<(DataSiloId, DataPointId)> = listed.iter().map(place_of).collect();
        let points: Vec<_> = points.into_iter().collect();
        let found = silos::find_data_points(reader, organization, &points).await?;
        let points: BTreeMap<_, _> = points.into_iter().zip(found).collect();
        let mut silos = BTreeMap::new();
        let mut nodes = Vec::with_capacity(listed.len());
        for file in listed {
            let (silo, point) = place_of(&file);
            let configured = match silos.entry(silo) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(silos::find_silo(reader, organization, silo).await?),
            };
            let shown = configured
                .as_ref()
                .map_or_else(|| DataSilo::gone(file.silo), DataSilo::from);
            let data_point = match points.get(&(silo, point)).cloned().flatten() {
                Some(point) => DataPoint::new(point, shown),
                None => DataPoint::gone(file.data_point, shown),
            };
            nodes.push(File {
                download_key: files::mint_download_key(self.keys, self.id.0, file.id, self.expires_at),
                error: None,
                mimetype: file.mimetype,
                size: (self.size)(file.bytes),
                file_name: file.name,
                data_point,
            });
        }
        Ok(nodes)
    }
}
