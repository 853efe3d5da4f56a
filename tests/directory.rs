use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use keywheel_connection::{
    Access, CredentialIssuer, Inspection, IssuerError, IssuerErrorKind, Listed, Marker, Minted,
    Proof, Removal,
};
use keywheel_core::{ApplicationObjectId, ClientId, Clock, Entropy, KeyId, Secret};
use keywheel_testkit::SeededEntropy;
use uuid::Uuid;

use crate::{Effects, Fate, Watch, ours};

/// A directory in memory: one application, its secrets, and how long its replicas take to agree.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    effects: Effects,
    entropy: SeededEntropy,
    state: Mutex<State>,
    watch: Mutex<Option<Watch>>,
}

#[derive(Debug, Default)]
struct State {
    secrets: Vec<Entry>,
    lag: Lag,
    /// How long a call takes.
    call: Duration,
    mint_calls: Vec<Marker>,
    scripted: Vec<(&'static str, IssuerErrorKind)>,
    /// Calls that fail until somebody corrects it.
    denied: Vec<(&'static str, IssuerErrorKind)>,
    /// Applications without a permission in Graph: they get tokens, which are good for nothing there.
    without_graph: Vec<ClientId>,
    /// How many secrets an application may hold.
    limit: Option<u8>,
    /// How long a new secret lives at most.
    longest_life: Option<TimeDelta>,
    /// How long the call that is made now is under way.
    late: TimeDelta,
    /// The object id of the applications, which changes when they are made again.
    object: u128,
}

/// A secret that is or was on an application.
#[derive(Clone, Debug)]
struct Entry {
    client: ClientId,
    key_id: KeyId,
    name: String,
    text: String,
    end: DateTime<Utc>,
    accepted_from: DateTime<Utc>,
    listed_from: DateTime<Utc>,
    removed_at: Option<DateTime<Utc>>,
    /// When the call that adds it arrives, if it is late.
    added_late: Option<DateTime<Utc>>,
    /// When the call that removes it arrives, if it is late.
    removed_late: Option<DateTime<Utc>>,
}

impl Entry {
    fn is_live(&self, now: DateTime<Utc>) -> bool {
        let added = self.added_late.is_none_or(|at| at <= now);
        let removed = self.removed_at.is_some() && self.removed_late.is_none_or(|at| at <= now);
        added && !removed
    }
}

/// How long the directory's replicas take to agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// Until a new secret is accepted.
    pub accepted: TimeDelta,
    /// Until a new secret is listed, and a removed one is not.
    pub listed: TimeDelta,
}

/// A secret that is not keywheel's.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its key id.
    pub key_id: KeyId,
    /// The secret.
    pub text: String,
}

