//! Whatever is sent, the service answers in its own shape: no panic, no connection that hangs.

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel_emulator::{Emulator, Route};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::assertion::Identity;
use crate::client::{Bench, GRAPH_SCOPE};

/// How many requests are made: quick by default, all of them in the full run.
fn rounds() -> usize {
    if std::env::var_os("KEYWHEEL_TEST_FULL").is_some() {
        100_000
    } else {
        3_000
    }
}

#[tokio::test]
async fn every_malformed_request_gets_an_answer_of_the_service() {
    let emulator = Emulator::builder().plain_http().start().await.unwrap();
    let mut wire = Wire::of(&emulator).await;
    let known = Known::of(&emulator, &mut wire).await;
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, b"the same requests in every run!!"),
    );
    let strategy = request(known);

    let whole = emulator.snapshot();
    let mut reached = BTreeSet::new();
    for round in 0..rounds() {
        // Some of the requests are good enough to delete what the others are about.
        if round % 50 == 0 {
            emulator.restore(whole.clone());
            reached.extend(emulator.requests().iter().map(|it| it.route));
            emulator.clear_log();
        }
        let request = strategy.new_tree(&mut runner).unwrap().current();
        let answer = wire.exchange(&request).await;
        if let Err(problem) = check(&request, &answer) {
            panic!(
                "request {round}: {problem}\n{}\n{answer:?}",
                String::from_utf8_lossy(&request.bytes())
            );
        }
    }
    let missed: Vec<&Route> = Route::ALL
        .iter()
        .filter(|it| **it != Route::Admin && !reached.contains(it))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    let answer = wire.exchange(&Request::get("/_emulator/health")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn what_is_no_http_or_no_tls_ends_the_connection_and_nothing_else() {
    let bench = Bench::start().await;
    let port = bench
        .emulator
        .authority()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse::<u16>()
        .unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\xff\xff",
        b"\0\0\0\0",
        b"",
    ] {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{bytes:?}");
    }

    let plain = Emulator::builder().plain_http().start().await.unwrap();
    for head in [
        "NONSENSE",
        "GET / HTTP/9.9",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1\r\nbad header",
        "POST / HTTP/1.1\r\ncontent-length: x",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZ",
    ] {
        let mut wire = Wire::of(&plain).await;
        wire.stream
            .write_all(format!("{head}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut rest = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(5), wire.stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{head}");
    }
    let secret = bench.app().secret().expose().to_owned();
    assert_eq!(bench.with_secret(&secret).await.status, 200);
}

/// What a request may be made of that the emulator knows.
#[derive(Clone, Debug)]
struct Known {
    words: Vec<String>,
    token: String,
}

impl Known {
    async fn of(emulator: &Emulator, wire: &mut Wire) -> Self {
        let app = emulator.default_app();
        emulator
            .grant_role(app.client_id(), "Application.ReadWrite.All")
            .unwrap();
        emulator
            .grant_role(app.client_id(), "Directory.ReadWrite.All")
            .unwrap();
        let form = crate::client::form(&[
            ("grant_type", "client_credentials"),
            ("client_id", app.client_id()),
            ("client_secret", app.secret().expose()),
            ("scope", GRAPH_SCOPE),
        ]);
        let answer = wire
            .exchange(&Request::form(
                &format!("/{}/oauth2/v2.0/token", app.tenant_id()),
                &form,
            ))
            .await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let bench = Bench::start().await;
        let identity = Identity::of(&bench);
        let now = emulator.clock().now().timestamp();
        let claims = serde_json::json!({
            "iss": app.client_id(), "sub": app.client_id(), "aud": "x", "nbf": now, "exp": now + 60,
        });
        let words = [
            app.tenant_id(),
            app.client_id(),
            app.object_id(),
            app.service_principal_id(),
            app.secret_key_id(),
            app.secret().expose(),
            "contoso.example",
            "common",
            GRAPH_SCOPE,
            "ada@contoso.example",
            "http://localhost/callback",
            &identity.sign(&identity.header(), &claims),
        ];
        Self {
            words: words.map(str::to_owned).to_vec(),
            token: body["access_token"].as_str().unwrap().to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn get(target: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn form(target: &str, body: &str) -> Self {
        let kind = "application/x-www-form-urlencoded".to_owned();
        Self {
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), kind)],
            body: body.as_bytes().to_vec(),
            ..Self::get(target)
        }
    }

    /// Tells whether the layer below the service lets it through: it answers the rest itself.
    fn is_http(&self) -> bool {
        let headers = self.headers.iter();
        self.target.parse::<http::Uri>().is_ok()
            && headers
                .map(|(_, value)| http::HeaderValue::from_str(value))
                .all(|value| value.is_ok())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend(&self.body);
        bytes
    }
}

/// Any path, mostly made of words that mean something.
fn path(words: Vec<String>) -> impl Strategy<Value = String> {
    let known = [
        "v1.0",
        "beta",
        "graph",
        "applications",
        "servicePrincipals",
        "addPassword",
        "removePassword",
        "addKey",
        "removeKey",
        "owners",
        "$ref",
        "$count",
        "$batch",
        "federatedIdentityCredentials",
        "appRoleAssignments",
        "appRoleAssignedTo",
        "ownedObjects",
        "appManagementPolicies",
        "me",
        "organization",
        "policies",
        "defaultAppManagementPolicy",
        "oidc",
        "userinfo",
        "oauth2",
        "v2.0",
        "token",
        "authorize",
        "logout",
        ".well-known",
        "openid-configuration",
        "discovery",
        "keys",
        "instance",
        "adminconsent",
        "login",
        "consent",
        "error",
        "_emulator",
        "clock",
        "behaviours",
        "faults",
        "requests",
        "effects",
        "secrets",
        "accepts",
        "roles",
        "tenants",
        "policy",
        "users",
        "revoke",
        "issuers",
        "",
    ];
    let keyed = words
        .iter()
        .map(|word| format!("applications(appId='{word}')"));
    let all: Vec<String> = known
        .iter()
        .map(|it| (*it).to_owned())
        .chain(keyed)
        .chain(words.clone())
        .collect();
    let segment = prop_oneof![
        12 => proptest::sample::select(all),
        1 => "[ -~]{0,12}".prop_map(|text| escape(&text)),
        1 => "\\PC{0,8}".prop_map(|text| escape(&text)),
        1 => "(%[0-9a-fA-F]{2}|%|\\(|\\)|'|=){0,8}",
    ];
    let free =
        proptest::collection::vec(segment, 0..6).prop_map(|parts| format!("/{}", parts.join("/")));
    let routes: Vec<String> = served(&words);
    prop_oneof![1 => free, 3 => proptest::sample::select(routes)]
}

/// Every route with an object that exists.
fn served(words: &[String]) -> Vec<String> {
    let (tenant, client, object, principal) = (&words[0], &words[1], &words[2], &words[3]);
    let mut routes: Vec<String> = [
        "oauth2/v2.0/token",
        "oauth2/v2.0/authorize",
        "oauth2/v2.0/logout",
        "v2.0/adminconsent",
        "adminconsent",
        "login",
        "consent",
        "discovery/v2.0/keys",
        "v2.0/.well-known/openid-configuration",
    ]
    .iter()
    .map(|rest| format!("/{tenant}/{rest}"))
    .collect();
    for base in [
        format!("applications/{object}"),
        format!("applications(appId='{client}')"),
        format!("servicePrincipals/{principal}"),
    ] {
        for rest in [
            "",
            "/addPassword",
            "/removePassword",
            "/addKey",
            "/removeKey",
            "/owners",
            "/owners/$ref",
            "/federatedIdentityCredentials",
            "/appRoleAssignments",
            "/ownedObjects",
            "/appManagementPolicies",
            "/federatedIdentityCredentials/x",
            "/federatedIdentityCredentials(name='x')",
            "/appRoleAssignments/x",
            "/appRoleAssignedTo",
        ] {
            routes.push(format!("/v1.0/{base}{rest}"));
        }
        routes.push(format!("/v1.0/{base}/owners/{principal}/$ref"));
    }
    for rest in [
        "applications",
        "servicePrincipals",
        "applications/$count",
        "me",
        "organization",
        "$batch",
        "policies/defaultAppManagementPolicy",
    ] {
        routes.push(format!("/v1.0/{rest}"));
    }
    for rest in [
        "common/discovery/instance",
        "error",
        "oidc/userinfo",
        "_emulator/requests",
        "_emulator/faults",
        "_emulator/behaviours",
    ] {
        routes.push(format!("/{rest}"));
    }
    routes
}

/// Query or form.
fn pairs(words: Vec<String>) -> impl Strategy<Value = String> {
    let names = [
        "grant_type",
        "client_id",
        "client_secret",
        "scope",
        "client_assertion",
        "client_assertion_type",
        "code",
        "code_verifier",
        "redirect_uri",
        "refresh_token",
        "response_type",
        "response_mode",
        "state",
        "prompt",
        "code_challenge",
        "code_challenge_method",
        "claims",
        "$filter",
        "$select",
        "$top",
        "$search",
        "$orderby",
        "$count",
        "$skiptoken",
        "$expand",
        "api-version",
        "authorization_endpoint",
        "ctx",
        "login",
        "passwd",
        "action",
        "after",
        "resource",
    ];
    let values = [
        "client_credentials",
        "authorization_code",
        "refresh_token",
        "code",
        "query",
        "fragment",
        "form_post",
        "none",
        "S256",
        "plain",
        "true",
        "999",
        "displayName eq 'x'",
        "startswith(displayName,'x')",
        "not(appId ne 'x')",
        "identifierUris/any(u:u eq 'x')",
        "id,appId",
        "\"displayName:x\"",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "accept",
        "a.b.c",
        "{}",
    ];
    let values: Vec<String> = values
        .iter()
        .map(|it| (*it).to_owned())
        .chain(words)
        .collect();
    let name = prop_oneof![8 => proptest::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    let value = prop_oneof![
        6 => proptest::sample::select(values),
        2 => "[ -~]{0,40}",
        1 => "\\PC{0,20}",
        1 => "(\\(|\\)|'|,|:|/| eq | and | not |a){0,60}",
    ];
    let pairs = proptest::collection::vec((name, value), 0..8).prop_map(|pairs| {
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        crate::client::form(&pairs)
    });
    prop_oneof![9 => pairs, 1 => "[%&=+a-z0-9]{0,40}"]
}

/// Any JSON, mostly with names that mean something.
fn json(words: Vec<String>) -> impl Strategy<Value = String> {
    let names = [
        "passwordCredential",
        "displayName",
        "endDateTime",
        "startDateTime",
        "keyId",
        "secretText",
        "keyCredential",
        "proof",
        "key",
        "type",
        "usage",
        "@odata.id",
        "requests",
        "id",
        "method",
        "url",
        "body",
        "dependsOn",
        "appId",
        "principalId",
        "resourceId",
        "appRoleId",
        "name",
        "issuer",
        "subject",
        "audiences",
        "keyCredentials",
        "passwordCredentials",
        "identifierUris",
        "web",
        "signInAudience",
        "isDisabled",
        "applicationRestrictions",
        "isEnabled",
        "restrictionType",
        "maxLifetime",
    ];
    let texts = [
        "2030-01-01T00:00:00Z",
        "9999-12-31T23:59:59.9999999Z",
        "-262143-01-01T00:00:00Z",
        "AsymmetricX509Cert",
        "Verify",
        "AAAA",
        "P90D",
        "P999999999999D",
        "GET",
        "POST",
        "/applications",
        "/$batch",
        "a.b.c",
    ];
    let texts: Vec<String> = texts
        .iter()
        .map(|it| (*it).to_owned())
        .chain(words)
        .collect();
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        proptest::sample::select(texts).prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
    ];
    let name = prop_oneof![6 => proptest::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    let value = leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            3 => proptest::collection::btree_map(name.clone(), inner.clone(), 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            1 => proptest::collection::vec(inner, 0..6).prop_map(serde_json::Value::Array),
        ]
    });
    prop_oneof![12 => value.prop_map(|value| value.to_string()), 1 => "[\\[\\]{}\":,0-9a-z]{0,40}", 1 => Just("[".repeat(500))]
}

