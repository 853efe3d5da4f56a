mod plant;
mod time;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{Behaviours, Fault};

pub(crate) use self::plant::{Pending, certify, default_policy, plant, two_years_after};

/// What the directory holds at the start: tenants, users, applications.
///
/// Written in TOML or built by calls. Ids that are not given follow from the names, so they are the same at
/// each start; secrets that are not given are random.
///
/// ```
/// use keywheel_emulator::{ApplicationSeed, Seed, TenantSeed};
///
/// let built = Seed::of([TenantSeed::new("contoso.example").application(
///     ApplicationSeed::new("billing").role("Application.ReadWrite.OwnedBy").owns_itself().secret("first"),
/// )]);
/// let written = Seed::from_toml(
///     r#"
///     [[tenants]]
///     domains = ["contoso.example"]
///
///     [[tenants.applications]]
///     display_name = "billing"
///     roles = ["Application.ReadWrite.OwnedBy"]
///     owns_itself = true
///     secrets = [{ display_name = "first" }]
///     "#,
/// )?;
/// assert_eq!(built, written);
/// # Ok::<(), keywheel_emulator::InvalidSeed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Seed {
    /// The tenants. The first application of the first one is the default application.
    pub tenants: Vec<TenantSeed>,
    /// How the service behaves.
    pub behaviours: Behaviours,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Issuers outside the emulator whose assertions federated credentials may trust.
    pub issuers: Vec<IssuerSeed>,
}

impl Seed {
    /// Returns a seed with these tenants.
    #[must_use]
    pub fn of(tenants: impl IntoIterator<Item = TenantSeed>) -> Self {
        Self {
            tenants: tenants.into_iter().collect(),
            behaviours: Behaviours::default(),
            faults: Vec::new(),
            issuers: Vec::new(),
        }
    }

    /// Reads a seed.
    ///
    /// # Errors
    ///
    /// When the text is not TOML or has a name that no field has. Ids and role names are checked at start.
    pub fn from_toml(text: &str) -> Result<Self, InvalidSeed> {
        let seed: Self =
            toml::from_str(text).map_err(|error| InvalidSeed::new(error.to_string()))?;
        if seed.tenants.is_empty() {
            return Err(InvalidSeed::new("tenants: at least one is needed"));
        }
        Ok(seed)
    }
}

/// One tenant, `contoso.example`, with a user who may consent to everything, and the application
/// "keywheel-demo": its service principal owns it and has `Application.ReadWrite.OwnedBy`, it holds one
/// client secret and one certificate.
impl Default for Seed {
    fn default() -> Self {
        let demo = ApplicationSeed {
            client_id: Some("c0ffee00-1111-4222-8333-444455556666".to_owned()),
            object_id: Some("0b1ec700-1111-4222-8333-444455556666".to_owned()),
            service_principal_id: Some("5e41ce00-1111-4222-8333-444455556666".to_owned()),
            redirect_uris: ["http://localhost/callback", "https://localhost/callback"]
                .map(str::to_owned)
                .to_vec(),
            ..ApplicationSeed::new("keywheel-demo")
        };
        let tenant = TenantSeed {
            id: Some("7e4a4700-1111-4222-8333-444455556666".to_owned()),
            display_name: Some("Contoso".to_owned()),
            ..TenantSeed::new("contoso.example")
        };
        Self::of([tenant
            .user(
                UserSeed::new("ada@contoso.example", "ada's password").role("Global Administrator"),
            )
            .application(
                demo.role("Application.ReadWrite.OwnedBy")
                    .owns_itself()
                    .secret("initial")
                    .certificate(),
            )])
    }
}

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TenantSeed {
    /// The directory (tenant) id, a GUID.
    pub id: Option<String>,
    /// The name people see; the first domain when absent.
    pub display_name: Option<String>,
    /// Verified domains, the default one first.
    pub domains: Vec<String>,
    /// The people.
    pub users: Vec<UserSeed>,
    /// The app registrations, each with its service principal.
    pub applications: Vec<ApplicationSeed>,
    /// Restrictions of the tenant's default app-management policy.
    pub policy: PolicySeed,
}

