use std::time::Duration;

use chrono::TimeZone;
use http::Response;
use http::header::RETRY_AFTER;
use keywheel_core::{ClientId, Report, Secret};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::token_endpoint::GrantType;

const SECRET: &str = "kq~8Q~made-up";

fn explain(grant: GrantType, response: Response<Vec<u8>>) -> CredentialError {
    let scope = "https://graph.microsoft.com/.default".parse().unwrap();
    let form = Form::new(ClientId::from(Uuid::from_u128(1)), grant, &[scope])
        .with_secret("client_secret", &Secret::new(SECRET));
    let (head, body) = response.into_parts();
    let refused = Refused {
        form: &form,
        request_id: Uuid::from_u128(7),
        now: Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap(),
    };
    refused.read(&head, &body)
}

fn answer(status: u16, body: impl ToString) -> Response<Vec<u8>> {
    let body = body.to_string().into_bytes();
    Response::builder().status(status).body(body).unwrap()
}

fn refused(status: u16, error: &str, code: u32) -> CredentialError {
    let body = json!({
        "error": error,
        "error_codes": [code],
        "error_description": format!("AADSTS{code}: Some words. Trace ID: 1 Correlation ID: 2"),
        "trace_id": "0f0e0d0c-0b0a-0908-0706-050403020100",
        "correlation_id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
    });
    explain(GrantType::ClientCredentials, answer(status, body))
}

#[test]
fn a_refusal_names_code_and_correlation_id_and_ends_in_what_to_do() {
    let error = refused(401, "invalid_client", 7_000_215);

    assert_eq!(error.kind(), CredentialErrorKind::InvalidClient);
    assert!(!error.is_transient());
    assert_eq!(error.aadsts_codes(), [7_000_215]);
    assert_eq!(
        error.correlation_id(),
        Some("00010203-0405-0607-0809-0a0b0c0d0e0f")
    );
    assert_eq!(
        error.trace_id(),
        Some("0f0e0d0c-0b0a-0908-0706-050403020100")
    );
    let message = error.to_string();
    assert!(
        message.starts_with(
            "Entra does not accept the client secret (AADSTS7000215, correlation id 00010203-0405"
        ),
        "{message}"
    );
    assert!(message.contains("paste the secret's value"), "{message}");
    let chain = Report(&error).to_string();
    assert!(
        chain.ends_with(": Entra says: AADSTS7000215: Some words."),
        "{chain}"
    );
}

#[test]
fn the_code_is_found_in_descriptions_of_every_age() {
    for description in [
        "AADSTS7000222: Expired.\r\nTrace ID: 1\r\nCorrelation ID: 2",
        "AADSTS7000222: Expired. Trace ID: 1 Correlation ID: 2",
        "Error: AADSTS7000222",
    ] {
        let body = json!({"error": "invalid_client", "error_description": description});
        let error = explain(GrantType::ClientCredentials, answer(401, body));

        assert_eq!(error.aadsts_codes(), [7_000_222], "{description:?}");
    }
    let body = json!({"error": "invalid_client", "error_codes": ["7000222", null, -1]});
    let error = explain(GrantType::ClientCredentials, answer(401, body));
    assert_eq!(error.aadsts_codes(), [7_000_222]);
}

#[test]
fn answers_without_an_explanation_are_judged_by_their_status() {
    use CredentialErrorKind::{Protocol, Throttled, Unavailable};

    for (status, body, kind) in [
        (429, "Too Many Requests", Throttled),
        (502, "<html>Bad Gateway</html>", Unavailable),
        (503, "", Unavailable),
        (408, "", Unavailable),
        (404, "<html>Not Found</html>", Protocol),
        (302, "", Protocol),
        (400, "[]", Protocol),
        (400, "{}", Protocol),
        (400, "{\"error\":", Protocol),
    ] {
        let error = explain(GrantType::ClientCredentials, answer(status, body));

        assert_eq!(error.kind(), kind, "{status} {body}");
        assert!(error.refusal().is_none(), "{status} {body}");
    }
}

