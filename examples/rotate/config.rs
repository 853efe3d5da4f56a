//! The environment, read and checked before anything is touched.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use keywheel::connection::ConnectionName;
use keywheel::core::{ClientId, ClientSecret, Cloud, KeyId, ReqwestSend, Secret, TenantId};
use url::Url;

use crate::end::{End, Result};
use crate::flags::Flags;

/// What the environment says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) name: ConnectionName,
    pub(crate) database: Database,
    pub(crate) sealing_key: Option<Secret>,
    pub(crate) cloud: Cloud,
    pub(crate) http: ReqwestSend,
    pub(crate) key_id: Option<KeyId>,
    tenant: Option<TenantId>,
    client: Option<ClientId>,
    secret: Option<ClientSecret>,
}

/// Where connections are stored.
#[derive(Debug)]
pub(crate) enum Database {
    /// A SQLite file.
    File(PathBuf),
    /// The URL of a PostgreSQL server, which may hold a password.
    Server(Secret),
}

impl Config {
    /// Reads and checks every variable, those too that this run does not need.
    pub(crate) fn read(flags: &Flags) -> Result<Self> {
        // The flags are checked here too, before anything is touched.
        flags.settings(chrono::NaiveDate::default())?;
        let secret = match variable("AZURE_CLIENT_SECRET")? {
            Some(text) => Some(
                ClientSecret::new(text).map_err(|error| End::bad("AZURE_CLIENT_SECRET", error))?,
            ),
            None => None,
        };
        Ok(Self {
            name: parsed("KEYWHEEL_CONNECTION")?.unwrap_or(default_name()?),
            database: database()?,
            sealing_key: variable("KEYWHEEL_SEALING_KEY")?.map(Secret::new),
            cloud: cloud()?,
            http: http()?,
            key_id: parsed("KEYWHEEL_CLIENT_SECRET_KEY_ID")?,
            tenant: parsed("AZURE_TENANT_ID")?,
            client: parsed("AZURE_CLIENT_ID")?,
            secret,
        })
    }

    /// What a new connection is made of.
    pub(crate) fn credentials(&self) -> Result<(TenantId, ClientId, ClientSecret)> {
        let missing = |name| {
            End::Bad(format!(
                "{name}: not set, and there is no connection called {:?} yet; set it to create one",
                self.name.as_str()
            ))
        };
        Ok((
            self.tenant
                .clone()
                .ok_or_else(|| missing("AZURE_TENANT_ID"))?,
            self.client.ok_or_else(|| missing("AZURE_CLIENT_ID"))?,
            self.secret
                .clone()
                .ok_or_else(|| missing("AZURE_CLIENT_SECRET"))?,
        ))
    }
}

fn default_name() -> Result<ConnectionName> {
    "default"
        .parse()
        .map_err(|error| End::bad("KEYWHEEL_CONNECTION", error))
}

fn database() -> Result<Database> {
    let place = variable("KEYWHEEL_DATABASE")?.unwrap_or_else(|| "keywheel.db".to_owned());
    match place.split_once("://") {
        None => Ok(Database::File(place.into())),
        Some(("postgres" | "postgresql", _)) => Ok(Database::Server(Secret::new(place))),
        Some(_) => Err(End::Bad(
            "KEYWHEEL_DATABASE: expected the path of a SQLite file or a postgres:// URL".to_owned(),
        )),
    }
}

fn cloud() -> Result<Cloud> {
    let authority = url("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")?;
    let graph = url("KEYWHEEL_GRAPH_ENDPOINT", "https://graph.microsoft.com")?;
    Cloud::from_endpoints(&authority, &graph).map_err(|error| {
        let variable = match error.field() {
            "authority" => "AZURE_AUTHORITY_HOST",
            _ => "KEYWHEEL_GRAPH_ENDPOINT",
        };
        End::bad(variable, error)
    })
}

/// The Azure SDKs take the authority with and without its scheme.
fn url(name: &str, default: &str) -> Result<Url> {
    let text = variable(name)?.unwrap_or_else(|| default.to_owned());
    let text = if text.contains("://") {
        text
    } else {
        format!("https://{text}")
    };
    Url::parse(&text).map_err(|error| End::bad(name, error))
}

fn http() -> Result<ReqwestSend> {
    const NAME: &str = "KEYWHEEL_CA_CERTIFICATE";
    let mut http = ReqwestSend::builder();
    if let Some(path) = variable(NAME)? {
        let pem = fs::read(&path).map_err(|error| End::bad(&format!("{NAME}: {path}"), error))?;
        http = http.root_certificates(pem);
    }
    http.build().map_err(|error| End::bad(NAME, error))
}

fn parsed<T: FromStr<Err: Error>>(name: &str) -> Result<Option<T>> {
    match variable(name)? {
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|error| End::bad(name, error)),
        None => Ok(None),
    }
}

/// An empty variable counts as none.
fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(End::Bad(format!("{name}: not UTF-8"))),
    }
}
