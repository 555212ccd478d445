//! The slice on a real store, its clock moved by hand: what requests do between intake and end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use antumbra_store::{Tx, Value};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{submission::Configured, wire::Submit, *};
use crate::{
    ServerConfig,
    audit::{self, Actor},
    jobs::{Claimed, Handler, JobError, Runner},
    keyring,
    organization::{Action, ActionSettings, Changes, Days, Delay, IdentifierKind},
    testing::Place,
};

/// A server's inside, without its network.
struct Office {
    app: AppState,
    organization: OrganizationId,
    runner: Runner,
    /// The requests whose silo runs were to be opened, in order.
    opened: Arc<Mutex<Vec<DsrId>>>,
    place: Place,
}

impl Office {
    async fn open() -> Office {
        Office::open_in(Place::fresh()).await
    }

    async fn open_in(place: Place) -> Office {
        let world = crate::testing::world(&place, "2026-03-02T10:00:00Z").await;
        let organization = world.first_organization().await.unwrap().id;
        let app = AppState::new(ServerConfig::default(), world);
        let opened = Arc::<Mutex<Vec<DsrId>>>::default();
        let runner = runner(&app, opened.clone());
        Office {
            app,
            organization,
            runner,
            opened,
            place,
        }
    }

    fn deed(&self) -> Deed<'_> {
        let by = Actor::ApiKey(Uuid::from_u128(7));
        Deed {
            organization: self.organization,
            by,
            now: self.app.clock.now(),
            ids: &self.app.ids,
        }
    }

    async fn keys(&self) -> Arc<OrganizationKeys> {
        self.app.keys.organization(self.organization).await.unwrap()
    }

    /// Submits a silent request about `core` with `fields` laid over it.
    async fn submit(&self, core: &str, fields: serde_json::Value) -> Result<Dsr, DsrError> {
        let mut body = json!({
            "type": "ACCESS",
            "subjectType": "customer",
            "isSilent": true,
            "subject": { "coreIdentifier": core },
        });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let (draft, checks) = serde_json::from_value::<Submit>(body).unwrap().read();
        let mut tx = self.app.store.begin_write().await.unwrap();
        let settings = self.app.settings.get(&mut tx, self.organization).await.unwrap();
        let deed = self.deed();
        let submission = draft
            .check(&settings, &Configured::default(), None, deed.now, checks)
            .unwrap();
        let keys = self.keys().await;
        let dsr = submit::submit(&mut tx, &keys, &deed, submission, &self.app.config.dsr).await?;
        tx.commit().await.unwrap();
        Ok(dsr)
    }

    async fn submitted(&self, core: &str) -> DsrId {
        self.submit(core, json!({})).await.unwrap().head.id
    }

    /// Changes how `action` is handled.
    async fn set(&self, action: Action, change: fn(&mut ActionSettings)) {
        let mut tx = self.app.store.begin_write().await.unwrap();
        let settings = self.app.settings.get(&mut tx, self.organization).await.unwrap();
        let mut action = settings.find_action(action).unwrap().clone();
        change(&mut action);
        let Deed {
            organization,
            by: actor,
            now: at,
            ids,
        } = self.deed();
        let mut changes = Changes {
            tx: &mut tx,
            ids,
            organization,
            actor,
            at,
        };
        changes.save_action(&action).unwrap();
        tx.commit().await.unwrap();
    }

    async fn happens(&self, id: DsrId, event: DsrEvent) -> Result<DsrStatus, DsrError> {
        let mut tx = self.app.store.begin_write().await.unwrap();
        let head = advance(&mut tx, &self.deed(), id, event).await?;
        tx.commit().await.unwrap();
        Ok(head.state.status())
    }

    /// Every silo has answered.
    async fn finish_runs(&self, id: DsrId) -> DsrStatus {
        self.happens(id, DsrEvent::RunsFinished { any_data: true })
            .await
            .unwrap()
    }

    async fn status(&self, id: DsrId) -> DsrStatus {
        let mut reader = self.app.store.begin_read().await.unwrap();
        get_head(&mut reader, self.organization, id)
            .await
            .unwrap()
            .state
            .status()
    }

    async fn work(&mut self) {
        self.runner.run_until_idle().await.unwrap();
    }

    async fn days_pass(&mut self, days: u64) {
        self.app.clock.advance(Duration::from_secs(days * 24 * 60 * 60));
        self.work().await;
    }

    async fn list(&self, filter: Filter, order: Order, after: Option<Cursor>, first: usize) -> Page {
        let mut reader = self.app.store.begin_read().await.unwrap();
        let keys = self.keys().await;
        list(&mut reader, &keys, &filter, order, after, first).await.unwrap()
    }

    async fn count(&self, filter: Filter) -> usize {
        let mut reader = self.app.store.begin_read().await.unwrap();
        let keys = self.keys().await;
        count(&mut reader, &keys, &filter).await.unwrap()
    }
}

