use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keywheel_core::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::{SealContext, SealError, SealErrorKind, Sealed, Sealer};

/// A [`Sealer`] with keys of your own: AES-256-GCM, a random nonce for each value.
///
/// The first key seals, all of them open, so that keys can be replaced: put the new one first, keep the
/// old one until nothing is sealed with it. A key's name is derived from the key (the first 8 bytes of a
/// SHA-256, in hex), so a wrong key is told from a damaged value.
///
/// A random 96-bit nonce is safe for 2³² values under one key (NIST SP 800-38D, section 8.3): ten
/// thousand connections rotated daily take a thousand years.
///
/// ```
/// use keywheel_connection::KeyRing;
///
/// let ring = KeyRing::from_base64("q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=")?;
/// assert!(KeyRing::from_base64("too short").is_err());
/// # Ok::<(), keywheel_connection::SealError>(())
/// ```
pub struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    aead: RandomizedNonceKey,
}

impl KeyRing {
    /// Returns a ring of one key: 32 random bytes.
    ///
    /// # Errors
    ///
    /// Returns an error when `key` is not 32 bytes long.
    pub fn new(key: &[u8]) -> Result<Self, SealError> {
        Ok(Self {
            keys: vec![Key::new(key)?],
        })
    }

    /// Returns a ring of one key, given as 32 bytes in standard base64.
    ///
    /// # Errors
    ///
    /// Returns an error when `key` is not that.
    pub fn from_base64(key: &str) -> Result<Self, SealError> {
        Self::new(&decode(key)?)
    }

    /// Adds a key that opens what it sealed before, and seals nothing more.
    ///
    /// # Errors
    ///
    /// Returns an error when `key` is not 32 bytes in base64.
    pub fn with_former(mut self, key: &str) -> Result<Self, SealError> {
        self.keys.push(Key::new(&decode(key)?)?);
        Ok(self)
    }

    fn key(&self, id: &str) -> Result<&Key, SealError> {
        self.keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| SealError::new(SealErrorKind::KeyMissing, id))
    }
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, SealError> {
        let invalid = || SealError::new(SealErrorKind::InvalidKey, "?");
        let named = [b"keywheel sealing key id".as_slice(), key].concat();
        let id = digest(&SHA256, &Zeroizing::new(named));
        Ok(Self {
            id: id.as_ref()[..8]
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            aead: RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| invalid())?,
        })
    }
}

#[async_trait]
impl Sealer for KeyRing {
    async fn seal(&self, secret: &Secret, context: &SealContext<'_>) -> Result<Sealed, SealError> {
        let key = &self.keys[0];
        let mut data = secret.expose().as_bytes().to_vec();
        let nonce = key
            .aead
            .seal_in_place_append_tag(Aad::from(context.to_bytes()), &mut data)
            .map_err(|_| SealError::new(SealErrorKind::Unavailable, &key.id))?;
        data.splice(0..0, nonce.as_ref().iter().copied());
        Ok(Sealed::new(&key.id, data))
    }

    async fn open(&self, sealed: &Sealed, context: &SealContext<'_>) -> Result<Secret, SealError> {
        let key = self.key(sealed.key_id())?;
        let damaged = || SealError::new(SealErrorKind::Damaged, &key.id);
        let (nonce, data) = sealed.data().split_at_checked(12).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut data = Zeroizing::new(data.to_vec());
        let opened = key
            .aead
            .open_in_place(nonce, Aad::from(context.to_bytes()), &mut data)
            .map_err(|_| damaged())?;
        let text = std::str::from_utf8(opened).map_err(|_| damaged())?;
        Ok(Secret::new(text))
    }

