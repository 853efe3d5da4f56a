use std::borrow::Cow;
use std::mem;

use bytes::Bytes;
use keywheel_core::{ClientId, Scope, Secret};
use url::form_urlencoded::Serializer;
use uuid::Uuid;
use zeroize::Zeroizing;

/// One token request, its fields encoded as they come (RFC 6749, appendix B).
#[derive(Debug)]
pub(crate) struct Form {
    client: ClientId,
    fresh_connection: bool,
    grant_type: GrantType,
    body: Zeroizing<String>,
    /// What the body holds that nobody should see.
    secrets: Vec<Secret>,
}

/// Room for all that comes with a client secret.
const ROOM: usize = 512;

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
            body: Zeroizing::new(String::with_capacity(ROOM)),
            secrets: Vec::new(),
        }
        .with(
            "client_id",
            client.as_uuid().hyphenated().encode_lower(&mut id),
        )
        .with("grant_type", grant_type.as_str())
        .with("scope", &scope(grant_type, scopes))
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.make_room(name.len() + 3 * value.len() + 2);
        Serializer::for_suffix(&mut *self.body, 0).append_pair(name, value);
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

    /// Sees that `more` fits in. Moving a body to where there is room leaves nothing behind.
    fn make_room(&mut self, more: usize) {
        if self.body.capacity() - self.body.len() < more {
            let mut body = String::with_capacity(self.body.len() + more + ROOM);
            body.push_str(&self.body);
            self.body = Zeroizing::new(body);
        }
    }
}

/// With the same room, for the proof that is added to each copy.
impl Clone for Form {
    fn clone(&self) -> Self {
        let mut body = String::with_capacity(self.body.capacity());
        body.push_str(&self.body);
        Self {
            body: Zeroizing::new(body),
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

        assert!(!shown.contains("a+b"), "{shown}");
    }
}
