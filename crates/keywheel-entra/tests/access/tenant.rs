//! An emulated tenant, and the access of an application in it.

use keywheel_core::{
    ClientId, ClientSecret, Clock, Cloud, ReqwestSend, Secret, TenantId, TokenCredential,
};
use keywheel_credentials::{
    AuthorizationCodeFlow, AuthorizationRequest, Callback, ClientSecretCredential, ClientSecrets,
    TokenEndpoint,
};
use keywheel_emulator::{Emulator, Seed, TenantSeed};
use keywheel_entra::TenantAccess;

use crate::rote::Token;

pub(crate) struct Tenant {
    pub(crate) emulator: Emulator,
    pub(crate) cloud: Cloud,
    pub(crate) http: ReqwestSend,
}

/// Our clock is the emulator's.
#[derive(Clone, Debug)]
pub(crate) struct Wall(pub(crate) keywheel_emulator::Clock);

impl Clock for Wall {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.0.now()
    }
}

impl Tenant {
    pub(crate) async fn of(tenant: TenantSeed) -> Self {
        keywheel_testkit::watch_logs();
        let clock = keywheel_emulator::Clock::standing_at("2026-03-01T12:00:00Z".parse().unwrap());
        let seed = Seed::of([tenant]);
        let emulator = Emulator::builder()
            .clock(clock)
            .seed(seed)
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

    pub(crate) fn id(&self) -> TenantId {
        self.emulator.default_app().tenant_id().parse().unwrap()
    }

    pub(crate) fn client(&self) -> ClientId {
        self.emulator.default_app().client_id().parse().unwrap()
    }

    pub(crate) fn credential(&self, tenant: &TenantId, secret: &str) -> ClientSecretCredential {
        let endpoint = TokenEndpoint::new(self.http.clone(), &self.cloud, tenant)
            .with_clock(Wall(self.emulator.clock().clone()));
        let secret = ClientSecret::new(Secret::new(secret)).unwrap();
        ClientSecretCredential::new(endpoint, self.client(), ClientSecrets::new(secret))
    }

    pub(crate) fn access(&self) -> TenantAccess {
        let app = self.emulator.default_app();
        let credential = self.credential(&self.id(), app.secret().expose());
        self.access_by(credential, &self.id())
    }

    pub(crate) fn access_by(
        &self,
        credential: impl TokenCredential + 'static,
        tenant: &TenantId,
    ) -> TenantAccess {
        TenantAccess::new(
            self.http.clone(),
            credential,
            &self.cloud,
            tenant,
            self.client(),
        )
        .with_clock(Wall(self.emulator.clock().clone()))
    }

    fn flow(&self) -> AuthorizationCodeFlow {
        let app = self.emulator.default_app();
        let credential = self.credential(&self.id(), app.secret().expose());
        AuthorizationCodeFlow::new(credential.client(), REDIRECT).unwrap()
    }

    /// Lets an administrator consent to all that the application asks for, for everyone.
    pub(crate) fn consent(&self, administrator: &str) {
        let (url, _) = self.flow().begin_admin_consent(&self.cloud.graph_scope());
        let back = self.emulator.sign_in(url.as_str(), administrator).unwrap();
        assert!(back.contains("admin_consent=True"), "{back}");
    }

    /// Signs a user in, past the pages.
    pub(crate) async fn token_of(&self, user: &str) -> Token {
        let flow = self.flow();
        let (url, pending) = flow.begin(&AuthorizationRequest::new(self.cloud.graph_scope()));
        let back = self.emulator.sign_in(url.as_str(), user).unwrap();
        let (_, query) = back.split_once('?').unwrap();
        let callback = Callback::parse(query).unwrap();
        let authorization = flow.complete(pending, callback).await.unwrap();
        Token(authorization.token.token.expose().to_owned())
    }
}

pub(crate) const REDIRECT: &str = "https://app.example/callback";
