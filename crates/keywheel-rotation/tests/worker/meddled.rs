//! What whoever looks at a journal is told that somebody with access to the database meddled with.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use keywheel_connection::{
    Actor, BrokenJournal, Cursor, DeadLetter, Digest, Entry, StoreErrorKind,
};
use keywheel_core::{Clock, SystemEntropy};
use keywheel_rotation::{Ending, EventDelivery, EventHandler, Farewell, HandleError};

use crate::delivery::consumer;
use crate::fleet::{Fleet, Member, tenant};
use crate::shaky::Meddling;

/// What was done to a journal, and the first entry that is not as it was written.
const MEDDLED: [(&str, Meddling, u64); 7] = [
    (
        "an entry changed",
        |journal| journal[4].body = journal[4].body.replace("2026", "2025"),
        5,
    ),
    (
        "and its digest made to fit nothing",
        |journal| journal[4].digest = Digest::default(),
        5,
    ),
    (
        "made unreadable",
        |journal| journal[2].body = "{".to_owned(),
        3,
    ),
    ("taken out", |journal| drop(journal.remove(3)), 4),
    ("the last ones cut off", |journal| journal.truncate(6), 7),
    ("two that changed places", |journal| journal.swap(1, 2), 2),
    (
        "one that was put in twice",
        |journal| journal.insert(4, journal[3].clone()),
        5,
    ),
];

/// A connection whose first rotation is over.
async fn rotated() -> (Fleet, Member) {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let worker = fleet.start(fleet.worker(1));
    fleet.settled(&members, 1).await;
    worker.stop().await;
    (fleet, members[0])
}

#[tokio::test(start_paused = true)]
async fn a_history_says_from_where_on_it_is_not_to_be_relied_on() {
    for (what, meddling, first) in MEDDLED {
        let (fleet, member) = rotated().await;
        let whole = fleet.connections().history(member.id).await.unwrap();
        assert_eq!((whole.broken, whole.unreadable), (None, 0));
        fleet.store.meddle(meddling);

        let history = fleet.connections().history(member.id).await.unwrap();

        assert_eq!(history.broken, Some(first), "{what}");
        assert_eq!(history.unreadable, u64::from(what == "made unreadable"));
        // What can be read is told all the same.
        assert_eq!(history.rotations.len(), 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_of_a_deleted_connection_is_verified_too() {
    let (fleet, member) = rotated().await;
    let (connections, actor) = (fleet.connections(), Actor::named("test"));
    let left = connections.delete(member.id, Farewell::Leave, &actor);
    left.await.unwrap();

    let history = fleet.connections().history(member.id).await.unwrap();
    assert_eq!(history.broken, None);
    let (_, ending) = history.rotations[0].ended.unwrap();
    assert_eq!(ending, Ending::Confirmed);
    fleet.store.meddle(|journal| drop(journal.pop()));
    let history = fleet.connections().history(member.id).await.unwrap();
    assert!(history.broken.is_some());
}

/// Counts what arrives.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl EventHandler for Counter {
    async fn handle(&self, _: &Entry) -> Result<(), HandleError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_as_it_was_written_is_not_sent_again() {
    for (what, meddling, first) in MEDDLED {
        let (fleet, member) = rotated().await;
        let counter = Counter::default();
        let delivery = delivery(&fleet, counter.clone());
        let all = delivery.redeliver(member.id, 0).await.unwrap();
        let sent = counter.0.swap(0, Ordering::Relaxed);
        assert_eq!(u64::try_from(sent).unwrap(), all);
        fleet.store.meddle(meddling);

        let error = delivery.redeliver(member.id, 0).await.unwrap_err();

        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{what}");
        let broken = error.source().unwrap().downcast_ref::<BrokenJournal>();
        assert_eq!(broken.unwrap().seq(), first, "{what}");
        let said = error.to_string();
        assert!(said.contains("compare with a backup"), "{said}");
        let error = delivery.resend(&letter(&fleet, member)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{what}");
        assert_eq!(counter.0.load(Ordering::Relaxed), 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_not_taken_for_a_meddled_one() {
    let (fleet, member) = rotated().await;
    fleet.store.set_away(true);

    let error = fleet.connections().history(member.id).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let delivery = delivery(&fleet, Counter::default());
    let error = delivery.redeliver(member.id, 0).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

fn letter(fleet: &Fleet, member: Member) -> DeadLetter {
    DeadLetter {
        cursor: Cursor(2),
        connection: member.id,
        seq: 2,
        given_up_at: fleet.clock.now(),
        attempts: 8,
        error: "not that one".to_owned(),
    }
}

fn delivery(fleet: &Fleet, handler: Counter) -> EventDelivery {
    EventDelivery::new(
        Arc::new(fleet.store.clone()),
        Arc::new(fleet.clock.clone()),
        &SystemEntropy::new(),
        consumer(),
        handler,
    )
}
