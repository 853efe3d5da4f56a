//! Opens the database and the connection in it, or creates them.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keywheel::Keywheel;
use keywheel::connection::{
    Actor, Connection, ConnectionId, ConnectionStore, KeyRing, MemoryStore, Namespace, Sealer,
    StoreError, StoreErrorKind,
};
use keywheel::core::{Clock, Entropy, Report, Secret, SystemClock, SystemEntropy};
use keywheel::postgres::PostgresStore;
use keywheel::rotation::{ConnectionErrorKind, NewConnection, Policy, Status};
use keywheel::sqlite::SqliteStore;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Database};
use crate::end::{End, Result};
use crate::flags::Flags;
use crate::report::{self, Lines};

/// An open connection.
pub(crate) struct Session {
    pub(crate) keywheel: Keywheel,
    pub(crate) id: ConnectionId,
    store: Arc<dyn ConnectionStore>,
}

impl Session {
    pub(crate) async fn load(&self) -> Result<Connection> {
        let stored = self.store.load(self.id).await.map_err(End::failed)?;
        let stored = stored.ok_or_else(|| End::failed(StoreError::not_found()))?;
        Ok(Arc::unwrap_or_clone(stored.connection))
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        Ok(self.status_of(&self.load().await?))
    }

    #[expect(
        clippy::unused_self,
        reason = "the session's policy, which is the default one"
    )]
    pub(crate) fn status_of(&self, connection: &Connection) -> Status {
        Status::of(connection, SystemClock::new().now(), &policy())
    }

    /// Applies the flags to the stored settings.
    pub(crate) async fn apply(&self, flags: &Flags) -> Result<()> {
        let Some(rotation) = self.load().await?.rotation else {
            return Ok(());
        };
        let settings = flags.change(rotation.settings)?;
        let actor = Actor::named("rotate");
        let connections = self.keywheel.connections();
        let changed = connections.change_settings(self.id, settings, &actor).await;
        changed.map_err(End::failed)
    }
}

/// Opens the connection, or creates it when there is none.
pub(crate) async fn open(config: &Config, flags: &Flags) -> Result<Session> {
    match &config.database {
        // It is not made before the connection that it is to hold is validated.
        Database::File(path) if !path.exists() => return create(config, flags).await,
        Database::File(_) => {}
        Database::Server(_) => drop(existing_key(config)?),
    }
    let store = open_store(&config.database).await?;
    let found = store.find(&Namespace::default(), &config.name).await;
    let Some(found) = found.map_err(End::failed)? else {
        return create(config, flags).await;
    };
    let connection = found.connection;
    let ring = existing_key(config)?;
    opens(&ring, &connection).await?;
    let keywheel = wire(config, store.clone(), ring)?;
    Ok(Session {
        keywheel,
        id: connection.id,
        store,
    })
}

/// Validates the connection before anything is written, and only then makes key and database.
async fn create(config: &Config, flags: &Flags) -> Result<Session> {
    if flags.status || flags.token {
        let name = config.name.as_str();
        return Err(End::Bad(format!(
            "KEYWHEEL_CONNECTION: {name:?} is not in the database (KEYWHEEL_DATABASE); run without --status and \
             --token to create it"
        )));
    }
    let (tenant, client, secret) = config.credentials()?;
    let now = SystemClock::new().now();
    let new = NewConnection::client_secret(config.name.clone(), tenant, client, secret)
        .in_cloud(config.cloud.clone())
        .with_key_id(config.key_id)
        .rotating(flags.settings(now.date_naive())?);
    let new_file = key_file(config).filter(|file| config.sealing_key.is_none() && !file.exists());
    let key = new_file.is_some().then(fresh_key);
    let ring = |key: &Option<Secret>| match key {
        Some(key) => {
            KeyRing::from_base64(key.expose()).map_err(|error| End::bad("sealing key", error))
        }
        None => existing_key(config),
    };
    let actor = Actor::named("rotate");
    let nowhere = MemoryStore::new(Arc::new(SystemClock::new()));
    let trial = wire(config, nowhere, ring(&key)?)?;
    let validated = trial.connections().validate(&new, &actor).await;
    let validated = validated.map_err(refused)?;

    if let (Some(file), Some(key)) = (&new_file, &key) {
        write_key(file, key)?;
    }
    let store = open_store(&config.database).await?;
    let keywheel = wire(config, store.clone(), ring(&key)?)?;
    let created = keywheel.connections().create_validated(validated).await;
    let id = created.map_err(refused)?.connection.id;
    Ok(Session {
        keywheel,
        id,
        store,
    })
}

