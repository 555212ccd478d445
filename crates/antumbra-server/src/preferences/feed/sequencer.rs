//! Who gives numbers to changes, and when; and who removes old ones.

use std::{collections::HashMap, time::Duration};

use antumbra_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Place, store};
use crate::{AppState, http::chain, preferences::moment::Moment};

/// How often it looks for what other processes wrote, and for what this one was told nothing of.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long it rests after giving out numbers, so that what is written meanwhile gets them together.
const REST: Duration = Duration::from_millis(5);

/// Attempts at one transaction while others, in other processes, do the same.
const CONFLICTS_MAX: u32 = 8;

/// Gives numbers to changes until `stop`.
///
/// Several processes may do this on one store: one of two that meet is told of a conflict and looks again.
pub async fn run_sequencer(app: AppState, stop: CancellationToken) {
    let mut sequencer = Sequencer {
        app,
        newest: HashMap::new(),
    };
    let mut look_at = Instant::now();
    while !stop.is_cancelled() {
        let looked = if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_EVERY;
            sequencer.look_everywhere().await
        } else {
            sequencer.look_where_told().await
        };
        let gave = looked.unwrap_or_else(|error| {
            let cause = chain(&error);
            tracing::warn!(cause, "changes of preferences get no numbers; trying again shortly");
            false
        });
        let rest = async {
            if gave {
                return tokio::time::sleep(REST).await;
            }
            tokio::select! {
                () = sequencer.app.feed.wake.notified() => {}
                () = tokio::time::sleep_until(look_at) => {}
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = rest => {}
        }
    }
}

/// Gives numbers to all changes that wait for one. For tests, which run what runs in the background by hand.
pub async fn number_changes(app: &AppState) -> Result<(), StoreError> {
    let mut sequencer = Sequencer {
        app: app.clone(),
        newest: HashMap::new(),
    };
    sequencer.look_everywhere().await.map(drop)
}

/// Removes changes that are older than the operator wants the feed to be.
pub async fn expire_changes(app: &AppState) -> Result<(), StoreError> {
    let Some(kept) = app.config.preferences.changes_kept else {
        return Ok(());
    };
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let until = Moment(Moment::from(app.clock.now()).0.saturating_sub(kept));
    let places = store::list_feeds(&mut app.store.begin_read().await?).await?;
    for place in places {
        while store::expire(&app.store, place, until).await? {}
    }
    Ok(())
}

struct Sequencer {
    app: AppState,
    /// The newest row of each place that got a number.
    newest: HashMap<Place, Uuid>,
}

impl Sequencer {
    async fn look_everywhere(&mut self) -> Result<bool, StoreError> {
        let places = store::list_waiting(&mut self.app.store.begin_read().await?).await?;
        // What it remembers is of use only where much is written at the moment.
        self.newest.clear();
        self.look_at(places).await
    }

    async fn look_where_told(&mut self) -> Result<bool, StoreError> {
        let places = self.app.feed.take_written();
        self.look_at(places).await
    }

    /// Gives numbers to all that waits at `places`. Whether there was any.
    async fn look_at(&mut self, places: impl IntoIterator<Item = Place>) -> Result<bool, StoreError> {
        let mut gave = false;
        for place in places {
            while let Some(given) = self.give_numbers(place).await? {
                let Some(newest) = given.newest else { break };
                gave = true;
                self.newest.insert(place, newest);
                self.app.feed.advance(place, given.last);
                if !given.more {
                    break;
                }
            }
        }
        Ok(gave)
    }

    /// None if other sequencers are always quicker: then they see to it.
    async fn give_numbers(&self, place: Place) -> Result<Option<store::Given>, StoreError> {
        let newest = self.newest.get(&place).copied();
        for _ in 0..CONFLICTS_MAX {
            match store::give_numbers(&self.app, place, newest).await {
                Err(StoreError::Conflict) => {}
                given => return given.map(Some),
            }
        }
        Ok(None)
    }
}
