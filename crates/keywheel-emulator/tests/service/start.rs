use keywheel_emulator::Emulator;

use crate::client::{Bench, Client};

#[tokio::test]
async fn only_a_client_that_trusts_the_ca_connects() {
    let bench = Bench::start().await;
    let stranger = Emulator::start().await.unwrap();
    let url = format!("{}/_emulator/health", bench.emulator.authority());

    let answer = bench.client.get(&url, &[]).await;
    let refused = Client::of(&stranger)
        .send(http::Method::GET, &url, &[], "")
        .await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_dropped_emulator_no_longer_answers() {
    let bench = Bench::start().await;
    let url = format!("{}/_emulator/health", bench.emulator.authority());
    let client = bench.client.clone();

    drop(bench);
    tokio::task::yield_now().await;

    assert!(client.send(http::Method::GET, &url, &[], "").await.is_err());
}

#[tokio::test]
async fn login_and_graph_may_have_origins_of_their_own() {
    let emulator = Emulator::builder().graph_port(0).start().await.unwrap();
    let bench = Bench::with(emulator);
    assert_ne!(bench.emulator.authority(), bench.emulator.graph());

    let own = bench
        .graph(http::Method::GET, &bench.application(""), None)
        .await;
    let login_on_graph = format!("{}/common/discovery/v2.0/keys", bench.emulator.graph());
    let graph_on_login = format!("{}/v1.0/me", bench.emulator.authority());

    assert_eq!(own.status, 200, "{own:?}");
    assert_eq!(bench.client.get(&login_on_graph, &[]).await.status, 401);
    assert_eq!(bench.client.get(&graph_on_login, &[]).await.status, 404);
}
