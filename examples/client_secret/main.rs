//! Gets Graph tokens by a client secret, and replaces the secret while it is in use.
//!
//! ```console
//! $ cargo run --example client_secret
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… cargo run --example client_secret
//! ```
//!
//! The first command needs nothing: it starts an emulator. The second gets tokens in a tenant of yours and
//! changes nothing there.

#[path = "../place.rs"]
mod place;

use std::process::ExitCode;

use keywheel::core::{ClientSecret, Report, Secret, TokenCredential};
use keywheel::credentials::{ClientSecretCredential, ClientSecrets, prove_secret};
use keywheel_emulator::Emulator;
use place::{Place, Result};

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
    let secret = place.setting("AZURE_CLIENT_SECRET", |app| {
        app.secret().expose().to_owned()
    })?;
    let secret = ClientSecret::new(Secret::new(secret))?;
    let credential = ClientSecretCredential::new(place.endpoint(), place.client, secret.clone());

    let token = credential.get_token(&place.graph()).await?;
    println!(
        "A Graph token, valid until {}.",
        token.expires_on.format("%F %H:%M UTC")
    );
    let again = credential.cached_token(&place.graph());
    println!("Asked again, it comes from memory: {}.", again.is_some());

    if let Some(emulator) = place.emulator() {
        replace(&place, emulator, &credential, secret).await?;
        refuse(&place).await?;
    }
    Ok(())
}

/// What a rotation does: proves a new secret, and puts it into use with the old one to fall back on.
async fn replace(
    place: &Place,
    emulator: &Emulator,
    credential: &ClientSecretCredential,
    old: ClientSecret,
) -> Result<()> {
    let made = emulator.add_secret(emulator.default_app().client_id(), "second")?;
    let new = ClientSecret::new(Secret::new(made.text.expose()))?;
    prove_secret(&place.endpoint(), place.client, &new, &place.graph()).await?;
    println!(
        "\nA second secret, key id {}, gets a token too.",
        made.key_id
    );

    let grace = emulator.clock().now() + chrono::TimeDelta::hours(1);
    let secrets = ClientSecrets::new(new)
        .with_generation(1)
        .with_previous(old, grace);
    credential.replace(secrets);
    credential.get_token(&place.graph()).await?;
    println!(
        "The credential uses it now: generation {}.",
        credential.generation()
    );
    Ok(())
}

/// What an error says.
async fn refuse(place: &Place) -> Result<()> {
    let wrong = ClientSecret::new(Secret::new("kq~8Q~not-the-secret-of-this-application"))?;
    let credential = ClientSecretCredential::new(place.endpoint(), place.client, wrong);
    match credential.get_token(&place.graph()).await {
        Ok(_) => Err("a wrong secret gets a token".into()),
        Err(error) => {
            println!("\nA wrong secret: {error}");
            Ok(())
        }
    }
}
