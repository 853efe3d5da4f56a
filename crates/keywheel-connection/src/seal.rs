mod fingerprint;
mod key_ring;
mod reseal;
mod sealing;

use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::display::Base64Display;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel_core::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use self::fingerprint::Fingerprint;
pub use self::key_ring::KeyRing;
pub use self::reseal::{ResealError, Resealed, Resealer};
pub use self::sealing::Sealing;
use crate::{ConnectionId, Namespace, read};

/// Seals secrets before they reach a store, and opens them again.
///
/// # Contract
///
/// * The context is authenticated: what was sealed for one namespace, connection, field or generation
///   does not open for another.
/// * The name of the key stands in the [`Sealed`] value, readable without the key, so that a missing key
///   can be named.
/// * Neither the secret nor the key reaches an error, a log or `Debug`.
/// * Both calls may be repeated; sealing twice gives two different values.
///
/// It is asynchronous because a key management service may be behind it. [`KeyRing`] is the one with
/// keys of your own, and answers at once: that is why this returns [`Sealing`], and not the boxed futures of
/// `async_trait`.
pub trait Sealer: Debug + Send + Sync {
    /// Seals `secret` for `context` with the present key.
    ///
    /// # Errors
    ///
    /// Returns an error when the key can't be used now.
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed>;

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    ///
    /// Returns an error that names the key when it is missing, when the value was sealed for another
    /// context, or when it was changed.
    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret>;

    /// Returns the name of the key that [`seal`](Self::seal) uses.
    fn key_id(&self) -> &str;
}

impl<T: Sealer + ?Sized> Sealer for Arc<T> {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        (**self).seal(secret, context)
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        (**self).open(sealed, context)
    }

    fn key_id(&self) -> &str {
        (**self).key_id()
    }
}

/// What a sealed value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a new part would change what is authenticated"
)]
pub struct SealContext<'a> {
    /// The namespace of the connection.
    pub namespace: &'a Namespace,
    /// The connection.
    pub connection: ConnectionId,
    /// What is sealed, as in `client-secret`.
    pub field: &'static str,
    /// The generation of the secret.
    pub generation: u64,
}

impl<'a> SealContext<'a> {
    /// Returns what the files of a certificate are sealed for.
    #[must_use]
    pub fn certificate(namespace: &'a Namespace, connection: ConnectionId) -> Self {
        Self {
            namespace,
            connection,
            field: "certificate",
            generation: 0,
        }
    }

    /// Returns what the refresh token of `generation` is sealed for.
    #[must_use]
    pub fn refresh_token(
        namespace: &'a Namespace,
        connection: ConnectionId,
        generation: u64,
    ) -> Self {
        Self {
            namespace,
            connection,
            field: "refresh-token",
            generation,
        }
    }

    /// Returns the context as bytes for authentication: each part with its length before it, so that no
    /// two contexts share a spelling.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROOM);
        self.write(&mut |part| bytes.extend_from_slice(part));
        bytes
    }

    /// Calls `then` with the context as bytes, which for all but the longest names need no memory.
    fn with_bytes<T>(&self, then: impl FnOnce(&[u8]) -> T) -> T {
        let (mut room, mut length) = ([0; ROOM], 0);
        self.write(&mut |part| {
            let end = length + part.len();
            if let Some(place) = room.get_mut(length..end) {
                place.copy_from_slice(part);
            }
            length = end;
        });
        match room.get(..length) {
            Some(bytes) => then(bytes),
            None => then(&self.to_bytes()),
        }
    }

    fn write(&self, to: &mut impl FnMut(&[u8])) {
        to(b"keywheel seal v1");
        self.write_place(to);
        write_part(to, &self.generation.to_be_bytes());
    }

    /// Writes what is the same for every generation.
    fn write_place(&self, to: &mut impl FnMut(&[u8])) {
        write_part(to, self.namespace.as_str().as_bytes());
        write_part(to, self.connection.as_uuid().as_bytes());
        write_part(to, self.field.as_bytes());
    }
}

fn write_part(to: &mut impl FnMut(&[u8]), part: &[u8]) {
    to(&(part.len() as u64).to_be_bytes());
    to(part);
}

/// Long enough for most contexts, and no longer: it is cleared for each value.
const ROOM: usize = 128;

/// A sealed secret: safe to store, useless without the key.
///
/// Clones share it, as do the copies of a record that a save makes.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    /// Shared with the key: it is the same in each value.
    key_id: Arc<str>,
    data: Vec<u8>,
}

impl Sealed {
    /// Returns a value that the key called `key_id` sealed. The name must not hold a colon.
    #[must_use]
    pub fn new(key_id: impl Into<Arc<str>>, data: Vec<u8>) -> Self {
        let key_id = key_id.into();
        Self(Arc::new(Parts { key_id, data }))
    }

    /// Returns the name of the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.0.key_id
    }

    /// Returns the sealed bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.0.data
    }
}

impl Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        let data = BASE64_URL_SAFE_NO_PAD.encode(sealed.data());
        format!("{}:{data}", sealed.key_id())
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let data = Base64Display::new(self.data(), &BASE64_URL_SAFE_NO_PAD);
        to.collect_str(&format_args!("{}:{data}", self.key_id()))
    }
}

impl FromStr for Sealed {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let damaged = || SealError::new(SealErrorKind::Damaged, "?");
        let (key_id, data) = text.split_once(':').ok_or_else(damaged)?;
        let data = BASE64_URL_SAFE_NO_PAD.decode(data).map_err(|_| damaged())?;
        Ok(Self::new(key_id, data))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::text(from)
    }
}

/// A secret can't be sealed or opened.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SealError(Box<Problem>);

/// Boxed, so that what succeeds is handed on in registers.
#[derive(Debug, Error)]
#[error("{}", describe(*kind, key_id))]
struct Problem {
    kind: SealErrorKind,
    key_id: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What to do about a [`SealError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealErrorKind {
    /// The value was changed, or sealed for another connection, field or generation. Restore it.
    Damaged,
    /// The key is not 32 bytes in base64. Correct it.
    InvalidKey,
    /// The key that sealed the value is not at hand. Provide it.
    KeyMissing,
    /// The key management service does not answer. Try again.
    Unavailable,
}

impl SealError {
    /// Returns an error about the key called `key_id`.
    #[must_use]
    pub fn new(kind: SealErrorKind, key_id: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind,
            key_id: key_id.into(),
            source: None,
        }))
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> SealErrorKind {
        self.0.kind
    }

    /// Returns the name of the key that the error is about.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.0.key_id
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            SealErrorKind::Damaged | SealErrorKind::InvalidKey | SealErrorKind::KeyMissing => false,
            SealErrorKind::Unavailable => true,
        }
    }
}

fn describe(kind: SealErrorKind, key_id: &str) -> String {
    match kind {
        SealErrorKind::Damaged => format!(
            "a value sealed with key {key_id} was changed or belongs elsewhere; restore it from a backup"
        ),
        SealErrorKind::InvalidKey => {
            "sealing key: expected 32 random bytes in base64, as `openssl rand -base64 32` prints them"
                .to_owned()
        }
        SealErrorKind::KeyMissing => format!(
            "sealing key: this was sealed with key {key_id}, which was not given; add that key to the ring"
        ),
        SealErrorKind::Unavailable => {
            format!("the sealing key {key_id} can't be used at the moment; try again")
        }
    }
}
