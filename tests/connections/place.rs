use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use keywheel::Keywheel;
use keywheel::connection::{
    Actor, Connection, ConnectionId, ConnectionStore, Credential, KeyRing, MemoryStore, Sealer,
    SignIn, Versioned,
};
use keywheel::core::{
    AccessToken, ClientId, Clock, Cloud, CredentialError, HttpSend, ReqwestSend, Secret,
    SystemClock, TenantId, TokenCredential, TokenRequest, TransportError,
};
use keywheel::credentials::{Authorization, AuthorizationCodeFlow, AuthorizationRequest, Callback};
use keywheel::entra::{CertificateFile, SignInApplication, Target};
use keywheel::rotation::{Policy, Status};
use keywheel_emulator::Emulator;
use tokio::sync::oneshot;

const KEY: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";
const CALLBACK: &str = "https://localhost/callback";

/// An emulator, and keywheel wired to it.
pub(crate) struct Place {
    pub(crate) emulator: Emulator,
    pub(crate) gate: Gate,
    pub(crate) keywheel: Keywheel,
    pub(crate) ring: KeyRing,
    pub(crate) store: MemoryStore,
}

impl Place {
    pub(crate) async fn new() -> Self {
        keywheel_testkit::watch_logs();
        let emulator = Emulator::start().await.unwrap();
        let app = emulator.default_app();
        let http = ReqwestSend::builder().root_certificates(emulator.ca_pem().to_owned());
        let secret = app.secret().expose().to_owned();
        let application = SignInApplication::with_secret(
            app.client_id().parse().unwrap(),
            keywheel::core::ClientSecret::new(secret).unwrap(),
        );
        let gate = Gate {
            http: http.build().unwrap(),
            next: Arc::default(),
        };
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let ring = KeyRing::from_base64(KEY).unwrap();
        let keywheel = Keywheel::builder(store.clone(), KeyRing::from_base64(KEY).unwrap())
            .http(gate.clone())
            .sign_in(application)
            .build()
            .unwrap();
        Self {
            emulator,
            gate,
            keywheel,
            ring,
            store,
        }
    }

    pub(crate) fn cloud(&self) -> Cloud {
        let url = |text: &str| text.parse().unwrap();
        let (authority, graph) = (self.emulator.authority(), self.emulator.graph());
        Cloud::from_endpoints(&url(authority), &url(graph)).unwrap()
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.emulator.default_app().tenant_id().parse().unwrap()
    }

    pub(crate) fn client(&self) -> ClientId {
        self.emulator.default_app().client_id().parse().unwrap()
    }

    pub(crate) fn target(&self) -> Target {
        Target::new("customer".parse().unwrap(), self.tenant()).in_cloud(self.cloud())
    }

    /// A user signs in, past the pages.
    pub(crate) async fn sign_in(&self, user: &str) -> Authorization {
        let client = self.keywheel.enrolment().sign_in_client(&self.target());
        let flow = AuthorizationCodeFlow::new(client.unwrap(), CALLBACK).unwrap();
        let scope = self.cloud().graph_scope();
        let (url, pending) = flow.begin(&AuthorizationRequest::new(scope));
        let back = self.emulator.sign_in(url.as_str(), user).unwrap();
        let query = back.split_once('?').unwrap().1;
        let callback = Callback::parse(query).unwrap();
        flow.complete(pending, callback).await.unwrap()
    }

    /// Stores a connection by certificate.
    pub(crate) async fn by_certificate(
        &self,
        file: &CertificateFile,
    ) -> Result<Versioned, CredentialError> {
        let enrolment = self.keywheel.enrolment();
        let (target, client) = (self.target(), self.client());
        enrolment
            .by_certificate(target, client, file, &actor())
            .await
    }

    /// Stores a connection for a user who signed in.
    pub(crate) async fn by_sign_in(
        &self,
        target: Target,
        authorization: &Authorization,
    ) -> Result<Versioned, CredentialError> {
        let enrolment = self.keywheel.enrolment();
        enrolment.by_sign_in(target, authorization, &actor()).await
    }

    pub(crate) async fn status(&self, id: ConnectionId) -> Status {
        let connection = self.load(id).await;
        Status::of(&connection, SystemClock::new().now(), &Policy::default())
    }

    /// A token through the stored connection, on no cache.
    pub(crate) async fn token(&self, id: ConnectionId) -> Result<AccessToken, CredentialError> {
        let credential = self.keywheel.credential(id).await?;
        let request = TokenRequest::new(self.cloud().graph_scope());
        credential.get_token(&request).await
    }

    pub(crate) async fn load(&self, id: ConnectionId) -> Arc<Connection> {
        self.store.load(id).await.unwrap().unwrap().connection
    }

    /// The stored sign-in and its refresh token.
    pub(crate) async fn signed_in(&self, id: ConnectionId) -> (SignIn, Secret) {
        let stored = self.load(id).await;
        let Credential::AuthorizationCode(sign_in) = &stored.credential else {
            panic!("{stored:?}")
        };
        let context = stored.refresh_token_context(sign_in.generation);
        let newest = self.ring.open(&sign_in.sealed, &context).await.unwrap();
        (sign_in.clone(), newest)
    }

    /// The kinds of the events of a connection.
    pub(crate) async fn events(&self, id: ConnectionId) -> Vec<String> {
        let journal = self.store.journal(id, 0, u32::MAX).await.unwrap();
        let kind = |body: &str| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            body["event"].as_str().unwrap().to_owned()
        };
        journal.iter().map(|entry| kind(&entry.body)).collect()
    }
}

/// The way to the emulator, on which an answer may be held back.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    http: ReqwestSend,
    next: Arc<Mutex<Option<Stop>>>,
}

#[derive(Debug)]
struct Stop {
    arrived: oneshot::Sender<()>,
    open: oneshot::Receiver<()>,
}

/// An answer that is held back: when it has arrived, and what lets it through.
pub(crate) struct Held {
    pub(crate) arrived: oneshot::Receiver<()>,
    pub(crate) open: oneshot::Sender<()>,
}

impl Gate {
    /// Holds back the answer to the next request.
    pub(crate) fn hold(&self) -> Held {
        let (arrived, has_arrived) = oneshot::channel();
        let (let_go, open) = oneshot::channel();
        *self.next.lock().unwrap() = Some(Stop { arrived, open });
        Held {
            arrived: has_arrived,
            open: let_go,
        }
    }
}

#[async_trait]
impl HttpSend for Gate {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let stop = self.next.lock().unwrap().take();
        let answer = self.http.send(request).await;
        if let Some(Stop { arrived, open }) = stop {
            arrived.send(()).unwrap();
            open.await.unwrap();
        }
        answer
    }
}

pub(crate) fn actor() -> Actor {
    Actor::named("test")
}
