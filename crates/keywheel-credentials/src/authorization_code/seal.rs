use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

/// The key under which pending sign-ins are encrypted (AES-256-GCM). All replicas have the same.
///
/// Take it from where your service keeps its keys, or make one at the start where one process serves
/// all. A sign-in is pending for minutes, so a key may be replaced at any time.
pub struct SealKey(RandomizedNonceKey);

/// What was sealed can't be opened: it was changed, or sealed under another key, or is another thing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("pending sign-in: it was changed or sealed under another key; start the sign-in again")]
#[non_exhaustive]
pub struct UnsealError;

/// The length of a nonce, which goes before the ciphertext.
const NONCE: usize = 12;

impl SealKey {
    /// Returns the key of these bytes, which must be unpredictable.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "32 bytes are a key")]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes);
        Self(key.expect("AES-256 takes 32 bytes"))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey([redacted])")
    }
}

/// Encrypts `value`; `purpose` tells it from what else the key may have sealed.
pub(super) fn seal(key: &SealKey, purpose: &str, value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("names, texts and numbers are JSON");
    let plain = Zeroizing::new(json);
    // Room for the tag, so that the text isn't copied when it is appended.
    let mut sealed = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&plain);
    let nonce = key
        .0
        .seal_in_place_append_tag(Aad::from(purpose), &mut sealed)
        .expect("a few hundred bytes are within the bounds of AES-GCM");
    let mut text = Vec::with_capacity(NONCE + sealed.len());
    text.extend_from_slice(nonce.as_ref());
    text.append(&mut sealed);
    URL_SAFE_NO_PAD.encode(text)
}

pub(super) fn unseal<T: DeserializeOwned>(
    key: &SealKey,
    purpose: &str,
    text: &str,
) -> Result<T, UnsealError> {
    let mut sealed = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| UnsealError)?);
    let (nonce, sealed) = sealed.split_at_mut_checked(NONCE).ok_or(UnsealError)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnsealError)?;
    let plain = key.0.open_in_place(nonce, Aad::from(purpose), sealed);
    serde_json::from_slice(plain.map_err(|_| UnsealError)?).map_err(|_| UnsealError)
}
