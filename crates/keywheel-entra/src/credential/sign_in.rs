use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use keywheel_connection::{
    Actor, Connection, ConnectionId, Credential, Entry, EventKind, Save, SignIn, SignInEnded,
    StoreErrorKind, Versioned,
};
use keywheel_core::{CredentialError, CredentialErrorKind, Secret};
use keywheel_credentials::RefreshTokenStore;
use tracing::warn;

use crate::parts::{EntraParts, from_store, invalid};

/// How often a save is tried again because somebody else saved the connection meanwhile.
const RACES: u32 = 16;

/// The connection as the place where the refresh token is.
///
/// Its record is saved by compare-and-swap, and a lost race is applied again to the newer record: what people
/// changed meanwhile stays. So does the refresh token of a user who signed in again, or of a quicker replica,
/// while the one before was exchanged: it has another generation. A refresh token that follows another is no
/// event: it happens with every token, and what it is got for is the sign-in, which is one.
#[derive(Debug)]
pub(super) struct StoredSignIn {
    id: ConnectionId,
    parts: EntraParts,
    /// The generation of the refresh token that was loaded or saved last. The credential calls one at a time.
    generation: AtomicU64,
}

impl StoredSignIn {
    pub(super) fn new(id: ConnectionId, parts: EntraParts) -> Self {
        Self {
            id,
            parts,
            generation: AtomicU64::default(),
        }
    }

    fn is_known(&self, stored: &SignIn) -> bool {
        stored.generation == self.generation.load(Ordering::Relaxed)
    }

    fn know(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }
}

#[async_trait]
impl RefreshTokenStore for StoredSignIn {
    async fn load(&self) -> Result<Secret, CredentialError> {
        let connection = self.parts.load(self.id).await?.connection;
        let sign_in = of(&connection)?;
        if let Some(ended) = &sign_in.ended {
            let kind = CredentialErrorKind::InteractionRequired;
            return Err(CredentialError::new(kind, ended.reason.clone()));
        }
        let context = connection.refresh_token_context(sign_in.generation);
        let refresh_token = self.parts.open(&sign_in.sealed, &context).await?;
        self.know(sign_in.generation);
        Ok(refresh_token)
    }

    async fn save(&self, refresh_token: &Secret) -> Result<(), CredentialError> {
        for _ in 0..RACES {
            let mut stored = self.parts.load(self.id).await?;
            let before = of(&stored.connection)?;
            if !self.is_known(before) {
                return Ok(());
            }
            let generation = before.generation + 1;
            let context = stored.connection.refresh_token_context(generation);
            let sealed = self.parts.seal(refresh_token, &context).await?;
            let sign_in = of_mut(Arc::make_mut(&mut stored.connection))?;
            (sign_in.sealed, sign_in.generation) = (sealed, generation);
            if self.swap(&stored, &[]).await? {
                self.know(generation);
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Remembers that the sign-in has ended, so that the connection's status says so. A store that does not
    /// answer is no reason to hide why there is no token.
    async fn ended(&self, why: &CredentialError) {
        if let Err(error) = self.try_ended(why).await {
            warn!(connection = %self.id, %error, "the end of a sign-in was not stored");
        }
    }
}

impl StoredSignIn {
    async fn try_ended(&self, why: &CredentialError) -> Result<(), CredentialError> {
        for _ in 0..RACES {
            let mut stored = self.parts.load(self.id).await?;
            let now = self.parts.clock.now();
            let connection = Arc::make_mut(&mut stored.connection);
            let sign_in = of_mut(connection)?;
            if sign_in.ended.is_some() || !self.is_known(sign_in) {
                return Ok(());
            }
            sign_in.ended = Some(SignInEnded::new(now, why.to_string()));
            let reason = why.to_string();
            let kind = EventKind::NeedsReauth { reason };
            let entry = connection.record(&Actor::engine(), now, kind);
            if self.swap(&stored, &[entry]).await? {
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Saves the connection; `false` when somebody else saved it meanwhile.
    async fn swap(&self, changed: &Versioned, entries: &[Entry]) -> Result<bool, CredentialError> {
        let save = Save::new(&changed.connection, changed.version, entries);
        match self.parts.store.save(save).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == StoreErrorKind::Conflict => Ok(false),
            Err(error) => Err(from_store(error)),
        }
    }
}

fn of(connection: &Connection) -> Result<&SignIn, CredentialError> {
    match &connection.credential {
        Credential::AuthorizationCode(sign_in) => Ok(sign_in),
        _ => Err(changed()),
    }
}

fn of_mut(connection: &mut Connection) -> Result<&mut SignIn, CredentialError> {
    match &mut connection.credential {
        Credential::AuthorizationCode(sign_in) => Ok(sign_in),
        _ => Err(changed()),
    }
}

fn changed() -> CredentialError {
    invalid("the connection is not by authorization code any more; load its credential anew")
}

fn busy() -> CredentialError {
    CredentialError::new(
        CredentialErrorKind::Unavailable,
        "the connection is being changed by others all the time; try again",
    )
}
