//! A pretended key management service, in memory. Put a client of the real one in its place.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::sealer::{DataKey, KeyService, ServiceError};

#[derive(Clone)]
pub(crate) struct PretendService(Arc<Mutex<HashMap<String, RandomizedNonceKey>>>);

impl PretendService {
    pub(crate) fn with_keys<const N: usize>(names: [&str; N]) -> Self {
        let key = |name: &str| {
            let key = RandomizedNonceKey::new(&AES_256_GCM, &random());
            (name.to_owned(), key.expect("32 bytes"))
        };
        Self(Arc::new(Mutex::new(names.into_iter().map(key).collect())))
    }

    pub(crate) fn forget(&self, name: &str) {
        drop(self.keys().remove(name));
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, RandomizedNonceKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyService for PretendService {
    async fn new_data_key(&self, key_id: &str) -> Result<DataKey, ServiceError> {
        let clear = random();
        let keys = self.keys();
        let key = keys.get(key_id).ok_or(ServiceError::NoSuchKey)?;
        let mut wrapped = clear.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut wrapped);
        let nonce = nonce.map_err(|_| ServiceError::Silent)?;
        wrapped.splice(..0, *nonce.as_ref());
        Ok(DataKey { clear, wrapped })
    }

    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let keys = self.keys();
        let key = keys.get(key_id).ok_or(ServiceError::NoSuchKey)?;
        let (nonce, data) = wrapped
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(ServiceError::Refused)?;
        let mut data = Zeroizing::new(data.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let clear = key
            .open_in_place(nonce, Aad::empty(), &mut data)
            .map_err(|_| ServiceError::Refused)?;
        Ok(Zeroizing::new(clear.to_vec()))
    }
}

impl fmt::Debug for PretendService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PretendService").finish_non_exhaustive()
    }
}

fn random() -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; 32]);
    rand::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}
