//! Where an example runs: in the tenant that the environment names, or else in an emulator of its own.
#![allow(dead_code, reason = "each example needs a part of it")]

use std::env;
use std::error::Error;

use keywheel::core::{ClientId, Cloud, ReqwestSend, TenantId, TokenRequest};
use keywheel::credentials::TokenEndpoint;
use keywheel_emulator::{DefaultApp, Emulator};
use url::Url;

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A tenant, an application in it, and the way there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cloud: Cloud,
    pub(crate) tenant: TenantId,
    pub(crate) client: ClientId,
    pub(crate) http: ReqwestSend,
    emulator: Option<Emulator>,
}

impl Place {
    /// Takes `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_AUTHORITY_HOST`, as the Azure SDKs do. When there
    /// is no tenant among them, starts `emulator`.
    pub(crate) async fn find(emulator: keywheel_emulator::Builder) -> Result<Self> {
        let Some(tenant) = variable("AZURE_TENANT_ID") else {
            return Self::emulated(emulator.start().await?);
        };
        let client = required("AZURE_CLIENT_ID")?;
        let public = Cloud::public();
        let authority = address("AZURE_AUTHORITY_HOST", public.authority())?;
        let graph = address("KEYWHEEL_GRAPH_ENDPOINT", public.graph())?;
        let mut http = ReqwestSend::builder();
        if let Some(path) = variable("KEYWHEEL_CA_CERTIFICATE") {
            http = http.root_certificates(std::fs::read(path)?);
        }
        Ok(Self {
            cloud: Cloud::from_endpoints(&authority, &graph)?,
            tenant: tenant.parse()?,
            client: client.parse()?,
            http: http.build()?,
            emulator: None,
        })
    }

    fn emulated(emulator: Emulator) -> Result<Self> {
        println!("AZURE_TENANT_ID is not set, so this runs against an emulator of its own.\n");
        let app = emulator.default_app();
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots()
            .build()?;
        Ok(Self {
            cloud: Cloud::from_endpoints(
                &emulator.authority().parse()?,
                &emulator.graph().parse()?,
            )?,
            tenant: app.tenant_id().parse()?,
            client: app.client_id().parse()?,
            http,
            emulator: Some(emulator),
        })
    }

    /// The emulator, if there is one.
    pub(crate) fn emulator(&self) -> Option<&Emulator> {
        self.emulator.as_ref()
    }

    /// What the environment says, or what the emulator's application has.
    pub(crate) fn setting(
        &self,
        name: &str,
        emulated: impl FnOnce(&DefaultApp) -> String,
    ) -> Result<String> {
        match &self.emulator {
            Some(emulator) => Ok(emulated(emulator.default_app())),
            None => required(name),
        }
    }

    pub(crate) fn endpoint(&self) -> TokenEndpoint {
        TokenEndpoint::new(self.http.clone(), &self.cloud, &self.tenant)
    }

    /// What Graph tokens are asked for by.
    pub(crate) fn graph(&self) -> TokenRequest {
        TokenRequest::new(self.cloud.graph_scope())
    }
}

fn address(name: &str, default: &Url) -> Result<Url> {
    Ok(match variable(name) {
        // The Azure SDKs take the authority with and without its scheme.
        Some(host) if !host.contains("://") => Url::parse(&format!("https://{host}"))?,
        Some(address) => address.parse()?,
        None => default.clone(),
    })
}

/// An empty variable counts as none.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn required(name: &str) -> Result<String> {
    variable(name)
        .ok_or_else(|| format!("{name}: not set, though AZURE_TENANT_ID is; set it too").into())
}
