//! What is kept of silos, data points and enrichers.

use antumbra_crypto::{Key32, value};
use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};

use super::{
    DataPointId, DataSiloId, EnricherId,
    address::AddressRules,
    model::{DataPoint, DataSilo, Enricher, Header, SealedHeader, SiloError, check_headers},
};
use crate::{
    http::Problem,
    keyring::{KeyKind, KeyringError, OrganizationKeys, destroy_key},
    organization::OrganizationId,
};

/// Which silos there are, in the order in which they were made.
const SILOS: Table<(OrganizationId, DataSiloId), DataSilo> = Table::new("data_silos");
/// What each silo holds, in the order in which it was made.
const DATA_POINTS: Table<(OrganizationId, DataSiloId, DataPointId), DataPoint> = Table::new("data_points");
/// Which data point of a silo has a name.
const DATA_POINT_NAMES: Table<(OrganizationId, DataSiloId, String), PointedAt> = Table::new("data_point_names");
/// Which enrichers there are, in the order in which they were made.
const ENRICHERS: Table<(OrganizationId, EnricherId), Enricher> = Table::new("enrichers");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    SILOS.name(),
    DATA_POINTS.name(),
    DATA_POINT_NAMES.name(),
    ENRICHERS.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<DataSilo>,
    crate::fuzz::same_when_written_again::<DataPoint>,
    crate::fuzz::same_when_written_again::<Enricher>,
    crate::fuzz::same_when_written_again::<PointedAt>,
];

impl Record for DataSilo {
    const VERSION: u8 = 1;
}

impl Record for DataPoint {
    const VERSION: u8 = 1;
}

impl Record for Enricher {
    const VERSION: u8 = 1;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PointedAt {
    id: DataPointId,
}

impl Record for PointedAt {
    const VERSION: u8 = 1;
}

/// Why a silo was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] SiloError),
    /// Its key could not be had.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SiloError> for Problem {
    fn from(error: SiloError) -> Problem {
        match error {
            SiloError::NoSuchSilo | SiloError::NoSuchDataPoint | SiloError::NoSuchEnricher => Problem::not_found(),
            broken => Problem::validation([("input", broken.to_string())]),
        }
    }
}

impl From<SaveError> for Problem {
    fn from(error: SaveError) -> Problem {
        match error {
            SaveError::Rule(error) => error.into(),
            SaveError::Key(error) => error.into(),
            SaveError::Store(error) => error.into(),
        }
    }
}

/// Saves a silo, new or changed. `headers` replaces the headers of its notices; nothing leaves them as they are.
pub async fn save_silo(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    addresses: &AddressRules,
    mut silo: DataSilo,
    headers: Option<&[Header]>,
) -> Result<DataSilo, SaveError> {
    silo.check(addresses)?;
    if let Some(headers) = headers {
        check_headers(headers)?;
        let key = silo_key(tx, keys, silo.id).await?;
        silo.headers = headers.iter().map(|header| seal(&key, header)).collect();
    }
    tx.put(&SILOS, &(keys.organization, silo.id), &silo);
    Ok(silo)
}

/// The headers of a notice, in clear. Only for whoever sends it, and for showing those that are not secret.
pub async fn open_headers(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    silo: &DataSilo,
) -> Result<Vec<Header>, KeyringError> {
    open_all(reader, keys, silo.id, &silo.headers).await
}

/// The headers of an enricher's webhooks, in clear. Only for whoever sends them.
pub async fn open_enricher_headers(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    enricher: &Enricher,
) -> Result<Vec<Header>, KeyringError> {
    open_all(reader, keys, DataSiloId(enricher.id.0), &enricher.headers).await
}

