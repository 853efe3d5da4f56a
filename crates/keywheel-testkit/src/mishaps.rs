//! What happens to stores, and what is still to hold then.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Actor, BrokenJournal, ConnectionId, ConnectionStore, ConnectionStoreExt, KeyRing, Namespace,
    Page, Resealer, Save, StoreErrorKind,
};
use keywheel_core::{Clock, SystemClock};

/// What [`check_meddling`] can do to the table called `journal`, and with which entry it is wrong then.
pub const MEDDLING: [(&str, u64); 10] = [
    (
        "UPDATE journal SET body = replace(body, 'change 2', 'change 9')",
        3,
    ),
    ("DELETE FROM journal WHERE seq = 1", 1),
    ("DELETE FROM journal WHERE seq = 4", 4),
    ("DELETE FROM journal WHERE seq = 6", 6),
    (
        "UPDATE journal SET seq = -seq WHERE seq IN (3, 4); UPDATE journal SET seq = seq + 7 WHERE seq < 0",
        3,
    ),
    (
        "INSERT INTO journal (connection, seq, body, digest)
         SELECT connection, 7, body, digest FROM journal WHERE seq = 6",
        7,
    ),
    (
        "INSERT INTO journal (connection, seq, body, digest)
         SELECT connection, 0, body, digest FROM journal WHERE seq = 1",
        7,
    ),
    (
        "INSERT INTO journal (connection, seq, body, digest)
         SELECT connection, -seq, body, digest FROM journal",
        7,
    ),
    // To the end of the outbox.
    (
        "CREATE TEMPORARY TABLE moved AS SELECT connection, seq, body, digest FROM journal WHERE seq = 3;
         DELETE FROM journal WHERE seq = 3;
         INSERT INTO journal (connection, seq, body, digest) SELECT * FROM moved",
        3,
    ),
    (
        "CREATE TEMPORARY TABLE moved AS SELECT connection, seq, body, digest FROM journal;
         DELETE FROM journal;
         INSERT INTO journal (connection, seq, body, digest) SELECT * FROM moved ORDER BY seq DESC",
        1,
    ),
];

/// Meddles with the journal of an empty store behind its back, and checks that it does not verify any more.
/// `run` runs SQL.
///
/// # Panics
///
/// Panics when it verifies.
pub async fn check_meddling(
    store: &dyn ConnectionStore,
    (meddling, at): (&str, u64),
    run: impl FnOnce(&str),
) {
    let id = with_journal(store).await;
    assert_eq!(store.verify(id).await.expect("a whole journal").seq, 6);

    run(meddling);

    let error = store.verify(id).await.expect_err(meddling);
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{meddling}");
    let broken = error.source().and_then(|it| it.downcast_ref());
    assert_eq!(broken.map(BrokenJournal::seq), Some(at), "{meddling}");
}

/// Stores a connection with a journal of six entries.
async fn with_journal(store: &dyn ConnectionStore) -> ConnectionId {
    let (mut connection, entries) = sample::connection(1, "c1");
    let mut version = store
        .create(&connection, None, &entries)
        .await
        .expect("it is new");
    for n in 1..=5 {
        let entries = [sample::change(&mut connection, &format!("change {n}"))];
        let save = Save::new(&connection, version, &entries);
        version = store.save(save).await.expect("it was not changed");
    }
    connection.id
}

/// Damages records of an empty store behind its back, and checks that they are passed over, not in the way of
/// others, and named where they alone are asked for or nothing may be passed over. `run` runs SQL.
///
/// # Panics
///
/// Panics when one of these does not hold.
pub async fn check_damaged_records(store: Arc<dyn ConnectionStore>, run: impl FnOnce(&str)) {
    let now = SystemClock::new().now();
    for n in 1..=5 {
        let (connection, entries) = sample::connection(n, &format!("c{n}"));
        let created = store.create(&connection, Some(now), &entries).await;
        created.expect("it is new");
    }

    run("UPDATE connection SET record = '{\"format\":1,' WHERE name IN ('c1', 'c2', 'c4')");

    let first = store.list(Page::of_all(2)).await;
    let first = first.expect("damaged records are passed over");
    let names: Vec<_> = first
        .iter()
        .map(|stored| stored.connection.name.as_str())
        .collect();
    assert_eq!(names, ["c3"]);
    let rest = Page::of_all(2).after(&first[0].connection);
    let rest = store.list(rest).await;
    assert_eq!(rest.expect("damaged records are passed over").len(), 1);
    let due = store
        .claim_due(sample::holder(1), 10, Duration::from_secs(60))
        .await;
    assert_eq!(due.expect("damaged records are passed over").len(), 2);
    let (damaged, _) = sample::connection(1, "c1");
    let alone = [
        store.load(damaged.id).await,
        store.find(&Namespace::default(), &damaged.name).await,
    ];
    for error in alone.map(|read| read.expect_err("it is damaged")) {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        let id = damaged.id.to_string();
        assert!(error.to_string().contains(&id), "{error}");
    }
    let mut ids = [1, 2, 4].map(|n| sample::connection(n, "c").0.id);
    ids.sort();
    let ring = KeyRing::new(&[7; 32]).expect("32 bytes");
    let clock = Arc::new(SystemClock::new());
    let resealer = Resealer::new(store, Arc::new(ring), clock, Actor::named("operator"));
    let resealed = resealer.pass().await.expect("the store answers");
    assert_eq!(resealed.connections, 5);
    assert_eq!(resealed.unread, ids);
    assert!(!resealed.is_complete());
}

/// Fills the disk of an empty store up to a write that fails, frees the room that `ballast` takes, and checks
/// that nothing was lost and the store goes on. `text` makes what takes room.
///
/// # Panics
///
/// Panics when something was lost.
pub async fn check_full_disk(
    store: &dyn ConnectionStore,
    ballast: &Path,
    text: impl Fn() -> String,
) {
    let (mut connection, entries) = sample::connection(1, "c1");
    let created = store.create(&connection, None, &entries).await;
    let mut version = created.expect("there is room yet");

    let error = loop {
        let mut changed = connection.clone();
        let entries = [sample::change(&mut changed, &text())];
        match store.save(Save::new(&changed, version, &entries)).await {
            Ok(saved) => (connection, version) = (changed, saved),
            Err(error) => break error,
        }
    };

    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("disk is full"), "{error:?}");
    let stored = store.load(connection.id).await.expect("it can be read");
    let stored = stored.expect("it is there");
    assert_eq!(
        (&*stored.connection, stored.version),
        (&connection, version)
    );
    fs::remove_file(ballast).expect("it is ours");
    let entries = [sample::change(&mut connection, &text())];
    let save = Save::new(&connection, version, &entries);
    store.save(save).await.expect("there is room again");
    store.verify(connection.id).await.expect("a whole journal");
}
