mod answer;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{AccessToken, Secret};

use self::answer::{Answer, Field};

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
        let answer = Answer::read(body).ok_or("is not a JSON object")?;
        if let Field::Text(kind) = &answer.token_type
            && !kind.eq_ignore_ascii_case("bearer")
        {
            return Err("holds a token of another type than Bearer");
        }
        let expires_on = expires_on(&answer, sent_at);
        let refresh_on = answer.refresh_in.number();
        let token = secret(answer.access_token).ok_or("holds no access token")?;
        if !is_graphic(token.expose()) {
            return Err("holds an access token that can't stand in a header");
        }
        if expires_on <= sent_at {
            return Err("holds a token that has expired already");
        }
        Ok(Self {
            token: AccessToken::new(token, sent_at, expires_on)
                .with_refresh_on(refresh_on.map(|seconds| after(sent_at, lifetime(seconds)))),
            refresh_token: secret(answer.refresh_token),
            id_token: secret(answer.id_token),
            scope: answer.scope.text(),
        })
    }
}

/// The least and the greatest byte speak for all, and are found many at a time.
fn is_graphic(text: &str) -> bool {
    let bytes = text.bytes();
    let (least, greatest) = bytes.fold((b'!', b'~'), |(least, greatest), byte| {
        (least.min(byte), greatest.max(byte))
    });
    (least, greatest) == (b'!', b'~')
}

/// `expires_in` counts from when the request was sent, so that the answer's delay can't make a token
/// look younger than it is. Managed identities say `expires_on`, in seconds since 1970.
fn expires_on(answer: &Answer, sent_at: DateTime<Utc>) -> DateTime<Utc> {
    let left = answer.expires_in.number().or_else(|| {
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
        Some(answer.expires_on.number()? - sent_at.timestamp() as f64)
    });
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

fn secret(field: Field) -> Option<Secret> {
    let text = field.text().filter(|text| !text.is_empty())?;
    Some(Secret::new(text))
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
            r#"["t"]"#,
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

    #[test]
    fn a_field_that_is_of_no_use_takes_no_other_with_it() {
        for useless in ["null", "true", "[1,[2]]", r#"{"a":{"b":1}}"#, "7", r#""""#] {
            let fields = [
                "refresh_token",
                "id_token",
                "token_type",
                "expires_on",
                "refresh_in",
            ];
            for field in fields {
                if (field, useless) == ("token_type", r#""""#) {
                    continue;
                }
                let grant = read(&format!(
                    r#"{{"{field}":{useless},"access_token":"t","expires_in":3600}}"#
                ));
                assert_eq!(
                    grant.unwrap().token.token.expose(),
                    "t",
                    "{field}: {useless}"
                );
            }
        }
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
