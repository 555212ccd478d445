//! What a report consists of, and the index that says so: `index.html` for people, `index.json` for programs.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_store::Reader;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{names::Paths, words::Words};
use crate::{
    dsr::{DsrHead, Phase},
    files::{self, FileError, FileId},
    http::pages::{Html, Page},
    keyring::OrganizationKeys,
    runs::{self, RunFilter, RunStatus, SiloRun},
    silos::{self, DataPointId, DataSiloId},
};

/// The index for people.
pub(super) const INDEX_HTML: &str = "index.html";
/// The index for programs.
pub(super) const INDEX_JSON: &str = "index.json";
/// Files that the index for people lists; that for programs has all of them.
const ROWS_MAX: usize = 5_000;
/// Files that the index for programs takes in one piece.
const PIECE_FILES: usize = 500;
/// Silo runs of one request that are looked at.
const RUNS_MAX: usize = 10_000;

/// Everything in a report but the bytes of its files.
pub(super) struct Contents {
    pub(super) request: About,
    pub(super) files: Vec<Entry>,
    pub(super) silos: Vec<Asked>,
    pub(super) words: &'static Words,
}

/// Which request it is about. Names nobody.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    pub(super) id: Uuid,
    #[serde(rename = "type")]
    pub(super) action: &'static str,
    pub(super) status: &'static str,
    pub(super) created_at: Timestamp,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) made_at: Timestamp,
    /// Who sends it.
    pub(super) organization: String,
}

/// One file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(skip)]
    pub(super) file: FileId,
    pub(super) path: String,
    pub(super) mimetype: String,
    pub(super) bytes: u64,
    pub(super) received_at: Timestamp,
    pub(super) data_silo: Named,
    pub(super) data_point: Named,
}

/// Something that the organization configured, or did once.
#[derive(Clone, Serialize)]
pub(super) struct Named {
    pub(super) id: Uuid,
    pub(super) title: String,
}

/// A silo that was asked, by which identifiers, and what came of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) id: Uuid,
    pub(super) title: String,
    pub(super) outcome: Outcome,
    /// Names, never values: a report may be shown to others.
    pub(super) identifiers: BTreeSet<String>,
}

/// What came of asking a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Outcome {
    /// It handed something over.
    Data,
    /// It has nothing.
    Nothing,
    /// It handed nothing over, for a reason in law.
    Exception,
    /// There was nothing to ask it by.
    NotAsked,
    /// Somebody decided to leave it out. Nothing is known of what it holds.
    LeftOut,
    /// It has not finished.
    Unfinished,
}

impl Outcome {
    fn of(run: &SiloRun) -> Outcome {
        if run.has_data() {
            return Outcome::Data;
        }
        match run.status() {
            RunStatus::SkippedDueToException => Outcome::Exception,
            RunStatus::Resolved | RunStatus::Skipped if run.profiles.is_empty() => Outcome::NotAsked,
            RunStatus::Skipped if run.is_decided_in_its_place() => Outcome::LeftOut,
            RunStatus::Resolved | RunStatus::Skipped => Outcome::Nothing,
            RunStatus::Queued
            | RunStatus::RemoteProcessing
            | RunStatus::Waiting
            | RunStatus::ActionRequired
            | RunStatus::Error => Outcome::Unfinished,
        }
    }
}

