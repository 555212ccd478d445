//! What must be true when a year is over.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_server::{
    audit::{self, Detail, Recorded},
    dsr::{DsrHead, DsrId},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Weekday, tz::TimeZone};
use uuid::Uuid;

use super::{Year, desk::is_terminal};
use crate::support::rows::rows_of;

/// How long before its end a deadline is near.
const NEAR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the audit log holds of each request, oldest first.
type Log = BTreeMap<Uuid, Vec<Recorded>>;

impl Year {
    /// Everything that is not as it must be.
    pub(super) async fn check(&mut self) -> Vec<String> {
        let mut wrongs = std::mem::take(&mut self.wrongs);
        let ids: Vec<DsrId> = self.requests.keys().copied().collect();
        let heads = self.heads(&ids).await;
        if heads.len() != ids.len() {
            wrongs.push(format!(
                "{} of {} acknowledged requests are there",
                heads.len(),
                ids.len()
            ));
        }
        let log = self.read_log().await;
        for head in &heads {
            let entries = log.get(&head.id.0).map(Vec::as_slice).unwrap_or_default();
            self.check_end(head, entries, &mut wrongs);
            self.check_deadline(head, entries, &mut wrongs);
        }
        self.check_mails(&heads, &log, &mut wrongs).await;
        let rounds = heads.iter().map(|head| (head.id.to_string(), head.round as usize + 1));
        let rounds = rounds.collect();
        for silo in &self.silos {
            wrongs.extend(silo.wrongs(&rounds));
        }
        self.check_rows(&heads, &mut wrongs).await;
        wrongs
    }

    async fn read_log(&self) -> Log {
        let mut log = Log::new();
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let mut after = None;
        loop {
            let page = audit::list(&mut reader, self.server.organization, after, 1_000)
                .await
                .unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (_, entry) in page {
                log.entry(entry.object_id).or_default().push(entry);
            }
        }
        log.values_mut().for_each(|entries| entries.reverse());
        log
    }

    /// It has come to an end, and the audit log tells how, step by step.
    fn check_end(&self, head: &DsrHead, entries: &[Recorded], wrongs: &mut Vec<String>) {
        let (id, status) = (head.id, head.state.status());
        if !is_terminal(status) {
            wrongs.push(format!(
                "{id}, {:?}, is still {status} {:?}",
                self.requests[&id], head.state
            ));
        }
        let Some((first, later)) = entries
            .split_first()
            .filter(|(first, _)| first.action == "dsr.submitted")
        else {
            return wrongs.push(format!("{id}: its log does not begin with its submission"));
        };
        let mut at = word(first, "status").to_owned();
        for moved in later.iter().filter(|entry| entry.action == "dsr.moved") {
            if word(moved, "from") != at {
                wrongs.push(format!("{id}: left {} when it was {at}", word(moved, "from")));
            }
            word(moved, "to").clone_into(&mut at);
        }
        if at != status.as_str() {
            wrongs.push(format!("{id}: the log ends with {at}, and it is {status}"));
        }
        let submissions = entries.iter().filter(|entry| entry.action == "dsr.submitted").count();
        if submissions != 1 {
            wrongs.push(format!("{id}: submitted {submissions} times"));
        }
    }

    /// It was due when the law says so, and what came of that was noted once, when it came.
    fn check_deadline(&self, head: &DsrHead, entries: &[Recorded], wrongs: &mut Vec<String>) {
        let asked = &self.requests[&head.id];
        let about = format!("{} {asked:?}", head.id);
        let expected = due_at(asked.country, asked.action, head);
        if head.due_at != expected {
            wrongs.push(format!("{about}: due {}, and not {expected}", head.due_at));
        }
        let times = |action: &str| -> Vec<Timestamp> {
            let noted = entries.iter().filter(|entry| entry.action == action);
            noted.map(|entry| entry.at).collect()
        };
        let is_plain = !["dsr.extended", "dsr.deadline_moved", "dsr.restarted"]
            .iter()
            .any(|action| !times(action).is_empty());
        if asked.is_import || !is_plain {
            return;
        }
        let received = entries[0].at;
        let ended = entries
            .iter()
            .find(|entry| entry.action == "dsr.moved" && is_end(word(entry, "to")));
        let ended = ended.map_or(Timestamp::MAX, |entry| entry.at);
        let passed = head.due_at + SignedDuration::from_millis(1);
        let leaps = SignedDuration::try_from(self.plan.leap_max * 2).unwrap();
        for (action, from, until) in [
            ("dsr.deadline_near", head.due_at - NEAR, passed),
            ("dsr.overdue", passed, Timestamp::MAX),
        ] {
            let from = from.max(received);
            let latest = from.saturating_add(leaps).unwrap();
            let noted = times(action);
            let is_due = ended > latest && until > latest;
            let in_time = noted.iter().all(|at| (from..=latest).contains(at));
            if noted.len() > 1 || !in_time || (is_due && noted.is_empty()) {
                wrongs.push(format!(
                    "{about}: {action} noted at {noted:?}, open from {received} to {ended}, due {}",
                    head.due_at
                ));
            }
        }
    }

