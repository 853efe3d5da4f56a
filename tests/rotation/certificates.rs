//! An application in an emulated tenant that authenticates by certificate, on virtual time: each request is
//! carried out by a runtime of its own while this one's clock stands.

use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use http::{Method, Request, Response, StatusCode};
use keywheel::connection::{Actor, ConnectionId, ConnectionStore, Credential};
use keywheel::core::{
    ClientSecret, Clock, Cloud, HttpSend, ReqwestSend, TransportError, TransportErrorKind,
};
use keywheel::credentials::{Certificate, ClientSecretCredential, TokenEndpoint};
use keywheel::entra::{
    CertificateFile, CertificateRoll, Enrolment, EntraParts, RollError, RollPolicy, Rolled, Target,
    TenantAccess,
};
use keywheel_emulator::{
    ApplicationSeed, Behaviours, Effect, Emulator, Seed, Snapshot, Span, TenantSeed,
};
use keywheel_testkit::{SeededEntropy, TokioClock};
use tokio::runtime::{Builder, Runtime};
use workspace_tests::{Effects, Fate, Rig};

pub(crate) const OWNED_BY: &str = "Application.ReadWrite.OwnedBy";
/// The client id of another application of the tenant, which the first one owns.
pub(crate) const MANAGED: &str = "11111111-2222-4333-8444-555555555555";

/// Where real input and output happens.
static REAL: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

/// Virtual time stands while it lasts.
async fn really<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let work = tokio::task::spawn_blocking(move || REAL.block_on(work));
    work.await.unwrap()
}

/// A certificate with its key, as an embedder stores it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    key: String,
}

impl Pair {
    /// Makes a pair that is valid for decades, or ends on the given day.
    fn made(name: &str, end: Option<(i32, u8, u8)>) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        let (year, month, day) = end.unwrap_or((2050, 1, 1));
        params.not_after = rcgen::date_time_ymd(year, month, day);
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn file(&self) -> CertificateFile {
        CertificateFile::new(&self.certificate).with_private_key(&self.key)
    }

    pub(crate) fn open(&self) -> Certificate {
        self.file().open().unwrap()
    }
}

pub(crate) static OLD: LazyLock<Pair> = LazyLock::new(|| Pair::made("old", None));
pub(crate) static NEXT: LazyLock<Pair> = LazyLock::new(|| Pair::made("next", None));
pub(crate) static FOREIGN: LazyLock<Pair> = LazyLock::new(|| Pair::made("foreign", None));
/// It ends ten days after the tests begin.
pub(crate) static ENDING: LazyLock<Pair> =
    LazyLock::new(|| Pair::made("ending", Some((2026, 3, 11))));

pub(crate) struct Place {
    pub(crate) rig: Rig,
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) parts: EntraParts,
    pub(crate) wire: Wire,
    pub(crate) cloud: Cloud,
    current: &'static Pair,
}

impl Place {
    /// Starts a tenant with an application that holds `current` and somebody else's certificate.
    pub(crate) async fn new(current: &'static Pair, role: &str) -> Self {
        let rig = Rig::new(620);
        let application = ApplicationSeed::new("app")
            .role(role)
            .owns_itself()
            .secret("the application's secret")
            .certificate_pem(&current.certificate)
            .certificate_pem(&FOREIGN.certificate);
        let clock = keywheel_emulator::Clock::standing_at(rig.clock.now());
        let managed = ApplicationSeed::new("managed")
            .client_id(MANAGED)
            .owner("app");
        let tenant = TenantSeed::new("contoso.example").application(application);
        let seed = Seed::of([tenant.application(managed)]);
        let emulator = Emulator::builder().clock(clock).seed(seed);
        let emulator = Arc::new(really(emulator.start()).await.unwrap());
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots();
        let cloud = Cloud::from_endpoints(
            &emulator.authority().parse().unwrap(),
            &emulator.graph().parse().unwrap(),
        );
        let wire = Wire {
            inner: http.build().unwrap(),
            emulator: Arc::clone(&emulator),
            clock: rig.clock.clone(),
            effects: rig.effects.clone(),
            before: Arc::default(),
            checked: Arc::default(),
            after: Arc::default(),
        };
        let parts = EntraParts {
            store: rig.parts().store,
            sealer: rig.ring.clone(),
            http: Arc::new(wire.clone()),
            clock: Arc::new(rig.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(620)),
            sign_in: None,
        };
        Self {
            rig,
            emulator,
            parts,
            wire,
            cloud: cloud.unwrap(),
            current,
        }
    }