/// Headers that are sealed under the key of `owner`.
async fn open_all(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    owner: DataSiloId,
    sealed: &[SealedHeader],
) -> Result<Vec<Header>, KeyringError> {
    if sealed.is_empty() {
        return Ok(Vec::new());
    }
    let key = keys.find_key(reader, KeyKind::Silo, owner.0).await?;
    let open = |header: &SealedHeader| {
        let opened = value::open(
            key.as_ref()?,
            &[b"header", header.name.as_bytes()],
            &header.sealed_value,
        )
        .ok()?;
        let value = String::from_utf8(opened.to_vec()).ok()?;
        Some(Header {
            name: header.name.clone(),
            value,
            is_secret: header.is_secret,
        })
    };
    sealed
        .iter()
        .map(|header| {
            open(header).ok_or(KeyringError::Sealed {
                what: "header of a webhook",
                source: antumbra_crypto::OpenFailed::Refused,
            })
        })
        .collect()
}

async fn silo_key(tx: &mut Tx, keys: &OrganizationKeys, silo: DataSiloId) -> Result<Key32, KeyringError> {
    match keys.find_key(tx, KeyKind::Silo, silo.0).await? {
        Some(key) => Ok(key),
        None => keys.create_key(tx, KeyKind::Silo, silo.0).await,
    }
}

fn seal(key: &Key32, header: &Header) -> SealedHeader {
    let name = header.name.to_ascii_lowercase();
    let sealed_value = value::seal(key, &[b"header", name.as_bytes()], header.value.as_bytes());
    SealedHeader {
        name,
        sealed_value,
        is_secret: header.is_secret,
    }
}

/// The silo, if the organization has one of that id.
pub async fn find_silo(
    reader: &mut Reader,
    organization: OrganizationId,
    id: DataSiloId,
) -> Result<Option<DataSilo>, StoreError> {
    reader.get(&SILOS, &(organization, id)).await
}

