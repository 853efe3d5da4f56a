//! The smallest client there is: one kept connection, one question at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::core::Core;

pub(crate) struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    pub(crate) fn to(core: &Core) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(core.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", core.port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self(BufReader::new(StreamOwned::new(tls, tcp)))
    }

    pub(crate) fn send(&mut self, request: &str) {
        let stream = self.0.get_mut();
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
    }

    /// Returns the answer's body, which must tell of success.
    pub(crate) fn receive(&mut self) -> String {
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "closed");
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(status.starts_with("HTTP/1.1 2"), "{status}{body}");
        body
    }

    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(request);
        self.receive()
    }
}

/// As many connections as keep a server from waiting for its client.
pub(crate) struct Clients(Vec<Connection>);

impl Clients {
    pub(crate) const COUNT: usize = 8;

    pub(crate) fn of(core: &Core) -> Self {
        Self((0..Self::COUNT).map(|_| Connection::to(core)).collect())
    }

    /// Sends a request on each connection, then reads the answers.
    pub(crate) fn ask(&mut self, requests: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
        for (connection, request) in self.0.iter_mut().zip(requests) {
            connection.send(request.as_ref());
        }
        self.0.iter_mut().map(Connection::receive).collect()
    }

    pub(crate) fn ask_all(&mut self, request: &str) -> Vec<String> {
        self.ask(std::iter::repeat_n(request, Self::COUNT))
    }
}

pub(crate) fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
}

pub(crate) fn post(path: &str, token: &str, kind: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/{kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Returns a text of a JSON object, without reading the rest.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}
