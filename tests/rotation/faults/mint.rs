//! Points 1 to 8: between the intent and the first proof.

use std::sync::Arc;

use chrono::TimeDelta;
use keywheel_connection::{
    DebtReason, EventKind, IssuerErrorKind, KeyRing, Phase, SealContext, SealError, SealErrorKind,
    Sealed, Sealer, Sealing,
};
use keywheel_core::{Clock, Secret};
use keywheel_rotation::{Health, Rotator, RotatorParts};
use workspace_tests::{Fate, Lag};

use super::{asked, count, stop};

#[tokio::test(start_paused = true)]
async fn p01_a_crash_before_the_intent_leaves_nothing() {
    let (rig, id) = asked(601).await;

    stop(&rig, id, "save", Fate::StopBefore).await;

    assert_eq!(
        rig.directory.mint_calls().len(),
        1,
        "that of the first rotation"
    );
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p02_an_intent_without_a_call_is_closed_after_the_settle_window() {
    let (rig, id) = asked(602).await;

    stop(&rig, id, "mint", Fate::StopBefore).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
    let events = rig.events(id).await;
    assert_eq!(
        count(&events, |kind| matches!(kind, EventKind::Unresolved { .. })),
        1
    );
    assert_eq!(
        count(&events, |kind| matches!(
            kind,
            EventKind::OrphanFound { .. }
        )),
        0
    );
    let intents: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Intent { .. }))
        .map(|event| event.at)
        .collect();
    assert!(intents[2] - intents[1] >= rig.policy.settle);
}

async fn orphan(fate: Fate) {
    let (rig, id) = asked(603).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::seconds(12),
        listed: TimeDelta::seconds(18),
    });

    stop(&rig, id, "mint", fate).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    assert_eq!(
        count(&events, |kind| matches!(
            kind,
            EventKind::OrphanFound { .. }
        )),
        1
    );
    let revoked = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::Revoked {
                reason: DebtReason::Orphan,
                ..
            }
        )
    };
    assert_eq!(count(&events, revoked), 1);
}

#[tokio::test(start_paused = true)]
async fn p03_a_lost_answer_is_settled_by_reading_and_its_secret_removed() {
    orphan(Fate::AnswerLost).await;
}

#[tokio::test(start_paused = true)]
async fn p04_a_crash_with_the_answer_in_hand_is_the_same() {
    orphan(Fate::StopAfter).await;
}

#[tokio::test(start_paused = true)]
async fn p05_what_may_not_have_been_stored_is_looked_for_and_removed() {
    let (rig, id) = asked(605).await;
    rig.effects.plan_named("mint", Fate::StoreDownAfter);
    let mut work = rig.rotator().lease(id).await.unwrap();

    let error = rig.rotator().advance(&mut work).await.unwrap_err();

    assert!(error.is_transient());
    assert_eq!(rig.directory.mint_calls().len(), 2);
    assert_eq!(rig.directory.live().len(), 3, "the save may yet be made");
    rig.effects.store_is_up();
    let connection = rig.load(id).await;
    assert!(matches!(
        connection.rotation.unwrap().phase,
        Phase::Intent { .. }
    ));
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p06_no_mint_is_repeated_under_its_marker_and_none_before_the_last_is_settled() {
    for kind in [IssuerErrorKind::Unknown, IssuerErrorKind::Unavailable] {
        let (rig, id) = asked(606).await;
        let before = rig.effects.count();
        rig.directory.fail_next("mint", kind);
        rig.settle(id, TimeDelta::hours(3)).await;

        let names = rig.effects.names().split_off(before);
        let calls: Vec<_> = names.into_iter().filter(|name| *name != "save").collect();
        let reads = match kind {
            IssuerErrorKind::Unknown => usize::from(rig.policy.agreeing_reads),
            _ => 0,
        };
        let between = calls.iter().skip(1).take_while(|name| **name != "mint");
        assert!(between.clone().count() >= reads, "{kind:?}: {calls:?}");
        assert!(between.clone().all(|name| *name == "inspect"), "{calls:?}");
        rig.assert_clean(id, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p07_a_stored_candidate_is_proven_by_who_comes_next() {
    let (rig, id) = asked(607).await;

    stop(&rig, id, "prove", Fate::StopBefore).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p08_a_candidate_that_this_process_can_not_open_waits_for_one_that_can() {
    let (rig, id) = asked(608).await;
    // 32 times 7, in base64: the key of the others.
    let former = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let newer = KeyRing::new(&[8; 32]).unwrap().with_former(former).unwrap();
    let newer: Arc<dyn Sealer> = Arc::new(newer);
    let parts = RotatorParts {
        sealer: newer.clone(),
        ..rig.parts()
    };
    let with_key = Rotator::new(parts, rig.policy.clone());
    rig.effects.plan_named("prove", Fate::StopBefore);
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    let _ = rig
        .effects
        .run(Box::pin(with_key.drive(id, deadline, |_| false)))
        .await;
    rig.watch.end();

    rig.settle(id, TimeDelta::minutes(10)).await;
    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (1, Health::Active));
    let message = status.trouble.unwrap().message;
    assert!(message.contains("key"), "{message}");

    let deadline = rig.clock.now() + TimeDelta::hours(2);
    Box::pin(with_key.drive(id, deadline, |_| false))
        .await
        .unwrap();
    let status = rig.status(id).await;
    assert_eq!((status.generation, status.is_settled()), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_mint_that_can_not_be_sealed_is_removed() {
    let (rig, id) = asked(609).await;
    let parts = RotatorParts {
        sealer: Arc::new(ReadOnly(rig.ring.clone())),
        ..rig.parts()
    };
    let rotator = Rotator::new(parts, rig.policy.clone());
    let mut work = rotator.lease(id).await.unwrap();

    rotator.advance(&mut work).await.unwrap();
    rotator.advance(&mut work).await.unwrap();

    assert_eq!(rig.directory.live().len(), 2);
    let trouble = rig.status(id).await.trouble.unwrap();
    assert!(trouble.message.contains("the key service"), "{trouble:?}");
}

/// Opens, and does not seal.
#[derive(Debug)]
struct ReadOnly(Arc<KeyRing>);

impl Sealer for ReadOnly {
    fn seal<'a>(&'a self, _: &'a Secret, _: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        let kind = SealErrorKind::Unavailable;
        Sealing::ready(Err(SealError::new(kind, "the key service")))
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        self.0.open(sealed, context)
    }

    fn key_id(&self) -> &str {
        self.0.key_id()
    }
}
