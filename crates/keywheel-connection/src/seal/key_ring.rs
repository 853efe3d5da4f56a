use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, RandomizedNonceKey, UnboundKey,
};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keywheel_core::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::{Fingerprint, SealContext, SealError, SealErrorKind, Sealed, Sealer, Sealing};

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
    id: Arc<str>,
    seals: RandomizedNonceKey,
    /// The same key, which opens a text without its tag: in memory of the text's own size.
    opens: LessSafeKey,
    fingerprint: hmac::Key,
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

    /// Returns what stands for `secret`, to tell later whether it changed.
    ///
    /// ```
    /// use keywheel_connection::{ConnectionId, KeyRing, Namespace, SealContext};
    /// use keywheel_core::Secret;
    ///
    /// let ring = KeyRing::from_base64("q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=")?;
    /// let (namespace, connection) = (Namespace::default(), uuid::Uuid::from_u128(1).into());
    /// let context = |generation| SealContext {
    ///     namespace: &namespace,
    ///     connection,
    ///     field: "client-secret",
    ///     generation,
    /// };
    ///
    /// let before = ring.fingerprint(&Secret::new("a secret"), &context(1));
    ///
    /// assert_eq!(before, ring.fingerprint(&Secret::new("a secret"), &context(2)));
    /// assert_ne!(before, ring.fingerprint(&Secret::new("another"), &context(2)));
    /// # Ok::<(), keywheel_connection::SealError>(())
    /// ```
    ///
    /// The generation is no part of it. Fingerprints under different keys can't be compared: ask
    /// [`is_of`](Self::is_of) about one that was made before the key was replaced.
    #[must_use]
    pub fn fingerprint(&self, secret: &Secret, context: &SealContext<'_>) -> Fingerprint {
        self.keys[0].fingerprint(secret, context)
    }

    /// Tells whether `fingerprint` is of `secret`.
    ///
    /// # Errors
    ///
    /// Returns an error that names the key of the fingerprint when it is not in the ring.
    pub fn is_of(
        &self,
        fingerprint: &Fingerprint,
        secret: &Secret,
        context: &SealContext<'_>,
    ) -> Result<bool, SealError> {
        let key = self.key(fingerprint.key_id())?;
        Ok(key.fingerprint(secret, context) == *fingerprint)
    }

    fn seal_now(&self, secret: &Secret, context: &SealContext<'_>) -> Result<Sealed, SealError> {
        let key = &self.keys[0];
        let text = secret.expose().as_bytes();
        let mut data = Vec::with_capacity(NONCE_LEN + text.len() + TAG_LEN);
        data.extend_from_slice(&[0; NONCE_LEN]);
        data.extend_from_slice(text);
        let seal = |aad: &[u8]| {
            let text = &mut data[NONCE_LEN..];
            let sealed = key.seals.seal_in_place_separate_tag(Aad::from(aad), text);
            let (nonce, tag) = sealed.ok()?;
            data[..NONCE_LEN].copy_from_slice(nonce.as_ref());
            data.extend_from_slice(tag.as_ref());
            Some(())
        };
        match context.with_bytes(seal) {
            Some(()) => Ok(Sealed::new(Arc::clone(&key.id), data)),
            None => Err(SealError::new(SealErrorKind::Unavailable, &*key.id)),
        }
    }

    fn open_now(&self, sealed: &Sealed, context: &SealContext<'_>) -> Result<Secret, SealError> {
        let key = self.key(sealed.key_id())?;
        let damaged = || SealError::new(SealErrorKind::Damaged, &*key.id);
        let (nonce, data) = sealed
            .data()
            .split_at_checked(NONCE_LEN)
            .ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let length = data.len().checked_sub(TAG_LEN).ok_or_else(damaged)?;
        let (data, tag) = data.split_at(length);
        let mut text = data.to_vec();
        let open = |aad: &[u8]| {
            let opened =
                key.opens
                    .open_in_place_separate_tag(nonce, Aad::from(aad), tag, &mut text);
            opened.map(drop)
        };
        if context.with_bytes(open).is_err() {
            text.zeroize();
            return Err(damaged());
        }
        // Moved into the secret, so that there is no other copy to wipe.
        match String::from_utf8(text) {
            Ok(text) => Ok(Secret::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(damaged())
            }
        }
    }

    fn key(&self, id: &str) -> Result<&Key, SealError> {
        self.keys
            .iter()
            .find(|key| *key.id == *id)
            .ok_or_else(|| SealError::new(SealErrorKind::KeyMissing, id))
    }
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, SealError> {
        let invalid = || SealError::new(SealErrorKind::InvalidKey, "?");
        let named = [b"keywheel sealing key id".as_slice(), key].concat();
        let id = digest(&SHA256, &Zeroizing::new(named));
        let opens = UnboundKey::new(&AES_256_GCM, key).map_err(|_| invalid())?;
        let derived = Salt::new(HKDF_SHA256, b"keywheel fingerprint v1").extract(key);
        Ok(Self {
            id: id.as_ref()[..8]
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into(),
            seals: RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| invalid())?,
            opens: LessSafeKey::new(opens),
            fingerprint: derived
                .expand(&[], HMAC_SHA256)
                .map_err(|_| invalid())?
                .into(),
        })
    }

    fn fingerprint(&self, secret: &Secret, context: &SealContext<'_>) -> Fingerprint {
        let mut mac = hmac::Context::with_key(&self.fingerprint);
        context.write_place(&mut |part| mac.update(part));
        mac.update(secret.expose().as_bytes());
        let tag = mac.sign();
        let tag = tag.as_ref()[..16].try_into();
        Fingerprint::new(&self.id, tag.expect("SHA-256 gives 32 bytes"))
    }
}

