use super::*;

fn refused(status: u16, body: &str) -> GraphError {
    let response = Response::builder().status(status).body(body.as_bytes());
    GraphError::refused(&response.unwrap(), None)
}

fn coded(status: u16, code: &str, message: &str) -> GraphError {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    refused(status, &body.to_string())
}

#[test]
fn each_refusal_is_recognised_by_code_or_by_words() {
    use Refusal::{
        AlreadyExists, BadProof, ConcurrentWrites, CredentialTypeForbidden, DelegatedOnly,
        ExpiredPage, LifetimeTooLong, LockedServicePrincipal, ObjectTooLarge, QuotaExceeded,
        TooManySecrets, UnknownKey,
    };

    let concurrent =
        "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.";
    for (status, code, words, expected) in [
        (
            400,
            "CredentialInvalidLifetimeAsPerAppPolicy",
            "Credential lifetime exceeds …",
            LifetimeTooLong,
        ),
        (
            400,
            "CredentialTypeNotAllowedAsPerAppPolicy",
            "",
            CredentialTypeForbidden,
        ),
        (
            400,
            "TooManyAppPasswords",
            "Not allowed to add 3 passwords.",
            TooManySecrets,
        ),
        (403, "Directory_ResourceSizeExceeded", "", ObjectTooLarge),
        (
            400,
            "Request_BadRequest",
            "The size of the object has exceeded its limit. Please …",
            ObjectTooLarge,
        ),
        (403, "Directory_QuotaExceeded", "", QuotaExceeded),
        (
            403,
            "CannotUpdateLockedServicePrincipalProperty",
            "",
            LockedServicePrincipal,
        ),
        (
            400,
            "Request_BadRequest",
            "No password credential found with keyId 'x'.",
            UnknownKey,
        ),
        (
            404,
            "Whatever",
            "No key credential found with keyId 'x'.",
            UnknownKey,
        ),
        (
            409,
            "Directory_ConcurrencyViolation",
            concurrent,
            ConcurrentWrites,
        ),
        (
            503,
            "Directory_ConcurrencyViolation",
            concurrent,
            ConcurrentWrites,
        ),
        (400, "Request_BadRequest", concurrent, ConcurrentWrites),
        (
            400,
            "BadRequest",
            "/me request is only valid with delegated authentication flow.",
            DelegatedOnly,
        ),
        (400, "Directory_ExpiredPageToken", "", ExpiredPage),
        (
            401,
            "Authentication_MissingOrMalformed",
            "Access Token missing or malformed.",
            BadProof,
        ),
        (
            400,
            "Request_BadRequest",
            "One or more added object references already exist for the following modified properties: 'owners'.",
            AlreadyExists,
        ),
    ] {
        let error = coded(status, code, words);
        assert_eq!(error.refusal(), Some(expected), "{status} {code}");
    }
    assert_eq!(
        coded(
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges …"
        )
        .refusal(),
        None
    );
}

#[test]
fn concurrent_writes_are_transient_and_without_effect_in_each_shape() {
    let words = "Error due to concurrent requests being made to the tenant.";
    for (status, code) in [
        (409, "Directory_ConcurrencyViolation"),
        (503, "Directory_ConcurrencyViolation"),
        (400, "Request_BadRequest"),
    ] {
        let error = coded(status, code, words);

        assert_eq!(error.kind(), GraphErrorKind::Conflict, "{status}");
        assert!(
            error.is_transient() && !error.may_have_effect(),
            "{status}: {error:?}"
        );
    }
}

#[test]
fn an_error_names_code_target_and_request_id_and_ends_in_what_to_do() {
    let error = refused(
        400,
        r#"{"error":{"details":[{"code":"InvalidKeyEndDate","message":"too long","target":"EndDate"}],
            "message":"Credential lifetime exceeds the max value allowed as per assigned policy 'p'.",
            "innerError":{"date":"2026-01-02T03:04:05","request-id":"r-1","client-request-id":"c-1"},
            "code":"CredentialInvalidLifetimeAsPerAppPolicy"}}"#,
    );

    assert_eq!(error.target(), Some("EndDate"));
    assert_eq!(error.details()[0].code(), Some("InvalidKeyEndDate"));
    assert_eq!(error.request_id(), Some("r-1"));
    let text = error.to_string();
    assert!(
        text.contains("400 CredentialInvalidLifetimeAsPerAppPolicy"),
        "{text}"
    );
    assert!(
        text.contains("request id r-1") && text.ends_with("choose an earlier end date"),
        "{text}"
    );
}

#[test]
fn bodies_that_are_not_graphs_leave_the_status() {
    for body in [
        "<html><body>Bad gateway</body></html>",
        "",
        "null",
        "[]",
        r#"{"error":"text"}"#,
        r#"{"error":{"code":7,"message":{"lang":"en","value":"old gateway"},"details":{"a":1}}}"#,
    ] {
        let error = refused(502, body);

        assert_eq!(error.kind(), GraphErrorKind::Unavailable, "{body}");
        assert!(error.may_have_effect(), "{body}");
        assert!(!error.to_string().contains("<html>"), "{error}");
    }
    let old = refused(
        400,
        r#"{"error":{"code":"c","message":{"lang":"en","value":"old gateway"}}}"#,
    );
    assert_eq!(old.text(), Some("old gateway"));
}

#[test]
fn what_is_kept_of_an_answer_is_cut_short() {
    let error = coded(400, &"c".repeat(10_000), &"m\u{7}\n".repeat(10_000));

    assert!(error.to_string().len() < 600, "{}", error.to_string().len());
    assert!(!error.to_string().contains(['\n', '\u{7}']));
}