impl TenantSeed {
    /// Returns a tenant with this verified domain.
    #[must_use]
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domains: vec![domain.into()],
            ..Self::default()
        }
    }

    /// Adds a user.
    #[must_use]
    pub fn user(mut self, user: UserSeed) -> Self {
        self.users.push(user);
        self
    }

    /// Adds an application.
    #[must_use]
    pub fn application(mut self, application: ApplicationSeed) -> Self {
        self.applications.push(application);
        self
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UserSeed {
    /// The object id, a GUID.
    pub id: Option<String>,
    /// The user principal name.
    pub name: String,
    /// The password.
    pub password: String,
    /// The name people see; the user principal name when absent.
    pub display_name: Option<String>,
    /// Directory roles, such as `Global Administrator` or `Application Administrator`.
    pub roles: Vec<String>,
}

impl UserSeed {
    /// Returns a user without any role.
    #[must_use]
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            ..Self::default()
        }
    }

    /// Adds a directory role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }
}

/// An app registration and its service principal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApplicationSeed {
    /// The name people see.
    pub display_name: String,
    /// The application (client) id, a GUID.
    pub client_id: Option<String>,
    /// The application's object id, a GUID.
    pub object_id: Option<String>,
    /// The service principal's object id, a GUID.
    pub service_principal_id: Option<String>,
    /// `signInAudience`: `AzureADMyOrg` when absent.
    pub audience: Option<String>,
    /// Application permissions of Microsoft Graph that were granted.
    pub roles: Vec<String>,
    /// Delegated permissions of Microsoft Graph that the registration asks for.
    pub scopes: Vec<String>,
    /// Whether its own service principal is an owner.
    pub owns_itself: bool,
    /// Further owners: user principal names, or display names of applications of the tenant.
    pub owners: Vec<String>,
    /// Redirect URIs of the web platform.
    pub redirect_uris: Vec<String>,
    /// Redirect URIs of single-page applications.
    pub spa_redirect_uris: Vec<String>,
    /// Redirect URIs of desktop and mobile applications; with any, the application is a public client.
    pub public_redirect_uris: Vec<String>,
    /// Application ID URIs.
    pub identifier_uris: Vec<String>,
    /// Client secrets, oldest first.
    pub secrets: Vec<SecretSeed>,
    /// Certificates.
    pub certificates: Vec<CertificateSeed>,
    /// Federated identity credentials.
    pub federated: Vec<FederatedSeed>,
    /// An app-management policy of its own.
    pub policy: Option<PolicySeed>,
    /// Further properties, as Graph names them: `isDisabled = true`.
    pub properties: toml::Table,
}

impl ApplicationSeed {
    /// Returns an application without permissions, owners or credentials.
    #[must_use]
    pub fn new(display_name: impl Into<String>) -> Self {
        Self {
            display_name: display_name.into(),
            ..Self::default()
        }
    }

    /// Sets the client id.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Sets `signInAudience`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Grants an application permission of Microsoft Graph.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.roles.push(name.into());
        self
    }

    /// Asks for a delegated permission of Microsoft Graph.
    #[must_use]
    pub fn scope(mut self, name: impl Into<String>) -> Self {
        self.scopes.push(name.into());
        self
    }

    /// Makes its own service principal an owner.
    #[must_use]
    pub fn owns_itself(mut self) -> Self {
        self.owns_itself = true;
        self
    }

    /// Adds an owner: a user principal name, or the display name of an application of the tenant.
    #[must_use]
    pub fn owner(mut self, name: impl Into<String>) -> Self {
        self.owners.push(name.into());
        self
    }

    /// Adds a redirect URI of the web platform.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self
    }

    /// Adds a redirect URI of a single-page application.
    #[must_use]
    pub fn spa_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.spa_redirect_uris.push(uri.into());
        self
    }

    /// Adds a redirect URI of a desktop or mobile application.
    #[must_use]
    pub fn public_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.public_redirect_uris.push(uri.into());
        self
    }

    /// Adds an application ID URI, by which others ask for tokens for this application.
    #[must_use]
    pub fn identifier_uri(mut self, uri: impl Into<String>) -> Self {
        self.identifier_uris.push(uri.into());
        self
    }

    /// Adds a client secret with a random text.
    #[must_use]
    pub fn secret(self, display_name: impl Into<String>) -> Self {
        self.with_secret(SecretSeed {
            display_name: Some(display_name.into()),
            ..SecretSeed::default()
        })
    }

    /// Adds a client secret.
    #[must_use]
    pub fn with_secret(mut self, secret: SecretSeed) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Adds a certificate that is made at the start.
    #[must_use]
    pub fn certificate(mut self) -> Self {
        self.certificates.push(CertificateSeed::default());
        self
    }

    /// Adds a certificate (PEM).
    #[must_use]
    pub fn certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.certificates.push(CertificateSeed {
            pem: Some(pem.into()),
            ..CertificateSeed::default()
        });
        self
    }

    /// Adds a federated identity credential.
    #[must_use]
    pub fn federated(mut self, federated: FederatedSeed) -> Self {
        self.federated.push(federated);
        self
    }

    /// Sets an app-management policy of its own.
    #[must_use]
    pub fn policy(mut self, policy: PolicySeed) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets a further property, as Graph names it.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<toml::Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