impl Contents {
    /// What the report of `head` consists of at `now`.
    pub(super) async fn gather(
        reader: &mut Reader,
        keys: &OrganizationKeys,
        head: &DsrHead,
        organization: &str,
        now: Timestamp,
    ) -> Result<Contents, FileError> {
        let (_, listed) = files::list(reader, keys, head.id.0, 0, usize::MAX).await?;
        let mut titles = Titles::default();
        let mut paths = Paths::default();
        paths.take(INDEX_HTML);
        paths.take(INDEX_JSON);
        let mut files = Vec::with_capacity(listed.len());
        for file in listed {
            let data_silo = titles.silo(reader, keys, DataSiloId(file.silo)).await?;
            let data_point = titles
                .data_point(reader, keys, DataSiloId(file.silo), DataPointId(file.data_point))
                .await?;
            files.push(Entry {
                file: file.id,
                path: paths.take(&file.name),
                mimetype: file.mimetype,
                bytes: file.bytes,
                received_at: file.created_at,
                data_silo,
                data_point,
            });
        }
        let filter = RunFilter {
            request: Some(head.id),
            ..RunFilter::default()
        };
        let runs = runs::list_runs(reader, keys.organization, &filter, 0, RUNS_MAX)
            .await?
            .runs;
        let mut silos = Vec::new();
        let counts = |run: &&SiloRun| run.phase == Phase::Primary && run.round == head.round;
        for run in runs.iter().filter(counts) {
            let Named { id, title } = titles.silo(reader, keys, run.silo).await?;
            silos.push(Asked {
                id,
                title,
                outcome: Outcome::of(run),
                identifiers: run.profiles.iter().map(|profile| profile.name.clone()).collect(),
            });
        }
        Ok(Contents {
            request: About {
                id: head.id.0,
                action: head.action().as_str(),
                status: head.state.status().as_str(),
                created_at: head.created_at,
                completed_at: head.state.completed_at(),
                made_at: now,
                organization: organization.to_owned(),
            },
            files,
            silos,
            words: Words::of(&head.locale),
        })
    }

    /// How much there is to download, apart from the index.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The categories that files stand under, each with how many there are.
    pub(super) fn categories(&self) -> BTreeMap<&str, usize> {
        self.files.iter().fold(BTreeMap::new(), |mut categories, file| {
            let category = file.path.split_once('/').map_or("", |(folder, _)| folder);
            *categories.entry(category).or_default() += 1;
            categories
        })
    }

    /// The index for people, as a page that stands by itself.
    pub(super) fn index_html(&self) -> Bytes {
        let words = self.words;
        let body = Html::default()
            .facts([
                (words.request, self.request.id.to_string().as_str()),
                (words.made_at, day(self.request.made_at).as_str()),
            ])
            .and(self.files_table(FileLinks::Yes))
            .and(self.silos_table());
        let page = Page {
            language: words.language,
            from: &self.request.organization,
            title: words.report_title,
            body,
        };
        page.document().into()
    }

    /// The files, as a table.
    pub(super) fn files_table(&self, links: FileLinks) -> Html {
        let words = self.words;
        if self.files.is_empty() {
            return Html::default().heading(words.files).paragraph(words.no_files);
        }
        let row = |file: &Entry| {
            let name = match links {
                FileLinks::Yes => Html::default().link(&address(&file.path), &file.path),
                FileLinks::No => Html::default().text(&file.path),
            };
            [
                name,
                Html::default().text(&format!("{}: {}", file.data_silo.title, file.data_point.title)),
                Html::default().whole(&size(file.bytes)),
                Html::default().whole(&day(file.received_at)),
            ]
        };
        let rows = self.files.iter().take(ROWS_MAX).map(row);
        let table = Html::default().heading(words.files).table(
            words.files_caption,
            [words.file, words.from, words.size, words.received],
            rows,
        );
        match self.files.len().checked_sub(ROWS_MAX) {
            Some(more @ 1..) => table.aside(&format!("+ {more} ({INDEX_JSON})")),
            _ => table,
        }
    }

    fn silos_table(&self) -> Html {
        let words = self.words;
        let row = |silo: &Asked| {
            let names: Vec<&str> = silo.identifiers.iter().map(String::as_str).collect();
            [
                Html::default().text(&silo.title),
                Html::default().text(words.outcome(silo.outcome)),
                Html::default().text(&names.join(", ")),
            ]
        };
        Html::default().heading(words.places).table(
            words.places_caption,
            [words.place, words.outcome, words.asked_by],
            self.silos.iter().map(row),
        )
    }

