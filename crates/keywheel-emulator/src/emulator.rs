use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::behaviour::Behaviours;
use crate::builder::{Builder, StartError};
use crate::clock::Clock;
use crate::directory::{History, Key, Kind, Object, Password};
use crate::fault::{Fault, InjectedFault};
use crate::keys::pem;
use crate::log::{Effect, EffectRecord, RequestRecord};
use crate::material::KeyMaterial;
use crate::seed::two_years_after;
use crate::server::Phase;
use crate::snapshot::Snapshot;
use crate::world::{Service, World};
use crate::{SecretText, random};

/// A running emulator. It stops when it is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use keywheel_emulator::Emulator;
///
/// let emulator = Emulator::start().await?;
/// let app = emulator.default_app();
///
/// assert!(emulator.authority().starts_with("https://localhost:"));
/// assert!(emulator.accepts(app.client_id(), app.secret().expose()));
/// assert_eq!(emulator.live_secrets(app.client_id()).len(), 1);
/// # Ok(()) }
/// ```
pub struct Emulator {
    service: Arc<Service>,
    default_app: DefaultApp,
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<()>>,
}

impl Emulator {
    /// Starts an emulator with the default seed on a free port.
    ///
    /// # Errors
    ///
    /// When nothing can be listened on at 127.0.0.1.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Returns a builder, for everything that is not the default.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn running(
        service: Arc<Service>,
        phase: watch::Sender<Phase>,
        tasks: Vec<JoinHandle<()>>,
    ) -> Self {
        let default_app = DefaultApp::of(&service);
        Self {
            service,
            default_app,
            phase,
            tasks,
        }
    }

    /// Returns the authority host: `https://localhost:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.service.origins.login
    }

    /// Returns the Graph endpoint, without a version: `https://localhost:PORT`.
    #[must_use]
    pub fn graph(&self) -> &str {
        &self.service.origins.graph
    }

    /// Returns the certificate (PEM) that clients must trust. It is made at each start, unless
    /// [`Builder::key_material`] brought one.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.service.authority.ca_pem()
    }

    /// Returns the first application of the seed's first tenant.
    #[must_use]
    pub fn default_app(&self) -> &DefaultApp {
        &self.default_app
    }

    /// Returns the emulator's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.service.clock
    }

    /// Changes how the service behaves from now on.
    pub fn behave<T>(&self, change: impl FnOnce(&mut Behaviours) -> T) -> T {
        change(&mut self.service.world().behaviours)
    }

    /// Returns how the service behaves.
    #[must_use]
    pub fn behaviours(&self) -> Behaviours {
        self.service.world().behaviours.clone()
    }

    /// Lets something go wrong. Returns the number by which [`withdraw`](Self::withdraw) takes it back.
    #[expect(
        clippy::must_use_candidate,
        reason = "most faults wear out by themselves"
    )]
    pub fn inject(&self, fault: Fault) -> u64 {
        self.service.world().faults.add(fault)
    }

    /// Takes a fault back; tells whether it was there.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn withdraw(&self, id: u64) -> bool {
        self.service.world().faults.remove(id)
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.service.world().faults.clear();
    }

    /// Returns the faults, and how often each has struck.
    #[must_use]
    pub fn faults(&self) -> Vec<InjectedFault> {
        self.service.world().faults.list().to_vec()
    }

    /// Returns the client secrets that the application and its service principal hold now, newest first,
    /// expired ones included. Empty when there is no such application.
    #[must_use]
    pub fn live_secrets(&self, client_id: &str) -> Vec<SecretInfo> {
        let world = self.service.world();
        held(&world, client_id, |object| {
            let present = object.passwords.iter().filter(|it| it.history.present());
            present.map(|it| SecretInfo::of(it, object)).collect()
        })
    }

    /// Returns the key ids of the certificates that the application holds now.
    #[must_use]
    pub fn live_keys(&self, client_id: &str) -> Vec<String> {
        let world = self.service.world();
        held(&world, client_id, |object| {
            let present = object.keys.iter().filter(|it| it.history.present());
            present.map(|it| it.key_id.to_string()).collect()
        })
    }

    /// Tells whether `text` is a client secret of the application that is in force: neither removed nor
    /// expired. What propagation still hides counts as in force.
    #[must_use]
    pub fn accepts(&self, client_id: &str, text: &str) -> bool {
        let now = self.service.clock.now();
        let world = self.service.world();
        let fits = |it: &&Password| {
            it.history.present() && it.start <= now && now < it.end && it.text.expose() == text
        };
        !held(&world, client_id, |object| {
            object
                .passwords
                .iter()
                .filter(fits)
                .map(|it| it.key_id)
                .collect()
        })
        .is_empty()
    }

    /// Adds a client secret by an administrator's hand: valid from now for two years.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn add_secret(
        &self,
        client_id: &str,
        display_name: &str,
    ) -> Result<AddedSecret, UnknownApplication> {
        let now = self.service.clock.now();
        self.add_secret_until(client_id, display_name, two_years_after(now))
    }

    /// Adds a client secret that expires at `end`, in the past if need be.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn add_secret_until(
        &self,
        client_id: &str,
        display_name: &str,
        end: DateTime<Utc>,
    ) -> Result<AddedSecret, UnknownApplication> {
        let now = self.service.clock.now();
        let world = &mut *self.service.world();
        let object = application(world, client_id)?;
        let password = Password {
            key_id: random::guid(),
            display_name: Some(display_name.to_owned()),
            text: random::client_secret(),
            start: now.min(end),
            end,
            history: History::starting(now),
        };
        let added = AddedSecret {
            key_id: password.key_id.to_string(),
            text: password.text.clone(),
        };
        object.passwords.insert(0, password);
        let effect = Effect::SecretAdded {
            client_id: client_id.to_owned(),
            key_id: added.key_id.clone(),
            display_name: Some(display_name.to_owned()),
            end,
        };
        self.service.note(world, None, effect);
        Ok(added)
    }

    /// Removes a client secret by an administrator's hand; tells whether it was there.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn remove_secret(&self, client_id: &str, key_id: &str) -> Result<bool, UnknownApplication> {
        let now = self.service.clock.now();
        let world = &mut *self.service.world();
        let object = application(world, client_id)?;
        let found = object
            .passwords
            .iter_mut()
            .filter(|it| it.history.present())
            .find(|it| it.key_id.to_string().eq_ignore_ascii_case(key_id));
        let Some(password) = found else {
            return Ok(false);
        };
        password.history.removed = Some(now);
        let effect = Effect::SecretRemoved {
            client_id: client_id.to_owned(),
            key_id: key_id.to_owned(),
        };
        self.service.note(world, None, effect);
        Ok(true)
    }

    /// Returns what was asked lately, oldest first, without secrets. 10,000 requests are kept.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.service.world().log.requests()
    }

    /// Returns what was done lately, oldest first. 10,000 effects are kept.
    #[must_use]
    pub fn effects(&self) -> Vec<EffectRecord> {
        self.service.world().log.effects()
    }

    /// Forgets what was asked and done. The numbers go on.
    pub fn clear_log(&self) {
        self.service.world().log.clear();
    }

    /// Returns all that the emulator holds but its log. [`Builder::restore`] and [`restore`](Self::restore)
    /// go on from there.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.service.snapshot()
    }

    /// Goes back to a snapshot. Keys and log stay what they are.
    pub fn restore(&self, snapshot: Snapshot) {
        self.service.restore(snapshot);
    }

    /// Returns the keys, for a later emulator that clients shall take for this one.
    #[must_use]
    pub fn key_material(&self) -> KeyMaterial {
        self.service.material()
    }

    /// Stops listening, lets requests in flight finish for up to two seconds, and closes what is left.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Stopping);
        for task in &mut self.tasks {
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("authority", &self.authority())
            .field("graph", &self.graph())
            .finish_non_exhaustive()
    }
}

