//! Verifies who signed in (OpenID Connect Core 1.0, section 3.1.3.7;
//! <https://learn.microsoft.com/entra/identity-platform/id-tokens>).

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use keywheel_core::{ClientId, CredentialError, CredentialErrorKind, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::error::AuthorizationError;
use crate::token_endpoint::TokenEndpoint;

/// The user who signed in, as the verified id token tells.
///
/// `tenant` and `object_id` together name the user for good. Names change: show them, don't key by them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedInUser {
    /// The user's home in this sign-in: `tid`.
    pub tenant: Uuid,
    /// The user object in the tenant: `oid`.
    pub object_id: Option<Uuid>,
    /// The user as this application knows it: `sub`.
    pub subject: String,
    /// Mostly the e-mail address: `preferred_username`.
    pub username: Option<String>,
    /// The name to show.
    pub name: Option<String>,
}

/// What the id token has to repeat.
pub(super) struct Expected<'a> {
    pub(super) client: ClientId,
    pub(super) nonce: &'a Secret,
}

/// How far clocks may be apart, in seconds: Microsoft's libraries allow five minutes.
const LEEWAY: i64 = 300;

/// Entra signs id tokens by RS256; servers that stand in for it may use the newer PS256.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::PS256];

/// What is needed of the discovery document.
#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

#[derive(Debug, Deserialize)]
struct Keys {
    /// Read one by one, so that a key of a kind that is not known yet is no trouble.
    keys: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct RsaKey {
    kty: String,
    kid: Option<String>,
    n: String,
    e: String,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    tid: Option<String>,
    oid: Option<String>,
    sub: String,
    azp: Option<String>,
    preferred_username: Option<String>,
    name: Option<String>,
}

/// Checks signature, issuer, audience, nonce, tenant and times.
pub(super) async fn verify(
    endpoint: &TokenEndpoint,
    token: Option<&Secret>,
    expected: &Expected<'_>,
) -> Result<SignedInUser, AuthorizationError> {
    let token = token.ok_or_else(|| AuthorizationError::invalid_id_token("is missing"))?;
    let token = Parts::split(token.expose())
        .ok_or_else(|| AuthorizationError::invalid_id_token("is not a signed JWT"))?;
    let address = endpoint.cloud().discovery_endpoint(endpoint.tenant());
    let discovery: Discovery = fetch(endpoint, &address, "Entra's discovery document").await?;
    if !is_protected(&discovery.jwks_uri) {
        let problem = "would be checked by keys that come in the clear";
        return Err(AuthorizationError::invalid_id_token(problem));
    }
    let keys: Keys = fetch(endpoint, &discovery.jwks_uri, "the list of Entra's keys").await?;
    token.verify_signature(&keys)?;
    let claims = token.claims()?;
    claims.check(endpoint, &discovery.issuer, expected)?;
    claims.into_user(endpoint, &discovery.issuer)
}

/// Reads a public document. The code is spent by now, so trouble that passes is sat out.
async fn fetch<T: DeserializeOwned>(
    endpoint: &TokenEndpoint,
    address: &Url,
    what: &str,
) -> Result<T, AuthorizationError> {
    let document = endpoint.read_public(address, what).await;
    let document = document.map_err(AuthorizationError::unavailable)?;
    serde_json::from_slice(&document).map_err(|_| {
        let message =
            format!("{what} makes no sense: look for a proxy that answers in Entra's place");
        let error = CredentialError::new(CredentialErrorKind::Protocol, message);
        AuthorizationError::unavailable(error)
    })
}

/// Keys that come unprotected prove nothing. The loopback interface is as good as TLS.
fn is_protected(address: &Url) -> bool {
    let local = matches!(
        address.host_str(),
        Some("localhost" | "127.0.0.1" | "[::1]")
    );
    address.scheme() == "https" || (address.scheme() == "http" && local)
}

/// A JWS in compact form (RFC 7515, section 7.1).
struct Parts<'a> {
    header: Header,
    message: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            message,
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }

    fn verify_signature(&self, keys: &Keys) -> Result<(), AuthorizationError> {
        let algorithm = self.header.alg;
        if !ALGORITHMS.contains(&algorithm) {
            let problem = "is signed by another algorithm than RS256";
            return Err(AuthorizationError::invalid_id_token(problem));
        }
        let key = keys
            .find(self.header.kid.as_deref())
            .ok_or_else(|| AuthorizationError::invalid_id_token("is signed by an unknown key"))?;
        let wrong = || AuthorizationError::invalid_id_token("has a wrong signature");
        // The provider by name: the process-wide one may be another, or none.
        let verifier = DecodingKey::from_rsa_components(&key.n, &key.e)
            .and_then(|key| (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key))
            .map_err(|_| wrong())?;
        verifier
            .verify(self.message.as_bytes(), &self.signature)
            .map_err(|_| wrong())
    }

    fn claims(&self) -> Result<Claims, AuthorizationError> {
        serde_json::from_slice(&self.claims)
            .map_err(|_| AuthorizationError::invalid_id_token("lacks what it must tell"))
    }
}