    /// Each mail that was sent has arrived; and it came twice only where its sender cannot know that it had arrived.
    async fn check_mails(&self, heads: &[DsrHead], log: &Log, wrongs: &mut Vec<String>) {
        let mut copies: BTreeMap<Uuid, Vec<(u64, bool)>> = BTreeMap::new();
        for mail in &self.mails {
            let header = mail.posted.header("Message-ID").unwrap();
            let id = header
                .trim_start_matches('<')
                .split('@')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            copies.entry(id).or_default().push((mail.life, mail.was_denied));
        }
        for (id, copies) in &copies {
            let is_needless = |pair: &[(u64, bool)]| pair[0].0 == pair[1].0 && !pair[0].1;
            if copies.windows(2).any(is_needless) {
                wrongs.push(format!("mail {id} came again without need: {copies:?}"));
            }
        }
        let of = |id: &Uuid, action: &str| {
            let entries = log.get(id).into_iter().flatten();
            entries.filter(|entry| entry.action == action).count()
        };
        let shredded = heads.iter().filter(|head| head.shredded_at.is_some());
        let shredded: BTreeSet<&[u8]> = shredded.map(|head| head.id.0.as_bytes().as_slice()).collect();
        // Organization, request, message.
        let rows = rows_of(&self.server, "messages_by_request").await;
        let of_shredded = rows.iter().filter(|(key, _)| shredded.contains(&key[16..32]));
        let erased: BTreeSet<&[u8]> = of_shredded.map(|(key, _)| &key[32..48]).collect();
        for (id, entries) in log.iter().filter(|(_, entries)| entries[0].object_kind == "message") {
            let last = &entries[entries.len() - 1].action;
            if of(id, "message.sent") > 0 && !copies.contains_key(id) {
                wrongs.push(format!("mail {id} is said to be sent and never arrived"));
            }
            // Nothing can be sent any more once the person's data is gone.
            if last == "message.failed" && !erased.contains(id.as_bytes().as_slice()) {
                wrongs.push(format!(
                    "mail {id} has failed and nobody had it tried again: {entries:?}"
                ));
            }
        }
    }

    /// No job is left over, and no row without what it belongs to.
    async fn check_rows(&self, heads: &[DsrHead], wrongs: &mut Vec<String>) {
        for table in [
            "jobs",
            "lined_up_jobs",
            "parked_jobs",
            "failing_jobs",
            "open_dsrs",
            "overdue_dsrs",
            "open_silo_runs",
            "silo_work",
            "message_mails",
            "messages_by_status",
        ] {
            let left = rows_of(&self.server, table).await;
            if !left.is_empty() {
                let shown: Vec<String> = left.iter().take(3).map(|row| printable(&row.1)).collect();
                wrongs.push(format!("{} rows are left in {table}: {shown:?}", left.len()));
            }
        }
        let ids = |which: &dyn Fn(&DsrHead) -> bool| -> BTreeSet<Vec<u8>> {
            let chosen = heads.iter().filter(|head| which(head));
            chosen.map(|head| head.id.0.as_bytes().to_vec()).collect()
        };
        let kept = ids(&|head| head.shredded_at.is_none());
        let all = ids(&|_| true);
        // The request stands second in each of these keys.
        for (table, living, is_whole) in [
            ("dsr_subjects", &kept, true),
            ("request_keys", &kept, true),
            ("dsrs", &all, true),
            ("messages_by_request", &all, false),
            ("dsr_words", &kept, false),
            ("dsr_links", &kept, false),
            ("files", &kept, false),
            ("file_names", &kept, false),
            ("file_numbers", &kept, false),
            ("silo_runs", &all, false),
            ("preflights", &all, false),
        ] {
            let rows = rows_of(&self.server, table).await;
            let found: BTreeSet<Vec<u8>> = rows.into_iter().map(|(key, _)| key[16..32].to_vec()).collect();
            let strays = found.difference(living).count();
            let missing = if is_whole { living.difference(&found).count() } else { 0 };
            if strays + missing > 0 {
                wrongs.push(format!(
                    "{table}: rows of {strays} requests too many, and of {missing} missing"
                ));
            }
        }
        for (index, table, width) in [
            ("dsrs_by_created", "dsrs", 1),
            ("dsrs_by_status", "dsrs", 1),
            ("silo_run_requests", "silo_runs", 1),
            ("preflight_places", "preflights", 1),
            ("messages", "messages_by_request", 1),
            ("dsr_link_places", "dsr_links", 1),
        ] {
            let [listed, there] = [
                rows_of(&self.server, index).await.len(),
                rows_of(&self.server, table).await.len(),
            ];
            if listed != there * width {
                wrongs.push(format!("{index} has {listed} rows, and {table} {there}"));
            }
        }
    }
}