    fn key_id(&self) -> &str {
        &self.keys[0].id
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

fn decode(key: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    match BASE64_STANDARD.decode(key.trim()) {
        Ok(bytes) if bytes.len() == 32 => Ok(Zeroizing::new(bytes)),
        Ok(mut bytes) => {
            bytes.zeroize();
            Err(SealError::new(SealErrorKind::InvalidKey, "?"))
        }
        Err(_) => Err(SealError::new(SealErrorKind::InvalidKey, "?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectionId, Namespace};

    const KEY: [u8; 32] = [7; 32];
    const OTHER: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";

    fn context(namespace: &Namespace, connection: u128, generation: u64) -> SealContext<'_> {
        SealContext {
            namespace,
            connection: ConnectionId::from(uuid::Uuid::from_u128(connection)),
            field: "client-secret",
            generation,
        }
    }

    #[tokio::test]
    async fn what_was_sealed_opens_in_its_own_place_only() {
        let (ring, here) = (KeyRing::new(&KEY).unwrap(), Namespace::default());
        let there: Namespace = "other".parse().unwrap();
        let sealed = ring
            .seal(&Secret::new("value"), &context(&here, 1, 2))
            .await
            .unwrap();

        let opened = ring.open(&sealed, &context(&here, 1, 2)).await.unwrap();
        assert_eq!(opened.expose(), "value");
        let mut field = context(&here, 1, 2);
        field.field = "refresh-token";
        for wrong in [
            context(&here, 1, 3),
            context(&here, 2, 2),
            context(&there, 1, 2),
            field,
        ] {
            let error = ring.open(&sealed, &wrong).await.unwrap_err();
            assert_eq!(error.kind(), SealErrorKind::Damaged, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_key_is_named() {
        let namespace = Namespace::default();
        let sealed = KeyRing::new(&KEY)
            .unwrap()
            .seal(&Secret::new("value"), &context(&namespace, 1, 1))
            .await
            .unwrap();

        let error = KeyRing::from_base64(OTHER)
            .unwrap()
            .open(&sealed, &context(&namespace, 1, 1))
            .await
            .unwrap_err();

        assert_eq!(error.kind(), SealErrorKind::KeyMissing);
        assert!(error.to_string().contains(sealed.key_id()), "{error}");
    }

    #[tokio::test]
    async fn a_former_key_still_opens() {
        let namespace = Namespace::default();
        let context = context(&namespace, 1, 1);
        let before = KeyRing::from_base64(OTHER).unwrap();
        let sealed = before.seal(&Secret::new("value"), &context).await.unwrap();

        let after = KeyRing::new(&KEY).unwrap().with_former(OTHER).unwrap();

        assert_eq!(
            after.open(&sealed, &context).await.unwrap().expose(),
            "value"
        );
        assert_ne!(after.key_id(), sealed.key_id());
    }

    #[tokio::test]
    async fn a_changed_value_does_not_open() {
        let namespace = Namespace::default();
        let context = context(&namespace, 1, 1);
        let ring = KeyRing::new(&KEY).unwrap();
        let sealed = ring.seal(&Secret::new("value"), &context).await.unwrap();

        for index in 0..sealed.data().len() {
            let mut data = sealed.data().to_vec();
            data[index] ^= 1;
            let error = ring
                .open(&Sealed::new(sealed.key_id(), data), &context)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), SealErrorKind::Damaged, "byte {index}");
        }
        let cut = Sealed::new(sealed.key_id(), sealed.data()[..5].to_vec());
        assert!(ring.open(&cut, &context).await.is_err());
    }

    #[tokio::test]
    async fn sealed_text_shows_no_secret_and_survives_serde() {
        let namespace = Namespace::default();
        let ring = KeyRing::new(&KEY).unwrap();
        let sealed = ring
            .seal(&Secret::new("a-secret-value"), &context(&namespace, 1, 1))
            .await
            .unwrap();

        let json = serde_json::to_string(&sealed).unwrap();

        assert!(!json.contains("a-secret-value"), "{json}");
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
        assert!(
            !format!("{sealed:?} {ring:?}").contains(&json),
            "{sealed:?}"
        );
    }
}
