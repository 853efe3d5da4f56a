use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use url::{Host, Url};

use crate::{Scope, TenantId};

/// One of Microsoft's clouds, or addresses of your own: everything that must change together.
///
/// A token of one cloud is worth nothing in another, so the authority, the address of Microsoft Graph,
/// the scope to ask for and the audience of federated credentials travel as one value.
/// Addresses: <https://learn.microsoft.com/graph/deployments> and
/// <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>.
///
/// ```
/// use keywheel_core::Cloud;
///
/// let cloud = Cloud::us_government();
/// let tenant = "contoso.onmicrosoft.us".parse()?;
/// assert_eq!(
///     cloud.token_endpoint(&tenant).as_str(),
///     "https://login.microsoftonline.us/contoso.onmicrosoft.us/oauth2/v2.0/token",
/// );
/// assert_eq!(cloud.graph_scope().as_str(), "https://graph.microsoft.us/.default");
/// # Ok::<(), keywheel_core::InvalidId>(())
/// ```
///
/// Clones share it: there are few clouds, and every connection names one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cloud(Arc<Parts>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parts {
    name: Option<&'static str>,
    authority: Url,
    graph: Url,
    resource: String,
    exchange_audience: String,
}

struct Preset {
    name: &'static str,
    authority: &'static str,
    graph: &'static str,
    exchange_audience: &'static str,
}

const PUBLIC: Preset = Preset {
    name: "public",
    authority: "https://login.microsoftonline.com",
    graph: "https://graph.microsoft.com",
    exchange_audience: "api://AzureADTokenExchange",
};

/// The sovereign clouds that European and Asian partners run: authority and exchange audience are
/// published, the address of Graph is not. Singapore's audience isn't either.
const SOVEREIGN: [Preset; 3] = [
    Preset {
        name: "france",
        authority: "https://login.sovcloud-identity.fr",
        graph: "",
        exchange_audience: "api://AzureADTokenExchangeFrance",
    },
    Preset {
        name: "germany",
        authority: "https://login.sovcloud-identity.de",
        graph: "",
        exchange_audience: "api://AzureADTokenExchangeGermany",
    },
    Preset {
        name: "singapore",
        authority: "https://login.sovcloud-identity.sg",
        graph: "",
        exchange_audience: PUBLIC.exchange_audience,
    },
];

const PRESETS: [Preset; 4] = [
    PUBLIC,
    Preset {
        name: "us-government",
        authority: "https://login.microsoftonline.us",
        graph: "https://graph.microsoft.us",
        exchange_audience: "api://AzureADTokenExchangeUSGov",
    },
    Preset {
        name: "us-government-dod",
        authority: "https://login.microsoftonline.us",
        graph: "https://dod-graph.microsoft.us",
        exchange_audience: "api://AzureADTokenExchangeUSGov",
    },
    Preset {
        name: "china",
        authority: "https://login.partner.microsoftonline.cn",
        graph: "https://microsoftgraph.chinacloudapi.cn",
        exchange_audience: "api://AzureADTokenExchangeChina",
    },
];

/// The presets, parsed once: every record that is read names one of them.
static CLOUDS: LazyLock<[Cloud; 4]> =
    LazyLock::new(|| PRESETS.map(|preset| Cloud::parsed(&preset)));

impl Cloud {
    /// Returns the public cloud, which GCC (Moderate) shares.
    #[must_use]
    pub fn public() -> Self {
        Self::preset(&PRESETS[0])
    }

    /// Returns US Government L4 (GCC High).
    #[must_use]
    pub fn us_government() -> Self {
        Self::preset(&PRESETS[1])
    }

    /// Returns US Government L5 (DoD): the same authority as L4, another Graph.
    #[must_use]
    pub fn us_government_dod() -> Self {
        Self::preset(&PRESETS[2])
    }

    /// Returns Azure China, operated by 21Vianet.
    #[must_use]
    pub fn china() -> Self {
        Self::preset(&PRESETS[3])
    }

    /// Returns the French sovereign cloud (Bleu), with the address of its Graph.
    ///
    /// Microsoft hasn't published that address; a tenant's administrators have it. Tokens are asked for
    /// under it.
    ///
    /// # Errors
    ///
    /// As [`from_endpoints`](Self::from_endpoints).
    pub fn france(graph: &Url) -> Result<Self, InvalidCloud> {
        Self::sovereign(&SOVEREIGN[0], graph)
    }

