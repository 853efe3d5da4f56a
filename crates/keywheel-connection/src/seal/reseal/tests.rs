use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{ManualClock, Secret};

use super::*;
use crate::conformance::sample;
use crate::{
    ConnectionStoreExt, Held, HeldCertificate, KeyRing, MemoryStore, Page, SealContext, Sealing,
    SignIn,
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

    assert!(!done.is_complete());
    let again = resealer.pass().await.unwrap();
    assert_eq!((again.connections, again.values), (250, 0));
    assert!(again.is_complete());
}

/// What was sealed anew stays, and nothing of it is done twice.
#[tokio::test]
async fn a_pass_that_was_stopped_is_taken_up_where_it_stopped() {
    let store = store();
    let former = KeyRing::from_base64(FORMER).unwrap();
    for n in 0..250 {
        stored(&store, &former, n).await;
    }
    let stops_after = |seals| Stops {
        ring: ring(),
        left: AtomicU32::new(seals),
    };

    // In the middle of the second page and of a connection, of which nothing is kept.
    let stopped = resealer(&store, stops_after(3 * 120 + 2)).pass().await;
    assert!(matches!(stopped, Err(ResealError::Seal(_))), "{stopped:?}");
    // With as many values as are left.
    let done = resealer(&store, stops_after(3 * 130)).pass().await.unwrap();

    assert_eq!((done.connections, done.values), (250, 3 * 130));
    let present = KeyRing::new(&PRESENT).unwrap();
    for stored in &mut store.list(Page::of_all(250)).await.unwrap() {
        assert_opens(Arc::make_mut(&mut stored.connection), &present).await;
        let resealed = store.verify(stored.connection.id).await.unwrap();
        assert_eq!(resealed, stored.connection.journal);
    }
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
    let again = resealer(&store, ring()).pass().await.unwrap();
    assert_eq!(again.unopened, unopened);
    assert!(!again.is_complete());
    let after = store.load(before.id).await.unwrap().unwrap();
    assert_eq!(*after.connection, before);
}

#[tokio::test]
async fn what_somebody_saved_meanwhile_is_kept() {
    let store = store();
    let former = KeyRing::from_base64(FORMER).unwrap();
    let before = stored(&store, &former, 1).await;
    let meddler = meddler(&store, &before, "renamed");

    let done = resealer(&store, meddler).pass().await.unwrap();

    assert_eq!(done.values, 3);
    let mut after = store.load(before.id).await.unwrap().unwrap().connection;
    assert_eq!(after.name.as_str(), "renamed");
    assert_opens(Arc::make_mut(&mut after), &KeyRing::new(&PRESENT).unwrap()).await;
}

/// From the last page to before the first.
#[tokio::test]
async fn what_is_renamed_meanwhile_is_not_missed() {
    let store = store();
    let former = KeyRing::from_base64(FORMER).unwrap();
    for n in 0..250 {
        stored(&store, &former, n).await;
    }
    let all = store.list(Page::of_all(250)).await.unwrap();
    let last = all.into_iter().next_back().unwrap().connection;

    let done = resealer(&store, meddler(&store, &last, "a"))
        .pass()
        .await
        .unwrap();

    assert_eq!((done.connections, done.values), (250, 750));
    let mut renamed = store.load(last.id).await.unwrap().unwrap().connection;
    assert_eq!(renamed.name.as_str(), "a");
    let present = KeyRing::new(&PRESENT).unwrap();
    assert_opens(Arc::make_mut(&mut renamed), &present).await;
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

/// Renames a connection while secrets are being resealed.
#[derive(Debug)]
struct Meddler {
    ring: KeyRing,
    store: Arc<MemoryStore>,
    renamed: Connection,
    done: AtomicBool,
}

fn meddler(store: &Arc<MemoryStore>, connection: &Connection, name: &str) -> Meddler {
    let mut renamed = connection.clone();
    renamed.name = name.parse().unwrap();
    Meddler {
        ring: ring(),
        store: store.clone(),
        renamed,
        done: AtomicBool::new(false),
    }
}

impl Sealer for Meddler {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        self.ring.seal(secret, context)
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::later(async move {
            if !self.done.swap(true, Ordering::Relaxed) {
                let stored = self.store.load(self.renamed.id).await.unwrap().unwrap();
                let save = Save::new(&self.renamed, stored.version, &[]);
                self.store.save(save).await.unwrap();
            }
            self.ring.open(sealed, context).await
        })
    }

    fn key_id(&self) -> &str {
        self.ring.key_id()
    }
}

/// Answers no more once it has sealed so many values.
#[derive(Debug)]
struct Stops {
    ring: KeyRing,
    left: AtomicU32,
}

impl Sealer for Stops {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        if self.left.load(Ordering::Relaxed) == 0 {
            return Silent.seal(secret, context);
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        self.ring.seal(secret, context)
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        self.ring.open(sealed, context)
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
