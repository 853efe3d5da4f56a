//! Points 18 to 26: revoking, and what others do to our secrets.

use chrono::TimeDelta;
use keywheel_connection::{Actor, Cause, EventKind, IssuerErrorKind, TroubleKind};
use keywheel_core::Clock;
use keywheel_rotation::Health;
use workspace_tests::{Fate, Lag, Rig, secret, settings};

use super::{asked, count};
use crate::ways::until;

async fn stopped_at_remove(seed: u64, fate: Fate) -> Vec<bool> {
    let (rig, id) = asked(seed).await;
    let before = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    rig.effects.plan_named("remove", fate);
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(3))).await;
    rig.settle(id, TimeDelta::hours(3)).await;
    assert!(!rig.directory.has(before));
    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Revoked {
                key_id,
                confirmed_by_reads,
                ..
            } if key_id == before => Some(confirmed_by_reads),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn p18_a_crash_before_the_removal_leaves_a_debt_that_is_paid() {
    assert_eq!(stopped_at_remove(801, Fate::StopBefore).await, [false]);
}

#[tokio::test(start_paused = true)]
async fn p19_a_crash_after_the_removal_locks_nobody_out_and_is_confirmed_by_reads() {
    assert_eq!(stopped_at_remove(802, Fate::StopAfter).await, [true]);
}

#[tokio::test(start_paused = true)]
async fn p20_a_secret_that_is_gone_already_is_confirmed_by_reads() {
    let (rig, id) = asked(803).await;
    let before = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    rig.directory.remove_secret(before);

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    let revoked = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::Revoked {
                confirmed_by_reads: true,
                ..
            }
        )
    };
    assert_eq!(count(&events, revoked), 1);
}

#[tokio::test(start_paused = true)]
async fn p21_a_removal_that_fails_is_a_debt_until_it_is_confirmed() {
    for kind in [
        IssuerErrorKind::Unavailable,
        IssuerErrorKind::Throttled,
        IssuerErrorKind::Forbidden,
        IssuerErrorKind::Invalid,
    ] {
        let (rig, id) = asked(804).await;
        let before = rig.status(id).await.key_id.unwrap();
        until(&rig, id, |status| status.generation == 2).await;
        rig.directory.deny("remove", kind);
        rig.directory.deny("inspect", kind);
        let calls = rig.effects.count();

        rig.settle(id, TimeDelta::days(2)).await;

        let status = rig.status(id).await;
        assert_eq!(status.debts[0].key_id, before);
        assert!(status.debts[0].attempts > 3 && status.trouble.is_some());
        let events = rig.events(id).await;
        assert_eq!(
            count(&events, |kind| matches!(kind, EventKind::Confirmed { .. })),
            1
        );
        let names = rig.effects.names().split_off(calls);
        let removals = names.iter().filter(|name| **name == "remove").count();
        assert!(
            (20..80).contains(&removals),
            "{kind:?}: {removals} in two days"
        );
        rig.directory.allow_all();
        rig.settle(id, TimeDelta::hours(3)).await;
        rig.assert_clean(id, 2).await;
    }
}