    /// Returns the German sovereign cloud (Delos), with the address of its Graph.
    ///
    /// # Errors
    ///
    /// As [`from_endpoints`](Self::from_endpoints).
    pub fn germany(graph: &Url) -> Result<Self, InvalidCloud> {
        Self::sovereign(&SOVEREIGN[1], graph)
    }

    /// Returns the sovereign cloud of Singapore (GovSG), with the address of its Graph.
    ///
    /// Its audience for federated credentials isn't published either: set it by
    /// [`with_exchange_audience`](Self::with_exchange_audience) if you use them.
    ///
    /// # Errors
    ///
    /// As [`from_endpoints`](Self::from_endpoints).
    pub fn singapore(graph: &Url) -> Result<Self, InvalidCloud> {
        Self::sovereign(&SOVEREIGN[2], graph)
    }

    /// Returns the cloud whose authority host and Graph address these are, or else a cloud of your own.
    ///
    /// A cloud of your own asks for tokens of `https://graph.microsoft.com`, because an address that
    /// stands in for Graph (a proxy, an emulator) answers to its name;
    /// [`with_graph_resource`](Self::with_graph_resource) changes that. A sovereign cloud is known by its
    /// authority and asks for tokens of the given Graph.
    ///
    /// # Errors
    ///
    /// Returns an error when an address is not `https`, or carries a query, a fragment or a user name.
    /// Plain `http` is accepted for loopback hosts only: `localhost`, `127.0.0.0/8` and `::1`.
    pub fn from_endpoints(authority: &Url, graph: &Url) -> Result<Self, InvalidCloud> {
        let authority = endpoint("authority", authority)?;
        let graph = endpoint("Graph endpoint", graph)?;
        let known = PRESETS
            .iter()
            .find(|preset| is(&authority, preset.authority) && is(&graph, preset.graph));
        let sovereign = SOVEREIGN
            .iter()
            .find(|preset| is(&authority, preset.authority));
        if let Some(preset) = sovereign {
            return Self::sovereign(preset, &graph);
        }

        Ok(known.map(Self::preset).unwrap_or_else(|| {
            Self(Arc::new(Parts {
                name: None,
                authority,
                graph,
                resource: PUBLIC.graph.to_owned(),
                exchange_audience: PUBLIC.exchange_audience.to_owned(),
            }))
        }))
    }

    /// Sets the resource that tokens for Graph are asked for, as in `https://graph.microsoft.com`.
    #[must_use]
    pub fn with_graph_resource(mut self, resource: &Url) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        resource
            .as_str()
            .trim_end_matches('/')
            .clone_into(&mut parts.resource);
        parts.name = None;
        self
    }

    /// Sets the audience that a federated identity credential has.
    #[must_use]
    pub fn with_exchange_audience(mut self, audience: impl Into<String>) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.exchange_audience = audience.into();
        parts.name = None;
        self
    }

    /// Returns the name of one of Microsoft's clouds, or `None` for addresses of your own.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.0.name
    }

    /// Returns the authority host, as in `https://login.microsoftonline.com/`.
    #[must_use]
    pub fn authority(&self) -> &Url {
        &self.0.authority
    }

    /// Returns the root of Microsoft Graph, without a version.
    #[must_use]
    pub fn graph(&self) -> &Url {
        &self.0.graph
    }

    /// Returns the scope of a Graph token: `{resource}/.default`.
    #[must_use]
    pub fn graph_scope(&self) -> Scope {
        Scope::default_of(&self.0.resource)
    }

    /// Returns the audience that a federated identity credential has in this cloud.
    #[must_use]
    pub fn exchange_audience(&self) -> &str {
        &self.0.exchange_audience
    }

    /// Returns the v2.0 token endpoint of `tenant`; client assertions carry it as `aud`.
    #[must_use]
    pub fn token_endpoint(&self, tenant: &TenantId) -> Url {
        self.tenanted(tenant, &["oauth2", "v2.0", "token"])
    }

    /// Returns the v2.0 authorize endpoint of `tenant`.
    #[must_use]
    pub fn authorize_endpoint(&self, tenant: &TenantId) -> Url {
        self.tenanted(tenant, &["oauth2", "v2.0", "authorize"])
    }

    /// Returns where an administrator consents to an application for the whole of `tenant`.
    #[must_use]
    pub fn admin_consent_endpoint(&self, tenant: &TenantId) -> Url {
        self.tenanted(tenant, &["v2.0", "adminconsent"])
    }

    /// Returns the `OpenID` Connect discovery document of `tenant`: it names the issuer and the keys of
    /// id tokens.
    #[must_use]
    pub fn discovery_endpoint(&self, tenant: &TenantId) -> Url {
        self.tenanted(tenant, &["v2.0", ".well-known", "openid-configuration"])
    }

    fn tenanted(&self, tenant: &TenantId, path: &[&str]) -> Url {
        let mut url = self.0.authority.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(tenant.as_str()).extend(path);
        }
        url
    }

    fn sovereign(preset: &Preset, graph: &Url) -> Result<Self, InvalidCloud> {
        let graph = endpoint("Graph endpoint", graph)?;
        Ok(Self(Arc::new(Parts {
            name: Some(preset.name),
            authority: parse(preset.authority),
            resource: graph.as_str().trim_end_matches('/').to_owned(),
            graph,
            exchange_audience: preset.exchange_audience.to_owned(),
        })))
    }

    fn preset(preset: &Preset) -> Self {
        let same = |cloud: &&Self| cloud.0.name == Some(preset.name);
        CLOUDS.iter().find(same).expect("one for each").clone()
    }

    fn parsed(preset: &Preset) -> Self {
        Self(Arc::new(Parts {
            name: Some(preset.name),
            authority: parse(preset.authority),
            graph: parse(preset.graph),
            resource: preset.graph.to_owned(),
            exchange_audience: preset.exchange_audience.to_owned(),
        }))
    }
}

