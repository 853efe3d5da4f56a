use bytes::Bytes;
use http::{Request, Response};

use super::*;

const NEXT_KEY: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5";

fn webhook(fleet: &Fleet, http: MockHttpSend) -> Webhook {
    let url = "https://hooks.example/path?token=abc".parse().unwrap();
    Webhook::new(http, fleet.clock.clone(), url, key(KEY)).unwrap()
}

fn answering(status: u16, header: Option<(&'static str, &'static str)>) -> MockHttpSend {
    let mut http = MockHttpSend::new();
    http.expect_send().returning(move |_| {
        let mut answer = Response::builder().status(status);
        if let Some((name, value)) = header {
            answer = answer.header(name, value);
        }
        Ok(answer.body(Bytes::new()).unwrap())
    });
    http
}

#[tokio::test]
async fn a_webhook_is_signed_so_that_a_receiver_can_check_it() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let entry = &fleet.memory.journal(members[0].id, 0, 1).await.unwrap()[0];
    let seen: Arc<Mutex<Option<Request<Bytes>>>> = Arc::default();
    let mut http = MockHttpSend::new();
    let keep = seen.clone();
    http.expect_send().returning(move |request| {
        *keep.lock().unwrap() = Some(request);
        Ok(Response::new(Bytes::new()))
    });

    let webhook = webhook(&fleet, http).also_signed_with(key(NEXT_KEY));
    webhook.handle(entry).await.unwrap();

    let request = seen.lock().unwrap().take().unwrap();
    let headers: BTreeMap<_, _> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let signed = (
        headers["webhook-id"],
        headers["webhook-timestamp"],
        headers["webhook-signature"],
    );
    assert_eq!(signed.0, format!("{}.1", members[0].id));
    assert_eq!(request.body(), entry.body.as_bytes());
    for text in [KEY, NEXT_KEY] {
        let genuine = key(text).verify(
            signed,
            request.body(),
            fleet.clock.now(),
            Duration::from_mins(5),
        );
        assert!(genuine);
    }
    // The query of a URL may be a token.
    assert!(!format!("{webhook:?}").contains("abc"), "{webhook:?}");
}

#[tokio::test]
async fn a_webhook_tells_a_refusal_from_what_passes() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let entry = &fleet.memory.journal(members[0].id, 0, 1).await.unwrap()[0];
    for (status, refused) in [
        (302, true),
        (400, true),
        (401, true),
        (404, true),
        (410, true),
        (408, false),
        (425, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let webhook = webhook(&fleet, answering(status, None));
        let error = webhook.handle(entry).await.unwrap_err();
        assert_eq!(error.is_refused(), refused, "{status}: {error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    let mut http = MockHttpSend::new();
    http.expect_send()
        .returning(|_| Err(TransportError::new(TransportErrorKind::Timeout)));
    let error = webhook(&fleet, http).handle(entry).await.unwrap_err();
    assert!(!error.is_refused(), "{error}");
}

#[tokio::test]
async fn a_webhook_goes_over_https_only() {
    let fleet = Fleet::new();
    for (url, fine) in [
        ("https://hooks.example/", true),
        ("http://localhost:8080/", true),
        ("http://127.0.0.1/", true),
        ("http://[::1]/", true),
        ("http://hooks.example/", false),
        ("ftp://localhost/", false),
        ("https://user:word@hooks.example/", false),
        ("http://127.0.0.1.example/", false),
    ] {
        let url = url.parse().unwrap();
        let made = Webhook::new(MockHttpSend::new(), fleet.clock.clone(), url, key(KEY));
        assert_eq!(made.is_ok(), fine, "{made:?}");
    }
}

/// How often a receiver is asked within `span` that asks for time each time.
async fn tries_of_one_that_asks_for(seconds: &'static str, span: Duration) -> u32 {
    let stage = stage().await;
    let http = answering(503, Some(("retry-after", seconds)));
    let tries: Arc<Mutex<u32>> = Arc::default();
    let (count, inner) = (tries.clone(), Arc::new(http));
    let mut http = MockHttpSend::new();
    http.expect_send().returning(move |request| {
        *count.lock().unwrap() += 1;
        futures_util::FutureExt::now_or_never(keywheel_core::HttpSend::send(&inner, request))
            .unwrap()
    });

    let delivery = stage.delivery_to(webhook(&stage.fleet, http));
    run_for(&delivery, span).await;

    *tries.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_time_gets_it() {
    let tries = tries_of_one_that_asks_for("120", Duration::from_secs(119)).await;

    assert_eq!(tries, 5, "one for each connection");
}

/// It would hold up every connection once the outbox has been read so far ahead.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_a_year_is_asked_again_after_the_longest_wait() {
    let tries = tries_of_one_that_asks_for("31536000", Duration::from_secs(310)).await;

    assert_eq!(tries, 10, "two for each connection");
}
