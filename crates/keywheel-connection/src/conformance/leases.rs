//! Claims about due work: claiming, renewing, taking over, and fences.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::sample::{change, connection, holder};
use super::{Fixture, refused, seconds};
use crate::{Claimed, Connection, ConnectionStore, LeaseChange, Save, StoreErrorKind, Versioned};

/// With its connection as it is stored.
pub async fn what_is_due_is_claimed_once(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let stored = due(fixture, &*store, 1, 0).await;

    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();

    let [claimed] = claims.as_slice() else {
        panic!("expected one claim: {claims:?}");
    };
    assert_eq!(claimed.stored, stored);
    assert_eq!(claimed.lease.connection, stored.connection.id);
    assert_eq!(claimed.lease.holder, holder(1));
    assert_eq!(claimed.lease.span, seconds(60));
    for n in 1..=2 {
        let again = store.claim_due(holder(n), 10, seconds(60)).await.unwrap();
        assert_eq!(again, [], "holder {n}");
    }
}

/// And no more than were asked for.
pub async fn what_could_be_claimed_longest_is_claimed_first(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    for (n, seconds_ago) in [(1, 10), (2, 40), (3, 20), (4, 50), (5, 30)] {
        due(fixture, &*store, n, seconds_ago).await;
    }

    let mut names = Vec::new();
    for _ in 0..3 {
        let claims = store.claim_due(holder(1), 2, seconds(60)).await.unwrap();
        let mut batch: Vec<_> = claims.iter().map(name).collect();
        batch.sort();
        names.push(batch);
    }

    assert_eq!(names, [vec!["c2", "c4"], vec!["c3", "c5"], vec!["c1"]]);
}

/// Neither what wakes later nor what never does.
pub async fn what_is_not_due_is_not_claimed(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    due(fixture, &*store, 1, -30).await;
    let (never, entries) = connection(2, "never");
    store.create(&never, None, &entries).await.unwrap();

    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    assert_eq!(claims, []);

    fixture.pass(seconds(31)).await;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    assert_eq!(claims.iter().map(name).collect::<Vec<_>>(), ["c1"]);
}

/// Which a change on behalf of a person wants.
pub async fn a_save_can_leave_the_time_to_wake_as_it_is(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let stored = due(fixture, &*store, 1, -30).await;
    let mut connection = Arc::unwrap_or_clone(stored.connection);
    let entry = change(&mut connection, "kept");
    let version = store
        .save(Save::new(&connection, stored.version, &[entry]))
        .await
        .unwrap();
    fixture.pass(seconds(31)).await;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    assert_eq!(claims.len(), 1);
    store.release(&claims[0].lease).await.unwrap();

    let entry = change(&mut connection, "never");
    let save = Save::new(&connection, version, std::slice::from_ref(&entry)).wake_at(None);
    store.save(save).await.unwrap();

    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    assert_eq!(claims, []);
}

/// Every write of the one who held it is refused from then on.
pub async fn an_expired_lease_is_taken_over_and_fenced_off(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    due(fixture, &*store, 1, 0).await;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    let stale = &claims[0];
    fixture.pass(seconds(61)).await;

    let claims = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    let newest = &claims[0];

    assert!(newest.lease.fence > stale.lease.fence, "{newest:?}");
    for keeper in [LeaseChange::Release, LeaseChange::Extend(seconds(60))] {
        let error = refused(save_under(&*store, stale, keeper).await);
        assert_eq!(error, StoreErrorKind::LeaseLost, "{keeper:?}");
    }
    let error = refused(store.renew(&stale.lease, seconds(60)).await);
    assert_eq!(error, StoreErrorKind::LeaseLost);
    store.release(&stale.lease).await.unwrap();
    let claims = store.claim_due(holder(3), 10, seconds(60)).await.unwrap();
    assert_eq!(claims, [], "a stale release gave the lease away");
    let saved = save_under(&*store, newest, LeaseChange::Release).await;
    saved.unwrap();
}

