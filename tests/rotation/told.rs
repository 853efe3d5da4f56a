//! What the journal says of what people did, and of troubles that are over.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, EventKind, IssuerErrorKind, Seconds, TroubleKind};
use keywheel_rotation::{Ending, Health};
use keywheel_schedule::Freeze;
use workspace_tests::{Rig, secret, settings};

use crate::verbs::me;

/// The last event that is not of the engine.
async fn last(rig: &Rig, id: ConnectionId) -> EventKind {
    let mut events = rig.events(id).await;
    events.retain(|event| event.actor == me());
    events.pop().unwrap().kind
}

#[tokio::test(start_paused = true)]
async fn each_verb_says_what_it_changed() {
    let rig = Rig::new(991);
    let id = rig.rotating(settings()).await;
    let connections = rig.connections();
    let current = rig.status(id).await;

    connections.pause(id, "an incident", &me()).await.unwrap();
    let reason = "an incident".to_owned();
    assert_eq!(last(&rig, id).await, EventKind::Paused { reason });

    connections.resume(id, &me()).await.unwrap();
    assert_eq!(last(&rig, id).await, EventKind::Resumed { paused: true });

    let freeze = Freeze::new("2026-03-30".parse().unwrap(), "2026-04-10".parse().unwrap());
    let freeze = freeze.unwrap();
    connections.freeze(id, freeze, &me()).await.unwrap();
    let next = rig.status(id).await.next_due;
    assert!(next > current.next_due);
    assert_eq!(last(&rig, id).await, EventKind::Frozen { freeze, next });

    connections.disable(id, &me()).await.unwrap();
    let (key_id, end) = (current.key_id, current.end);
    assert!(end.is_some());
    assert_eq!(last(&rig, id).await, EventKind::Disabled { key_id, end });

    let mut other = settings();
    other.grace = Seconds(60);
    let changed = connections.change_settings(id, other.clone(), &me()).await;
    changed.unwrap();
    let settings = Box::new(other.clone());
    let next = None;
    assert_eq!(
        last(&rig, id).await,
        EventKind::SettingsChanged { settings, next }
    );

    connections
        .enable(id, other.clone(), None, &me())
        .await
        .unwrap();
    let settings = Box::new(other);
    let next = rig.status(id).await.next_due;
    assert!(next.is_some());
    assert_eq!(last(&rig, id).await, EventKind::Enabled { settings, next });
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_and_taken_back_is_told_by_rotation() {
    let rig = Rig::new(992);
    let id = rig.rotating(settings()).await;
    let connections = rig.connections();
    rig.request(id, Cause::Manual).await;
    let rotation = rig.status(id).await.requested.unwrap();

    connections.abort(id, &me()).await.unwrap();
    let key_id = None;
    assert_eq!(
        last(&rig, id).await,
        EventKind::Withdrawn { rotation, key_id }
    );
    let history = connections.history(id).await.unwrap();
    let past = history.rotations.iter().find(|past| past.id == rotation);
    assert_eq!(past.unwrap().ended.unwrap().1, Ending::Aborted);

    let given = rig.directory.add_secret("by hand");
    let text = secret(&given.text);
    let actor = me();
    let supplied = connections.supply_secret(id, &text, Some(given.key_id), &actor);
    let rotation = supplied.await.unwrap().rotation;
    let (cause, generation, key_id) = (Cause::Supplied, 2, given.key_id);
    let told = EventKind::SecretGiven {
        rotation,
        cause,
        generation,
        key_id,
    };
    assert_eq!(last(&rig, id).await, told);

    connections.abort(id, &me()).await.unwrap();
    let key_id = Some(given.key_id);
    assert_eq!(
        last(&rig, id).await,
        EventKind::Withdrawn { rotation, key_id }
    );

    rig.request(id, Cause::Manual).await;
    crate::ways::until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let rotation = rig.status(id).await.run.unwrap().id;
    connections.abort(id, &me()).await.unwrap();
    assert_eq!(last(&rig, id).await, EventKind::AbortRequested { rotation });
}

/// A lock-out too: whoever was called by `rotation.failed` hears that it is over.
#[tokio::test(start_paused = true)]
async fn a_trouble_that_is_over_is_told_once() {
    let rig = Rig::new(993);
    let id = rig.rotating(settings()).await;
    rig.directory.deny("mint", IssuerErrorKind::Forbidden);
    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::hours(3)).await;
    let trouble = rig.status(id).await.trouble.unwrap();
    assert_eq!(trouble.kind, TroubleKind::PermissionMissing);

    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(3)).await;

    assert_eq!(rig.status(id).await.health, Health::Active);
    let events = rig.events(id).await;
    let recovered: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Recovered { .. }))
        .map(|event| event.kind.clone())
        .collect();
    let told = EventKind::Recovered {
        step: "mint".to_owned(),
        kind: trouble.kind,
        since: trouble.since,
        attempts: trouble.attempts,
    };
    assert_eq!(recovered, [told]);
}
