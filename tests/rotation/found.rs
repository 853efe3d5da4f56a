//! What the simulation found, each reduced to the steps that it takes.

use chrono::TimeDelta;
use workspace_tests::{Fate, Rig, settings};

/// The save of a new secret was made, its answer was lost, and so was the read that would have told. To
/// remove the secret then is to remove a candidate that may be promoted before every replica of the
/// directory knows that it is gone.
#[tokio::test(start_paused = true)]
async fn a_secret_that_may_be_stored_is_not_removed() {
    let rig = Rig::new(21);
    let id = rig.create(settings()).await;
    let mut work = rig.rotator().lease(id).await.unwrap();
    // The intent, the mint, and the save that is lost; saved again, it conflicts with itself.
    rig.effects.plan(2, Fate::AnswerLost);
    rig.effects.fail_loads(1);

    rig.rotator().advance(&mut work).await.unwrap_err();

    let candidate = rig.status(id).await.candidate_key_id.unwrap();
    assert!(rig.directory.has(candidate));
    assert_eq!(rig.settle(id, TimeDelta::minutes(10)).await, None);
    rig.assert_clean(id, 1).await;
    assert_eq!(rig.directory.mint_calls().len(), 1);
}
