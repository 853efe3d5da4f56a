//! The tenant that an example looks at: the one that the environment names, or one on this machine.

use std::env;
use std::error::Error;
use std::fs;

use keywheel::core::{ClientId, ClientSecret, Cloud, ReqwestSend, Secret, TenantId};
use keywheel::credentials::{
    Certificate, CertificateCredential, ClientSecretCredential, ClientSecrets, TokenEndpoint,
};
use keywheel::entra::TenantAccess;
use keywheel_emulator::{Emulator, Seed};
use url::Url;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An access, and the emulator behind it if there is one.
pub(crate) struct Tenant {
    pub(crate) access: TenantAccess,
    pub(crate) emulator: Option<Emulator>,
}

impl Tenant {
    /// Opens the tenant of `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and a secret or certificate. Without any of
    /// these, or when asked to, starts an emulator with `seed`.
    pub(crate) async fn open(emulated: bool, seed: Seed) -> Result<Self> {
        let configured = NAMES.iter().any(|name| env::var_os(name).is_some());
        if emulated || !configured {
            return Self::emulated(seed).await;
        }
        let authority = address("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")?;
        let graph = address("KEYWHEEL_GRAPH_ENDPOINT", "https://graph.microsoft.com")?;
        let cloud = Cloud::from_endpoints(&authority, &graph)?;
        let mut http = ReqwestSend::builder();
        if let Some(path) = variable("KEYWHEEL_CA_CERTIFICATE") {
            http = http.root_certificates(fs::read(path)?);
        }
        let (tenant, client) = (
            needed("AZURE_TENANT_ID")?.parse()?,
            needed("AZURE_CLIENT_ID")?,
        );
        let proof = match variable("AZURE_CLIENT_CERTIFICATE_PATH") {
            Some(path) => {
                let password = variable("AZURE_CLIENT_CERTIFICATE_PASSWORD").map(Secret::new);
                Proof::Certificate(Certificate::read(&fs::read(path)?, password.as_ref())?)
            }
            None => Proof::Secret(ClientSecret::new(needed("AZURE_CLIENT_SECRET")?)?),
        };
        Ok(Self {
            access: access(http.build()?, &cloud, &tenant, client.parse()?, proof)?,
            emulator: None,
        })
    }

    async fn emulated(seed: Seed) -> Result<Self> {
        eprintln!("No AZURE_* variable is set: looking at an emulated tenant on this machine.\n");
        let emulator = Emulator::builder().seed(seed).start().await?;
        let cloud =
            Cloud::from_endpoints(&emulator.authority().parse()?, &emulator.graph().parse()?)?;
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots()
            .build()?;
        let app = emulator.default_app();
        let secret = ClientSecret::new(Secret::new(app.secret().expose()))?;
        let (tenant, client) = (app.tenant_id().parse()?, app.client_id().parse()?);
        Ok(Self {
            access: access(http, &cloud, &tenant, client, Proof::Secret(secret))?,
            emulator: Some(emulator),
        })
    }
}

const NAMES: [&str; 4] = [
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
];

/// What the application proves itself with.
enum Proof {
    Certificate(Certificate),
    Secret(ClientSecret),
}

fn access(
    http: ReqwestSend,
    cloud: &Cloud,
    tenant: &TenantId,
    client: ClientId,
    proof: Proof,
) -> Result<TenantAccess> {
    let endpoint = TokenEndpoint::new(http.clone(), cloud, tenant);
    Ok(match proof {
        Proof::Certificate(certificate) => {
            let credential = CertificateCredential::new(endpoint, client, certificate)?;
            TenantAccess::new(http, credential, cloud, tenant, client)
        }
        Proof::Secret(secret) => {
            let secrets = ClientSecrets::new(secret);
            let credential = ClientSecretCredential::new(endpoint, client, secrets);
            TenantAccess::new(http, credential, cloud, tenant, client)
        }
    })
}

/// The Azure SDKs take the authority with and without its scheme.
fn address(name: &str, default: &str) -> Result<Url> {
    let text = variable(name).unwrap_or_else(|| default.to_owned());
    let text = if text.contains("://") {
        text
    } else {
        format!("https://{text}")
    };
    Url::parse(&text).map_err(|error| format!("{name}: {error}").into())
}

fn needed(name: &str) -> Result<String> {
    variable(name).ok_or_else(|| format!("{name}: not set").into())
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}
