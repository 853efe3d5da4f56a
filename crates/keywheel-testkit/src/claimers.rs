//! Processes that claim from one store.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionStore, ConnectionStoreExt, Holder, LeaseChange,
    Save, StoreErrorKind,
};
use keywheel_core::{Clock, Entropy, SystemClock, SystemEntropy};

use crate::load::{pause, random, transient};
use crate::{Child, cases};

/// Lets sixteen claimers in four processes claim all of a store's `rows` due connections, and checks that each
/// was claimed, and with each fence once, and in the full run that no process was left with hardly any. `test`
/// is the process: it runs [`claim_with_others`].
///
/// # Panics
///
/// Panics when two claims share a fence, a connection was left over, or a process went short.
pub fn check_claimers_in_four_processes(test: &str, argument: &str, rows: usize) {
    let mut children = [(); 4].map(|()| Child::start(test, argument));
    for child in &mut children {
        assert_eq!(child.line().as_deref(), Some("ready"));
    }
    children.iter_mut().for_each(|child| child.tell("go"));
    let readers = children.map(|child| thread::spawn(|| child.finish()));
    let claims = readers.map(|reader| reader.join().expect("the process ends well"));
    println!(
        "{rows} rows, claims of the four processes: {:?}",
        claims.each_ref().map(Vec::len)
    );
    // A quarter would be fair. Few rows are gone before a process that the system starts late claims any.
    let least = cases(0, 1) as usize * rows / 50;
    for claims in &claims {
        assert!(claims.len() >= least, "a process was starved");
    }
    let claims: Vec<_> = claims.iter().flatten().map(|line| claim(line)).collect();
    check_claims(&claims, rows);
}

/// A claim that some process made: of what, and with which fence.
type Claim = (ConnectionId, u64);

fn claim(line: &str) -> Claim {
    let claim = || {
        let (id, fence) = line.split_once(' ')?;
        Some((id.parse().ok()?, fence.parse().ok()?))
    };
    claim().expect("an id and a fence")
}

/// In the child: waits for the others, and claims all that is due beside them.
///
/// # Panics
///
/// Panics when the store refuses what the contract allows.
pub async fn claim_with_others(store: &dyn ConnectionStore) {
    Child::report("ready");
    assert_eq!(Child::told(), "go");
    futures_util::future::join_all((0..4).map(|_| claim_all(store))).await;
}

/// Claims what is due until there is nothing more, and reports each claim. One claim in eight is given back;
/// the others are worked on and saved, to wake no more.
async fn claim_all(store: &dyn ConnectionStore) {
    let holder = Holder::from(SystemEntropy::new().uuid());
    loop {
        let claims = store.claim_due(holder, 64, Duration::from_secs(600)).await;
        let Some(claims) = transient(claims) else {
            continue;
        };
        if claims.is_empty() {
            return;
        }
        let work = claims.iter().map(|claimed| {
            let lease = &claimed.lease;
            Child::report(format!("{} {}", lease.connection, lease.fence.0));
            finish(store, claimed)
        });
        futures_util::future::join_all(work).await;
    }
}

async fn finish(store: &dyn ConnectionStore, claimed: &Claimed) {
    if random().is_multiple_of(8) {
        store
            .release(&claimed.lease)
            .await
            .expect("the store answers");
    } else {
        finish_now(store, claimed).await;
    }
}

async fn finish_now(store: &dyn ConnectionStore, claimed: &Claimed) {
    let mut connection = Connection::clone(&claimed.stored.connection);
    let entries = [sample::change(&mut connection, "done")];
    let save = Save::new(&connection, claimed.stored.version, &entries)
        .wake_at(None)
        .under(&claimed.lease, LeaseChange::Release);
    store.save(save).await.expect("the lease is ours");
}

fn check_claims(claims: &[Claim], rows: usize) {
    let mut fences: HashMap<ConnectionId, HashSet<u64>> = HashMap::new();
    for (id, fence) in claims {
        let new = fences.entry(*id).or_default().insert(*fence);
        assert!(new, "{id} was claimed twice with fence {fence}");
    }
    assert_eq!(fences.len(), rows, "connections were left over");
    for (id, fences) in fences {
        let highest = fences.iter().max().copied().unwrap_or_default();
        assert_eq!(
            highest,
            fences.len() as u64,
            "{id} skipped a fence: {fences:?}"
        );
    }
}

/// Takes the lease of one due connection, reports that, waits to be told that it is over, and then tries every
/// write that a lease allows, many times and at once. Reports what became of each.
///
/// # Panics
///
/// Panics when nothing is due.
pub async fn write_with_an_old_lease(store: &dyn ConnectionStore) {
    let holder = Holder::from(SystemEntropy::new().uuid());
    let claims = store.claim_due(holder, 1, LEASE).await;
    let claimed = claims.expect("the store answers").remove(0);
    Child::report(format!("holding {}", claimed.lease.fence.0));
    assert_eq!(Child::told(), "go on");
    let tries = (0..16).map(|_| async {
        let mut connection = Connection::clone(&claimed.stored.connection);
        let entries = [sample::change(&mut connection, "stale")];
        let save = Save::new(&connection, claimed.stored.version, &entries);
        let extend = save
            .clone()
            .under(&claimed.lease, LeaseChange::Extend(LEASE));
        let release = save.clone().under(&claimed.lease, LeaseChange::Release);
        let delete = release.clone().deleting();
        [
            store.renew(&claimed.lease, LEASE).await.err(),
            store.save(extend).await.err(),
            store.save(release).await.err(),
            store.save(delete).await.err(),
            // Which is no error and changes nothing.
            store.release(&claimed.lease).await.err(),
        ]
    });
    for outcomes in futures_util::future::join_all(tries).await {
        Child::report(
            outcomes
                .map(|error| match error {
                    Some(error) if error.kind() == StoreErrorKind::LeaseLost => {
                        "refused".to_owned()
                    }
                    Some(error) => format!("{error:?}"),
                    None => "done".to_owned(),
                })
                .join(" "),
        );
    }
}

/// Stops a process that holds a connection of an empty store past its lease, takes the connection over, lets
/// the process go on, and checks that every write of it was refused. `test` is the process: it runs
/// [`write_with_an_old_lease`].
///
/// # Panics
///
/// Panics when a write was not refused.
pub async fn check_a_stopped_holder_is_fenced_off(
    store: &dyn ConnectionStore,
    test: &str,
    argument: &str,
) {
    let (connection, entries) = sample::connection(1, "one");
    let now = Some(SystemClock::new().now());
    let created = store.create(&connection, now, &entries).await;
    created.expect("it is new");
    let mut child = Child::start(test, argument);
    assert_eq!(child.line().as_deref(), Some("holding 1"));
    child.signal("STOP");
    let holder = Holder::from(SystemEntropy::new().uuid());
    let taken = loop {
        let claims = store.claim_due(holder, 1, Duration::from_secs(600)).await;
        match claims.expect("the store answers").pop() {
            Some(claimed) => break claimed,
            None => pause().await,
        }
    };
    assert_eq!(taken.lease.fence.0, 2);
    child.signal("CONT");
    child.tell("go on");

    let outcomes = child.finish();

    assert_eq!(outcomes, vec!["refused refused refused refused done"; 16]);
    let id = taken.lease.connection;
    let stored = store.load(id).await.expect("the store answers");
    assert_eq!(stored, Some(taken.stored.clone()));
    store
        .renew(&taken.lease, LEASE)
        .await
        .expect("the lease is ours");
    finish_now(store, &taken).await;
    store.verify(id).await.expect("nothing stale was written");
}

const LEASE: Duration = Duration::from_millis(300);
