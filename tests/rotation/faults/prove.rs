//! Points 9 to 17: from the first proof to the promotion, and the sinks.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, EventKind, IssuerErrorKind, TroubleKind};
use keywheel_rotation::{Health, Status};
use workspace_tests::{Fate, Lag, Rig, secret, settings};

use super::{asked, count, stop};
use crate::verbs::me;
use crate::ways::until;

#[tokio::test(start_paused = true)]
async fn p09_a_secret_that_is_not_known_yet_is_waited_for_and_is_no_failure() {
    let (rig, id) = asked(701).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::minutes(10),
        listed: TimeDelta::minutes(1),
    });

    rig.settle(id, TimeDelta::minutes(9)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Active, 1));
    assert!(status.candidate_key_id.is_some() && status.trouble.is_none());
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p10_a_refusal_after_a_success_starts_the_count_anew() {
    let (rig, id) = asked(702).await;
    let before = rig.effects.count();
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let proofs = async || {
        let connection = rig.load(id).await;
        let rotation = connection.rotation.unwrap();
        rotation.candidate().map(|candidate| candidate.proofs)
    };
    while proofs().await != Some(2) {
        let mut work = rig.rotator().lease(id).await.unwrap();
        rig.rotator().advance(&mut work).await.unwrap();
        rig.pass(TimeDelta::seconds(31)).await;
    }
    rig.directory.fail_next("prove", IssuerErrorKind::Refused);

    rig.settle(id, TimeDelta::hours(3)).await;

    let names = rig.effects.names().split_off(before);
    let proofs = names.iter().filter(|name| **name == "prove").count();
    assert_eq!(
        proofs,
        2 + 1 + 3 + 1,
        "two, the refusal, three, and one before revoking"
    );
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p11_a_proof_is_of_the_candidate_and_of_no_secret_beside_it() {
    let (rig, id) = asked(703).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let candidate = rig.status(id).await.candidate_key_id.unwrap();
    // The current secret would still give tokens.
    rig.directory.remove_secret(candidate);

    rig.settle(id, TimeDelta::minutes(14)).await;

    assert_eq!(rig.status(id).await.generation, 1);
    let events = rig.events(id).await;
    let proved =
        |kind: &EventKind| matches!(kind, EventKind::Proved { key_id, .. } if *key_id == candidate);
    assert_eq!(count(&events, proved), 0);
}

#[tokio::test(start_paused = true)]
async fn p12_a_token_without_permission_promotes_nothing() {
    let (rig, id) = asked(704).await;
    rig.directory.deny("inspect", IssuerErrorKind::Forbidden);

    rig.settle(id, TimeDelta::hours(2)).await;

    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (1, Health::Halted));
    let kind = status.trouble.unwrap().kind;
    assert_eq!(kind, TroubleKind::PermissionMissing);
    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

/// Refused once, as a new secret is while not all replicas know it, and accepted since: whatever keeps the
/// read from being made, the secret is good, and another one would do no better.
#[tokio::test(start_paused = true)]
async fn p12_a_candidate_that_is_accepted_is_kept_however_long_its_read_fails() {
    let rig = Rig::new(716);
    let mut once = settings();
    once.proofs = 1;
    let own = rig.rotating(once.clone()).await;
    let managed = rig.create_managed(own, once).await;
    rig.settle(managed, TimeDelta::hours(1)).await;
    for id in [own, managed] {
        rig.request(id, Cause::Manual).await;
        until(&rig, id, |status| status.candidate_key_id.is_some()).await;
        let candidate = rig.status(id).await.candidate_key_id;
        rig.directory.fail_next("prove", IssuerErrorKind::Refused);
        rig.directory
            .deny("inspect", IssuerErrorKind::ApplicationUnusable);

        rig.settle(id, TimeDelta::hours(5)).await;

        let status = rig.status(id).await;
        assert_eq!(status.candidate_key_id, candidate);
        let trouble = status.trouble.unwrap();
        assert_eq!(
            (trouble.step.as_str(), trouble.kind),
            ("prove", TroubleKind::ApplicationUnusable)
        );
        rig.directory.allow_all();
        rig.settle(id, TimeDelta::hours(3)).await;
        assert_eq!(rig.status(id).await.key_id, candidate);
    }
    rig.assert_clean(managed, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p13_a_crash_between_the_last_proof_and_the_promotion_proves_again() {
    let (rig, id) = asked(705).await;

    stop(&rig, id, "inspect", Fate::StopAfter).await;

    assert_eq!(rig.status(id).await.generation, 1);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p14_the_promotion_is_seen_by_every_reader_and_no_older_record_comes_back() {
    let (rig, id) = asked(706).await;
    let stale = rig.store_version(id).await;
    until(&rig, id, |status| status.generation == 2).await;

    let read = rig.connections().secrets(id).await.unwrap();
    assert_eq!(read.generation, 2);
    assert!(
        rig.directory.holds(read.previous.unwrap().expose()),
        "who has not read yet is served"
    );
    let error = rig.save_as_it_was(stale).await.unwrap_err();
    assert_eq!(error.kind(), keywheel_connection::StoreErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn p15_a_consumer_elsewhere_has_the_grace_to_follow() {
    let (rig, id) = asked(707).await;
    let before = rig.directory.text(rig.status(id).await.key_id.unwrap());
    until(&rig, id, |status| status.generation == 2).await;

    rig.run(id, TimeDelta::minutes(59)).await;
    assert!(rig.directory.holds(&before));
    rig.run(id, TimeDelta::minutes(2)).await;
    assert!(!rig.directory.holds(&before));
}

#[tokio::test(start_paused = true)]
async fn p16_a_sink_that_must_have_it_holds_up_the_promotion_and_one_that_follows_does_not() {
    let (rig, before, after) = Rig::new(708).with_sinks();
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    before.set_broken(true);
    after.set_broken(true);

    rig.settle(id, TimeDelta::hours(5)).await;
    let status = rig.status(id).await;
    assert_eq!(status.generation, 1);
    assert!(status.trouble.unwrap().message.contains("before"));

    before.set_broken(false);
    rig.settle(id, TimeDelta::hours(5)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.status(id).await.drift, ["after"]);

    after.set_broken(false);
    rig.run(id, TimeDelta::hours(5)).await;
    assert_eq!(rig.status(id).await.drift, [""; 0]);
    let current = rig.directory.text(rig.status(id).await.key_id.unwrap());
    assert_eq!(
        [before.holds(), after.holds()],
        [Some(current.clone()), Some(current)]
    );
}

#[tokio::test(start_paused = true)]
async fn p17_what_a_sink_holds_works_when_the_rotation_is_given_up() {
    let (rig, before, _) = Rig::new(709).with_sinks();
    let id = published(&rig, Fate::StopAfter).await;
    let held = || before.holds().unwrap();
    let (candidate, current) = (held(), rig.status(id).await.key_id.unwrap());
    assert_ne!(candidate, rig.directory.text(current));

    rig.connections().abort(id, &me()).await.unwrap();

    // The sink gets the current secret again; until then, and for a grace after, the other one works.
    for _ in 0..200 {
        assert!(rig.directory.holds(&held()));
        rig.run(id, TimeDelta::minutes(1)).await;
    }
    rig.assert_clean(id, 1).await;
    assert_eq!(held(), rig.directory.text(current));
    assert!(!rig.directory.holds(&candidate));
}

/// The same without a grace, and the sink is away meanwhile.
#[tokio::test(start_paused = true)]
async fn p17_what_a_sink_holds_works_until_it_has_another_one_without_a_grace_too() {
    let (rig, before, _) = Rig::new(719).with_sinks();
    let id = rig.rotating(Rig::quick()).await;
    rig.request(id, Cause::Manual).await;
    stopped_when_published(&rig, id, Fate::StopAfter).await;
    let candidate = before.holds().unwrap();
    before.set_broken(true);

    rig.connections().abort(id, &me()).await.unwrap();

    rig.run(id, TimeDelta::hours(3)).await;
    assert_eq!(before.holds(), Some(candidate.clone()));
    assert!(rig.directory.holds(&candidate));
    before.set_broken(false);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 1).await;
    assert!(!rig.directory.holds(&candidate));
}

/// The same, but an administrator removes it, and nothing is minted in its place.
#[tokio::test(start_paused = true)]
async fn p17_what_a_sink_holds_works_when_a_supplied_secret_is_removed() {
    let (rig, before, _) = Rig::new(718).with_sinks();
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    let given = rig.directory.add_secret("by hand");
    let connections = rig.connections();
    let (text, key_id) = (secret(&given.text), Some(given.key_id));
    connections
        .supply_secret(id, &text, key_id, &me())
        .await
        .unwrap();
    stopped_when_published(&rig, id, Fate::StopAfter).await;
    assert_eq!(before.holds(), Some(given.text.clone()));
    rig.directory.remove_secret(given.key_id);

    rig.run(id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    assert_eq!((status.candidate_key_id, status.generation), (None, 1));
    let current = rig.directory.text(status.key_id.unwrap());
    assert_eq!(before.holds(), Some(current));
}

/// The same, and the promotion comes after all: whoever goes on publishes it again and uses it.
#[tokio::test(start_paused = true)]
async fn p17_what_was_published_without_an_answer_is_published_again_and_used() {
    for fate in [Fate::StopAfter, Fate::AnswerLost] {
        let (rig, before, _) = Rig::new(717).with_sinks();
        let id = published(&rig, fate).await;
        let candidate = before.holds().unwrap();
        assert!(rig.directory.holds(&candidate));

        rig.settle(id, TimeDelta::hours(3)).await;

        rig.assert_clean(id, 2).await;
        assert_eq!(before.given().last(), Some(&(2, candidate)), "{fate:?}");
    }
}

/// The sink that must have the new secret has it, and nothing in the record says so.
async fn published(rig: &Rig, fate: Fate) -> ConnectionId {
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    stopped_when_published(rig, id, fate).await;
    id
}

async fn stopped_when_published(rig: &Rig, id: ConnectionId, fate: Fate) {
    // The other sink may still be getting the secret before.
    let alone = |status: &Status| status.candidate_key_id.is_some() && status.drift.is_empty();
    until(rig, id, alone).await;
    rig.effects.plan_named("publish", fate);
    let driven = rig.effects.run(rig.settle(id, TimeDelta::minutes(1))).await;
    assert_eq!(driven.is_err(), fate == Fate::StopAfter);
}
