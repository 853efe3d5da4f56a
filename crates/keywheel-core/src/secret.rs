use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize;

/// A text that must not be seen: a client secret, a token, a key.
///
/// Clones share one copy, and the copy is overwritten when the last clone is dropped. There is no
/// `Display`, `Serialize`, `PartialEq` or `Deref`: [`expose`](Self::expose) is the only door.
///
/// ```
/// use keywheel_core::Secret;
///
/// let secret = Secret::new("correct horse");
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// assert_eq!(secret.expose(), "correct horse");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Text>);

/// A text that is overwritten when it goes.
struct Text(String);

impl Drop for Text {
    fn drop(&mut self) {
        // Emptied first: what is not in use is overwritten at one go, what is in use byte by byte, which for a
        // kilobyte takes longer than to decrypt it.
        self.0.clear();
        self.0.zeroize();
    }
}

impl Secret {
    /// Takes the text over. A `String` is moved, not copied; wiping what a `&str` came from stays
    /// with its owner.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Text(text.into())))
    }

    /// Returns the text. Call it as late as possible, and never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_value_nor_length() {
        let short = format!("{:?}", Secret::new("a"));
        let long = format!("{:#?}", Some(Secret::new("abcdefghijklmnop")));

        assert_eq!(short, "Secret([redacted])");
        assert!(!long.contains("abc"), "{long}");
        assert!(long.contains(&short), "{long}");
    }

    /// Looked for where it was, by the kernel: what is freed can't be read by safe code.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_text_is_overwritten_when_the_last_clone_goes_and_not_before() {
        use std::os::unix::fs::FileExt;

        const WORDS: &str = "made-up secret; ";
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut seen = vec![0; WORDS.len() * 256];
        let secret = Secret::new(WORDS.repeat(256));
        let place = secret.expose().as_ptr().addr() as u64;
        let holds = |bytes: &[u8]| bytes.windows(WORDS.len()).any(|at| at == WORDS.as_bytes());

        let clone = secret.clone();
        drop(secret);
        memory.read_exact_at(&mut seen, place).unwrap();
        assert!(holds(&seen), "it is in use");
        drop(clone);
        memory.read_exact_at(&mut seen, place).unwrap();
        assert!(!holds(&seen), "it was freed as it was");
    }

    #[test]
    fn clones_share_one_copy() {
        let secret = Secret::new("value");

        assert_eq!(secret.expose().as_ptr(), secret.clone().expose().as_ptr());
    }
}
