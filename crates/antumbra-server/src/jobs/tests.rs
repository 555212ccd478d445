//! Jobs on a real store, with a clock that is moved by hand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use antumbra_store::{Store, Table};

use super::*;
use crate::{
    testing::Place,
    world::{Clock, Ids},
};

/// What the jobs of these tests do: add one to the count of their subject.
const COUNTS: Table<Uuid, Count> = Table::new("counts");

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Count(u64);

impl antumbra_store::Record for Count {
    const VERSION: u8 = 1;
}

static COUNT_UP: JobKind = JobKind {
    name: "test.count_up",
    lease: Duration::from_secs(60),
    retries: &[Duration::from_secs(10), Duration::from_secs(100)],
    at_once: 8,
    at_once_per_target: 2,
};

struct Bench {
    store: Store,
    clock: Clock,
    ids: Ids,
    organization: OrganizationId,
    _place: Place,
}

impl Bench {
    async fn new() -> Bench {
        Bench::within(Place::fresh()).await
    }

    async fn within(place: Place) -> Bench {
        let tables: Vec<&'static str> = TABLES.iter().copied().chain(["counts"]).collect();
        let store = Store::open(place.store(), &tables).await.unwrap();
        let clock = Clock::manual("2026-03-01T00:00:00Z".parse().unwrap());
        let ids = Ids::new(clock.clone());
        let organization = OrganizationId(ids.uuid());
        Bench {
            store,
            clock,
            ids,
            organization,
            _place: place,
        }
    }

    fn runner(&self, handler: Handler) -> Runner {
        Runner::new(
            self.store.clone(),
            self.clock.clone(),
            Wake::default(),
            vec![(&COUNT_UP, handler)],
        )
    }

    fn counting(&self) -> Handler {
        let store = self.store.clone();
        Arc::new(move |claimed| Box::pin(count_up(store.clone(), claimed)))
    }

    async fn enqueue(&self, subject: Uuid, target: Option<Uuid>, due_in: Duration) -> Waiting {
        let mut tx = self.store.begin_write().await.unwrap();
        let mut job = Job::new(self.ids.uuid(), &COUNT_UP, [subject]);
        job.target = target;
        let waiting = enqueue(&mut tx, self.organization, job, self.clock.now() + due_in);
        tx.commit().await.unwrap();
        waiting
    }

    async fn count(&self, subject: Uuid) -> u64 {
        let mut reader = self.store.begin_read().await.unwrap();
        reader.get(&COUNTS, &subject).await.unwrap().unwrap_or_default().0
    }

    async fn parked(&self) -> Vec<Parked> {
        let mut reader = self.store.begin_read().await.unwrap();
        list_parked(&mut reader, self.organization, None, 100).await.unwrap()
    }
}

async fn count_up(store: Store, claimed: Claimed) -> Result<(), JobError> {
    let subject = claimed.subject(0)?;
    let mut tx = store.begin_write().await?;
    let mut count = tx.get(&COUNTS, &subject).await?.unwrap_or_default();
    count.0 += 1;
    tx.put(&COUNTS, &subject, &count);
    finish(&mut tx, &claimed).await?;
    Ok(tx.commit().await?)
}

/// A runner with a job in its hands that it never gets done.
async fn hold_one(bench: &Bench) -> (Runner, Claimed) {
    let (begun, mut held) = tokio::sync::mpsc::channel(8);
    let hold: Handler = Arc::new(move |claimed| {
        let _ = begun.try_send(claimed);
        Box::pin(std::future::pending())
    });
    let mut runner = bench.runner(hold);
    let claimed = tokio::select! {
        ended = runner.run_until_idle() => panic!("the job ended: {ended:?}"),
        claimed = held.recv() => claimed.unwrap(),
    };
    (runner, claimed)
}

#[tokio::test]
async fn a_job_runs_when_it_is_due_and_once() {
    let bench = Bench::new().await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::from_secs(60)).await;
    let mut runner = bench.runner(bench.counting());

    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 0);
    bench.clock.advance(Duration::from_secs(60));
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);
    bench.clock.advance(Duration::from_secs(24 * 3600));
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);
}

