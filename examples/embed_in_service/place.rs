//! The environment: where Entra and Graph are, and where connections are kept.

use std::env;
use std::sync::Arc;

use keywheel::Keywheel;
use keywheel::connection::{
    Actor, ConnectionId, ConnectionName, ConnectionStore, KeyRing, Namespace, RotationSettings,
    Seconds,
};
use keywheel::core::{
    ClientSecret, Clock, Cloud, Entropy, ReqwestSend, Secret, SystemClock, SystemEntropy,
};
use keywheel::postgres::PostgresStore;
use keywheel::rotation::NewConnection;
use keywheel::schedule::Schedule;
use keywheel::sqlite::SqliteStore;
use keywheel_emulator::Emulator;
use tempfile::TempDir;
use url::Url;

use crate::Result;

/// keywheel, wired to what the environment names.
pub(crate) struct Place {
    pub(crate) keywheel: Keywheel,
    pub(crate) store: Arc<dyn ConnectionStore>,
    pub(crate) cloud: Cloud,
    /// Stands in for Azure where none is named.
    emulator: Option<Emulator>,
    _folder: TempDir,
}

impl Place {
    pub(crate) async fn open() -> Result<Self> {
        let emulator = match variable("AZURE_CLIENT_ID") {
            Some(_) => None,
            None => Some(Emulator::start().await?),
        };
        let folder = tempfile::tempdir()?;
        let store = store(&folder).await?;
        let keywheel = Keywheel::builder(store.clone(), key_ring()?)
            .http(http(emulator.as_ref())?)
            .build()?;
        Ok(Self {
            keywheel,
            store,
            cloud: cloud(emulator.as_ref())?,
            emulator,
            _folder: folder,
        })
    }

    /// The connection of this backend; made at the first start.
    pub(crate) async fn connect(&self) -> Result<ConnectionId> {
        let name = self.name()?;
        if let Some(stored) = self.store.find(&Namespace::default(), &name).await? {
            return Ok(stored.connection.id);
        }
        let (tenant, client, secret) = self.application()?;
        let new = NewConnection::client_secret(
            name,
            tenant.parse()?,
            client.parse()?,
            ClientSecret::new(secret)?,
        )
        .in_cloud(self.cloud.clone())
        .rotating(settings()?);
        let actor = Actor::named("embed_in_service");
        let created = self.keywheel.connections().create(new, &actor).await?;
        Ok(created.connection.id)
    }

    /// An emulator is another one at each start, so its connection has a name of its own.
    fn name(&self) -> Result<ConnectionName> {
        let name = match &self.emulator {
            Some(emulator) => {
                let port = emulator.authority().rsplit(':').next().unwrap_or_default();
                format!("emulator-{port}")
            }
            None => "azure".to_owned(),
        };
        Ok(name.parse()?)
    }

    fn application(&self) -> Result<(String, String, Secret)> {
        if let Some(emulator) = &self.emulator {
            let app = emulator.default_app();
            let secret = Secret::new(app.secret().expose());
            return Ok((
                app.tenant_id().to_owned(),
                app.client_id().to_owned(),
                secret,
            ));
        }
        let secret = Secret::new(required("AZURE_CLIENT_SECRET")?);
        Ok((
            required("AZURE_TENANT_ID")?,
            required("AZURE_CLIENT_ID")?,
            secret,
        ))
    }
}

async fn store(folder: &TempDir) -> Result<Arc<dyn ConnectionStore>> {
    let place = variable("KEYWHEEL_DATABASE");
    Ok(match place {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Arc::new(PostgresStore::builder(url).open().await?)
        }
        Some(path) => Arc::new(SqliteStore::builder(path).open().await?),
        None => Arc::new(
            SqliteStore::builder(folder.path().join("keywheel.db"))
                .open()
                .await?,
        ),
    })
}

/// A database that stays needs a key that stays.
fn key_ring() -> Result<KeyRing> {
    if let Some(key) = variable("KEYWHEEL_SEALING_KEY") {
        return Ok(KeyRing::from_base64(&key)?);
    }
    if variable("KEYWHEEL_DATABASE").is_some() {
        return Err("KEYWHEEL_SEALING_KEY: not set; make one with: openssl rand -base64 32".into());
    }
    let mut key = [0; 32];
    SystemEntropy::new().fill(&mut key);
    Ok(KeyRing::new(&key)?)
}

fn http(emulator: Option<&Emulator>) -> Result<ReqwestSend> {
    let http = ReqwestSend::builder();
    let http = match (emulator, variable("KEYWHEEL_CA_CERTIFICATE")) {
        (Some(emulator), _) => http
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots(),
        (None, Some(path)) => http.root_certificates(std::fs::read(path)?),
        (None, None) => http,
    };
    Ok(http.build()?)
}

fn cloud(emulator: Option<&Emulator>) -> Result<Cloud> {
    let (authority, graph) = match emulator {
        Some(emulator) => (emulator.authority().to_owned(), emulator.graph().to_owned()),
        None => (
            variable("AZURE_AUTHORITY_HOST")
                .unwrap_or_else(|| "https://login.microsoftonline.com".to_owned()),
            variable("KEYWHEEL_GRAPH_ENDPOINT")
                .unwrap_or_else(|| "https://graph.microsoft.com".to_owned()),
        ),
    };
    Ok(Cloud::from_endpoints(
        &Url::parse(&authority)?,
        &Url::parse(&graph)?,
    )?)
}

/// Every 30 days at night; short proofs and grace, since somebody is watching.
fn settings() -> Result<RotationSettings> {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse()?)
        .zone("Europe/Berlin")
        .anchor(SystemClock::new().now().date_naive())
        .build()?;
    let mut settings = RotationSettings::new(schedule);
    settings.proof_span = Seconds(2);
    settings.grace = Seconds(2);
    Ok(settings)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn required(name: &str) -> Result<String> {
    variable(name).ok_or_else(|| format!("{name}: not set").into())
}
