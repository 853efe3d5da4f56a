//! Hands a keywheel connection to a client of the Azure SDK for Rust.
//!
//! ```console
//! $ cargo run --example azure_sdk
//! ```
//!
//! The client is Microsoft's own for Key Vault; it never learns that the connection's secret rotates. It
//! gets its token from an emulator of Entra in this process, and what it asks for from a stand-in of a vault
//! that looks at the token (`vault.rs`). With a vault of yours the stand-in is left out.

mod vault;

use std::process::ExitCode;
use std::sync::Arc;

use azure_core::http::{ClientOptions, Transport};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use keywheel::Keywheel;
use keywheel::connection::{Actor, KeyRing};
use keywheel::core::{ClientSecret, Cloud, Entropy, Report, ReqwestSend, Secret, SystemEntropy};
use keywheel::credentials::AzureSdkCredential;
use keywheel::entra::ConnectionCredential;
use keywheel::rotation::NewConnection;
use keywheel::sqlite::SqliteStore;
use keywheel_emulator::{ApplicationSeed, Emulator, Seed};
use vault::Vault;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

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
    let folder = tempfile::tempdir()?;
    let emulator = tenant_with_vault().await?;
    let connection = connect(&emulator, folder.path()).await?;

    let stand_in = Transport::new(Arc::new(Vault::new()));
    let options = SecretClientOptions {
        client_options: ClientOptions {
            transport: Some(stand_in),
            ..ClientOptions::default()
        },
        ..SecretClientOptions::default()
    };
    let credential = Arc::new(AzureSdkCredential::new(connection));
    let client = SecretClient::new(vault::ADDRESS, credential, Some(options))?;

    let secret = client.get_secret("greeting", None).await?.into_model()?;
    println!("Key Vault says: {}", secret.value.unwrap_or_default());
    Ok(())
}

/// An emulator in whose tenant Key Vault is known.
async fn tenant_with_vault() -> Result<Emulator> {
    let mut seed = Seed::default();
    let vault = ApplicationSeed::new("Azure Key Vault").identifier_uri("https://vault.azure.net");
    let tenant = seed.tenants.remove(0).application(vault);
    Ok(Emulator::builder().seed(Seed::of([tenant])).start().await?)
}

/// A connection by client secret, kept in SQLite, and its tokens.
async fn connect(emulator: &Emulator, folder: &std::path::Path) -> Result<ConnectionCredential> {
    let mut key = [0; 32];
    SystemEntropy::new().fill(&mut key);
    let http = ReqwestSend::builder()
        .root_certificates(emulator.ca_pem().to_owned())
        .without_system_roots()
        .build()?;
    let store = SqliteStore::builder(folder.join("keywheel.db"))
        .open()
        .await?;
    let keywheel = Keywheel::builder(store, KeyRing::new(&key)?)
        .http(http)
        .build()?;

    let app = emulator.default_app();
    let new = NewConnection::client_secret(
        "vault-reader".parse()?,
        app.tenant_id().parse()?,
        app.client_id().parse()?,
        ClientSecret::new(Secret::new(app.secret().expose()))?,
    )
    .in_cloud(Cloud::from_endpoints(
        &emulator.authority().parse()?,
        &emulator.graph().parse()?,
    )?);
    let actor = Actor::named("azure_sdk");
    let created = keywheel.connections().create(new, &actor).await?;
    println!("A connection: {}", created.connection.name.as_str());
    Ok(keywheel.credential(created.connection.id).await?)
}
