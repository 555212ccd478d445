//! Every record of a partition, page by page.
//!
//! Pages come newest first, so a record that somebody writes while the walk is under way moves before what was read, and
//! would be missed. Therefore the walk is made again over what was written since shortly before it began, and again, until
//! nothing new is found; what was already given out in that form is not given out again.

use std::collections::HashSet;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{super::patience::Patient, sheet::Node};
use crate::{
    client::{self, Answer, Client},
    outcome::{Ended, Outcome},
};

/// Most records of a page, and most states of records where those are asked for.
const PAGE_RECORDS: usize = 100;
const PAGE_STATES: usize = 1_000;

/// Bytes that a page should have at most, if what is on it is as large as what was on the one before. Nobody knows how large
/// the first record is, so pages begin with one, and become longer step by step.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
const LONGER_BY: usize = 4;

/// How long a write may take between the instant that it carries and the one at which others see it; and a second more,
/// since the server's clock is told in whole ones.
const WRITE_TAKES: SignedDuration = SignedDuration::from_secs(4);

/// How often what was written meanwhile is looked through. Only a record that was written during each of these walks, each
/// time before the walk came to it, could be missed.
const WALKS_MAX: u32 = 10;

/// Records of late that are remembered. Past them some are given out twice.
const REMEMBERED_MAX: usize = 262_144;

/// Which records, and as of when. Both ends of a span belong to it.
#[derive(Args)]
pub(super) struct Filter {
    /// Only records that were last written at this time or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    updated_after: Option<Timestamp>,
    /// Only records that were last written at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = moment)]
    updated_before: Option<Timestamp>,
    /// Only records of people whose latest choice was at this time or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    timestamp_after: Option<Timestamp>,
    /// Only records of people whose latest choice was at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = moment)]
    timestamp_before: Option<Timestamp>,
    /// What people had chosen by this time, also where it was learned late
    #[arg(long, value_name = "TIME", value_parser = moment)]
    as_of: Option<Timestamp>,
    /// What had been learned by this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    known_at: Option<Timestamp>,
    /// What each record has been, from its first write to now, a row for each write that changed it
    #[arg(long, conflicts_with_all = ["as_of", "known_at"])]
    history: bool,
}

impl Filter {
    /// Whether records are shown as they once were. Then they don't say when they were last written.
    fn looks_back(&self) -> bool {
        self.as_of.is_some() || self.known_at.is_some()
    }

    /// Fails if no record could be in it.
    pub(super) fn check(&self) -> Result<()> {
        let spans = [
            ("updated", self.updated_after, self.updated_before),
            ("timestamp", self.timestamp_after, self.timestamp_before),
        ];
        for (name, after, before) in spans {
            if after.zip(before).is_some_and(|(after, before)| after > before) {
                let said = format!("--{name}-after is later than --{name}-before: nothing is between them");
                return Err(Ended::new(Outcome::Usage, said).into());
            }
        }
        Ok(())
    }
}

/// An instant as the API takes it: without a zone it is UTC, and a date alone is its beginning.
fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let civil = || {
        // The library would pass over another zone here, and over its name.
        let time = text.split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
        let civil: DateTime = text.parse().ok().filter(|_| !time.contains(['+', '-', '[']))?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let instant = text.parse().ok().or_else(civil);
    instant.ok_or("must be an ISO 8601 date, or date and time, such as 2026-02-03 or 2026-02-03T09:15:00Z")
}

/// A walk over the records of a partition.
pub(super) struct Walk<'a> {
    server: Patient<'a>,
    path: String,
    filter: Filter,
    /// Where the present walk starts, and where the next one will.
    since: Option<Timestamp>,
    next_since: Timestamp,
    remembered: HashSet<(Uuid, Timestamp, u64)>,
    cursor: Option<String>,
    /// How much the next page shall hold: records, or states of them.
    limit: usize,
    is_walking: bool,
    walks: u32,
    /// Whether the present walk found anything that had not been given out.
    found: bool,
}