/// A runner that does this slice's jobs, and of [`OPEN_RUNS`] only notes for whom it was enqueued.
fn runner(app: &AppState, opened: Arc<Mutex<Vec<DsrId>>>) -> Runner {
    let (settling, waking, opening) = (app.clone(), app.clone(), app.clone());
    let settle: Handler = Arc::new(move |job| Box::pin(settle_verified(settling.clone(), job)));
    let wake: Handler = Arc::new(move |job| Box::pin(elapsed(waking.clone(), job)));
    let open: Handler = Arc::new(move |job| {
        let (app, opened) = (opening.clone(), opened.clone());
        Box::pin(async move {
            opened.lock().unwrap().push(DsrId(job.subject(0)?));
            let mut tx = app.store.begin_write().await?;
            crate::jobs::finish(&mut tx, &job).await?;
            Ok(tx.commit().await?)
        })
    });
    let kinds = vec![(&SETTLE_IDENTITIES, settle), (&ELAPSED, wake), (&OPEN_RUNS, open)];
    Runner::new(app.store.clone(), app.clock.clone(), app.jobs.clone(), kinds)
}

/// What preflights do about a request that no enricher runs for.
async fn settle_verified(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let keys = app.keys.organization(job.organization).await.unwrap();
    let mut tx = app.store.begin_write().await?;
    let dsr = get(&mut tx, &keys, id).await.unwrap();
    let deed = Deed {
        organization: job.organization,
        by: Actor::System,
        now: app.clock.now(),
        ids: &app.ids,
    };
    let is_verified = dsr.subject.identifiers.iter().all(|known| known.verified_at.is_some());
    if is_verified && dsr.head.state == DsrState::Enriching {
        advance(&mut tx, &deed, id, DsrEvent::IdentitiesSettled).await.unwrap();
    }
    crate::jobs::finish(&mut tx, &job).await?;
    Ok(tx.commit().await?)
}

#[tokio::test]
async fn a_request_goes_from_intake_to_its_end() {
    let mut office = Office::open().await;
    let id = office.submitted("acct_1").await;
    assert_eq!(office.status(id).await, DsrStatus::Enriching);
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);
    assert_eq!(*office.opened.lock().unwrap(), [id]);
    assert_eq!(office.finish_runs(id).await, DsrStatus::Approving);
    assert_eq!(
        office.happens(id, DsrEvent::Approved).await.unwrap(),
        DsrStatus::Downloadable
    );
    office.days_pass(13).await;
    assert_eq!(office.status(id).await, DsrStatus::Downloadable);
    office.days_pass(1).await;
    assert_eq!(office.status(id).await, DsrStatus::Completed);
}

#[tokio::test]
async fn an_end_of_downloads_that_is_set_before_delivery_is_kept() {
    let mut office = Office::open().await;
    for (core, days, expected) in [
        ("acct_1", 30, DsrStatus::Downloadable),
        ("acct_2", 2, DsrStatus::Completed),
    ] {
        let id = office.submitted(core).await;
        office.work().await;
        let mut tx = office.app.store.begin_write().await.unwrap();
        let until = office.app.clock.now() + SignedDuration::from_hours(24 * days);
        set_available_until(&mut tx, &office.deed(), id, until).await.unwrap();
        tx.commit().await.unwrap();
        office.finish_runs(id).await;
        office.happens(id, DsrEvent::Approved).await.unwrap();
        assert_eq!(office.status(id).await, DsrStatus::Downloadable);
        office.days_pass(14).await;
        assert_eq!(office.status(id).await, expected);
        office.days_pass(16).await;
        assert_eq!(office.status(id).await, DsrStatus::Completed);
    }
}

