use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::SecretText;
use crate::behaviour::{Behaviours, Seen, Throttle};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::fault::Faults;
use crate::graph::Caller;
use crate::identity::Grants;
use crate::keys::{Pool, RsaKey, SigningKey};
use crate::log::{Effect, Log};
use crate::material::KeyMaterial;
use crate::random::Draws;
use crate::seed::{Pending, certify};
use crate::snapshot::Snapshot;
use crate::tls::Authority;

/// All that changes while the emulator runs, behind one lock.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) behaviours: Behaviours,
    pub(crate) draws: Draws,
    pub(crate) faults: Faults,
    pub(crate) grants: Grants,
    /// JWKS documents of issuers outside, by issuer.
    pub(crate) issuers: BTreeMap<String, Value>,
    pub(crate) log: Log,
    pub(crate) throttles: Throttles,
    /// Tenant and client id of the default application.
    pub(crate) default_app: Option<(Uuid, Uuid)>,
}

impl World {
    pub(crate) fn new(directory: Directory, behaviours: Behaviours) -> Self {
        Self {
            draws: Draws::seeded(behaviours.seed),
            directory,
            behaviours,
            faults: Faults::default(),
            grants: Grants::default(),
            issuers: BTreeMap::new(),
            log: Log::default(),
            throttles: Throttles::default(),
            default_app: None,
        }
    }

    /// Draws the replica that answers now.
    pub(crate) fn seen(&mut self, now: DateTime<Utc>) -> Seen {
        Seen {
            now,
            replica: self.draws.below(u64::from(self.behaviours.replicas)),
        }
    }
}

/// How far the limits on requests are used up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Throttles {
    pub(crate) token: Used,
    pub(crate) graph: Used,
}

/// How many requests one limit's window has seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Used {
    since: Option<DateTime<Utc>>,
    requests: u32,
}

impl Used {
    /// Counts a request; tells whether it is one too many.
    pub(crate) fn exceeds(&mut self, limit: &Throttle, now: DateTime<Utc>) -> bool {
        let window_runs = self
            .since
            .is_some_and(|since| now >= since && now - since < limit.window);
        if !window_runs {
            self.since = Some(now);
            self.requests = 0;
        }
        self.requests = self.requests.saturating_add(1);
        self.requests > limit.requests
    }
}

/// What every request has at hand.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    pub(crate) origins: Origins,
    pub(crate) authority: Authority,
    world: Mutex<World>,
    /// Tokens whose signature has been checked, by digest.
    pub(crate) callers: Mutex<HashMap<[u8; 32], Arc<Caller>>>,
    /// The certificates that wait for their key.
    pending: Vec<Pending>,
    certified: OnceLock<()>,
}

impl Service {
    pub(crate) fn new(
        clock: Clock,
        keys: Keys,
        origins: Origins,
        authority: Authority,
        world: World,
        pending: Vec<Pending>,
    ) -> Self {
        Self {
            clock,
            keys,
            origins,
            authority,
            world: Mutex::new(world),
            callers: Mutex::new(HashMap::new()),
            pending,
            certified: OnceLock::new(),
        }
    }

    /// Waits until the keys are made, and registers the certificates that needed one.
    pub(crate) fn ready(&self) {
        self.certified.get_or_init(|| {
            self.keys.signing();
            if !self.pending.is_empty() {
                let key = self.keys.client();
                let now = self.clock.now();
                certify(&mut self.world().directory, &self.pending, key, now);
            }
        });
    }

    /// Returns the keys, to be kept or given to another emulator.
    pub(crate) fn material(&self) -> KeyMaterial {
        KeyMaterial {
            ca: self.authority.ca_pem().to_owned(),
            ca_key: SecretText::new(self.authority.key_pem()),
            signing: SecretText::new(self.keys.signing().rsa.pem()),
            client: SecretText::new(self.keys.client().pem()),
        }
    }

    /// Returns all that is worth keeping.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.ready();
        let keys = self.material();
        Snapshot::of(&self.world(), self.clock.kept(), keys)
    }

    /// Goes back to a snapshot. The keys stay what they are.
    pub(crate) fn restore(&self, snapshot: Snapshot) {
        self.ready();
        self.clock.restore(snapshot.clock);
        snapshot.fill(&mut self.world());
    }

    /// Tells whether applications have certificates of the emulator's own making.
    pub(crate) fn makes_certificates(&self) -> bool {
        !self.pending.is_empty() || self.keys.client.get().is_some()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a request, or with none an administrator's hand, has done.
    pub(crate) fn note(&self, world: &mut World, request: Option<u64>, effect: Effect) {
        world.log.effect(self.clock.now(), request, effect);
    }
}

/// Where the emulator is reached: `https://host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    pub(crate) login: String,
    pub(crate) graph: String,
}

/// The emulator's RSA keys: those of the process, unless a snapshot brought its own.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    signing: OnceLock<Arc<SigningKey>>,
    client: OnceLock<Arc<RsaKey>>,
}

impl Keys {
    /// Takes keys that were made before; one that can't be read comes from the process's pool.
    pub(crate) fn of(material: &KeyMaterial) -> Self {
        let keys = Self::default();
        if let Some(key) = RsaKey::from_pem(material.signing.expose()) {
            let _ = keys.signing.set(Arc::new(SigningKey::of(key)));
        }
        if let Some(key) = RsaKey::from_pem(material.client.expose()) {
            let _ = keys.client.set(Arc::new(key));
        }
        keys
    }

    /// Returns the key that signs tokens. Waits until it is made.
    pub(crate) fn signing(&self) -> &SigningKey {
        self.signing.get_or_init(Pool::signing)
    }

    /// Returns the key of the certificates that the seed asked for. Waits until it is made.
    pub(crate) fn client(&self) -> &RsaKey {
        self.client.get_or_init(Pool::client)
    }
}