impl Directory {
    /// Returns a directory with an application that has no secret.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, effects: Effects, seed: u64) -> Self {
        Self(Arc::new(Inner {
            clock,
            effects,
            entropy: SeededEntropy::new(seed),
            state: Mutex::default(),
            watch: Mutex::default(),
        }))
    }

    /// Checks the invariants after every effect from now on.
    pub fn watch(&self, watch: Watch) {
        *self.0.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }

    /// Sets how long replicas take to agree.
    pub fn set_lag(&self, lag: Lag) {
        self.state().lag = lag;
    }

    /// Sets how long a call takes.
    pub fn set_call(&self, takes: Duration) {
        self.state().call = takes;
    }

    /// Makes the next call of that name fail, before it has any effect.
    pub fn fail_next(&self, call: &'static str, kind: IssuerErrorKind) {
        self.state().scripted.push((call, kind));
    }

    /// Makes every call of that name fail from now on, before it has any effect.
    pub fn deny(&self, call: &'static str, kind: IssuerErrorKind) {
        self.state().denied.push((call, kind));
    }

    /// Takes an application its permissions in Graph. It goes on getting tokens.
    pub fn forbid_graph(&self, client: ClientId) {
        self.state().without_graph.push(client);
    }

    /// Corrects everything that was denied.
    pub fn allow_all(&self) {
        self.state().denied.clear();
    }

    /// Limits how many secrets an application may hold.
    pub fn set_limit(&self, limit: Option<u8>) {
        self.state().limit = limit;
    }

    /// Lets new secrets end sooner than they were asked to.
    pub fn set_longest_life(&self, life: Option<TimeDelta>) {
        self.state().longest_life = life;
    }

    /// Makes the applications anew, under the same client ids.
    pub fn recreate(&self) {
        self.state().object += 1;
    }

    /// Adds a secret to the connection's application, as an administrator does.
    pub fn add_secret(&self, name: &str) -> Foreign {
        self.add_secret_to(ours(), name)
    }

    /// Adds a secret to an application, as an administrator does.
    pub fn add_secret_to(&self, client: ClientId, name: &str) -> Foreign {
        let past = self.0.clock.now() - TimeDelta::days(1);
        let mut entry = self.make(client, name, past + TimeDelta::days(700));
        (entry.accepted_from, entry.listed_from) = (past, past);
        let foreign = Foreign {
            key_id: entry.key_id,
            text: entry.text.clone(),
        };
        self.state().secrets.push(entry);
        foreign
    }

    /// Removes a secret as an administrator does.
    pub fn remove_secret(&self, key_id: KeyId) {
        let now = self.0.clock.now();
        for secret in &mut self.state().secrets {
            if secret.key_id == key_id && secret.is_live(now) {
                (secret.removed_at, secret.removed_late) = (Some(now), None);
            }
        }
    }

    /// Restores a secret that was removed, as restoring a deleted application does.
    pub fn restore_secret(&self, key_id: KeyId) {
        for secret in &mut self.state().secrets {
            if secret.key_id == key_id {
                secret.removed_at = None;
            }
        }
    }

    /// Brings the end of a secret forward.
    pub fn end_secret(&self, key_id: KeyId) {
        let now = self.0.clock.now();
        for secret in &mut self.state().secrets {
            if secret.key_id == key_id {
                secret.end = now;
            }
        }
    }

    /// Tells whether the directory has this secret, whatever its replicas say.
    #[must_use]
    pub fn has(&self, key_id: KeyId) -> bool {
        self.live().iter().any(|(live, _)| *live == key_id)
    }

    /// Tells whether this text is a secret that has not been removed and has not ended.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        let now = self.0.clock.now();
        let state = self.state();
        let mut secrets = state.secrets.iter();
        secrets.any(|s| s.text == text && s.is_live(now) && s.end > now)
    }

    /// Returns key id and name of every secret that has not been removed.
    #[must_use]
    pub fn live(&self) -> Vec<(KeyId, String)> {
        let now = self.0.clock.now();
        let state = self.state();
        let live = state.secrets.iter().filter(|s| s.is_live(now));
        live.map(|s| (s.key_id, s.name.clone())).collect()
    }

    /// Returns the text of a secret that is live.
    ///
    /// # Panics
    ///
    /// Panics when there is none.
    #[must_use]
    pub fn text(&self, key_id: KeyId) -> String {
        let now = self.0.clock.now();
        let state = self.state();
        let mut live = state.secrets.iter().filter(|s| s.is_live(now));
        let found = live.find(|s| s.key_id == key_id);
        found.expect("a live secret").text.clone()
    }

    /// Returns the text of every secret that there ever was.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let state = self.state();
        state.secrets.iter().map(|s| s.text.clone()).collect()
    }

    /// Returns the markers of all mint calls that took place.
    #[must_use]
    pub fn mint_calls(&self) -> Vec<Marker> {
        self.state().mint_calls.clone()
    }

    fn make(&self, client: ClientId, name: &str, end: DateTime<Utc>) -> Entry {
        let (lag, late) = {
            let state = self.state();
            (state.lag, state.late)
        };
        let now = self.0.clock.now() + late;
        let random = self.0.entropy.uuid().simple().to_string();
        Entry {
            client,
            key_id: KeyId::from(self.0.entropy.uuid()),
            name: name.to_owned(),
            text: format!("{}8Q~{}", &random[..3], &random[3..]),
            end,
            accepted_from: now + lag.accepted,
            listed_from: now + lag.listed,
            removed_at: None,
            added_late: (!late.is_zero()).then_some(now),
            removed_late: None,
        }
    }

    fn authenticate(&self, access: &Access<'_>) -> Result<(), IssuerError> {
        let texts = [Some(&access.secret), access.previous.as_ref()];
        let mut texts = texts.into_iter().flatten();
        if !texts.any(|text| self.accepts(access.by.client, text.expose())) {
            return Err(error(IssuerErrorKind::Refused));
        }
        if self.state().without_graph.contains(&access.by.client) {
            return Err(error(IssuerErrorKind::Forbidden));
        }
        Ok(())
    }

    fn accepts(&self, client: ClientId, text: &str) -> bool {
        let now = self.0.clock.now();
        let state = self.state();
        let lag = state.lag.accepted;
        let mut secrets = state.secrets.iter();
        secrets.any(|s| {
            let removed = s.removed_at.is_some_and(|at| at + lag <= now);
            s.client == client
                && s.text == text
                && s.accepted_from <= now
                && !removed
                && s.end > now
        })
    }

    fn scripted(&self, call: &'static str) -> Result<(), IssuerError> {
        let mut state = self.state();
        if let Some((_, kind)) = state.denied.iter().find(|(name, _)| *name == call) {
            return Err(error(*kind));
        }
        match state.scripted.iter().position(|(name, _)| *name == call) {
            Some(index) => Err(error(state.scripted.remove(index).1)),
            None => Ok(()),
        }
    }

    fn is_full(&self, client: ClientId) -> bool {
        let now = self.0.clock.now();
        let state = self.state();
        let secrets = state.secrets.iter();
        let live = secrets.filter(|s| s.client == client && s.is_live(now));
        let live = live.count();
        state.limit.is_some_and(|limit| live >= limit.into())
    }

    /// Carries out an effect with its fate.
    async fn effect<T: Send>(
        &self,
        name: &'static str,
        mut effect: impl FnMut() -> Result<T, IssuerError> + Send,
    ) -> Result<T, IssuerError> {
        let fate = self.0.effects.begin(name).await;
        let takes = self.state().call;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if fate == Some(Fate::Refused) {
            return Err(error(IssuerErrorKind::Unavailable));
        }
        if fate == Some(Fate::Twice) && name != "mint" {
            drop(effect());
            self.check();
        }
        if let Some(Fate::Late(seconds)) = fate {
            self.state().late = TimeDelta::seconds(seconds.into());
            drop(effect());
            self.state().late = TimeDelta::zero();
            return Err(error(IssuerErrorKind::Unknown));
        }
        let answer = self.scripted(name).and_then(|()| effect());
        self.check();
        self.0.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(error(IssuerErrorKind::Unknown));
        }
        answer
    }

    fn check(&self) {
        let watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = &*watch {
            watch.check();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two applications, or one that was made again, do not have the same one.
fn object_id(client: ClientId, made: u128) -> ApplicationObjectId {
    let client = client.as_uuid().as_u128();
    Uuid::from_u128(client << 64 | (7 + made)).into()
}

fn error(kind: IssuerErrorKind) -> IssuerError {
    let wait = (kind == IssuerErrorKind::Throttled).then_some(Duration::from_secs(90));
    IssuerError::new(kind, format!("the directory says {kind:?}")).with_retry_after(wait)
}

#[async_trait]
impl CredentialIssuer for Directory {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        let secret = access.secret.clone();
        self.effect("prove", || {
            if self.accepts(access.connection.client, secret.expose()) {
                Ok(Proof::new(Some(self.0.clock.now().trunc_subsecs(0))))
            } else {
                Err(error(IssuerErrorKind::Refused))
            }
        })
        .await
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        self.effect("inspect", || {
            self.authenticate(access)?;
            let now = self.0.clock.now();
            let state = self.state();
            let listed = state.secrets.iter().filter(|s| {
                let removed = s.removed_at.is_some_and(|at| at + state.lag.listed <= now);
                s.client == access.connection.client && s.listed_from <= now && !removed
            });
            let listed = listed.map(|s| {
                Listed::new(Some(s.key_id), Some(s.name.clone()))
                    .with(Some(s.text[..3].to_owned()), Some(s.end))
            });
            let application = object_id(access.connection.client, state.object);
            Ok(Inspection::new(application, listed.collect()).with_secret_limit(state.limit))
        })
        .await
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        self.effect("mint", || {
            self.authenticate(access)?;
            let client = access.connection.client;
            if self.is_full(client) {
                return Err(error(IssuerErrorKind::LimitReached));
            }
            let longest = self.state().longest_life;
            let end = longest.map_or(end, |life| end.min(self.0.clock.now() + life));
            let entry = self.make(client, &marker.to_string(), end);
            let minted = Minted::new(entry.key_id, Secret::new(entry.text.clone()), Some(end));
            let mut state = self.state();
            state.mint_calls.push(*marker);
            state.secrets.push(entry);
            Ok(minted)
        })
        .await
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        self.effect("remove", || {
            self.authenticate(access)?;
            let now = self.0.clock.now();
            let mut state = self.state();
            let late = state.late;
            let known = state.secrets.iter_mut().find(|s| {
                let client = s.client == access.connection.client;
                client && s.key_id == *key_id && s.listed_from <= now && s.is_live(now)
            });
            let Some(secret) = known else {
                return Ok(Removal::NotFound);
            };
            secret.removed_at = Some(now + late);
            secret.removed_late = (!late.is_zero()).then_some(now + late);
            Ok(Removal::Removed)
        })
        .await
    }
}
