use std::borrow::Cow;
use std::{fmt, mem};

use bytes::Bytes;
use keywheel_core::{ClientId, Scope, Secret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;
use zeroize::Zeroize;

/// One token request, its fields encoded as they come (RFC 6749, appendix B).
#[derive(Debug)]
pub(crate) struct Form {
    client: ClientId,
    fresh_connection: bool,
    grant_type: GrantType,
    body: Body,
    /// What the body holds that nobody should see.
    secrets: Vec<Secret>,
}

/// Room for a scope, and for a client secret after it.
const ROOM: usize = 160;

/// What is encoded in a form; a blank as `%20`, which is read as `+` is.
/// <https://url.spec.whatwg.org/#application-x-www-form-urlencoded-percent-encode-set>
const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// What is given for the token (RFC 6749, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
}

impl GrantType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// Tells whether a user stands behind the grant, who can sign in again.
    pub(crate) fn has_user(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::RefreshToken => true,
            Self::ClientCredentials => false,
        }
    }
}

impl Form {
    pub(crate) fn new(client: ClientId, grant_type: GrantType, scopes: &[Scope]) -> Self {
        let mut id = Uuid::encode_buffer();
        Self {
            client,
            fresh_connection: false,
            grant_type,
            body: Body(String::with_capacity(ROOM)),
            secrets: Vec::new(),
        }
        .with_plain(
            "client_id",
            client.as_uuid().hyphenated().encode_lower(&mut id),
        )
        .with_plain("grant_type", grant_type.as_str())
        .with("scope", &scope(grant_type, scopes))
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.begin(name, 3 * value.len());
        self.body.0.extend(utf8_percent_encode(value, SPECIAL));
        self
    }

    /// Adds a value of which nothing needs to be encoded.
    fn with_plain(mut self, name: &'static str, value: &str) -> Self {
        self.begin(name, value.len());
        self.body.0.push_str(value);
        self
    }

    pub(crate) fn with_secret(mut self, name: &'static str, value: &Secret) -> Self {
        self.secrets.push(value.clone());
        self.with(name, value.expose())
    }

    pub(crate) fn with_claims(self, claims: Option<&str>) -> Self {
        match claims {
            Some(claims) => self.with("claims", claims),
            None => self,
        }
    }

    pub(crate) fn on_fresh_connection(mut self) -> Self {
        self.fresh_connection = true;
        self
    }

    pub(crate) fn wants_fresh_connection(&self) -> bool {
        self.fresh_connection
    }

    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    pub(crate) fn grant_type(&self) -> GrantType {
        self.grant_type
    }

    /// A code is good for one redemption; the other grants may be presented any number of times.
    pub(crate) fn may_take_effect_twice(&self) -> bool {
        self.grant_type != GrantType::AuthorizationCode
    }

    /// Takes the body out, which is overwritten once it was sent.
    pub(crate) fn take_body(&mut self) -> Bytes {
        Bytes::from_owner(mem::take(&mut self.body))
    }

    /// Blanks in `text` whatever of this request should not be seen: a server may repeat it.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = self.secrets.iter().map(Secret::expose);
        let secrets = secrets.filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret, "[redacted]")
        })
    }

    /// Adds the name of a field, and sees that a value of this length fits in. Moving a body to where there is
    /// room leaves nothing behind.
    fn begin(&mut self, name: &'static str, value: usize) {
        let body = &self.body.0;
        let more = name.len() + value + "&=".len();
        if body.capacity() - body.len() < more {
            self.body = self.body.copy(body.len() + more + ROOM);
        }
        let body = &mut self.body.0;
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(name);
        body.push('=');
    }
}

/// A text that is shown to nobody, and overwritten when it goes.
#[derive(Default)]
struct Body(String);

impl Body {
    fn copy(&self, capacity: usize) -> Self {
        let mut copy = String::with_capacity(capacity);
        copy.push_str(&self.0);
        Self(copy)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Emptied first: what is not in use is overwritten at one go, what is in use byte by byte.
        self.0.clear();
        self.0.zeroize();
    }
}

/// With room for the proof that is added to each copy.
impl Clone for Form {
    fn clone(&self) -> Self {
        Self {
            body: self.body.copy(self.body.0.len() + ROOM),
            secrets: self.secrets.clone(),
            ..*self
        }
    }
}

/// A refresh asks for the next refresh token too.
fn scope(grant_type: GrantType, scopes: &[Scope]) -> Cow<'_, str> {
    match (grant_type, scopes) {
        (GrantType::AuthorizationCode | GrantType::ClientCredentials, [one]) => one.as_str().into(),
        (GrantType::AuthorizationCode | GrantType::ClientCredentials, _) => joined(scopes, &[]),
        (GrantType::RefreshToken, _) => joined(scopes, &["offline_access"]),
    }
}

fn joined(scopes: &[Scope], more: &[&str]) -> Cow<'static, str> {
    let scopes = scopes.iter().map(Scope::as_str);
    let scopes: Vec<_> = scopes.chain(more.iter().copied()).collect();
    scopes.join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let scope = "https://graph.microsoft.com/.default".parse().unwrap();
        Form::new(
            ClientId::from(Uuid::from_u128(1)),
            GrantType::ClientCredentials,
            &[scope],
        )
        .with_secret("client_secret", &Secret::new("a+b/c=~ü&d"))
    }

    #[test]
    fn old_secrets_are_encoded() {
        let body = form().take_body();
        let text = std::str::from_utf8(&body).unwrap();

        assert!(
            text.ends_with("&client_secret=a%2Bb%2Fc%3D%7E%C3%BC%26d"),
            "{text}"
        );
        assert!(
            text.contains("scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"),
            "{text}"
        );
    }

    #[test]
    fn a_secret_that_a_server_repeats_is_blanked() {
        let text = form().redact("bad value 'a+b/c=~ü&d'");

        assert_eq!(text, "bad value '[redacted]'");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", form());

        for secret in ["a+b", "a%2Bb"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