impl Default for Cloud {
    fn default() -> Self {
        Self::public()
    }
}

/// An address that can't be part of a cloud.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct InvalidCloud {
    field: &'static str,
    problem: &'static str,
}

impl InvalidCloud {
    /// Returns the name of the field, as in "authority".
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

/// Compares without parsing: this is done for every record that is read.
fn is(url: &Url, preset: &str) -> bool {
    url.as_str().strip_suffix('/') == Some(preset)
}

fn parse(preset: &str) -> Url {
    Url::parse(preset).expect("the preset addresses are URLs")
}

fn endpoint(field: &'static str, url: &Url) -> Result<Url, InvalidCloud> {
    let refuse = |problem| Err(InvalidCloud { field, problem });

    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(url)) {
        return refuse(
            "secrets would travel in the clear: use an https address (http is for loopback hosts only)",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("leave the user name and password out of the address");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("leave the query and fragment out of the address");
    }
    Ok(url.clone())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Serialize for Cloud {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match PRESETS
            .iter()
            .find(|preset| self.0.name == Some(preset.name))
        {
            Some(preset) => serializer.serialize_str(preset.name),
            None => Addresses::from(self).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Cloud {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Stored)
    }
}

/// What is stored: a name for Microsoft's clouds, so that an address they change changes for everyone.
struct Stored;

impl<'de> Visitor<'de> for Stored {
    type Value = Cloud;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a cloud, or its addresses")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cloud, E> {
        let preset = PRESETS.iter().find(|preset| preset.name == name);
        preset.map(Cloud::preset).ok_or_else(|| {
            E::custom(InvalidCloud {
                field: "cloud",
                problem: "unknown name",
            })
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Cloud, A::Error> {
        let addresses = Addresses::deserialize(MapAccessDeserializer::new(fields))?;
        addresses.try_into().map_err(A::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Addresses {
    authority: Url,
    graph: Url,
    resource: Url,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange_audience: Option<String>,
}

impl From<&Cloud> for Addresses {
    fn from(Cloud(parts): &Cloud) -> Self {
        let resource = Url::parse(&parts.resource);
        Self {
            authority: parts.authority.clone(),
            graph: parts.graph.clone(),
            resource: resource.unwrap_or_else(|_| Cloud::public().graph().clone()),
            // A sovereign cloud's own audience follows from its authority.
            exchange_audience: match parts.name {
                Some(_) => None,
                None => Some(parts.exchange_audience.clone()),
            },
        }
    }
}

impl TryFrom<Addresses> for Cloud {
    type Error = InvalidCloud;

    fn try_from(addresses: Addresses) -> Result<Self, InvalidCloud> {
        let Addresses {
            authority,
            graph,
            resource,
            exchange_audience,
        } = addresses;
        let cloud = Self::from_endpoints(&authority, &graph)?;
        Ok(match exchange_audience {
            Some(audience) => cloud
                .with_graph_resource(&resource)
                .with_exchange_audience(audience),
            None if cloud.name().is_some() => cloud,
            None => cloud.with_graph_resource(&resource),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn custom(authority: &str, graph: &str) -> Result<Cloud, InvalidCloud> {
        Cloud::from_endpoints(&url(authority), &url(graph))
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            let address = format!("http://{host}:8443");
            assert!(custom(&address, &address).is_ok(), "{host}");
        }
        for host in ["login.example", "localhost.example", "128.0.0.1", "[::2]"] {
            let error = custom(&format!("http://{host}"), "https://graph.example").unwrap_err();
            assert_eq!(error.field(), "authority", "{host}");
        }
    }

    #[test]
    fn an_address_with_more_than_a_place_is_refused() {
        for graph in [
            "https://u:p@graph.example",
            "https://graph.example?a=b",
            "https://graph.example#x",
        ] {
            let error = custom("https://login.example", graph).unwrap_err();
            assert_eq!(error.field(), "Graph endpoint", "{graph}");
        }
    }

    #[test]
    fn known_addresses_are_recognised() {
        let cloud = custom(
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
        );

        assert_eq!(cloud, Ok(Cloud::us_government()));
    }

    /// As <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud> and
    /// <https://learn.microsoft.com/graph/deployments> list them.
    #[test]
    fn every_address_of_a_cloud_is_its_own() {
        let (public, us) = ("login.microsoftonline.com", "login.microsoftonline.us");
        let china = "login.partner.microsoftonline.cn";
        let graph_of_china = "microsoftgraph.chinacloudapi.cn";
        for (cloud, authority, graph) in [
            (Cloud::public(), public, "graph.microsoft.com"),
            (Cloud::us_government(), us, "graph.microsoft.us"),
            (Cloud::us_government_dod(), us, "dod-graph.microsoft.us"),
            (Cloud::china(), china, graph_of_china),
        ] {
            let tenant = "t.example".parse().unwrap();
            let addresses = [
                cloud.authorize_endpoint(&tenant),
                cloud.token_endpoint(&tenant),
                cloud.graph().clone(),
            ]
            .map(|url| url.to_string());
            let expected = [
                format!("https://{authority}/t.example/oauth2/v2.0/authorize"),
                format!("https://{authority}/t.example/oauth2/v2.0/token"),
                format!("https://{graph}/"),
            ];
            assert_eq!(addresses, expected);
            let scope = format!("https://{graph}/.default");
            assert_eq!(cloud.graph_scope().as_str(), scope);
        }
    }

    #[test]
    fn a_sovereign_cloud_asks_for_tokens_of_its_own_graph() {
        let graph = url("https://graph.sovereign.example");
        let known = custom("https://login.sovcloud-identity.fr", graph.as_str()).unwrap();

        assert_eq!(known, Cloud::france(&graph).unwrap());
        assert_eq!(
            known.exchange_audience(),
            "api://AzureADTokenExchangeFrance"
        );
        assert_eq!(
            known.graph_scope().as_str(),
            "https://graph.sovereign.example/.default"
        );
    }

    #[test]
    fn a_path_under_the_authority_is_kept() {
        let cloud = custom(
            "https://proxy.example/login/",
            "https://proxy.example/graph",
        )
        .unwrap();
        let tenant = "contoso.com".parse().unwrap();

        assert_eq!(
            cloud.token_endpoint(&tenant).as_str(),
            "https://proxy.example/login/contoso.com/oauth2/v2.0/token"
        );
        assert_eq!(
            cloud.graph_scope().as_str(),
            "https://graph.microsoft.com/.default"
        );
    }

    #[test]
    fn clouds_survive_serde() {
        let own = custom("http://localhost:1/login", "http://localhost:2")
            .unwrap()
            .with_graph_resource(&url("https://graph.example"));
        let graph = url("https://graph.sovereign.example");
        for cloud in [
            Cloud::france(&graph).unwrap(),
            Cloud::germany(&graph).unwrap(),
            Cloud::singapore(&graph)
                .unwrap()
                .with_exchange_audience("api://Exchange"),
            Cloud::public(),
            Cloud::us_government(),
            Cloud::us_government_dod(),
            Cloud::china(),
            own,
        ] {
            let json = serde_json::to_string(&cloud).unwrap();
            assert_eq!(
                serde_json::from_str::<Cloud>(&json).unwrap(),
                cloud,
                "{json}"
            );
        }
    }
}