#[tokio::test]
async fn a_canceled_job_does_not_run() {
    let bench = Bench::new().await;
    let waiting = bench.enqueue(Uuid::from_u128(1), None, Duration::ZERO).await;
    let mut tx = bench.store.begin_write().await.unwrap();
    cancel(&mut tx, bench.organization, waiting);
    tx.commit().await.unwrap();
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    assert_eq!(bench.count(Uuid::from_u128(1)).await, 0);
}

#[tokio::test]
async fn a_job_whose_process_died_runs_again_when_its_lease_ends() {
    let bench = Bench::new().await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::ZERO).await;
    let never: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    assert_eq!(bench.runner(never).claim_and_crash().await.unwrap(), 1);

    let mut runner = bench.runner(bench.counting());
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 0, "the lease still runs");
    bench.clock.advance(COUNT_UP.lease);
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);
}

#[tokio::test]
async fn where_the_store_is_ours_alone_a_job_cut_short_goes_on_at_the_next_start() {
    let bench = Bench::within(Place::embedded()).await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::ZERO).await;
    let later = Uuid::from_u128(2);
    bench.enqueue(later, None, Duration::from_secs(30)).await;
    let (dying, late) = hold_one(&bench).await;
    drop(dying);

    let mut runner = bench.runner(bench.counting());
    assert_eq!(runner.take_over_leases().await.unwrap(), 1);
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1, "no lease is waited for");
    assert_eq!(bench.count(later).await, 0, "what was never claimed stays where it was");
    assert!(matches!(count_up(bench.store.clone(), late).await, Err(JobError::Lost)));
    assert_eq!(runner.take_over_leases().await.unwrap(), 0, "nothing is taken twice");
}

#[tokio::test]
async fn where_the_store_is_shared_a_job_cut_short_waits_for_its_lease() {
    let place = Place::fresh();
    if matches!(place.store(), antumbra_store::StoreConfig::Embedded(_)) {
        return;
    }
    let bench = Bench::within(place).await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::ZERO).await;
    drop(hold_one(&bench).await);

    let mut runner = bench.runner(bench.counting());
    assert_eq!(runner.take_over_leases().await.unwrap(), 0);
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 0);
    bench.clock.advance(COUNT_UP.lease);
    runner.run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);
}

#[tokio::test]
async fn where_the_store_is_ours_alone_a_job_cut_short_again_waits_longer_and_never_beyond_its_lease() {
    let bench = Bench::within(Place::embedded()).await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::ZERO).await;
    for wait in [0, 0, 10] {
        assert_eq!(bench.count(subject).await, 0);
        bench.clock.advance(Duration::from_secs(wait));
        let never: Handler = Arc::new(|_| Box::pin(std::future::pending()));
        let mut runner = bench.runner(never);
        assert_eq!(runner.claim_and_crash().await.unwrap(), 1, "after {wait} s");
        assert_eq!(bench.runner(bench.counting()).take_over_leases().await.unwrap(), 1);
    }
    // It has had its three attempts; its next turn would be on the schedule, and its lease ends before that.
    bench.clock.advance(COUNT_UP.lease);
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    assert_eq!(bench.parked().await.len(), 1);
}

#[test]
fn a_row_of_before_it_said_whether_it_is_claimed_is_read_and_waits_for_its_lease() {
    let row = r#"{"kind":"test.count_up","subjects":[],"target":null,"attempts":1,"token":1}"#;
    let row: store::JobRow = serde_json::from_str(row).unwrap();
    assert!(!row.claimed);
}

#[tokio::test]
async fn whoever_lost_the_lease_can_no_longer_finish() {
    let bench = Bench::new().await;
    let subject = Uuid::from_u128(1);
    bench.enqueue(subject, None, Duration::ZERO).await;
    let (_slow, late) = hold_one(&bench).await;
    bench.clock.advance(COUNT_UP.lease);
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);

    assert!(matches!(count_up(bench.store.clone(), late).await, Err(JobError::Lost)));
    assert_eq!(bench.count(subject).await, 1);
}

