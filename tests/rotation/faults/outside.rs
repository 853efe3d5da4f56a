//! Points 65 and 66: who is told.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionStore, verify_journal};
use workspace_tests::{Rig, settings};

use super::asked;

/// Events are rows in the journal; who carries them further has no part in the rotation.
#[tokio::test(start_paused = true)]
async fn p65_a_rotation_does_not_wait_for_who_watches_it() {
    let (rig, id) = asked(1201).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let cursor = keywheel_connection::Cursor::START;
    let unread = rig.store.entries(cursor, 1000).await.unwrap();
    let journal = rig.store.journal(id, 0, 1000).await.unwrap();
    assert_eq!(
        unread.len(),
        journal.len(),
        "nothing was consumed, and nothing lost"
    );
    verify_journal(&journal, &rig.load(id).await.journal).unwrap();
}

/// What can't be noted is not done: the journal is written with the intent, before the mint.
#[tokio::test(start_paused = true)]
async fn p66_what_can_not_be_journalled_is_not_minted() {
    let rig = Rig::new(1202);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    rig.effects.store_is_down();
    let mut work = rig.rotator().lease(id).await.unwrap();

    let error = rig.rotator().advance(&mut work).await.unwrap_err();

    assert!(error.is_transient());
    assert_eq!(rig.directory.mint_calls().len(), 1);
    rig.effects.store_is_up();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}