/// A client secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecretSeed {
    /// The name.
    pub display_name: Option<String>,
    /// The text; random when absent.
    pub text: Option<String>,
    /// The key id, a GUID.
    pub key_id: Option<String>,
    /// When it becomes valid; the start when absent.
    #[serde(deserialize_with = "time::deserialize")]
    pub start: Option<DateTime<Utc>>,
    /// When it expires; two years later when absent.
    #[serde(deserialize_with = "time::deserialize")]
    pub end: Option<DateTime<Utc>>,
}

impl SecretSeed {
    /// Returns a secret with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// Sets when it becomes valid.
    #[must_use]
    pub fn starting(mut self, start: DateTime<Utc>) -> Self {
        self.start = Some(start);
        self
    }

    /// Sets when it expires.
    #[must_use]
    pub fn ending(mut self, end: DateTime<Utc>) -> Self {
        self.end = Some(end);
        self
    }

    /// Sets the key id.
    #[must_use]
    pub fn key_id(mut self, id: impl Into<String>) -> Self {
        self.key_id = Some(id.into());
        self
    }
}

/// A registered certificate.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CertificateSeed {
    /// The name; the certificate's subject when absent.
    pub display_name: Option<String>,
    /// The certificate; one is made at the start when absent, see
    /// [`DefaultApp::certificate_pem`](crate::DefaultApp::certificate_pem).
    pub pem: Option<String>,
    /// The key id, a GUID.
    pub key_id: Option<String>,
}

/// A federated identity credential.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FederatedSeed {
    /// Its name, unique in the application.
    pub name: String,
    /// The issuer, as the assertion's `iss` has it.
    pub issuer: String,
    /// The subject, as the assertion's `sub` has it.
    pub subject: String,
    /// The audiences; `api://AzureADTokenExchange` when empty.
    pub audiences: Vec<String>,
}

impl FederatedSeed {
    /// Returns a credential for the customary audience.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        issuer: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            subject: subject.into(),
            audiences: Vec::new(),
        }
    }
}

/// What may be added to applications.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PolicySeed {
    /// Whether adding client secrets is forbidden.
    pub forbid_secrets: bool,
    /// The longest lifetime of a client secret: an ISO 8601 duration such as `P90D`.
    pub secret_lifetime: Option<String>,
    /// The longest lifetime of a certificate.
    pub certificate_lifetime: Option<String>,
    /// Only applications created after this are concerned; all when absent.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_after: Option<DateTime<Utc>>,
}

impl PolicySeed {
    /// Forbids adding client secrets.
    #[must_use]
    pub fn no_secrets() -> Self {
        Self {
            forbid_secrets: true,
            ..Self::default()
        }
    }

    /// Limits the lifetime of certificates: an ISO 8601 duration such as `P90D`.
    #[must_use]
    pub fn certificate_lifetime(longest: impl Into<String>) -> Self {
        Self {
            certificate_lifetime: Some(longest.into()),
            ..Self::default()
        }
    }

    /// Limits the lifetime of client secrets: an ISO 8601 duration such as `P90D`.
    #[must_use]
    pub fn secret_lifetime(longest: impl Into<String>) -> Self {
        Self {
            secret_lifetime: Some(longest.into()),
            ..Self::default()
        }
    }
}

/// An issuer outside the emulator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct IssuerSeed {
    /// The issuer, as the assertion's `iss` has it.
    pub url: String,
    /// Its JWKS document, JSON. The emulator opens no connections, so it fetches none.
    pub jwks: String,
}

impl IssuerSeed {
    /// Returns an issuer with its JWKS document.
    #[must_use]
    pub fn new(url: impl Into<String>, jwks: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            jwks: jwks.into(),
        }
    }
}

/// What is wrong with a seed, named by field.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed: {0}")]
pub struct InvalidSeed(String);

impl InvalidSeed {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
