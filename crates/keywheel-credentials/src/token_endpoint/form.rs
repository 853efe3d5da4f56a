use std::sync::Arc;

use bytes::Bytes;
use keywheel_core::{ClientId, Scope, Secret};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

/// The fields of one token request.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    client: ClientId,
    fields: Vec<(&'static str, Field)>,
    fresh_connection: bool,
    grant_type: GrantType,
}

#[derive(Clone, Debug)]
enum Field {
    /// Shared by the copies of a form: each attempt adds its proof to one.
    Plain(Arc<str>),
    Secret(Secret),
}

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
        Self {
            client,
            fields: Vec::with_capacity(4),
            fresh_connection: false,
            grant_type,
        }
        .with("client_id", client.to_string())
        .with("grant_type", grant_type.as_str())
        .with("scope", joined(scopes))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Arc<str>>) -> Self {
        self.fields.push((name, Field::Plain(value.into())));
        self
    }

    pub(crate) fn with_secret(mut self, name: &'static str, value: &Secret) -> Self {
        self.fields.push((name, Field::Secret(value.clone())));
        self
    }

    /// Asks for `scope` too.
    pub(crate) fn with_scope(mut self, scope: &str) -> Self {
        for (name, value) in &mut self.fields {
            if let ("scope", Field::Plain(scopes)) = (*name, value) {
                *scopes = format!("{scopes} {scope}").into();
            }
        }
        self
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

    /// Returns the body, which is overwritten once it was sent.
    pub(crate) fn encode(&self) -> Bytes {
        // Room for the worst case, so that no half-written copy is left behind by growing.
        let room = |(name, value): &(&str, Field)| name.len() + 3 * value.text().len() + 2;
        let mut body = Zeroizing::new(String::with_capacity(self.fields.iter().map(room).sum()));
        let mut form = Serializer::new(&mut *body);
        for (name, value) in &self.fields {
            form.append_pair(name, value.text());
        }
        form.finish();
        Bytes::from_owner(body)
    }

    /// Blanks in `text` whatever of this request should not be seen: a server may repeat it.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = self.fields.iter().filter_map(|(_, value)| match value {
            Field::Secret(secret) if !secret.expose().is_empty() => Some(secret),
            _ => None,
        });
        secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose(), "[redacted]")
        })
    }
}

fn joined(scopes: &[Scope]) -> Arc<str> {
    match scopes {
        [one] => one.as_str().into(),
        _ => {
            let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
            scopes.join(" ").into()
        }
    }
}

impl Field {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let scope = "https://graph.microsoft.com/.default".parse().unwrap();
        Form::new(
            ClientId::from(uuid::Uuid::from_u128(1)),
            GrantType::ClientCredentials,
            &[scope],
        )
        .with_secret("client_secret", &Secret::new("a+b/c=~ü&d"))
    }

    #[test]
    fn old_secrets_are_encoded() {
        let body = form().encode();
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