/// A word that an entry of the audit log holds.
fn word<'a>(entry: &'a Recorded, name: &str) -> &'a str {
    let found = entry.details.iter().find(|(known, _)| known == name);
    match found {
        Some((_, Detail::Word(word))) => word,
        _ => "",
    }
}

/// Whether the law's time no longer counts in a status.
fn is_end(status: &str) -> bool {
    matches!(
        status,
        "COMPLETED"
            | "SECONDARY_COMPLETED"
            | "CANCELED"
            | "REVOKED"
            | "FAILED_VERIFICATION"
            | "DOWNLOADABLE"
            | "VIEW_CATEGORIES"
    )
}

/// The letters in a row, for whoever has to find out what it is.
fn printable(bytes: &[u8]) -> String {
    let shown = bytes.iter().filter(|byte| byte.is_ascii_graphic());
    shown.take(90).map(|byte| char::from(*byte)).collect()
}

/// Whether the GDPR gives a right to it.
pub(super) fn is_right_of_gdpr(action: &str) -> bool {
    !action.ends_with("LEGAL_HOLD")
}

/// When a request must have been answered, counted once more and by other means: the law as a lawyer would put it on paper.
fn due_at(country: Option<&str>, action: &str, head: &DsrHead) -> Timestamp {
    let deadline = head.deadline();
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let received = day(head.created_at);
    let is_extended = deadline.extension.is_some();
    let is_to_know_or_delete = matches!(action, "ACCESS" | "ERASURE" | "RECTIFICATION" | "BUSINESS_PURPOSE");
    let last = match country {
        Some("IE" | "DE" | "GB") if is_right_of_gdpr(action) => {
            // In the United Kingdom time stands still while identities are verified.
            let spans = deadline.verified.iter().filter(|_| country == Some("GB"));
            let tolled: i32 = spans.map(|span| (day(span.until) - day(span.from)).get_days()).sum();
            let months = if is_extended { 3 } else { 1 };
            let mut last = received + tolled.days() + months.months();
            let is_free = |day: jiff::civil::Date| {
                matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
                    || matches!((day.month(), day.day()), (1, 1) | (12, 25))
            };
            while is_free(last) {
                last = last.tomorrow().unwrap();
            }
            last
        }
        Some("US-CA") if is_to_know_or_delete => received + 45.days(),
        Some("US-CA") if action == "SALE_OPT_OUT" => {
            let mut last = received;
            for _ in 0..15 {
                last = last.tomorrow().unwrap();
                while matches!(last.weekday(), Weekday::Saturday | Weekday::Sunday) {
                    last = last.tomorrow().unwrap();
                }
            }
            last
        }
        Some("BR") if matches!(action, "ACCESS" | "BUSINESS_PURPOSE") => received + 15.days(),
        // No law is known there: thirty days of 24 hours.
        _ => return head.created_at + SignedDuration::from_hours(30 * 24),
    };
    let midnight = last.tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    midnight - SignedDuration::from_millis(1)
}
