//! Answers that count no longer because of their age: worked out whenever somebody looks, and never written. Pure.
//!
//! An answer to a purpose expires a period after the person gave it. The period is a rule of the purpose (`ExpiryRule`), and
//! a purpose keeps every rule that it had, each with the time since when it holds. So what is seen depends on three
//! things, all of which are kept: the record, the rules, and the instant that is looked at. A rule does not reach back: at an
//! instant before it was set everything is as it was. The record itself keeps what has expired, so that an older answer that
//! comes late does not take its place.
//!
//! The answers to a purpose's topics go with that to the purpose, as they do when it is refused. Essential purposes have no
//! answer that could expire.

use std::borrow::Cow;

use super::{
    model::{PurposeAnswer, Record},
    moment::Moment,
    timeline::View,
};
use crate::purposes::{Catalog, ExpiryRule, OnConsentExpiry};

/// From where answers are looked at.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    catalog: &'a Catalog,
    /// The instant at which they count, or don't.
    at: Moment,
    /// Until when rules are known.
    known_at: Moment,
}

impl<'a> Sight<'a> {
    /// Answers as they are now.
    pub(super) fn now(catalog: &'a Catalog, now: Moment) -> Sight<'a> {
        Sight {
            catalog,
            at: now,
            known_at: now,
        }
    }

    /// Answers as a view has them.
    pub(super) fn of(view: View, catalog: &'a Catalog, now: Moment) -> Sight<'a> {
        let known_at = view.known_at.unwrap_or(now);
        Sight {
            catalog,
            at: view.as_of.unwrap_or(known_at),
            known_at,
        }
    }

    /// Answers as they were at an instant, with the rules that are known now.
    pub(super) fn at(self, at: Moment) -> Sight<'a> {
        Sight { at, ..self }
    }

    /// Whether an answer counts no longer.
    pub(super) fn is_gone(&self, answer: &PurposeAnswer) -> bool {
        let rules = self.rules(answer.purpose, self.at.min(self.known_at));
        rules.last().is_some_and(|rule| {
            let due = due(rule, answer.consent.value.enabled, answer.consent.at);
            rule.on_expiry != OnConsentExpiry::Prompt && due.is_some_and(|due| due <= self.at)
        })
    }

    /// From when an answer counts no longer, or the person should be asked again, as far as rules are known. None if that does
    /// not happen.
    pub(super) fn expires_at(&self, purpose: u32, enabled: bool, given_at: Moment) -> Option<Moment> {
        expires_at(self.rules(purpose, self.known_at), enabled, given_at)
    }

    /// What is left of a record.
    pub(super) fn left_of<'r>(&self, record: &'r Record) -> Cow<'r, Record> {
        if !self.catalog.has_expiry() || !record.purposes.iter().any(|answer| self.is_gone(answer)) {
            return Cow::Borrowed(record);
        }
        let mut left = record.clone();
        left.purposes.retain(|answer| !self.is_gone(answer));
        Cow::Owned(left)
    }

    /// The rules of a purpose that had been set by then, oldest first.
    fn rules(&self, purpose: u32, by: Moment) -> &'a [ExpiryRule] {
        if !self.catalog.has_expiry() {
            return &[];
        }
        let entry = self.catalog.purpose_numbered(purpose);
        let rules = entry
            .filter(|entry| !entry.essential)
            .map_or(&[][..], |entry| &entry.expiry);
        &rules[..rules.partition_point(|rule| Moment::from(rule.since) <= by)]
    }
}

/// When an answer is as old as the rule lets it become; none if the rule is not about it.
fn due(rule: &ExpiryRule, enabled: bool, given_at: Moment) -> Option<Moment> {
    let period = rule
        .period
        .filter(|_| enabled || rule.on_expiry != OnConsentExpiry::ResetOptIns)?;
    let millis = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
    Some(Moment(given_at.0.saturating_add(millis)))
}

/// From when an answer has expired, or will, without a break.
fn expires_at(rules: &[ExpiryRule], enabled: bool, given_at: Moment) -> Option<Moment> {
    let (rule, earlier) = rules.split_last()?;
    let due = due(rule, enabled, given_at)?;
    let since = Moment::from(rule.since);
    if due > since {
        return Some(due);
    }
    // It was too old by the time the rule was set. It ended with that, unless it had ended before.
    let before = expires_at(earlier, enabled, given_at).filter(|before| *before < since);
    Some(before.unwrap_or(since))
}

#[cfg(test)]
mod tests;
