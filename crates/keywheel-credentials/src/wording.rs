//! Texts of answers, made fit for messages and logs.

use thiserror::Error;

/// Entra's own words, on one line.
#[derive(Clone, Debug, Error)]
#[error("Entra says: {0}")]
pub(crate) struct Description(String);

const LONGEST: usize = 400;

impl Description {
    /// Keeps Entra's sentence, without the ids and the time behind it.
    pub(crate) fn of(text: &str) -> Self {
        let text = text.split("Trace ID:").next().unwrap_or_default();
        let words = text.split(|c: char| c.is_whitespace() || c.is_control());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        Self(words.join(" ").chars().take(LONGEST).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds `AADSTS` and the digits behind it. What stands between the sentences differs with the years
    /// (`\r\n`, a space), so nothing else is relied upon.
    pub(crate) fn code(&self) -> Option<u32> {
        let rest = self.0.split_once("AADSTS")?.1;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    }
}

/// Keeps a word such as `invalid_client` or a GUID; anything else from outside has no place in a message.
pub(crate) fn identifier(text: &str) -> Option<String> {
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    fits.then(|| text.to_owned())
}
