//! The same requests and rows without an engine: plain reqwest and hand-written SQL.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use keywheel_core::{Clock as _, SystemClock};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::azure::{App, Place, TENANT};
use crate::engine::{SEALING_KEY, Sample};
use crate::rows::{Entry, Rows, Step};

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Floor(Arc<Inner>);

struct Inner {
    rows: Rows,
    http: Http,
    sample: Sample,
    sealing: RandomizedNonceKey,
    ids: Vec<Uuid>,
    members: Mutex<HashMap<Uuid, Member>>,
}

/// A connection, as its last rotation left it.
struct Member {
    id: Uuid,
    client: Uuid,
    secret: String,
    key_id: String,
    seq: i64,
    digest: [u8; 32],
}

impl Floor {
    pub(crate) fn new(rows: Rows, place: &Place, apps: &[App], sample: Sample) -> Self {
        let members = apps.iter().map(|app| {
            let member = Member {
                id: app.client,
                client: app.client,
                secret: app.secret.clone(),
                key_id: app.key_id.to_string(),
                seq: 0,
                digest: [0; 32],
            };
            (app.client, member)
        });
        Self(Arc::new(Inner {
            rows,
            http: Http::new(place),
            sample,
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &SEALING_KEY).unwrap(),
            ids: apps.iter().map(|app| app.client).collect(),
            members: Mutex::new(members.collect()),
        }))
    }

    /// Lets the first `count` be due.
    pub(crate) async fn request(&self, count: usize) {
        let ids = self.0.ids[..count].to_vec();
        self.0.rows.request(ids).await;
    }

    /// Rotates what is due.
    pub(crate) async fn run(&self, count: usize, in_flight: usize) {
        let queue = Arc::new(tokio::sync::Mutex::new(VecDeque::new()));
        let batch = u32::try_from(in_flight.min(64)).unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..in_flight {
            let (this, queue) = (self.0.clone(), queue.clone());
            tasks.spawn(async move {
                let mut done = 0;
                while let Some((id, fence)) = next(&this.rows, &queue, batch).await {
                    this.rotate(id, fence).await;
                    done += 1;
                }
                done
            });
        }
        let done: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(done, count);
    }
}

async fn next(
    rows: &Rows,
    queue: &tokio::sync::Mutex<VecDeque<(Uuid, i64)>>,
    batch: u32,
) -> Option<(Uuid, i64)> {
    let mut queue = queue.lock().await;
    if queue.is_empty() {
        queue.extend(rows.claim(batch).await);
    }
    queue.pop_front()
}

impl Inner {
    async fn rotate(&self, id: Uuid, fence: i64) {
        let mut member = self.members.lock().unwrap().remove(&id).unwrap();
        let own = member.id.to_string();
        let [intent, minted, promoted, over] = &self.sample.records;
        let step = |record: &str, entries, last| Step {
            id,
            fence,
            record: record.replace(&self.sample.id, &own),
            entries,
            last,
        };
        let token = self.http.token(&member.client, &member.secret, false).await;
        let entries = self.entries(&mut member, &own, 0..1);
        self.rows.save(step(intent, entries, false)).await;
        let added = self.http.add(&member.client, &token).await;
        self.seal(&added.secret_text, &own);
        let entries = self.entries(&mut member, &own, 1..2);
        self.rows.save(step(minted, entries, false)).await;
        let token = self.http.token(&member.client, &added.secret_text, true);
        let token = token.await;
        let read = self.http.read(&member.client, &token).await;
        let mut secrets = read.password_credentials.iter();
        assert!(secrets.any(|secret| secret.key_id == added.key_id));
        let entries = self.entries(&mut member, &own, 2..4);
        self.rows.save(step(promoted, entries, false)).await;
        let client = &member.client;
        self.http.remove(client, &token, &member.key_id).await;
        let entries = self.entries(&mut member, &own, 4..6);
        self.rows.save(step(over, entries, true)).await;
        (member.secret, member.key_id) = (added.secret_text, added.key_id);
        self.members.lock().unwrap().insert(id, member);
    }

    fn entries(&self, member: &mut Member, own: &str, which: std::ops::Range<usize>) -> Vec<Entry> {
        let bodies = self.sample.bodies[which].iter();
        let entries = bodies.map(|body| {
            let body = body.replace(&self.sample.id, own);
            let chained = [&member.digest, body.as_bytes()].concat();
            let chained = digest(&SHA256, &chained);
            member.seq += 1;
            member.digest.copy_from_slice(chained.as_ref());
            Entry {
                seq: member.seq,
                body,
                digest: member.digest,
            }
        });
        entries.collect()
    }

    /// The record has room for it already.
    fn seal(&self, secret: &str, own: &str) {
        let mut data = secret.as_bytes().to_vec();
        let sealed = self
            .sealing
            .seal_in_place_append_tag(Aad::from(own), &mut data);
        std::hint::black_box((sealed.unwrap(), data));
    }
}

/// The five requests.
struct Http {
    pooled: Client,
    fresh: Client,
    origin: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    key_id: String,
    secret_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    password_credentials: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    key_id: String,
}

impl Http {
    fn new(place: &Place) -> Self {
        let client = || {
            let ca = Certificate::from_pem(place.ca.as_bytes()).unwrap();
            Client::builder()
                .tls_certs_only([ca])
                .timeout(std::time::Duration::from_secs(60))
        };
        Self {
            pooled: client().build().unwrap(),
            fresh: client().pool_max_idle_per_host(0).build().unwrap(),
            origin: place.origin.clone(),
        }
    }

    async fn token(&self, id: &Uuid, secret: &str, fresh: bool) -> String {
        let client = if fresh { &self.fresh } else { &self.pooled };
        // The alphabet of secrets needs no escapes.
        let body = format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}\
             &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        );
        let answer = client
            .post(format!("{}/{TENANT}/oauth2/v2.0/token", self.origin))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .send();
        let token: Token = json(answer.await.unwrap()).await;
        token.access_token
    }

    async fn add(&self, id: &Uuid, token: &str) -> Added {
        let end = SystemClock::new().now() + chrono::TimeDelta::days(90);
        let body = format!(
            r#"{{"passwordCredential":{{"displayName":"floor {id}","endDateTime":"{}"}}}}"#,
            end.format("%FT%TZ")
        );
        let answer = self.post(&self.of(id, "/addPassword"), token, body).await;
        json(answer).await
    }

    async fn read(&self, id: &Uuid, token: &str) -> Read {
        let select = "?$select=id,appId,displayName,signInAudience,passwordCredentials";
        let answer = self
            .pooled
            .get(self.of(id, select))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .send();
        json(answer.await.unwrap()).await
    }

    async fn remove(&self, id: &Uuid, token: &str, key_id: &str) {
        let body = format!(r#"{{"keyId":"{key_id}"}}"#);
        let url = self.of(id, "/removePassword");
        let answer = self.post(&url, token, body).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    fn of(&self, id: &Uuid, below: &str) -> String {
        format!("{}/v1.0/applications(appId='{id}'){below}", self.origin)
    }

    async fn post(&self, url: &str, token: &str, body: String) -> reqwest::Response {
        let request = self.pooled.post(url).body(body);
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        request.send().await.unwrap()
    }
}

async fn json<T: for<'de> Deserialize<'de>>(answer: reqwest::Response) -> T {
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    assert!(
        status.is_success(),
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body).unwrap()
}
