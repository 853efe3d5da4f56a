use std::time::Duration;

use keywheel_emulator::Emulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

#[tokio::test]
async fn who_stops_half_way_is_cut_off() {
    let patience = Duration::from_millis(50);
    let started = async |plain: bool| {
        let mut builder = Emulator::builder().read_timeout(patience);
        if plain {
            builder = builder.plain_http();
        }
        builder.start().await.unwrap()
    };
    let encrypted = started(false).await;
    let plain = started(true).await;

    for (emulator, bytes) in [
        (&encrypted, &b""[..]),
        (&encrypted, b"\x16\x03\x01\x02"),
        (&plain, b"GET / HT"),
        (&plain, b"GET / HTTP/1.1\r\nhost: localhost\r\n"),
        (
            &plain,
            b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n12",
        ),
    ] {
        let port = emulator.authority().rsplit(':').next().unwrap();
        let address = format!("127.0.0.1:{port}");
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{}", String::from_utf8_lossy(bytes));
    }
}