    /// The piece of the index for programs that begins with file `at`; none after the last. What the pieces come to is one
    /// JSON document, of which no more than a piece is held.
    pub(super) fn index_json(&self, at: usize) -> Option<(Bytes, usize)> {
        if at > self.files.len() {
            return None;
        }
        let mut piece = Vec::new();
        if at == 0 {
            piece.extend_from_slice(b"{\"request\":");
            put_json(&mut piece, &self.request);
            piece.extend_from_slice(b",\"dataSilos\":");
            put_json(&mut piece, &self.silos);
            piece.extend_from_slice(b",\"files\":[");
        }
        let end = (at + PIECE_FILES).min(self.files.len());
        for (number, file) in self.files[at..end].iter().enumerate() {
            piece.extend_from_slice(if at + number > 0 { b",\n" } else { b"\n" });
            put_json(&mut piece, file);
        }
        let next = if end == self.files.len() {
            piece.extend_from_slice(b"\n]}\n");
            end + 1
        } else {
            end
        };
        Some((piece.into(), next))
    }
}

/// Whether names of files lead to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileLinks {
    /// They lie beside the page.
    Yes,
    /// They do not.
    No,
}

fn put_json(to: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(to, value).expect("an index is made of texts and numbers");
}

/// A path as a relative address: each byte that means something in addresses is percent-encoded. The dot before it keeps a
/// folder with a colon in its name from being read as a scheme.
fn address(path: &str) -> String {
    path.bytes().fold("./".to_owned(), |mut address, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                address.push(char::from(byte))
            }
            byte => address.push_str(&format!("%{byte:02X}")),
        }
        address
    })
}

/// A day as everybody writes it in some file: `2026-03-02`.
pub(super) fn day(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// A length for people: in units of a thousand, cut after one digit behind the point. It stays on one line.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut one, mut unit) = (1, 0);
    while bytes / one >= 1000 && unit + 1 < UNITS.len() {
        one *= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}\u{a0}B"),
        _ => format!("{}.{}\u{a0}{}", bytes / one, bytes % one / (one / 10), UNITS[unit]),
    }
}

/// Titles of silos and data points that have been looked up.
#[derive(Default)]
struct Titles {
    silos: BTreeMap<DataSiloId, String>,
    data_points: BTreeMap<DataPointId, String>,
}

impl Titles {
    async fn silo(&mut self, reader: &mut Reader, keys: &OrganizationKeys, id: DataSiloId) -> Result<Named, FileError> {
        if let Some(title) = self.silos.get(&id) {
            let title = title.clone();
            return Ok(Named { id: id.0, title });
        }
        let found = silos::find_silo(reader, keys.organization, id).await?;
        let title = found.map_or_else(|| "–".to_owned(), |silo| silo.title);
        self.silos.insert(id, title.clone());
        Ok(Named { id: id.0, title })
    }

    async fn data_point(
        &mut self,
        reader: &mut Reader,
        keys: &OrganizationKeys,
        silo: DataSiloId,
        id: DataPointId,
    ) -> Result<Named, FileError> {
        if let Some(title) = self.data_points.get(&id) {
            let title = title.clone();
            return Ok(Named { id: id.0, title });
        }
        let found = silos::find_data_points(reader, keys.organization, &[(silo, id)]).await?;
        let title = found.into_iter().flatten().next().map_or_else(
            || "–".to_owned(),
            |point| point.title.map_or(point.name, |title| title.default_message),
        );
        self.data_points.insert(id, title.clone());
        Ok(Named { id: id.0, title })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_841, "1.8 kB"),
            (456_000_000, "456.0 MB"),
            (5_368_709_120, "5.3 GB"),
        ] {
            assert_eq!(size(bytes).replace('\u{a0}', " "), text);
        }
    }

    #[test]
    fn an_address_beside_the_page_leads_nowhere_else() {
        assert_eq!(address("Photos/a b.jpg"), "./Photos/a%20b.jpg");
        assert_eq!(address("javascript:alert(1)"), "./javascript%3Aalert%281%29");
        assert_eq!(address("é?#%.txt"), "./%C3%A9%3F%23%25.txt");
    }
}
