use thiserror::Error;
use uuid::Uuid;

use crate::Secret;

/// An application's client secret: the *value* of a password credential.
///
/// What people paste by mistake is refused here, before it reaches a store or Entra.
///
/// ```
/// use keywheel_core::{ClientSecret, InvalidClientSecret, Secret};
///
/// let value = Secret::new("kq~8Q~made-up-value-for-the-example-0001");
/// assert!(ClientSecret::new(value).is_ok());
///
/// let id = Secret::new("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11");
/// assert_eq!(ClientSecret::new(id).unwrap_err(), InvalidClientSecret::KeyId);
/// ```
#[derive(Clone, Debug)]
pub struct ClientSecret(Secret);

/// A text that can't be a client secret. The text itself is not repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidClientSecret {
    /// Nothing was given.
    #[error("client secret: it is empty; paste the secret's value")]
    Empty,
    /// A GUID: the secret's id.
    #[error(
        "client secret: this is the secret's id, not its value; paste the \"Value\" column under \
         \"Certificates & secrets\", which is shown only right after the secret was created"
    )]
    KeyId,
    /// What the portal shows of a secret later: its first characters and asterisks.
    #[error(
        "client secret: this is the masked form that the portal shows later; create a new secret and \
         copy its value at once"
    )]
    Masked,
    /// White space or control characters, mostly a line end that was copied along.
    #[error("client secret: it holds white space or control characters; paste the value alone")]
    WhiteSpace,
}

impl ClientSecret {
    /// Takes the value over.
    ///
    /// Nothing more is checked than what can't be right: Microsoft says that the format may change, and
    /// old secrets were chosen by their owners.
    ///
    /// # Errors
    ///
    /// Returns an error that says what was pasted instead of the value.
    pub fn new(value: impl Into<Secret>) -> Result<Self, InvalidClientSecret> {
        let value = value.into();
        match mistake(value.expose()) {
            Some(mistake) => Err(mistake),
            None => Ok(Self(value)),
        }
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &Secret {
        &self.0
    }
}

fn mistake(text: &str) -> Option<InvalidClientSecret> {
    if text.trim().is_empty() {
        Some(InvalidClientSecret::Empty)
    } else if Uuid::try_parse(text.trim()).is_ok() {
        Some(InvalidClientSecret::KeyId)
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some(InvalidClientSecret::WhiteSpace)
    } else if is_masked(text) {
        Some(InvalidClientSecret::Masked)
    } else {
        None
    }
}

/// The portal keeps the first three characters, Graph's `hint`, and pads with asterisks or dots.
fn is_masked(text: &str) -> bool {
    let rest = text.trim_end_matches(['*', '•']);
    rest.chars().count() <= 3 && text.chars().count() >= rest.chars().count() + 5
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<ClientSecret, InvalidClientSecret> {
        ClientSecret::new(Secret::new(text))
    }

    #[test]
    fn what_people_paste_by_mistake_is_named() {
        use InvalidClientSecret::{Empty, KeyId, Masked, WhiteSpace};

        for (text, mistake) in [
            ("", Empty),
            (" \r\n", Empty),
            ("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11", KeyId),
            ("8D2B0B4F-54A8-4A8F-9C4E-3C1F0A8F3F11\n", KeyId),
            ("{8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11}", KeyId),
            ("kq~8Q~value\n", WhiteSpace),
            ("\u{a0}kq~8Q~value", WhiteSpace),
            ("kq~8Q\u{0}value", WhiteSpace),
            ("kq~ value", WhiteSpace),
            ("kq~******************", Masked),
            ("••••••••", Masked),
        ] {
            assert_eq!(read(text).unwrap_err(), mistake, "{text:?}");
        }
    }

    #[test]
    fn secrets_of_every_age_are_accepted() {
        for text in [
            "kq~8Q~AbCdEfGhIjKlMnOpQrStUvWxYz0123456.",
            "p+/gJ0cQ1w==",
            "ab***",
            "Geheim-äöü",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn neither_debug_nor_error_shows_the_value() {
        let shown = format!("{:?}", read("s3cr3t-value").unwrap());
        assert!(!shown.contains("s3cr3t"), "{shown}");

        let refused = read("s3cr3t value").unwrap_err();
        assert!(!refused.to_string().contains("s3cr3t"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_as_it_is_or_refused(text in ".{0,60}") {
            if let Ok(secret) = read(&text) {
                prop_assert_eq!(secret.value().expose(), text);
            }
        }
    }
}