    pub(crate) fn client(&self) -> String {
        self.emulator.default_app().client_id().to_owned()
    }

    /// Stores a connection by the current certificate.
    pub(crate) async fn enrol(&self, name: &str) -> ConnectionId {
        let tenant = self.emulator.default_app().tenant_id().parse().unwrap();
        let target = Target::new(name.parse().unwrap(), tenant).in_cloud(self.cloud.clone());
        let (client, file) = (self.client().parse().unwrap(), self.current.file());
        let enrolment = Enrolment::new(self.parts.clone());
        let actor = Actor::named("test");
        let created = enrolment
            .by_certificate(target, client, &file, &actor)
            .await;
        created.unwrap().connection.id
    }

    /// Returns the access by the application's secret.
    pub(crate) fn by_secret(&self) -> TenantAccess {
        let app = self.emulator.default_app();
        let (tenant, client) = (
            app.tenant_id().parse().unwrap(),
            app.client_id().parse().unwrap(),
        );
        let endpoint = TokenEndpoint::new(self.wire.clone(), &self.cloud, &tenant)
            .with_clock(self.rig.clock.clone());
        let secret = ClientSecret::new(app.secret().expose().to_owned()).unwrap();
        let credential = ClientSecretCredential::new(endpoint, client, secret);
        TenantAccess::new(self.wire.clone(), credential, &self.cloud, &tenant, client)
            .with_clock(self.rig.clock.clone())
    }

    pub(crate) fn roll(&self, access: TenantAccess) -> CertificateRoll {
        CertificateRoll::new(access, self.current.open()).with_policy(policy())
    }

    /// Rolls by the connection's own credential.
    pub(crate) async fn to_next(&self, id: ConnectionId) -> Result<Rolled, RollError> {
        let access = TenantAccess::load(id, self.parts.clone()).await.unwrap();
        self.roll(access).to(&NEXT.open()).await
    }

    /// What an embedder's job does, from the first to the last step, whatever was done already.
    pub(crate) async fn job(&self, id: ConnectionId) -> Result<(), Box<dyn std::error::Error>> {
        let access = TenantAccess::load(id, self.parts.clone()).await?;
        let rolled = self.roll(access).to(&NEXT.open()).await?;
        self.store_next(id).await?;
        rolled.retire_previous(&*self.parts.store, id).await?;
        Ok(())
    }

    pub(crate) async fn store_next(
        &self,
        id: ConnectionId,
    ) -> Result<(), keywheel::core::CredentialError> {
        let enrolment = Enrolment::new(self.parts.clone());
        enrolment
            .replace_certificate(id, &NEXT.file(), &Actor::named("test"))
            .await
    }

    pub(crate) fn live(&self) -> Vec<String> {
        self.emulator.live_keys(&self.client())
    }

    /// How often a certificate was added.
    pub(crate) fn added(&self) -> usize {
        let effects = self.emulator.effects();
        let added =
            |it: &&keywheel_emulator::EffectRecord| matches!(it.effect, Effect::KeyAdded { .. });
        effects.iter().filter(added).count()
    }

    pub(crate) fn calls(&self, name: &str) -> usize {
        let names = self.rig.effects.names();
        names.iter().filter(|it| **it == name).count()
    }

    /// From now on, after each request: what the stored connection authenticates with is registered, and so
    /// is what is not ours.
    pub(crate) fn watch(&self, id: ConnectionId) {
        let live = self.live();
        let check = Check {
            id,
            // The emulator lists what was seeded in its order.
            current: live[0].clone(),
            foreign: live[1].clone(),
            store: self.rig.store.clone(),
        };
        *self.wire.checked.lock().unwrap() = Some(check);
    }

    pub(crate) fn behave(&self, behaviours: Behaviours) {
        self.emulator.behave(|current| *current = behaviours);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.emulator.snapshot()
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot) {
        *self.wire.checked.lock().unwrap() = None;
        *self.wire.after.lock().unwrap() = None;
        self.emulator.restore(snapshot.clone());
    }
}

