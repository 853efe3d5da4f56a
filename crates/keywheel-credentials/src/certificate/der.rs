//! What a DER value is, told by its outermost shape.

use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, SliceReader, Tag, Tagged};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate,
    /// `EncryptedPrivateKeyInfo` (RFC 5958, section 3).
    EncryptedKey,
    /// `ECPrivateKey` (RFC 5915, section 3).
    EcKey,
    /// `PFX` (RFC 7292, section 4).
    Pfx,
    /// `RSAPrivateKey` (RFC 8017, appendix A.1.2).
    Pkcs1Key,
    /// `PrivateKeyInfo` (RFC 5958, section 2).
    Pkcs8Key,
}

/// Tells what `der` is. Labels of PEM blocks are often wrong, shapes are not.
pub(super) fn kind(der: &[u8]) -> Option<Kind> {
    let [first, second] = fields(der)?;
    match (first.tag(), second.tag()) {
        (Tag::Integer, Tag::Integer) => Some(Kind::Pkcs1Key),
        (Tag::Integer, Tag::OctetString) => Some(Kind::EcKey),
        (Tag::Integer, Tag::Sequence) if first.value() == [3] => Some(Kind::Pfx),
        (Tag::Integer, Tag::Sequence) => Some(Kind::Pkcs8Key),
        (Tag::Sequence, Tag::OctetString) => Some(Kind::EncryptedKey),
        (Tag::Sequence, Tag::Sequence) => Some(Kind::Certificate),
        _ => None,
    }
}

/// Returns the algorithm of a PKCS#8 key, the value of an object identifier, and the key in it.
pub(super) fn pkcs8(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_version, algorithm, key] = fields(der)?;
    let mut algorithm = SliceReader::new(algorithm.value()).ok()?;
    let identifier = AnyRef::decode(&mut algorithm).ok()?;
    Some((identifier.value(), key.value()))
}

/// Returns how many bits the integer at `index` of a sequence of up to three has.
pub(super) fn integer_bits(der: &[u8], index: usize) -> Option<usize> {
    let fields: [AnyRef<'_>; 3] = fields(der)?;
    let value = fields.get(index)?.value();
    let value = value.strip_prefix(&[0]).unwrap_or(value);
    Some(value.len() * 8 - value.first()?.leading_zeros() as usize)
}

/// Returns the first fields of a sequence.
fn fields<const N: usize>(der: &[u8]) -> Option<[AnyRef<'_>; N]> {
    let outer = AnyRef::from_der(der).ok()?;
    if outer.tag() != Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(outer.value()).ok()?;
    let mut fields = [AnyRef::NULL; N];
    for field in &mut fields {
        *field = AnyRef::decode(&mut reader).ok()?;
    }
    Some(fields)
}

/// How many rounds of password hashing are gone through: about a second's work.
#[cfg(any(feature = "encrypted-keys", feature = "pfx"))]
pub(super) const MOST_ROUNDS: u64 = 2_000_000;

/// Tells whether opening an archive would go through more rounds than [`MOST_ROUNDS`].
///
/// Every password-based algorithm of PKCS#12 has its salt, an octet string, right before its number of
/// rounds, so these are looked for at every depth. What an encrypted part may hold is not seen.
#[cfg(feature = "pfx")]
pub(super) fn has_costly_rounds(der: &[u8]) -> bool {
    has_costly_rounds_within(der, 0)
}

#[cfg(feature = "pfx")]
fn has_costly_rounds_within(der: &[u8], depth: usize) -> bool {
    /// Archives nest about ten deep.
    const DEEPEST: usize = 32;

    let Ok(mut reader) = SliceReader::new(der) else {
        return false;
    };
    let mut after_salt = false;
    while let Ok(value) = AnyRef::decode(&mut reader) {
        if after_salt && value.tag() == Tag::Integer && is_costly(value.value()) {
            return true;
        }
        after_salt = value.tag() == Tag::OctetString;
        let holds_more = after_salt || value.tag().is_constructed();
        if holds_more && (depth == DEEPEST || has_costly_rounds_within(value.value(), depth + 1)) {
            return true;
        }
    }
    false
}

#[cfg(feature = "pfx")]
fn is_costly(rounds: &[u8]) -> bool {
    let rounds = rounds.iter().try_fold(0_u64, |sum, byte| {
        sum.checked_mul(256)?.checked_add(u64::from(*byte))
    });
    rounds.is_none_or(|rounds| rounds > MOST_ROUNDS)
}
