//! A token from the network: as fast as the bare HTTP client, and asked for once.

use std::pin::Pin;
use std::sync::Arc;

use benches::{Bounds, Race, Times};
use keywheel_core::{Cloud, ReqwestSend, TokenCredential};
use keywheel_credentials::ClientSecretCredential;
use tokio::runtime::{Builder, Runtime};

use crate::stand_in::{CLIENT, Memory, SECRET, TENANT, client, endpoint, graph, secret, serve};

const TASKS: usize = 10_000;

/// Asked for in one go, by a task on a worker as in a service.
const TOKENS: usize = 20;

pub(crate) fn check(bounds: &mut Bounds) {
    one_request(bounds);
    over_loopback().at_least(bounds, "keywheel", 0.9, "reqwest");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn one_request(bounds: &mut Bounds) {
    println!("\ncold cache");
    let http = Arc::new(Memory::default());
    let endpoint = endpoint(Arc::clone(&http), &Cloud::public());
    let credential = ClientSecretCredential::new(endpoint, client(), secret());
    runtime().block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let credential = credential.clone();
                tokio::spawn(async move { credential.get_token(&graph()).await.map(drop) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    let claim = format!("{TASKS} tasks make one request");
    bounds.check(claim, http.count() == 1, http.count());
}

/// From a server that does nothing but answer, so that all the time there is goes to the clients.
fn over_loopback() -> Times {
    let origin = format!("http://{}", serve());
    let cloud = Cloud::from_endpoints(&origin.parse().unwrap(), &origin.parse().unwrap()).unwrap();
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    let credential = ClientSecretCredential::new(endpoint(http, &cloud), client(), secret());
    let runtime = runtime();
    let in_task = |work| runtime.block_on(runtime.spawn(work)).unwrap();
    let request = graph();
    let plain = Plain {
        client: reqwest::Client::builder().build().unwrap(),
        url: format!("{origin}/{TENANT}/oauth2/v2.0/token"),
    };
    Race::new("cold tokens from a loopback server", TOKENS)
        .with("keywheel", || {
            let (credential, mut wanted) = (credential.clone(), request.clone());
            let work: Work = Box::pin(async move {
                let mut last = credential.get_token(&wanted).await.unwrap();
                for _ in 0..TOKENS {
                    wanted = wanted.rejecting(&last);
                    last = credential.get_token(&wanted).await.unwrap();
                }
            });
            in_task(work);
        })
        .with("reqwest", || {
            let plain = plain.clone();
            let work: Work = Box::pin(async move {
                for _ in 0..TOKENS {
                    plain.token().await;
                }
            });
            in_task(work);
        })
        .run()
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What one would write without a library.
#[derive(Clone)]
struct Plain {
    client: reqwest::Client,
    url: String,
}

impl Plain {
    async fn token(&self) -> serde_json::Value {
        let form = format!(
            "client_id={CLIENT}&grant_type=client_credentials&client_secret={SECRET}\
             &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        );
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}