/// One answer.
pub(super) struct Page {
    body: Bytes,
    is_history: bool,
}

/// A record in an answer.
pub(super) struct Told<'p> {
    /// Which record, when it was last written, and how many of its states came before these. None if that can't be told.
    key: Option<(Uuid, Timestamp, u64)>,
    /// Whether the states begin with what came of writes that are not told by themselves.
    pub(super) is_cut: bool,
    /// What the record is; or of a history, what it has been, oldest first.
    pub(super) states: Vec<&'p RawValue>,
}

const NOT_OURS: &str = "the answer is not one of an Antumbra server";

#[derive(Deserialize)]
struct Nodes<'a> {
    #[serde(borrow)]
    nodes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Histories<'a> {
    #[serde(borrow)]
    records: Vec<History<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct History<'a> {
    id: Uuid,
    updated_at: Timestamp,
    before: u64,
    is_whole: bool,
    #[serde(borrow)]
    states: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct More {
    cursor: Option<String>,
}

impl Page {
    /// The records.
    pub(super) fn records(&self) -> Result<Vec<Told<'_>>> {
        if self.is_history {
            let read: Histories<'_> = serde_json::from_slice(&self.body).context(NOT_OURS)?;
            return Ok(read.records.into_iter().map(Told::from).collect());
        }
        let read: Nodes<'_> = serde_json::from_slice(&self.body).context(NOT_OURS)?;
        read.nodes.into_iter().map(Told::present).collect()
    }
}

