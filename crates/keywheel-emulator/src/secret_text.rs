use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that must not show in logs: a client secret, a token, a private key.
///
/// `Debug` prints a constant; [`expose`](Self::expose) is the only door.
///
/// ```
/// use keywheel_emulator::SecretText;
///
/// let secret = SecretText::new("correct horse");
/// assert_eq!(format!("{secret:?}"), "SecretText([redacted])");
/// assert_eq!(secret.expose(), "correct horse");
/// ```
#[derive(Clone)]
pub struct SecretText(Arc<str>);

impl SecretText {
    /// Takes a copy of the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// Returns the text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([redacted])")
    }
}

/// For the snapshot file only: what is kept there must be accepted again after a restart.
pub(crate) mod exposed {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, SecretText, Serialize};

    pub(crate) fn serialize<S: Serializer>(secret: &SecretText, to: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretText, D::Error> {
        String::deserialize(from).map(SecretText::new)
    }
}
