use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Access, CredentialIssuer, Inspection, IssuerError, IssuerErrorKind, Listed, Marker, Minted,
    Proof, Removal,
};
use keywheel_core::{ApplicationObjectId, ClientId, Entropy, KeyId, Secret, TenantId};
use keywheel_testkit::SeededEntropy;
use tokio::time::sleep;

/// Applications of many tenants, and how many calls each tenant gets at once.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entropy: SeededEntropy,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    secrets: HashMap<ClientId, Vec<(KeyId, String, String)>>,
    mints: HashMap<ClientId, u32>,
    inside: HashMap<TenantId, usize>,
    peaks: HashMap<TenantId, usize>,
    peak: usize,
    call: Duration,
    panics: Vec<ClientId>,
    keeps_all: bool,
    busy_for: Option<Duration>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let state = State {
            call: Duration::from_millis(100),
            ..State::default()
        };
        Self(Arc::new(Inner {
            entropy: SeededEntropy::new(5),
            state: Mutex::new(state),
        }))
    }

    /// Adds an application with one secret.
    pub(crate) fn register(&self, client: ClientId, text: &str) -> KeyId {
        let key_id = KeyId::from(self.0.entropy.uuid());
        let secret = (key_id, "first".to_owned(), text.to_owned());
        self.state().secrets.insert(client, vec![secret]);
        key_id
    }

    /// Sets how long each call takes.
    pub(crate) fn set_call(&self, call: Duration) {
        self.state().call = call;
    }

    /// Refuses to remove anything, or does so again.
    pub(crate) fn keep_all(&self, keep: bool) {
        self.state().keeps_all = keep;
    }

    /// Refuses every mint for want of time, and says when to ask again; or mints again.
    pub(crate) fn set_busy(&self, retry_after: Option<Duration>) {
        self.state().busy_for = retry_after;
    }

    /// Panics in the next mint for this application.
    pub(crate) fn panic_once(&self, client: ClientId) {
        self.state().panics.push(client);
    }

    pub(crate) fn mints(&self, client: ClientId) -> u32 {
        self.state().mints.get(&client).copied().unwrap_or(0)
    }

    pub(crate) fn live(&self, client: ClientId) -> usize {
        self.state().secrets[&client].len()
    }

    /// The most calls that a tenant ever had at once.
    pub(crate) fn peak(&self, tenant: &TenantId) -> usize {
        self.state().peaks.get(tenant).copied().unwrap_or(0)
    }

    /// The most calls that there ever were at once.
    pub(crate) fn peak_of_all(&self) -> usize {
        self.state().peak
    }

    async fn call(&self, access: &Access<'_>) -> Result<(), IssuerError> {
        let (tenant, client) = (&access.connection.tenant, access.connection.client);
        let call = {
            let mut state = self.state();
            let inside = state.inside.entry(tenant.clone()).or_default();
            *inside += 1;
            let inside = *inside;
            let peak = state.peaks.entry(tenant.clone()).or_default();
            *peak = inside.max(*peak);
            let all = state.inside.values().sum();
            state.peak = state.peak.max(all);
            state.call
        };
        let _leave = Leave(self, tenant);
        sleep(call).await;
        let texts = [Some(&access.secret), access.previous.as_ref()];
        let state = self.state();
        let mut known = state.secrets[&client].iter();
        let accepted = known.any(|(.., text)| texts.iter().flatten().any(|s| s.expose() == text));
        accepted
            .then_some(())
            .ok_or_else(|| IssuerError::new(IssuerErrorKind::Refused, "no such secret"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is dropped has left too.
struct Leave<'a>(&'a Directory, &'a TenantId);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *self.0.state().inside.get_mut(self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl CredentialIssuer for Directory {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        self.call(access).await.map(|()| Proof::default())
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        self.call(access).await?;
        let state = self.state();
        let listed = state.secrets[&access.connection.client]
            .iter()
            .map(|(key_id, name, _)| Listed::new(Some(*key_id), Some(name.clone())));
        let application = ApplicationObjectId::from(*access.connection.client.as_uuid());
        Ok(Inspection::new(application, listed.collect()))
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        let client = access.connection.client;
        let panics = {
            let mut state = self.state();
            let at = state.panics.iter().position(|other| *other == client);
            at.map(|at| state.panics.remove(at))
        };
        assert!(panics.is_none(), "as the test asked for");
        let busy = self.state().busy_for;
        if busy.is_some() {
            let error = IssuerError::new(IssuerErrorKind::Busy, "try again later");
            return Err(error.with_retry_after(busy));
        }
        // A mint that is cut off has taken place, which is the worse case.
        let key_id = KeyId::from(self.0.entropy.uuid());
        // As Entra's look, so that the watch over the logs knows one.
        let text = format!("new8Q~{}", self.0.entropy.uuid().simple());
        assert!(keywheel_testkit::secret_in(text.as_bytes()).is_some());
        {
            let mut state = self.state();
            *state.mints.entry(client).or_default() += 1;
            let secrets = state.secrets.get_mut(&client).unwrap();
            secrets.push((key_id, marker.to_string(), text.clone()));
        }
        self.call(access).await?;
        Ok(Minted::new(key_id, Secret::new(text), Some(end)))
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        self.call(access).await?;
        let mut state = self.state();
        if state.keeps_all {
            return Err(IssuerError::new(IssuerErrorKind::Busy, "try again later"));
        }
        let secrets = state.secrets.get_mut(&access.connection.client).unwrap();
        let before = secrets.len();
        secrets.retain(|(other, ..)| other != key_id);
        Ok(if secrets.len() < before {
            Removal::Removed
        } else {
            Removal::NotFound
        })
    }
}