#[tokio::test]
async fn an_erasure_of_two_phases_shows_the_data_and_deletes_it_later() {
    let mut office = Office::open().await;
    office
        .set(Action::Erasure, |settings| {
            settings.waiting_period = Days(3);
            settings.delay = Some(Delay {
                time: Days(10),
                preview_action: Action::Access,
            });
        })
        .await;
    let id = office
        .submit("acct_1", json!({ "type": "ERASURE" }))
        .await
        .unwrap()
        .head
        .id;
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Waiting);
    office.days_pass(3).await;
    let head = async |office: &Office| {
        get_head(
            &mut office.app.store.begin_read().await.unwrap(),
            office.organization,
            id,
        )
        .await
        .unwrap()
    };
    assert_eq!(head(&office).await.active_action(), Some(Action::Access));
    // A change of settings does not take the deletion away from a request that has begun.
    office.set(Action::Erasure, |settings| settings.delay = None).await;
    office.finish_runs(id).await;
    assert_eq!(
        office.happens(id, DsrEvent::Approved).await.unwrap(),
        DsrStatus::Delayed
    );
    office.days_pass(10).await;
    assert_eq!(head(&office).await.active_action(), Some(Action::Erasure));
    assert_eq!(*office.opened.lock().unwrap(), [id, id]);
    let mut tx = office.app.store.begin_write().await.unwrap();
    let refused = cancel(&mut tx, &office.deed(), id).await.unwrap_err();
    assert!(matches!(refused, DsrError::NotStoppable(DsrStatus::Secondary)));
    assert_eq!(office.finish_runs(id).await, DsrStatus::SecondaryCompleted);
}

#[tokio::test]
async fn skipping_the_waiting_period_or_the_review_leaves_them_out() {
    let mut office = Office::open().await;
    office
        .set(Action::Access, |settings| {
            settings.waiting_period = Days(3);
            settings.requires_review = false;
        })
        .await;
    let id = office
        .submit("acct_1", json!({ "skipWaitingPeriod": true }))
        .await
        .unwrap()
        .head
        .id;
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);
    assert_eq!(office.finish_runs(id).await, DsrStatus::Downloadable);
}

#[tokio::test]
async fn an_address_called_unverified_is_waited_for_until_someone_takes_it_out() {
    let mut office = Office::open().await;
    let subject = |claim| json!({ "subject": { "coreIdentifier": "acct_1", "email": "ada@example.test", "emailIsVerified": claim } });
    let id = office.submit("acct_1", subject(json!(false))).await.unwrap().head.id;
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Enriching);
    let mut tx = office.app.store.begin_write().await.unwrap();
    let keys = office.keys().await;
    let dsr = get(&mut tx, &keys, id).await.unwrap();
    let every: Vec<Uuid> = dsr.subject.identifiers.iter().map(|identifier| identifier.id).collect();
    let removed = remove_identifiers(&mut tx, &keys, &office.deed(), id, &every)
        .await
        .unwrap();
    assert_eq!(removed, 1, "the core identifier stays");
    tx.commit().await.unwrap();
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);

    // Whoever says nothing about an address vouches for it with their key.
    let unsaid = subject(json!(null));
    let id = office
        .submit("acct_2", json!({ "type": "ERASURE", "subject": unsaid["subject"] }))
        .await
        .unwrap()
        .head
        .id;
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);
}

#[tokio::test]
async fn what_is_verified_stays_and_nothing_is_taken_out_once_the_checks_are_over() {
    let mut office = Office::open().await;
    let keys = office.keys().await;
    let take_out = async |office: &Office, id| {
        let mut tx = office.app.store.begin_write().await.unwrap();
        let dsr = get(&mut tx, &keys, id).await.unwrap();
        let every: Vec<Uuid> = dsr.subject.identifiers.iter().map(|identifier| identifier.id).collect();
        let removed = remove_identifiers(&mut tx, &keys, &office.deed(), id, &every).await;
        tx.commit().await.unwrap();
        removed
    };
    let both = json!({ "subject": {
        "coreIdentifier": "acct_1", "email": "ada@example.test", "emailIsVerified": false,
        "attestedExtraIdentifiers": { "phone": [{ "value": "+4915112345678" }] },
    } });
    let id = office.submit("acct_1", both).await.unwrap().head.id;
    office.work().await;
    office.happens(id, DsrEvent::Held).await.unwrap();
    assert_eq!(
        take_out(&office, id).await.unwrap(),
        1,
        "the address, of three identifiers"
    );
    office.happens(id, DsrEvent::Resumed).await.unwrap();
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);
    let refused = take_out(&office, id).await.unwrap_err();
    assert!(
        matches!(&refused, DsrError::OutOfPlace(place) if place.status == DsrStatus::Compiling),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_parked_request_does_not_move_until_it_is_resumed() {
    let mut office = Office::open().await;
    office
        .set(Action::Access, |settings| settings.waiting_period = Days(3))
        .await;
    let id = office.submitted("acct_1").await;
    office.work().await;
    assert_eq!(office.happens(id, DsrEvent::Held).await.unwrap(), DsrStatus::OnHold);
    office.days_pass(5).await;
    assert_eq!(office.status(id).await, DsrStatus::OnHold);
    assert_eq!(office.happens(id, DsrEvent::Resumed).await.unwrap(), DsrStatus::Waiting);
    office.work().await;
    assert_eq!(office.status(id).await, DsrStatus::Compiling);
}

#[tokio::test]
async fn what_waits_for_nobody_cannot_be_approved() {
    let office = Office::open().await;
    let id = office.submitted("acct_1").await;
    let mut tx = office.app.store.begin_write().await.unwrap();
    let refused = approve(&mut tx, &office.deed(), id).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("Request must be in an approving state,"),
        "{refused}"
    );
    let nobody = approve(&mut tx, &office.deed(), DsrId(Uuid::nil())).await.unwrap_err();
    assert!(matches!(nobody, DsrError::NotFound));
}