/// Graph does not know the secret yet, so that only reads can tell; and a read that fails tells nothing.
#[tokio::test(start_paused = true)]
async fn p21_a_read_that_fails_never_tells_that_a_secret_is_gone() {
    for kind in [
        IssuerErrorKind::Unavailable,
        IssuerErrorKind::Throttled,
        IssuerErrorKind::Forbidden,
        IssuerErrorKind::Invalid,
        IssuerErrorKind::Refused,
    ] {
        let (rig, id) = asked(814).await;
        rig.directory.set_lag(Lag {
            accepted: TimeDelta::zero(),
            listed: TimeDelta::minutes(10),
        });
        until(&rig, id, |status| status.candidate_key_id.is_some()).await;
        let candidate = rig.status(id).await.candidate_key_id.unwrap();
        let me = Actor::named("test");
        rig.connections().abort(id, &me).await.unwrap();
        rig.settle(id, TimeDelta::seconds(5)).await;
        assert!(rig.status(id).await.debts[0].unconfirmed, "{kind:?}");
        rig.directory.deny("inspect", kind);
        let calls = rig.effects.count();

        rig.settle(id, TimeDelta::hours(5)).await;

        let names = rig.effects.names().split_off(calls);
        assert!(names.contains(&"inspect"), "{kind:?}: {names:?}");
        let status = rig.status(id).await;
        assert_eq!(status.debts[0].key_id, candidate, "{kind:?}");
        assert_eq!(status.trouble.unwrap().step, "inspect", "{kind:?}");
        let events = rig.events(id).await;
        let gone = |kind: &EventKind| matches!(kind, EventKind::Revoked { key_id, .. } if *key_id == candidate);
        assert_eq!(count(&events, gone), 0, "{kind:?}");
        rig.directory.allow_all();
        rig.settle(id, TimeDelta::hours(3)).await;
        assert!(!rig.directory.has(candidate), "{kind:?}");
        rig.assert_clean(id, 1).await;
    }
}

/// The end of a secret waits for no removal; and the next one makes nobody forget the last.
#[tokio::test(start_paused = true)]
async fn p21_a_debt_that_can_not_be_paid_is_kept_beyond_the_next_promotion() {
    let (rig, id) = asked(815).await;
    let first = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    let status = rig.status(id).await;
    let (second, end) = (status.key_id.unwrap(), status.end.unwrap());
    rig.directory.deny("remove", IssuerErrorKind::Forbidden);
    rig.watch.expect_a_late_mint();

    rig.run(id, end - TimeDelta::days(6) - rig.clock.now())
        .await;

    let status = rig.status(id).await;
    assert_eq!(status.generation, 3, "{status:#?}");
    assert_eq!(status.run.unwrap().cause, Cause::Expiry);
    let owed: Vec<_> = status.debts.iter().map(|debt| debt.key_id).collect();
    assert_eq!(owed, [first, second]);
    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 3).await;
}

#[tokio::test(start_paused = true)]
async fn p22_a_removal_without_an_answer_is_made_again() {
    assert_eq!(stopped_at_remove(805, Fate::AnswerLost).await, [true]);
}

#[tokio::test(start_paused = true)]
async fn p23_a_removed_secret_that_is_still_listed_is_removed_again_and_called_gone_once() {
    let (rig, id) = asked(806).await;
    let before = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::zero(),
        listed: TimeDelta::minutes(2),
    });
    rig.effects.plan_named("remove", Fate::StopAfter);
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(3))).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    let revoked =
        |kind: &EventKind| matches!(kind, EventKind::Revoked { key_id, .. } if *key_id == before);
    assert_eq!(count(&events, revoked), 1);
}

#[tokio::test(start_paused = true)]
async fn p24_a_current_secret_that_somebody_removes_in_grace_is_replaced_through_the_one_before() {
    let (rig, id) = asked(807).await;
    let before = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    let current = rig.status(id).await.key_id.unwrap();
    rig.watch.expect_broken(2);
    rig.directory.remove_secret(current);

    rig.settle(id, TimeDelta::minutes(65)).await;
    // Its grace is over, and it is kept, because it is all that works.
    assert!(rig.directory.has(before));
    let trouble = rig.status(id).await.trouble.unwrap();
    assert_eq!(trouble.step, "revoke");
    rig.settle(id, TimeDelta::hours(4)).await;

    rig.assert_clean(id, 3).await;
    let status = rig.status(id).await;
    assert_eq!(
        (status.health, status.last.unwrap().cause),
        (Health::Active, Cause::Repair)
    );
}

#[tokio::test(start_paused = true)]
async fn p24_without_another_secret_it_is_a_lock_out_that_says_what_to_do() {
    let rig = Rig::new(808);
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    rig.directory
        .remove_secret(rig.status(id).await.key_id.unwrap());
    rig.request(id, Cause::Manual).await;

    rig.settle(id, TimeDelta::minutes(5)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::LockedOut);
    assert_eq!(status.trouble.unwrap().kind, TroubleKind::LockedOut);
}

