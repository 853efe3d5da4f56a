//! The secrets of another application, managed by certificate, in an emulated tenant.

use chrono::TimeDelta;
use keywheel::connection::{Cause, Connection, ConnectionId, ConnectionStore};
use keywheel::core::Clock;
use keywheel::rotation::{Connections, NewManaged, Rotator, Status};
use workspace_tests::settings;

use crate::calls::parts;
use crate::certificates::{MANAGED, OLD, OWNED_BY, Place};
use crate::verbs::me;

/// Drives until the secret of `generation` is all there is.
async fn settle(place: &Place, rotator: &Rotator, id: ConnectionId, generation: u64) {
    let rig = &place.rig;
    let deadline = rig.clock.now() + TimeDelta::hours(3);
    let settled = |connection: &Connection| {
        let status = Status::of(connection, rig.clock.now(), &rig.policy);
        status.is_settled() && status.generation == generation
    };
    let driven = Box::pin(rotator.drive(id, deadline, settled)).await;
    assert_eq!(driven.unwrap(), None, "{:#?}", rig.status(id).await);
}

#[tokio::test(start_paused = true)]
async fn a_connection_by_certificate_manages_the_secrets_of_another_application() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let via = place.enrol("managing").await;
    let (parts, policy) = (parts(&place), place.rig.policy.clone());
    let connections = Connections::new(parts.clone(), policy.clone());
    let rotator = Rotator::new(parts, policy);
    let client = MANAGED.parse().unwrap();
    let new = NewManaged::new("managed".parse().unwrap(), via, client, settings());

    let created = connections.create_managed(new, &me()).await;

    let id = created.unwrap().connection.id;
    settle(&place, &rotator, id, 1).await;
    // And by the next certificate, once the one before is removed.
    place.job(via).await.unwrap();
    let requested = connections.rotate_now(id, Cause::Manual, &me()).await;
    requested.unwrap();
    settle(&place, &rotator, id, 2).await;
    let journal = place.rig.store.journal(id, 0, u32::MAX).await.unwrap();
    assert!(journal.iter().all(|entry| !entry.body.contains("PRIVATE")));
}
