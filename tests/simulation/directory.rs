use chrono::TimeDelta;
use keywheel_connection::{IssuerErrorKind, Marker};
use keywheel_core::{ApplicationObjectId, ClientId, KeyId};
use uuid::Uuid;

use super::chance::Chance;
use super::world::Moment;

/// How many replicas of the directory answer, each with its own lag for each change.
const REPLICAS: usize = 3;

/// The tenant's applications and their secrets, and how far its replicas lag.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) applications: Vec<Application>,
    /// When an administrator last did something.
    pub(crate) interfered: Moment,
    serial: u64,
}

/// An application: its secrets, and what its administrators did to it.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) client: ClientId,
    pub(crate) secrets: Vec<Secret>,
    /// How many secrets it may hold.
    pub(crate) limit: Option<u8>,
    /// How long a secret may live by the tenant's policy.
    pub(crate) longest_life: Option<TimeDelta>,
    /// The tenant's policy forbids client secrets.
    pub(crate) forbidden: bool,
    /// The permission to write is missing.
    pub(crate) unpermitted: bool,
    /// It is disabled or deleted, for now.
    pub(crate) unusable: bool,
    /// It is deleted for good.
    pub(crate) gone: bool,
    /// How many times it was made anew.
    made_anew: u128,
}

/// A secret that is or was on an application.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) key_id: KeyId,
    pub(crate) name: String,
    pub(crate) marker: Option<Marker>,
    pub(crate) text: String,
    pub(crate) end: Moment,
    pub(crate) removed: Option<(Moment, By)>,
    /// How many fresh tokens were obtained with it since a refusal was last stored.
    pub(crate) proofs: u32,
    /// Whether a read was answered after such a token.
    pub(crate) read_by: Option<usize>,
    accepted: [Span; REPLICAS],
    listed: [Span; REPLICAS],
}

/// Who removed a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Administrator,
    Keywheel,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: Moment,
    until: Moment,
}

impl Span {
    fn holds(self, at: Moment) -> bool {
        self.from <= at && at < self.until
    }
}

/// How far the directory lags in a run, at most, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lags {
    pub(crate) accept: i64,
    pub(crate) list: i64,
}

impl Directory {
    pub(crate) fn add_application(&mut self, client: ClientId, limit: Option<u8>) {
        self.applications.push(Application {
            client,
            secrets: Vec::new(),
            limit,
            longest_life: None,
            forbidden: false,
            unpermitted: false,
            unusable: false,
            gone: false,
            made_anew: 0,
        });
    }

    /// Adds an application that nobody knew before.
    pub(crate) fn another(&mut self) -> ClientId {
        let client = Uuid::from_u128(0xc11e_0000 + self.applications.len() as u128).into();
        self.add_application(client, None);
        client
    }

    /// Takes an application away with all its secrets, and perhaps makes another one in its place.
    pub(crate) fn bury(&mut self, client: ClientId, now: Moment, anew: bool) {
        let application = self.application(client);
        for secret in &mut application.secrets {
            secret.removed.get_or_insert((now, By::Administrator));
            for span in secret.accepted.iter_mut().chain(&mut secret.listed) {
                span.until = span.until.min(now);
            }
        }
        application.gone = !anew;
        application.unusable = !anew;
        application.made_anew += u128::from(anew);
    }

    pub(crate) fn application(&mut self, client: ClientId) -> &mut Application {
        let mut applications = self.applications.iter_mut();
        applications
            .find(|application| application.client == client)
            .expect("the simulation makes no other client ids up")
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.applications.iter().flat_map(|a| &a.secrets)
    }

    pub(crate) fn secret(&self, key_id: KeyId) -> Option<&Secret> {
        self.secrets().find(|secret| secret.key_id == key_id)
    }

    pub(crate) fn secret_mut(&mut self, key_id: KeyId) -> Option<&mut Secret> {
        let mut secrets = self.applications.iter_mut().flat_map(|a| &mut a.secrets);
        secrets.find(|secret| secret.key_id == key_id)
    }

