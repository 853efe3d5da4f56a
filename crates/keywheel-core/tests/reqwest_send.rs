//! `ReqwestSend` keeps the contract of `HttpSend`, over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use bytes::Bytes;
use http::{Request, StatusCode};
use keywheel_core::{FreshConnection, HttpSend, ReqwestSend, TransportErrorKind};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

fn sender() -> ReqwestSend {
    ReqwestSend::builder().build().unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn any_status_is_an_answer_and_redirects_are_not_followed() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(
            ResponseTemplate::new(307)
                .insert_header("location", "/elsewhere")
                .set_body_string("moved"),
        )
        .expect(1)
        .mount(&server)
        .await;

    let response = sender().send(get(&server.uri())).await.unwrap();

    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()["location"], "/elsewhere");
    assert_eq!(response.body(), "moved");
}

#[tokio::test]
async fn a_refused_connection_is_certainly_unsent() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };

    let error = sender()
        .send(get(&format!("http://127.0.0.1:{port}")))
        .await
        .unwrap_err();

    assert!(error.is_unsent(), "{error:?}");
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_connection_closed_after_the_request_is_not_unsent() {
    let url = serve(|mut stream| {
        read_request(&mut stream);
    });

    let error = sender().send(get(&url)).await.unwrap_err();

    assert_eq!(error.kind(), TransportErrorKind::Interrupt, "{error:?}");
}

/// The timer begins when the future is first polled, which is where the runtime is.
#[test]
fn a_request_may_be_made_outside_of_the_runtime_that_sends_it() {
    let url = serve(|mut stream| {
        read_request(&mut stream);
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let http = sender();
    let sent = http.send(get(&url));

    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let answer = runtime.enable_all().build().unwrap().block_on(sent);

    assert_eq!(answer.unwrap().status(), 204);
}

#[tokio::test]
async fn an_answer_is_whole_in_however_many_pieces_it_comes() {
    for (pieces, whole) in [
        ("0\r\n\r\n", ""),
        ("3\r\none\r\n0\r\n\r\n", "one"),
        ("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", "onetwo"),
        (
            "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n",
            "onetwothree",
        ),
    ] {
        let url = serve(move |mut stream| {
            read_request(&mut stream);
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream
                .write_all(format!("{head}{pieces}").as_bytes())
                .unwrap();
        });

        let answer = sender().send(get(&url)).await.unwrap();

        assert_eq!(answer.body(), whole);
    }
}

#[tokio::test]
async fn a_body_cut_short_is_an_interrupt() {
    let url = serve(|mut stream| {
        read_request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            .unwrap();
    });

    let error = sender().send(get(&url)).await.unwrap_err();

    assert_eq!(error.kind(), TransportErrorKind::Interrupt, "{error:?}");
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let (release, held) = mpsc::channel::<()>();
    let url = serve(move |mut stream| {
        read_request(&mut stream);
        let _ = held.recv();
    });
    let sender = ReqwestSend::builder()
        .timeout(Duration::from_millis(50))
        .build()
        .unwrap();

    let error = sender.send(get(&url)).await.unwrap_err();
    drop(release);

    assert_eq!(error.kind(), TransportErrorKind::Timeout, "{error:?}");
}

#[tokio::test]
async fn errors_do_not_show_the_query() {
    let error = sender()
        .send(get("http://127.0.0.1:1/?code=s3cr3t"))
        .await
        .unwrap_err();

    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn a_fresh_connection_is_never_shared() {
    let (connections, seen) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            connections.send(()).unwrap();
            thread::spawn(move || keep_alive(stream.unwrap()));
        }
    });
    let sender = sender();

    for _ in 0..3 {
        sender.send(get(&url)).await.unwrap();
    }
    assert_eq!(seen.try_iter().count(), 1, "pooled requests share");
    for _ in 0..3 {
        let mut request = get(&url);
        request.extensions_mut().insert(FreshConnection);
        sender.send(request).await.unwrap();
    }
    assert_eq!(seen.try_iter().count(), 3, "fresh ones do not");
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let (closed, seen) = mpsc::channel();
    let url = serve(move |stream| {
        keep_alive(stream);
        closed.send(()).unwrap();
    });
    let sender = ReqwestSend::builder()
        .without_system_roots()
        .idle_timeout(Duration::from_millis(100))
        .build()
        .unwrap();

    sender.send(get(&url)).await.unwrap();

    let seen = tokio::task::spawn_blocking(move || seen.recv_timeout(Duration::from_secs(30)));
    seen.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_pem_is_refused_at_build() {
    let error = ReqwestSend::builder()
        .root_certificates("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----")
        .build()
        .unwrap_err();

    assert!(error.to_string().starts_with("HTTP client: "), "{error}");
}

fn serve(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || answer(listener.accept().unwrap().0));
    url
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    true
}

fn keep_alive(mut stream: TcpStream) {
    while read_request(&mut stream) {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    }
}