impl Sealer for KeyRing {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        Sealing::ready(self.seal_now(secret, context))
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::ready(self.open_now(sealed, context))
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

const TAG_LEN: usize = 16;

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
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::conformance::sealers::SealerFixture;
    use crate::{ConnectionId, Namespace};

    const KEY: [u8; 32] = [7; 32];
    const OTHER: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";

    #[derive(Debug)]
    struct Rings;

    #[async_trait]
    impl SealerFixture for Rings {
        async fn sealer(&self) -> Arc<dyn Sealer> {
            Arc::new(KeyRing::new(&KEY).unwrap())
        }

        async fn stranger(&self) -> Arc<dyn Sealer> {
            Arc::new(KeyRing::from_base64(OTHER).unwrap())
        }
    }

    crate::sealer_conformance!(Rings);

    fn context(namespace: &Namespace, connection: u128) -> SealContext<'_> {
        SealContext {
            namespace,
            connection: ConnectionId::from(uuid::Uuid::from_u128(connection)),
            field: "client-secret",
            generation: 1,
        }
    }

    #[tokio::test]
    async fn a_former_key_still_opens() {
        let namespace = Namespace::default();
        let context = context(&namespace, 1);
        let before = KeyRing::from_base64(OTHER).unwrap();
        let sealed = before.seal(&Secret::new("value"), &context).await.unwrap();

        let after = KeyRing::new(&KEY).unwrap().with_former(OTHER).unwrap();

        let opened = after.open(&sealed, &context).await.unwrap();
        assert_eq!(opened.expose(), "value");
        assert_ne!(after.key_id(), sealed.key_id());
    }

    #[test]
    fn a_fingerprint_outlives_the_key_that_it_was_made_under() {
        let namespace = Namespace::default();
        let (here, there) = (context(&namespace, 1), context(&namespace, 2));
        let secret = Secret::new("value");
        let before = KeyRing::from_base64(OTHER).unwrap();
        let fingerprint = before.fingerprint(&secret, &here);
        let text = fingerprint.to_string();
        assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);

        let after = KeyRing::new(&KEY).unwrap().with_former(OTHER).unwrap();

        assert!(after.is_of(&fingerprint, &secret, &here).unwrap());
        assert!(!after.is_of(&fingerprint, &secret, &there).unwrap());
        let other = Secret::new("other");
        assert!(!after.is_of(&fingerprint, &other, &here).unwrap());
        let without = KeyRing::new(&KEY).unwrap();
        let error = without.is_of(&fingerprint, &secret, &here).unwrap_err();
        assert_eq!(error.kind(), SealErrorKind::KeyMissing);
        assert_eq!(error.key_id(), before.key_id());
    }

    #[test]
    fn a_context_is_authenticated_as_the_bytes_that_it_shows_however_long() {
        let namespace = Namespace::default();
        for length in [0, 48, 49, 50, 1_000] {
            let field: &'static str = "f".repeat(length).leak();
            let context = SealContext {
                field,
                ..context(&namespace, 1)
            };
            assert_eq!(context.with_bytes(<[u8]>::to_vec), context.to_bytes());
        }
    }

    #[test]
    fn what_only_looks_like_a_fingerprint_is_refused() {
        for text in [
            "",
            "key",
            "key:",
            "key:+1",
            &format!("key:{}", "g".repeat(32)),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
