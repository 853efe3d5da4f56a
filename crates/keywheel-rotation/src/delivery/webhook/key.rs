use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

/// The key that a webhook's sender and receiver share.
#[derive(Clone)]
pub struct WebhookKey(Key);

/// A text is no webhook key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("webhook key: {problem}; make one with: echo whsec_$(openssl rand -base64 32)")]
pub struct InvalidWebhookKey {
    problem: &'static str,
}

impl WebhookKey {
    /// Reads a key: `whsec_` and the Base64 of 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// Returns an error, without the key, when the text is another one.
    pub fn parse(text: &Secret) -> Result<Self, InvalidWebhookKey> {
        let invalid = |problem| InvalidWebhookKey { problem };
        let encoded = text
            .expose()
            .trim()
            .strip_prefix("whsec_")
            .ok_or_else(|| invalid("expected it to begin with whsec_"))?;
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| invalid("expected Base64 after whsec_"))?;
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(Key::new(HMAC_SHA256, &bytes)))
        } else {
            Err(invalid("expected 24 to 64 bytes"))
        }
    }

    /// Returns `v1,` and the signature.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let tag = sign(&self.0, &signed(id, timestamp, body));
        format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
    }

    /// Tells whether a webhook that arrived is genuine and fresh: what a receiver asks, with the values of
    /// the three headers and the body as it came.
    ///
    /// Fresh means that the timestamp is within `tolerance` of `now`; five minutes are customary. Keep the
    /// ids that were seen for that long to notice repetitions.
    #[must_use]
    pub fn verify(
        &self,
        (id, timestamp, signatures): (&str, &str, &str),
        body: &[u8],
        now: DateTime<Utc>,
        tolerance: Duration,
    ) -> bool {
        let Ok(timestamp) = timestamp.parse::<i64>() else {
            return false;
        };
        let tolerance = TimeDelta::from_std(tolerance).unwrap_or(TimeDelta::MAX);
        let age = TimeDelta::try_seconds(now.timestamp().saturating_sub(timestamp));
        if age.is_none_or(|age| age.abs() > tolerance) {
            return false;
        }
        let signed = signed(id, timestamp, body);
        signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok())
            .any(|tag| verify(&self.0, &signed, &tag).is_ok())
    }
}

fn signed(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    signed
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const AT: i64 = 1_614_265_330;
    /// What standardwebhooks 1.0 for Python signs.
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key(text: &str) -> Result<WebhookKey, InvalidWebhookKey> {
        WebhookKey::parse(&Secret::new(text))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn accepts(headers: (&str, &str, &str), body: &[u8], now: i64) -> bool {
        let tolerance = Duration::from_mins(5);
        key(KEY).unwrap().verify(headers, body, at(now), tolerance)
    }

    #[test]
    fn signatures_are_those_of_the_reference_library() {
        assert_eq!(key(KEY).unwrap().sign(ID, AT, BODY), SIGNATURE);
    }

    #[test]
    fn a_receiver_takes_what_is_genuine_and_fresh_only() {
        let when = AT.to_string();
        let genuine = (ID, when.as_str(), SIGNATURE);

        assert!(accepts(genuine, BODY, AT + 299));
        let two = format!("v1a,AAAA v1,AAAA {SIGNATURE}");
        assert!(accepts((ID, &when, &two), BODY, AT));
        assert!(!accepts(genuine, b"{}", AT), "another body");
        assert!(
            !accepts(("other", &when, SIGNATURE), BODY, AT),
            "another id"
        );
        assert!(!accepts(genuine, BODY, AT + 301), "too old");
        assert!(!accepts(genuine, BODY, AT - 301), "from the future");
        assert!(!accepts((ID, "soon", SIGNATURE), BODY, AT), "no time");
        assert!(!accepts((ID, &i64::MIN.to_string(), SIGNATURE), BODY, AT));
        assert!(!accepts((ID, &when, "v1,"), BODY, AT), "no signature");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%"] {
            let error = key(text).unwrap_err().to_string();
            assert!(error.contains("openssl"), "{error}");
            assert!(!error.contains("c2hvcnQ"), "{error}");
        }
        assert_eq!(format!("{:?}", key(KEY).unwrap()), "WebhookKey([redacted])");
    }
}
