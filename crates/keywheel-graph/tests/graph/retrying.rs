use std::time::Duration;

use keywheel_core::{KeyId, RetryPolicy, TransportErrorKind};
use keywheel_graph::{
    ApplicationUpdate, GraphErrorKind, NewApplication, NewPassword, Traffic, TrafficLimits,
};

use crate::script::{
    Act, ID, Script, Tokens, answer, application, client_id, error, graph, graph_with, ok, start,
};

fn password() -> NewPassword {
    NewPassword::new("marker", start() + chrono::TimeDelta::days(30))
}

fn key_id() -> KeyId {
    ID.parse().unwrap()
}

fn concurrency(status: u16) -> Act {
    let (code, words) = (
        "Directory_ConcurrencyViolation",
        "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.",
    );
    error(
        status,
        if status == 400 {
            "Request_BadRequest"
        } else {
            code
        },
        words,
    )
}

fn throttled() -> Act {
    error(429, "TooManyRequests", "Too many requests")
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_is_sat_out_within_attempts_and_budget() {
    let script = Script::of([throttled()]);

    let failed = graph(&script)
        .application(client_id())
        .get()
        .await
        .unwrap_err();

    assert_eq!(failed.kind(), GraphErrorKind::Throttled);
    assert_eq!((script.count(), failed.attempts()), (5, 5));
    assert!(!failed.may_have_effect(), "{failed:?}");
    let last = script.times().pop().unwrap();
    assert!(last <= RetryPolicy::default().max_elapsed, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_in_seconds_and_as_a_date_and_capped() {
    for (asked, waited) in [
        ("7", 7),
        ("Sun, 01 Mar 2026 12:00:09 GMT", 9),
        ("3600", 30),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 30),
    ] {
        for status in [429, 503] {
            let refusal = error(status, "TooManyRequests", "").header("retry-after", asked);
            let script = Script::of([refusal, ok(application())]);

            graph(&script).application(client_id()).get().await.unwrap();

            let gap = script.times()[1];
            let expected = Duration::from_secs(waited)..Duration::from_secs(waited + 1);
            assert!(expected.contains(&gap), "{status} {asked}: {gap:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waits_without_retry_after_are_spread_and_grow_out_of_the_given_entropy() {
    let times = async |seed| {
        let script = Script::of([error(503, "serviceNotAvailable", "")]);
        let graph = graph(&script).with_entropy(keywheel_testkit::SeededEntropy::new(seed));
        graph.application(client_id()).get().await.unwrap_err();
        script.times()
    };

    assert_eq!(times(1).await, times(1).await);
    assert_ne!(times(1).await, times(2).await);
    let gaps: Vec<_> = times(1)
        .await
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(
        gaps.iter().all(|gap| *gap >= Duration::from_millis(500)),
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn add_password_is_sent_again_only_when_it_certainly_never_left() {
    let answered = || ok(serde_json::json!({ "keyId": ID, "secretText": "s", "hint": "s" }));
    let unsent = Script::of([Act::Fail(TransportErrorKind::Connect), answered()]);
    graph(&unsent)
        .application(client_id())
        .add_password(&password())
        .await
        .unwrap();
    assert_eq!(unsent.count(), 2);

    for (first, may_have_effect) in [
        (Act::Fail(TransportErrorKind::Interrupt), true),
        (Act::Fail(TransportErrorKind::Timeout), true),
        (error(500, "generalException", ""), true),
        (
            error(503, "serviceNotAvailable", "").header("retry-after", "1"),
            true,
        ),
        (answer(502, "<html>"), true),
        (answer(200, "{\"keyId\":"), true),
        (throttled(), false),
        (concurrency(409), false),
        (concurrency(503), false),
        (concurrency(400), false),
    ] {
        let script = Script::of([first.clone(), answered()]);
        let failed = graph(&script)
            .application(client_id())
            .add_password(&password())
            .await;

        let failed = failed.unwrap_err();
        assert_eq!(script.count(), 1, "{first:?}");
        assert_eq!(
            failed.may_have_effect(),
            may_have_effect,
            "{first:?}: {failed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_creates_is_sent_again_when_graph_said_that_nothing_was_done() {
    let made = || answer(201, application().to_string());
    for refusal in [
        throttled(),
        concurrency(409),
        concurrency(503),
        concurrency(400),
    ] {
        let script = Script::of([refusal.clone(), made()]);
        graph(&script)
            .create_application(&NewApplication::new("x"))
            .await
            .unwrap();
        assert_eq!(script.count(), 2, "{refusal:?}");
    }
    for doubt in [
        error(500, "generalException", ""),
        Act::Fail(TransportErrorKind::Interrupt),
    ] {
        let script = Script::of([doubt.clone(), made()]);
        let failed = graph(&script)
            .create_application(&NewApplication::new("x"))
            .await;
        assert!(failed.unwrap_err().may_have_effect(), "{doubt:?}");
        assert_eq!(script.count(), 1, "{doubt:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_twice_has_the_effect_of_once_survives_every_trouble() {
    let update = ApplicationUpdate::default();
    for trouble in [
        Act::Fail(TransportErrorKind::Interrupt),
        Act::Fail(TransportErrorKind::Timeout),
        error(500, "generalException", ""),
        throttled(),
        concurrency(409),
        concurrency(503),
        concurrency(400),
    ] {
        let script = Script::of([trouble.clone(), answer(204, "")]);
        graph(&script)
            .application(client_id())
            .update(&update)
            .await
            .unwrap();
        assert_eq!(script.count(), 2, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_not_asked_again() {
    for (status, code) in [
        (400, "Request_BadRequest"),
        (403, "Authorization_RequestDenied"),
        (404, "Request_ResourceNotFound"),
    ] {
        let script = Script::of([error(status, code, ""), ok(application())]);
        let failed = graph(&script)
            .application(client_id())
            .get()
            .await
            .unwrap_err();
        assert!(!failed.is_transient(), "{failed:?}");
        assert_eq!(script.count(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_with_the_claims_asked_for() {
    let claims = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxIn19fQ==";
    let challenge =
        format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{claims}\"");
    let refused =
        error(401, "InvalidAuthenticationToken", "expired").header("www-authenticate", challenge);
    let (script, tokens) = (Script::of([refused, ok(application())]), Tokens::default());

    graph_with(&script, &tokens)
        .application(client_id())
        .get()
        .await
        .unwrap();

    let asked = tokens.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].rejected, None);
    assert!(asked[1].rejected.is_some(), "{:?}", asked[1]);
    let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
    assert_eq!(asked[1].claims.as_deref(), Some(claims));
    let bearers: Vec<_> = script
        .requests()
        .iter()
        .map(|request| {
            request.headers()["authorization"]
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(bearers, ["Bearer token-1", "Bearer token-2"]);
    assert!(script.requests()[0].headers()["authorization"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_again_is_an_error_after_two_requests() {
    let (script, tokens) = (
        Script::of([error(401, "InvalidAuthenticationToken", "")]),
        Tokens::default(),
    );

    let failed = graph_with(&script, &tokens)
        .application(client_id())
        .get()
        .await;

    assert_eq!(failed.unwrap_err().kind(), GraphErrorKind::Unauthenticated);
    assert_eq!((script.count(), tokens.asked().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn writes_to_one_application_never_overlap_and_keep_their_distance() {
    let script = Script::of([concurrency(409), concurrency(503), answer(204, "")]);
    let graph = graph(&script);
    let writes = (0..6).map(|_| {
        let graph = graph.clone();
        tokio::spawn(async move {
            let update = ApplicationUpdate::default();
            graph.application(client_id()).update(&update).await
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }

    let times = script.times();
    assert_eq!(times.len(), 8);
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| *gap >= Duration::from_millis(200)),
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_on_leaves_its_turn_to_the_next() {
    let script = Script::of([throttled().header("retry-after", "30"), answer(204, "")]);
    let graph = graph(&script);
    let update = ApplicationUpdate::default();

    let given_up = tokio::time::timeout(Duration::from_secs(1), async {
        graph.application(client_id()).update(&update).await
    });
    assert!(given_up.await.is_err());
    graph
        .application(client_id())
        .update(&update)
        .await
        .unwrap();

    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_answer_of_429_holds_every_client_of_the_application_back() {
    let limits = TrafficLimits::default();
    let traffic = Traffic::new(limits);
    let script = Script::of([throttled().header("retry-after", "20"), ok(application())]);
    let (first, second) = (
        graph(&script).with_traffic(traffic.clone()),
        graph(&script).with_traffic(traffic.clone()),
    );

    let one = tokio::spawn(async move { first.application(client_id()).get().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    second.application(client_id()).get().await.unwrap();
    one.await.unwrap().unwrap();

    let times = script.times();
    assert_eq!(times.len(), 3);
    assert!(times[1] >= Duration::from_secs(20), "{times:?}");
    assert_eq!(traffic.usage().throttled, 1);
}

#[tokio::test(start_paused = true)]
async fn remove_password_is_never_repeated_after_a_doubt() {
    let script = Script::of([Act::Fail(TransportErrorKind::Interrupt), answer(204, "")]);

    let failed = graph(&script)
        .application(client_id())
        .remove_password(&key_id())
        .await;

    assert!(failed.unwrap_err().may_have_effect());
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_sends_only_what_failed_again_and_keeps_the_order() {
    let reply = |id: &str, status: u16, body: serde_json::Value| serde_json::json!({ "id": id, "status": status, "headers": { "Retry-After": "4" }, "body": body });
    let trouble = serde_json::json!({ "error": { "code": "TooManyRequests", "message": "" } });
    let missing =
        serde_json::json!({ "error": { "code": "Request_ResourceNotFound", "message": "" } });
    let first = serde_json::json!({ "responses": [
        reply("2", 200, application()), reply("0", 429, trouble.clone()), reply("1", 404, missing),
        reply("3", 503, trouble),
    ] });
    let second = serde_json::json!({ "responses": [reply("0", 200, application())] });
    let script = Script::of([
        ok(first),
        ok(second),
        ok(serde_json::json!({ "responses": [] })),
    ]);
    let graph = graph(&script);
    let mut batch = graph.batch();
    let handles: Vec<_> = (0..3).map(|_| batch.get_application(client_id())).collect();
    let removal = batch.remove_password(client_id(), &key_id());

    let mut answers = batch.send().await;

    let read = answers.take::<keywheel_graph::Application>(handles[0]);
    assert!(read.is_ok(), "{read:?}");
    let gone = answers
        .take::<keywheel_graph::Application>(handles[1])
        .unwrap_err();
    assert_eq!(gone.kind(), GraphErrorKind::NotFound);
    assert!(
        answers
            .take::<keywheel_graph::Application>(handles[2])
            .is_ok()
    );
    let doubt = answers.take::<()>(removal).unwrap_err();
    assert!(doubt.may_have_effect(), "{doubt:?}");
    let bodies: Vec<serde_json::Value> = script
        .requests()
        .iter()
        .map(|request| serde_json::from_slice(request.body()).unwrap())
        .collect();
    let ids = |body: &serde_json::Value| -> Vec<String> {
        let requests = body["requests"].as_array().unwrap();
        requests
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(bodies.len(), 2);
    assert_eq!(
        (ids(&bodies[0]), ids(&bodies[1])),
        (
            ["0", "1", "2", "3"].map(str::to_owned).to_vec(),
            vec!["0".to_owned()]
        )
    );
    assert!(
        script.times()[1] >= Duration::from_secs(4),
        "{:?}",
        script.times()
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_lost_repeats_its_reads_and_leaves_its_writes_in_doubt() {
    let answered =
        serde_json::json!({ "responses": [{ "id": "0", "status": 200, "body": application() }] });
    let script = Script::of([Act::Fail(TransportErrorKind::Interrupt), ok(answered)]);
    let graph = graph(&script);
    let mut batch = graph.batch();
    let read = batch.get_application(client_id());
    let write = batch.remove_password(client_id(), &key_id());

    let mut answers = batch.send().await;

    assert!(answers.take::<keywheel_graph::Application>(read).is_ok());
    assert!(answers.take::<()>(write).unwrap_err().may_have_effect());
    assert_eq!(script.count(), 2);
}