/// From when it was renewed.
pub async fn a_renewed_lease_lasts(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    due(fixture, &*store, 1, 0).await;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    fixture.pass(seconds(45)).await;

    store.renew(&claims[0].lease, seconds(60)).await.unwrap();

    fixture.pass(seconds(45)).await;
    let others = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert_eq!(others, []);
    fixture.pass(seconds(16)).await;
    let others = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert_eq!(others.len(), 1);
}

/// A span that no clock reaches is no error, and is over when it is given back.
pub async fn a_lease_may_last_for_ever(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let id = due(fixture, &*store, 1, 0).await.connection.id;

    let claims = store.claim_due(holder(1), 1, Duration::MAX).await.unwrap();

    let claimed = &claims[0];
    store.renew(&claimed.lease, Duration::MAX).await.unwrap();
    let extended = save_under(&*store, claimed, LeaseChange::Extend(Duration::MAX)).await;
    let claimed = &Claimed {
        lease: claimed.lease.clone(),
        stored: extended.unwrap(),
    };
    fixture.pass(seconds(100_000)).await;
    let others = store.claim_due(holder(2), 1, seconds(60)).await.unwrap();
    assert_eq!(others, []);
    let error = store.lease(id, holder(2), Duration::MAX).await.unwrap_err();
    assert!(
        matches!(error.kind(), StoreErrorKind::Held { .. }),
        "{error:?}"
    );
    let released = save_under(&*store, claimed, LeaseChange::Release).await;
    released.unwrap();
    let taken = store.lease(id, holder(2), Duration::MAX).await.unwrap();
    store.release(&taken.lease).await.unwrap();
    let consumer = "for-ever".parse().unwrap();
    let leads = store.lead(&consumer, holder(1), Duration::MAX).await;
    assert!(leads.unwrap());
    let other = store.lead(&consumer, holder(2), Duration::MAX).await;
    assert!(!other.unwrap());
}

/// The connection can be claimed at once, and the lease is worth nothing.
pub async fn a_released_lease_is_over(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    due(fixture, &*store, 1, 0).await;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    let released = &claims[0];

    store.release(&released.lease).await.unwrap();

    let error = refused(save_under(&*store, released, LeaseChange::Release).await);
    assert_eq!(error, StoreErrorKind::LeaseLost);
    let error = refused(store.renew(&released.lease, seconds(60)).await);
    assert_eq!(error, StoreErrorKind::LeaseLost);
    let claims = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert!(
        claims[0].lease.fence > released.lease.fence,
        "{:?}",
        claims[0]
    );
    // Giving back what was lost is no error.
    store.release(&released.lease).await.unwrap();
}

/// In the same write.
pub async fn a_save_extends_or_releases_its_lease(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    due(fixture, &*store, 1, 0).await;
    let mut claimed = store.claim_due(holder(1), 1, seconds(60)).await.unwrap()[0].clone();
    fixture.pass(seconds(45)).await;
    claimed.stored = save_under(&*store, &claimed, LeaseChange::Extend(seconds(60)))
        .await
        .unwrap();
    fixture.pass(seconds(45)).await;
    let others = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert_eq!(others, [], "the save did not extend the lease");

    claimed.stored = save_under(&*store, &claimed, LeaseChange::Release)
        .await
        .unwrap();

    let others = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert_eq!(others.len(), 1, "the save did not release the lease");
    assert_eq!(others[0].stored, claimed.stored);
}

