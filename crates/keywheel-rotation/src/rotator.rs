mod authority;
mod clocks;
mod drive;
mod save;
mod steps;

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionStore, CredentialIssuer, EventSink, Holder, Lease,
    Sealer, SecretSink, StoreError, StoreErrorKind, Version,
};
use keywheel_core::{Clock, Entropy};
use thiserror::Error;
use tokio::time::sleep;

use self::clocks::Clocks;
pub(crate) use self::save::record_only;
use crate::metrics::Gauges;
use crate::{Policy, Step, Waiting, decide};

/// Carries out what [`decide`] decides: one step at a time, each ending in a durable write.
///
/// # Cancel safety
///
/// Every future may be dropped at any point. A dropped one equals a process that died there: the record
/// says what may have happened, and whoever takes the lease next accounts for it.
#[derive(Clone)]
pub struct Rotator(Arc<Inner>);

struct Inner {
    parts: RotatorParts,
    policy: Policy,
    clocks: Clocks,
    gauges: Gauges,
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
    /// Get the secrets too.
    pub sinks: Sinks,
}

/// Who gets new secrets too.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct Sinks {
    /// Must have a new secret before it becomes the current one. While one of them fails, the rotation
    /// waits, and the secret before stays in use.
    pub before: Vec<Arc<dyn SecretSink>>,
    /// Get it afterwards. While one of them fails it is tried again, and the status shows the drift.
    pub after: Vec<Arc<dyn SecretSink>>,
}

/// A connection under lease.
#[derive(Debug)]
pub struct Work {
    lease: Lease,
    released: bool,
    /// Shared, because a record is a kilobyte and more, and futures of many rotations are held at once.
    connection: Arc<Connection>,
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

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn version(&self) -> Version {
        self.version
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
    /// The connection was deleted. Stop working on it.
    Gone,
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
            StoreErrorKind::NotFound => RotateErrorKind::Gone,
            _ => RotateErrorKind::Store,
        };
        Self { kind, source }
    }
}

fn describe(kind: RotateErrorKind) -> &'static str {
    match kind {
        RotateErrorKind::Gone => "the connection was deleted",
        RotateErrorKind::LeaseLost => "another process took the connection over",
        RotateErrorKind::Store => "the rotation could not be saved",
    }
}

impl Rotator {
    /// Returns a rotator.
    #[must_use]
    pub fn new(parts: RotatorParts, mut policy: Policy) -> Self {
        policy.name_sinks(&parts.sinks);
        let (clocks, gauges) = (Clocks::default(), Gauges::new(policy.connection_gauges));
        Self(Arc::new(Inner {
            parts,
            policy,
            clocks,
            gauges,
        }))
    }

    /// Returns what holds for every rotation of this engine.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// What holds for one connection.
    pub(crate) fn policy_of(&self, connection: &Connection) -> Cow<'_, Policy> {
        self.policy().of(connection, &self.parts().sinks)
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }

    pub(crate) fn parts(&self) -> &RotatorParts {
        &self.0.parts
    }

    /// Takes the lease of a connection.
    ///
    /// # Errors
    ///
    /// Returns the store's error; [`StoreErrorKind::Held`] says until when somebody else has it.
    pub async fn lease(&self, id: ConnectionId) -> Result<Work, StoreError> {
        let holder = Holder::from(self.parts().entropy.uuid());
        let store = &self.parts().store;
        Ok(store.lease(id, holder, self.policy().lease).await?.into())
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
        let policy = self.policy_of(&work.connection);
        match decide(&work.connection, self.now(), &policy) {
            Step::Wait { until, why } => {
                self.hand_back(work, until).await?;
                return Ok(Advance::Waiting { until, why });
            }
            Step::Mint { cause, generation } => self.mint(work, cause, generation).await?,
            Step::Delete => self.delete(work).await?,
            step => {
                let effect = self.carry_out(&work.connection, &step);
                let outcome = self.holding(&work.lease, effect).await?;
                self.commit(work, outcome.as_ref()).await?;
            }
        }
        Ok(Advance::Stepped)
    }

    /// Returns the time that the rotator goes by: its clock's, corrected by what the directory's last
    /// answer to a proof said. [`Advance::Waiting`] speaks of this time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clocks.now(self.parts().clock.now())
    }

    /// Renews the lease for as long as an effect takes. An effect that somebody else may be making too is
    /// dropped: they account for it.
    async fn holding<T>(
        &self,
        lease: &Lease,
        effect: impl Future<Output = T> + Send,
    ) -> Result<T, StoreError> {
        // Beside each other: a renewal that gets no answer holds up no call to the directory.
        tokio::select! {
            biased;
            done = effect => Ok(done),
            lost = self.renewing(lease) => Err(lost),
        }
    }

    /// Renews the lease again and again, until it is over. May be dropped in a renewal: one that arrives late
    /// extends what is ours or is refused.
    async fn renewing(&self, lease: &Lease) -> StoreError {
        loop {
            sleep(lease.span / 3).await;
            // A store that does not answer may do so again before the lease ends.
            if let Err(error) = self.parts().store.renew(lease, lease.span).await
                && is_over(error.kind())
            {
                return error;
            }
        }
    }

    /// The same for a mint, whose answer is worth having even when somebody else took over: what it
    /// minted can be removed by its key id.
    async fn holding_to_the_end<T>(
        &self,
        lease: &Lease,
        effect: impl Future<Output = T> + Send,
    ) -> T {
        let mut effect = pin!(effect);
        match self.holding(lease, &mut effect).await {
            Ok(done) => done,
            Err(_) => effect.await,
        }
    }
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotator")
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}

/// Whether somebody else has the connection now, or nobody.
fn is_over(lease: StoreErrorKind) -> bool {
    matches!(lease, StoreErrorKind::LeaseLost | StoreErrorKind::NotFound)
}

/// Returns when a worker should look at `connection` next.
pub(crate) fn wake_at(
    connection: &Connection,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<DateTime<Utc>> {
    decide(connection, now, policy).wake_at(now)
}