#[tokio::test]
async fn a_failing_job_is_tried_on_schedule_then_parked_and_can_be_tried_anew() {
    let bench = Bench::new().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let fail: Handler = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(JobError::Failed("the shop is shut")) })
    });
    let subject = Uuid::from_u128(1);
    let id = bench.enqueue(subject, None, Duration::ZERO).await.id;
    let mut runner = bench.runner(fail);
    for (wait, tried) in [(0, 1), (8, 1), (3, 2), (80, 2), (30, 3), (100_000, 3)] {
        bench.clock.advance(Duration::from_secs(wait));
        runner.run_until_idle().await.unwrap();
        assert_eq!(tries.load(Ordering::SeqCst), tried, "after {wait} s more");
    }
    let parked = bench.parked().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(
        (parked[0].id, parked[0].attempts, parked[0].reason.as_str()),
        (id, 3, "the shop is shut")
    );

    let mut tx = bench.store.begin_write().await.unwrap();
    assert!(
        retry_parked(&mut tx, bench.organization, id, bench.clock.now())
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    assert_eq!(bench.count(subject).await, 1);
    assert!(bench.parked().await.is_empty());
}

#[tokio::test]
async fn a_job_that_panics_or_kills_its_process_is_given_up_in_the_end() {
    let bench = Bench::new().await;
    bench.enqueue(Uuid::from_u128(1), None, Duration::ZERO).await;
    let panic: Handler = Arc::new(|_| Box::pin(async { panic!("as the test wants it") }));
    bench.runner(panic).run_until_idle().await.unwrap();
    bench.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        let never: Handler = Arc::new(|_| Box::pin(std::future::pending()));
        assert_eq!(bench.runner(never).claim_and_crash().await.unwrap(), 1);
        bench.clock.advance(COUNT_UP.lease);
    }
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    assert_eq!(bench.count(Uuid::from_u128(1)).await, 0);
    assert_eq!(bench.parked().await.len(), 1);
}

#[tokio::test]
async fn a_job_of_an_unknown_kind_is_parked_and_not_lost() {
    let bench = Bench::new().await;
    bench.enqueue(Uuid::from_u128(1), None, Duration::ZERO).await;
    let mut knows_nothing = Runner::new(bench.store.clone(), bench.clock.clone(), Wake::default(), vec![]);
    knows_nothing.run_until_idle().await.unwrap();
    assert_eq!(bench.parked().await[0].kind, "test.count_up");
}

#[tokio::test]
async fn a_busy_target_delays_no_other() {
    let bench = Bench::new().await;
    let (slow, quick) = (Uuid::from_u128(100), Uuid::from_u128(200));
    for n in 0..700 {
        bench.enqueue(Uuid::from_u128(n), Some(slow), Duration::ZERO).await;
    }
    bench.enqueue(Uuid::from_u128(9_999), Some(quick), Duration::ZERO).await;

    let store = bench.store.clone();
    let running: Arc<Mutex<BTreeMap<Uuid, usize>>> = Arc::default();
    let seen = Arc::clone(&running);
    let handler: Handler = Arc::new(move |claimed| {
        let store = store.clone();
        let target = claimed.target.unwrap();
        *seen.lock().unwrap().entry(target).or_default() += 1;
        Box::pin(async move {
            if target == slow {
                std::future::pending::<()>().await;
            }
            count_up(store, claimed).await
        })
    });
    let mut runner = bench.runner(handler);
    runner.run_but(COUNT_UP.at_once_per_target).await;
    assert_eq!(bench.count(Uuid::from_u128(9_999)).await, 1);
    assert_eq!(running.lock().unwrap()[&slow], COUNT_UP.at_once_per_target);
}

/// Work for a slow target, beside which others have to get on.
async fn long_line(bench: &Bench, target: Uuid, length: u128) {
    let mut tx = bench.store.begin_write().await.unwrap();
    for n in 0..length {
        let job = Job::new(bench.ids.uuid(), &COUNT_UP, [Uuid::from_u128(n)]).waiting_for(target);
        enqueue(&mut tx, bench.organization, job, bench.clock.now());
    }
    tx.commit().await.unwrap();
}

/// Does the work of every target but one, which never gets done.
fn stuck_at(bench: &Bench, slow: Uuid) -> Handler {
    let store = bench.store.clone();
    Arc::new(move |claimed| {
        let store = store.clone();
        Box::pin(async move {
            if claimed.target == Some(slow) {
                std::future::pending::<()>().await;
            }
            count_up(store, claimed).await
        })
    })
}

