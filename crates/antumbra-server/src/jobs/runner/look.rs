//! A look at the queues: what is due, whether there is room for it, and the one transaction that claims it.
//!
//! A look takes what has room from the heads of the lines, then reads one page from the front of each queue: what has room
//! is claimed, and what has none moves into its line. So nothing that cannot begin stays at a front, and a look costs the
//! same however many jobs wait. It also remembers how far each front has come, since a store may have to pass over every
//! row that was removed before it; what was enqueued behind a front is found by a look at all, once in a while.

use std::{collections::BTreeMap, ops::Bound};

use antumbra_store::{Reader, StoreError};
use jiff::Timestamp;

use super::{
    CONFLICTS_MAX, Known, Runner, given_up,
    room::Lane,
    store::{self, JobKey, JobRow, Line, Place},
};
use crate::{
    jobs::{Claimed, JobId, JobKind},
    organization::OrganizationId,
};

/// Jobs looked at in one read.
const PAGE: usize = 512;
/// Jobs claimed in one commit.
const BATCH: usize = 64;
/// What a front is moved on by is told of jobs due so much earlier, in milliseconds: who enqueues takes the time first and
/// commits later.
const SLACK_MS: u64 = 2_000;

/// How far each queue and each line has come.
#[derive(Default)]
pub(super) struct Fronts {
    /// Whose queues there are, and the time before which nothing is due in each.
    queues: BTreeMap<OrganizationId, u64>,
    /// Lines that may have somebody in them, and the time before which nobody in it was due.
    lines: BTreeMap<Line, u64>,
    /// The line that had its turn last.
    last_line: Option<Line>,
    /// When something comes due next, by the machine's time, as far as was known at the last look at all.
    pub(super) next_due_at_ms: Option<u64>,
    /// Looks so far; lets every organization be the first in turn.
    pub(super) looks: usize,
}

impl Fronts {
    fn line_up(&mut self, line: Line, due_at_ms: u64) {
        let front = self.lines.entry(line).or_insert(due_at_ms);
        *front = (*front).min(due_at_ms);
    }
}

/// What a look takes in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// What has come since the last.
    Front,
    /// Everything, whoever enqueued it and for what time.
    All,
}

/// What a look came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// There may be more to claim at once.
    Again,
    /// Nothing can be claimed before something changes.
    Wait,
}

/// A due job that may run now; its place in the room is taken.
struct Candidate {
    place: Place,
    kind: &'static JobKind,
    lane: Lane,
}

/// What a look has found.
#[derive(Default)]
struct Found {
    wanted: Vec<Candidate>,
    hopeless: Vec<(Place, &'static str)>,
    /// Due jobs without room.
    too_many: Vec<JobKey>,
    /// Fronts of queues, as they are when all this is taken.
    fronts: Vec<(OrganizationId, u64)>,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.wanted.is_empty() && self.hopeless.is_empty() && self.too_many.is_empty()
    }
}

