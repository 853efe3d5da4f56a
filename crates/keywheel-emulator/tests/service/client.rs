use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use keywheel_emulator::{DefaultApp, Emulator};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// A client that trusts one certificate and shares no code with the emulator.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConnector,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the shape that every token error has, and returns `(status, error, AADSTS code)`.
    pub(crate) fn refusal(&self) -> (u16, String, i64) {
        let body = self.json();
        let code = body["error_codes"][0].as_i64().unwrap();
        let text = body["error_description"].as_str().unwrap();
        let (trace, correlation) = (&body["trace_id"], &body["correlation_id"]);
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
        for part in [trace, correlation, &body["timestamp"]] {
            assert!(text.contains(part.as_str().unwrap()), "{text}");
        }
        let error = body["error"].as_str().unwrap().to_owned();
        (self.status.as_u16(), error, code)
    }

    /// Checks the shape that every Graph error has, and returns `(status, code)`.
    pub(crate) fn graph_error(&self) -> (u16, String) {
        let error = &self.json()["error"];
        let inner = &error["innerError"];
        assert!(error["message"].is_string(), "{self:?}");
        assert_eq!(inner["request-id"], self.header("request-id"), "{self:?}");
        assert!(!inner["date"].as_str().unwrap().ends_with('Z'), "{self:?}");
        (
            self.status.as_u16(),
            error["code"].as_str().unwrap().to_owned(),
        )
    }
}

impl Client {
    pub(crate) fn trusting(ca_pem: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    pub(crate) fn of(emulator: &Emulator) -> Self {
        Self::trusting(emulator.ca_pem())
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let url = Url::parse(url)?;
        let (host, port) = (
            url.host_str().unwrap(),
            url.port_or_known_default().unwrap(),
        );
        let tcp = TcpStream::connect((host, port)).await?;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = self.tls.connect(name, tcp).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header("host", format!("{host}:{port}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        let _ = task.await;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec())?,
        })
    }

    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, url, headers, "").await.unwrap()
    }

    pub(crate) async fn post_form(&self, url: &str, pairs: &[(&str, &str)]) -> Answer {
        let body = form(pairs);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, url, &headers, &body).await.unwrap()
    }
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// An emulator and a client that trusts it.
pub(crate) struct Bench {
    pub(crate) emulator: Emulator,
    pub(crate) client: Client,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::with(Emulator::start().await.unwrap())
    }

    pub(crate) fn with(emulator: Emulator) -> Self {
        let client = Client::of(&emulator);
        Self { emulator, client }
    }

    pub(crate) fn app(&self) -> &DefaultApp {
        self.emulator.default_app()
    }

    pub(crate) fn token_url(&self) -> String {
        let (authority, tenant) = (self.emulator.authority(), self.app().tenant_id());
        format!("{authority}/{tenant}/oauth2/v2.0/token")
    }

    pub(crate) async fn token_request(&self, pairs: &[(&str, &str)]) -> Answer {
        self.client.post_form(&self.token_url(), pairs).await
    }

    /// Asks for a Graph token with a secret.
    pub(crate) async fn with_secret(&self, secret: &str) -> Answer {
        self.token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", self.app().client_id()),
            ("client_secret", secret),
            ("scope", GRAPH_SCOPE),
        ])
        .await
    }

    /// Returns a Graph token of the default application.
    pub(crate) async fn token(&self) -> String {
        let answer = self.with_secret(self.app().secret().expose()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Calls Graph as the default application.
    pub(crate) async fn graph(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let token = self.token().await;
        self.graph_as(&token, method, path, body).await
    }

    pub(crate) async fn graph_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let url = format!("{}/v1.0{path}", self.emulator.graph());
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map_or_else(String::new, |body| body.to_string());
        self.client
            .send(method, &url, &headers, &body)
            .await
            .unwrap()
    }

    /// Returns `/applications(appId='…')` of the default application, with what follows.
    pub(crate) fn application(&self, rest: &str) -> String {
        format!("/applications(appId='{}'){rest}", self.app().client_id())
    }

    /// Adds a secret over Graph and returns `(key id, text)`.
    pub(crate) async fn add_password(&self, name: &str) -> (String, String) {
        let body = json!({ "passwordCredential": { "displayName": name } });
        let answer = self
            .graph(Method::POST, &self.application("/addPassword"), Some(body))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("keyId"), text("secretText"))
    }

    pub(crate) async fn remove_password(&self, key_id: &str) -> Answer {
        let body = json!({ "keyId": key_id });
        self.graph(
            Method::POST,
            &self.application("/removePassword"),
            Some(body),
        )
        .await
    }
}

pub(crate) const GRAPH_SCOPE: &str = "https://graph.microsoft.com/.default";
