//! Keys that never leave a key management service: implement `Sealer` over it, hold it to the contract with
//! `sealer_conformance!`, and move from one key to the next with `Resealer`.
//!
//! `cargo run --example envelope_sealer`

mod sealer;
mod service;

use std::error::Error;
use std::sync::Arc;

use keywheel::connection::{
    Actor, Connection, ConnectionStore, Credential, Held, MemoryStore, Page, Resealer, Sealer,
    Secrets,
};
use keywheel::core::{Clock, Secret, SystemClock};

use crate::sealer::EnvelopeSealer;
use crate::service::PretendService;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SystemClock::new());
    let service = PretendService::with_keys(["vault-2025", "vault-2026"]);
    let store = Arc::new(MemoryStore::new(clock.clone()));

    let before = EnvelopeSealer::new(service.clone(), "vault-2025");
    let connection = sealed_connection(&before, &*clock).await?;
    store.create(&connection, None, &[]).await?;
    println!("sealed with {}", sealed_with(&connection));

    let after: Arc<dyn Sealer> = Arc::new(EnvelopeSealer::new(service.clone(), "vault-2026"));
    let resealer = Resealer::new(
        store.clone(),
        after.clone(),
        clock,
        Actor::named("operator"),
    );
    let done = resealer.pass().await?;
    // Once a whole pass found nothing to do, nothing needs the key before.
    if resealer.pass().await?.is_complete() {
        service.forget("vault-2025");
    }

    let connection = store.list(Page::of_all(1)).await?.remove(0).connection;
    let held = &connection.secrets().ok_or("a client secret")?.current;
    let secret = after
        .open(&held.sealed, &connection.seal_context(held.generation))
        .await?;
    println!(
        "{} value sealed anew with {}",
        done.values,
        sealed_with(&connection)
    );
    println!("it opens: {}", secret.expose() == "the client secret");
    let gone = before.seal(&secret, &connection.seal_context(1)).await;
    println!("the key before: {}", gone.expect_err("it was forgotten"));
    Ok(())
}

async fn sealed_connection(
    sealer: &dyn Sealer,
    clock: &dyn Clock,
) -> Result<Connection, Box<dyn Error>> {
    let place = (
        "11111111-2222-3333-4444-555555555555".parse()?,
        "66666666-7777-8888-9999-aaaaaaaaaaaa".parse()?,
    );
    let id = uuid::Uuid::from_u128(1).into();
    let secrets =
        |sealed| Credential::ClientSecret(Secrets::new(Held::given(sealed, None, clock.now())));
    let unsealed = keywheel::connection::Sealed::new("none", Vec::new());
    let mut connection = Connection::new(
        id,
        "customer".parse()?,
        place,
        secrets(unsealed),
        clock.now(),
    );
    let secret = Secret::new("the client secret");
    let sealed = sealer.seal(&secret, &connection.seal_context(0)).await?;
    connection.credential = secrets(sealed);
    Ok(connection)
}

fn sealed_with(connection: &Connection) -> &str {
    connection
        .secrets()
        .map_or("nothing", |secrets| secrets.current.sealed.key_id())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use keywheel_connection::conformance::sealers::SealerFixture;
    use keywheel_connection::sealer_conformance;

    use super::*;

    #[derive(Debug)]
    struct Envelopes(PretendService);

    #[async_trait]
    impl SealerFixture for Envelopes {
        async fn sealer(&self) -> Arc<dyn Sealer> {
            Arc::new(EnvelopeSealer::new(self.0.clone(), "ours"))
        }

        async fn stranger(&self) -> Arc<dyn Sealer> {
            let other = PretendService::with_keys(["theirs"]);
            Arc::new(EnvelopeSealer::new(other, "theirs"))
        }
    }

    sealer_conformance!(Envelopes(PretendService::with_keys(["ours"])));
}
