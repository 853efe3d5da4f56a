use std::time::Duration;

use keywheel_core::{CredentialErrorKind, Secret};
use tokio::time::Instant;

use super::*;
use crate::test_support::{Answer, Fields, Service, client_id, granted, noon, refused, reply};

fn form(grant_type: GrantType) -> Form {
    Form::new(client_id(), grant_type, &[Cloud::public().graph_scope()])
}

fn secret() -> ClientSecret {
    ClientSecret::new(Secret::new("kq~8Q~made-up")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_tried_again_until_it_passes() {
    let service = Service::new(|number: usize, _: &Fields| match number {
        0 => Err(TransportError::new(TransportErrorKind::Connect)),
        1 => Err(TransportError::new(TransportErrorKind::Timeout)),
        2 => reply(503, "<html>"),
        3 => reply(429, "Too Many Requests"),
        _ => granted("t"),
    });
    let secret = secret();
    let form = form(GrantType::ClientCredentials);
    let result = service
        .endpoint()
        .exchange(&form, Proof::Secret(&secret))
        .await;

    assert!(result.is_ok(), "{result:?}");
    assert_eq!(service.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_and_the_last_error_is_told() {
    let service = Service::new(|_: usize, _: &Fields| reply(503, ""));
    let start = Instant::now();
    let (form, secret) = (form(GrantType::ClientCredentials), secret());
    let result = service
        .endpoint()
        .exchange(&form, Proof::Secret(&secret))
        .await;

    assert_eq!(result.unwrap_err().kind(), CredentialErrorKind::Unavailable);
    assert_eq!(service.count(), 5);
    assert!(start.elapsed() < Duration::from_secs(91));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_stays_is_not_tried_again() {
    let service = Service::new(|_: usize, _: &Fields| refused("invalid_client", 7_000_215));
    let (form, secret) = (form(GrantType::ClientCredentials), secret());
    let result = service
        .endpoint()
        .exchange(&form, Proof::Secret(&secret))
        .await;

    assert_eq!(
        result.unwrap_err().kind(),
        CredentialErrorKind::InvalidClient
    );
    assert_eq!(service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_asked_for_is_kept() {
    let service = Service::new(|number: usize, _: &Fields| {
        if number > 0 {
            return granted("t");
        }
        let mut answer = reply(429, "Too Many Requests")?;
        answer
            .headers_mut()
            .insert("retry-after", http::HeaderValue::from_static("20"));
        Ok(answer)
    });
    let start = Instant::now();
    let (form, secret) = (form(GrantType::ClientCredentials), secret());
    let result = service
        .endpoint()
        .exchange(&form, Proof::Secret(&secret))
        .await;

    assert!(result.is_ok());
    assert!(start.elapsed() >= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_code_is_redeemed_again_only_if_the_request_certainly_had_no_effect() {
    for (first, sent) in [
        (TransportErrorKind::Connect, 2),
        (TransportErrorKind::Interrupt, 1),
        (TransportErrorKind::Timeout, 1),
    ] {
        let service = Service::new(move |number: usize, _: &Fields| match number {
            0 => Err(TransportError::new(first)),
            _ => granted("t"),
        });
        let (form, secret) = (form(GrantType::AuthorizationCode), secret());
        let result = service
            .endpoint()
            .exchange(&form, Proof::Secret(&secret))
            .await;

        assert_eq!(service.count(), sent, "{first:?}");
        assert_eq!(result.is_ok(), sent == 2, "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_an_assertion_and_a_request_id_of_its_own() {
    #[derive(Debug)]
    struct Numbered(std::sync::atomic::AtomicUsize);

    #[async_trait::async_trait]
    impl ClientAssertion for Numbered {
        async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Secret::new(format!(
                "assertion {number} for {}",
                endpoint.url()
            )))
        }
    }

    let service = Service::new(|number: usize, _: &Fields| match number {
        0 => reply(503, ""),
        _ => granted("t"),
    });
    let assertion = Numbered(std::sync::atomic::AtomicUsize::new(0));
    let form = form(GrantType::ClientCredentials);
    let endpoint = service.endpoint();
    endpoint
        .exchange(&form, Proof::Assertion(&assertion))
        .await
        .unwrap();

    for number in 0..2 {
        let sent = service.form(number);
        let assertion = format!("assertion {number} for {}", endpoint.url());
        assert_eq!(sent.get("client_assertion"), assertion);
        assert_eq!(sent.get("client_assertion_type"), ASSERTION_TYPE);
        assert_eq!(sent.get("client_secret"), "");
    }
    let id = |number| {
        service.with_request(number, |request| {
            request.headers()["client-request-id"].clone()
        })
    };
    assert_ne!(id(0), id(1));
}

#[tokio::test(start_paused = true)]
async fn a_success_that_makes_no_sense_is_not_tried_again() {
    let service = Service::new(|_: usize, _: &Fields| reply(200, "<html>Sign in to Wi-Fi</html>"));
    let (form, secret) = (form(GrantType::ClientCredentials), secret());
    let result = service
        .endpoint()
        .exchange(&form, Proof::Secret(&secret))
        .await;

    let error = result.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::Protocol);
    assert!(error.to_string().contains("proxy"), "{error}");
    assert_eq!(service.count(), 1);
}

/// An answer of a server whose clock shows `date`.
fn dated(answer: Answer, date: DateTime<Utc>) -> Answer {
    let mut answer = answer?;
    let date = date.format("%a, %d %b %Y %T GMT").to_string();
    answer.headers_mut().insert("date", date.parse().unwrap());
    Ok(answer)
}

/// States when it was made.
#[derive(Debug)]
struct Stamped;

#[async_trait::async_trait]
impl ClientAssertion for Stamped {
    async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError> {
        Ok(Secret::new(endpoint.assertion_time().to_rfc3339()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_that_is_refused_for_its_times_is_sent_once_more_and_the_skew_told() {
    for (off, words) in [
        (TimeDelta::hours(-2), "7200 seconds ahead of Entra's"),
        (TimeDelta::hours(2), "7200 seconds behind Entra's"),
    ] {
        let service = Service::new(move |_: usize, _: &Fields| {
            dated(refused("invalid_client", 700_024), noon() + off)
        });
        let form = form(GrantType::ClientCredentials);
        let result = service.endpoint();
        let result = result
            .exchange_once(&form, Proof::Assertion(&Stamped))
            .await;

        let error = result.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(service.count(), 2);
        let made = |number| {
            let made = service.form(number);
            made.get("client_assertion")
                .parse::<DateTime<Utc>>()
                .unwrap()
        };
        assert_eq!(made(0), noon());
        assert!((made(1) - noon() - off).abs() < TimeDelta::seconds(2));
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_that_is_refused_while_clocks_agree_is_not_sent_again() {
    let refusals: [fn() -> Answer; 3] = [
        || dated(refused("invalid_client", 700_024), noon()),
        || refused("invalid_client", 700_024),
        || {
            dated(
                refused("invalid_client", 700_027),
                noon() + TimeDelta::hours(2),
            )
        },
    ];
    for refusal in refusals {
        let service = Service::new(move |_: usize, _: &Fields| refusal());
        let form = form(GrantType::ClientCredentials);
        let result = service.endpoint();
        let result = result
            .exchange_once(&form, Proof::Assertion(&Stamped))
            .await;

        let error = result.unwrap_err().to_string();
        assert!(!error.contains("seconds"), "{error}");
        assert_eq!(service.count(), 1);
    }
}
