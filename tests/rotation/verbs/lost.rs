//! What people ask for, stopped at every effect or without an answer, and asked for again as the verbs' docs
//! say. The invariants are checked after every effect.

use std::error::Error;

use chrono::TimeDelta;
use keywheel_connection::{
    ConnectionId, ConnectionStore, EventKind, Namespace, StoreError, StoreErrorKind,
};
use keywheel_core::Cloud;
use keywheel_rotation::{ConnectionError, ConnectionErrorKind, Farewell, NewConnection};
use workspace_tests::{Fate, Foreign, Rig, ours, secret, settings};

use super::me;

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_created_at_any_fate_is_there_once_and_rotates() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(301);
            let new = rig.new_connection().rotating(settings());
            let (asked, calls) = met(&rig, (at, fate), create(&rig, new.clone())).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) {
                create(&rig, new).await.or_else(taken).unwrap();
            }

            let id = by_name(&rig).await;
            rig.watch.begin(id, [rig.foreign.key_id]);
            settle(&rig, id, 1, &format!("create, {fate:?} at {at}")).await;
            assert!(!rig.directory.has(rig.original.key_id));
        }
    }
}

/// Whatever becomes of the call, the secret that is in use stays until the engine has put another one into its
/// place.
#[tokio::test(start_paused = true)]
async fn a_live_connection_that_is_enabled_at_any_fate_rotates_once() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(308);
            create(&rig, rig.new_connection()).await.unwrap();
            let id = by_name(&rig).await;
            let live = rig.directory.live();
            let (asked, calls) = met(&rig, (at, fate), enable(&rig, id)).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) {
                enable(&rig, id).await.unwrap();
            }
            assert_eq!(rig.directory.live(), live, "{fate:?} at {at}");

            rig.watch.begin(id, [rig.foreign.key_id]);
            settle(&rig, id, 1, &format!("enable, {fate:?} at {at}")).await;
            assert!(!rig.directory.has(rig.original.key_id));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_supplied_at_any_fate_is_used_once() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(302);
            let id = rig.rotating(settings()).await;
            let given = rig.directory.add_secret("by hand");
            let (asked, calls) = met(&rig, (at, fate), supply(&rig, id, &given)).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) {
                supply(&rig, id, &given).await.or_else(on_its_way).unwrap();
            }

            settle(&rig, id, 2, &format!("supply, {fate:?} at {at}")).await;
            assert_eq!(rig.status(id).await.key_id, Some(given.key_id));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_changed_at_any_fate_is_changed_once() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(303);
            let id = rig.rotating(settings()).await;
            let given = rig.directory.add_secret("another");
            let (asked, calls) = met(&rig, (at, fate), Box::pin(change(&rig, id, &given))).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) && rig.status(id).await.key_id != Some(given.key_id) {
                change(&rig, id, &given).await.unwrap();
            }

            settle(&rig, id, 3, &format!("change, {fate:?} at {at}")).await;
        }
    }
}

/// Which secrets live on is told by the journal too, to whoever got no answer.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_left_at_any_fate_is_gone_once_and_names_what_lives_on() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(305);
            let id = rig.rotating(settings()).await;
            let current = rig.status(id).await.key_id.unwrap();
            let (asked, calls) = met(&rig, (at, fate), delete(&rig, id, Farewell::Leave)).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) {
                let again = delete(&rig, id, Farewell::Leave).await;
                again.or_else(gone).unwrap();
            }

            assert!(rig.store.load(id).await.unwrap().is_none());
            rig.watch.check();
            assert!(rig.directory.has(current), "{fate:?} at {at}");
            let events = rig.events(id).await.into_iter().map(|event| event.kind);
            let left: Vec<_> = events
                .filter_map(|kind| match kind {
                    EventKind::ConnectionDeleted { left, .. } => Some(left),
                    _ => None,
                })
                .collect();
            assert_eq!(left, [vec![current]], "{fate:?} at {at}");
            let again = delete(&rig, id, Farewell::Leave).await.unwrap_err();
            assert!(!again.is_transient(), "{again}");
        }
    }
}

/// The answer of Graph is lost after the store's.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_secrets_are_revoked_at_any_fate_is_gone_with_them() {
    for fate in Fate::ALL {
        for at in 0.. {
            let rig = Rig::new(306);
            let id = rig.rotating(settings()).await;
            let (asked, calls) = met(&rig, (at, fate), delete(&rig, id, Farewell::Revoke)).await;
            if calls <= at {
                break;
            }
            if asked != Some(true) {
                delete(&rig, id, Farewell::Revoke).await.unwrap();
            }

            for lost in [Fate::AnswerLost, Fate::StopAfter] {
                rig.effects.plan_named("remove", lost);
                let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(3))).await;
                rig.effects.forgive();
            }
            rig.settle(id, TimeDelta::hours(30)).await;
            rig.assert_deleted(id, &format!("{fate:?} at {at}")).await;
        }
    }
}

