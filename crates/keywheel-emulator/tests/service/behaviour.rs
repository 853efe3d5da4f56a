use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ConflictAnswer, Span, Throttle};
use serde_json::json;

use crate::client::{Bench, failed};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

async fn standing() -> Bench {
    let bench = Bench::start().await;
    bench.emulator.clock().stop();
    bench
}

/// How many of `rounds` token requests with a secret succeed.
async fn accepted(bench: &Bench, secret: &str, rounds: usize) -> usize {
    let mut count = 0;
    for _ in 0..rounds {
        count += usize::from(bench.with_secret(secret).await.status == 200);
    }
    count
}

/// How many secrets each of `rounds` reads shows.
async fn shown(bench: &Bench, rounds: usize) -> Vec<usize> {
    let token = bench.token().await;
    let mut counts = Vec::new();
    for _ in 0..rounds {
        let answer = bench
            .graph_as(&token, Method::GET, &bench.application(""), None)
            .await;
        counts.push(
            answer.json()["passwordCredentials"]
                .as_array()
                .unwrap()
                .len(),
        );
    }
    counts
}

#[tokio::test]
async fn a_new_secret_is_refused_until_it_has_propagated() {
    let bench = standing().await;
    bench
        .emulator
        .behave(|it| it.secret_propagation = Span::exactly(MINUTE));
    let first = bench.app().secret().expose().to_owned();
    bench.emulator.clock().advance(MINUTE);

    let (_, text) = bench.add_password("new").await;
    let early = bench.with_secret(&text).await;
    bench.emulator.clock().advance(MINUTE);
    let later = bench.with_secret(&text).await;

    assert_eq!(early.refusal().2, 7_000_215);
    assert_eq!(later.status, 200, "{later:?}");
    assert_eq!(bench.with_secret(&first).await.status, 200);
}

#[tokio::test]
async fn replicas_disagree_while_a_secret_propagates() {
    let bench = standing().await;
    bench.emulator.behave(|it| {
        it.replicas = 4;
        it.secret_propagation = Span::between(TimeDelta::zero(), TimeDelta::seconds(100));
    });
    bench.emulator.clock().advance(TimeDelta::seconds(100));
    let (_, text) = bench.add_password("new").await;
    let mut counts = Vec::new();

    for _ in 0..10 {
        bench.emulator.clock().advance(TimeDelta::seconds(10));
        counts.push(accepted(&bench, &text, 12).await);
    }

    assert!(
        counts.iter().any(|count| (1..12).contains(count)),
        "answers flap: {counts:?}"
    );
    assert_eq!(counts.last(), Some(&12), "{counts:?}");
}

#[tokio::test]
async fn a_removed_secret_works_until_its_removal_has_propagated() {
    let bench = standing().await;
    let (key_id, text) = bench.add_password("new").await;
    bench
        .emulator
        .behave(|it| it.removal_propagation = Span::exactly(MINUTE));

    assert_eq!(bench.remove_password(&key_id).await.status, 204);
    let early = bench.with_secret(&text).await;
    assert!(
        !bench.emulator.accepts(bench.app().client_id(), &text),
        "in truth it is gone"
    );
    bench.emulator.clock().advance(MINUTE);
    let later = bench.with_secret(&text).await;

    assert_eq!(early.status, 200, "{early:?}");
    assert_eq!(later.refusal().2, 7_000_215);
}

#[tokio::test]
async fn reads_lag_and_flap() {
    let bench = standing().await;
    bench.emulator.behave(|it| {
        it.replicas = 3;
        it.read_lag = Span::between(TimeDelta::zero(), TimeDelta::seconds(60));
    });
    bench.emulator.clock().advance(MINUTE);
    assert_eq!(shown(&bench, 6).await, [1; 6]);

    let (key_id, _) = bench.add_password("new").await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        bench.emulator.clock().advance(TimeDelta::seconds(10));
        seen.extend(shown(&bench, 6).await);
    }
    assert!(seen.contains(&1) && seen.contains(&2), "{seen:?}");
    assert_eq!(shown(&bench, 6).await, [2; 6]);

    assert_eq!(bench.remove_password(&key_id).await.status, 204);
    let mut seen = Vec::new();
    for _ in 0..6 {
        bench.emulator.clock().advance(TimeDelta::seconds(10));
        seen.extend(shown(&bench, 6).await);
    }
    assert!(seen.contains(&1) && seen.contains(&2), "{seen:?}");
    assert_eq!(shown(&bench, 6).await, [1; 6]);
}

#[tokio::test]
async fn a_secret_that_a_write_does_not_know_yet_can_not_be_removed() {
    let bench = standing().await;
    bench
        .emulator
        .behave(|it| it.write_lag = Span::exactly(MINUTE));

    let (key_id, _) = bench.add_password("new").await;
    let early = bench.remove_password(&key_id).await;
    bench.emulator.clock().advance(MINUTE);
    let later = bench.remove_password(&key_id).await;

    assert_eq!(early.graph_error(), failed(400, "Request_BadRequest"));
    assert_eq!(later.status, 204, "{later:?}");
}