impl Keys {
    /// Finds the RSA key with this id. A token without one is signed by the only key.
    fn find(&self, id: Option<&str>) -> Option<RsaKey> {
        let keys = self.keys.iter();
        let mut keys = keys
            .filter_map(|key| RsaKey::deserialize(key).ok())
            .filter(|key| key.kty == "RSA");
        match id {
            Some(id) => keys.find(|key| key.kid.as_deref() == Some(id)),
            None => keys.next().filter(|_| keys.next().is_none()),
        }
    }
}

impl Claims {
    fn check(
        &self,
        endpoint: &TokenEndpoint,
        issuer: &str,
        expected: &Expected<'_>,
    ) -> Result<(), AuthorizationError> {
        let now = endpoint.clock().now();
        let client = expected.client.to_string();
        let nonce = self.nonce.as_deref().unwrap_or_default();
        let problem = if !self.comes_from(issuer) {
            "comes from another issuer"
        } else if self.aud != client || self.azp.as_ref().is_some_and(|azp| *azp != client) {
            "is for another application"
        } else if constant_time::verify_slices_are_equal(
            nonce.as_bytes(),
            expected.nonce.expose().as_bytes(),
        )
        .is_err()
        {
            "answers another sign-in"
        } else if !self.is_current(now) {
            "has expired or is not valid yet"
        } else {
            return Ok(());
        };
        Err(AuthorizationError::invalid_id_token(problem))
    }

    /// The discovery document of a domain or of several tenants has a placeholder for the tenant's id.
    fn comes_from(&self, issuer: &str) -> bool {
        let tenant = self.tid.as_deref().unwrap_or_default();
        self.iss == issuer.replace("{tenantid}", tenant)
    }

    fn is_current(&self, now: DateTime<Utc>) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
        let (early, late) = (
            (now.timestamp() - LEEWAY) as f64,
            (now.timestamp() + LEEWAY) as f64,
        );
        self.exp > early && self.nbf.is_none_or(|begin| begin < late)
    }

    fn into_user(
        self,
        endpoint: &TokenEndpoint,
        issuer: &str,
    ) -> Result<SignedInUser, AuthorizationError> {
        let tenant = self.tid.as_deref().and_then(|tid| tid.parse::<Uuid>().ok());
        let tenant =
            tenant.ok_or_else(|| AuthorizationError::invalid_id_token("names no tenant"))?;
        // A domain's tenant is known by its issuer, which was compared with the token's.
        let wanted = endpoint.tenant().guid();
        if wanted.is_some_and(|wanted| wanted != tenant)
            || (wanted.is_none() && !issuer.contains(&tenant.to_string()))
        {
            let problem = "is of an account in another tenant";
            return Err(AuthorizationError::invalid_id_token(problem));
        }
        Ok(SignedInUser {
            tenant,
            object_id: self.oid.and_then(|oid| oid.parse().ok()),
            subject: self.sub,
            username: self.preferred_username,
            name: self.name,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
