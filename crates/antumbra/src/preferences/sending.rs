//! Batches of records on their way to the server, until each is taken or refused.
//!
//! | The server | and the batch |
//! | --- | --- |
//! | takes it | is done, but for records that it names as failed |
//! | refuses it and names records | goes again without them |
//! | refuses it otherwise | goes again as two halves, down to single records |
//! | is busy, away, or gone under way | goes again after a while, the same as it was: an upsert may arrive twice |
//! | does not let the key in, or fails | ends the import |

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    patience::Patient,
    pieces::Pieces,
    rows::{Fault, Row},
};
use crate::{
    client::{self, Answer, Client},
    outcome::{Ended, Outcome},
};

/// Records of one call.
pub(super) const RECORDS_MAX: usize = 100;

/// Bytes of one call past which no record is added. The server takes 50 MiB.
pub(super) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Answers as an upsert would, and keeps nothing.
const CHECK: &str = "/v1/preferences/check";

/// Some rows of a file, one after the other, and the records of those that have one.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// The records, each with the place of its row.
    records: Vec<(usize, Vec<u8>)>,
    /// The rows that have none, and why.
    refused: BTreeMap<usize, Vec<Fault>>,
    pub(super) bytes: usize,
}

/// A batch that needs no more attention.
pub(super) struct Settled {
    pub(super) rows: Vec<Row>,
    /// The rows that were refused, by their place in `rows`, with everything that is wrong with them.
    pub(super) refused: BTreeMap<usize, Vec<Fault>>,
}

/// Where records go.
pub(super) struct Desk<'a> {
    pub(super) server: Patient<'a>,
    /// Only asks what would become of them.
    pub(super) is_dry_run: bool,
    pub(super) skip_workflow_triggers: bool,
}

/// What a server made of a call.
enum Said {
    Taken(Vec<Failure>),
    Refused { named: Vec<Named>, message: String },
}

#[derive(Deserialize)]
struct Taken {
    #[serde(rename = "success")]
    _success: IgnoredAny,
    #[serde(default)]
    failures: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    index: usize,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    details: Vec<Named>,
}

/// Something that is wrong in one place.
#[derive(Deserialize)]
struct Named {
    path: String,
    message: String,
}

