mod drive;
mod save;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Access, Candidate, Cause, Claimed, Connection, ConnectionId, ConnectionStore, CredentialIssuer,
    EventSink, Held, Holder, IssuerErrorKind, Lease, Marker, Minted, Removal, RotationId,
    SealError, Sealer, StoreError, StoreErrorKind, Version,
};
use keywheel_core::{Clock, Entropy, KeyId, Secret};
use thiserror::Error;
use tokio::time::sleep;

use self::save::Fold;
use crate::apply::Outcome;
use crate::failure::{Failure, lifetime};
use crate::{Policy, Step, Waiting, decide};

/// Carries out what [`decide`] decides: one step at a time, each ending in a durable write.
///
/// # Cancel safety
///
/// Every future may be dropped at any point. A dropped one equals a process that died there: the record
/// says what may have happened, and whoever takes the lease next accounts for it.
#[derive(Clone)]
pub struct Rotator(Arc<Parts>);

struct Parts {
    store: Arc<dyn ConnectionStore>,
    issuer: Arc<dyn CredentialIssuer>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    events: Option<Arc<dyn EventSink>>,
    policy: Policy,
}

/// What a [`Rotator`] works with.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every part must be given, so a new one is a breaking change anyway"
)]
pub struct RotatorParts {
    /// Keeps the connections.
    pub store: Arc<dyn ConnectionStore>,
    /// Mints, proves and removes secrets.
    pub issuer: Arc<dyn CredentialIssuer>,
    /// Seals them.
    pub sealer: Arc<dyn Sealer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes markers unique.
    pub entropy: Arc<dyn Entropy>,
    /// Hears of what happened, if anyone wants to.
    pub events: Option<Arc<dyn EventSink>>,
}

/// A connection under lease.
#[derive(Debug)]
pub struct Work {
    lease: Lease,
    released: bool,
    connection: Connection,
    version: Version,
}

impl Work {
    /// Tells whether the lease is still ours, as far as we know. [`Rotator::advance`] gives it back when
    /// there is nothing to do for a while.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.released
    }

    /// Returns the connection as it was last saved.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl From<Claimed> for Work {
    fn from(claimed: Claimed) -> Self {
        Self {
            lease: claimed.lease,
            released: false,
            connection: claimed.stored.connection,
            version: claimed.stored.version,
        }
    }
}

/// How far [`Rotator::advance`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Advance {
    /// A step was made and saved: call again.
    Stepped,
    /// There is nothing to do now.
    Waiting {
        /// When to call again; `None` for never.
        until: Option<DateTime<Utc>>,
        /// What is waited for.
        why: Waiting,
    },
}

/// A step could not be made, or not be saved.
#[derive(Debug, Error)]
#[error("{}", describe(*kind))]
pub struct RotateError {
    kind: RotateErrorKind,
    source: StoreError,
}

/// What to do about a [`RotateError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotateErrorKind {
    /// Somebody else took over. Stop working on the connection.
    LeaseLost,
    /// The store failed: see the source. Nothing is lost; call again when it is well.
    Store,
}

impl RotateError {
    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> RotateErrorKind {
        self.kind
    }

    /// Returns the store's error.
    #[must_use]
    pub fn store_error(&self) -> &StoreError {
        &self.source
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.source.is_transient()
    }
}

impl From<StoreError> for RotateError {
    fn from(source: StoreError) -> Self {
        let kind = match source.kind() {
            StoreErrorKind::LeaseLost => RotateErrorKind::LeaseLost,
            _ => RotateErrorKind::Store,
        };
        Self { kind, source }
    }
}

fn describe(kind: RotateErrorKind) -> &'static str {
    match kind {
        RotateErrorKind::LeaseLost => "another process took the connection over",
        RotateErrorKind::Store => "the rotation could not be saved",
    }
}

impl Rotator {
    /// Returns a rotator.
    #[must_use]
    pub fn new(parts: RotatorParts, policy: Policy) -> Self {
        let RotatorParts {
            store,
            issuer,
            sealer,
            clock,
            entropy,
            events,
        } = parts;
        Self(Arc::new(Parts {
            store,
            issuer,
            sealer,
            clock,
            entropy,
            events,
            policy,
        }))
    }

    /// Takes the lease of a connection.
    ///
    /// # Errors
    ///
    /// Returns the store's error; [`StoreErrorKind::Held`] says until when somebody else has it.
    pub async fn lease(&self, id: ConnectionId) -> Result<Work, StoreError> {
        let holder = Holder::from(self.0.entropy.uuid());
        let claimed = self.0.store.lease(id, holder, self.0.policy.lease).await?;
        Ok(claimed.into())
    }

