use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use x509_cert::der::{Decode as _, Encode as _};

/// An X.509 certificate, as far as the service looks at it: thumbprints, validity, RSA key.
///
/// The service validates no chain: a self-signed certificate is as good as any.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) sha1: Vec<u8>,
    pub(crate) sha256: Vec<u8>,
    pub(crate) subject: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    /// The subject public key info, when the key is an RSA key. Nothing else can sign assertions.
    pub(crate) rsa: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads a certificate; nothing when it is not one.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(der).ok()?;
        let body = parsed.tbs_certificate();
        let key = body.subject_public_key_info();
        Some(Self {
            der: der.to_vec(),
            sha1: digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec(),
            sha256: digest(&SHA256, der).as_ref().to_vec(),
            subject: body.subject().to_string(),
            not_before: instant(body.validity().not_before)?,
            not_after: instant(body.validity().not_after)?,
            rsa: (key.algorithm.oid == RSA)
                .then(|| key.to_der().ok())
                .flatten(),
        })
    }

    /// Reads the first certificate of a PEM text.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let first = rustls_pemfile::certs(&mut pem.as_bytes()).next()?.ok()?;
        Self::from_der(&first)
    }

    /// Reads a certificate in any of the forms in which clients register one: DER, PEM, or, from the Azure
    /// CLI, the base64 that stands inside of PEM.
    pub(crate) fn from_any(bytes: &[u8]) -> Option<Self> {
        let bare = || {
            let text = std::str::from_utf8(bytes).ok()?;
            let der = STANDARD.decode(text.split_whitespace().collect::<String>());
            Self::from_der(&der.ok()?)
        };
        Self::from_der(bytes)
            .or_else(|| Self::from_pem(std::str::from_utf8(bytes).ok()?))
            .or_else(bare)
    }

    /// Returns the SHA-1 thumbprint as the portal shows it.
    pub(crate) fn thumbprint(&self) -> String {
        hex(&self.sha1)
    }
}

impl TryFrom<String> for Certificate {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|der| Self::from_der(&der))
            .ok_or("not a certificate: expected base64 of DER")
    }
}

impl From<Certificate> for String {
    fn from(certificate: Certificate) -> Self {
        STANDARD.encode(certificate.der)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn instant(time: x509_cert::time::Time) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
    DateTime::from_timestamp(seconds, 0)
}

/// rsaEncryption (RFC 8017 appendix C).
const RSA: x509_cert::der::asn1::ObjectIdentifier =
    x509_cert::der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