#[tokio::test]
async fn a_long_line_is_gone_through_once_and_costs_others_nothing_after_that() {
    let bench = Bench::new().await;
    let slow = Uuid::from_u128(100);
    long_line(&bench, slow, 600).await;
    let mut runner = bench.runner(stuck_at(&bench, slow));
    runner.run_but(COUNT_UP.at_once_per_target).await;
    let before = runner.looks();
    let mut reader = bench.store.begin_read().await.unwrap();
    let front = store::list_due(&mut reader, bench.organization, 0, bench.clock.now(), 10)
        .await
        .unwrap();
    assert!(front.is_empty(), "what has no room stands in the way");

    for n in 0..20 {
        bench
            .enqueue(
                Uuid::from_u128(9_000 + n),
                Some(Uuid::from_u128(200 + n)),
                Duration::ZERO,
            )
            .await;
    }
    runner.run_but(COUNT_UP.at_once_per_target).await;
    for n in 0..20 {
        assert_eq!(bench.count(Uuid::from_u128(9_000 + n)).await, 1);
    }
    assert!(runner.looks() - before <= 60, "{} looks", runner.looks() - before);

    // A process that starts anew finds the line where it is.
    drop(runner);
    bench.clock.advance(COUNT_UP.lease);
    let bounds = Bounds {
        at_once: 16,
        at_once_per_target: 16,
        per_minute_per_target: None,
    };
    let mut anew = bench.runner(bench.counting()).bounded(&COUNT_UP, bounds);
    anew.run_until_idle().await.unwrap();
    for n in 0..600 {
        assert_eq!(bench.count(Uuid::from_u128(n)).await, 1);
    }
}

#[tokio::test]
async fn a_job_of_an_unknown_kind_is_parked_out_of_a_line_too() {
    let bench = Bench::new().await;
    let slow = Uuid::from_u128(100);
    long_line(&bench, slow, 6).await;
    let mut runner = bench.runner(stuck_at(&bench, slow));
    runner.run_but(COUNT_UP.at_once_per_target).await;
    drop(runner);
    bench.clock.advance(COUNT_UP.lease);
    let mut knows_nothing = Runner::new(bench.store.clone(), bench.clock.clone(), Wake::default(), vec![]);
    knows_nothing.run_until_idle().await.unwrap();
    assert_eq!(bench.parked().await.len(), 6);
}

#[tokio::test]
async fn a_target_with_a_budget_is_asked_at_its_pace() {
    let bench = Bench::new().await;
    let target = Uuid::from_u128(100);
    long_line(&bench, target, 10).await;
    let bounds = Bounds {
        at_once: 8,
        at_once_per_target: 8,
        per_minute_per_target: Some(60),
    };
    let mut runner = bench.runner(bench.counting()).bounded(&COUNT_UP, bounds);
    for done in 1..=10 {
        runner.run_until_idle().await.unwrap();
        let mut reader = bench.store.begin_read().await.unwrap();
        let left = count_due(&mut reader, &bench.clock, 100).await.unwrap();
        assert_eq!(left, 10 - done);
        bench.clock.advance(Duration::from_secs(1));
    }
}