impl Batch {
    pub(super) fn push(&mut self, row: Row, record: Result<Pieces, Fault>) {
        let at = self.rows.len();
        self.bytes += row.content.bytes();
        self.rows.push(row);
        match record {
            Ok(pieces) => {
                self.bytes += pieces.iter().map(Vec::len).sum::<usize>();
                self.records.extend(pieces.into_iter().map(|piece| (at, piece)));
            }
            Err(fault) => {
                self.refused.insert(at, vec![fault]);
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len().max(self.records.len()) >= RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl Desk<'_> {
    /// Has the server take a batch.
    pub(super) async fn settle(&self, batch: Batch, place: impl Fn(&Row, &str) -> Option<String>) -> Result<Settled> {
        let Batch {
            rows,
            records,
            mut refused,
            ..
        } = batch;
        // The first are popped first: what the rows of one person say arrives in its order.
        let all: Vec<usize> = (0..records.len()).collect();
        let mut left: Vec<Vec<usize>> = all.chunks(RECORDS_MAX).rev().map(<[usize]>::to_vec).collect();
        while let Some(mut group) = left.pop() {
            // A row that is refused in part is refused, and nothing more of it is sent.
            group.retain(|record| !refused.contains_key(&records[*record].0));
            if group.is_empty() {
                continue;
            }
            let fault = |record: usize, path: &str, reason: &str| {
                let at = records[record].0;
                let is_piece = records.iter().filter(|(of, _)| *of == at).nth(1).is_some();
                // Places in a piece are not those in the record.
                let path = path.split('[').next().filter(|_| is_piece).unwrap_or(path);
                let place = place(&rows[at], path);
                let reason = reason.to_owned();
                (at, Fault { place, reason })
            };
            let mut refuse = |(at, fault): (usize, Fault)| refused.entry(at).or_default().push(fault);
            match self.send(&records, &group).await? {
                Said::Taken(failures) => {
                    for Failure { index, error } in failures {
                        let record = *group.get(index).ok_or_else(not_of_ours)?;
                        refuse(fault(record, "", &error));
                    }
                }
                Said::Refused { named, message } => {
                    let found: Vec<_> = named.iter().filter_map(|named| named.record(&group)).collect();
                    let is_known = !found.is_empty();
                    for (record, path, message) in found {
                        refuse(fault(record, path, message));
                    }
                    if is_known {
                        left.push(group);
                    } else if let [record] = group[..] {
                        refuse(fault(record, "", &message));
                    } else {
                        let (first, second) = group.split_at(group.len() / 2);
                        left.extend([second.to_vec(), first.to_vec()]);
                    }
                }
            }
        }
        Ok(Settled { rows, refused })
    }

    /// Fails if the server is not there, does not let the key in, or has no such partition: before a row is read.
    ///
    /// It asks what would become of a record of nobody, which is refused if the partition is there.
    pub(super) async fn expect_partition(client: &Client, partition: &str) -> Result<()> {
        let nobody = json!({ "name": "transcend", "value": uuid::Uuid::nil() });
        let record = json!({ "partition": partition, "timestamp": "1970-01-01T00:00:00Z", "identifiers": [nobody] });
        let body = Bytes::from(json!({ "records": [record] }).to_string());
        let answer = client.call(Method::POST, CHECK, body).await;
        match understand(answer.map_err(|cause| client.unreachable(&cause))?)? {
            Said::Refused { named, .. } if named.iter().any(|named| named.path.ends_with("partition")) => {
                let said = format!("there is no partition `{partition}`");
                Err(Ended::new(Outcome::NotFound, said).into())
            }
            _ => Ok(()),
        }
    }

    /// Sends some of the records until the server decides.
    async fn send(&self, records: &[(usize, Vec<u8>)], group: &[usize]) -> Result<Said> {
        let body = self.body(group.iter().map(|record| records[*record].1.as_slice()));
        let (method, path) = if self.is_dry_run {
            (Method::POST, CHECK)
        } else {
            (Method::PUT, "/v1/preferences")
        };
        understand(self.server.call(method, path, body).await?)
    }

    fn body<'r>(&self, records: impl Iterator<Item = &'r [u8]>) -> Bytes {
        let mut body = b"{\"records\":[".to_vec();
        for (place, record) in records.enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(record);
        }
        let end = format!("],\"skipWorkflowTriggers\":{}}}", self.skip_workflow_triggers);
        body.extend_from_slice(end.as_bytes());
        body.into()
    }
}

impl Named {
    /// Which record of a call is named, where in it, and what is wrong there.
    fn record<'a>(&'a self, group: &[usize]) -> Option<(usize, &'a str, &'a str)> {
        let rest = self.path.strip_prefix("records[")?;
        let (index, path) = rest.split_once(']')?;
        let at = group.get(index.parse::<usize>().ok()?)?;
        Some((*at, path.trim_start_matches('.'), &self.message))
    }
}

fn understand(answer: Answer) -> Result<Said> {
    let Answer { status, body, .. } = answer;
    if status == StatusCode::OK {
        let taken: Taken = serde_json::from_slice(&body).map_err(|_| not_of_ours())?;
        return Ok(Said::Taken(taken.failures));
    }
    let Problem { code, detail, details } = serde_json::from_slice(&body).unwrap_or_default();
    let message = match detail.trim_start_matches("Client error: ") {
        "" => format!("the server answered {status}"),
        detail => detail.to_owned(),
    };
    Ok(match status {
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::PAYLOAD_TOO_LARGE => Said::Refused {
            named: details,
            message,
        },
        status => return Err(Ended::new(client::outcome(status, &code), message).into()),
    })
}

fn not_of_ours() -> anyhow::Error {
    anyhow!("the answer is not one of an Antumbra server")
}
