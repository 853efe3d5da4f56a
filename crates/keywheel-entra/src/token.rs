use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel_core::{AccessToken, ClientId};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

/// What is read of an access token, for diagnosis only: Microsoft says that tokens of its own APIs are
/// opaque, so whatever can't be read is unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    #[serde(deserialize_with = "soft")]
    pub(crate) roles: Option<Vec<String>>,
    #[serde(deserialize_with = "soft")]
    pub(crate) scp: Option<String>,
    #[serde(deserialize_with = "soft")]
    pub(crate) oid: Option<Uuid>,
    #[serde(deserialize_with = "soft")]
    pub(crate) tid: Option<Uuid>,
    #[serde(deserialize_with = "soft")]
    pub(crate) idtyp: Option<String>,
    #[serde(deserialize_with = "soft", alias = "azp")]
    pub(crate) appid: Option<ClientId>,
    /// The directory roles of a signed-in user, by the ids of their templates.
    #[serde(deserialize_with = "soft")]
    pub(crate) wids: Option<Vec<Uuid>>,
}

/// A member of an unexpected form is one that is not there.
fn soft<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

impl Claims {
    pub(crate) fn read(token: &AccessToken) -> Self {
        let payload = token.token.expose().split('.').nth(1).unwrap_or_default();
        let json = BASE64_URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// Tells whether nothing could be read.
    pub(crate) fn is_opaque(&self) -> bool {
        self.tid.is_none() && self.oid.is_none() && self.roles.is_none() && self.scp.is_none()
    }

    pub(crate) fn is_user(&self) -> bool {
        self.scp.is_some() || self.idtyp.as_deref() == Some("user")
    }

    /// Returns the permissions in the token: application permissions of an application's own token,
    /// delegated ones of a user's.
    pub(crate) fn permissions(&self) -> Vec<&str> {
        match &self.scp {
            Some(scopes) => scopes.split_ascii_whitespace().collect(),
            None => self.roles.iter().flatten().map(String::as_str).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use keywheel_core::Secret;

    use super::*;

    fn read(payload: &str) -> Claims {
        let text = format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(payload));
        let start = DateTime::UNIX_EPOCH;
        Claims::read(&AccessToken::new(
            Secret::new(text),
            start,
            start + TimeDelta::hours(1),
        ))
    }

    #[test]
    fn tokens_that_can_not_be_read_are_unknown_and_no_error() {
        for payload in [
            "",
            "{}",
            "[]",
            "\u{0}",
            "{\"roles\":",
            "{\"tid\":7,\"roles\":\"x\",\"wids\":{}}",
        ] {
            assert!(read(payload).is_opaque(), "{payload}");
        }
        for text in ["opaque", "EwBwA8l6BAAU", "a.b.c.d.e", "..", ""] {
            let start = DateTime::UNIX_EPOCH;
            let token = AccessToken::new(Secret::new(text), start, start);
            assert!(Claims::read(&token).is_opaque(), "{text}");
        }
    }

    #[test]
    fn roles_are_an_applications_and_scopes_a_users() {
        let application = read(r#"{"roles":["A.Read","B.Read"],"idtyp":"app"}"#);
        assert_eq!(application.permissions(), ["A.Read", "B.Read"]);
        assert!(!application.is_user());

        let user = read(r#"{"scp":"A.Read User.Read","roles":["x"],"tid":"x"}"#);
        assert_eq!(user.permissions(), ["A.Read", "User.Read"]);
        assert!(user.is_user() && user.tid.is_none());
    }
}
