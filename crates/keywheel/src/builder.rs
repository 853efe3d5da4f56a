use std::fmt;
use std::sync::Arc;

use keywheel_connection::{
    ConnectionId, ConnectionStore, Consumer, Entry, EventSink, Sealer, SecretSink,
};
use keywheel_core::{
    BuildError, Clock, CredentialError, Entropy, HttpSend, ReqwestSend, SystemClock, SystemEntropy,
};
use keywheel_entra::{
    ConnectionCredential, Enrolment, EntraIssuer, EntraParts, SignInApplication, TenantAccess,
};
use keywheel_rotation::{
    Connections, DeliveryWaker, EventDelivery, EventHandler, Policy, Rotator, RotatorParts, Sinks,
    Worker,
};

/// The default parts, wired together. Clones share them.
#[derive(Clone)]
pub struct Keywheel {
    parts: EntraParts,
    issuer: EntraIssuer,
    connections: Connections,
    rotator: Rotator,
    committed: DeliveryWaker,
}

impl Keywheel {
    /// Returns a builder over a store and a sealer.
    #[must_use]
    pub fn builder(
        store: impl ConnectionStore + 'static,
        sealer: impl Sealer + 'static,
    ) -> KeywheelBuilder {
        KeywheelBuilder {
            store: Arc::new(store),
            sealer: Arc::new(sealer),
            http: None,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            events: None,
            sign_in: None,
            sinks: Sinks::default(),
            policy: Policy::default(),
        }
    }

    /// Returns what people do with connections by client secret: create, ask for a rotation, look.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Returns what carries rotations out.
    #[must_use]
    pub fn rotator(&self) -> &Rotator {
        &self.rotator
    }

    /// Returns a worker that drives every connection of the store. Spawn its
    /// [`run`](Worker::run), in as many processes as you like.
    #[must_use]
    pub fn worker(&self) -> Worker {
        Worker::new(self.rotator.clone())
    }

    /// Returns a delivery of every event to `handler`, which begins at the beginning for a new `consumer`.
    /// What it gives up the store keeps, if it keeps
    /// [dead letters](keywheel_connection::ConnectionStore::as_dead_letters).
    /// Spawn its [`run`](EventDelivery::run) in every replica: one of them delivers at a time.
    #[must_use]
    pub fn delivery(
        &self,
        consumer: Consumer,
        handler: impl EventHandler + 'static,
    ) -> EventDelivery {
        let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
        EventDelivery::new(store, clock, &*self.parts.entropy, consumer, handler)
            .woken_by(&self.committed)
    }

    /// Returns what talks to Entra and Graph, for a preflight.
    #[must_use]
    pub fn issuer(&self) -> &EntraIssuer {
        &self.issuer
    }

    /// Returns the tokens of a connection. It follows rotations; keep it.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no such connection, what it authenticates with can't be opened, or the
    /// store does not answer.
    pub async fn credential(
        &self,
        id: ConnectionId,
    ) -> Result<ConnectionCredential, CredentialError> {
        ConnectionCredential::load(id, self.parts.clone()).await
    }

    /// Returns the access of a connection: for a preflight, or to roll its certificate with a
    /// [`CertificateRoll`](keywheel_entra::CertificateRoll).
    ///
    /// # Errors
    ///
    /// As [`credential`](Self::credential).
    pub async fn access(&self, id: ConnectionId) -> Result<TenantAccess, CredentialError> {
        TenantAccess::load(id, self.parts.clone()).await
    }

    /// Returns what stores connections by certificate and by authorization code.
    #[must_use]
    pub fn enrolment(&self) -> Enrolment {
        Enrolment::new(self.parts.clone())
    }
}

impl fmt::Debug for Keywheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keywheel").finish_non_exhaustive()
    }
}

/// Wires a [`Keywheel`].
#[derive(Debug)]
pub struct KeywheelBuilder {
    store: Arc<dyn ConnectionStore>,
    sealer: Arc<dyn Sealer>,
    http: Option<Arc<dyn HttpSend>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    events: Option<Arc<dyn EventSink>>,
    sign_in: Option<SignInApplication>,
    sinks: Sinks,
    policy: Policy,
}

impl KeywheelBuilder {
    /// Sets what sends requests. Default: [`ReqwestSend`] with the system's certificates.
    #[must_use]
    pub fn http(mut self, http: impl HttpSend + 'static) -> Self {
        self.http = Some(Arc::new(http));
        self
    }

    /// Sets the clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets where random bytes come from. Default: the system.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Arc::new(entropy);
        self
    }

    /// Sets what hears of events as they are committed. Default: nothing.
    #[must_use]
    pub fn events(mut self, events: impl EventSink + 'static) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// Sets the backend's own application, which the users of connections by authorization code sign in to.
    /// Default: none.
    #[must_use]
    pub fn sign_in(mut self, application: SignInApplication) -> Self {
        self.sign_in = Some(application);
        self
    }

    /// Adds a sink that must have each new secret before it is used.
    #[must_use]
    pub fn sink_before(mut self, sink: impl SecretSink + 'static) -> Self {
        self.sinks.before.push(Arc::new(sink));
        self
    }

    /// Adds a sink that gets each new secret afterwards.
    #[must_use]
    pub fn sink_after(mut self, sink: impl SecretSink + 'static) -> Self {
        self.sinks.after.push(Arc::new(sink));
        self
    }

    /// Sets what holds for every rotation.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Wires the parts.
    ///
    /// # Errors
    ///
    /// Returns an error when no HTTP client was given and the default one can't be built, because the
    /// system has no certificates.
    pub fn build(self) -> Result<Keywheel, BuildError> {
        let http = match self.http {
            Some(http) => http,
            None => Arc::new(ReqwestSend::builder().build()?),
        };
        let parts = EntraParts {
            store: self.store,
            sealer: self.sealer,
            http,
            clock: self.clock,
            entropy: self.entropy,
            sign_in: self.sign_in,
        };
        let issuer = EntraIssuer::new(
            Arc::clone(&parts.http),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
        );
        let committed = DeliveryWaker::default();
        let rotation = RotatorParts {
            store: Arc::clone(&parts.store),
            issuer: Arc::new(issuer.clone()),
            sealer: Arc::clone(&parts.sealer),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
            events: Some(Arc::new(Committed {
                waker: committed.clone(),
                events: self.events,
            })),
            sinks: self.sinks,
        };
        Ok(Keywheel {
            parts,
            issuer,
            connections: Connections::new(rotation.clone(), self.policy.clone()),
            rotator: Rotator::new(rotation, self.policy),
            committed,
        })
    }
}

/// What hears of events as they are committed: deliveries of this process, and whatever was asked for.
#[derive(Debug)]
struct Committed {
    waker: DeliveryWaker,
    events: Option<Arc<dyn EventSink>>,
}

impl EventSink for Committed {
    fn committed(&self, entries: &[Entry]) {
        self.waker.committed(entries);
        if let Some(events) = &self.events {
            events.committed(entries);
        }
    }
}
