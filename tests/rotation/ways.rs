//! The ways in which a connection's secret changes, each up to the point from which the engine goes on by
//! itself.

use std::pin::Pin;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, ConnectionId, ConnectionStore, Mode, RotationSettings, Seconds,
};
use keywheel_core::{Clock, Cloud};
use keywheel_rotation::{Farewell, Rotator, Status};
use workspace_tests::{Fate, Rig, Stopped, ours, secret, settings};

pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) begin:
        for<'a> fn(&'a Rig) -> Pin<Box<dyn Future<Output = ConnectionId> + Send + 'a>>,
    /// The generation at the end; `None` when the connection is gone.
    pub(crate) generation: Option<u64>,
}

macro_rules! ways {
    ($($name:literal, $function:ident, $generation:expr;)+) => {
        pub(crate) const WAYS: &[Way] = &[$(Way {
            name: $name,
            begin: |rig| Box::pin($function(rig)),
            generation: $generation,
        }),+];
    };
}

ways! {
    "initial", initial, Some(1);
    "with grace", with_grace, Some(2);
    "emergency", emergency, Some(2);
    "emergency in grace", emergency_in_grace, Some(3);
    "one proof", one_proof, Some(2);
    "one plus one", one_plus_one, Some(2);
    "supplied", supplied, Some(2);
    "supplied in grace", supplied_in_grace, Some(3);
    "rolled back", rolled_back, Some(3);
    "aborted", aborted, Some(1);
    "aborted after publish", aborted_after_publish, Some(1);
    "new credential", new_credential, Some(3);
    "managed", managed, Some(1);
    "managed again", managed_again, Some(2);
    "repair", repair, Some(3);
    "deleted", deleted, None;
    "deleted in grace", deleted_in_grace, None;
    "deleted while proving", deleted_while_proving, None;
}

fn me() -> Actor {
    Actor::named("test")
}

async fn initial(rig: &Rig) -> ConnectionId {
    rig.create(settings()).await
}

async fn asked(rig: &Rig, settings: RotationSettings, cause: Cause) -> ConnectionId {
    let id = rig.rotating(settings).await;
    rig.request(id, cause).await;
    id
}

async fn with_grace(rig: &Rig) -> ConnectionId {
    asked(rig, settings(), Cause::Manual).await
}

async fn emergency(rig: &Rig) -> ConnectionId {
    asked(rig, settings(), Cause::Emergency).await
}

/// Up to the grace of the replaced secret.
async fn in_grace(rig: &Rig) -> ConnectionId {
    let id = with_grace(rig).await;
    until(rig, id, |status| status.generation == 2).await;
    id
}

async fn emergency_in_grace(rig: &Rig) -> ConnectionId {
    let id = in_grace(rig).await;
    rig.request(id, Cause::Emergency).await;
    id
}

async fn one_proof(rig: &Rig) -> ConnectionId {
    let mut single = settings();
    single.proofs = 1;
    single.grace = Seconds(0);
    asked(rig, single, Cause::Manual).await
}

async fn one_plus_one(rig: &Rig) -> ConnectionId {
    let mut limited = settings();
    limited.mode = Mode::OnePlusOne;
    let id = rig.rotating(limited).await;
    rig.directory.set_limit(Some(3));
    rig.request(id, Cause::Manual).await;
    id
}

async fn supply(rig: &Rig, id: ConnectionId) {
    let given = rig.directory.add_secret("by hand");
    let supplied = rig
        .connections()
        .supply_secret(id, &secret(&given.text), Some(given.key_id), &me())
        .await;
    supplied.unwrap();
}

async fn supplied(rig: &Rig) -> ConnectionId {
    let id = rig.rotating(settings()).await;
    supply(rig, id).await;
    id
}

async fn supplied_in_grace(rig: &Rig) -> ConnectionId {
    let id = in_grace(rig).await;
    supply(rig, id).await;
    id
}

async fn rolled_back(rig: &Rig) -> ConnectionId {
    let id = in_grace(rig).await;
    rig.connections().roll_back(id, &me()).await.unwrap();
    id
}