impl<'p> Told<'p> {
    fn present(state: &'p RawValue) -> Result<Told<'p>> {
        let node: Node<'_> = serde_json::from_str(state.get()).context(NOT_OURS)?;
        let mut identifiers = node.identifiers.iter();
        let id = identifiers.find(|identifier| identifier.name == "transcend");
        let id = id.and_then(|id| Uuid::try_parse(&id.value).ok());
        let updated_at = node.system.updated_at.parse::<Timestamp>().ok();
        Ok(Told {
            key: id.zip(updated_at).map(|(id, updated_at)| (id, updated_at, 0)),
            is_cut: false,
            states: vec![state],
        })
    }
}

impl<'p> From<History<'p>> for Told<'p> {
    fn from(history: History<'p>) -> Told<'p> {
        Told {
            key: Some((history.id, history.updated_at, history.before)),
            is_cut: !history.is_whole && history.before == 0,
            states: history.states,
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk that has not read anything yet.
    pub(super) fn new(client: &'a Client, partition: &str, filter: Filter) -> Walk<'a> {
        let partition = url_part(partition);
        Walk {
            server: Patient::new(client),
            path: format!(
                "/v1/preferences/{partition}/{}",
                if filter.history { "history" } else { "query" }
            ),
            // Of a history each walk has to be cut into the same pages, by which its parts are told apart.
            limit: if filter.history { PAGE_STATES } else { 1 },
            filter,
            since: None,
            next_since: Timestamp::UNIX_EPOCH,
            remembered: HashSet::new(),
            cursor: None,
            is_walking: true,
            walks: 0,
            found: false,
        }
    }

    /// The next page; none at the end. Fails if there is no such partition.
    pub(super) async fn next(&mut self) -> Result<Option<Page>> {
        if !self.is_walking {
            let is_settled = self.walks > 1 && !self.found;
            let ends_before = self.filter.updated_before.is_some_and(|end| end < self.next_since);
            if is_settled || ends_before || self.walks >= WALKS_MAX {
                return Ok(None);
            }
            self.since = Some(self.next_since);
            self.is_walking = true;
        }
        let mut body = json!({ "filter": self.wire_filter(), "limit": self.limit });
        for (name, time) in [("asOf", self.filter.as_of), ("knownAt", self.filter.known_at)] {
            if let Some(time) = time {
                body[name] = json!(time);
            }
        }
        match &self.cursor {
            Some(cursor) => body["cursor"] = json!(cursor),
            None => {
                self.walks += 1;
                self.found = false;
            }
        }
        let answer = self.ask(&body).await?;
        if self.cursor.is_none() {
            let sent_at = answer.sent_at.context("the answer does not say when it was sent")?;
            self.next_since = sent_at.checked_sub(WRITE_TAKES).context("the clock of the server")?;
        }
        let page = Page {
            body: answer.body,
            is_history: self.filter.history,
        };
        let more: More = serde_json::from_slice(&page.body).context(NOT_OURS)?;
        self.cursor = more.cursor;
        self.fit(page.body.len());
        self.is_walking = self.cursor.is_some();
        Ok(Some(page))
    }

    /// Asks for as much on the next page as fits, after one of so many bytes. The last page of a walk tells nothing: there may
    /// be hardly anything on it.
    fn fit(&mut self, bytes: usize) {
        if self.filter.history {
            return;
        }
        if bytes > PAGE_BYTES {
            self.limit = (self.limit * PAGE_BYTES / bytes).max(1);
        } else if bytes * LONGER_BY <= PAGE_BYTES && self.cursor.is_some() {
            self.limit = (self.limit * LONGER_BY).min(PAGE_RECORDS);
        }
    }

    /// Whether a record has not been given out in this form.
    pub(super) fn is_new(&mut self, told: &Told<'_>) -> bool {
        let Some((id, updated_at, before)) = told.key else {
            // A record that can't be opened can't be told from others either.
            return self.since.is_none();
        };
        let looks_back = self.filter.looks_back();
        let written_at = if looks_back { Timestamp::UNIX_EPOCH } else { updated_at };
        let key = (id, written_at, before);
        if self.remembered.contains(&key) {
            return false;
        }
        self.found = true;
        if (looks_back || updated_at >= self.next_since) && self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(key);
        }
        true
    }

    async fn ask(&self, body: &Value) -> Result<Answer> {
        let body = Bytes::from(body.to_string());
        let answer = self.server.call(Method::POST, &self.path, body).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let said = problem["detail"].as_str().unwrap_or(NOT_OURS);
        let is_partition = problem["details"][0]["path"] == "partition";
        let outcome = match answer.status {
            StatusCode::BAD_REQUEST if is_partition => Outcome::NotFound,
            StatusCode::BAD_REQUEST => Outcome::Usage,
            status => client::outcome(status, ""),
        };
        Err(Ended::new(outcome, said.trim_start_matches("Client error: ")).into())
    }

    fn wire_filter(&self) -> Value {
        let Filter {
            updated_after,
            updated_before,
            timestamp_after,
            timestamp_before,
            ..
        } = &self.filter;
        let updated_after = (*updated_after).max(self.since);
        let mut filter = json!({});
        let bounds = [
            ("/system/updatedAfter", &updated_after),
            ("/system/updatedBefore", updated_before),
            ("/timestampAfter", timestamp_after),
            ("/timestampBefore", timestamp_before),
        ];
        for (place, bound) in bounds {
            let Some(bound) = bound else { continue };
            match place.strip_prefix("/system/") {
                Some(name) => filter["system"][name] = json!(bound),
                None => filter[&place[1..]] = json!(bound),
            }
        }
        filter
    }
}

/// A text as one part of a path.
fn url_part(text: &str) -> String {
    let mut part = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            part.push_str(&format!("%{byte:02X}"));
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_may_be_a_date_alone_or_have_no_zone() {
        for (text, instant) in [
            ("2026-01-06", "2026-01-06T00:00:00Z"),
            ("2026-01-06T09:15", "2026-01-06T09:15:00Z"),
            ("2026-01-06 09:15:00.25", "2026-01-06T09:15:00.25Z"),
            ("2026-01-06T09:15:00+01:00", "2026-01-06T08:15:00Z"),
        ] {
            assert_eq!(moment(text), Ok(instant.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "09:15",
            "2026-13-01",
            "1700000000",
            "2026-01-06T09:15:00[Europe/Lisbon]",
        ] {
            assert!(moment(text).unwrap_err().contains("such as 2026-02-03 or"), "{text}");
        }
    }
}
