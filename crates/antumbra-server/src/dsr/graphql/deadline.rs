//! The deadline of a request, as the management API shows it.

use async_graphql::SimpleObject;

use super::super::{
    DsrHead,
    deadlines::{Basis, Noted, Reckoned},
};
use crate::graphql::Date;

/// Until when a request must have been answered, and why then.
#[derive(SimpleObject)]
pub(super) struct RequestDeadline {
    /// The last moment in which it can be answered in time.
    due_at: Date,
    /// The law it is counted by; null where the organization or nobody has set the time.
    regime: Option<String>,
    /// Where the law says so.
    article: Option<String>,
    /// Whether somebody has held that rule against the text of the law.
    checked: bool,
    /// How the date comes about.
    explanation: String,
    /// Whether it has been extended, which is possible once.
    extended: bool,
    /// Until when the data subject must have been told of an extension; null where there is none to tell of.
    extension_notice_due_at: Option<Date>,
    /// Days that did not count because identities were being verified.
    tolled_days: u32,
    /// The time zone whose days count.
    time_zone: String,
    /// It has been noted that the time is over.
    noted_as_overdue: bool,
}

impl RequestDeadline {
    pub(super) fn of(head: &DsrHead) -> RequestDeadline {
        let deadline = head.deadline();
        let Reckoned {
            notice_due_at,
            tolled_days,
            explanation,
            ..
        } = head.reckoned();
        let rule = match deadline.basis {
            Basis::Law(rule) => Some(rule),
            Basis::SubjectType(_) | Basis::Action(_) | Basis::Default(_) => None,
        };
        let (regime, article) = rule
            .as_ref()
            .map(|rule| (rule.regime.clone(), rule.article.clone()))
            .unzip();
        RequestDeadline {
            due_at: Date(head.due_at),
            regime,
            article,
            checked: rule.is_some_and(|rule| rule.checked),
            explanation,
            extended: deadline.extension.is_some(),
            extension_notice_due_at: notice_due_at.map(Date),
            tolled_days,
            time_zone: deadline.zone,
            noted_as_overdue: deadline.noted == Noted::Passed,
        }
    }
}