fn refused(error: keywheel::rotation::ConnectionError) -> End {
    match error.kind() {
        ConnectionErrorKind::Invalid | ConnectionErrorKind::Seal => End::Bad(error.to_string()),
        ConnectionErrorKind::Unavailable => End::Pending(error.to_string()),
        _ => End::Failed(error.to_string()),
    }
}

async fn open_store(database: &Database) -> Result<Arc<dyn ConnectionStore>> {
    match database {
        Database::File(path) => shared(SqliteStore::builder(path).open().await),
        Database::Server(url) => shared(PostgresStore::builder(url.clone()).open().await),
    }
}

fn shared(
    opened: std::result::Result<impl ConnectionStore + 'static, StoreError>,
) -> Result<Arc<dyn ConnectionStore>> {
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(match error.kind() {
            StoreErrorKind::NotOurs => End::bad("KEYWHEEL_DATABASE", error),
            StoreErrorKind::Unavailable => End::Pending(Report(&error).to_string()),
            _ => End::failed(error),
        }),
    }
}

fn wire(config: &Config, store: impl ConnectionStore + 'static, ring: KeyRing) -> Result<Keywheel> {
    Keywheel::builder(store, ring)
        .http(config.http.clone())
        .policy(policy())
        .events(Lines)
        .build()
        .map_err(End::failed)
}

/// The lease is short, so that a run need not wait long after one that was killed. It is renewed while a
/// step takes longer.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.lease = Duration::from_secs(3);
    policy
}

/// A wrong key is told before anything is done.
async fn opens(ring: &KeyRing, connection: &Connection) -> Result<()> {
    let Some(secrets) = connection.secrets() else {
        return Ok(());
    };
    let context = connection.seal_context(secrets.current.generation);
    let opened = ring.open(&secrets.current.sealed, &context).await;
    opened
        .map(drop)
        .map_err(|error| End::bad("KEYWHEEL_SEALING_KEY", error))
}

/// The key from the environment, or from the file beside the database.
fn existing_key(config: &Config) -> Result<KeyRing> {
    let bad = |error| End::bad("KEYWHEEL_SEALING_KEY", error);
    if let Some(key) = &config.sealing_key {
        return KeyRing::from_base64(key.expose()).map_err(bad);
    }
    let Some(path) = key_file(config) else {
        return Err(End::Bad(
            "KEYWHEEL_SEALING_KEY: not set, and a server is no place to keep a key beside; give 32 random bytes \
             in base64, the same to every replica: openssl rand -base64 32"
                .to_owned(),
        ));
    };
    let key = fs::read_to_string(&path).map(Secret::new).map_err(|error| {
        End::Bad(format!(
            "KEYWHEEL_SEALING_KEY: not set, and {} can't be read ({error}); give the key that sealed the \
             database",
            path.display()
        ))
    })?;
    KeyRing::from_base64(key.expose()).map_err(bad)
}

/// The file that keeps a key, beside a database that is a file too.
fn key_file(config: &Config) -> Option<PathBuf> {
    let Database::File(database) = &config.database else {
        return None;
    };
    let mut name = database.clone().into_os_string();
    name.push(".key");
    Some(name.into())
}

fn fresh_key() -> Secret {
    let mut key = [0; 32];
    SystemEntropy::new().fill(&mut key);
    Secret::new(BASE64_STANDARD.encode(key))
}

/// Writes the key whole or not at all: the file is complete before it has its name.
fn write_key(path: &Path, key: &Secret) -> Result<()> {
    let failed = |error: std::io::Error| End::bad(&path.display().to_string(), error);
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(key.expose().as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).map_err(failed)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(End::Pending(format!(
                "another process just made {}",
                path.display()
            )));
        }
        Err(error) => return Err(failed(error)),
    }
    report::say(&format!(
        "KEYWHEEL_SEALING_KEY is not set: a new key is in {} (mode 0600); keep it as safe as the database, \
         and apart from its backups",
        path.display()
    ));
    Ok(())
}

/// Waits for somebody to end the program.
pub(crate) async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
