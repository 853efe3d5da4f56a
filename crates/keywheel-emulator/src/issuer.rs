use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::keys::{Algorithm, RsaKey, SigningKey};
use crate::{SecretText, random};

/// An identity provider outside the emulator, for trying federated credentials: it signs assertions, and
/// the emulator learns its keys by [`Emulator::trust_issuer`](crate::Emulator::trust_issuer).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use keywheel_emulator::{Emulator, ExternalIssuer};
///
/// let emulator = Emulator::start().await?;
/// let cluster = ExternalIssuer::new("https://oidc.cluster.example");
/// emulator.trust_issuer(&cluster);
/// let assertion = cluster.assertion(
///     "system:serviceaccount:default:app",
///     "api://AzureADTokenExchange",
///     emulator.clock().now(),
/// );
/// assert_eq!(assertion.expose().split('.').count(), 3);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ExternalIssuer {
    url: String,
    key: Arc<SigningKey>,
}

impl ExternalIssuer {
    /// Returns an issuer. Those of one process share one key.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        static KEY: LazyLock<Arc<SigningKey>> =
            LazyLock::new(|| Arc::new(SigningKey::of(RsaKey::generate())));
        Self {
            url: url.into(),
            key: Arc::clone(&KEY),
        }
    }

    /// Returns the issuer, as assertions name it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Signs an assertion that is valid for ten minutes from `now`.
    #[must_use]
    pub fn assertion(&self, subject: &str, audience: &str, now: DateTime<Utc>) -> SecretText {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key.kid });
        let claims = json!({
            "iss": self.url, "sub": subject, "aud": audience, "jti": random::guid(),
            "iat": now.timestamp(), "nbf": now.timestamp(),
            "exp": (now + TimeDelta::minutes(10)).timestamp(),
        });
        SecretText::new(self.key.rsa.token(Algorithm::Rs256, &header, &claims))
    }

    /// Returns the JWKS document, for [`IssuerSeed`](crate::IssuerSeed).
    #[must_use]
    pub fn jwks_json(&self) -> String {
        self.jwks().to_string()
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": [self.key.jwk(&self.url)] })
    }
}
