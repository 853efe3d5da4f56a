use std::time::{Duration, Instant};

use http::Method;
use keywheel_emulator::{Fault, Route};
use serde_json::json;

use crate::client::{Answer, Bench, GRAPH_SCOPE, failed, form, refused};

type Outcome = Result<Answer, Box<dyn std::error::Error + Send + Sync>>;

/// Adds a secret; the connection may fail.
async fn add(bench: &Bench, token: &str) -> Outcome {
    let url = format!(
        "{}/v1.0{}",
        bench.emulator.graph(),
        bench.application("/addPassword")
    );
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    bench.client.send(Method::POST, &url, &headers, "{}").await
}

fn held(bench: &Bench) -> usize {
    bench.emulator.live_secrets(bench.app().client_id()).len()
}

/// Returns every message of an error and its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |it| it.source())
        .map(|it| format!("{it:?} "))
        .collect()
}

#[tokio::test]
async fn an_answer_may_be_replaced_before_or_after_the_effect() {
    let bench = Bench::start().await;
    let token = bench.token().await;

    bench
        .emulator
        .inject(Fault::respond(503).on(Route::AddPassword));
    let before = add(&bench, &token).await.unwrap();
    assert_eq!(before.graph_error(), failed(503, "serviceNotAvailable"));
    assert_eq!(held(&bench), 1);

    bench
        .emulator
        .inject(Fault::respond(503).on(Route::AddPassword).after_effect());
    let after = add(&bench, &token).await.unwrap();
    assert_eq!(after.status, 503, "{after:?}");
    assert_eq!(held(&bench), 2, "the secret was made");

    assert_eq!(
        add(&bench, &token).await.unwrap().status,
        200,
        "both are spent"
    );
}

#[tokio::test]
async fn a_connection_may_end_before_or_after_the_effect() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let mut expected = 1;

    for fault in [Fault::close(), Fault::reset()] {
        bench.emulator.inject(fault.clone().on(Route::AddPassword));
        add(&bench, &token).await.unwrap_err();
        assert_eq!(held(&bench), expected, "{fault:?}");
        bench
            .emulator
            .inject(fault.clone().on(Route::AddPassword).after_effect());
        add(&bench, &token).await.unwrap_err();
        expected += 1;
        assert_eq!(held(&bench), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_not() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let error = async |fault: Fault| {
        bench.emulator.inject(fault);
        chain(add(&bench, &token).await.unwrap_err().as_ref())
    };

    let reset = error(Fault::reset()).await;
    let close = error(Fault::close()).await;

    assert!(reset.contains("ConnectionReset"), "{reset}");
    assert!(!close.contains("ConnectionReset"), "{close}");
}

#[tokio::test]
async fn an_answer_may_stop_in_its_middle() {
    let bench = Bench::start().await;
    let token = bench.token().await;

    bench
        .emulator
        .inject(Fault::truncate(40).on(Route::AddPassword));
    let cut = add(&bench, &token).await;
    bench
        .emulator
        .inject(Fault::stall(40).on(Route::AddPassword));
    let stalled = tokio::time::timeout(Duration::from_millis(200), add(&bench, &token)).await;

    assert!(cut.is_err(), "{cut:?}");
    assert!(stalled.is_err(), "{stalled:?}");
    assert_eq!(held(&bench), 3, "both took effect");
}

#[tokio::test]
async fn answers_and_handshakes_may_be_slow() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let wait = Duration::from_millis(150);
    let timed = async || {
        let start = now();
        assert_eq!(add(&bench, &token).await.unwrap().status, 200);
        start.elapsed()
    };

    bench
        .emulator
        .inject(Fault::delay(wait).on(Route::AddPassword));
    let delayed = timed().await;
    bench.emulator.inject(Fault::handshake(wait));
    let slow = timed().await;

    assert!(delayed >= wait, "{delayed:?}");
    assert!(slow >= wait, "{slow:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a delay by the real clock is what is measured"
)]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_fault_hits_what_it_aims_at_as_often_as_it_says() {
    let bench = Bench::start().await;
    let secret = bench.app().secret().expose().to_owned();
    let statuses = async |rounds: usize| {
        let mut statuses = Vec::new();
        for _ in 0..rounds {
            statuses.push(bench.with_secret(&secret).await.status.as_u16());
        }
        statuses
    };

    bench
        .emulator
        .inject(Fault::throttle(Some(9)).on(Route::Token).skip(1).times(2));
    assert_eq!(statuses(4).await, [200, 429, 429, 200]);
    bench
        .emulator
        .inject(Fault::respond(500).of_client("somebody else").forever());
    assert_eq!(statuses(1).await, [200]);
    let id = bench.emulator.inject(
        Fault::respond(500)
            .of_client(bench.app().client_id())
            .forever(),
    );
    assert_eq!(statuses(2).await, [500, 500]);
    assert_eq!(
        bench
            .emulator
            .faults()
            .iter()
            .find(|it| it.id == id)
            .unwrap()
            .hits,
        2
    );
    assert!(bench.emulator.withdraw(id) && !bench.emulator.withdraw(id));
    assert_eq!(statuses(1).await, [200]);
    bench
        .emulator
        .inject(Fault::respond(500).with_probability(0.5));
    let drawn = statuses(30).await;
    assert!(drawn.contains(&200) && drawn.contains(&500), "{drawn:?}");
    bench.emulator.clear_faults();
    assert!(bench.emulator.faults().is_empty());
}