/// Due or not, by name of the connection or from the queue.
pub async fn one_lease_of_a_connection_at_a_time(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let stored = due(fixture, &*store, 1, -3_600).await;
    let id = stored.connection.id;
    let before = fixture.now().await;

    let first = store.lease(id, holder(1), seconds(60)).await.unwrap();

    assert_eq!(first.stored, stored);
    let after = fixture.now().await;
    for n in 1..=2 {
        match refused(store.lease(id, holder(n), seconds(60)).await) {
            StoreErrorKind::Held { until } => {
                // A store may keep whole microseconds.
                let rounding = TimeDelta::microseconds(1);
                let minute = TimeDelta::seconds(60);
                assert!(before + minute - rounding <= until, "{until}");
                assert!(until <= after + minute + rounding, "{until}");
            }
            other => panic!("{other:?}"),
        }
    }
    fixture.pass(seconds(61)).await;
    let second = store.lease(id, holder(2), seconds(60)).await.unwrap();
    assert!(second.lease.fence > first.lease.fence, "{second:?}");
    let error = refused(save_under(&*store, &first, LeaseChange::Release).await);
    assert_eq!(error, StoreErrorKind::LeaseLost);
}

/// A clock that was set back does not make a lease last longer.
pub async fn a_lease_from_the_future_is_over(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    fixture.pass(seconds(86_400)).await;
    let claimable = due(fixture, &*store, 1, 86_400 + 60).await;
    let leasable = due(fixture, &*store, 2, -86_400).await.connection.id;
    let claims = store.claim_due(holder(1), 10, seconds(60)).await.unwrap();
    assert_eq!(claims[0].stored, claimable);
    store.lease(leasable, holder(1), seconds(60)).await.unwrap();

    fixture.set_back(seconds(86_400)).await;

    let again = store.claim_due(holder(2), 10, seconds(60)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].lease.fence > claims[0].lease.fence, "{again:?}");
    let error = refused(save_under(&*store, &claims[0], LeaseChange::Release).await);
    assert_eq!(error, StoreErrorKind::LeaseLost);
    store.lease(leasable, holder(2), seconds(60)).await.unwrap();
    // The leases of now are good.
    let others = store.claim_due(holder(3), 10, seconds(60)).await.unwrap();
    assert_eq!(others, []);
}

/// However many claim at once; and none is left over.
pub async fn claimers_never_share_a_connection(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    for n in 0..60 {
        due(fixture, &*store, n, i64::try_from(n % 7).unwrap()).await;
    }

    let claimers = (0..8).map(|n| {
        let store = store.clone();
        async move {
            let mut mine = Vec::new();
            // A claim that found little only says that others were at it.
            while mine.len() < 60 {
                let claims = store.claim_due(holder(n), 7, seconds(600)).await.unwrap();
                if claims.is_empty() {
                    break;
                }
                mine.extend(claims);
            }
            mine
        }
    });
    let claims: Vec<Claimed> = join_all(claimers).await.into_iter().flatten().collect();
    let rest = store.claim_due(holder(9), 60, seconds(600)).await.unwrap();

    let mut holders = HashMap::new();
    for claimed in claims.iter().chain(&rest) {
        let before = holders.insert(claimed.lease.connection, claimed.lease.holder);
        assert_eq!(before, None, "claimed twice: {claimed:?}");
    }
    assert_eq!(holders.len(), 60);
}

/// Stores a connection that fell due so many seconds ago.
async fn due(
    fixture: &dyn Fixture,
    store: &dyn ConnectionStore,
    n: u64,
    seconds_ago: i64,
) -> Versioned {
    let (connection, entries) = connection(n, &format!("c{n}"));
    let wake_at = fixture.now().await - TimeDelta::seconds(seconds_ago);
    let version = store
        .create(&connection, Some(wake_at), &entries)
        .await
        .unwrap();
    Versioned {
        connection: connection.into(),
        version,
    }
}

async fn save_under(
    store: &dyn ConnectionStore,
    claimed: &Claimed,
    change_lease: LeaseChange,
) -> Result<Versioned, crate::StoreError> {
    let mut connection = Connection::clone(&claimed.stored.connection);
    let entries = [change(&mut connection, "under a lease")];
    let save = Save::new(&connection, claimed.stored.version, &entries)
        .under(&claimed.lease, change_lease);
    let version = store.save(save).await?;
    Ok(Versioned {
        connection: connection.into(),
        version,
    })
}

fn name(claimed: &Claimed) -> String {
    claimed.stored.connection.name.to_string()
}
