//! Records and history events as bytes, before they are sealed.
//!
//! Written by hand because these rows are the bulk of the store: purposes, topics and options are numbers of the
//! catalog, times are differences, and everything small is one byte. Numbers are LEB128, signed ones zigzag; texts are
//! a length and UTF-8. The first byte of a record is its version. That of an event of history says what happened, in
//! which format:
//!
//! | First byte | Event |
//! | --- | --- |
//! | 1 | a write: what a call said about a person |
//! | 2 | an amendment: identifiers came or went, and nothing was chosen |
//!
//! A test keeps the bytes of each of them readable.

use antumbra_store::Corrupt;
use uuid::Uuid;

use super::{
    difference::{PurposeChange, TopicChange},
    model::{
        Amendment, Choice, Consent, ConsentString, Dated, Identifier, PurposeAnswer, PurposeWrite, Record, RecordId,
        TextRegister, TopicAnswer, Write,
    },
    moment::Moment,
};

/// The first byte of a record.
const VERSION: u8 = 1;

/// The first bytes of events.
const WRITE: u8 = 1;
const AMENDMENT: u8 = 2;

/// Names of identifiers that are one byte long here. Others are 0 and then spelt out. The order is part of the format.
const NAMES: [&str; 3] = ["email", "phone", "coreIdentifier"];

/// What a history row holds: what happened, the records that it was found to join, and what that changed of the answers.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Event {
    pub(super) absorbed: Vec<RecordId>,
    pub(super) what: Happening,
    /// None of them in rows that were written before they were kept.
    pub(super) changes: Vec<PurposeChange>,
}

/// What happened to a record.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Happening {
    /// A call said what the person chose.
    Write(Write),
    /// Identifiers came or went.
    Amendment(Amendment),
}

/// What a record or a write says in one byte before all else. What was said of none of them is 0 or 1, as it always was.
const CONFIRMED: u8 = 1;
const HAS_UPDATED: u8 = 2;
const UPDATED: u8 = 4;
const HAS_PROMPTED: u8 = 8;
const PROMPTED: u8 = 16;

impl Happening {
    /// When, as the caller said.
    pub(super) fn at(&self) -> Moment {
        match self {
            Happening::Write(write) => write.timestamp,
            Happening::Amendment(amendment) => amendment.at,
        }
    }
}

const ENABLED: u8 = 1;
const HAS_SOURCE: u8 = 2;
const HAS_TOPICS: u8 = 4;