#[tokio::test]
async fn an_ended_request_makes_room_for_the_next() {
    let office = Office::open().await;
    let id = office.submitted("acct_1").await;
    assert!(matches!(
        office.submit("acct_1", json!({})).await,
        Err(DsrError::Duplicate(_))
    ));
    office.happens(id, DsrEvent::Canceled).await.unwrap();
    office.submitted("acct_1").await;
}

#[tokio::test]
async fn the_mail_switch_is_kept_and_told_once() {
    let office = Office::open().await;
    let id = office.submitted("acct_1").await;
    for is_silent in [true, false, false] {
        let mut tx = office.app.store.begin_write().await.unwrap();
        assert_eq!(
            set_silent(&mut tx, &office.deed(), id, is_silent)
                .await
                .unwrap()
                .is_silent,
            is_silent
        );
        tx.commit().await.unwrap();
    }
    let mut reader = office.app.store.begin_read().await.unwrap();
    let entries = audit::list(&mut reader, office.organization, None, 100).await.unwrap();
    assert_eq!(
        entries
            .iter()
            .filter(|(_, entry)| entry.action == "dsr.unsilenced")
            .count(),
        1
    );
}

#[tokio::test]
async fn each_change_stands_in_the_audit_log_newest_first() {
    let mut office = Office::open().await;
    let id = office.submitted("acct_1").await;
    office.work().await;
    office.happens(id, DsrEvent::Canceled).await.unwrap();
    let mut reader = office.app.store.begin_read().await.unwrap();
    let entries = audit::list(&mut reader, office.organization, None, 100).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .filter(|(_, entry)| entry.object_id == id.0)
        .map(|(_, entry)| {
            (
                entry.action.as_ref(),
                entry.actor,
                entry.details.last().unwrap().1.clone(),
            )
        })
        .collect();
    let caller = Actor::ApiKey(Uuid::from_u128(7));
    let word = |word: &'static str| audit::Detail::from(word);
    assert_eq!(
        told,
        [
            ("dsr.moved", caller, word("CANCELED")),
            ("dsr.moved", Actor::System, word("COMPILING")),
            ("dsr.submitted", caller, word("ENRICHING")),
        ]
    );
    let page = audit::list(&mut reader, office.organization, Some(entries[0].0), 1)
        .await
        .unwrap();
    assert_eq!(page, entries[1..2]);
}