/// Many runners after each other, each of which may die with work in its hands, beside a plain account of what was asked
/// for: nothing is lost, nothing that nobody took back is left undone, and no target is crowded.
#[tokio::test]
async fn whatever_is_enqueued_canceled_and_cut_short_every_job_is_done() {
    let first = std::env::var("ANTUMBRA_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    for round in first..first + 4_u64 {
        println!("ANTUMBRA_TEST_SEED={round}");
        let mut seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |bound: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % bound
        };
        let bench = Bench::new().await;
        let store = bench.store.clone();
        let under_way: Arc<Mutex<BTreeMap<Uuid, usize>>> = Arc::default();
        let most = Arc::new(AtomicUsize::new(0));
        let (seen, most_seen) = (Arc::clone(&under_way), Arc::clone(&most));
        let handler: Handler = Arc::new(move |claimed| {
            let (store, seen, most_seen) = (store.clone(), Arc::clone(&seen), Arc::clone(&most_seen));
            Box::pin(async move {
                let Some(target) = claimed.target else {
                    return count_up(store, claimed).await;
                };
                let count = {
                    let mut seen = seen.lock().unwrap();
                    let count = seen.entry(target).or_default();
                    *count += 1;
                    *count
                };
                most_seen.fetch_max(count, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let done = count_up(store, claimed).await;
                *seen.lock().unwrap().entry(target).or_default() -= 1;
                done
            })
        });
        let mut waiting = Vec::new();
        for step in 0..12_u64 {
            let mut tx = bench.store.begin_write().await.unwrap();
            for _ in 0..below(60) {
                let subject = bench.ids.uuid();
                let mut job = Job::new(bench.ids.uuid(), &COUNT_UP, [subject]);
                job.target = Some(below(5)).filter(|it| *it > 0).map(|it| Uuid::from_u128(it.into()));
                let due_at = bench.clock.now() + Duration::from_secs(below(90));
                waiting.push((subject, enqueue(&mut tx, bench.organization, job, due_at)));
            }
            while below(4) == 0 && !waiting.is_empty() {
                let place = usize::try_from(below(waiting.len() as u64)).unwrap();
                let (_, taken_back) = waiting.swap_remove(place);
                cancel(&mut tx, bench.organization, taken_back);
            }
            tx.commit().await.unwrap();
            let mut runner = bench.runner(Arc::clone(&handler));
            if below(4) == 0 && step < 10 {
                runner.claim_and_crash().await.unwrap();
                under_way.lock().unwrap().clear();
                bench.clock.advance(COUNT_UP.lease);
            } else {
                runner.run_until_idle().await.unwrap();
            }
            bench.clock.advance(Duration::from_secs(below(30)));
        }
        for _ in 0..5 {
            bench.clock.advance(COUNT_UP.lease + Duration::from_secs(90));
            bench.runner(Arc::clone(&handler)).run_until_idle().await.unwrap();
        }
        let parked: Vec<Uuid> = bench
            .parked()
            .await
            .iter()
            .flat_map(|job| job.subjects.clone())
            .collect();
        for (subject, _) in waiting {
            let count = bench.count(subject).await;
            assert!(
                count == 1 || parked.contains(&subject),
                "round {round}: done {count} times"
            );
        }
        let most = most.load(Ordering::SeqCst);
        assert!(
            most <= COUNT_UP.at_once_per_target,
            "round {round}: a target was asked {most} times at once"
        );
        let mut reader = bench.store.begin_read().await.unwrap();
        let late = Clock::manual(bench.clock.now() + Duration::from_secs(100_000));
        assert_eq!(
            count_due(&mut reader, &late, 10).await.unwrap(),
            0,
            "round {round}: jobs are left over"
        );
    }
}

#[tokio::test]
async fn a_queue_longer_than_a_page_is_worked_off_to_its_end() {
    let bench = Bench::new().await;
    let mut tx = bench.store.begin_write().await.unwrap();
    for n in 0..1_300 {
        let job = Job::new(bench.ids.uuid(), &COUNT_UP, [Uuid::from_u128(n)]);
        enqueue(&mut tx, bench.organization, job, bench.clock.now());
    }
    tx.commit().await.unwrap();
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    let mut reader = bench.store.begin_read().await.unwrap();
    assert_eq!(count_due(&mut reader, &bench.clock, 10).await.unwrap(), 0);
    for n in [0, 511, 512, 513, 1_299] {
        assert_eq!(bench.count(Uuid::from_u128(n)).await, 1);
    }
}

#[tokio::test]
async fn two_runners_share_the_work_and_do_none_of_it_twice() {
    let bench = Bench::new().await;
    for n in 0..200 {
        bench.enqueue(Uuid::from_u128(n % 20), None, Duration::ZERO).await;
    }
    let (mut one, mut two) = (bench.runner(bench.counting()), bench.runner(bench.counting()));
    let (one, two) = tokio::join!(one.run_until_idle(), two.run_until_idle());
    one.unwrap();
    two.unwrap();
    // A claim that met the other runner's may have left a job waiting for the next look.
    bench.runner(bench.counting()).run_until_idle().await.unwrap();
    for subject in 0..20 {
        assert_eq!(bench.count(Uuid::from_u128(subject)).await, 10);
    }
}

#[tokio::test]
async fn a_running_runner_is_woken_and_stops_when_told() {
    let bench = Bench::new().await;
    let wake = Wake::default();
    let runner = Runner::new(
        bench.store.clone(),
        bench.clock.clone(),
        wake.clone(),
        vec![(&COUNT_UP, bench.counting())],
    );
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = runner.run(stop.clone(), Duration::from_secs(5));
    let story = async {
        bench.enqueue(Uuid::from_u128(1), None, Duration::ZERO).await;
        wake.ring();
        while bench.count(Uuid::from_u128(1)).await == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(stopped, story);
}
