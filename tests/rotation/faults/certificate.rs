//! Points 62 to 64: the certificate of a connection is rolled.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::entra::{Need, Purpose, RollErrorKind, Standing, TenantAccess};
use keywheel_emulator::{Behaviours, Fault, Route, Span};
use workspace_tests::Fate;

use crate::certificates::{ENDING, FOREIGN, NEXT, OLD, OWNED_BY, Place, lagging, policy};

#[tokio::test(start_paused = true)]
async fn p62_a_certificate_whose_answer_was_lost_is_found_and_registered_once() {
    for behaviours in [Behaviours::default(), lagging()] {
        let place = Place::new(&OLD, OWNED_BY).await;
        let id = place.enrol("one").await;
        place.watch(id);
        place.behave(behaviours);
        place.rig.effects.plan_named("addKey", Fate::AnswerLost);

        let rolled = place.to_next(id).await.unwrap();

        assert_eq!((place.calls("addKey"), place.added()), (1, 1));
        assert!(place.live().contains(&rolled.key_id().to_string()));
        assert!(rolled.restored().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn p62_one_that_never_arrived_is_registered_again() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    let lost = Fault::close().on(Route::AddKey);
    place.emulator.inject(lost);

    let rolled = place.to_next(id).await.unwrap();

    assert_eq!((place.calls("addKey"), place.added()), (2, 1));
    assert!(place.live().contains(&rolled.key_id().to_string()));
}

#[tokio::test(start_paused = true)]
async fn p62_one_that_is_registered_already_is_taken_over() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    let by_hand = place.emulator.add_key(&place.client(), &NEXT.certificate);

    let rolled = place.to_next(id).await.unwrap();

    assert_eq!(place.calls("addKey"), 0);
    assert_eq!(Some(rolled.key_id().to_string()), by_hand.unwrap());
}

/// Stopped at each call in each way, and done again: one registration, no lockout, and nothing of others is
/// touched.
#[tokio::test(start_paused = true)]
async fn p62_a_crash_at_any_call_is_made_good_by_doing_it_again() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let begin = place.snapshot();
    let every = usize::try_from(keywheel_testkit::cases(3, 1)).unwrap();
    let mut runs = 0;
    for behaviours in [Behaviours::default(), lagging()] {
        let fates = [
            Fate::StopBefore,
            Fate::StopAfter,
            Fate::AnswerLost,
            Fate::Refused,
        ];
        for (turn, fate) in fates.into_iter().enumerate() {
            for at in (turn..).step_by(every) {
                place.restore(&begin);
                let id = place.enrol(&format!("run-{runs}")).await;
                place.behave(behaviours.clone());
                place.watch(id);
                let foreign = place.live()[1].clone();
                let (added, effects) = (place.added(), &place.rig.effects);
                let before = effects.count();
                effects.plan(at, fate);
                let stopped = effects.run(place.job(id)).await;
                let calls = effects.count() - before;
                effects.forgive();
                if !matches!(stopped, Ok(Ok(()))) {
                    place.job(id).await.unwrap();
                }

                let what = format!("{fate:?} at {at}, lag {:?}", behaviours.read_lag);
                assert_eq!(place.added() - added, 1, "{what}");
                let live = place.live();
                assert!(
                    live.len() == 2 && live.contains(&foreign),
                    "{what}: {live:?}"
                );
                TenantAccess::load(id, place.parts.clone()).await.unwrap();
                runs += 1;
                if calls <= at {
                    break;
                }
            }
        }
    }
    assert!(runs > 60, "{runs}");
}

