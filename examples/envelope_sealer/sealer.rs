//! A sealer whose keys never leave a key management service.

use std::fmt::Debug;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use keywheel::connection::{SealContext, SealError, SealErrorKind, Sealed, Sealer, Sealing};
use keywheel::core::Secret;
use zeroize::Zeroizing;

/// What is asked of the service: Azure Key Vault's `wrapKey` and `unwrapKey`, AWS KMS's `GenerateDataKey` and
/// `Decrypt`, or the like.
#[async_trait]
pub(crate) trait KeyService: Debug + Send + Sync {
    /// Returns a new data key, in clear and wrapped by the key called `key_id`.
    async fn new_data_key(&self, key_id: &str) -> Result<DataKey, ServiceError>;

    /// Unwraps a data key.
    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError>;
}

/// A data key, for one value.
pub(crate) struct DataKey {
    pub(crate) clear: Zeroizing<Vec<u8>>,
    pub(crate) wrapped: Vec<u8>,
}

/// Why the service did not do it.
#[derive(Debug)]
pub(crate) enum ServiceError {
    /// It has no such key, or does not let us use it.
    NoSuchKey,
    /// It says that this was not wrapped by that key.
    Refused,
    /// It does not answer.
    Silent,
}

/// Seals each value with a data key of its own, and keeps that key beside the value, wrapped by the service.
///
/// The value is `length of the wrapped key (2 bytes) ‖ wrapped key ‖ nonce ‖ ciphertext and tag`; the context is
/// authenticated with the value, so the service need not know it. Replace `key_id` and run a `Resealer` to move
/// to another key of the service: what is sealed says which key it was.
#[derive(Debug)]
pub(crate) struct EnvelopeSealer<S> {
    service: S,
    key_id: String,
}

impl<S: KeyService> EnvelopeSealer<S> {
    pub(crate) fn new(service: S, key_id: &str) -> Self {
        Self {
            service,
            key_id: key_id.to_owned(),
        }
    }
}

impl<S: KeyService> Sealer for EnvelopeSealer<S> {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        Sealing::later(async move {
            let key = self.service.new_data_key(&self.key_id).await;
            let key = key.map_err(|error| failed(&error, &self.key_id))?;
            let mut value = Zeroizing::new(secret.expose().as_bytes().to_vec());
            let nonce = cipher(&key.clear, &self.key_id)?
                .seal_in_place_append_tag(Aad::from(context.to_bytes()), &mut *value)
                .map_err(|_| SealError::new(SealErrorKind::Unavailable, &self.key_id))?;
            let length = u16::try_from(key.wrapped.len()).map_err(|_| damaged(&self.key_id))?;
            let parts = [
                &length.to_be_bytes()[..],
                &key.wrapped,
                nonce.as_ref(),
                &value,
            ];
            Ok(Sealed::new(&*self.key_id, parts.concat()))
        })
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::later(async move {
            let key_id = sealed.key_id();
            let (wrapped, nonce, value) = parts(sealed.data()).ok_or_else(|| damaged(key_id))?;
            let key = self.service.unwrap(key_id, wrapped).await;
            let key = key.map_err(|error| failed(&error, key_id))?;
            let mut value = Zeroizing::new(value.to_vec());
            let opened = cipher(&key, key_id)?
                .open_in_place(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(context.to_bytes()),
                    &mut value,
                )
                .map_err(|_| damaged(key_id))?;
            let text = std::str::from_utf8(opened).map_err(|_| damaged(key_id))?;
            Ok(Secret::new(text))
        })
    }

    fn key_id(&self) -> &str {
        &self.key_id
    }
}

fn parts(data: &[u8]) -> Option<(&[u8], [u8; NONCE_LEN], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let (wrapped, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let (nonce, value) = rest.split_first_chunk::<NONCE_LEN>()?;
    Some((wrapped, *nonce, value))
}

fn cipher(key: &[u8], key_id: &str) -> Result<RandomizedNonceKey, SealError> {
    RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| damaged(key_id))
}

fn damaged(key_id: &str) -> SealError {
    SealError::new(SealErrorKind::Damaged, key_id)
}

/// What the caller can do about it, with the name of the key.
fn failed(error: &ServiceError, key_id: &str) -> SealError {
    let kind = match error {
        ServiceError::NoSuchKey => SealErrorKind::KeyMissing,
        ServiceError::Refused => SealErrorKind::Damaged,
        ServiceError::Silent => SealErrorKind::Unavailable,
    };
    SealError::new(kind, key_id)
}
