//! PKCS#12 archives (RFC 7292).

use keywheel_core::Secret;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use zeroize::Zeroizing;

use super::InvalidCertificate;
use super::der;

pub(super) struct Archive {
    pub(super) certificates: Vec<Vec<u8>>,
    /// In PKCS#8.
    pub(super) keys: Vec<Zeroizing<Vec<u8>>>,
}

/// Opens an archive. Without a password an empty one is tried, as the tools do that write none.
pub(super) fn open(
    archive: &[u8],
    password: Option<&Secret>,
) -> Result<Archive, InvalidCertificate> {
    if der::has_costly_rounds(archive) {
        return Err(InvalidCertificate::TooCostly);
    }
    let text = password.map_or("", Secret::expose);
    let opened = Pkcs12Archive::from_pkcs12(archive, text).map_err(|error| match error {
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError if password.is_none() => {
            InvalidCertificate::PasswordRequired
        }
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => {
            InvalidCertificate::WrongPassword
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            InvalidCertificate::UnsupportedEncryption
        }
        _ => InvalidCertificate::Unreadable,
    })?;
    let certificates = opened.certs.iter();
    let keys = opened.keys.iter();
    Ok(Archive {
        certificates: certificates.map(|bag| bag.cert.as_der().to_vec()).collect(),
        keys: keys
            .map(|bag| Zeroizing::new(bag.key.as_der().to_vec()))
            .collect(),
    })
}
