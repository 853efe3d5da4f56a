//! Token endpoints that answer at once: in memory for both libraries, and over the loopback interface.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, StatusCode};
use bytes::Bytes;
use keywheel_core::{
    ClientId, ClientSecret, Cloud, HttpSend, Secret, TokenRequest, TransportError,
};
use keywheel_credentials::TokenEndpoint;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const TENANT: &str = "7e4a4700-1111-4222-8333-444455556666";
pub(crate) const CLIENT: &str = "c0ffee00-1111-4222-8333-444455556666";
pub(crate) const SECRET: &str = "kq~8Q~a-secret-of-forty-characters-in-all";

/// As long as Entra's, which have two kilobytes.
pub(crate) fn answer() -> String {
    let token = "e".repeat(2_000);
    format!(
        r#"{{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"{token}"}}"#
    )
}

/// Answers in memory, and counts.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicUsize);

impl Memory {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl HttpSend for Memory {
    async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, TransportError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(http::Response::new(Bytes::from(answer())))
    }
}

#[async_trait]
impl HttpClient for Memory {
    async fn execute_request(
        &self,
        _: &azure_core::http::Request,
    ) -> azure_core::Result<AsyncRawResponse> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(AsyncRawResponse::from_bytes(
            StatusCode::Ok,
            Headers::new(),
            answer(),
        ))
    }
}

pub(crate) fn endpoint(http: impl HttpSend + 'static, cloud: &Cloud) -> TokenEndpoint {
    TokenEndpoint::new(http, cloud, &TENANT.parse().unwrap())
}

pub(crate) fn client() -> ClientId {
    CLIENT.parse().unwrap()
}

pub(crate) fn secret() -> ClientSecret {
    ClientSecret::new(Secret::new(SECRET)).unwrap()
}

pub(crate) fn graph() -> TokenRequest {
    TokenRequest::new(Cloud::public().graph_scope())
}

/// Serves tokens over HTTP on a thread of its own, for as long as the process lives.
pub(crate) fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keep_answering(stream));
            }
        });
    });
    address
}

async fn keep_answering(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let body = answer();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        line.clear();
        stream.read_exact(&mut vec![0; length]).await?;
        stream.write_all(answer.as_bytes()).await?;
    }
}
