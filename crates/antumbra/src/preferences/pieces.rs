//! Records that hold more than one call takes, as several: each says who it is about, and when, and a part of the rest.
//!
//! They are of one time, so what one says takes nothing from another. Each holds the first identifier of every name,
//! and by one of these a record is found.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::rows::Fault;

/// Most entries of a list in the record of a call.
pub(super) const LIST_MAX: usize = 200;

/// Most pieces. A record holds at most 1,000 identifiers and 1,000 annotations.
const PIECES_MAX: usize = 50;

/// Most identifiers that stand in every piece.
const REPEATED_MAX: usize = LIST_MAX / 2;

const IDENTIFIERS: &str = "identifiers";
const PURPOSES: &str = "purposes";
const METADATA: &str = "metadata";

/// A record, in the form of JSON, or several that are one together.
pub(super) type Pieces = Vec<Vec<u8>>;

/// The pieces of a record. Fails if no record can hold so much.
pub(super) fn of(mut record: Map<String, Value>) -> Result<Pieces, Fault> {
    let is_long = |name: &str| matches!(record.get(name), Some(Value::Array(entries)) if entries.len() > LIST_MAX);
    if ![IDENTIFIERS, PURPOSES, METADATA].into_iter().any(is_long) {
        return Ok(vec![bytes(&record)]);
    }
    let mut take = |name: &'static str| match record.remove(name) {
        Some(Value::Array(entries)) => Ok(entries),
        None => Ok(Vec::new()),
        Some(_) => Err(Fault::at(name, "must be a list")),
    };
    let (identifiers, purposes, metadata) = (take(IDENTIFIERS)?, take(PURPOSES)?, take(METADATA)?);
    let (repeated, rest) = first_of_each_name(identifiers);
    let parts = [
        (IDENTIFIERS, rest, LIST_MAX - repeated.len()),
        (PURPOSES, purposes, LIST_MAX),
        (METADATA, metadata, LIST_MAX),
    ];
    let pieces = parts
        .iter()
        .map(|(_, entries, most)| entries.len().div_ceil(*most))
        .max();
    let pieces = pieces.unwrap_or(1);
    if pieces > PIECES_MAX {
        return Err(Fault::new(
            "has more identifiers, purposes or annotations than a record can hold",
        ));
    }
    let mut parts = parts.map(|(name, entries, most)| (name, entries.into_iter(), most));
    let pieces = (0..pieces).map(|_| {
        let mut piece = record.clone();
        piece.insert(IDENTIFIERS.to_owned(), repeated.clone().into());
        for (name, entries, most) in &mut parts {
            let entries = entries.take(*most);
            match piece.get_mut(*name) {
                Some(Value::Array(held)) => held.extend(entries),
                _ => {
                    piece.insert((*name).to_owned(), entries.collect());
                }
            }
        }
        bytes(&piece)
    });
    Ok(pieces.collect())
}

fn first_of_each_name(identifiers: Vec<Value>) -> (Vec<Value>, Vec<Value>) {
    let mut names = HashSet::new();
    identifiers.into_iter().partition(|identifier| {
        let name = identifier["name"].as_str().unwrap_or_default();
        names.len() < REPEATED_MAX && names.insert(name.to_owned())
    })
}

fn bytes(record: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(record).expect("what was JSON is again")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pieces(record: Value) -> Result<Vec<Value>, Fault> {
        let Value::Object(record) = record else {
            panic!("an object")
        };
        let pieces = of(record)?;
        Ok(pieces
            .iter()
            .map(|piece| serde_json::from_slice(piece).unwrap())
            .collect())
    }

    fn identifiers(name: &str, count: usize) -> Vec<Value> {
        let one = |number| json!({ "name": name, "value": format!("{name}-{number}") });
        (0..count).map(one).collect()
    }

    fn annotations(count: usize) -> Vec<Value> {
        let one = |number| json!({ "key": format!("k{number}"), "value": "v" });
        (0..count).map(one).collect()
    }

    #[test]
    fn a_record_that_a_call_takes_is_left_as_it_is() {
        let record = json!({ "timestamp": "t", "identifiers": identifiers("email", LIST_MAX), "metadata": annotations(LIST_MAX) });
        assert_eq!(pieces(record.clone()).unwrap(), [record]);
    }

    #[test]
    fn a_longer_one_is_there_once_in_pieces_that_each_name_the_person() {
        let held = [identifiers("email", 450), identifiers("phone", 3)].concat();
        let record = json!({ "timestamp": "t", "userId": "u", "identifiers": held, "metadata": annotations(1000) });
        let pieces = pieces(record).unwrap();
        assert_eq!(pieces.len(), 5);
        let entries = |name: &str| -> Vec<&Value> {
            pieces
                .iter()
                .flat_map(|piece| piece[name].as_array().unwrap())
                .collect()
        };
        for piece in &pieces {
            assert_eq!((&piece["timestamp"], &piece["userId"]), (&json!("t"), &json!("u")));
            let held = piece["identifiers"].as_array().unwrap();
            assert!(held.len() <= LIST_MAX && piece["metadata"].as_array().unwrap().len() <= LIST_MAX);
            assert_eq!(
                (&held[0]["value"], &held[1]["value"]),
                (&json!("email-0"), &json!("phone-0"))
            );
        }
        assert_eq!(entries("metadata").len(), 1000);
        let different: HashSet<String> = entries("identifiers").iter().map(|one| one.to_string()).collect();
        assert_eq!(different.len(), 453);
        assert_eq!(entries("identifiers").len(), 453 + 4 * 2, "only those are repeated");
    }

    #[test]
    fn what_no_record_can_hold_is_refused_and_not_multiplied() {
        let refused = pieces(json!({ "metadata": annotations(100_000) })).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("more identifiers, purposes or annotations"),
            "{refused}"
        );
        assert!(pieces(json!({ "metadata": annotations(201), "identifiers": 3 })).is_err());
    }
}
