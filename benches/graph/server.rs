//! A server of canned answers, so that what is measured is the clients.

use std::net::SocketAddr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const PAGES: usize = 100;
const PAGE: usize = 100;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it in a thread of its own, for as long as the process lives.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream));
                }
            });
        });
        Self {
            address: receiver.recv().unwrap(),
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut stream: TcpStream) {
    let origin = format!("http://{}", stream.local_addr().unwrap());
    let pages: Vec<Vec<u8>> = (0..PAGES)
        .map(|number| answer(200, &page(&origin, number)))
        .collect();
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut held) = (vec![0; 64 << 10], 0);
    loop {
        let Some(end) = whole(&buffer[..held]) else {
            let read = stream.read(&mut buffer[held..]).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            held += read;
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        let reply = if head.contains("addPassword") {
            answer(200, ADDED)
        } else if head.contains("removePassword") {
            b"HTTP/1.1 204 No Content\r\nrequest-id: r\r\n\r\n".to_vec()
        } else {
            pages[number(head)].clone()
        };
        buffer.copy_within(end..held, 0);
        held -= end;
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// Returns where the first request in the buffer ends, if it is all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head])
        .ok()?
        .to_ascii_lowercase();
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

fn number(head: &str) -> usize {
    let after = head.split("skiptoken=").nth(1);
    after.map_or(0, |rest| {
        rest.split([' ', '&']).next().unwrap().parse().unwrap()
    })
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} OK\r\ncontent-type: application/json;odata.metadata=minimal\r\n\
         request-id: 11111111-2222-4333-8444-555555555555\r\nx-ms-resource-unit: 1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn page(origin: &str, number: usize) -> String {
    let applications: Vec<String> = (0..PAGE)
        .map(|place| application(number * PAGE + place))
        .collect();
    let next = if number + 1 < PAGES {
        format!(
            r#""@odata.nextLink":"{origin}/v1.0/applications?$skiptoken={}","#,
            number + 1
        )
    } else {
        String::new()
    };
    format!(
        r#"{{"@odata.context":"{origin}/v1.0/$metadata#applications",{next}"value":[{}]}}"#,
        applications.join(",")
    )
}

/// An application with one secret: four strings that are kept.
pub(crate) fn application(number: usize) -> String {
    format!(
        r#"{{"id":"0b1ec700-1111-4222-8333-{number:012}","appId":"c0ffee00-1111-4222-8333-{number:012}","displayName":"application number {number}","signInAudience":"AzureADMyOrg","passwordCredentials":[{{"customKeyIdentifier":null,"displayName":"production {number}","endDateTime":"2027-03-01T12:00:00.1234567Z","hint":"kq~","keyId":"5e41ce00-1111-4222-8333-{number:012}","secretText":null,"startDateTime":"2026-03-01T12:00:00Z"}}]}}"#
    )
}

const ADDED: &str = r#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.passwordCredential","customKeyIdentifier":null,"displayName":"marker","endDateTime":"2026-07-01T00:00:00Z","hint":"kq~","keyId":"5e41ce00-1111-4222-8333-000000000000","secretText":"kq~8Q~AbCdEfGhIjKlMnOpQrStUvWxYz0123456.","startDateTime":"2026-01-01T00:00:00Z"}"#;