#[tokio::test(start_paused = true)]
async fn p63_an_ended_certificate_is_rolled_by_writing_the_list_with_another_credential() {
    for behaviours in [Behaviours::default(), lagging()] {
        let place = Place::new(&ENDING, OWNED_BY).await;
        place.behave(behaviours);
        place.rig.pass(TimeDelta::days(11)).await;
        let before = place.live();

        let rolled = place
            .roll(place.by_secret())
            .to(&NEXT.open())
            .await
            .unwrap();

        assert_eq!((place.calls("addKey"), place.calls("patch")), (0, 1));
        let live = place.live();
        assert!(before.iter().all(|id| live.contains(id)), "{live:?}");
        assert!(live.len() == 3 && live.contains(&rolled.key_id().to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn p63_a_crash_while_the_list_is_written_is_made_good_by_doing_it_again() {
    let place = Place::new(&ENDING, OWNED_BY).await;
    place.rig.pass(TimeDelta::days(11)).await;
    let (begin, before) = (place.snapshot(), place.live());
    let every = usize::try_from(keywheel_testkit::cases(3, 1)).unwrap();
    let fates = [Fate::StopBefore, Fate::StopAfter, Fate::AnswerLost];
    for (turn, fate) in fates.into_iter().enumerate() {
        for at in (turn..).step_by(every) {
            place.restore(&begin);
            place.behave(lagging());
            let (roll, effects) = (place.roll(place.by_secret()), &place.rig.effects);
            let (from, next) = (effects.count(), NEXT.open());
            effects.plan(at, fate);
            let stopped = effects.run(roll.to(&next)).await;
            let calls = effects.count() - from;
            effects.forgive();
            if !matches!(stopped, Ok(Ok(_))) {
                // Another process: nothing of the one that stopped is at hand.
                let again = place.roll(place.by_secret());
                let _rolled = again.to(&next).await.unwrap();
            }

            let live = place.live();
            let what = format!("{fate:?} at {at}: {live:?}");
            assert!(before.iter().all(|id| live.contains(id)), "{what}");
            assert_eq!(live.len(), before.len() + 1, "{what}");
            if calls <= at {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p63_a_refused_proof_and_a_removed_certificate_fall_back_to_the_list_too() {
    let refused = |place: &Place| {
        let body = r#"{"error":{"code":"Authentication_MissingOrMalformed","message":"No."}}"#;
        let fault = Fault::respond(401).body(body).on(Route::AddKey);
        place.emulator.inject(fault.forever());
    };
    let removed = |place: &Place| {
        let first = place.live()[0].clone();
        assert!(place.emulator.remove_key(&place.client(), &first).unwrap());
    };
    let breaks: [&dyn Fn(&Place); 2] = [&refused, &removed];
    for break_it in breaks {
        let place = Place::new(&OLD, OWNED_BY).await;
        break_it(&place);
        let before = place.live();

        let rolled = place
            .roll(place.by_secret())
            .to(&NEXT.open())
            .await
            .unwrap();

        let live = place.live();
        assert!(before.iter().all(|id| live.contains(id)), "{live:?}");
        assert!(live.contains(&rolled.key_id().to_string()));
        assert_eq!((live.len(), place.calls("patch")), (before.len() + 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn p63_without_proof_and_permission_it_says_what_to_do_as_the_preflight_does() {
    let place = Place::new(&ENDING, "Application.Read.All").await;
    place.rig.pass(TimeDelta::days(11)).await;
    let others = place.live()[1].clone();
    place.emulator.remove_key(&place.client(), &others).unwrap();
    let before = place.live();
    let roll = place.roll(place.by_secret());

    let error = roll.to(&NEXT.open()).await.unwrap_err();
    let preflight = place
        .by_secret()
        .preflight(&[Purpose::RollCertificates])
        .await
        .unwrap();

    assert_eq!(error.kind(), RollErrorKind::Forbidden);
    let text = keywheel::core::Report(&error).to_string();
    for said in [
        "ended on 2026-03-11",
        OWNED_BY,
        "owner",
        "Authorization_RequestDenied",
    ] {
        assert!(text.contains(said), "{text}");
    }
    assert!(!text.contains("PRIVATE") && !text.contains("eyJ"), "{text}");
    assert_eq!(place.live(), before);
    let missing = |need| {
        let findings = preflight.findings.iter();
        let mut same = findings.filter(|it| it.need == need && it.purpose.is_some());
        same.next().unwrap().clone()
    };
    let by_hand = missing(Need::Certificate);
    assert_eq!(by_hand.standing, Standing::Missing);
    assert!(text.contains(&by_hand.fix.unwrap().commands[0]), "{text}");
    assert_eq!(missing(Need::Permission).standing, Standing::Missing);
    // What it says helps.
    place
        .emulator
        .add_key(&place.client(), &NEXT.certificate)
        .unwrap();
    let rolled = roll.to(&NEXT.open()).await.unwrap();
    assert!(place.live().contains(&rolled.key_id().to_string()));
}

#[tokio::test(start_paused = true)]
async fn p63_an_access_by_the_ended_certificate_itself_says_that_it_needs_another() {
    let place = Place::new(&ENDING, OWNED_BY).await;
    let id = place.enrol("one").await;
    let access = TenantAccess::load(id, place.parts.clone()).await.unwrap();
    place.rig.pass(TimeDelta::days(11)).await;

    let error = place.roll(access).to(&NEXT.open()).await.unwrap_err();

    assert_eq!(error.kind(), RollErrorKind::Credential);
    assert!(error.to_string().contains("another credential"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p64_a_certificate_that_vouches_spares_the_list() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    place.watch(id);
    let (emulator, client) = (place.emulator.clone(), place.client());
    place.wire.before("addKey", move || {
        emulator.add_key(&client, &ENDING.certificate).unwrap();
        Duration::ZERO
    });

    place.job(id).await.unwrap();

    assert_eq!(place.calls("patch"), 0);
    assert_eq!(
        place.live().len(),
        3,
        "the new one and both that are not ours"
    );
}

/// One that is in nobody's reads when the list is written, and in some afterwards.
#[tokio::test(start_paused = true)]
async fn p64_what_somebody_registers_while_the_list_is_written_is_put_back() {
    let place = Place::new(&ENDING, OWNED_BY).await;
    place.rig.pass(TimeDelta::days(11)).await;
    let before = place.live();
    let mut behaviours = Behaviours::default();
    behaviours.read_lag = Span::exactly(TimeDelta::seconds(5));
    place.behave(behaviours);
    let (emulator, client) = (place.emulator.clone(), place.client());
    place.wire.before("patch", move || {
        emulator.add_key(&client, &OLD.certificate).unwrap();
        Duration::from_secs(3)
    });
    let mut policy = policy();
    policy.confirm.interval = Duration::from_secs(1);

    let roll = place.roll(place.by_secret()).with_policy(policy);
    let rolled = roll.to(&NEXT.open()).await.unwrap();

    let [restored] = rolled.restored() else {
        panic!("{:?}", rolled.restored())
    };
    assert_eq!(restored.thumbprint(), Some(OLD.open().thumbprint()));
    let live = place.live();
    assert!(live.contains(&restored.key_id.unwrap().to_string()));
    assert!(before.iter().all(|id| live.contains(id)), "{live:?}");
    assert_eq!((live.len(), place.calls("patch")), (4, 2));
}

/// A refusal says that somebody else is writing, so the list that was read before is not sent again.
#[tokio::test(start_paused = true)]
async fn p64_a_list_that_was_refused_is_read_again_before_it_is_written() {
    let place = Place::new(&ENDING, OWNED_BY).await;
    place.rig.pass(TimeDelta::days(11)).await;
    let body = r#"{"error":{"code":"Directory_ConcurrencyViolation","message":"Busy."}}"#;
    let conflict = Fault::respond(409).body(body).on(Route::Update);
    place.emulator.inject(conflict);
    let (emulator, client) = (place.emulator.clone(), place.client());
    place.wire.before("patch", move || {
        emulator.add_key(&client, &OLD.certificate).unwrap();
        Duration::ZERO
    });

    let rolled = place
        .roll(place.by_secret())
        .to(&NEXT.open())
        .await
        .unwrap();

    assert!(rolled.restored().is_empty());
    assert_eq!((place.live().len(), place.calls("patch")), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn the_old_certificate_stays_while_the_stored_connection_is_by_it() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    let rolled = place.to_next(id).await.unwrap();
    let store = &*place.parts.store;

    let error = rolled.retire_previous(store, id).await.unwrap_err();
    assert_eq!(error.kind(), RollErrorKind::NotStored);
    assert_eq!((place.live().len(), place.calls("removeKey")), (3, 0));
    place.store_next(id).await.unwrap();
    let removed = rolled.retire_previous(store, id).await.unwrap();

    assert_eq!((removed.len(), place.live().len()), (1, 2));
    assert!(rolled.retire_previous(store, id).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_whose_answer_was_lost_is_seen_to_have_taken_place() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    place.behave(lagging());
    let rolled = place.to_next(id).await.unwrap();
    place.store_next(id).await.unwrap();
    place.rig.effects.plan_named("removeKey", Fate::AnswerLost);

    let removed = rolled.retire_previous(&*place.parts.store, id).await;

    assert_eq!(removed.unwrap().len(), 1);
    assert_eq!((place.live().len(), place.calls("removeKey")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_entra_does_not_take_retires_nothing() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let id = place.enrol("one").await;
    let mut slow = Behaviours::default();
    slow.secret_propagation = Span::exactly(TimeDelta::hours(1));
    place.behave(slow);

    let error = place.to_next(id).await.unwrap_err();

    assert_eq!(error.kind(), RollErrorKind::Unproven);
    assert!(error.is_transient());
    assert_eq!(place.live().len(), 3);
    place.rig.pass(TimeDelta::hours(1)).await;
    let _rolled = place.to_next(id).await.unwrap();
    assert_eq!(place.added(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_roll_to_the_certificate_in_use_is_refused() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let roll = place.roll(place.by_secret());

    let error = roll.to(&OLD.open()).await.unwrap_err();

    assert_eq!(error.kind(), RollErrorKind::Certificate);
    assert!(FOREIGN.open().der() != OLD.open().der());
    assert!(place.rig.effects.names().is_empty());
}
