//! Random calls beside a plain map of people, and then a look at every row: what the map says is found, and nothing else
//! is there.

use super::*;

/// Numbers that look like chance and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let place = self.below(all.len() as u64);
        &all[usize::try_from(place).unwrap()]
    }
}

type Named = (&'static str, String);

/// What a person is in the plain map.
#[derive(Clone, Debug, PartialEq)]
struct Person {
    identifiers: BTreeSet<Named>,
    /// Ids of records that became part of theirs.
    aliases: BTreeSet<String>,
    /// What they said of analytics last: the minute, and the answer.
    analytics: Option<(u64, bool)>,
}

/// The people by the ids of their records.
#[derive(Default)]
struct People {
    living: BTreeMap<String, Person>,
    gone: Vec<String>,
    /// Keys that were destroyed with them.
    keys_gone: usize,
}

fn is_unique(identifier: &Named) -> bool {
    identifier.0 != "plan"
}

fn wire(identifier: &Named) -> Value {
    json!({"name": identifier.0, "value": identifier.1})
}

impl People {
    fn owner(&self, identifier: &Named) -> Option<String> {
        let holds = |person: &Person| match identifier.0 {
            "transcend" => person.aliases.contains(&identifier.1),
            _ => is_unique(identifier) && person.identifiers.contains(identifier),
        };
        let found = self
            .living
            .iter()
            .find(|(id, person)| **id == identifier.1 || holds(person));
        found.map(|(id, _)| id.clone())
    }

    /// Makes the others part of `survivor`.
    fn join(&mut self, survivor: &str, others: impl IntoIterator<Item = String>) {
        for other in others {
            let part = self.living.remove(&other).unwrap();
            let whole = self.living.get_mut(survivor).unwrap();
            whole.identifiers.extend(part.identifiers);
            whole.aliases.extend(part.aliases);
            whole.aliases.insert(other);
            whole.analytics = whole.analytics.max(part.analytics);
        }
    }

    /// What an amendment does, or why it is refused.
    fn amend(
        &mut self,
        anchor: &Named,
        gone: Option<&Named>,
        new: Option<&Named>,
        merge: bool,
    ) -> Result<(), &'static str> {
        if !is_unique(anchor) {
            return Err("The anchor identifier is not unique on the preference store");
        }
        let id = self.owner(anchor).ok_or(NO_RECORD)?;
        let held = &self.living[&id].identifiers;
        if gone.is_some_and(|gone| !held.contains(gone)) {
            return Err("The preference record does not have this identifier");
        }
        let remains = held
            .iter()
            .filter(|held| is_unique(held) && Some(*held) != gone)
            .count();
        if new.is_none() && gone.is_some_and(is_unique) && remains == 0 {
            return Err("The only identifier that is unique on the preference store can not be deleted");
        }
        let other = new.and_then(|new| self.owner(new)).filter(|other| *other != id);
        if other.is_some() && !merge {
            return Err(match gone {
                Some(_) => "The new value already belongs to another preference record",
                None => "The identifier to append already belongs to another preference record",
            });
        }
        let person = self.living.get_mut(&id).unwrap();
        person.identifiers.retain(|held| Some(held) != gone);
        person.identifiers.extend(new.cloned());
        if let Some(other) = other {
            let survivor = if anchor.0 == "transcend" {
                id.clone()
            } else {
                id.clone().min(other.clone())
            };
            let lost = [id, other].into_iter().filter(|part| *part != survivor);
            self.join(&survivor.clone(), lost.collect::<Vec<_>>());
        }
        Ok(())
    }

    fn delete(&mut self, anchor: &Named) -> Result<(), &'static str> {
        if !is_unique(anchor) {
            return Err("The anchor identifier is not unique on the preference store");
        }
        let id = self.owner(anchor).ok_or(NO_RECORD)?;
        let person = self.living.remove(&id).unwrap();
        self.keys_gone += 1 + person.aliases.len();
        self.gone.extend(person.aliases);
        self.gone.push(id);
        Ok(())
    }

    /// What an upsert does, told the id that a new record got.
    fn upsert(&mut self, identifiers: &[Named], said: (u64, bool), answered_id: &str) {
        let found: BTreeSet<String> = identifiers
            .iter()
            .filter_map(|identifier| self.owner(identifier))
            .collect();
        let named = identifiers.iter().find(|identifier| identifier.0 == "transcend");
        let survivor = named
            .and_then(|named| self.owner(named))
            .or_else(|| found.first().cloned());
        let survivor = survivor.unwrap_or_else(|| {
            assert!(!self.gone.iter().any(|gone| gone == answered_id), "an id came back");
            let person = Person {
                identifiers: BTreeSet::new(),
                aliases: BTreeSet::new(),
                analytics: None,
            };
            self.living.insert(answered_id.to_owned(), person);
            answered_id.to_owned()
        });
        assert_eq!(survivor, answered_id);
        let others = found.into_iter().filter(|part| *part != survivor).collect::<Vec<_>>();
        self.join(&survivor, others);
        let person = self.living.get_mut(&survivor).unwrap();
        person.identifiers.extend(
            identifiers
                .iter()
                .filter(|identifier| identifier.0 != "transcend")
                .cloned(),
        );
        person.analytics = person.analytics.max(Some(said));
    }
}