fn application<'w>(
    world: &'w mut World,
    client_id: &str,
) -> Result<&'w mut Object, UnknownApplication> {
    let unknown = || UnknownApplication(client_id.to_owned());
    let id = Uuid::try_parse(client_id).map_err(|_| unknown())?;
    world.directory.application_mut(id).ok_or_else(unknown)
}

/// Gathers something from the application and its service principals.
fn held<T>(world: &World, client_id: &str, of: impl Fn(&Object) -> Vec<T>) -> Vec<T> {
    let Ok(id) = Uuid::try_parse(client_id) else {
        return Vec::new();
    };
    let tenants = world.directory.tenants.values();
    tenants
        .flat_map(|tenant| tenant.objects.values())
        .filter(|object| object.app_id == id)
        .flat_map(of)
        .collect()
}

/// No application has the client id.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no application has the client id {0:?}: take one that the seed names")]
pub struct UnknownApplication(String);

/// A client secret that an application holds, without its text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SecretInfo {
    /// The key id.
    pub key_id: String,
    /// The name.
    pub display_name: Option<String>,
    /// The first three characters.
    pub hint: String,
    /// When it becomes valid.
    pub start: DateTime<Utc>,
    /// When it expires.
    pub end: DateTime<Utc>,
    /// Whether it is held by a service principal rather than by the application.
    pub on_service_principal: bool,
}