/// Up to the first proof of the candidate.
async fn proving(rig: &Rig) -> ConnectionId {
    let id = with_grace(rig).await;
    until(rig, id, |status| status.candidate_key_id.is_some()).await;
    id
}

async fn aborted(rig: &Rig) -> ConnectionId {
    let id = proving(rig).await;
    rig.connections().abort(id, &me()).await.unwrap();
    id
}

/// Up to the moment when a sink has the new secret, and nothing in the record says so.
async fn aborted_after_publish(rig: &Rig) -> ConnectionId {
    let id = with_grace(rig).await;
    // The other sink may still be getting the secret before.
    let alone = |status: &Status| status.candidate_key_id.is_some() && status.drift.is_empty();
    until(rig, id, alone).await;
    rig.effects.plan_named("publish", Fate::StopAfter);
    let stopped = rig.effects.run(rig.settle(id, TimeDelta::hours(1))).await;
    assert_eq!(stopped, Err(Stopped));
    // The lease of who stopped ends.
    rig.pass(TimeDelta::seconds(31)).await;
    rig.connections().abort(id, &me()).await.unwrap();
    id
}

async fn new_credential(rig: &Rig) -> ConnectionId {
    let id = rig.rotating(settings()).await;
    let given = rig.directory.add_secret("another");
    let place = (Cloud::default(), "contoso.example".parse().unwrap(), ours());
    let changed = rig
        .connections()
        .change_credential(id, place, &secret(&given.text), Some(given.key_id), &me())
        .await;
    assert_eq!(changed.unwrap(), []);
    id
}

async fn managed(rig: &Rig) -> ConnectionId {
    let via = rig.rotating(settings()).await;
    rig.create_managed(via, settings()).await
}

async fn managed_again(rig: &Rig) -> ConnectionId {
    let id = managed(rig).await;
    assert_eq!(rig.settle(id, TimeDelta::hours(4)).await, None);
    rig.request(id, Cause::Manual).await;
    id
}

/// Somebody removes the current secret while the one before is in its grace.
async fn repair(rig: &Rig) -> ConnectionId {
    let id = in_grace(rig).await;
    let current = rig.status(id).await.key_id.unwrap();
    rig.watch.expect_broken(2);
    rig.directory.remove_secret(current);
    id
}

async fn delete(rig: &Rig, id: ConnectionId) {
    let left = rig.connections().delete(id, Farewell::Revoke, &me()).await;
    assert_eq!(left.unwrap(), []);
}

async fn deleted(rig: &Rig) -> ConnectionId {
    let id = rig.rotating(settings()).await;
    delete(rig, id).await;
    id
}

async fn deleted_in_grace(rig: &Rig) -> ConnectionId {
    let id = in_grace(rig).await;
    delete(rig, id).await;
    id
}

async fn deleted_while_proving(rig: &Rig) -> ConnectionId {
    let id = proving(rig).await;
    delete(rig, id).await;
    id
}

/// Two processes drive one connection at the same time.
pub(crate) async fn both_drive(rotators: [&Rotator; 2], id: ConnectionId, until: DateTime<Utc>) {
    let [one, two] = rotators.map(|rotator| Box::pin(rotator.drive(id, until, |_| false)));
    let (a, b) = tokio::join!(one, two);
    a.unwrap();
    b.unwrap();
}

/// Drives until the status says so, in a process that stops there.
pub(crate) async fn until(
    rig: &Rig,
    id: ConnectionId,
    done: impl Fn(&Status) -> bool + Send + Sync,
) {
    let rotator = rig.rotator();
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    let at = |connection: &keywheel_connection::Connection| {
        done(&Status::of(connection, rig.clock.now(), &rig.policy))
    };
    let driven = Box::pin(rotator.drive(id, deadline, at)).await;
    assert_eq!(driven.unwrap(), None);
    assert!(rig.store.load(id).await.unwrap().is_some());
}
