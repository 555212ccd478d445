//! Request budgets: how much one organization or one key may ask for in a minute, where the operator wants that.
//!
//! Windows are fixed minutes and each process counts for itself. Overload is another matter and is always refused; see
//! `shell.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Code, Grants, Problem};
use crate::{
    Clock,
    config::{Limits, RateProfile},
};

const WINDOW_MS: i64 = 60_000;
/// Past windows are dropped when there are this many.
const SWEEP_AT: usize = 10_000;

/// A budget, as the route table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name in the settings. Routes with the same name share it.
    pub name: &'static str,
    /// What it is under `limits.profile = "vendor"`, for a minute.
    pub vendor: u32,
    /// Whose it is.
    pub owner: BudgetOwner,
    /// What is counted.
    pub unit: BudgetUnit,
    /// How `X-RateLimit-Reset` is written.
    pub reset: ResetStyle,
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetOwner {
    /// All keys of an organization share it.
    Organization,
    /// Each key has its own.
    Key,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetUnit {
    /// HTTP requests.
    Calls,
    /// Records: the handler says how many, with [`Caller::spend`](super::Caller::spend).
    Records,
}

/// How clients of a route read `X-RateLimit-Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetStyle {
    /// Whole seconds from now.
    Seconds,
    /// An ISO 8601 instant.
    Instant,
}

/// What has been spent, in this process.
#[derive(Default)]
pub(crate) struct Budgets(Mutex<HashMap<(&'static str, Uuid), Window>>);

#[derive(Clone, Copy, Default)]
struct Window {
    number: i64,
    spent: u32,
}

impl Budgets {
    /// The part of `budget` that `grants` may spend from; `None` where no limit is set.
    pub(crate) fn allowance(
        self: &Arc<Budgets>,
        budget: &Budget,
        grants: &Grants,
        limits: &Limits,
        clock: &Clock,
    ) -> Option<Allowance> {
        let owner = match budget.owner {
            BudgetOwner::Organization => grants.organization.0,
            BudgetOwner::Key => grants.key.0,
        };
        let limit = limit_of(budget, grants, limits)?;
        let (budgets, clock) = (self.clone(), clock.clone());
        Some(Allowance {
            budgets,
            budget: *budget,
            owner,
            limit,
            clock,
            charged: Mutex::new(0),
        })
    }

    fn window(&self, name: &'static str, owner: Uuid, number: i64) -> u32 {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows
            .get(&(name, owner))
            .filter(|window| window.number == number)
            .map_or(0, |window| window.spent)
    }

    fn spend(&self, name: &'static str, owner: Uuid, number: i64, amount: u32, limit: u32) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= SWEEP_AT {
            windows.retain(|_, window| window.number == number);
        }
        let window = windows.entry((name, owner)).or_default();
        if window.number != number {
            *window = Window { number, spent: 0 };
        }
        let fits = window.spent.saturating_add(amount) <= limit;
        if fits {
            window.spent += amount;
        }
        fits
    }
}

/// The setting for the key wins over that for the organization, that over the budget's own, that over the profile.
fn limit_of(budget: &Budget, grants: &Grants, limits: &Limits) -> Option<u32> {
    let special = |id: Uuid| match limits.budgets.is_empty() {
        true => None,
        false => limits.budgets.get(&format!("{}@{id}", budget.name)).copied(),
    };
    special(grants.key.0)
        .or_else(|| special(grants.organization.0))
        .or_else(|| limit_of_anybody(budget, limits))
}

fn limit_of_anybody(budget: &Budget, limits: &Limits) -> Option<u32> {
    let vendor = (limits.profile == RateProfile::Vendor).then_some(budget.vendor);
    limits.budgets.get(budget.name).copied().or(vendor)
}

/// Says on an answer what there is to spend, where nobody is known who could spend any of it: for now, nothing.
pub(crate) fn describe_nothing(budget: &Budget, limits: &Limits, clock: &Clock, headers: &mut HeaderMap) {
    if let Some(limit) = limit_of_anybody(budget, limits) {
        let window = Minute::of(clock);
        window.describe(limit, 0, budget.reset, headers);
    }
}

/// A window of time, seen from a moment in it.
#[derive(Clone, Copy)]
struct Minute {
    number: i64,
    now_ms: i64,
}

impl Minute {
    fn of(clock: &Clock) -> Minute {
        let now_ms = clock.now().as_millisecond();
        Minute {
            number: now_ms.div_euclid(WINDOW_MS),
            now_ms,
        }
    }

    fn resets_at(self) -> Timestamp {
        Timestamp::from_millisecond((self.number + 1) * WINDOW_MS).unwrap_or(Timestamp::MAX)
    }

    /// Whole seconds, rounded up, so that waiting them is enough.
    fn reset_seconds(self) -> i64 {
        let left = self.resets_at().as_millisecond() - self.now_ms;
        (left + 999).div_euclid(1000).max(1)
    }

    fn describe(self, limit: u32, remaining: u32, reset: ResetStyle, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        let reset = match reset {
            ResetStyle::Seconds => self.reset_seconds().to_string(),
            ResetStyle::Instant => format!("{:.3}", self.resets_at()),
        };
        headers.insert(
            RESET,
            HeaderValue::try_from(reset).expect("digits and an instant are plain text"),
        );
    }
}

/// What one HTTP request may spend.
pub(crate) struct Allowance {
    budgets: Arc<Budgets>,
    budget: Budget,
    owner: Uuid,
    limit: u32,
    clock: Clock,
    /// Already charged for this HTTP request, so that running its handler again costs nothing.
    charged: Mutex<u32>,
}

impl Allowance {
    /// Charges what is known before the handler runs.
    pub(crate) fn begin(&self) -> Result<(), Problem> {
        match self.budget.unit {
            BudgetUnit::Calls => self.spend(1),
            BudgetUnit::Records if self.remaining() == 0 => Err(self.exhausted()),
            BudgetUnit::Records => Ok(()),
        }
    }

    /// Charges up to `total` for this HTTP request; refuses, and charges nothing, when that is more than remains.
    pub(crate) fn spend(&self, total: u32) -> Result<(), Problem> {
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let more = total.saturating_sub(*charged);
        if !self
            .budgets
            .spend(self.budget.name, self.owner, self.number(), more, self.limit)
        {
            return Err(self.exhausted());
        }
        *charged += more;
        Ok(())
    }

    fn exhausted(&self) -> Problem {
        Problem::new(Code::RateLimited).retry_after(u32::try_from(Minute::of(&self.clock).reset_seconds()).unwrap_or(1))
    }

    fn remaining(&self) -> u32 {
        self.limit
            .saturating_sub(self.budgets.window(self.budget.name, self.owner, self.number()))
    }

    fn number(&self) -> i64 {
        Minute::of(&self.clock).number
    }

    /// Says on an answer what is left.
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        Minute::of(&self.clock).describe(self.limit, self.remaining(), self.budget.reset, headers);
    }
}