#[tokio::test]
async fn a_list_is_filtered_paged_and_counted() {
    let mut office = Office::open().await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let subject = json!({ "coreIdentifier": format!("acct_{number}"), "email": format!("p{number}@example.test") });
        let fields = json!({ "subject": subject, "isTest": number % 2 == 1 });
        ids.push(office.submit("", fields).await.unwrap().head.id);
        office.app.clock.advance(Duration::from_secs(60));
    }
    office.happens(ids[3], DsrEvent::Canceled).await.unwrap();
    let found = |page: &Page| page.items.iter().map(|dsr| dsr.head.id).collect::<Vec<_>>();
    let all = Filter::default;

    let first = office.list(all(), Order::NewestFirst, None, 3).await;
    assert_eq!((found(&first), first.has_next), (vec![ids[6], ids[5], ids[4]], true));
    let cursor: Cursor = Cursor::after(&first.items[2].head).to_string().parse().unwrap();
    let second = office.list(all(), Order::NewestFirst, Some(cursor), 10).await;
    assert_eq!(
        (found(&second), second.has_next),
        (vec![ids[3], ids[2], ids[1], ids[0]], false)
    );
    let oldest = office.list(all(), Order::OldestFirst, None, 7).await;
    assert_eq!((found(&oldest), oldest.has_next), (ids.clone(), false));
    assert!(office.list(all(), Order::OldestFirst, None, 0).await.has_next);

    let cases: [(Filter, Vec<usize>); 10] = [
        (
            Filter {
                statuses: vec![DsrStatus::Canceled],
                ..all()
            },
            vec![3],
        ),
        (
            Filter {
                statuses: vec![DsrStatus::Canceled, DsrStatus::Enriching],
                ..all()
            },
            vec![0, 1, 2, 3, 4, 5, 6],
        ),
        (
            Filter {
                is_closed: Some(false),
                is_test: Some(true),
                ..all()
            },
            vec![1, 5],
        ),
        (
            Filter {
                actions: vec![Action::Erasure],
                ..all()
            },
            vec![],
        ),
        (
            Filter {
                origins: vec![Origin::Api],
                ids: vec![ids[2], ids[0]],
                ..all()
            },
            vec![0, 2],
        ),
        (
            Filter {
                core_identifiers: vec!["acct_5".into(), "acct_4".into()],
                ..all()
            },
            vec![4, 5],
        ),
        (
            Filter {
                core_identifiers: vec!["nobody".into()],
                ..all()
            },
            vec![],
        ),
        (
            Filter {
                emails: vec!["P6@example.test".into()],
                ..all()
            },
            vec![6],
        ),
        (
            Filter {
                text: Some("ACCT_2".into()),
                ..all()
            },
            vec![2],
        ),
        (
            Filter {
                created_after: Some("2026-03-02T10:02:00Z".parse().unwrap()),
                created_before: Some("2026-03-02T10:04:00Z".parse().unwrap()),
                ..all()
            },
            vec![2, 3],
        ),
    ];
    for (at, (filter, expected)) in cases.into_iter().enumerate() {
        let expected: Vec<DsrId> = expected.into_iter().map(|number| ids[number]).collect();
        let page = office.list(filter.clone(), Order::OldestFirst, None, 100).await;
        assert_eq!(found(&page), expected, "case {at}");
        assert_eq!(office.count(filter.clone()).await, expected.len(), "case {at}");
        if let [_, second, ..] = expected[..] {
            let after = Cursor::after(&page.items[0].head);
            let next = office.list(filter, Order::OldestFirst, Some(after), 1).await;
            assert_eq!(found(&next), [second], "case {at}");
        }
    }
    assert_eq!(office.count(all()).await, 7);
    office.work().await;
}

#[tokio::test]
async fn a_long_list_is_walked_to_its_end() {
    let mut office = Office::open().await;
    for number in 0..260 {
        office.submitted(&format!("acct_{number}")).await;
    }
    assert_eq!(office.count(Filter::default()).await, 260);
    assert_eq!(
        office
            .count(Filter {
                is_silent: Some(true),
                ..Filter::default()
            })
            .await,
        260
    );
    let page = office.list(Filter::default(), Order::NewestFirst, None, 255).await;
    assert_eq!((page.items.len(), page.has_next), (255, true));
    let rest = Some(Cursor::after(&page.items[254].head));
    assert_eq!(
        office
            .list(Filter::default(), Order::NewestFirst, rest, 255)
            .await
            .items
            .len(),
        5
    );
    office.work().await;
}

#[tokio::test]
async fn without_its_key_a_request_names_nobody() {
    let office = Office::open().await;
    let id = office
        .submit("acct_1", json!({ "details": "about ada" }))
        .await
        .unwrap()
        .head
        .id;
    let mut tx: Tx = office.app.store.begin_write().await.unwrap();
    keyring::destroy_key(&mut tx, office.organization, keyring::KeyKind::Request, id.0);
    tx.commit().await.unwrap();
    let mut reader = office.app.store.begin_read().await.unwrap();
    let keys = office.keys().await;
    let dsr = get(&mut reader, &keys, id).await.unwrap();
    assert_eq!(dsr.subject, DsrSubject::default());
}

