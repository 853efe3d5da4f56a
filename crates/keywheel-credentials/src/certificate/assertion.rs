use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use aws_lc_rs::{digest, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, Header};
use keywheel_core::{ApplicationObjectId, ClientId, CredentialError, CredentialErrorKind, Secret};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use super::Certificate;

/// How far the clock of this machine may be ahead of Entra's.
const AHEAD: TimeDelta = TimeDelta::minutes(2);

/// From `nbf` to `exp`: Microsoft advises five to ten minutes.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// The claims that Entra wants of a client assertion
/// (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
#[derive(Debug, Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: ClientId,
    sub: ClientId,
    jti: Uuid,
    nbf: i64,
    iat: i64,
    exp: i64,
}

/// Signs client assertions of one application: the key is parsed and the header encoded once.
#[derive(Debug)]
pub(crate) struct Signer {
    certificate: Certificate,
    client: ClientId,
    /// The encoded header and the dot behind it.
    header: String,
}

impl Signer {
    pub(crate) fn new(certificate: Certificate, client: ClientId) -> Self {
        Self {
            header: json(&certificate.header()) + ".",
            certificate,
            client,
        }
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns a statement for `audience`, made at `now`, with the id `jti`.
    pub(crate) fn sign(
        &self,
        audience: &Url,
        now: DateTime<Utc>,
        jti: Uuid,
    ) -> Result<Secret, CredentialError> {
        let not_before = now - AHEAD;
        let claims = Claims {
            aud: audience.as_str(),
            iss: self.client,
            sub: self.client,
            jti,
            nbf: not_before.timestamp(),
            iat: now.timestamp(),
            exp: (not_before + LIFETIME).timestamp(),
        };
        let mut jwt = self.header.clone() + &json(&claims);
        let signature = self.certificate.sign(jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(Secret::new(jwt))
    }
}

/// The claims of a proof of possession.
#[derive(Debug, Serialize)]
struct ProofClaims {
    aud: &'static str,
    iss: ApplicationObjectId,
    nbf: i64,
    exp: i64,
}

/// What proofs are for: the retired directory API's client id, to this day.
const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

impl Certificate {
    /// Returns the proof of possession that Graph's `addKey` and `removeKey` want: a statement for the
    /// application with this object id, valid for eight minutes from `now` and two before it.
    ///
    /// The certificate must be registered on the application and valid. It is signed by RS256, as in all of
    /// Microsoft's samples. <https://learn.microsoft.com/graph/application-rollkey-prooftoken>
    ///
    /// # Errors
    ///
    /// Returns an error when the key can't sign.
    pub fn key_proof(
        &self,
        application: ApplicationObjectId,
        now: DateTime<Utc>,
    ) -> Result<Secret, CredentialError> {
        let not_before = now - AHEAD;
        let claims = ProofClaims {
            aud: PROOF_AUDIENCE,
            iss: application,
            nbf: not_before.timestamp(),
            exp: (not_before + LIFETIME).timestamp(),
        };
        let signing = self.clone().with_rs256();
        let mut jwt = json(&signing.header()) + "." + &json(&claims);
        let signature = signing.sign(jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(Secret::new(jwt))
    }

    fn header(&self) -> Header {
        let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, self.der()));
        let mut header = if self.signing.rs256 {
            let mut header = Header::new(Algorithm::RS256);
            header.x5t = Some(thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY));
            header
        } else {
            let mut header = Header::new(Algorithm::PS256);
            header.x5t_s256 = Some(thumbprint(&digest::SHA256));
            header
        };
        if self.signing.x5c {
            header.x5c = Some(self.chain.iter().map(|der| STANDARD.encode(der)).collect());
        }
        header
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let encoding: &'static dyn RsaEncoding = if self.signing.rs256 {
            &RSA_PKCS1_SHA256
        } else {
            &RSA_PSS_SHA256
        };
        let key: &rsa::KeyPair = &self.key;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(encoding, &SystemRandom::new(), message, &mut signature)
            .map_err(cannot_sign)?;
        Ok(signature)
    }
}

fn json(part: &impl Serialize) -> String {
    let text = serde_json::to_vec(part).expect("names, texts and numbers are JSON");
    URL_SAFE_NO_PAD.encode(text)
}

fn cannot_sign(error: impl std::error::Error + Send + Sync + 'static) -> CredentialError {
    let message = "the client assertion can't be signed: check the certificate's private key";
    CredentialError::new(CredentialErrorKind::InvalidConfiguration, message).with_source(error)
}