    /// Makes the next step of a connection, if there is one to make now, and saves what came of it.
    ///
    /// A step that fails is saved too, with when it is tried again: that is no error. The lease is
    /// extended by every save, and given back when there is nothing to do for a while.
    ///
    /// # Errors
    ///
    /// Returns an error when the store failed.
    pub async fn advance(&self, work: &mut Work) -> Result<Advance, RotateError> {
        if work.released {
            return Err(StoreError::lease_lost().into());
        }
        match decide(&work.connection, self.0.clock.now(), &self.0.policy) {
            Step::Wait { until, why } => {
                self.hand_back(work, until).await?;
                return Ok(Advance::Waiting { until, why });
            }
            Step::Mint { cause, generation } => self.mint(work, cause, generation).await?,
            Step::Prove => {
                let prove = self.prove(&work.connection);
                let outcome = self.holding(&work.lease, prove).await;
                self.commit(work, outcome.as_ref()).await?;
            }
            Step::Inspect => {
                let inspect = self.inspect(&work.connection);
                let outcome = self.holding(&work.lease, inspect).await;
                self.commit(work, Some(&outcome)).await?;
            }
            Step::Retire { key_id } => {
                let retire = self.retire(&work.connection, key_id);
                let outcome = self.holding(&work.lease, retire).await;
                self.commit(work, Some(&outcome)).await?;
            }
            Step::Abandon | Step::Quarantine | Step::Promote | Step::Finish => {
                self.commit(work, None).await?;
            }
        }
        Ok(Advance::Stepped)
    }

    /// Renews the lease for as long as an effect takes. Losing it is found out by the next save.
    async fn holding<T>(&self, lease: &Lease, effect: impl Future<Output = T> + Send) -> T {
        let mut effect = pin!(effect);
        loop {
            tokio::select! {
                biased;
                done = &mut effect => return done,
                () = sleep(lease.span / 3) => {
                    drop(self.0.store.renew(lease, lease.span).await);
                }
            }
        }
    }

    /// Stores the intent, mints, and stores what came of it.
    async fn mint(
        &self,
        work: &mut Work,
        cause: Cause,
        generation: u64,
    ) -> Result<(), RotateError> {
        // Before the intent: without a secret to authenticate with, nothing can be minted.
        let (secret, previous) = match self.open_held(&work.connection).await {
            Ok(opened) => opened,
            Err(failure) => {
                return self.commit(work, Some(&Outcome::MintFailed(failure))).await;
            }
        };
        let attempt = self.0.entropy.uuid();
        let marker = Marker::new(work.connection.id, generation, attempt);
        let rotation = RotationId::from(attempt);
        let intent = Outcome::Intended {
            rotation: in_progress(&work.connection).unwrap_or(rotation),
            cause,
            marker,
        };
        self.save(work, Some(&intent), Fold::Nothing).await?;

        let connection = work.connection.clone();
        let access = Access::new(&connection, generation - 1, secret).with_previous(previous);
        let end = self.end_of_life(&connection);
        let mint = self.0.issuer.mint(&access, &marker, end);
        let outcome = match self.holding(&work.lease, mint).await {
            Ok(minted) => self.keep(&connection, generation, marker, minted).await,
            Err(error) if error.kind() == IssuerErrorKind::Unknown => {
                Outcome::MintUnknown(Failure::from(&error))
            }
            Err(error) => Outcome::MintFailed(Failure::from(&error)),
        };
        let saved = self.commit(work, Some(&outcome)).await;
        if saved.is_err() {
            self.undo(&access, &outcome).await;
        }
        saved
    }

    async fn keep(
        &self,
        connection: &Connection,
        generation: u64,
        marker: Marker,
        minted: Minted,
    ) -> Outcome {
        let Minted {
            key_id,
            secret,
            end,
            ..
        } = minted;
        let context = connection.seal_context(generation);
        match self.0.sealer.seal(&secret, &context).await {
            Ok(sealed) => Outcome::Minted {
                marker,
                key_id,
                sealed,
                end,
            },
            Err(error) => Outcome::MintedInVain {
                marker,
                key_id,
                failure: Failure::from(&error),
            },
        }
    }