#[tokio::test]
async fn nothing_about_the_person_can_be_read_on_the_disk_of_the_embedded_engine() {
    const CANARY: &str = "canary-7f3a";
    let mut office = Office::open_in(Place::embedded()).await;
    let fields = json!({
        "subject": {
            "coreIdentifier": format!("{CANARY}-core"),
            "email": format!("{CANARY}@example.test"),
            "attestedExtraIdentifiers": { "email": [{ "value": format!("{CANARY}.second@example.test") }] },
        },
        "details": format!("{CANARY} asked by letter"),
        "attributes": [{ "key": "Tags", "values": [format!("{CANARY}-label")] }],
        "replyToEmailAddresses": [format!("{CANARY}.reply@example.test")],
    });
    let id = office.submit("", fields).await.unwrap().head.id;
    office.work().await;
    office.happens(id, DsrEvent::Canceled).await.unwrap();
    let Office { app, place, runner, .. } = office;
    drop(runner);
    app.store.clone().close().await;
    let mut bytes = 0;
    for file in files_in(place.folder()) {
        let content = std::fs::read(&file).unwrap();
        bytes += content.len();
        let found = content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "{} holds a canary", file.display());
    }
    assert!(bytes > 1_000, "the scan looked at real files");
}

fn files_in(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path))
        } else {
            files.push(path)
        }
    }
    files
}

/// A request as the first version kept it.
fn kept() -> (DsrHead, DsrSubject) {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let head = DsrHead {
        id: DsrId(Uuid::from_u128(1)),
        state: DsrState::OnHold {
            held: Box::new(DsrState::Waiting {
                until: at(1_700_000_900),
            }),
        },
        rules: Rules {
            action: Action::Erasure,
            waiting: SignedDuration::from_hours(72),
            delay: Some(DelayRule {
                preview: Action::Access,
                time: SignedDuration::from_hours(240),
            }),
            requires_review: true,
            requires_secondary_review: false,
            skip_secondary_if_no_files: true,
            delivery: Delivery::Nothing,
            availability: SignedDuration::from_hours(336),
            available_until: None,
            requires_approved_plan: false,
        },
        subject_type: "customer".into(),
        origin: Origin::Api,
        is_silent: true,
        is_test: false,
        skips_receipt: true,
        receipt_template: Some(Uuid::from_u128(2)),
        locale: "en-GB".into(),
        region: Region {
            country: Some("US".into()),
            subdivision: Some("US-CA".into()),
        },
        silos: SiloChoice::Only(vec![Uuid::from_u128(3)]),
        skipped_enrichers: vec![Uuid::from_u128(4)],
        created_at: at(1_700_000_000),
        due_at: at(1_702_592_000),
        deadline: None,
        updated_at: at(1_700_000_500),
        round: 0,
        moved_at: None,
        restarted: None,
        plan: PlanMarks::default(),
        core_index: [5; 16],
        equivalence: [6; 16],
        shredded_at: None,
    };
    let subject = DsrSubject {
        core_identifier: "acct_1".into(),
        email: Some("ada@example.test".into()),
        identifiers: vec![DsrIdentifier {
            id: Uuid::from_u128(7),
            name: "email".into(),
            kind: IdentifierKind::Email,
            value: "ada@example.test".into(),
            source: IdentifierSource::Input,
            verified_at: Some(at(1_700_000_000)),
            verified_by: Verifier::Submitter,
            preflight: None,
        }],
        details: "by phone".into(),
        attributes: vec![DsrAttribute {
            key_id: Uuid::from_u128(8),
            key: "Tags".into(),
            values: vec![(Uuid::from_u128(9), "urgent".into())],
        }],
        reply_to: vec!["team@example.test".into()],
        occasion: None,
        partition: None,
        drop: Vec::new(),
    };
    (head, subject)
}

fn hex(value: &impl Value) -> String {
    let mut bytes = Vec::new();
    value.encode(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn rows_kept_by_the_first_version_can_still_be_read() {
    let (head, subject) = kept();
    let (head_bytes, subject_bytes) = (include_str!("tests/head_1.hex"), include_str!("tests/subject_1.hex"));
    let (head_today, subject_today) = (hex(&head), hex(&subject));
    assert_eq!(DsrHead::decode(&unhex(head_bytes)), Ok(head), "today: {head_today}");
    assert_eq!(
        DsrSubject::decode(&unhex(subject_bytes)),
        Ok(subject),
        "today: {subject_today}"
    );
}