impl SecretInfo {
    fn of(password: &Password, holder: &Object) -> Self {
        Self {
            key_id: password.key_id.to_string(),
            display_name: password.display_name.clone(),
            hint: password.text.expose().chars().take(3).collect(),
            start: password.start,
            end: password.end,
            on_service_principal: holder.kind == Kind::ServicePrincipal,
        }
    }
}

/// A client secret that was just added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AddedSecret {
    /// The key id.
    pub key_id: String,
    /// The text.
    pub text: SecretText,
}

/// The first application of the seed's first tenant, with what a client needs to be it.
#[derive(Clone)]
pub struct DefaultApp {
    tenant_id: String,
    domain: String,
    client_id: String,
    object_id: String,
    service_principal_id: String,
    secret: SecretText,
    secret_key_id: String,
    service: Arc<Service>,
}

impl DefaultApp {
    fn of(service: &Arc<Service>) -> Self {
        let world = service.world();
        let (tenant, client_id) = world.default_app.unwrap_or_default();
        let tenant = world.directory.tenants.get(&tenant);
        let object = |kind| tenant.and_then(|tenant| tenant.by_app_id(kind, client_id));
        let application = object(Kind::Application);
        let id = |object: Option<&Object>| object.map_or_else(String::new, |it| it.id.to_string());
        let secret =
            application.and_then(|it| it.passwords.iter().rev().find(|one| one.history.present()));
        Self {
            tenant_id: tenant.map_or_else(String::new, |tenant| tenant.id.to_string()),
            domain: tenant
                .map_or("", |tenant| tenant.default_domain())
                .to_owned(),
            client_id: client_id.to_string(),
            object_id: id(application),
            service_principal_id: id(object(Kind::ServicePrincipal)),
            secret: secret.map_or_else(|| SecretText::new(""), |it| it.text.clone()),
            secret_key_id: secret.map_or_else(String::new, |it| it.key_id.to_string()),
            service: Arc::clone(service),
        }
    }

    /// Returns the directory (tenant) id.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.tenant_id
    }

    /// Returns the tenant's default domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the application (client) id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the application's object id.
    #[must_use]
    pub fn object_id(&self) -> &str {
        &self.object_id
    }

    /// Returns the service principal's object id.
    #[must_use]
    pub fn service_principal_id(&self) -> &str {
        &self.service_principal_id
    }

    /// Returns the text of the first client secret of the seed; empty when it has none.
    #[must_use]
    pub fn secret(&self) -> &SecretText {
        &self.secret
    }

    /// Returns the key id of the first client secret of the seed; empty when it has none.
    #[must_use]
    pub fn secret_key_id(&self) -> &str {
        &self.secret_key_id
    }

    /// Returns the certificate (PEM) that the seed asked to be made and registered; nothing when it asked
    /// for none. At the first start of a process it waits, up to some 100 ms, until the key is made.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<String> {
        self.made_key()
            .map(|key| pem("CERTIFICATE", &key.certificate.der))
    }

    /// Returns the private key (PKCS#8 PEM) of [`certificate_pem`](Self::certificate_pem).
    #[must_use]
    pub fn private_key_pem(&self) -> Option<SecretText> {
        self.made_key()
            .map(|_| SecretText::new(self.service.keys.client().pem()))
    }

    /// Finds the registered certificate that has the emulator's own key.
    fn made_key(&self) -> Option<Key> {
        if !self.service.makes_certificates() {
            return None;
        }
        self.service.ready();
        let public = self.service.keys.client().public();
        let id = Uuid::try_parse(&self.client_id).ok()?;
        let world = self.service.world();
        let (_, application) = world.directory.application(id)?;
        let keys = application.keys.iter();
        keys.filter(|key| {
            key.certificate
                .rsa
                .as_ref()
                .is_some_and(|it| it.ends_with(public))
        })
        .find(|key| key.history.present())
        .cloned()
    }
}

impl fmt::Debug for DefaultApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultApp")
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
