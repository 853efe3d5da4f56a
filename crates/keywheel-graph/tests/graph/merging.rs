//! What becomes of others' certificates when the list is written as a whole.

use keywheel_graph::{ConfirmPolicy, NewKey};
use serde_json::{Value, json};

use crate::script::{Act, ID, Script, answer, client_id, error, graph, ok};

fn id(key: &str) -> String {
    format!("00000000-0000-4000-8000-0000000000{key}")
}

fn shows(keys: &[&str]) -> Act {
    let entry = |key: &&str| json!({ "keyId": id(key), "key": key, "displayName": key });
    let keys: Vec<Value> = keys.iter().map(entry).collect();
    ok(json!({ "id": ID, "appId": ID, "keyCredentials": keys }))
}

fn done() -> Act {
    answer(204, "")
}

/// The lists that were written: each entry by the end of its key id, and its bytes.
fn written(script: &Script) -> Vec<Vec<(Option<String>, Option<String>)>> {
    let requests = script.requests().into_iter();
    let writes = requests.filter(|request| request.method() == "PATCH");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let list = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap();
        let keys = body["keyCredentials"].as_array().unwrap().iter();
        keys.map(|key| {
            let id = text(&key["keyId"]).map(|id| id[34..].to_owned());
            (id, text(&key["key"]))
        })
        .collect()
    };
    writes.map(|request| list(request.body())).collect()
}

fn kept(key: &str) -> (Option<String>, Option<String>) {
    (Some(key.to_owned()), None)
}

async fn add(script: &Script) -> Vec<String> {
    let policy = ConfirmPolicy::default().agree(2);
    let new = NewKey::certificate(b"new");
    let graph = graph(script);
    let application = graph.application(client_id());
    let restored = application.add_key_by_patch(&new, &policy).await.unwrap();
    let ids = restored.iter().map(|key| key.key_id.unwrap().to_string());
    ids.collect()
}

fn new() -> (Option<String>, Option<String>) {
    (None, Some("bmV3".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_after_the_write_show_is_put_back_under_its_key_id() {
    let script = Script::of([
        shows(&["aa"]),
        shows(&["aa"]),
        done(),
        shows(&["aa", "cc"]),
        shows(&["aa", "bb"]),
        shows(&["aa", "bb"]),
        done(),
        shows(&["aa", "bb"]),
        shows(&["aa", "bb", "cc"]),
    ]);

    assert_eq!(add(&script).await, [id("cc")]);

    let bytes = (Some("cc".to_owned()), Some("cc".to_owned()));
    let expected = [vec![kept("aa"), new()], vec![kept("aa"), kept("bb"), bytes]];
    assert_eq!(written(&script), expected);
}

/// One that somebody removed, and that a replica still shows, is not brought back to life.
#[tokio::test(start_paused = true)]
async fn what_was_gone_before_the_write_stays_gone() {
    let script = Script::of([
        shows(&["aa", "cc"]),
        shows(&["aa"]),
        shows(&["aa"]),
        done(),
        shows(&["aa", "cc"]),
        shows(&["aa", "bb"]),
    ]);

    assert!(add(&script).await.is_empty());

    assert_eq!(written(&script), [vec![kept("aa"), new()]]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_refused_is_read_anew_and_never_sent_again() {
    let refusals = [
        error(409, "Directory_ConcurrencyViolation", "Busy."),
        error(
            400,
            "Request_BadRequest",
            "Key credential value is not valid.",
        ),
    ];
    for refusal in refusals {
        let script = Script::of([
            shows(&["aa"]),
            shows(&["aa"]),
            refusal,
            shows(&["cc"]),
            shows(&["cc"]),
            done(),
            shows(&["bb", "cc"]),
        ]);

        assert!(add(&script).await.is_empty());

        assert_eq!(written(&script), [[kept("aa"), new()], [kept("cc"), new()]]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_invalid_by_itself_is_refused_once() {
    let policy = ConfirmPolicy::default().agree(2);
    let script = Script::of([
        shows(&["aa"]),
        shows(&["aa"]),
        error(400, "KeyCredentialsInvalidEndDate", "No."),
        shows(&["aa"]),
    ]);
    let (graph, new) = (graph(&script), NewKey::certificate(b"new"));

    let failed = graph
        .application(client_id())
        .add_key_by_patch(&new, &policy)
        .await
        .unwrap_err();

    assert_eq!(failed.code(), Some("KeyCredentialsInvalidEndDate"));
    assert_eq!(written(&script).len(), 1);
}
