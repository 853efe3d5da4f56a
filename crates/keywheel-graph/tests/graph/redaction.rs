use keywheel_core::{Report, TransportErrorKind};
use keywheel_graph::{ListOptions, NewPassword};
use keywheel_testkit::CapturedLogs;

use crate::script::{Act, ID, Script, answer, client_id, error, graph, ok, start};

const SECRETS: [&str; 5] = [
    "s3cr3t-text",
    "token-",
    "raw-body-text",
    "skip-me-token",
    "private-filter",
];

#[tokio::test(start_paused = true)]
async fn no_secret_token_query_or_body_reaches_a_log_an_error_or_debug() {
    let (logs, _guard) = CapturedLogs::capture();
    let next = "https://graph.microsoft.com/v1.0/applications?$skiptoken=skip-me-token";
    let mut shown = String::new();
    let new = NewPassword::new("marker", start() + chrono::TimeDelta::days(1));
    for act in [
        ok(serde_json::json!({ "keyId": ID, "secretText": "s3cr3t-text", "hint": "s3c" })),
        answer(200, "{\"secretText\":\"s3cr3t-text\", oh no"),
        answer(200, "{\"keyId\":\"s3cr3t-text\"}"),
        answer(500, "<html>raw-body-text</html>"),
        error(401, "InvalidAuthenticationToken", ""),
        Act::Fail(TransportErrorKind::Interrupt),
    ] {
        let script = Script::of([act]);
        match graph(&script)
            .application(client_id())
            .add_password(&new)
            .await
        {
            Ok(added) => shown += &format!("{added:?}"),
            Err(error) => shown += &format!("{error} {error:?} {}", Report(&error)),
        }
    }
    let filter = keywheel_graph::Filter::equal("displayName", "private-filter");
    for act in [
        error(429, "TooManyRequests", ""),
        Act::Fail(TransportErrorKind::Timeout),
    ] {
        let script = Script::of([
            ok(serde_json::json!({ "value": [], "@odata.nextLink": next })),
            act,
        ]);
        let graph = graph(&script);
        let failed = graph
            .applications(&ListOptions::new().filter(&filter))
            .all()
            .await;
        let failed = failed.unwrap_err();
        shown += &format!("{failed} {failed:?} {graph:?} {:?}", graph.traffic());
    }

    let logged = logs.text();
    assert!(
        logged.contains("graph.retry") && logged.contains("graph.answer"),
        "{logged}"
    );
    for secret in SECRETS {
        assert!(!logged.contains(secret), "{secret} in the log:\n{logged}");
        assert!(!shown.contains(secret), "{secret} is shown:\n{shown}");
    }
}
