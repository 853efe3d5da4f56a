use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{ManualClock, Secret};

use super::*;
use crate::conformance::sample;
use crate::{
    ConnectionStoreExt, Held, HeldCertificate, KeyRing, MemoryStore, SealContext, Sealing, SignIn,
};

const FORMER: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";
const PRESENT: [u8; 32] = [7; 32];

#[tokio::test]
async fn everything_sealed_with_a_former_key_is_sealed_anew() {
    let store = store();
    let former = KeyRing::from_base64(FORMER).unwrap();
    for n in 0..250 {
        stored(&store, &former, n).await;
    }
    let resealer = resealer(&store, ring());

    let done = resealer.pass().await.unwrap();

    assert_eq!((done.connections, done.values), (250, 750));
    assert_eq!(done.unopened, BTreeMap::new());
    let present = KeyRing::new(&PRESENT).unwrap();
    let mut page = store.list(Page::of_all(250)).await.unwrap();
    for stored in &mut page {
        assert_opens(Arc::make_mut(&mut stored.connection), &present).await;
        store.verify(stored.connection.id).await.unwrap();
    }
    // What was to wake still wakes.
    let due = store.claim_due(sample::holder(1), 300, std::time::Duration::from_secs(60));
    assert_eq!(due.await.unwrap().len(), 250);

    let again = resealer.pass().await.unwrap();
    assert_eq!((again.connections, again.values), (250, 0));
}

#[tokio::test]
async fn what_a_missing_key_sealed_is_counted_and_left_as_it_is() {
    let store = store();
    let lost = KeyRing::new(&[9; 32]).unwrap();
    let before = stored(&store, &lost, 1).await;
    stored(&store, &KeyRing::from_base64(FORMER).unwrap(), 2).await;

    let done = resealer(&store, ring()).pass().await.unwrap();

    assert_eq!(done.values, 3);
    let unopened = BTreeMap::from([(lost.key_id().to_owned(), 3)]);
    assert_eq!(done.unopened, unopened);
    let after = store.load(before.id).await.unwrap().unwrap();
    assert_eq!(*after.connection, before);
}

#[tokio::test]
async fn what_somebody_saved_meanwhile_is_kept() {
    let store = store();
    let former = KeyRing::from_base64(FORMER).unwrap();
    let before = stored(&store, &former, 1).await;
    let meddler = Meddler {
        ring: ring(),
        store: store.clone(),
        connection: before.clone(),
        done: AtomicBool::new(false),
    };

    let done = resealer(&store, meddler).pass().await.unwrap();

    assert_eq!(done.values, 3);
    let mut after = store.load(before.id).await.unwrap().unwrap().connection;
    assert_eq!(after.name.as_str(), "renamed");
    assert_opens(Arc::make_mut(&mut after), &KeyRing::new(&PRESENT).unwrap()).await;
}

#[tokio::test]
async fn certificates_and_refresh_tokens_are_resealed_for_what_they_are() {
    let former = KeyRing::from_base64(FORMER).unwrap();
    let sealed = || Sealed::new("none", Vec::new());
    let certificate = HeldCertificate::new(sealed(), "AB12", now(), now());
    let mut sign_in = SignIn::new(sealed(), "ada", Vec::new(), now());
    sign_in.generation = 4;
    for credential in [
        Credential::Certificate(certificate),
        Credential::AuthorizationCode(sign_in),
    ] {
        let store = store();
        let (mut connection, entries) = sample::rotating(1, "c1");
        connection.rotation = None;
        connection.credential = credential;
        seal_all(&mut connection, &former).await;
        store.create(&connection, None, &entries).await.unwrap();

        let done = resealer(&store, ring()).pass().await.unwrap();

        assert_eq!(done.values, 1);
        let mut after = store.load(connection.id).await.unwrap().unwrap().connection;
        assert_opens(Arc::make_mut(&mut after), &KeyRing::new(&PRESENT).unwrap()).await;
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_stops_the_pass() {
    let store = store();
    stored(&store, &KeyRing::from_base64(FORMER).unwrap(), 1).await;

    let error = resealer(&store, Silent).pass().await.unwrap_err();

    assert!(matches!(error, ResealError::Seal(_)), "{error:?}");
    assert!(error.to_string().contains("try again"), "{error}");
}

/// Renames the connection while its secrets are being resealed.
#[derive(Debug)]
struct Meddler {
    ring: KeyRing,
    store: Arc<MemoryStore>,
    connection: Connection,
    done: AtomicBool,
}

impl Sealer for Meddler {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        self.ring.seal(secret, context)
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::later(async move {
            if !self.done.swap(true, Ordering::Relaxed) {
                let mut renamed = self.connection.clone();
                renamed.name = "renamed".parse().unwrap();
                let stored = self.store.load(renamed.id).await.unwrap().unwrap();
                let save = Save::new(&renamed, stored.version, &[]);
                self.store.save(save).await.unwrap();
            }
            self.ring.open(sealed, context).await
        })
    }

    fn key_id(&self) -> &str {
        self.ring.key_id()
    }
}

#[derive(Debug)]
struct Silent;

impl Sealer for Silent {
    fn seal<'a>(&'a self, _: &'a Secret, _: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        Sealing::ready(Err(SealError::new(SealErrorKind::Unavailable, "kms")))
    }

    fn open<'a>(&'a self, _: &'a Sealed, _: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::ready(Err(SealError::new(SealErrorKind::Unavailable, "kms")))
    }

    fn key_id(&self) -> &'static str {
        "kms"
    }
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(ManualClock::new(now()))))
}

fn ring() -> KeyRing {
    KeyRing::new(&PRESENT).unwrap().with_former(FORMER).unwrap()
}

fn resealer(store: &Arc<MemoryStore>, sealer: impl Sealer + 'static) -> Resealer {
    let clock = Arc::new(ManualClock::new(now()));
    let actor = Actor::named("operator");
    Resealer::new(store.clone(), Arc::new(sealer), clock, actor)
}

/// Stores a connection with three values sealed by `sealer`, due at once.
async fn stored(store: &MemoryStore, sealer: &KeyRing, n: u64) -> Connection {
    let (mut connection, entries) = sample::rotating(n, &format!("c{n}"));
    let secrets = connection.credential.secrets_mut().unwrap();
    secrets.previous = Some(Held {
        generation: 7,
        ..secrets.current.clone()
    });
    seal_all(&mut connection, sealer).await;
    let created = store.create(&connection, Some(now()), &entries).await;
    created.unwrap();
    connection
}

async fn seal_all(connection: &mut Connection, sealer: &KeyRing) {
    let before = connection.clone();
    for (context, sealed) in sealed_values(connection, &before) {
        let secret = Secret::new(secret(&context));
        *sealed = sealer.seal(&secret, &context).await.unwrap();
    }
}

async fn assert_opens(connection: &mut Connection, sealer: &KeyRing) {
    let before = connection.clone();
    for (context, sealed) in sealed_values(connection, &before) {
        let opened = sealer.open(sealed, &context).await.unwrap();
        assert_eq!(opened.expose(), secret(&context));
    }
}

fn secret(context: &SealContext<'_>) -> String {
    format!("{} of generation {}", context.field, context.generation)
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}
