use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Actor, Connection, ConnectionStore, Credential, Entry, HeldCertificate, KeyRing, Page,
    Resealer, Save, Sealer, SignIn,
};
use keywheel_core::{Entropy, Secret, SystemClock, SystemEntropy};

/// Secrets that were put into a store, and how to look for them.
#[derive(Debug)]
pub struct Secrets {
    needles: Vec<Vec<u8>>,
}

impl Secrets {
    /// Puts secrets into a store as keywheel does: client secrets, the key of a certificate and a refresh token,
    /// in new connections, in changed ones, in one that is deleted, and all once more under another sealing key.
    ///
    /// # Panics
    ///
    /// Panics when the store refuses.
    pub async fn put_into(store: Arc<dyn ConnectionStore>) -> Self {
        let keys = [random(32), random(32)];
        let ring = KeyRing::new(&keys[0]).expect("32 bytes");
        for n in 0..20 {
            let (mut connection, mut entries) = of_kind(n);
            seal(&mut connection, &ring).await;
            let version = store
                .create(&connection, None, &entries)
                .await
                .expect("it is new");
            seal(&mut connection, &ring).await;
            entries = vec![sample::change(&mut connection, "secret")];
            let save = Save::new(&connection, version, &entries);
            let save = if n == 0 { save.deleting() } else { save };
            store.save(save).await.expect("it was not changed");
        }
        reseal(store.clone(), &keys).await;
        assert_eq!(
            store
                .list(Page::of_all(100))
                .await
                .expect("it answers")
                .len(),
            19
        );
        Self {
            needles: needles(&keys),
        }
    }

    /// Checks that no file in a directory, or below it, shows a secret. Returns how many bytes were searched.
    ///
    /// # Panics
    ///
    /// Panics when one does.
    #[expect(clippy::must_use_candidate, reason = "checks")]
    pub fn assert_absent_below(&self, path: &Path) -> u64 {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("it can be read").flatten();
            return entries
                .map(|entry| self.assert_absent_below(&entry.path()))
                .sum();
        }
        // Sockets can't be read, and what is gone by now is gone.
        let Ok(bytes) = fs::read(path) else { return 0 };
        self.assert_absent_in(&bytes, &path.display().to_string());
        bytes.len() as u64
    }

    /// Checks that `bytes` show no secret.
    ///
    /// # Panics
    ///
    /// Panics when they do.
    pub fn assert_absent_in(&self, bytes: &[u8], name: &str) {
        for needle in &self.needles {
            let found = bytes
                .windows(needle.len())
                .position(|window| window == needle);
            let shown = String::from_utf8_lossy(needle);
            assert_eq!(found, None, "{name} shows {shown}");
        }
    }
}

/// Returns the connection number `n`: one has a certificate, one a sign-in, and all others client secrets.
fn of_kind(n: u64) -> (Connection, Vec<Entry>) {
    let (mut plain, entries) = sample::connection(n, &format!("c{n}"));
    let since = plain.created_at;
    let held = plain.credential.secrets().expect("a sample has secrets");
    let sealed = held.current.sealed.clone();
    plain.credential = match n {
        18 => Credential::Certificate(HeldCertificate::new(sealed, "AB12", since, since)),
        19 => Credential::AuthorizationCode(SignIn::new(sealed, "a user", Vec::new(), since)),
        _ => return sample::rotating(n, &format!("c{n}")),
    };
    (plain, entries)
}

/// Replaces everything sealed in a connection by new secrets.
async fn seal(connection: &mut Connection, ring: &KeyRing) {
    let secret = Secret::new(format!("{MARK}{}", SystemEntropy::new().uuid()));
    let context = match &connection.credential {
        Credential::AuthorizationCode(sign_in) => {
            connection.refresh_token_context(sign_in.generation)
        }
        Credential::Certificate(_) => connection.certificate_context(),
        other => {
            let secrets = other.secrets().expect("it is no other kind");
            connection.seal_context(secrets.current.generation)
        }
    };
    let sealed = ring.seal(&secret, &context).await;
    let sealed = sealed.expect("the key is at hand");
    match &mut connection.credential {
        Credential::AuthorizationCode(sign_in) => sign_in.sealed = sealed,
        Credential::Certificate(held) => held.sealed = sealed,
        other => {
            let secrets = other.secrets_mut().expect("it is no other kind");
            secrets.current.sealed = sealed;
            secrets.previous = Some(secrets.current.clone());
        }
    }
}

async fn reseal(store: Arc<dyn ConnectionStore>, keys: &[Vec<u8>; 2]) {
    let former = base64(&keys[0]);
    let ring = KeyRing::new(&keys[1]).and_then(|ring| ring.with_former(&former));
    let ring = Arc::new(ring.expect("32 bytes"));
    let clock = Arc::new(SystemClock::new());
    let resealed = Resealer::new(store, ring, clock, Actor::named("operator"))
        .pass()
        .await;
    // Two of each client secret; the first connection is gone.
    assert_eq!(resealed.expect("the store answers").values, 2 * 17 + 2);
}

/// Returns what must be nowhere: how secrets begin and the keys, as they are, in hex and in base64.
fn needles(keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut needles: Vec<Vec<u8>> = keys.to_vec();
    needles.extend(keys.iter().map(|key| base64(key).into_bytes()));
    needles.push(MARK.into());
    let secret = MARK.as_bytes();
    needles.extend([secret, &keys[0], &keys[1]].map(|bytes| hex(bytes).into_bytes()));
    // Wherever in a longer text it stands.
    for skipped in 0..3 {
        let whole = (secret.len() - skipped) / 3 * 3;
        needles.push(base64(&secret[skipped..skipped + whole]).into_bytes());
    }
    needles
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SystemEntropy::new().fill(&mut bytes);
    bytes
}

/// How the secrets begin.
const MARK: &str = "Wx8Q~never-to-be-seen-";