fn request(known: Known) -> impl Strategy<Value = Request> {
    let Known { words, token } = known;
    let method = prop_oneof![
        4 => Just("GET"), 5 => Just("POST"), 2 => Just("PATCH"), 2 => Just("DELETE"),
        1 => proptest::sample::select(vec!["PUT", "OPTIONS", "TRACE", "BREW"]),
    ];
    let target = (path(words.clone()), pairs(words.clone()), any::<bool>()).prop_map(
        |(path, query, has_query)| {
            if has_query {
                format!("{path}?{query}")
            } else {
                path
            }
        },
    );
    let body = prop_oneof![
        2 => Just((None, Vec::new())),
        4 => pairs(words.clone()).prop_map(|text| (Some("application/x-www-form-urlencoded"), text.into_bytes())),
        6 => json(words).prop_map(|text| (Some("application/json"), text.into_bytes())),
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| (Some("application/json"), bytes)),
        1 => proptest::collection::vec(any::<u8>(), 0..64)
            .prop_map(|bytes| (Some("application/x-www-form-urlencoded"), bytes)),
    ];
    let bearer = format!("Bearer {token}");
    let authorization = prop_oneof![
        8 => Just(Some(bearer)),
        1 => Just(None),
        1 => "[A-Za-z]{0,8} [!-~]{0,40}".prop_map(Some),
        1 => "Basic [A-Za-z0-9+/=]{0,20}".prop_map(Some),
    ];
    let extra = proptest::option::of(proptest::sample::select(vec![
        ("consistencylevel", "eventual"),
        ("origin", "https://x.example"),
        ("cookie", "ESTSAUTH=x; ;=;a"),
        ("client-request-id", "x"),
        ("accept", "\u{7f}"),
    ]));
    (method, target, body, authorization, extra).prop_map(
        |(method, target, (kind, body), authorization, extra)| {
            let mut headers = Vec::new();
            headers.extend(kind.map(|kind| ("content-type".to_owned(), kind.to_owned())));
            headers.extend(authorization.map(|value| ("authorization".to_owned(), value)));
            headers.extend(extra.map(|(name, value)| (name.to_owned(), value.to_owned())));
            Request {
                method: method.to_owned(),
                target,
                headers,
                body,
            }
        },
    )
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Checks that an answer is one that the service gives.
fn check(request: &Request, answer: &Answer) -> Result<(), String> {
    let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    if answer.status == 500 {
        return Err("an internal error".to_owned());
    }
    if answer.status < 400 || answer.head.contains("text/html") {
        return Ok(());
    }
    if answer.status == 400 && answer.body.is_empty() && !request.is_http() {
        return Ok(());
    }
    let body = json.ok_or("an error that is no JSON")?;
    let graph = body["error"]["code"].is_string() && body["error"]["message"].is_string();
    let token = body["error"].is_string()
        && (body["error_codes"][0].is_u64() || request.target.starts_with("/_emulator"));
    if graph || token {
        Ok(())
    } else {
        Err("an error in no known shape".to_owned())
    }
}

/// A connection that is used again until the server closes it.
struct Wire {
    address: String,
    stream: TcpStream,
}

impl Wire {
    async fn of(emulator: &Emulator) -> Self {
        let address = emulator
            .authority()
            .trim_start_matches("http://")
            .replace("localhost", "127.0.0.1");
        let stream = TcpStream::connect(&address).await.unwrap();
        Self { address, stream }
    }

    async fn exchange(&mut self, request: &Request) -> Answer {
        let bytes = request.bytes();
        let work = async {
            self.stream.write_all(&bytes).await.unwrap();
            read(&mut self.stream).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), work).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("no answer to\n{}", String::from_utf8_lossy(&bytes)));
        if answer.head.contains("connection: close") {
            self.stream = TcpStream::connect(&self.address).await.unwrap();
        }
        answer
    }
}

async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        assert!(
            count > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        assert!(count > 0, "closed in the body of {head}");
        body.extend(&part[..count]);
    }
    Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body,
    }
}
