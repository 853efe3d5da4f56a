//! A token from the network: as fast as the bare HTTP client, and asked for once.

use std::sync::Arc;

use benches::{Bounds, Race, Times};
use keywheel_core::{Cloud, ReqwestSend, TokenCredential};
use keywheel_credentials::ClientSecretCredential;
use tokio::runtime::{Builder, Runtime};

use crate::stand_in::{CLIENT, Memory, SECRET, TENANT, client, endpoint, graph, secret, serve};

const TASKS: usize = 10_000;

pub(crate) fn check(bounds: &mut Bounds) {
    one_request(bounds);
    // The answer of a server that signs each token, as every issuer does, and for information that of one
    // which does nothing at all.
    let times = over_loopback("a server that signs", true);
    times.at_least(bounds, "keywheel", 0.9, "reqwest");
    over_loopback("a server that only answers", false);
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

fn over_loopback(server: &str, signs: bool) -> Times {
    let origin = format!("http://{}", serve(signs));
    let cloud = Cloud::from_endpoints(&origin.parse().unwrap(), &origin.parse().unwrap()).unwrap();
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    let credential = ClientSecretCredential::new(endpoint(http, &cloud), client(), secret());
    let runtime = runtime();
    let mut last = runtime.block_on(credential.get_token(&graph())).unwrap();

    let plain = reqwest::Client::builder().build().unwrap();
    let url = format!("{origin}/{TENANT}/oauth2/v2.0/token");
    let form = format!(
        "client_id={CLIENT}&grant_type=client_credentials&client_secret={SECRET}\
         &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
    );
    let get = async || {
        let request = plain
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.clone());
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap()
    };
    Race::new(format!("cold token from {server}"), 1)
        .with("keywheel", || {
            let request = graph().rejecting(&last);
            last = runtime.block_on(credential.get_token(&request)).unwrap();
        })
        .with("reqwest", || runtime.block_on(get()))
        .run()
}
