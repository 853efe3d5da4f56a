//! Claims about the journal and the outbox.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::sample::{change, connection, holder};
use super::{Fixture, numbers, refused};
use crate::{
    BrokenJournal, ConnectionId, ConnectionStore, ConnectionStoreExt, Consumer, Cursor, Save,
    StoreErrorKind,
};

/// Each connection's apart from the others'.
pub async fn a_journal_is_read_in_pages(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let id = written(&*store, 1, 8).await;
    written(&*store, 2, 8).await;

    let first = store.journal(id, 0, 3).await.unwrap();
    let middle = store.journal(id, 3, 4).await.unwrap();
    let last = store.journal(id, 7, 4).await.unwrap();

    assert_eq!(numbers(&first), [1, 2, 3]);
    assert_eq!(numbers(&middle), [4, 5, 6, 7]);
    assert_eq!(numbers(&last), [8]);
    assert_eq!(store.journal(id, 8, 4).await.unwrap(), []);
    let all = store.whole_journal(id).await.unwrap();
    assert_eq!(all, [first, middle, last].concat());
    assert!(all.iter().all(|entry| entry.connection == id), "{all:?}");
}

/// Neither in the journal nor in the outbox.
pub async fn a_refused_save_leaves_no_entries(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (mut connection, entries) = connection(1, "one");
    let version = store.create(&connection, None, &entries).await.unwrap();
    let mut stale = connection.clone();
    let entry = change(&mut connection, "made");
    store
        .save(Save::new(&connection, version, &[entry]))
        .await
        .unwrap();

    let entry = change(&mut stale, "refused");
    let error = refused(store.save(Save::new(&stale, version, &[entry])).await);

    assert_eq!(error, StoreErrorKind::Conflict);
    let outbox = store.entries(Cursor::START, 10).await.unwrap();
    assert_eq!(outbox.len(), 2);
    store.verify(connection.id).await.unwrap();
}

/// While others write: what is committed later comes later.
pub async fn entries_come_in_order_and_none_is_missed(fixture: &dyn Fixture) {
    const WRITERS: u64 = 6;
    const ENTRIES: u64 = 20;
    let store = fixture.empty().await;

    let writers = (0..WRITERS).map(|n| {
        let store = store.clone();
        async move { written(&*store, n, ENTRIES).await }
    });
    let reader = read_outbox(store.clone(), WRITERS * ENTRIES);
    let (ids, read) = join(join_all(writers), reader).await;

    assert_eq!(read.len(), ids.len());
    for id in ids {
        assert_eq!(read[&id], (1..=ENTRIES).collect::<Vec<_>>());
    }
}

/// And never goes back.
pub async fn each_consumer_has_a_place_of_its_own(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    written(&*store, 1, 4).await;
    let audit: Consumer = "audit".parse().unwrap();
    let mail: Consumer = "mail".parse().unwrap();
    assert_eq!(store.acknowledged(&audit).await.unwrap(), Cursor::START);
    let all = store.unacknowledged(&audit, 10).await.unwrap();

    store.acknowledge(&audit, all[2].0).await.unwrap();
    store.acknowledge(&audit, all[0].0).await.unwrap();
    store.acknowledge(&mail, all[0].0).await.unwrap();

    assert_eq!(store.acknowledged(&audit).await.unwrap(), all[2].0);
    let rest = store.unacknowledged(&audit, 10).await.unwrap();
    assert_eq!(rest, all[3..]);
    let rest = store.unacknowledged(&mail, 2).await.unwrap();
    assert_eq!(rest, all[1..3]);
}

/// Each consumer by itself; whoever leads may stay, leave early, or die.
pub async fn one_replica_leads_a_consumer_until_its_time_is_over(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let audit: Consumer = "audit".parse().unwrap();
    let mail: Consumer = "mail".parse().unwrap();
    let minute = Duration::from_mins(1);
    let lead = async |of: &Consumer, n, span| store.lead(of, holder(n), span).await.unwrap();

    assert!(lead(&audit, 1, minute).await);
    assert!(!lead(&audit, 2, minute).await);
    assert!(!lead(&audit, 2, Duration::ZERO).await);
    assert!(lead(&mail, 2, minute).await);
    assert_eq!(store.acknowledged(&audit).await.unwrap(), Cursor::START);
    fixture.pass(Duration::from_secs(45)).await;
    assert!(lead(&audit, 1, minute).await);
    fixture.pass(Duration::from_secs(45)).await;
    assert!(!lead(&audit, 2, minute).await, "it was kept");
    assert!(lead(&mail, 1, minute).await, "it was over");
    fixture.pass(Duration::from_secs(45)).await;
    assert!(lead(&audit, 2, minute).await, "it was over");
    assert!(!lead(&audit, 1, minute).await, "it was taken");
    lead(&audit, 2, Duration::ZERO).await;
    assert!(lead(&audit, 1, minute).await, "it was given back");
}

/// It was given before the clock was set back.
pub async fn a_lead_from_the_future_is_over(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let audit: Consumer = "audit".parse().unwrap();
    let minute = Duration::from_mins(1);
    assert!(store.lead(&audit, holder(1), minute).await.unwrap());

    fixture.set_back(Duration::from_hours(2)).await;

    assert!(store.lead(&audit, holder(2), minute).await.unwrap());
}

/// What is cut off from the end is missed too.
pub async fn a_journal_is_verified_to_its_head(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let id = written(&*store, 1, 5).await;
    assert_eq!(store.verify(id).await.unwrap().seq, 5);

    // An engine that lost an entry: its record says 7, the journal holds 5.
    let stored = store.load(id).await.unwrap().unwrap();
    let mut connection = Arc::unwrap_or_clone(stored.connection);
    drop(change(&mut connection, "lost"));
    drop(change(&mut connection, "lost too"));
    store
        .save(Save::new(&connection, stored.version, &[]))
        .await
        .unwrap();

    let error = store.verify(id).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let broken = error.source().unwrap().downcast_ref::<BrokenJournal>();
    assert_eq!(broken.unwrap().seq(), 6);
    let (never, _) = super::sample::connection(2, "never");
    let error = refused(store.verify(never.id).await);
    assert_eq!(error, StoreErrorKind::NotFound);
}

/// Writes a connection with so many entries, one save each.
async fn written(store: &dyn ConnectionStore, n: u64, entries: u64) -> ConnectionId {
    let (mut connection, first) = connection(n, &format!("c{n}"));
    let mut version = store.create(&connection, None, &first).await.unwrap();
    for n in 1..entries {
        let entry = change(&mut connection, &format!("change {n}"));
        let save = Save::new(&connection, version, std::slice::from_ref(&entry));
        version = store.save(save).await.unwrap();
    }
    connection.id
}

/// Follows the outbox until it has seen so many entries, and returns their numbers in the order read.
async fn read_outbox(
    store: Arc<dyn ConnectionStore>,
    entries: u64,
) -> HashMap<ConnectionId, Vec<u64>> {
    let mut read: HashMap<_, Vec<_>> = HashMap::new();
    let (mut cursor, mut seen) = (Cursor::START, 0);
    while seen < entries {
        let page = store.entries(cursor, 7).await.unwrap();
        seen += page.len() as u64;
        for (at, entry) in page {
            assert!(at > cursor, "{at:?} after {cursor:?}");
            cursor = at;
            read.entry(entry.connection).or_default().push(entry.seq);
        }
        tokio::task::yield_now().await;
    }
    read
}