/// A server, the plain map beside it, and chance.
struct Game {
    store: Preferences,
    people: People,
    chance: Chance,
    minute: u64,
}

impl Game {
    fn any_identifier(&mut self) -> Named {
        match self.chance.below(10) {
            0..4 => ("email", format!("p{}@example.test", self.chance.below(6))),
            4..7 => ("phone", format!("+35191000{:04}", self.chance.below(6))),
            7 | 8 => ("coreIdentifier", format!("core-{}", self.chance.below(4))),
            _ => ("plan", format!("plan-{}", self.chance.below(3))),
        }
    }

    /// An identifier, or the id of a record that lives, became part of another, or is gone.
    fn any_anchor(&mut self) -> Named {
        let living = self.people.living.iter();
        let ids: Vec<String> = living
            .flat_map(|(id, person)| [id].into_iter().chain(&person.aliases))
            .chain(&self.people.gone)
            .cloned()
            .collect();
        match self.chance.below(4) {
            0 if !ids.is_empty() => ("transcend", self.chance.of(&ids).clone()),
            _ => self.any_identifier(),
        }
    }

    async fn upsert(&mut self) {
        let mut identifiers = vec![("email", format!("p{}@example.test", self.chance.below(6)))];
        for _ in 0..self.chance.below(3) {
            identifiers.push(self.any_identifier());
        }
        let anchor = self.any_anchor();
        if anchor.0 == "transcend" && self.people.owner(&anchor).is_some() {
            identifiers.push(anchor);
        }
        // In any order, and no time twice.
        self.minute += 1;
        let minute = (self.minute * 7919) % 10_007;
        let said = (minute, self.chance.below(2) == 0);
        let at = jiff::Timestamp::from_second(1_700_000_000 + i64::try_from(minute).unwrap() * 60).unwrap();
        let record = in_shop(json!({
            "identifiers": identifiers.iter().map(wire).collect::<Vec<_>>(),
            "timestamp": at.to_string(),
            "purposes": [{"purpose": "Analytics", "enabled": said.1}]
        }));
        let (status, answer) = self.store.upsert(json!({ "records": [record] })).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        self.people
            .upsert(&identifiers, said, &transcend_of(&answer["nodes"][0]));
    }

