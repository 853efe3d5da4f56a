use chrono::{DateTime, Utc};
use thiserror::Error;

/// A certificate or private key that can't be used. Nothing of the file is repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCertificate {
    /// The certificate has ended.
    #[error(
        "certificate: it ended on {ended}; make a new one and upload its public part to \
         the app registration"
    )]
    Expired {
        /// When it did.
        ended: DateTime<Utc>,
    },
    /// The file needs a feature of this crate that is switched off.
    #[error(
        "certificate file: reading it needs the feature `{feature}` of keywheel-credentials; switch it on, or \
         convert the file to PEM with an unencrypted key"
    )]
    FeatureDisabled {
        /// The name of the feature.
        feature: &'static str,
    },
    /// The private key belongs to none of the certificates.
    #[error(
        "private key: it belongs to another certificate than the given; look for the file that was made \
         together with the certificate"
    )]
    KeyMismatch,
    /// The certificate can't be parsed.
    #[error("certificate: it is damaged; export or download it again")]
    MalformedCertificate,
    /// The private key can't be parsed.
    #[error("private key: it is damaged; export it again")]
    MalformedKey,
    /// There is no certificate.
    #[error(
        "certificate: none is given; add the part that begins with -----BEGIN CERTIFICATE----- to the file"
    )]
    NoCertificate,
    /// There is no private key.
    #[error(
        "private key: none is given; add the part that begins with -----BEGIN PRIVATE KEY----- to the file, or \
         give a PFX file that was exported with its private key"
    )]
    NoPrivateKey,
    /// The certificate is not valid yet.
    #[error("certificate: it is valid from {begins} on; set this machine's clock right, or wait")]
    NotYetValid {
        /// When it will be.
        begins: DateTime<Utc>,
    },
    /// The file is encrypted and no password is given.
    #[error("certificate file: it is encrypted; give its password")]
    PasswordRequired,
    /// There is more than one private key.
    #[error("private key: the file holds several; leave only the certificate's own in it")]
    SeveralPrivateKeys,
    /// Opening the file would take minutes, which is more likely an attack than a habit.
    #[error(
        "certificate file: its password is hashed over too many rounds; export it with fewer than two million"
    )]
    TooCostly,
    /// The file is larger than any certificate's.
    #[error(
        "certificate file: it is larger than a megabyte; give the certificate and its key alone"
    )]
    TooLarge,
    /// Neither PEM nor DER.
    #[error(
        "certificate file: it is neither PEM nor PKCS#12 (PFX); export the certificate with its private key \
         in one of these forms"
    )]
    Unreadable,
    /// The file is encrypted in a way that is not read, mostly an old one.
    #[error(
        "certificate file: its encryption is not supported; convert the key by \
         `openssl pkcs8 -topk8 -in old.pem -out new.pem`"
    )]
    UnsupportedEncryption,
    /// Another kind of key than RSA.
    #[error(
        "private key: it is not an RSA key, and Entra refuses others; make a certificate with an RSA key of \
         2048 bits or more"
    )]
    UnsupportedKey,
    /// An RSA key that is too short.
    #[error(
        "private key: RSA with {bits} bits is too weak; make a certificate with an RSA key of 2048 bits or more"
    )]
    WeakKey {
        /// The length of its modulus.
        bits: usize,
    },
    /// The password doesn't open the file.
    #[error("certificate file: the password does not open it")]
    WrongPassword,
}
