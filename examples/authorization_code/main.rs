//! A web service whose users sign in with Microsoft, and which acts for them from then on.
//!
//! ```console
//! $ cargo run --example authorization_code
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… cargo run --example authorization_code
//! ```
//!
//! The first command needs nothing: it starts an emulator, whose sign-in page opens from the address that
//! is printed. For the second, register `http://localhost/callback` for the platform "Web"; Entra does not look
//! at the port of `localhost`. With `--check` the program plays the browser itself and ends.

mod browser;
#[path = "../place.rs"]
mod place;
mod service;

use std::process::ExitCode;

use keywheel::core::{ClientSecret, Report, Secret};
use keywheel::credentials::{AuthorizationCodeFlow, ClientSecretCredential};
use keywheel_emulator::Emulator;
use place::{Place, Result};
use service::Service;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    // Without TLS, which a browser would warn of: on the loopback interface only.
    let place = Place::find(Emulator::builder().plain_http()).await?;
    let secret = place.setting("AZURE_CLIENT_SECRET", |app| {
        app.secret().expose().to_owned()
    })?;
    let secret = ClientSecret::new(Secret::new(secret))?;
    let credential = ClientSecretCredential::new(place.endpoint(), place.client, secret);

    let listener = TcpListener::bind(("localhost", 0)).await?;
    let address = format!("http://localhost:{}", listener.local_addr()?.port());
    let redirect_uri = format!("{address}/callback");
    let flow = AuthorizationCodeFlow::new(credential.client(), redirect_uri)?;
    let service = Service::new(flow, credential.client());
    let server = axum::serve(listener, service.routes());

    println!("Open {address}/ in a browser.");
    if place.emulator().is_some() {
        println!(
            "Sign in as {} with the password \"{}\".",
            browser::USER,
            browser::PASSWORD
        );
    }
    if std::env::args().any(|argument| argument == "--check") {
        tokio::spawn(server.into_future());
        return browser::walk(&place.http, &address).await;
    }
    println!("Stop with Ctrl-C.");
    Ok(server.await?)
}