    /// One to three records of one route in one call, and what the plain map says of each.
    async fn amend(&mut self) {
        let verb = *self.chance.of(&[
            "append-identifiers",
            "update-identifiers",
            "delete-identifiers",
            "delete",
        ]);
        let (mut records, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=self.chance.below(3) {
            let anchor = self.any_anchor();
            let merge = self.chance.below(3) > 0;
            let options = json!({ "mergeRecordsOnConflict": merge });
            let new = self.any_identifier();
            // Half the time something that the record has.
            let owner = self.people.owner(&anchor).filter(|_| self.chance.below(2) == 0);
            let held: Vec<Named> = owner
                .iter()
                .flat_map(|id| self.people.living[id].identifiers.clone())
                .collect();
            let gone = match held.is_empty() {
                true => self.any_identifier(),
                false => self.chance.of(&held).clone(),
            };
            let (record, outcome) = match verb {
                "append-identifiers" => (
                    append(wire(&anchor), wire(&new), options),
                    self.people.amend(&anchor, None, Some(&new), merge),
                ),
                "update-identifiers" => {
                    let value = match gone.0 == new.0 {
                        true => new.1,
                        false => self.other_value(gone.0),
                    };
                    let new = (gone.0, value);
                    let record = update(wire(&anchor), gone.0, &gone.1, &new.1, options);
                    (record, self.people.amend(&anchor, Some(&gone), Some(&new), merge))
                }
                "delete-identifiers" => (
                    removal(wire(&anchor), wire(&gone), options),
                    self.people.amend(&anchor, Some(&gone), None, merge),
                ),
                _ => (deletion(wire(&anchor)), self.people.delete(&anchor)),
            };
            records.push(record);
            expected.push(outcome.err());
        }
        let (status, answer) = self.store.amend(verb, json!(records)).await;
        assert_eq!(status, 200, "{answer}");
        let errors: Vec<Option<&str>> = answer["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["errorMessage"].as_str())
            .collect();
        assert_eq!(errors, expected, "{verb}");
    }

    fn other_value(&mut self, name: &str) -> String {
        match name {
            "email" => format!("p{}@example.test", self.chance.below(6)),
            "phone" => format!("+35191000{:04}", self.chance.below(6)),
            "coreIdentifier" => format!("core-{}", self.chance.below(4)),
            _ => format!("plan-{}", self.chance.below(3)),
        }
    }

    /// Everything that the plain map says is in the store, and nothing else is.
    async fn check(&self) {
        let mut stored: BTreeMap<String, Person> = BTreeMap::new();
        for node in self.store.all(json!({}), 100).await {
            let id = transcend_of(&node);
            let person = &self.people.living[&id];
            let identifiers: BTreeSet<String> = node["identifiers"]
                .as_array()
                .unwrap()
                .iter()
                .map(Value::to_string)
                .collect();
            let mut expected: BTreeSet<String> = person.identifiers.iter().map(|held| wire(held).to_string()).collect();
            expected.insert(wire(&("transcend", id.clone())).to_string());
            assert_eq!(identifiers, expected);
            assert_eq!(enabled(&node, "Analytics"), person.analytics.map(|(_, yes)| yes));
            let aliases = person.aliases.iter().chain([&id]).map(|id| ("transcend", id.clone()));
            for identifier in person
                .identifiers
                .iter()
                .filter(|held| is_unique(held))
                .cloned()
                .chain(aliases)
            {
                let found = self.store.lead(wire(&identifier)).await.unwrap();
                assert_eq!(transcend_of(&found), id);
            }
            stored.insert(id, person.clone());
        }
        assert_eq!(stored, self.people.living);
        for gone in &self.people.gone {
            assert_eq!(self.store.lead(wire(&("transcend", gone.clone()))).await, None);
        }
        // As many rows lead somewhere as there are identifiers and aliases: since each of these leads to its record, no
        // row is left over.
        let rows = check_tables_after(&self.store.server, self.people.keys_gone).await;
        let unique = |person: &Person| person.identifiers.iter().filter(|held| is_unique(held)).count();
        let leading = self
            .people
            .living
            .values()
            .map(|person| unique(person) + person.aliases.len());
        assert_eq!(rows["preference_owners"], leading.sum::<usize>());
    }
}

#[tokio::test]
async fn random_calls_end_as_they_do_in_a_plain_map_and_leave_no_stray_row() {
    let seeds = match std::env::var("ANTUMBRA_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=6).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        println!("ANTUMBRA_TEST_SEED={seed}");
        let store = Preferences::start().await;
        with_shared_plan(&store).await;
        let mut game = Game {
            store,
            people: People::default(),
            chance: Chance::new(seed),
            minute: 0,
        };
        for round in 0..120 {
            game.store.server.clock.advance(std::time::Duration::from_millis(7));
            match game.chance.below(5) {
                0 | 1 => game.upsert().await,
                _ => game.amend().await,
            }
            if round % 30 == 29 {
                game.check().await;
            }
        }
    }
}

#[tokio::test]
async fn calls_about_the_same_people_at_once_leave_no_stray_row() {
    let store = std::sync::Arc::new(Preferences::start().await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..6 {
        let store = store.clone();
        callers.spawn(async move {
            let mut chance = Chance::new(caller + 1);
            for _ in 0..25 {
                let mut any = || match chance.below(3) {
                    0 => email_of(&format!("p{}@example.test", chance.below(4))),
                    1 => phone_of(&format!("+35191000{:04}", chance.below(4))),
                    _ => core_of(&format!("core-{}", chance.below(4))),
                };
                let (anchor, one, other) = (any(), any(), any());
                let value = |identifier: &Value| identifier["value"].as_str().unwrap().to_owned();
                let record = match chance.below(8) {
                    0..=2 => in_shop(json!({ "identifiers": [anchor, one] })),
                    3 | 4 => append(anchor, one, json!({})),
                    5 => update(
                        anchor,
                        one["name"].as_str().unwrap(),
                        &value(&one),
                        &value(&one).replace('0', "1"),
                        json!({}),
                    ),
                    6 => removal(anchor, other, json!({})),
                    _ => deletion(anchor),
                };
                let verb = ["append", "update", "delete"]
                    .into_iter()
                    .find(|verb| record.get(verb).is_some());
                let (method, path) = match verb {
                    Some(verb) => (
                        reqwest::Method::POST,
                        format!("/v1/preferences/{SHOP}/{verb}-identifiers"),
                    ),
                    None if record.get("anchorIdentifier").is_some() => {
                        (reqwest::Method::POST, format!("/v1/preferences/{SHOP}/delete"))
                    }
                    None => (reqwest::Method::PUT, "/v1/preferences".to_owned()),
                };
                store.insist(method, &path, json!({ "records": [record] })).await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let mut unique = 0;
    for node in store.all(json!({}), 100).await {
        for identifier in node["identifiers"].as_array().unwrap() {
            let found = store.lead(identifier.clone()).await.unwrap();
            assert_eq!(transcend_of(&found), transcend_of(&node));
            unique += usize::from(identifier["name"] != "transcend");
        }
    }
    let app = store.server.app();
    let mut reader = app.store.begin_read().await.unwrap();
    let log = antumbra_server::audit::list(&mut reader, store.server.organization, None, 1000)
        .await
        .unwrap();
    let deletions = log.iter().filter(|(_, entry)| entry.action == "preferences.deleted");
    let keys = |entry: &antumbra_server::audit::Recorded| match entry.details[..] {
        [(_, antumbra_server::audit::Detail::Count(keys))] => usize::try_from(keys).unwrap(),
        _ => panic!("a deletion tells how many keys went"),
    };
    let rows = check_tables_after(&store.server, deletions.map(|(_, entry)| keys(entry)).sum()).await;
    // Each key that is left is that of a record, or of one that became part of another and is known by its old id.
    let aliases = rows_of(&store.server, "subject_keys").await.len() - rows["preference_records"];
    assert_eq!(rows["preference_owners"], unique + aliases);
}