pub(super) fn encode_record(record: &Record) -> Vec<u8> {
    let mut out = Out::new(VERSION, 160);
    let base = record.timestamp;
    out.signed(base.0);
    let said = |register: &Option<Dated<bool>>| register.as_ref().map(|register| register.value);
    out.signs(record.confirmed, said(&record.updated), said(&record.prompted));
    for register in [&record.updated, &record.prompted].into_iter().flatten() {
        out.time(register.at, base);
    }
    out.identifiers(&record.identifiers);
    match &record.user_id {
        None => out.number(0),
        Some(user_id) => {
            match record
                .identifiers
                .iter()
                .position(|identifier| identifier.value == user_id.value)
            {
                Some(place) => out.number(place as u64 + 2),
                None => {
                    out.number(1);
                    out.text(&user_id.value);
                }
            }
            out.time(user_id.at, base);
        }
    }
    out.number(record.purposes.len() as u64);
    for answer in &record.purposes {
        out.purpose(answer.purpose, &answer.consent.value, !answer.topics.is_empty());
        out.time(answer.consent.at, base);
        if !answer.topics.is_empty() {
            out.number(answer.topics.len() as u64);
        }
        for topic in &answer.topics {
            out.number(u64::from(topic.topic));
            out.time(topic.choice.at, answer.consent.at);
            out.choice(topic.choice.value.as_ref());
        }
    }
    let set = record.strings.iter().enumerate().filter(|(_, string)| string.is_some());
    out.byte(set.fold(0, |mask, (place, _)| mask | 1 << place));
    for string in record.strings.iter().flatten() {
        out.optional_text(string.value.as_deref());
        out.time(string.at, base);
    }
    out.number(record.metadata.len() as u64);
    for (key, register) in &record.metadata {
        out.text(key);
        out.optional_text(register.value.as_deref());
        out.time(register.at, base);
    }
    if let Some(at) = record.metadata_timestamp {
        out.byte(1);
        out.time(at, base);
    } else {
        out.byte(0);
    }
    out.optional_text(record.birth_date.as_ref().map(|date| date.value.as_str()));
    if let Some(date) = &record.birth_date {
        out.time(date.at, base);
    }
    out.ids(&record.absorbed);
    out.0
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, Corrupt> {
    let mut from = match In::new(bytes) {
        (VERSION, from) => from,
        _ => return Err(UNKNOWN),
    };
    let mut record = Record::empty();
    let base = Moment(from.signed()?);
    record.timestamp = base;
    let (confirmed, updated, prompted) = from.signs()?;
    record.confirmed = confirmed;
    for (register, said) in [(&mut record.updated, updated), (&mut record.prompted, prompted)] {
        if let Some(value) = said {
            let at = from.time(base)?;
            *register = Some(Dated { value, at });
        }
    }
    record.identifiers = from.identifiers()?;
    record.user_id = match from.number()? {
        0 => None,
        1 => Some(Dated {
            value: from.text()?,
            at: from.time(base)?,
        }),
        place => {
            let place = usize::try_from(place - 2).map_err(|_| BROKEN)?;
            let value = record.identifiers.get(place).ok_or(BROKEN)?.value.clone();
            Some(Dated {
                value,
                at: from.time(base)?,
            })
        }
    };
    for _ in 0..from.number()? {
        let (purpose, consent, has_topics) = from.purpose()?;
        let at = from.time(base)?;
        let mut topics = Vec::new();
        for _ in 0..if has_topics { from.number()? } else { 0 } {
            let topic = from.small()?;
            let at = from.time(at)?;
            topics.push(TopicAnswer {
                topic,
                choice: Dated {
                    value: from.choice()?,
                    at,
                },
            });
        }
        record.purposes.push(PurposeAnswer {
            purpose,
            consent: Dated { value: consent, at },
            topics,
        });
    }
    let mask = from.byte()?;
    for (place, string) in record.strings.iter_mut().enumerate() {
        if mask & 1 << place != 0 {
            *string = Some(from.register(base)?);
        }
    }
    for _ in 0..from.number()? {
        record.metadata.push((from.text()?, from.register(base)?));
    }
    record.metadata_timestamp = if from.flag()? { Some(from.time(base)?) } else { None };
    record.birth_date = match from.optional_text()? {
        Some(value) => Some(Dated {
            value,
            at: from.time(base)?,
        }),
        None => None,
    };
    record.absorbed = from.ids()?;
    from.end().map(|()| record)
}

/// What a write changed is a part of its own at the end, which is left out where it changed no answer.
pub(super) fn encode_event(write: &Write, absorbed: &[RecordId], changes: &[PurposeChange]) -> Vec<u8> {
    let mut out = Out::new(WRITE, 128);
    let base = write.timestamp;
    out.ids(absorbed);
    out.signed(base.0);
    out.signs(write.confirmed, write.updated, write.prompted);
    out.identifiers(&write.identifiers);
    out.optional_text(write.user_id.as_deref());
    out.number(write.purposes.len() as u64);
    for said in &write.purposes {
        out.purpose(said.purpose, &said.consent, !said.topics.is_empty());
        out.time(said.at, base);
        if !said.topics.is_empty() {
            out.number(said.topics.len() as u64);
        }
        for (topic, choice) in &said.topics {
            out.number(u64::from(*topic));
            out.choice(choice.as_ref());
        }
    }
    out.number(write.strings.len() as u64);
    for (string, value) in &write.strings {
        out.byte(*string as u8);
        out.optional_text(value.as_deref());
    }
    out.number(write.metadata.len() as u64);
    for (key, value) in &write.metadata {
        out.text(key);
        out.optional_text(value.as_deref());
    }
    out.time(write.metadata_timestamp, base);
    out.optional_text(write.birth_date.as_deref());
    out.changes(changes, base);
    out.0
}

pub(super) fn encode_amendment(amendment: &Amendment, absorbed: &[RecordId], changes: &[PurposeChange]) -> Vec<u8> {
    let mut out = Out::new(AMENDMENT, 96);
    out.ids(absorbed);
    out.signed(amendment.at.0);
    out.identifiers(amendment.gone.as_slice());
    out.identifiers(amendment.new.as_slice());
    out.changes(changes, amendment.at);
    out.0
}

pub(super) fn decode_event(bytes: &[u8]) -> Result<Event, Corrupt> {
    let (kind, mut from) = In::new(bytes);
    let absorbed = from.ids()?;
    let what = match kind {
        WRITE => Happening::Write(from.write()?),
        AMENDMENT => Happening::Amendment(Amendment {
            at: Moment(from.signed()?),
            gone: from.optional_identifier()?,
            new: from.optional_identifier()?,
        }),
        _ => return Err(UNKNOWN),
    };
    let changes = from.changes(what.at())?;
    from.end().map(|()| Event {
        absorbed,
        what,
        changes,
    })
}

const UNKNOWN: Corrupt = Corrupt("it was written by a version of the program that this one does not know");

const BROKEN: Corrupt = Corrupt("its bytes are not those of a preference record");

struct Out(Vec<u8>);

impl Out {
    fn new(first: u8, capacity: usize) -> Out {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(first);
        Out(bytes)
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn time(&mut self, at: Moment, base: Moment) {
        self.signed(at.0.wrapping_sub(base.0));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            None => self.number(0),
            Some(text) => {
                self.number(text.len() as u64 + 1);
                self.0.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn identifiers(&mut self, identifiers: &[Identifier]) {
        self.number(identifiers.len() as u64);
        for identifier in identifiers {
            match (1..).zip(NAMES).find(|(_, name)| *name == identifier.name) {
                Some((code, _)) => self.byte(code),
                None => {
                    self.byte(0);
                    self.text(&identifier.name);
                }
            }
            self.text(&identifier.value);
        }
    }

    fn signs(&mut self, confirmed: bool, updated: Option<bool>, prompted: Option<bool>) {
        self.byte(
            mark(confirmed, CONFIRMED)
                | mark(updated.is_some(), HAS_UPDATED)
                | mark(updated == Some(true), UPDATED)
                | mark(prompted.is_some(), HAS_PROMPTED)
                | mark(prompted == Some(true), PROMPTED),
        );
    }

    fn purpose(&mut self, purpose: u32, consent: &Consent, has_topics: bool) {
        self.number(u64::from(purpose));
        self.byte(
            mark(consent.enabled, ENABLED)
                | mark(consent.source_system.is_some(), HAS_SOURCE)
                | mark(has_topics, HAS_TOPICS),
        );
        if let Some(source) = &consent.source_system {
            self.text(source);
        }
    }

    fn choice(&mut self, choice: Option<&Choice>) {
        match choice {
            None => self.byte(0),
            Some(Choice::Boolean(false)) => self.byte(1),
            Some(Choice::Boolean(true)) => self.byte(2),
            Some(Choice::Select(option)) => {
                self.byte(3);
                self.number(u64::from(*option));
            }
            Some(Choice::MultiSelect(options)) => {
                self.byte(4);
                self.number(options.len() as u64);
                options.iter().for_each(|option| self.number(u64::from(*option)));
            }
        }
    }

    /// The last part of a row, which is left out where no answer changed.
    fn changes(&mut self, changes: &[PurposeChange], base: Moment) {
        if changes.is_empty() {
            return;
        }
        self.number(changes.len() as u64);
        for change in changes {
            self.number(u64::from(change.purpose));
            self.byte(change.previous.map_or(0, |yes| 1 + u8::from(yes)));
            self.byte(u8::from(change.current));
            self.time(change.at, base);
            self.number(change.topics.len() as u64);
            for topic in &change.topics {
                self.number(u64::from(topic.topic));
                self.choice(topic.previous.as_ref());
                self.choice(topic.current.as_ref());
            }
        }
    }

    fn ids(&mut self, ids: &[RecordId]) {
        self.number(ids.len() as u64);
        ids.iter().for_each(|id| self.0.extend_from_slice(id.0.as_bytes()));
    }
}

fn mark(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    /// The first byte, and what comes after it. No row begins with 0.
    fn new(bytes: &'a [u8]) -> (u8, In<'a>) {
        match bytes {
            [first, rest @ ..] => (*first, In(rest)),
            [] => (0, In(bytes)),
        }
    }

    fn end(&self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(BROKEN) }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Corrupt> {
        let count = usize::try_from(count).map_err(|_| BROKEN)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Corrupt> {
        self.take(1).map(|byte| byte[0])
    }

    fn flag(&mut self) -> Result<bool, Corrupt> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BROKEN),
        }
    }

    fn number(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BROKEN)
    }

    fn small(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.number()?).map_err(|_| BROKEN)
    }

    fn signed(&mut self) -> Result<i64, Corrupt> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn time(&mut self, base: Moment) -> Result<Moment, Corrupt> {
        Ok(Moment(base.0.wrapping_add(self.signed()?)))
    }

    fn text_of(&mut self, length: u64) -> Result<String, Corrupt> {
        std::str::from_utf8(self.take(length)?)
            .map(str::to_owned)
            .map_err(|_| BROKEN)
    }

    fn text(&mut self) -> Result<String, Corrupt> {
        let length = self.number()?;
        self.text_of(length)
    }

    fn optional_text(&mut self) -> Result<Option<String>, Corrupt> {
        match self.number()? {
            0 => Ok(None),
            length => self.text_of(length - 1).map(Some),
        }
    }

    fn register(&mut self, base: Moment) -> Result<TextRegister, Corrupt> {
        Ok(Dated {
            value: self.optional_text()?,
            at: self.time(base)?,
        })
    }

    fn identifiers(&mut self) -> Result<Vec<Identifier>, Corrupt> {
        let mut identifiers = Vec::new();
        for _ in 0..self.number()? {
            let name = match self.byte()? {
                0 => self.text()?,
                code => (*NAMES.get(usize::from(code) - 1).ok_or(BROKEN)?).to_owned(),
            };
            identifiers.push(Identifier {
                name,
                value: self.text()?,
            });
        }
        Ok(identifiers)
    }

    fn optional_identifier(&mut self) -> Result<Option<Identifier>, Corrupt> {
        let mut identifiers = self.identifiers()?;
        let identifier = identifiers.pop();
        if identifiers.is_empty() {
            Ok(identifier)
        } else {
            Err(BROKEN)
        }
    }

    fn write(&mut self) -> Result<Write, Corrupt> {
        let base = Moment(self.signed()?);
        let (confirmed, updated, prompted) = self.signs()?;
        let mut write = Write {
            timestamp: base,
            confirmed,
            identifiers: self.identifiers()?,
            user_id: self.optional_text()?,
            purposes: Vec::new(),
            strings: Vec::new(),
            metadata: Vec::new(),
            metadata_timestamp: base,
            birth_date: None,
            updated,
            prompted,
        };
        for _ in 0..self.number()? {
            let (purpose, consent, has_topics) = self.purpose()?;
            let at = self.time(base)?;
            let mut topics = Vec::new();
            for _ in 0..if has_topics { self.number()? } else { 0 } {
                topics.push((self.small()?, self.choice()?));
            }
            write.purposes.push(PurposeWrite {
                purpose,
                at,
                consent,
                topics,
            });
        }
        for _ in 0..self.number()? {
            let string = ConsentString::ALL.get(usize::from(self.byte()?)).ok_or(BROKEN)?;
            write.strings.push((*string, self.optional_text()?));
        }
        for _ in 0..self.number()? {
            write.metadata.push((self.text()?, self.optional_text()?));
        }
        write.metadata_timestamp = self.time(base)?;
        write.birth_date = self.optional_text()?;
        Ok(write)
    }

    fn signs(&mut self) -> Result<(bool, Option<bool>, Option<bool>), Corrupt> {
        let marks = self.byte()?;
        let said = |has: u8, is: u8| match (marks & has != 0, marks & is != 0) {
            (false, false) => Ok(None),
            (false, true) => Err(BROKEN),
            (true, is) => Ok(Some(is)),
        };
        if marks > CONFIRMED | HAS_UPDATED | UPDATED | HAS_PROMPTED | PROMPTED {
            return Err(BROKEN);
        }
        let (updated, prompted) = (said(HAS_UPDATED, UPDATED)?, said(HAS_PROMPTED, PROMPTED)?);
        Ok((marks & CONFIRMED != 0, updated, prompted))
    }

    fn purpose(&mut self) -> Result<(u32, Consent, bool), Corrupt> {
        let purpose = self.small()?;
        let marks = self.byte()?;
        if marks & !(ENABLED | HAS_SOURCE | HAS_TOPICS) != 0 {
            return Err(BROKEN);
        }
        let source_system = if marks & HAS_SOURCE != 0 {
            Some(self.text()?)
        } else {
            None
        };
        Ok((
            purpose,
            Consent {
                enabled: marks & ENABLED != 0,
                source_system,
            },
            marks & HAS_TOPICS != 0,
        ))
    }

    fn choice(&mut self) -> Result<Option<Choice>, Corrupt> {
        Ok(Some(match self.byte()? {
            0 => return Ok(None),
            1 => Choice::Boolean(false),
            2 => Choice::Boolean(true),
            3 => Choice::Select(self.small()?),
            4 => {
                let mut options = Vec::new();
                for _ in 0..self.number()? {
                    options.push(self.small()?);
                }
                Choice::MultiSelect(options)
            }
            _ => return Err(BROKEN),
        }))
    }

    fn changes(&mut self, base: Moment) -> Result<Vec<PurposeChange>, Corrupt> {
        let mut changes = Vec::new();
        if self.0.is_empty() {
            return Ok(changes);
        }
        for _ in 0..self.number()? {
            let purpose = self.small()?;
            let previous = match self.byte()? {
                0 => None,
                1 => Some(false),
                2 => Some(true),
                _ => return Err(BROKEN),
            };
            let (current, at) = (self.flag()?, self.time(base)?);
            let mut topics = Vec::new();
            for _ in 0..self.number()? {
                topics.push(TopicChange {
                    topic: self.small()?,
                    previous: self.choice()?,
                    current: self.choice()?,
                });
            }
            changes.push(PurposeChange {
                purpose,
                previous,
                current,
                at,
                topics,
            });
        }
        // A part that says nothing is left out: there is one way to write a row.
        if changes.is_empty() { Err(BROKEN) } else { Ok(changes) }
    }

    fn ids(&mut self) -> Result<Vec<RecordId>, Corrupt> {
        let mut ids = Vec::new();
        for _ in 0..self.number()? {
            let bytes = self
                .take(16)?
                .try_into()
                .expect("`take` gives as many bytes as it is asked for");
            ids.push(RecordId(Uuid::from_bytes(bytes)));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{difference::difference, expiry::Sight},
        *,
    };
    use crate::purposes::Catalog;

    fn sample() -> (Record, Event) {
        let at = Moment(1_770_110_100_250);
        let identifier = |name: &str, value: &str| Identifier {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let write = Write {
            timestamp: at,
            confirmed: true,
            identifiers: vec![
                identifier("customerId", "c-17"),
                identifier("email", "ada@example.test"),
            ],
            user_id: Some("ada@example.test".to_owned()),
            purposes: vec![
                PurposeWrite {
                    purpose: 3,
                    at: Moment(at.0 - 86_400_000),
                    consent: Consent {
                        enabled: false,
                        source_system: None,
                    },
                    topics: vec![],
                },
                PurposeWrite {
                    purpose: 300,
                    at,
                    consent: Consent {
                        enabled: true,
                        source_system: Some("Kiosk".to_owned()),
                    },
                    topics: vec![
                        (11, Some(Choice::Select(21))),
                        (12, Some(Choice::MultiSelect(vec![23, 24]))),
                        (13, Some(Choice::Boolean(true))),
                        (14, None),
                    ],
                },
            ],
            strings: vec![
                (ConsentString::Usp, Some("1YYN".to_owned())),
                (ConsentString::Tcf, None),
            ],
            metadata: vec![
                ("campaign".to_owned(), None),
                ("store".to_owned(), Some("Porto-3".to_owned())),
            ],
            metadata_timestamp: Moment(at.0 + 1),
            birth_date: Some("1815-12".to_owned()),
            updated: Some(true),
            prompted: Some(false),
        };
        let mut record = Record::empty();
        record.apply(&write);
        record.absorbed = vec![RecordId(Uuid::from_u128(7))];
        let changes = difference(&Record::empty(), &record, Sight::now(&Catalog::default(), at));
        (
            record,
            Event {
                absorbed: vec![RecordId(Uuid::from_u128(7))],
                what: Happening::Write(write),
                changes,
            },
        )
    }

    /// The write of the sample.
    fn sample_write() -> Write {
        match sample().1.what {
            Happening::Write(write) => write,
            Happening::Amendment(_) => unreachable!("the sample is a write"),
        }
    }

    fn sample_amendment() -> Amendment {
        let identifier = |name: &str, value: &str| Identifier {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        Amendment {
            at: Moment(1_770_110_100_250),
            gone: Some(identifier("email", "ada@example.test")),
            new: Some(identifier("customerId", "c-17")),
        }
    }

    #[test]
    fn rows_come_back_from_their_bytes() {
        let (record, event) = sample();
        assert!(decode_record(&encode_record(&record)) == Ok(record));
        assert!(decode_event(&encode_event(&sample_write(), &event.absorbed, &event.changes)) == Ok(event));
        assert!(decode_record(&encode_record(&Record::empty())) == Ok(Record::empty()));
        let whole = sample_amendment();
        for amendment in [
            Amendment {
                gone: None,
                ..whole.clone()
            },
            Amendment {
                new: None,
                ..whole.clone()
            },
            whole,
        ] {
            let absorbed = vec![RecordId(Uuid::from_u128(7))];
            for changes in [Vec::new(), sample().1.changes] {
                let bytes = encode_amendment(&amendment, &absorbed, &changes);
                let (absorbed, what) = (absorbed.clone(), Happening::Amendment(amendment.clone()));
                let event = Event {
                    absorbed,
                    what,
                    changes,
                };
                assert!(decode_event(&bytes) == Ok(event));
            }
        }
    }

    #[test]
    fn the_bytes_of_an_amendment_stay_readable() {
        let written = [
            &[2, 1][..],
            &[0; 15],
            &[7, 0xB4, 0x8C, 0xC5, 0xAC, 0x84, 0x67, 1, 1, 16],
            b"ada@example.test",
            &[1, 0, 10],
            b"customerId",
            &[4],
            b"c-17",
        ];
        let absorbed = vec![RecordId(Uuid::from_u128(7))];
        assert_eq!(encode_amendment(&sample_amendment(), &absorbed, &[]), written.concat());
        for length in 0..written.concat().len() {
            assert!(decode_event(&written.concat()[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn rows_from_before_changes_were_kept_stay_readable() {
        let mut event = sample().1;
        let new = encode_event(&sample_write(), &event.absorbed, &event.changes);
        event.changes.clear();
        let old = encode_event(&sample_write(), &event.absorbed, &[]);
        assert!(new.starts_with(&old));
        assert!(decode_event(&old) == Ok(event));
        let changes = [
            &[2, 3, 0, 0, 0xFF, 0xEF, 0xB2, 0x52, 0][..],
            &[0xAC, 2, 0, 1, 0, 3],
            &[11, 0, 3, 21],
            &[12, 0, 4, 2, 23, 24],
            &[13, 0, 2],
        ];
        assert_eq!(new[old.len()..], changes.concat());
    }

    #[test]
    fn a_record_of_one_address_and_three_purposes_is_small() {
        let purposes = (1..=3).map(|purpose| PurposeWrite {
            purpose,
            at: Moment(1_770_110_100_250),
            consent: Consent {
                enabled: true,
                source_system: None,
            },
            topics: vec![],
        });
        let mut write = sample_write();
        write.purposes = purposes.collect();
        write.identifiers.remove(0);
        (write.strings, write.metadata, write.birth_date) = (vec![], vec![], None);
        (write.updated, write.prompted) = (None, None);
        let mut record = Record::empty();
        record.apply(&write);
        assert_eq!(encode_record(&record).len(), 44);
    }

    #[test]
    fn what_was_never_said_takes_no_byte_and_nonsense_is_refused() {
        let mut out = Out::new(VERSION, 0);
        out.signs(true, None, None);
        out.signs(false, None, None);
        assert_eq!(out.0, [VERSION, 1, 0]);
        for broken in [UPDATED, PROMPTED, 32, 0x80] {
            assert!(In(&[broken]).signs().is_err(), "{broken}");
        }
    }

    #[test]
    fn cut_and_extended_rows_are_refused() {
        let bytes = encode_record(&sample().0);
        for length in 0..bytes.len() {
            assert!(decode_record(&bytes[..length]).is_err(), "{length}");
        }
        assert!(decode_record(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_row_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let versioned = [&[VERSION], bytes.as_slice()].concat();
            let amendment = [&[AMENDMENT], bytes.as_slice()].concat();
            let _ = (decode_record(&versioned), decode_event(&versioned), decode_event(&amendment));
        }

        #[test]
        fn numbers_come_back(number: u64, signed: i64) {
            let mut out = Out::new(VERSION, 0);
            out.number(number);
            out.signed(signed);
            let (_, mut from) = In::new(&out.0);
            prop_assert_eq!((from.number(), from.signed()), (Ok(number), Ok(signed)));
        }
    }
}
