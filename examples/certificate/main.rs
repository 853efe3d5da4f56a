//! Gets Graph tokens by a certificate: no secret leaves this process.
//!
//! ```console
//! $ cargo run --example certificate
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_CERTIFICATE_PATH=app.pem cargo run --example certificate
//! ```
//!
//! The first command needs nothing: it starts an emulator with an application whose certificate is
//! registered. The file may be PEM with certificate and key in any order, or PFX;
//! `AZURE_CLIENT_CERTIFICATE_PASSWORD` opens it if it is encrypted.

#[path = "../place.rs"]
mod place;

use std::process::ExitCode;

use keywheel::core::{Report, Secret, TokenCredential};
use keywheel::credentials::{Certificate, CertificateCredential};
use keywheel_emulator::Emulator;
use place::{Place, Result, variable};

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
    let place = Place::find(Emulator::builder()).await?;
    let certificate = read(&place)?;
    println!("Certificate {}", certificate.thumbprint());
    println!(
        "valid from {} to {}.",
        certificate.not_before().format("%F"),
        certificate.not_after().format("%F")
    );

    let credential = CertificateCredential::new(place.endpoint(), place.client, certificate)?;
    if let Some(warning) = credential.warning() {
        println!("Look out: {warning}");
    }
    let token = credential.get_token(&place.graph()).await?;
    println!(
        "\nA Graph token, valid until {}.",
        token.expires_on.format("%F %H:%M UTC")
    );
    Ok(())
}

fn read(place: &Place) -> Result<Certificate> {
    if let Some(emulator) = place.emulator() {
        let app = emulator.default_app();
        let missing = "the emulator's application has a certificate";
        let (certificate, key) = app
            .certificate_pem()
            .zip(app.private_key_pem())
            .ok_or(missing)?;
        let key = key.expose().as_bytes();
        return Ok(Certificate::read_parts(certificate.as_bytes(), key, None)?);
    }
    let path = place.setting("AZURE_CLIENT_CERTIFICATE_PATH", |_| String::new())?;
    let file = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    let password = variable("AZURE_CLIENT_CERTIFICATE_PASSWORD").map(Secret::new);
    Ok(Certificate::read(&file, password.as_ref())?)
}
