use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;

use super::InvalidCertificate;
use super::der::{self, Kind};

/// The shortest modulus that Entra takes.
const FEWEST_BITS: usize = 2048;

/// `rsaEncryption`, 1.2.840.113549.1.1.1 (RFC 8017, appendix A.1).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Parses an unencrypted key of any kind, and refuses what Entra would.
pub(super) fn parse(kind: Kind, key: &[u8]) -> Result<KeyPair, InvalidCertificate> {
    let pkcs1 = match kind {
        Kind::Pkcs1Key => key,
        Kind::Pkcs8Key => unwrap_pkcs8(key)?,
        _ => return Err(InvalidCertificate::UnsupportedKey),
    };
    let bits = der::integer_bits(pkcs1, 1).ok_or(InvalidCertificate::MalformedKey)?;
    if bits < FEWEST_BITS {
        return Err(InvalidCertificate::WeakKey { bits });
    }
    KeyPair::from_der(pkcs1).map_err(|_| InvalidCertificate::MalformedKey)
}

/// Tells whether `public_key`, an `RSAPublicKey` in DER, is that of `key`.
pub(super) fn belongs_to(key: &KeyPair, public_key: &[u8]) -> bool {
    key.public_key().as_ref() == public_key
}

fn unwrap_pkcs8(key: &[u8]) -> Result<&[u8], InvalidCertificate> {
    let (algorithm, inner) = der::pkcs8(key).ok_or(InvalidCertificate::MalformedKey)?;
    if algorithm == RSA {
        Ok(inner)
    } else {
        Err(InvalidCertificate::UnsupportedKey)
    }
}