#[tokio::test]
async fn what_a_fault_answers_has_the_services_shape_unless_it_says_otherwise() {
    let bench = Bench::start().await;
    let ask = async || bench.with_secret("x").await;

    bench
        .emulator
        .inject(Fault::throttle(None).on(Route::Token));
    assert_eq!(ask().await.body, "Too Many Requests");
    bench.emulator.inject(Fault::respond(503).on(Route::Token));
    assert_eq!(
        ask().await.refusal(),
        refused(503, "temporarily_unavailable", 90_033)
    );
    bench.emulator.inject(
        Fault::respond(502)
            .body("<html>bad gateway</html>")
            .header("content-type", "text/html"),
    );
    let gateway = ask().await;
    assert_eq!(
        (gateway.status.as_u16(), gateway.header("content-type")),
        (502, "text/html")
    );
    assert_eq!(gateway.body, "<html>bad gateway</html>");
}

#[tokio::test]
async fn the_admin_endpoint_is_never_hit() {
    let bench = Bench::start().await;
    bench.emulator.inject(Fault::respond(500).forever());

    let answer = bench
        .client
        .get(
            &format!("{}/_emulator/health", bench.emulator.authority()),
            &[],
        )
        .await;

    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_request_inside_a_batch_may_fail_alone() {
    let bench = Bench::start().await;
    let get = |id: &str| json!({ "id": id, "method": "GET", "url": bench.application("") });
    bench
        .emulator
        .inject(Fault::throttle(Some(3)).on(Route::Get));

    let answer = bench
        .graph(
            Method::POST,
            "/$batch",
            Some(json!({ "requests": [get("a"), get("b")] })),
        )
        .await;

    let responses = &answer.json()["responses"];
    assert_eq!(
        (&responses[0]["status"], &responses[1]["status"]),
        (&json!(429), &json!(200))
    );
    assert_eq!(responses[0]["headers"]["Retry-After"], "3");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let bench = Bench::start().await;
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = form(&[
        ("scope", GRAPH_SCOPE),
        ("padding", &"x".repeat(5 * 1024 * 1024)),
    ]);

    let answer = bench
        .client
        .send(Method::POST, &bench.token_url(), &headers, &body)
        .await;

    // A client that is still sending may find the connection closed instead.
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    assert_eq!(
        bench
            .with_secret(bench.app().secret().expose())
            .await
            .status,
        200
    );
}
