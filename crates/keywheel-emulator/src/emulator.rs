use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::behaviour::Behaviours;
use crate::builder::{Builder, StartError};
use crate::call::Call;
use crate::clock::Clock;
use crate::directory::{Key, Kind, Object, Password};
use crate::fault::{Fault, InjectedFault};
use crate::hand::{Unknown, held};
use crate::issuer::ExternalIssuer;
use crate::keys::pem;
use crate::log::{EffectRecord, RequestRecord};
use crate::material::KeyMaterial;
use crate::seed::two_years_after;
use crate::server::Phase;
use crate::snapshot::Snapshot;
use crate::world::Service;
use crate::{PolicySeed, SecretText, identity};

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
        self.service.secrets(client_id)
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
        self.service.accepts(client_id, text)
    }

    /// Adds a client secret by an administrator's hand: valid from now for two years.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn add_secret(&self, client_id: &str, display_name: &str) -> Result<AddedSecret, Unknown> {
        let end = two_years_after(self.clock().now());
        self.service.add_secret(client_id, display_name, end)
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
    ) -> Result<AddedSecret, Unknown> {
        self.service.add_secret(client_id, display_name, end)
    }

    /// Removes a client secret by an administrator's hand; tells whether it was there.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn remove_secret(&self, client_id: &str, key_id: &str) -> Result<bool, Unknown> {
        self.service.remove_secret(client_id, key_id)
    }

    /// Registers a certificate (PEM) by an administrator's hand, and returns its key id; `None` when it is no
    /// certificate.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn add_key(&self, client_id: &str, pem: &str) -> Result<Option<String>, Unknown> {
        self.service.add_key(client_id, pem)
    }

    /// Removes a certificate by an administrator's hand; tells whether it was there.
    ///
    /// # Errors
    ///
    /// When no application has this client id.
    pub fn remove_key(&self, client_id: &str, key_id: &str) -> Result<bool, Unknown> {
        self.service.remove_key(client_id, key_id)
    }

    /// Grants an application permission of Graph, such as `Application.Read.All`.
    ///
    /// # Errors
    ///
    /// When there is no such application or permission.
    pub fn grant_role(&self, client_id: &str, role: &str) -> Result<(), Unknown> {
        self.service.set_role(client_id, role, true)
    }

    /// Takes an application permission back. Tokens that were issued keep it.
    ///
    /// # Errors
    ///
    /// When there is no such application or permission.
    pub fn revoke_role(&self, client_id: &str, role: &str) -> Result<(), Unknown> {
        self.service.set_role(client_id, role, false)
    }

    /// Makes `owner` an owner of the application: a user principal name, or a client id for that
    /// application's service principal.
    ///
    /// # Errors
    ///
    /// When there is no such application or owner.
    pub fn add_owner(&self, client_id: &str, owner: &str) -> Result<(), Unknown> {
        self.service.set_owner(client_id, owner, true)
    }

    /// Ends what [`add_owner`](Self::add_owner) began.
    ///
    /// # Errors
    ///
    /// When there is no such application or owner.
    pub fn remove_owner(&self, client_id: &str, owner: &str) -> Result<(), Unknown> {
        self.service.set_owner(client_id, owner, false)
    }

    /// Sets a property of the application as Graph names it: `isDisabled`, `signInAudience`, ….
    ///
    /// # Errors
    ///
    /// When there is no such application, or no such property with a value of this type.
    pub fn set_property(
        &self,
        client_id: &str,
        name: &str,
        value: impl Into<serde_json::Value>,
    ) -> Result<(), Unknown> {
        self.service.set_property(client_id, name, value.into())
    }

    /// Replaces the default app-management policy of a tenant (id or domain).
    ///
    /// # Errors
    ///
    /// When there is no such tenant, or the policy has a duration that is none.
    pub fn set_policy(&self, tenant: &str, policy: &PolicySeed) -> Result<(), Unknown> {
        self.service.set_policy(tenant, policy)
    }

    /// Makes the emulator know an issuer outside and its keys, for federated credentials.
    pub fn trust_issuer(&self, issuer: &ExternalIssuer) {
        let (url, jwks) = (issuer.url().to_owned(), issuer.jwks());
        self.service.world().issuers.insert(url, jwks);
    }

    /// Walks through sign-in and consent at an authorize or admin consent address as this user, accepting
    /// everything, and returns where the browser is sent: the redirect URI with code or error. (What a
    /// `form_post` would carry stands in the query.) Nothing when the service shows an error page instead.
    #[must_use]
    pub fn sign_in(&self, address: &str, user: &str) -> Option<String> {
        let call = Call::get(address, &self.service.origins.login)?;
        let number = self.service.world().log.next_request();
        identity::walk(&self.service, &call, number, user)
    }

    /// Revokes all sign-ins and refresh tokens of a user, as "revoke sessions" in the portal does.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn revoke_sessions(&self, user: &str) -> Result<(), Unknown> {
        self.service.revoke_sessions(user)
    }

    /// Returns what was asked lately, oldest first, without secrets. 10,000 requests are kept.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.requests_after(0)
    }

    /// Returns the requests that are kept and have a higher number.
    #[must_use]
    pub fn requests_after(&self, number: u64) -> Vec<RequestRecord> {
        let world = self.service.world();
        world.log.requests_after(number).cloned().collect()
    }

    /// Returns what was done lately, oldest first. 10,000 effects are kept.
    #[must_use]
    pub fn effects(&self) -> Vec<EffectRecord> {
        self.effects_after(0)
    }

    /// Returns the effects that are kept and have a higher number.
    #[must_use]
    pub fn effects_after(&self, number: u64) -> Vec<EffectRecord> {
        let world = self.service.world();
        world.log.effects_after(number).cloned().collect()
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
    pub(crate) fn of(password: &Password, holder: &Object) -> Self {
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
