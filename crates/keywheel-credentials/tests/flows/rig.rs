use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::{
    ClientId, ClientSecret, Clock, Cloud, CredentialError, ReqwestSend, Secret, TokenRequest,
};
use keywheel_credentials::{
    ClientSecretCredential, ConfidentialClient, RefreshTokenStore, TokenEndpoint,
};
use keywheel_emulator::{
    ApplicationSeed, Emulator, ExternalIssuer, FederatedSeed, Seed, TenantSeed, UserSeed,
};

pub(crate) const REDIRECT: &str = "https://app.example/callback";
pub(crate) const ADMIN: &str = "ada@contoso.example";
pub(crate) const USER: &str = "ben@contoso.example";
pub(crate) const PASSWORD: &str = "secret of ben";
pub(crate) const ISSUER: &str = "https://oidc.cluster.example/";
pub(crate) const SUBJECT: &str = "system:serviceaccount:default:app";

/// An emulator with one application that may do everything, and a way to it over TLS.
pub(crate) struct Rig {
    pub(crate) emulator: Emulator,
    pub(crate) http: ReqwestSend,
    pub(crate) cloud: Cloud,
}

/// The emulator's clock, so that moving one moves both.
#[derive(Clone, Debug)]
pub(crate) struct Wall(keywheel_emulator::Clock);

impl Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        keywheel_testkit::watch_logs();
        let application = ApplicationSeed::new("app")
            .secret("one")
            .certificate()
            .redirect_uri(REDIRECT)
            .role("Organization.Read.All")
            .scope("User.Read")
            .federated(FederatedSeed::new("cluster", ISSUER, SUBJECT));
        let tenant = TenantSeed::new("contoso.example")
            .user(UserSeed::new(ADMIN, "secret of ada").role("Global Administrator"))
            .user(UserSeed::new(USER, PASSWORD))
            .application(application);
        let emulator = Emulator::builder()
            .seed(Seed::of([tenant]))
            .start()
            .await
            .unwrap();
        emulator.trust_issuer(&ExternalIssuer::new(ISSUER));
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots()
            .build()
            .unwrap();
        let url = |text: &str| text.parse().unwrap();
        let cloud =
            Cloud::from_endpoints(&url(emulator.authority()), &url(emulator.graph())).unwrap();
        Self {
            emulator,
            http,
            cloud,
        }
    }

    pub(crate) fn endpoint(&self) -> TokenEndpoint {
        let tenant = self.emulator.default_app().tenant_id().parse().unwrap();
        TokenEndpoint::new(self.http.clone(), &self.cloud, &tenant)
            .with_clock(Wall(self.emulator.clock().clone()))
    }

    pub(crate) fn client_id(&self) -> ClientId {
        self.emulator.default_app().client_id().parse().unwrap()
    }

    pub(crate) fn secret(&self) -> ClientSecret {
        client_secret(self.emulator.default_app().secret().expose())
    }

    pub(crate) fn by_secret(&self) -> ClientSecretCredential {
        ClientSecretCredential::new(self.endpoint(), self.client_id(), self.secret())
    }

    pub(crate) fn client(&self) -> ConfidentialClient {
        self.by_secret().client()
    }

    pub(crate) fn graph(&self) -> TokenRequest {
        TokenRequest::new(self.cloud.graph_scope())
    }

    /// The certificate and its private key, one PEM.
    pub(crate) fn pem(&self) -> String {
        let app = self.emulator.default_app();
        let key = app.private_key_pem().unwrap();
        format!("{}{}", key.expose(), app.certificate_pem().unwrap())
    }

    /// How many requests of this route were answered, and by what.
    pub(crate) fn answers(&self, route: keywheel_emulator::Route) -> Vec<u16> {
        let requests = self.emulator.requests();
        let requests = requests.iter().filter(|one| one.route == route);
        requests.map(|one| one.status).collect()
    }
}

pub(crate) fn client_secret(text: &str) -> ClientSecret {
    ClientSecret::new(Secret::new(text)).unwrap()
}

/// A store of one refresh token that tells every token it ever held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawer(Arc<Mutex<Vec<Secret>>>);

impl Drawer {
    pub(crate) fn held(&self) -> Vec<Secret> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl RefreshTokenStore for Drawer {
    async fn load(&self) -> Result<Secret, CredentialError> {
        Ok(self.0.lock().unwrap().last().unwrap().clone())
    }

    async fn save(&self, refresh_token: &Secret) -> Result<(), CredentialError> {
        self.0.lock().unwrap().push(refresh_token.clone());
        Ok(())
    }
}
