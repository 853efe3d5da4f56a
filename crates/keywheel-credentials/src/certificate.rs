mod assertion;
mod der;
#[cfg(feature = "encrypted-keys")]
mod encrypted_key;
mod error;
mod file;
mod pem;
#[cfg(feature = "pfx")]
mod pfx;
mod private_key;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::KeyPair;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::Secret;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};

pub(crate) use self::assertion::Signer;
pub use self::error::InvalidCertificate;

/// A certificate with its private key, ready to sign client assertions.
///
/// Clones share the key, which is parsed once. The key itself leaves memory with the last clone.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<KeyPair>,
    /// The certificate of the key first, then its issuers.
    chain: Arc<[Vec<u8>]>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    signing: Signing,
}

/// How assertions are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signing {
    rs256: bool,
    x5c: bool,
}

impl Certificate {
    /// Reads a file that holds certificate and private key.
    ///
    /// What people have is taken as it is: PEM with any text, blanks and line ends around its blocks and
    /// with the chain in any order; the same with `\n` for its line ends, as environment variables have it;
    /// PKCS#12 (PFX); base64 of it, as Azure Key Vault gives it. Keys may be PKCS#8 or PKCS#1.
    ///
    /// `password` opens a PFX (feature `pfx`) or an encrypted PKCS#8 key (feature `encrypted-keys`).
    ///
    /// # Errors
    ///
    /// Returns an error that names what is wrong with the file and how to get a better one.
    pub fn read(file: &[u8], password: Option<&Secret>) -> Result<Self, InvalidCertificate> {
        file::read(file)?.open(password)
    }

    /// Reads certificate and private key from a text or file each, as [`read`](Self::read) does.
    ///
    /// # Errors
    ///
    /// Returns an error that names what is wrong with the files and how to get better ones.
    pub fn read_parts(
        certificate: &[u8],
        private_key: &[u8],
        password: Option<&Secret>,
    ) -> Result<Self, InvalidCertificate> {
        let mut contents = file::read(certificate)?;
        contents.append(file::read(private_key)?);
        contents.open(password)
    }

    /// Finds the certificate of `key` among `certificates`, and checks both.
    fn assemble(certificates: &[Vec<u8>], key: KeyPair) -> Result<Self, InvalidCertificate> {
        let parsed = certificates
            .iter()
            .map(|certificate| Parsed::read(certificate))
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed
            .iter()
            .find(|parsed| private_key::belongs_to(&key, &parsed.public_key));
        let leaf = match (leaf, parsed.first()) {
            (Some(leaf), _) => leaf,
            (None, Some(_)) => return Err(InvalidCertificate::KeyMismatch),
            (None, None) => return Err(InvalidCertificate::NoCertificate),
        };
        Ok(Self {
            key: Arc::new(key),
            chain: chain(leaf, &parsed),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            signing: Signing::default(),
        })
    }

    /// Signs by RS256 and names the certificate by its SHA-1 thumbprint (`x5t`). Default: PS256 and
    /// SHA-256 (`x5t#S256`), as Microsoft recommends; a server that stands in for Entra may want the old.
    #[must_use]
    pub fn with_rs256(mut self) -> Self {
        self.signing.rs256 = true;
        self
    }

    /// Sends the chain along (`x5c`), for applications that trust a subject name and issuer instead of
    /// single certificates. Default: not, since Entra refuses it elsewhere (AADSTS700030).
    #[must_use]
    pub fn with_x5c(mut self) -> Self {
        self.signing.x5c = true;
        self
    }

    /// Returns when the certificate begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    /// Returns when the certificate ends.
    #[must_use]
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// Returns the certificate itself (DER), as it is registered: no private key.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.chain[0]
    }

    /// Returns the SHA-1 thumbprint in upper-case hexadecimal digits, as the portal shows it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.der());
        digest
            .as_ref()
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
    }

    /// Checks that the certificate is valid at `now`.
    ///
    /// # Errors
    ///
    /// Returns an error when it has ended or has not begun.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), InvalidCertificate> {
        if now < self.not_before {
            Err(InvalidCertificate::NotYetValid {
                begins: self.not_before,
            })
        } else if now >= self.not_after {
            Err(InvalidCertificate::Expired {
                ended: self.not_after,
            })
        } else {
            Ok(())
        }
    }

    /// Returns a warning when the certificate ends within 30 days of `now`: replacing one takes people
    /// and, at some companies, a calendar.
    #[must_use]
    pub fn warning(&self, now: DateTime<Utc>) -> Option<CertificateWarning> {
        let left = self.not_after - now;
        (left < NOTICE).then_some(CertificateWarning {
            ends: self.not_after,
            days: left.num_days(),
        })
    }
}

const NOTICE: TimeDelta = TimeDelta::days(30);

/// A certificate that nears its end: what to print or log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    ends: DateTime<Utc>,
    days: i64,
}

impl CertificateWarning {
    /// Returns how many whole days are left.
    #[must_use]
    pub fn days_left(&self) -> i64 {
        self.days
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ends, days) = (self.ends.format("%Y-%m-%d %H:%M"), self.days);
        write!(
            f,
            "certificate: it ends on {ends} UTC, {days} days from now; make a new one and upload its public \
             part to the app registration"
        )
    }
}

/// What is needed of a certificate.
struct Parsed<'a> {
    der: &'a [u8],
    issuer: Vec<u8>,
    subject: Vec<u8>,
    public_key: Vec<u8>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

impl<'a> Parsed<'a> {
    fn read(der: &'a [u8]) -> Result<Self, InvalidCertificate> {
        let malformed = |_| InvalidCertificate::MalformedCertificate;
        // The raw profile takes what older tools made, such as overlong serial numbers.
        let certificate = CertificateInner::<Raw>::from_der(der).map_err(malformed)?;
        let tbs = certificate.tbs_certificate();
        let time = |since: std::time::Duration| {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        let key = tbs.subject_public_key_info();
        Ok(Self {
            der,
            issuer: tbs.issuer().to_der().map_err(malformed)?,
            subject: tbs.subject().to_der().map_err(malformed)?,
            public_key: key.subject_public_key.raw_bytes().to_vec(),
            not_before: time(tbs.validity().not_before.to_unix_duration()),
            not_after: time(tbs.validity().not_after.to_unix_duration()),
        })
    }
}

/// Orders the certificates from `leaf` up (RFC 7515, section 4.1.6), and leaves out what is not of its
/// chain.
fn chain(leaf: &Parsed<'_>, all: &[Parsed<'_>]) -> Arc<[Vec<u8>]> {
    let mut chain = vec![leaf.der.to_vec()];
    let mut below = leaf;
    while chain.len() < all.len()
        && let Some(above) = all
            .iter()
            .find(|one| one.subject == below.issuer && !chain.iter().any(|der| der == one.der))
    {
        chain.push(above.der.to_vec());
        below = above;
    }
    chain.into()
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("thumbprint", &self.thumbprint())
            .field("not_after", &self.not_after)
            .field("signing", &self.signing)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
