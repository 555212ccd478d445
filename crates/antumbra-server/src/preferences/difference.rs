//! What a write changed of a person's answers: before and after, purpose by purpose. Pure.
//!
//! Only answers are compared. That a person said the same again at a later time, or became known by another identifier,
//! is a change of their record and no difference here; unless the answer expires, since it then counts for longer.

use super::{
    expiry::Sight,
    model::{Choice, PurposeAnswer, Record},
    moment::Moment,
};

/// A purpose that is answered otherwise than before, itself or in a topic under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PurposeChange {
    pub(crate) purpose: u32,
    /// None if it had not been answered, or the answer had expired.
    pub(crate) previous: Option<bool>,
    pub(crate) current: bool,
    /// When the person chose what it is now.
    pub(crate) at: Moment,
    pub(crate) topics: Vec<TopicChange>,
}

/// A topic that is answered otherwise than before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicChange {
    pub(crate) topic: u32,
    /// None if it had no answer.
    pub(crate) previous: Option<Choice>,
    /// None if it has none now.
    pub(crate) current: Option<Choice>,
}

/// What is answered otherwise in `after` than in `before`, in the order in which `after` has it. Answers never go away, so
/// nothing is missing there. `sight` is that of the moment between the two.
pub(super) fn difference(before: &Record, after: &Record, sight: Sight<'_>) -> Vec<PurposeChange> {
    let changed = after.purposes.iter().filter_map(|now| {
        let then = before.purposes.iter().find(|then| then.purpose == now.purpose);
        let counted = then.filter(|then| !sight.is_gone(then));
        let current = now.consent.value.enabled;
        let is_other = then.is_none_or(|then| {
            let is_given_anew = then.consent.at != now.consent.at;
            let expires = || sight.expires_at(now.purpose, current, now.consent.at).is_some();
            then.consent.value.enabled != current || is_given_anew && (counted.is_none() || expires())
        });
        (is_other || !topics_changed(then, now).is_empty()).then(|| PurposeChange {
            purpose: now.purpose,
            previous: counted.map(|then| then.consent.value.enabled),
            current,
            at: now.consent.at,
            topics: topics_changed(counted, now),
        })
    });
    changed.collect()
}

fn topics_changed(then: Option<&PurposeAnswer>, now: &PurposeAnswer) -> Vec<TopicChange> {
    let changed = now.topics.iter().filter_map(|answer| {
        let mut earlier = then.into_iter().flat_map(|then| &then.topics);
        let previous = earlier
            .find(|earlier| earlier.topic == answer.topic)
            .and_then(|earlier| earlier.choice.value.as_ref());
        let current = answer.choice.value.as_ref();
        (previous != current).then(|| TopicChange {
            topic: answer.topic,
            previous: previous.cloned(),
            current: current.cloned(),
        })
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        preferences::model::{Consent, PurposeWrite, Write},
        purposes::Catalog,
    };

    fn difference(before: &Record, after: &Record) -> Vec<PurposeChange> {
        super::difference(before, after, Sight::now(&Catalog::default(), Moment(0)))
    }

    fn write(at: i64, purpose: u32, enabled: bool, topics: Vec<(u32, Option<Choice>)>) -> Write {
        Write {
            timestamp: Moment(at),
            confirmed: true,
            identifiers: Vec::new(),
            user_id: None,
            purposes: vec![PurposeWrite {
                purpose,
                at: Moment(at),
                consent: Consent {
                    enabled,
                    source_system: None,
                },
                topics,
            }],
            strings: Vec::new(),
            metadata: Vec::new(),
            metadata_timestamp: Moment(at),
            birth_date: None,
            updated: None,
            prompted: None,
        }
    }

    fn record(writes: &[Write]) -> Record {
        let mut record = Record::empty();
        for write in writes {
            record.apply(write);
        }
        record
    }

    const YES: Option<Choice> = Some(Choice::Boolean(true));

    #[test]
    fn a_first_answer_has_none_before_it() {
        let after = record(&[write(10, 3, false, vec![(7, YES), (8, None)])]);
        let expected = PurposeChange {
            purpose: 3,
            previous: None,
            current: false,
            at: Moment(10),
            topics: vec![TopicChange {
                topic: 7,
                previous: None,
                current: YES,
            }],
        };
        assert_eq!(difference(&Record::empty(), &after), [expected]);
    }

    #[test]
    fn the_same_answer_at_a_later_time_is_no_difference() {
        let first = write(10, 3, true, vec![(7, YES)]);
        let again = write(20, 3, true, vec![(7, YES)]);
        assert_eq!(
            difference(&record(std::slice::from_ref(&first)), &record(&[first, again])),
            []
        );
    }

    #[test]
    fn an_answer_that_is_cleared_under_a_purpose_that_stays_is_a_difference() {
        let first = write(10, 3, true, vec![(7, YES)]);
        let cleared = write(20, 3, true, vec![(7, None)]);
        let changes = difference(&record(std::slice::from_ref(&first)), &record(&[first, cleared]));
        assert_eq!((changes[0].previous, changes[0].current), (Some(true), true));
        assert_eq!(
            changes[0].topics,
            [TopicChange {
                topic: 7,
                previous: YES,
                current: None
            }]
        );
    }

    #[test]
    fn what_was_not_mentioned_is_not_listed() {
        let first = write(10, 3, true, vec![]);
        let second = write(20, 4, true, vec![]);
        let changes = difference(&record(std::slice::from_ref(&first)), &record(&[first, second]));
        assert_eq!(changes.iter().map(|change| change.purpose).collect::<Vec<_>>(), [4]);
    }
}