#[tokio::test]
async fn a_new_application_is_not_found_at_once() {
    let bench = standing().await;
    bench
        .emulator
        .behave(|it| it.object_lag = Span::exactly(MINUTE));
    bench.emulator.clock().advance(MINUTE);
    let made = bench
        .graph(
            Method::POST,
            "/applications",
            Some(json!({ "displayName": "new" })),
        )
        .await;
    let path = format!("/applications/{}", made.json()["id"].as_str().unwrap());

    let early = bench.graph(Method::GET, &path, None).await;
    bench.emulator.clock().advance(MINUTE);
    let later = bench.graph(Method::GET, &path, None).await;

    assert_eq!(early.graph_error(), failed(404, "Request_ResourceNotFound"));
    assert_eq!(later.status, 200, "{later:?}");
}

#[tokio::test]
async fn a_granted_role_reaches_tokens_later() {
    let bench = standing().await;
    bench
        .emulator
        .behave(|it| it.grant_lag = Span::exactly(MINUTE));
    bench.emulator.clock().advance(MINUTE);
    bench
        .emulator
        .grant_role(bench.app().client_id(), "Organization.Read.All")
        .unwrap();

    let early = bench.graph(Method::GET, "/organization", None).await;
    bench.emulator.clock().advance(MINUTE);
    let later = bench.graph(Method::GET, "/organization", None).await;

    assert_eq!((early.status.as_u16(), later.status.as_u16()), (403, 200));
}

#[tokio::test]
async fn the_token_endpoint_throttles_in_plain_text() {
    let bench = standing().await;
    let limit = Throttle::new(2, MINUTE).with_retry_after(60);
    bench.emulator.behave(|it| it.token_throttle = Some(limit));
    let secret = bench.app().secret().expose().to_owned();

    assert_eq!(accepted(&bench, &secret, 2).await, 2);
    let third = bench.with_secret(&secret).await;
    bench.emulator.clock().advance(MINUTE);

    assert_eq!(
        (third.status.as_u16(), third.body.as_str()),
        (429, "Too Many Requests")
    );
    assert_eq!(third.header("retry-after"), "60");
    assert_eq!(accepted(&bench, &secret, 3).await, 2);
}

#[tokio::test]
async fn graph_throttles_with_or_without_retry_after() {
    let bench = standing().await;
    let token = bench.token().await;
    let read = async || {
        bench
            .graph_as(&token, Method::GET, &bench.application(""), None)
            .await
    };

    bench
        .emulator
        .behave(|it| it.graph_throttle = Some(Throttle::new(1, MINUTE)));
    assert_eq!(read().await.status, 200);
    let bare = read().await;
    bench
        .emulator
        .behave(|it| it.graph_throttle = Some(Throttle::new(1, MINUTE).with_retry_after(7)));
    let told = read().await;

    assert_eq!(bare.graph_error(), failed(429, "TooManyRequests"));
    assert_eq!(
        (bare.header("retry-after"), told.header("retry-after")),
        ("", "7")
    );
}

#[tokio::test]
async fn writes_that_follow_too_closely_conflict_in_one_of_three_ways() {
    let bench = standing().await;
    let add = async || {
        bench
            .graph(
                Method::POST,
                &bench.application("/addPassword"),
                Some(json!({})),
            )
            .await
    };
    bench
        .emulator
        .behave(|it| it.concurrency.spacing = TimeDelta::seconds(5));

    assert_eq!(add().await.status, 200);
    for (answer, expected) in [
        (
            ConflictAnswer::Conflict,
            failed(409, "Directory_ConcurrencyViolation"),
        ),
        (
            ConflictAnswer::Unavailable,
            failed(503, "Directory_ConcurrencyViolation"),
        ),
        (
            ConflictAnswer::BadRequest,
            failed(400, "Request_BadRequest"),
        ),
    ] {
        bench.emulator.behave(|it| it.concurrency.answer = answer);
        let refused = add().await;
        assert_eq!(refused.graph_error(), expected);
        assert!(refused.body.contains("concurrent requests"), "{refused:?}");
    }
    bench.emulator.clock().advance(TimeDelta::seconds(5));
    assert_eq!(add().await.status, 200);
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id()).len(),
        3,
        "a refused write writes nothing"
    );
}

#[tokio::test]
async fn writes_may_conflict_by_chance() {
    let bench = standing().await;
    bench.emulator.behave(|it| {
        it.concurrency.probability = 0.5;
        it.concurrency.answer = ConflictAnswer::Mixed;
    });
    let mut statuses = Vec::new();

    for _ in 0..40 {
        let answer = bench
            .graph(
                Method::POST,
                &bench.application("/addPassword"),
                Some(json!({})),
            )
            .await;
        statuses.push(answer.status.as_u16());
    }

    for status in [200, 400, 409, 503] {
        assert!(
            statuses.contains(&status),
            "{status} is missing: {statuses:?}"
        );
    }
}

#[tokio::test]
async fn hints_may_be_absent() {
    let bench = standing().await;
    let hint = async || {
        bench
            .graph(Method::GET, &bench.application(""), None)
            .await
            .json()["passwordCredentials"][0]["hint"]
            .clone()
    };

    assert_eq!(hint().await, bench.app().secret().expose()[..3]);
    bench.emulator.behave(|it| it.hints = false);
    assert!(hint().await.is_null());
}
