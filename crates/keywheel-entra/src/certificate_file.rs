use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keywheel_core::{CredentialError, Secret};
use keywheel_credentials::{Certificate, InvalidCertificate};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::parts::invalid;
use crate::refusal;

/// A certificate with its private key, as people have it: the files, and their password.
///
/// Everything that [`Certificate::read`] takes: PEM in any order and with any line ends, PKCS#12 (PFX), base64
/// of it.
#[derive(Clone)]
pub struct CertificateFile(Files);

/// The bytes in base64, since what is stored is text.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Files {
    certificate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl CertificateFile {
    /// Returns a file that holds certificate and private key.
    #[must_use]
    pub fn new(certificate: impl AsRef<[u8]>) -> Self {
        Self(Files {
            certificate: BASE64_STANDARD.encode(certificate),
            private_key: None,
            password: None,
        })
    }

    /// Takes the private key from another file.
    #[must_use]
    pub fn with_private_key(mut self, private_key: impl AsRef<[u8]>) -> Self {
        self.0.private_key = Some(BASE64_STANDARD.encode(private_key));
        self
    }

    /// Opens the files with a password.
    #[must_use]
    pub fn with_password(mut self, password: &Secret) -> Self {
        self.0.password = Some(password.expose().to_owned());
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Returns an error that names what is wrong with the files and how to get better ones.
    pub fn open(&self) -> Result<Certificate, InvalidCertificate> {
        let files = &self.0;
        let password = files.password.clone().map(Secret::new);
        let certificate = bytes(&files.certificate);
        match &files.private_key {
            None => Certificate::read(&certificate, password.as_ref()),
            Some(key) => Certificate::read_parts(&certificate, &bytes(key), password.as_ref()),
        }
    }

    /// Returns the text that is sealed.
    pub(crate) fn to_text(&self) -> Secret {
        Secret::new(serde_json::to_string(&self.0).unwrap_or_default())
    }

    /// Reads the certificate of what [`to_text`](Self::to_text) wrote.
    pub(crate) fn stored(text: &Secret) -> Result<Certificate, CredentialError> {
        // The error of serde_json may repeat what it read.
        let files = serde_json::from_str(text.expose());
        let files = files.map_err(|_| invalid("the stored certificate is damaged; replace it"))?;
        Self(files).open().map_err(refusal::certificate)
    }
}

fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(BASE64_STANDARD.decode(text).unwrap_or_default())
}

impl fmt::Debug for CertificateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateFile").finish_non_exhaustive()
    }
}