/// Every silo of the organization, oldest first. Nothing is cut off: a silo that is not seen here is not asked.
pub async fn list_silos(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<DataSilo>, StoreError> {
    let rows = reader.scan(&SILOS, Scan::prefix(&organization)).await?;
    Ok(rows.into_iter().map(|(_, silo)| silo).collect())
}

/// Removes a silo with everything this slice knows of it. Runs it took part in keep their place in their request.
pub async fn delete_silo(tx: &mut Tx, organization: OrganizationId, id: DataSiloId) -> Result<(), SaveError> {
    find_silo(tx, organization, id).await?.ok_or(SiloError::NoSuchSilo)?;
    for point in list_data_points(tx, organization, id).await? {
        forget_data_point(tx, organization, &point);
    }
    destroy_key(tx, organization, KeyKind::Silo, id.0);
    tx.delete(&SILOS, &(organization, id));
    Ok(())
}

/// Saves a data point, new or changed. Its name is its own within the silo: who saves another of that name replaces the
/// one that was there, whose id is kept.
pub async fn save_data_point(
    tx: &mut Tx,
    organization: OrganizationId,
    mut point: DataPoint,
) -> Result<DataPoint, SaveError> {
    point.check()?;
    find_silo(tx, organization, point.silo)
        .await?
        .ok_or(SiloError::NoSuchSilo)?;
    let before = tx.get(&DATA_POINTS, &(organization, point.silo, point.id)).await?;
    if let Some(before) = before.filter(|before| before.name != point.name) {
        tx.delete(&DATA_POINT_NAMES, &(organization, before.silo, before.name));
    }
    let name = (organization, point.silo, point.name.clone());
    if let Some(PointedAt { id }) = tx.get(&DATA_POINT_NAMES, &name).await? {
        point.id = id;
    }
    tx.put(&DATA_POINT_NAMES, &name, &PointedAt { id: point.id });
    tx.put(&DATA_POINTS, &(organization, point.silo, point.id), &point);
    Ok(point)
}

/// The data point, if the silo has one of that id.
pub async fn find_data_point(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    id: DataPointId,
) -> Result<Option<DataPoint>, StoreError> {
    reader.get(&DATA_POINTS, &(organization, silo, id)).await
}

/// Data points of any silos, in the order of `places` and in one round trip.
pub async fn find_data_points(
    reader: &mut Reader,
    organization: OrganizationId,
    places: &[(DataSiloId, DataPointId)],
) -> Result<Vec<Option<DataPoint>>, StoreError> {
    let keys: Vec<_> = places.iter().map(|(silo, id)| (organization, *silo, *id)).collect();
    reader.get_many(&DATA_POINTS, &keys).await
}

/// Whether a data point could be called so.
pub fn may_name_data_point(name: &str) -> bool {
    super::model::named("the name", name).is_ok()
}

/// The data point that uploads call `name`.
pub async fn find_data_point_by_name(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    name: &str,
) -> Result<Option<DataPoint>, StoreError> {
    // A longer name is too long for a key, too.
    if !may_name_data_point(name) {
        return Ok(None);
    }
    match reader
        .get(&DATA_POINT_NAMES, &(organization, silo, name.to_owned()))
        .await?
    {
        Some(PointedAt { id }) => find_data_point(reader, organization, silo, id).await,
        None => Ok(None),
    }
}

/// Every data point of the silo, oldest first. Nothing is cut off.
pub async fn list_data_points(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
) -> Result<Vec<DataPoint>, StoreError> {
    let rows = reader.scan(&DATA_POINTS, Scan::prefix(&(organization, silo))).await?;
    Ok(rows.into_iter().map(|(_, point)| point).collect())
}

/// Every data point of every silo, those of one silo together. Nothing is cut off.
pub async fn list_all_data_points(
    reader: &mut Reader,
    organization: OrganizationId,
) -> Result<Vec<DataPoint>, StoreError> {
    let rows = reader.scan(&DATA_POINTS, Scan::prefix(&organization)).await?;
    Ok(rows.into_iter().map(|(_, point)| point).collect())
}

/// Removes a data point. What was uploaded for it stays with its request.
pub async fn delete_data_point(
    tx: &mut Tx,
    organization: OrganizationId,
    silo: DataSiloId,
    id: DataPointId,
) -> Result<(), SaveError> {
    let point = find_data_point(tx, organization, silo, id)
        .await?
        .ok_or(SiloError::NoSuchDataPoint)?;
    forget_data_point(tx, organization, &point);
    Ok(())
}

fn forget_data_point(tx: &mut Tx, organization: OrganizationId, point: &DataPoint) {
    tx.delete(&DATA_POINT_NAMES, &(organization, point.silo, point.name.clone()));
    tx.delete(&DATA_POINTS, &(organization, point.silo, point.id));
}

/// Saves an enricher, new or changed. `headers` replaces the headers of its notices; nothing leaves them as they are.
pub async fn save_enricher(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    addresses: &AddressRules,
    mut enricher: Enricher,
    headers: Option<&[Header]>,
) -> Result<Enricher, SaveError> {
    enricher.check(addresses)?;
    if let Some(headers) = headers {
        check_headers(headers)?;
        let key = silo_key(tx, keys, DataSiloId(enricher.id.0)).await?;
        enricher.headers = headers.iter().map(|header| seal(&key, header)).collect();
    }
    tx.put(&ENRICHERS, &(keys.organization, enricher.id), &enricher);
    Ok(enricher)
}

/// The enricher, if the organization has one of that id.
pub async fn find_enricher(
    reader: &mut Reader,
    organization: OrganizationId,
    id: EnricherId,
) -> Result<Option<Enricher>, StoreError> {
    reader.get(&ENRICHERS, &(organization, id)).await
}

/// Every enricher of the organization, oldest first.
pub async fn list_enrichers(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Enricher>, StoreError> {
    let rows = reader.scan(&ENRICHERS, Scan::prefix(&organization)).await?;
    Ok(rows.into_iter().map(|(_, enricher)| enricher).collect())
}

/// Removes an enricher. Those that waited for it wait no more.
pub async fn delete_enricher(tx: &mut Tx, organization: OrganizationId, id: EnricherId) -> Result<(), SaveError> {
    find_enricher(tx, organization, id)
        .await?
        .ok_or(SiloError::NoSuchEnricher)?;
    for mut other in list_enrichers(tx, organization).await? {
        if other.depends_on.remove(&id) {
            tx.put(&ENRICHERS, &(organization, other.id), &other);
        }
    }
    destroy_key(tx, organization, KeyKind::Silo, id.0);
    tx.delete(&ENRICHERS, &(organization, id));
    Ok(())
}
