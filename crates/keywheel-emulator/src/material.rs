use std::fmt;

use rustls_pemfile::Item;
use serde::{Deserialize, Serialize};

use crate::SecretText;
use crate::keys::{RsaKey, pem};
use crate::secret_text::exposed;

/// The keys of an emulator: its certificate authority's, the one that signs tokens, and the one of the
/// certificates it makes. An emulator that gets those of an earlier one is taken for the same by clients.
///
/// [`Emulator::key_material`](crate::Emulator::key_material) returns it,
/// [`Builder::key_material`](crate::Builder::key_material) takes it.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyMaterial {
    pub(crate) ca: String,
    #[serde(with = "exposed")]
    pub(crate) ca_key: SecretText,
    #[serde(with = "exposed")]
    pub(crate) signing: SecretText,
    #[serde(with = "exposed")]
    pub(crate) client: SecretText,
}

impl KeyMaterial {
    /// Writes the material as PEM blocks: the authority's certificate and key, the signing key, the
    /// certificates' key. All but the first are private.
    #[must_use]
    pub fn to_pem(&self) -> SecretText {
        let keys = [&self.ca_key, &self.signing, &self.client];
        let keys: String = keys.into_iter().map(SecretText::expose).collect();
        SecretText::new(format!("{}{keys}", self.ca))
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    ///
    /// When the text does not hold exactly these four blocks.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKeyMaterial> {
        let items: Vec<Item> = rustls_pemfile::read_all(&mut text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidKeyMaterial)?;
        let [
            Item::X509Certificate(ca),
            Item::Pkcs8Key(ca_key),
            Item::Pkcs8Key(signing),
            Item::Pkcs8Key(client),
        ] = items.as_slice()
        else {
            return Err(InvalidKeyMaterial);
        };
        let rsa = |der: &[u8]| {
            RsaKey::from_pkcs8(der)
                .map(|key| SecretText::new(key.pem()))
                .ok_or(InvalidKeyMaterial)
        };
        Ok(Self {
            ca: pem("CERTIFICATE", ca),
            ca_key: SecretText::new(pem("PRIVATE KEY", ca_key.secret_pkcs8_der())),
            signing: rsa(signing.secret_pkcs8_der())?,
            client: rsa(client.secret_pkcs8_der())?,
        })
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").finish_non_exhaustive()
    }
}

/// A text that holds no key material.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "not the emulator's key material: expected a certificate and three PKCS#8 keys in PEM; delete the file and \
     a new one is made"
)]
#[non_exhaustive]
pub struct InvalidKeyMaterial;
