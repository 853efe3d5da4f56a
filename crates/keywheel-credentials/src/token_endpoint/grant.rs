use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{AccessToken, Secret};
use serde_json::{Map, Value};

/// What a successful answer gives (RFC 6749, section 5.1).
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: AccessToken,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) id_token: Option<Secret>,
    pub(crate) scope: Option<String>,
}

/// How long a token is taken to last whose answer does not say: less than the ten minutes that are the
/// shortest lifetime Entra's policies allow.
const UNSTATED_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// Longer lifetimes are cut, so that a senseless number can't overflow a date.
const LONGEST_LIFETIME: f64 = 366.0 * 86_400.0;

impl Grant {
    /// Reads `body`, the answer to a request that was sent at `sent_at`.
    ///
    /// Numbers may be strings, as on older endpoints. On failure the flaw is named in words.
    pub(crate) fn read(body: &[u8], sent_at: DateTime<Utc>) -> Result<Self, &'static str> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Err("is not a JSON object");
        };
        if let Some(Value::String(kind)) = fields.get("token_type")
            && !kind.eq_ignore_ascii_case("bearer")
        {
            return Err("holds a token of another type than Bearer");
        }
        let token = take(&mut fields, "access_token").ok_or("holds no access token")?;
        if !is_graphic(token.expose()) {
            return Err("holds an access token that can't stand in a header");
        }
        let expires_on = expires_on(&fields, sent_at);
        if expires_on <= sent_at {
            return Err("holds a token that has expired already");
        }
        let refresh_on =
            number(&fields, "refresh_in").map(|seconds| after(sent_at, lifetime(seconds)));
        Ok(Self {
            token: AccessToken::new(token, sent_at, expires_on).with_refresh_on(refresh_on),
            refresh_token: take(&mut fields, "refresh_token"),
            id_token: take(&mut fields, "id_token"),
            scope: text(&fields, "scope"),
        })
    }
}

/// Looks at all of it, some bytes at a time, which is faster than to stop at the first that is not.
fn is_graphic(text: &str) -> bool {
    let bytes = text.bytes();
    bytes.fold(true, |graphic, byte| graphic & byte.is_ascii_graphic())
}

/// `expires_in` counts from when the request was sent, so that the answer's delay can't make a token
/// look younger than it is. Managed identities say `expires_on`, in seconds since 1970.
fn expires_on(fields: &Map<String, Value>, sent_at: DateTime<Utc>) -> DateTime<Utc> {
    if let Some(seconds) = number(fields, "expires_in") {
        return after(sent_at, lifetime(seconds));
    }
    let unix = number(fields, "expires_on");
    #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
    let left = unix.map(|unix| unix - sent_at.timestamp() as f64);
    after(sent_at, left.map_or(UNSTATED_LIFETIME, lifetime))
}

fn after(start: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
    start
        .checked_add_signed(span)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn lifetime(seconds: f64) -> TimeDelta {
    #[expect(clippy::cast_possible_truncation, reason = "it is within a year")]
    TimeDelta::seconds(seconds.clamp(0.0, LONGEST_LIFETIME) as i64)
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<f64> {
    let number = match fields.get(name)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name)?.as_str().map(str::to_owned)
}

/// Moves a text out, so that it is not copied.
fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Secret> {
    match fields.remove(name)? {
        Value::String(text) if !text.is_empty() => Some(Secret::new(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn sent_at() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
    }

    fn read(body: &str) -> Result<Grant, &'static str> {
        Grant::read(body.as_bytes(), sent_at())
    }

    fn lasts(fields: &str) -> TimeDelta {
        let grant = read(&format!(r#"{{"access_token":"t"{fields}}}"#)).unwrap();
        grant.token.expires_on - sent_at()
    }

    #[test]
    fn a_lifetime_is_read_in_every_spelling() {
        let unix = (sent_at() + TimeDelta::hours(1)).timestamp();

        assert_eq!(lasts(r#","expires_in":3599"#), TimeDelta::seconds(3599));
        assert_eq!(lasts(r#","expires_in":"3599""#), TimeDelta::seconds(3599));
        assert_eq!(lasts(r#","expires_in":3599.9"#), TimeDelta::seconds(3599));
        assert_eq!(
            lasts(&format!(r#","expires_on":"{unix}""#)),
            TimeDelta::hours(1)
        );
        assert_eq!(
            lasts(r#","expires_in":1e300"#),
            TimeDelta::seconds(366 * 86_400)
        );
        assert_eq!(lasts(""), UNSTATED_LIFETIME);
        assert_eq!(lasts(r#","expires_in":null"#), UNSTATED_LIFETIME);
    }

    #[test]
    fn what_is_no_bearer_token_is_refused() {
        for body in [
            "<html>sign in to the network</html>",
            "",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t","expires_in":0}"#,
            r#"{"access_token":"t","expires_in":-5}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn refresh_in_and_the_tokens_of_a_user_are_kept() {
        let grant = read(
            r#"{"token_type":"bearer","access_token":"a","expires_in":86399,"refresh_in":"43200",
                "refresh_token":"r","id_token":"i","scope":"openid profile","unknown":[1]}"#,
        )
        .unwrap();

        assert_eq!(
            grant.token.refresh_on,
            Some(sent_at() + TimeDelta::hours(12))
        );
        assert_eq!(grant.refresh_token.unwrap().expose(), "r");
        assert_eq!(grant.id_token.unwrap().expose(), "i");
        assert_eq!(grant.scope.as_deref(), Some("openid profile"));
    }

    proptest! {
        #![proptest_config(crate::test_support::cases())]

        #[test]
        fn any_token_that_is_read_is_valid(body in any::<Vec<u8>>(), number in any::<f64>()) {
            if let Ok(grant) = Grant::read(&body, sent_at()) {
                prop_assert!(grant.token.expires_on > sent_at());
            }
            let body = format!(r#"{{"access_token":"t","expires_in":{number},"refresh_in":{number}}}"#);
            if let Ok(grant) = read(&body) {
                prop_assert!(grant.token.expires_on > sent_at());
            }
        }
    }
}