    /// Adds a secret; each replica gets to know of it in its own time.
    pub(crate) fn add(
        &mut self,
        client: ClientId,
        (name, marker): (String, Option<Marker>),
        (now, end): (Moment, Moment),
        lags: Lags,
        chance: &mut Chance,
    ) -> &Secret {
        self.serial += 1;
        let serial = self.serial;
        let key_id = KeyId::from(Uuid::from_u64_pair(chance.next(), serial));
        let mut span = |lag: i64| {
            [(); REPLICAS].map(|()| Span {
                from: now.plus(chance.span(lag)),
                until: Moment::NEVER,
            })
        };
        let secret = Secret {
            key_id,
            name,
            marker,
            text: format!("{:03}8Q~{serial}", serial * 7 % 1000),
            end,
            removed: None,
            proofs: 0,
            read_by: None,
            accepted: span(lags.accept),
            listed: span(lags.list),
        };
        let secrets = &mut self.application(client).secrets;
        secrets.push(secret);
        &secrets[secrets.len() - 1]
    }

    /// Removes a secret; each replica forgets it in its own time.
    pub(crate) fn remove(
        &mut self,
        key_id: KeyId,
        (now, by): (Moment, By),
        lags: Lags,
        chance: &mut Chance,
    ) {
        let Some(secret) = self.secret_mut(key_id) else {
            return;
        };
        secret.removed = Some((now, by));
        for span in &mut secret.accepted {
            span.until = now.plus(chance.span(lags.accept));
        }
        for span in &mut secret.listed {
            span.until = now.plus(chance.span(lags.list));
        }
    }

    /// Tries a secret at one of the replicas.
    pub(crate) fn authenticate(
        &mut self,
        client: ClientId,
        text: &str,
        now: Moment,
        chance: &mut Chance,
    ) -> Result<KeyId, IssuerErrorKind> {
        let application = self.application(client);
        if application.unusable {
            return Err(IssuerErrorKind::ApplicationUnusable);
        }
        let replica = replica(chance);
        let mut secrets = application.secrets.iter();
        let Some(secret) = secrets.find(|secret| secret.text == text) else {
            return Err(IssuerErrorKind::Refused);
        };
        if secret.end <= now {
            Err(IssuerErrorKind::Expired)
        } else if secret.accepted[replica].holds(now) {
            Ok(secret.key_id)
        } else {
            Err(IssuerErrorKind::Refused)
        }
    }
}

impl Application {
    /// The id of the object, which is another one when the application is made anew.
    pub(crate) fn object(&self) -> ApplicationObjectId {
        Uuid::from_u128(!self.client.as_uuid().as_u128() ^ self.made_anew << 64).into()
    }

    /// Whether it can't hold another secret.
    pub(crate) fn is_full(&self) -> bool {
        let held = self
            .secrets
            .iter()
            .filter(|secret| secret.removed.is_none());
        self.limit.is_some_and(|limit| held.count() >= limit.into())
    }

    /// What one of the replicas lists.
    pub(crate) fn listed(&self, now: Moment, chance: &mut Chance) -> impl Iterator<Item = &Secret> {
        let replica = replica(chance);
        let secrets = self.secrets.iter();
        secrets.filter(move |secret| secret.listed[replica].holds(now))
    }

    /// Whether the replica that takes a write knows the secret.
    pub(crate) fn knows(&self, key_id: KeyId, now: Moment, chance: &mut Chance) -> bool {
        let replica = replica(chance);
        let mut secrets = self.secrets.iter();
        secrets.any(|secret| {
            secret.key_id == key_id && secret.removed.is_none() && secret.listed[replica].holds(now)
        })
    }
}

impl Secret {
    /// Whether it is there and has not ended, whatever the replicas say.
    pub(crate) fn is_live(&self, now: Moment) -> bool {
        self.removed.is_none() && now < self.end
    }
}

fn replica(chance: &mut Chance) -> usize {
    usize::try_from(chance.below(REPLICAS as u64)).unwrap_or(0)
}
