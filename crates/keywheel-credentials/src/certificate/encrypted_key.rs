use keywheel_core::Secret;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use zeroize::Zeroizing;

use super::InvalidCertificate;
use super::der::{self, MOST_ROUNDS};

/// The memory that scrypt may take: four times what OpenSSL asks for by default.
const MOST_MEMORY: u64 = 64 << 20;

/// The parallelism of scrypt, which is computed in sequence here.
const MOST_PARALLEL: u16 = 16;

/// Decrypts an `EncryptedPrivateKeyInfo` (RFC 5958, section 3).
pub(super) fn decrypt(
    key: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>, InvalidCertificate> {
    let unsupported = |_| InvalidCertificate::UnsupportedEncryption;
    let info = EncryptedPrivateKeyInfoRef::try_from(key).map_err(unsupported)?;
    if is_costly(&info.encryption_algorithm) {
        return Err(InvalidCertificate::TooCostly);
    }
    let password = password.ok_or(InvalidCertificate::PasswordRequired)?;
    // A wrong password shows by its padding, and if that fits by chance, by what comes out.
    let opened = info
        .decrypt(password.expose())
        .map_err(|_| InvalidCertificate::WrongPassword)?;
    match der::kind(opened.as_bytes()) {
        Some(der::Kind::Pkcs8Key) => Ok(opened.to_bytes()),
        _ => Err(InvalidCertificate::WrongPassword),
    }
}

fn is_costly(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return false;
    };
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => u64::from(kdf.iteration_count) > MOST_ROUNDS,
        Kdf::Scrypt(kdf) => {
            let memory = kdf
                .cost_parameter
                .saturating_mul(128 * u64::from(kdf.block_size));
            memory > MOST_MEMORY || kdf.parallelization > MOST_PARALLEL
        }
        _ => false,
    }
}