    /// Removes a secret that could not be stored. If that fails too, its marker is in the store, and
    /// whoever takes the lease next looks for it.
    async fn undo(&self, access: &Access<'_>, outcome: &Outcome) {
        if let Outcome::Minted { key_id, .. } | Outcome::MintedInVain { key_id, .. } = outcome {
            drop(self.0.issuer.remove(access, key_id).await);
        }
    }

    fn end_of_life(&self, connection: &Connection) -> DateTime<Utc> {
        let policy = &self.0.policy;
        let life = connection
            .rotation
            .as_ref()
            .map_or(TimeDelta::days(90), |rotation| lifetime(rotation, policy));
        self.0.clock.now() + life
    }

    /// Returns `None` when the candidate is gone, which only a newer record can say.
    async fn prove(&self, connection: &Connection) -> Option<Outcome> {
        let rotation = connection.rotation.as_ref()?;
        let candidate = rotation.candidate()?;
        let access = match self.open_candidate(connection, candidate).await {
            Ok(access) => access,
            Err(failure) => return Some(Outcome::ProofFailed(failure)),
        };
        if let Err(error) = self.0.issuer.prove(&access).await {
            return Some(match error.kind() {
                IssuerErrorKind::Refused => Outcome::ProofRefused,
                _ => Outcome::ProofFailed(Failure::from(&error)),
            });
        }
        if candidate.proofs + 1 < rotation.settings.proofs {
            return Some(Outcome::Proved { read: None });
        }
        // The last proof: the token must be good for something.
        Some(match self.0.issuer.inspect(&access).await {
            Ok(read) => Outcome::Proved { read: Some(read) },
            Err(error) => Outcome::ProofFailed(Failure::from(&error)),
        })
    }

    async fn inspect(&self, connection: &Connection) -> Outcome {
        let access = match self.access(connection).await {
            Ok(access) => access,
            Err(failure) => return Outcome::InspectFailed(failure),
        };
        match self.0.issuer.inspect(&access).await {
            Ok(read) => Outcome::Inspected(read),
            Err(error) => Outcome::InspectFailed(Failure::from(&error)),
        }
    }

    async fn retire(&self, connection: &Connection, key_id: KeyId) -> Outcome {
        let failed = |failure| Outcome::RemoveFailed { key_id, failure };
        let access = match self.access(connection).await {
            Ok(access) => access,
            Err(failure) => return failed(failure),
        };
        match self.0.issuer.remove(&access, &key_id).await {
            Ok(Removal::Removed) => Outcome::Removed { key_id },
            Ok(Removal::NotFound) => Outcome::RemoveNotFound { key_id },
            Err(error) => failed(Failure::from(&error)),
        }
    }

    async fn access<'a>(&self, connection: &'a Connection) -> Result<Access<'a>, Failure> {
        let (secret, previous) = self.open_held(connection).await?;
        let generation = connection
            .secrets()
            .map_or(0, |held| held.current.generation);
        Ok(Access::new(connection, generation, secret).with_previous(previous))
    }

    async fn open_candidate<'a>(
        &self,
        connection: &'a Connection,
        candidate: &Candidate,
    ) -> Result<Access<'a>, Failure> {
        let generation = candidate.marker.generation();
        let context = connection.seal_context(generation);
        let secret = self.0.sealer.open(&candidate.sealed, &context).await;
        Ok(Access::new(
            connection,
            generation,
            secret.map_err(|error| Failure::from(&error))?,
        ))
    }

    /// Opens the current secret, and the previous one if it can be.
    async fn open_held(
        &self,
        connection: &Connection,
    ) -> Result<(Secret, Option<Secret>), Failure> {
        let Some(secrets) = connection.secrets() else {
            return Err(Failure::without_secret());
        };
        let current = self.open(connection, &secrets.current).await;
        let previous = match &secrets.previous {
            Some(held) => self.open(connection, held).await.ok(),
            None => None,
        };
        Ok((current.map_err(|error| Failure::from(&error))?, previous))
    }

    async fn open(&self, connection: &Connection, held: &Held) -> Result<Secret, SealError> {
        let context = connection.seal_context(held.generation);
        self.0.sealer.open(&held.sealed, &context).await
    }
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotator")
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}

/// Returns when a worker should look at `connection` next.
pub(crate) fn wake_at(
    connection: &Connection,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<DateTime<Utc>> {
    decide(connection, now, policy).wake_at(now)
}

fn in_progress(connection: &Connection) -> Option<RotationId> {
    connection.rotation.as_ref()?.in_progress()
}