/// Few reads, far apart: time costs nothing.
pub(crate) fn policy() -> RollPolicy {
    let mut policy = RollPolicy::default();
    policy.confirm.agree = 3;
    policy.confirm.interval = Duration::from_secs(6);
    policy
}

/// Three replicas that lag behind as much as was ever measured.
pub(crate) fn lagging() -> Behaviours {
    let span = |from, to| Span::between(TimeDelta::seconds(from), TimeDelta::seconds(to));
    let mut behaviours = Behaviours::default();
    behaviours.replicas = 3;
    behaviours.read_lag = span(4, 18);
    behaviours.secret_propagation = span(4, 18);
    behaviours.removal_propagation = span(4, 18);
    behaviours.write_lag = span(0, 10);
    behaviours
}

/// What happens after each request.
type AfterEach = Arc<dyn Fn() + Send + Sync>;

/// What happens before a request of this name, once.
type Hook = (&'static str, Box<dyn FnOnce() -> Duration + Send>);

#[derive(Clone)]
pub(crate) struct Wire {
    inner: ReqwestSend,
    emulator: Arc<Emulator>,
    clock: TokioClock,
    effects: Effects,
    before: Arc<Mutex<Option<Hook>>>,
    after: Arc<Mutex<Option<AfterEach>>>,
    checked: Arc<Mutex<Option<Check>>>,
}

#[derive(Clone)]
struct Check {
    id: ConnectionId,
    current: String,
    foreign: String,
    store: keywheel::connection::MemoryStore,
}

impl Wire {
    /// Does something before the next request of that name, and lets so much time pass.
    pub(crate) fn before(
        &self,
        name: &'static str,
        act: impl FnOnce() -> Duration + Send + 'static,
    ) {
        *self.before.lock().unwrap() = Some((name, Box::new(act)));
    }

    /// Looks at all there is after each request from now on.
    pub(crate) fn after_each(&self, look: impl Fn() + Send + Sync + 'static) {
        *self.after.lock().unwrap() = Some(Arc::new(look));
    }

    async fn carry_out(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        self.emulator.clock().set(self.clock.now());
        let inner = self.inner.clone();
        let answer = really(async move { inner.send(request).await }).await;
        let check = self.checked.lock().unwrap().clone();
        if let Some(check) = check {
            check.run(&self.emulator).await;
        }
        let after = self.after.lock().unwrap().clone();
        if let Some(look) = after {
            look();
        }
        answer
    }
}

impl Check {
    async fn run(&self, emulator: &Emulator) {
        let live = emulator.live_keys(emulator.default_app().client_id());
        assert!(
            live.contains(&self.foreign),
            "somebody else's is gone: {live:?}"
        );
        let stored = self.store.load(self.id).await.unwrap().unwrap().connection;
        let Credential::Certificate(held) = &stored.credential else {
            panic!("no certificate")
        };
        let next = held.thumbprint == NEXT.open().thumbprint();
        let registered = if next {
            live.iter()
                .any(|id| *id != self.foreign && *id != self.current)
        } else {
            live.contains(&self.current)
        };
        assert!(registered, "a restart is locked out: {live:?}");
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

fn name(request: &Request<Bytes>) -> &'static str {
    let path = request.uri().path();
    match *request.method() {
        Method::PATCH => "patch",
        Method::GET => "read",
        _ if path.ends_with("/addKey") => "addKey",
        _ if path.ends_with("/addPassword") => "addPassword",
        _ if path.ends_with("/removeKey") => "removeKey",
        _ if path.ends_with("/removePassword") => "removePassword",
        _ if path.ends_with("/token") => "token",
        _ => "other",
    }
}

#[async_trait]
impl HttpSend for Wire {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let name = name(&request);
        let hook = self.before.lock().unwrap().take_if(|(at, _)| *at == name);
        if let Some((_, act)) = hook {
            self.emulator.clock().set(self.clock.now());
            tokio::time::sleep(act()).await;
        }
        let fate = self.effects.begin(name).await;
        if fate == Some(Fate::Refused) {
            let mut refused = Response::new(Bytes::new());
            *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            return Ok(refused);
        }
        let answer = self.carry_out(request).await;
        self.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(TransportError::new(TransportErrorKind::Interrupt));
        }
        answer
    }
}
