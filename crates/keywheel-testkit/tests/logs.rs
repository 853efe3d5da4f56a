//! What the watch over the logs takes for a secret.

use keywheel_testkit::secret_in;

#[test]
fn what_looks_like_a_secret_is_found() {
    let long = "AbC-_9".repeat(27);
    for (record, what) in [
        ("sent abc8Q~0123456789 to", "a client secret"),
        ("client_secret=abc8Q%7E01", "a client secret"),
        (
            "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln",
            "a token",
        ),
        ("Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "a token"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        (
            "signed by whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "the key of a webhook",
        ),
        (&format!("refresh_token=1.{long}&"), "a refresh token"),
    ] {
        assert_eq!(secret_in(record.as_bytes()), Some(what), "{record}");
    }
}

#[test]
fn a_key_id_a_digest_and_how_a_key_looks_are_no_secrets() {
    let digest = "0.".to_owned() + &"0a9f".repeat(32);
    for record in [
        "key_id=0aff7e1c-2a5e-4e5b-9d7e-8f1d0d0c0b0a hint=abc",
        "a webhook's key begins with whsec_ and goes on in base64",
        "-----BEGIN CERTIFICATE-----",
        &digest,
    ] {
        assert_eq!(secret_in(record.as_bytes()), None, "{record}");
    }
}