/// Whoever holds on to what was validated may store it as often as they like.
#[tokio::test(start_paused = true)]
async fn what_was_validated_is_stored_once_however_often_it_is_asked_for() {
    let rig = Rig::new(304);
    let new = rig.new_connection().rotating(settings());
    let validated = rig.connections().validate(&new, &me()).await.unwrap();
    rig.effects.plan_named("create", Fate::StopAfter);
    let connections = rig.connections();
    let stopped = connections.create_validated(validated.clone());
    assert!(rig.effects.run(stopped).await.is_err());

    let stored = connections.create_validated(validated.clone()).await;

    let stored = stored.unwrap().connection;
    assert_eq!(stored.id, validated.connection().id);
    let other = rig.connections().create(new, &me()).await.unwrap_err();
    assert_eq!(other.kind(), ConnectionErrorKind::Invalid);
}

/// Runs a request whose n-th effect meets its fate: whether it succeeded, if its process lived on, and how
/// many effects there were.
async fn met(
    rig: &Rig,
    (at, fate): (usize, Fate),
    asked: impl Future<Output = Result<(), ConnectionError>> + Send,
) -> (Option<bool>, usize) {
    let before = rig.effects.count();
    rig.effects.plan(at, fate);
    let asked = rig.effects.run(asked).await.ok();
    rig.effects.forgive();
    if let Some(Err(error)) = &asked {
        assert!(error.is_transient(), "{fate:?} at {at}: {error}");
    }
    (
        asked.map(|asked| asked.is_ok()),
        rig.effects.count() - before,
    )
}

async fn create(rig: &Rig, new: NewConnection) -> Result<(), ConnectionError> {
    rig.connections().create(new, &me()).await.map(drop)
}

async fn enable(rig: &Rig, id: ConnectionId) -> Result<(), ConnectionError> {
    let connections = rig.connections();
    let actor = me();
    connections.enable(id, settings(), None, &actor).await
}

async fn supply(rig: &Rig, id: ConnectionId, given: &Foreign) -> Result<(), ConnectionError> {
    let connections = rig.connections();
    let (text, actor) = (secret(&given.text), me());
    let supplied = connections.supply_secret(id, &text, Some(given.key_id), &actor);
    supplied.await.map(drop)
}

async fn change(rig: &Rig, id: ConnectionId, given: &Foreign) -> Result<(), ConnectionError> {
    let place = (Cloud::default(), "contoso.example".parse().unwrap(), ours());
    let connections = rig.connections();
    let (text, actor) = (secret(&given.text), me());
    let changed = connections.change_credential(id, place, &text, Some(given.key_id), &actor);
    changed.await.map(drop)
}

async fn delete(rig: &Rig, id: ConnectionId, farewell: Farewell) -> Result<(), ConnectionError> {
    let left = rig.connections().delete(id, farewell, &me()).await;
    left.map(drop)
}

/// That the connection is not there says that it was deleted.
fn gone(error: ConnectionError) -> Result<(), ConnectionError> {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<StoreError>());
    let gone = source.is_some_and(|error| error.kind() == StoreErrorKind::NotFound);
    if gone { Ok(()) } else { Err(error) }
}

fn taken(error: ConnectionError) -> Result<(), ConnectionError> {
    let taken = error.kind() == ConnectionErrorKind::Invalid;
    if taken { Ok(()) } else { Err(error) }
}

fn on_its_way(error: ConnectionError) -> Result<(), ConnectionError> {
    let on_its_way = error.kind() == ConnectionErrorKind::State;
    if on_its_way { Ok(()) } else { Err(error) }
}

async fn by_name(rig: &Rig) -> ConnectionId {
    let name = "test".parse().unwrap();
    let stored = rig.store.find(&Namespace::default(), &name).await.unwrap();
    stored.unwrap().connection.id
}

async fn settle(rig: &Rig, id: ConnectionId, generation: u64, what: &str) {
    let left = rig.settle(id, TimeDelta::hours(30)).await;
    assert_eq!(left, None, "{what}: {:#?}", rig.status(id).await);
    rig.assert_clean(id, generation).await;
}
