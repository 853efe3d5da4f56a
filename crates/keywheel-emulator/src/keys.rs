use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, KeyPair as _, RsaEncoding, RsaParameters};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, DnType, PKCS_RSA_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use x509_cert::der::asn1::Uint;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use crate::certificate::Certificate;
use crate::jwt::encode;

/// The algorithms the token endpoint takes for client assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ps256,
    Ps384,
    Ps512,
    Rs256,
    Rs384,
    Rs512,
}

impl Algorithm {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            _ => return None,
        })
    }

    /// Checks a signature with the RSA key in `public`: a subject public key info or an `RSAPublicKey`.
    pub(crate) fn verifies(self, public: &[u8], message: &str, signature: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(self.verification(), public)
            .verify(message.as_bytes(), signature)
            .is_ok()
    }

    /// Checks a signature with a JWK's modulus and exponent.
    pub(crate) fn verifies_jwk(self, n: &[u8], e: &[u8], message: &str, signature: &[u8]) -> bool {
        signature::RsaPublicKeyComponents { n, e }
            .verify(self.verification(), message.as_bytes(), signature)
            .is_ok()
    }

    fn verification(self) -> &'static RsaParameters {
        match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        }
    }

    fn signing(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Ps256 => &signature::RSA_PSS_SHA256,
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            Self::Rs256 => &signature::RSA_PKCS1_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_SHA512,
        }
    }
}

/// An RSA-2048 key pair.
#[derive(Debug)]
pub(crate) struct RsaKey {
    pair: signature::RsaKeyPair,
    pkcs8: Vec<u8>,
}

impl RsaKey {
    /// Makes a key. About 75 ms, and now and then twice that.
    pub(crate) fn generate() -> Self {
        let pair = signature::RsaKeyPair::generate(KeySize::Rsa2048)
            .expect("the system's random source answers");
        let der: Pkcs8V1Der<'static> = pair.as_der().expect("a made key has an encoding");
        Self {
            pkcs8: der.as_ref().to_vec(),
            pair,
        }
    }

    /// Reads a PKCS#8 key; nothing when it is no RSA key.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        Some(Self {
            pair: signature::RsaKeyPair::from_pkcs8(pkcs8).ok()?,
            pkcs8: pkcs8.to_vec(),
        })
    }

    /// Reads the first PKCS#8 key of a PEM text.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let key = rustls_pemfile::pkcs8_private_keys(&mut pem.as_bytes()).next()?;
        Self::from_pkcs8(key.ok()?.secret_pkcs8_der())
    }

    pub(crate) fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                algorithm.signing(),
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .expect("a 2048-bit key is long enough for every algorithm here");
        signature
    }

    /// Makes a signed JSON Web Token.
    pub(crate) fn token(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let mut token = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self.sign(algorithm, &token);
        token.push('.');
        token.push_str(&encode(signature));
        token
    }

    /// Returns the public key, an `RSAPublicKey` (RFC 8017 A.1.1).
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Makes a self-signed certificate of this key.
    pub(crate) fn certificate(
        &self,
        common_name: &str,
        not_before: DateTime<Utc>,
        not_after: DateTime<Utc>,
    ) -> Certificate {
        let pkcs8 = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)
            .expect("a made key can be read");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_after);
        let made = params.self_signed(&key).expect("the parameters are sound");
        Certificate::from_der(made.der()).expect("a made certificate can be read")
    }
}

/// The key that signs tokens, with what the JWKS document says of it.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) rsa: RsaKey,
    pub(crate) kid: String,
    n: String,
    e: String,
    certificate: String,
}

impl SigningKey {
    pub(crate) fn of(rsa: RsaKey) -> Self {
        let start = DateTime::from_timestamp(1_577_836_800, 0).expect("2020 is a date");
        let end = DateTime::from_timestamp(4_102_444_800, 0).expect("2100 is a date");
        let certificate = rsa.certificate("accounts.accesscontrol.windows.net", start, end);
        let (n, e) = components(rsa.public()).expect("a made key has components");
        Self {
            kid: encode(&certificate.sha1),
            n: encode(n),
            e: encode(e),
            certificate: STANDARD.encode(&certificate.der),
            rsa,
        }
    }

    /// Returns the key as the JWKS document shows it: no `alg`, `x5t` the same as `kid`.
    pub(crate) fn jwk(&self, issuer: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "n": self.n, "e": self.e,
            "x5c": [self.certificate], "issuer": issuer,
        })
    }

    /// Signs an access or id token.
    pub(crate) fn issue(&self, claims: &Value, with_x5t: bool) -> String {
        let mut header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid });
        if with_x5t {
            header["x5t"] = json!(self.kid);
        }
        self.rsa.token(Algorithm::Rs256, &header, claims)
    }
}

/// The keys that are made once per process, in the background: making one takes longer than a whole
/// start-up. Emulators of one process share them; what tells their tokens apart is the tenant.
#[derive(Debug)]
pub(crate) struct Pool;

impl Pool {
    /// Starts making the keys; they are ready about 100 ms later.
    pub(crate) fn warm() {
        for make in [|| drop(Self::signing()), || drop(Self::client())] {
            // Without a thread the first caller makes the key itself.
            let _ = std::thread::Builder::new().spawn(make);
        }
    }

    /// Returns the key that signs tokens. Waits until it is made.
    pub(crate) fn signing() -> Arc<SigningKey> {
        static KEY: LazyLock<Arc<SigningKey>> =
            LazyLock::new(|| Arc::new(SigningKey::of(RsaKey::generate())));
        Arc::clone(&KEY)
    }

    /// Returns the key of certificates that seeds ask for. Waits until it is made.
    pub(crate) fn client() -> Arc<RsaKey> {
        static KEY: LazyLock<Arc<RsaKey>> = LazyLock::new(|| Arc::new(RsaKey::generate()));
        Arc::clone(&KEY)
    }
}

/// Writes a PEM block (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Returns how long after 1970 a time is, in whole seconds: what rcgen's dates are built from.
pub(crate) fn since_1970(time: DateTime<Utc>) -> std::time::Duration {
    std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

fn components(public: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    SliceReader::new(public)
        .ok()?
        .sequence(|inner| -> x509_cert::der::Result<_> {
            let n = Uint::decode(inner)?;
            let e = Uint::decode(inner)?;
            Ok((n.as_bytes().to_vec(), e.as_bytes().to_vec()))
        })
        .ok()
}