#[test]
fn throttling_and_trouble_are_known_by_status_and_by_word() {
    use CredentialErrorKind::{Throttled, Unavailable};

    for (status, error, code, kind) in [
        (429, "temporarily_unavailable", 1, Throttled),
        (400, "invalid_grant", 50_196, Throttled),
        (503, "invalid_request", 1, Unavailable),
        (400, "temporarily_unavailable", 1, Unavailable),
        (400, "server_error", 90_033, Unavailable),
    ] {
        assert_eq!(
            refused(status, error, code).kind(),
            kind,
            "{status} {error}"
        );
    }
}

#[test]
fn a_wait_that_is_asked_for_is_kept() {
    let mut response = answer(429, "Too Many Requests");
    response
        .headers_mut()
        .insert(RETRY_AFTER, "60".parse().unwrap());

    let error = explain(GrantType::ClientCredentials, response);

    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
}

#[test]
fn only_a_user_can_be_asked_to_sign_in() {
    let body = json!({"error": "invalid_grant", "error_codes": [50_076]});
    let user = explain(GrantType::RefreshToken, answer(400, &body));
    let application = explain(GrantType::ClientCredentials, answer(400, &body));

    assert_eq!(user.kind(), CredentialErrorKind::InteractionRequired);
    assert_eq!(application.kind(), CredentialErrorKind::Denied);
}

#[test]
fn a_conditional_access_refusal_is_not_about_the_secret() {
    let error = refused(400, "interaction_required", 53_003);

    assert_eq!(error.kind(), CredentialErrorKind::Denied);
}

#[test]
fn suberror_and_claims_are_kept() {
    let claims = r#"{"access_token":{"capolids":{"essential":true}}}"#;
    let body = json!({"error": "invalid_grant", "suberror": "bad_token", "claims": claims});
    let error = explain(GrantType::RefreshToken, answer(400, body));

    assert_eq!(error.claims(), Some(claims));
    let suberror = error.refusal().and_then(|refusal| refusal.suberror.clone());
    assert_eq!(suberror.as_deref(), Some("bad_token"));
}

#[test]
fn what_a_server_repeats_is_not_shown() {
    for body in [
        json!({"error": "invalid_client", "error_description": format!("wrong: {SECRET}")}),
        json!({"error": SECRET}),
        json!({"error": {"code": SECRET, "message": SECRET}}),
        json!({"error": "x", "correlation_id": SECRET, "trace_id": SECRET, "suberror": SECRET}),
        json!({"error": "x", "error_description": format!("{}{SECRET}", "x".repeat(395))}),
    ] {
        let error = explain(GrantType::ClientCredentials, answer(401, &body));
        let shown = format!("{} {error:?}", Report(&error));

        assert!(!shown.contains("8Q"), "{shown}");
    }
}

#[test]
fn a_message_is_one_line_whatever_was_sent() {
    let body = json!({
        "error": "a\nb", "error_description": format!("x\u{1b}[31m\r\n{}", "long ".repeat(1000)),
        "correlation_id": "line\nbreak",
    });
    let error = explain(GrantType::ClientCredentials, answer(400, body));
    let shown = Report(&error).to_string();

    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(shown.len() < 1_000, "{}", shown.len());
}

#[test]
fn the_error_of_a_resource_is_read_too() {
    let body = json!({"error": {"code": "BadRequest", "message": "no"}});
    let error = explain(GrantType::ClientCredentials, answer(400, body));

    assert_eq!(error.kind(), CredentialErrorKind::Denied);
    assert!(error.to_string().contains("(BadRequest,"), "{error}");
}

proptest! {
    #![proptest_config(crate::test_support::cases())]

    #[test]
    fn any_answer_is_explained_on_one_line(
        status in 100_u16..600,
        error in prop_oneof!["[a-z_]{0,20}", ".{0,80}"],
        description in prop_oneof!["AADSTS[0-9]{0,12}.{0,40}", ".{0,500}"],
        code in any::<u64>(),
        cut in 0_usize..400,
    ) {
        let body = json!({"error": error, "error_description": description, "error_codes": [code]});
        let mut body = body.to_string().into_bytes();
        body.truncate(400 - cut);
        let response = Response::builder().status(status).body(body).unwrap();
        let error = explain(GrantType::ClientCredentials, response);

        let shown = Report(&error).to_string();
        prop_assert!(!shown.is_empty() && !shown.contains(char::is_control), "{:?}", shown);
    }
}
