//! Creating connections, and beginning and ending their rotation.

use chrono::TimeDelta;
use keywheel_connection::{
    Actor, Cause, ConnectionStore, EventKind, IssuerErrorKind, Mode, StoreErrorKind,
};
use keywheel_core::Clock;
use keywheel_rotation::{ConnectionErrorKind, Health, NewConnection};
use uuid::Uuid;
use workspace_tests::{Rig, ours, secret, settings};

use super::me;

#[tokio::test(start_paused = true)]
async fn creating_with_rotation_revokes_the_original_at_once() {
    let rig = Rig::new(101);

    let id = rig.create(settings()).await;

    let status = rig.status(id).await;
    assert!(status.requested.is_some());
    assert_eq!(status.wake_at, Some(rig.clock.now()));
    rig.settle(id, TimeDelta::minutes(5)).await;
    rig.assert_clean(id, 1).await;
    assert!(!rig.directory.has(rig.original.key_id));
    let last = rig.status(id).await.last.unwrap();
    assert_eq!(
        (last.id, last.cause),
        (status.requested.unwrap(), Cause::Initial)
    );
}

#[tokio::test(start_paused = true)]
async fn creating_without_rotation_changes_nothing_and_watches_the_end() {
    let rig = Rig::new(102);
    let created = rig.connections().create(rig.new_connection(), &me()).await;
    let id = created.unwrap().connection.id;
    let end = rig.status(id).await.end.unwrap();

    rig.run(id, end - rig.clock.now()).await;

    let reminded = rig.events(id).await.into_iter();
    let reminded: Vec<_> = reminded
        .filter_map(|event| match event.kind {
            EventKind::Expiring { key_id, days, .. } => Some((key_id, days)),
            _ => None,
        })
        .collect();
    let key_id = Some(rig.original.key_id);
    assert_eq!(reminded, [60, 30, 14, 7, 3, 1].map(|days| (key_id, days)));
    assert_eq!(rig.directory.mint_calls(), []);
    let error = rig.connections().rotate_now(id, Cause::Manual, &me()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
    assert!(error.to_string().contains("enable its rotation"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn creating_without_rotation_needs_no_permission_to_read() {
    for kind in [IssuerErrorKind::Forbidden, IssuerErrorKind::Busy] {
        let rig = Rig::new(112);
        rig.directory.deny("inspect", kind);

        let created = rig.connections().create(rig.new_connection(), &me()).await;

        let id = created.unwrap().connection.id;
        let status = rig.status(id).await;
        assert_eq!((status.end, status.health), (None, Health::Active));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_stores_nothing() {
    let rig = Rig::new(103);
    let mut new = rig.new_connection().rotating(settings());
    new.secret = secret("abc8Q~not-a-secret-of-this-application");

    let error = rig.connections().create(new, &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::Denied);
    assert!(!error.is_transient());
    assert_eq!(rig.effects.names(), ["prove"]);
}

/// It is needed for every rotation to come.
#[tokio::test(start_paused = true)]
async fn creating_with_rotation_needs_permission_to_read_and_stores_nothing_without() {
    let rig = Rig::new(113);
    rig.directory.deny("inspect", IssuerErrorKind::Forbidden);
    let new = rig.new_connection().rotating(settings());
    let (namespace, name) = (new.namespace.clone(), new.name.clone());

    let error = rig.connections().create(new, &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::Denied);
    assert_eq!(rig.effects.names(), ["prove", "inspect"]);
    let stored = rig.store.find(&namespace, &name).await.unwrap();
    assert!(stored.is_none(), "{stored:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_refused_before_anything_is_tried() {
    let rig = Rig::new(104);
    rig.create(settings()).await;
    let before = rig.effects.count();

    let again = rig.new_connection().rotating(settings());
    let error = rig.connections().create(again, &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
    assert_eq!(rig.effects.count(), before);
}

#[tokio::test(start_paused = true)]
async fn an_application_for_two_secrets_rotates_one_plus_one_or_is_refused() {
    let rig = Rig::new(105);
    rig.directory.set_limit(Some(2));

    let full = rig.new_connection().rotating(settings());
    let error = rig.connections().create(full, &me()).await.unwrap_err();
    assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
    let key_id = rig.foreign.key_id.to_string();
    assert!(error.to_string().contains(&key_id), "{error}");

    rig.directory.remove_secret(rig.foreign.key_id);
    let fits = rig.new_connection().rotating(settings());
    let id = rig.connections().create(fits, &me()).await.unwrap();
    let id = id.connection.id;
    rig.watch.begin(id, []);
    assert_eq!(rig.settle(id, TimeDelta::hours(4)).await, None);
    rig.request(id, Cause::Manual).await;
    assert_eq!(rig.settle(id, TimeDelta::hours(4)).await, None);
    let connection = rig.load(id).await;
    let mode = connection.rotation.unwrap().settings.mode;
    assert_eq!((mode, rig.directory.live().len()), (Mode::OnePlusOne, 1));
}

#[tokio::test(start_paused = true)]
async fn enabling_for_the_first_time_is_an_enrolment() {
    let rig = Rig::new(106);
    let mut new = rig.new_connection();
    new.key_id = None;
    let id = rig.connections().create(new, &me()).await.unwrap();
    let id = id.connection.id;
    let enable = rig.connections().enable(id, settings(), None, &me()).await;
    enable.unwrap();
    rig.watch.begin(id, [rig.foreign.key_id]);

    // The key id was found by the secret's first characters.
    let current = rig.load(id).await.secrets().unwrap().current.clone();
    assert_eq!(current.key_id, Some(rig.original.key_id));
    assert_eq!(rig.settle(id, TimeDelta::minutes(5)).await, None);
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn enabling_is_refused_when_the_key_id_is_not_the_secrets() {
    let rig = Rig::new(107);
    let id = rig.connections().create(rig.new_connection(), &me()).await;
    let id = id.unwrap().connection.id;
    for wrong in [rig.foreign.key_id, Uuid::from_u128(99).into()] {
        let enable = rig
            .connections()
            .enable(id, settings(), Some(wrong), &me())
            .await;
        let error = enable.unwrap_err();
        assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
        assert!(error.to_string().starts_with("key id: "), "{error}");
    }
    assert!(rig.load(id).await.rotation.is_none());
}

#[tokio::test(start_paused = true)]
async fn disabling_says_when_the_secret_ends_and_events_count_down() {
    let rig = Rig::new(108);
    let id = rig.rotating(settings()).await;
    let status = rig.status(id).await;

    let disabled = rig.connections().disable(id, &me()).await.unwrap();

    assert_eq!(
        (disabled.key_id, disabled.ends),
        (status.key_id, status.end)
    );
    let end = status.end.unwrap();
    rig.watch.end();
    rig.run(id, end - rig.clock.now() + TimeDelta::days(1))
        .await;
    assert_eq!(rig.directory.mint_calls().len(), 1);
    let events = rig.events(id).await;
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Expiring { days, .. } => Some((days, end - event.at)),
            _ => None,
        })
        .collect();
    let wanted = [60, 30, 14, 7, 3, 1].map(|days: u16| (days, TimeDelta::days(days.into())));
    assert_eq!(told, wanted);
    assert_eq!(rig.status(id).await.health, Health::Expiring);
}

#[tokio::test(start_paused = true)]
async fn enabling_again_catches_up_once() {
    let rig = Rig::new(109);
    let id = rig.rotating(Rig::quick()).await;
    rig.connections().disable(id, &me()).await.unwrap();
    rig.run(id, TimeDelta::days(80)).await;

    let enable = rig
        .connections()
        .enable(id, Rig::quick(), None, &me())
        .await;
    enable.unwrap();

    rig.run(id, TimeDelta::hours(1)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn creating_names_who_did_it_and_the_engine_names_itself() {
    let rig = Rig::new(110);
    let id = rig.rotating(settings()).await;

    let events = rig.events(id).await;

    assert_eq!(events[0].actor, Actor::named("test"));
    assert_eq!(events[1].actor, Actor::named("test"));
    assert!(
        events[2..]
            .iter()
            .all(|event| event.actor == Actor::engine())
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_no_verdict_on_the_secret() {
    for kind in [IssuerErrorKind::Unavailable, IssuerErrorKind::Throttled] {
        let rig = Rig::new(111);
        rig.directory.fail_next("prove", kind);
        let error = rig.connections().create(rig.new_connection(), &me()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ConnectionErrorKind::Unavailable);
        assert!(error.is_transient());
    }
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_application_do_not_know_each_other() {
    let rig = Rig::new(112);
    let first = rig.rotating(settings()).await;
    let given = rig.directory.add_secret("for a second connection");
    let second = NewConnection::client_secret(
        "second".parse().unwrap(),
        "contoso.example".parse().unwrap(),
        ours(),
        secret(&given.text),
    );
    let second = rig
        .connections()
        .create(second.rotating(settings()), &me())
        .await
        .unwrap();
    let kept = rig.status(first).await.key_id.unwrap();

    rig.settle(second.connection.id, TimeDelta::hours(1)).await;

    assert!(rig.directory.has(kept));
    assert!(!rig.directory.has(given.key_id));
    rig.assert_clean(first, 1).await;
    let gone = rig.store.tombstone(first).await.unwrap();
    assert_eq!(gone, None);
    let unknown = rig.connections().status(Uuid::from_u128(1).into()).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.kind(), ConnectionErrorKind::Store);
    assert!(
        unknown.to_string().contains("no such connection"),
        "{unknown}"
    );
    let _ = StoreErrorKind::NotFound;
}
