//! Points 9 to 17: from the first proof to the promotion, and the sinks.

use chrono::TimeDelta;
use keywheel_connection::{EventKind, IssuerErrorKind, TroubleKind};
use keywheel_rotation::Health;
use workspace_tests::{Fate, Lag, Rig, settings};

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
        rig.request(id, keywheel_connection::Cause::Manual).await;
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
    rig.request(id, keywheel_connection::Cause::Manual).await;
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
async fn p17_what_a_sink_holds_works_whether_the_promotion_comes_or_not() {
    let (rig, before, _) = Rig::new(709).with_sinks();
    let id = rig.rotating(settings()).await;
    rig.request(id, keywheel_connection::Cause::Manual).await;
    stop(&rig, id, "publish", Fate::StopAfter).await;
    let held = || before.holds().unwrap();
    assert!(rig.directory.holds(&held()));
    // Somebody gives the rotation up: the sink gets the current secret again, and until then and for a
    // grace after, the other one works.
    stop(&rig, id, "publish", Fate::AnswerLost).await;
    if rig.connections().abort(id, &me()).await.is_ok() {
        for _ in 0..200 {
            assert!(rig.directory.holds(&held()));
            rig.settle(id, TimeDelta::minutes(1)).await;
        }
        rig.assert_clean(id, 1).await;
    } else {
        rig.settle(id, TimeDelta::hours(3)).await;
        rig.assert_clean(id, 2).await;
    }
    assert!(rig.directory.holds(&held()));
}
