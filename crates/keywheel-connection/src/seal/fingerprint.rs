use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{SealError, SealErrorKind};

/// Tells whether a secret is the same as another one, without telling what it is.
///
/// Equal fingerprints of one connection are of one secret; they differ between connections, so that
/// nobody sees who shares a secret. It is a truncated HMAC-SHA-256 under a key of its own, derived from the
/// sealing key whose name it carries: without that key no guess can be checked against it. It may be
/// shown, logged and stored.
///
/// As text it is the key's name, a colon, and 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint {
    key_id: String,
    tag: [u8; 16],
}

impl Fingerprint {
    pub(super) fn new(key_id: &str, tag: [u8; 16]) -> Self {
        Self {
            key_id: key_id.to_owned(),
            tag,
        }
    }

    /// Returns the name of the sealing key that it was made under.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.key_id, u128::from_be_bytes(self.tag))
    }
}

impl FromStr for Fingerprint {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let parse = || {
            let (key_id, tag) = text.split_once(':')?;
            let digits = tag.len() == 32 && tag.bytes().all(|b| b.is_ascii_hexdigit());
            let tag = u128::from_str_radix(tag, 16).ok().filter(|_| digits)?;
            Some(Self::new(key_id, tag.to_be_bytes()))
        };
        parse().ok_or_else(|| SealError::new(SealErrorKind::Damaged, "?"))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = SealError;

    fn try_from(text: String) -> Result<Self, SealError> {
        text.parse()
    }
}