#[tokio::test(start_paused = true)]
async fn p24_with_the_one_before_removed_too_it_stays_a_lock_out_until_a_secret_is_supplied() {
    let (rig, id) = asked(812).await;
    let before = rig.status(id).await.key_id.unwrap();
    until(&rig, id, |status| status.generation == 2).await;
    rig.watch.end();
    rig.directory
        .remove_secret(rig.status(id).await.key_id.unwrap());
    rig.directory.remove_secret(before);
    // The grace, the patience, and what a repair takes to fail.
    rig.settle(id, TimeDelta::minutes(60 + 15 + 5)).await;

    for minutes in 0..300 {
        rig.settle(id, TimeDelta::minutes(1)).await;
        let status = rig.status(id).await;
        assert_eq!(status.health, Health::LockedOut, "{minutes}: {status:?}");
    }
    let given = rig.directory.add_secret("by hand");
    let text = secret(&given.text);
    let actor = Actor::named("test");
    let connections = rig.connections();
    let supplied = connections.supply_secret(id, &text, Some(given.key_id), &actor);
    supplied.await.unwrap();
    rig.settle(id, TimeDelta::hours(3)).await;

    assert_eq!(rig.status(id).await.health, Health::Active);
}

/// They take turns: one is refused at its removal, the other one at the proof before it.
#[tokio::test(start_paused = true)]
async fn p24_a_lock_out_that_one_debt_shows_is_not_covered_up_by_another() {
    let mut rig = Rig::new(813);
    rig.policy.slots = 3;
    let id = rig.rotating(settings()).await;
    let before = rig.status(id).await.key_id.unwrap();
    rig.watch.end();
    rig.directory.deny("remove", IssuerErrorKind::Busy);
    rig.effects.plan_named("mint", Fate::AnswerLost);
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let status = rig.status(id).await;
    assert_eq!(
        status.debts.len(),
        2,
        "an orphan, and the one before: {status:?}"
    );
    rig.directory.remove_secret(status.key_id.unwrap());
    rig.directory.remove_secret(before);
    rig.directory.allow_all();
    // There is no room for another one that would show it too.
    rig.policy.slots = 2;
    // What the orphan's removal takes to be refused often enough, once an hour.
    rig.settle(id, TimeDelta::hours(4)).await;

    for minutes in 0..300 {
        rig.settle(id, TimeDelta::minutes(1)).await;
        let status = rig.status(id).await;
        assert_eq!(status.health, Health::LockedOut, "{minutes}: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_refusal_is_no_lock_out() {
    let (rig, id) = asked(809).await;
    rig.directory.fail_next("mint", IssuerErrorKind::Refused);

    let mut work = rig.rotator().lease(id).await.unwrap();
    rig.rotator().advance(&mut work).await.unwrap();

    assert_eq!(rig.status(id).await.health, Health::Active);
    rig.settle(id, TimeDelta::minutes(2)).await;
    assert_eq!(rig.status(id).await.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn p25_a_candidate_that_somebody_removes_is_forgotten_and_another_one_minted() {
    let (rig, id) = asked(810).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let candidate = rig.status(id).await.candidate_key_id.unwrap();
    rig.directory.remove_secret(candidate);

    rig.settle(id, TimeDelta::hours(5)).await;

    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn p26_secrets_that_others_add_meanwhile_are_not_touched() {
    let (rig, id) = asked(811).await;
    let mut theirs = Vec::new();
    for step in 0..12 {
        theirs.push(rig.directory.add_secret(&format!("added at {step}")).key_id);
        rig.watch.begin(id, theirs.iter().copied());
        let mut work = rig.rotator().lease(id).await.unwrap();
        rig.rotator().advance(&mut work).await.unwrap();
        rig.pass(TimeDelta::seconds(31)).await;
    }
    rig.settle(id, TimeDelta::hours(5)).await;

    rig.assert_clean(id, 2).await;
    assert!(theirs.iter().all(|key_id| rig.directory.has(*key_id)));
}