/// What the transaction came to.
struct Taken {
    claimed: Vec<(Claimed, &'static JobKind)>,
    parked: Vec<(String, JobId, &'static str)>,
    moved: usize,
}

impl Runner {
    /// Claims what has room, from the heads of the lines and from the front of each organization's queue.
    pub(super) async fn look(&mut self, reach: Reach) -> Result<Look, StoreError> {
        if self.room.left() == 0 {
            return Ok(Look::Wait);
        }
        let now = self.clock.now();
        let mut reader = self.store.begin_read().await?;
        if reach == Reach::All || self.fronts.looks == 0 {
            self.look_around(&mut reader).await?;
        }
        self.fronts.looks = self.fronts.looks.wrapping_add(1);
        let mut found = Found::default();
        let mut looked = self.look_at_lines(&mut reader, now, &mut found).await;
        if looked.is_ok() {
            looked = self.look_at_queues(&mut reader, now, &mut found).await;
        }
        drop(reader);
        if let Err(error) = looked {
            self.let_go(&found);
            return Err(error);
        }
        let done = self.take(found).await?;
        Ok(if done > 0 { Look::Again } else { Look::Wait })
    }

    /// Forgets how far the queues had come, and finds those of others.
    async fn look_around(&mut self, reader: &mut Reader) -> Result<(), StoreError> {
        let organizations = store::organizations(reader).await?;
        self.fronts.queues = organizations.iter().map(|organization| (*organization, 0)).collect();
        // Lines of our own are known; another process may have ended and left some.
        if self.fronts.looks == 0 || !self.store.is_exclusive() {
            for line in store::lines(reader).await? {
                self.fronts.lines.insert(line, 0);
            }
        }
        self.fronts.next_due_at_ms = None;
        for organization in organizations {
            let now = self.clock.now_for(organization);
            let due = store::next_due_ms(reader, organization, now).await?;
            let ahead = store::millis_of(self.clock.ahead_for(organization));
            let due = due.map(|due| due.saturating_sub(ahead));
            self.fronts.next_due_at_ms = [self.fronts.next_due_at_ms, due].into_iter().flatten().min();
        }
        Ok(())
    }

    /// Chooses from the lines, each in its turn.
    async fn look_at_lines(
        &mut self,
        reader: &mut Reader,
        now: Timestamp,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let turn = self.fronts.last_line.take();
        let after = turn.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.fronts.lines.range::<Line, _>((after, Bound::Unbounded));
        let is_up_to_turn = |line: &Line| turn.as_ref().is_some_and(|turn| line <= turn);
        let then = self.fronts.lines.iter().take_while(|(line, _)| is_up_to_turn(line));
        let mut rooms: Vec<(Line, u64, usize)> = Vec::new();
        let mut wanted = 0;
        for (line, front) in first.chain(then) {
            let room = match self.kinds.get(line.1.as_str()) {
                Some(Known { kind, bounds, .. }) => self.room.left_for((kind.name, line.2), bounds, now),
                // Only to be given up.
                None => BATCH,
            };
            if room > 0 {
                rooms.push((line.clone(), *front, room.min(BATCH)));
                wanted += room;
            }
            if wanted >= BATCH {
                break;
            }
        }
        for (line, front, _) in rooms {
            // What was chosen from lines before it may have taken some of the room.
            let room = match self.kinds.get(line.1.as_str()) {
                Some(Known { kind, bounds, .. }) => self.room.left_for((kind.name, line.2), bounds, now).min(BATCH),
                None => BATCH,
            };
            if room == 0 || self.is_enough(found) {
                continue;
            }
            let rows = store::list_line(reader, &line, front, room).await?;
            match rows.last().filter(|_| rows.len() == room) {
                Some(((_, _, _, due_at_ms, _), _)) => drop(self.fronts.lines.insert(line.clone(), *due_at_ms)),
                None => drop(self.fronts.lines.remove(&line)),
            }
            for (key, row) in rows {
                self.choose(Place::Line(key), &row, now, found);
            }
            self.fronts.last_line = Some(line);
        }
        Ok(())
    }

    /// Chooses from one page of each queue. What comes due behind a line goes to its end.
    async fn look_at_queues(
        &mut self,
        reader: &mut Reader,
        now: Timestamp,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let mut queues: Vec<(OrganizationId, u64)> = self
            .fronts
            .queues
            .iter()
            .map(|(organization, front)| (*organization, *front))
            .collect();
        let first = self.fronts.looks % queues.len().max(1);
        queues.rotate_left(first);
        for (organization, front) in queues {
            if self.is_enough(found) {
                break;
            }
            let due_by = self.clock.now_for(organization);
            let page = store::list_due(reader, organization, front, due_by, PAGE).await?;
            let mut front = store::millis(due_by);
            if page.len() == PAGE {
                front = page.last().map_or(front, |((_, due_at_ms, _), _)| *due_at_ms);
            }
            for (key, row) in page {
                if self.is_enough(found) {
                    front = key.1;
                    break;
                }
                self.choose(Place::Queue(key), &row, now, found);
            }
            found.fronts.push((organization, front));
        }
        Ok(())
    }

    /// Whether a claim has as many jobs as it may, or the process as many as it can do.
    fn is_enough(&self, found: &Found) -> bool {
        found.wanted.len() >= BATCH || self.room.left() == 0
    }

    /// Decides about one due job, and takes its place in the room if it is to run.
    fn choose(&mut self, place: Place, row: &JobRow, now: Timestamp, found: &mut Found) {
        let Some(Known { kind, bounds, .. }) = self.kinds.get(row.kind.as_str()) else {
            let reason = "this version knows no such kind of job";
            return found.hopeless.push((place, reason));
        };
        if row.attempts as usize > kind.retries.len() {
            let reason = "the process ended during its last attempt";
            return found.hopeless.push((place, reason));
        }
        let (kind, lane) = (*kind, (kind.name, row.target));
        let has_room = self.room.left_for(lane, bounds, now) > 0;
        match place {
            Place::Queue(key) => {
                let line = (key.0, row.kind.clone(), row.target);
                if has_room && !self.fronts.lines.contains_key(&line) {
                    self.want(place, kind, lane, found);
                } else {
                    self.fronts.line_up(line, key.1);
                    found.too_many.push(key);
                }
            }
            // As many were read as there was room for.
            Place::Line(_) => self.want(place, kind, lane, found),
        }
    }

    fn want(&mut self, place: Place, kind: &'static JobKind, lane: Lane, found: &mut Found) {
        self.room.take(lane);
        found.wanted.push(Candidate { place, kind, lane });
    }

    /// Nothing came of what was found: it stays where it is.
    fn let_go(&mut self, found: &Found) {
        let wanted = found.wanted.iter().map(|candidate| &candidate.place);
        for place in wanted.chain(found.hopeless.iter().map(|(place, _)| place)) {
            if let Place::Line((organization, kind, target, due_at_ms, _)) = place {
                let target = Some(*target).filter(|target| !target.is_nil());
                self.fronts.line_up((*organization, kind.clone(), target), *due_at_ms);
            }
        }
        for candidate in &found.wanted {
            self.room.give_back(candidate.lane);
        }
    }

    /// Does what a look has found to do, in one transaction, and begins what was claimed. Says how many jobs it moved.
    /// Some may be gone: another runner was faster.
    async fn take(&mut self, found: Found) -> Result<usize, StoreError> {
        let taken = if found.is_nothing() {
            Ok(Taken {
                claimed: Vec::new(),
                parked: Vec::new(),
                moved: 0,
            })
        } else {
            self.take_free_of_conflicts(&found).await
        };
        let Taken { claimed, parked, moved } = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.let_go(&found);
                return Err(error);
            }
        };
        for (organization, front) in found.fronts {
            self.fronts.queues.insert(organization, front.saturating_sub(SLACK_MS));
        }
        for Candidate { place, lane, .. } in &found.wanted {
            let (_, id) = place.job();
            if !claimed.iter().any(|(claimed, _)| claimed.id == id) {
                self.room.give_back(*lane);
            }
        }
        let done = claimed.len() + parked.len() + moved;
        for (kind, id, reason) in parked {
            given_up(&kind, id, reason);
        }
        for (claimed, kind) in claimed {
            self.begin(claimed, kind);
        }
        Ok(done)
    }

    async fn take_free_of_conflicts(&self, found: &Found) -> Result<Taken, StoreError> {
        let wanted = found.wanted.iter().map(|it| (it.place.clone(), it.kind));
        let wanted: Vec<(Place, &'static JobKind)> = wanted.collect();
        let mut conflicts = 0;
        loop {
            let mut tx = self.store.begin_write().await?;
            let claimed = store::claim(&mut tx, &wanted, &self.clock).await?;
            let mut parked = Vec::with_capacity(found.hopeless.len());
            for (place, reason) in &found.hopeless {
                let now = self.clock.now_for(place.job().0);
                let kind = store::park_waiting(&mut tx, place, now, reason).await?;
                parked.extend(kind.map(|kind| (kind, place.job().1, *reason)));
            }
            let moved = store::line_up(&mut tx, &found.too_many).await?;
            match tx.commit().await {
                Ok(()) => return Ok(Taken { claimed, parked, moved }),
                Err(StoreError::Conflict) if conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error),
            }
        }
    }
}
