use std::time::Duration;

use keywheel_core::TransportErrorKind;
use keywheel_graph::{ConfirmPolicy, GraphErrorKind, Sought, Verdict};
use serde_json::json;

use crate::script::{Act, ID, Script, client_id, error, graph, ok};

fn with_secret() -> Act {
    ok(
        json!({ "id": ID, "appId": ID, "passwordCredentials": [{ "keyId": ID, "displayName": "marker" }] }),
    )
}

fn without() -> Act {
    ok(json!({ "id": ID, "appId": ID, "passwordCredentials": [], "keyCredentials": null }))
}

fn by_id() -> Sought {
    Sought::KeyId(ID.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn flapping_reads_are_read_until_five_in_a_row_agree() {
    let script = Script::of([
        without(),
        with_secret(),
        without(),
        without(),
        without(),
        without(),
        with_secret(),
        without(),
    ]);
    let policy = ConfirmPolicy::default();

    let confirmed = graph(&script)
        .application(client_id())
        .confirm_absent(&by_id(), &policy)
        .await;

    let confirmed = confirmed.unwrap();
    assert!(confirmed.is_absent(), "{confirmed:?}");
    assert_eq!((confirmed.reads(), script.count()), (12, 12));
    let seen: Vec<_> = confirmed
        .sightings
        .iter()
        .map(|one| one.seen.unwrap())
        .collect();
    assert_eq!(seen.iter().filter(|seen| **seen).count(), 2);
    assert_eq!(confirmed.sightings[11].after, Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn presence_is_confirmed_by_key_id_and_by_display_name() {
    for sought in [by_id(), Sought::DisplayName("marker".to_owned())] {
        let script = Script::of([without(), without(), with_secret()]);
        let policy = ConfirmPolicy::default().agree(3);

        let confirmed = graph(&script)
            .application(client_id())
            .confirm_present(&sought, &policy)
            .await;

        let confirmed = confirmed.unwrap();
        assert!(confirmed.is_present(), "{confirmed:?}");
        assert_eq!(confirmed.reads(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_to_rest_is_undecided_within_the_bounds() {
    let flapping: Vec<_> = (0..500)
        .map(|turn| {
            if turn % 4 == 0 {
                with_secret()
            } else {
                without()
            }
        })
        .collect();
    let script = Script::of(flapping);
    let policy = ConfirmPolicy::default();

    let confirmed = graph(&script)
        .application(client_id())
        .confirm_absent(&by_id(), &policy)
        .await;

    assert_eq!(confirmed.unwrap().verdict, Verdict::Undecided);
    assert!(*script.times().last().unwrap() <= policy.max_elapsed);
}

#[tokio::test(start_paused = true)]
async fn what_stays_there_is_said_to_be_present_when_absence_was_asked_for() {
    let script = Script::of([with_secret()]);

    let confirmed = graph(&script)
        .application(client_id())
        .confirm_absent(&by_id(), &ConfirmPolicy::default())
        .await;

    assert_eq!(confirmed.unwrap().verdict, Verdict::Present);
}

#[tokio::test(start_paused = true)]
async fn failed_reads_and_a_missing_application_are_no_evidence() {
    let script = Script::of([
        without(),
        without(),
        error(404, "Request_ResourceNotFound", ""),
        without(),
        without(),
        without(),
        Act::Fail(TransportErrorKind::Interrupt),
        without(),
    ]);
    let policy = ConfirmPolicy::default().agree(4);
    let graph = graph(&script).with_retry(keywheel_core::RetryPolicy::never());

    let confirmed = graph
        .application(client_id())
        .confirm_absent(&by_id(), &policy)
        .await
        .unwrap();

    assert!(confirmed.is_absent(), "{confirmed:?}");
    assert_eq!(confirmed.reads(), 11);
    assert_eq!(confirmed.sightings[2].seen, None);
    assert_eq!(confirmed.sightings[6].seen, None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_reading() {
    let script = Script::of([error(403, "Authorization_RequestDenied", "")]);

    let failed = graph(&script)
        .application(client_id())
        .confirm_absent(&by_id(), &ConfirmPolicy::default())
        .await;

    assert_eq!(failed.unwrap_err().kind(), GraphErrorKind::Forbidden);
    assert_eq!(script.count(), 1);
}
