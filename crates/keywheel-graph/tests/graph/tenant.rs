//! An emulated tenant and a client of it.

use keywheel_core::{
    ClientId, ClientSecret, Cloud, HttpSend, ReqwestSend, RetryPolicy, Secret, TokenCredential,
};
use keywheel_credentials::{ClientSecretCredential, ClientSecrets, TokenEndpoint};
use keywheel_emulator::{ApplicationSeed, Emulator, Seed, TenantSeed, UserSeed};
use keywheel_graph::{GraphClient, Traffic, TrafficLimits};

pub(crate) struct Tenant {
    pub(crate) emulator: Emulator,
    pub(crate) cloud: Cloud,
    pub(crate) http: ReqwestSend,
}

/// The permissions of an administrator's tool.
pub(crate) const EVERYTHING: [&str; 5] = [
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "Directory.Read.All",
    "Organization.Read.All",
    "Policy.Read.All",
];

impl Tenant {
    /// Starts a tenant whose first application may do everything.
    pub(crate) async fn with_rights() -> Self {
        let application = EVERYTHING
            .iter()
            .fold(ApplicationSeed::new("tool"), |seed, role| seed.role(*role));
        Self::of(application.secret("first").certificate()).await
    }

    pub(crate) async fn of(application: ApplicationSeed) -> Self {
        keywheel_testkit::watch_logs();
        let ada = UserSeed::new("ada@contoso.example", "ada's password");
        let tenant = TenantSeed::new("contoso.example")
            .user(ada)
            .application(application);
        let emulator = Emulator::builder()
            .seed(Seed::of([tenant]))
            .start()
            .await
            .unwrap();
        let cloud = Cloud::from_endpoints(
            &emulator.authority().parse().unwrap(),
            &emulator.graph().parse().unwrap(),
        );
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots();
        Self {
            cloud: cloud.unwrap(),
            http: http.build().unwrap(),
            emulator,
        }
    }

    pub(crate) fn client_id(&self) -> ClientId {
        self.emulator.default_app().client_id().parse().unwrap()
    }

    pub(crate) fn credential(&self) -> impl TokenCredential + 'static {
        let app = self.emulator.default_app();
        let tenant = app.tenant_id().parse().unwrap();
        let secret = ClientSecret::new(Secret::new(app.secret().expose())).unwrap();
        let endpoint = TokenEndpoint::new(self.http.clone(), &self.cloud, &tenant);
        ClientSecretCredential::new(endpoint, self.client_id(), ClientSecrets::new(secret))
    }

    pub(crate) fn graph(&self) -> GraphClient {
        self.graph_over(self.http.clone())
    }

    /// Returns a client that waits for next to nothing: the emulator's time is real.
    pub(crate) fn graph_over(&self, http: impl HttpSend + 'static) -> GraphClient {
        let mut limits = TrafficLimits::default();
        limits.write_spacing = std::time::Duration::ZERO;
        let mut retry = RetryPolicy::default();
        retry.base = std::time::Duration::from_millis(1);
        retry.cap = std::time::Duration::from_millis(20);
        GraphClient::new(http, self.credential(), &self.cloud)
            .with_traffic(Traffic::new(limits))
            .with_retry(retry)
    }
}
