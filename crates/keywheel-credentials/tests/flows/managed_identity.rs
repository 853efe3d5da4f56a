use keywheel_core::{ReqwestSend, Secret, TokenCredential, TokenRequest};
use keywheel_credentials::{ManagedIdentity, ManagedIdentityCredential};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one request with `body`, as App Service's endpoint on the loopback interface does, and returns
/// the request.
async fn answer_once(listener: TcpListener, body: String) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn app_service_gives_a_token_to_who_has_its_header() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ends = chrono::DateTime::<chrono::Utc>::MAX_UTC.timestamp();
    let body = format!(
        r#"{{"access_token":"t","expires_on":"{ends}","resource":"https://graph.microsoft.com","token_type":"Bearer","client_id":"0"}}"#
    );
    let server = tokio::spawn(answer_once(listener, body));
    let endpoint = format!("http://{address}/msi/token").parse().unwrap();
    let identity = ManagedIdentity::app_service(endpoint, Secret::new("the-header"));
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    let credential = ManagedIdentityCredential::new(http, identity);
    let scope = "https://graph.microsoft.com/.default".parse().unwrap();

    let token = credential.get_token(&TokenRequest::new(scope)).await;

    assert_eq!(token.unwrap().token.expose(), "t");
    let request = server.await.unwrap();
    assert!(
        request.starts_with(
            "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com HTTP/1.1\r\n"
        ),
        "{request}"
    );
    assert!(
        request
            .to_lowercase()
            .contains("x-identity-header: the-header\r\n"),
        "{request}"
    );
}
