use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Refusal;
use super::client::{Client, Proof, credentials_of, within};
use super::discovery::PUBLIC_CLOUD;
use super::token::Exchange;
use crate::certificate::{Certificate, hex};
use crate::directory::{Federated, Key};
use crate::jwt::{self, Jwt};
use crate::keys::Algorithm;
use crate::world::World;

/// Verifies a client assertion: signed with a certificate of the application, or by an issuer that one of
/// its federated credentials trusts.
pub(crate) fn verify(
    world: &World,
    exchange: &Exchange<'_>,
    client: &Client,
    assertion: &str,
) -> Result<Proof, Refusal> {
    let jwt = Jwt::parse(assertion).ok_or_else(|| invalid("JWT token is invalid or malformed."))?;
    let name = jwt.header("alg").unwrap_or_default();
    let algorithm = Algorithm::named(name).ok_or_else(|| {
        Refusal::invalid_request(
            5_002_738,
            format!("'{name}' is not a supported signature algorithm."),
        )
    })?;
    let issuer = jwt
        .claim("iss")
        .ok_or_else(|| invalid("JWT token is invalid or malformed."))?;
    let assertion = Assertion {
        jwt: &jwt,
        algorithm,
        issuer,
        client,
        exchange,
    };
    match Uuid::try_parse(issuer) {
        Ok(_) => assertion.by_certificate(world),
        Err(_) => assertion.by_federation(world),
    }
}

struct Assertion<'a> {
    jwt: &'a Jwt<'a>,
    algorithm: Algorithm,
    issuer: &'a str,
    client: &'a Client,
    exchange: &'a Exchange<'a>,
}

impl Assertion<'_> {
    fn by_certificate(&self, world: &World) -> Result<Proof, Refusal> {
        let ours = |claim: Option<&str>| {
            claim.and_then(|id| Uuid::try_parse(id).ok()) == Some(self.client.client_id)
        };
        if !ours(Some(self.issuer)) || !ours(self.jwt.claim("sub")) {
            return Err(Refusal::invalid_client(
                700_021,
                "Client assertion application identifier doesn't match 'client_id' parameter. Review the \
                 documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
            ));
        }
        let key = self.registered_key(world)?;
        self.check_key(key)?;
        self.check_audience(world)?;
        self.check_times(world)?;
        Ok(Proof::Certificate(key.key_id))
    }

    /// Finds the registered certificate that the header names.
    fn registered_key<'w>(&self, world: &'w World) -> Result<&'w Key, Refusal> {
        let named = Named::of(self.jwt);
        let Some(shown) = named.shown() else {
            return Err(invalid(
                "Invalid JWT token. No certificate thumbprint specified in token header.",
            ));
        };
        let (behaviours, seen) = (&world.behaviours, self.exchange.seen);
        credentials_of(world, self.client)
            .into_iter()
            .flat_map(|object| &object.keys)
            .filter(|key| key.usage == "Verify")
            .filter(|key| key.history.in_token_service(key.key_id, behaviours, seen))
            .find(|key| named.fits(key))
            .ok_or_else(|| match named.sent_chain(self.jwt) {
                true => unauthorised_subject(),
                false => self.bad_signature("The key was not found.", &shown, None),
            })
    }

    fn check_key(&self, key: &Key) -> Result<(), Refusal> {
        let now = self.exchange.seen.now;
        let certificate = &key.certificate;
        if !within(certificate.not_before, certificate.not_after, now) {
            return Err(Refusal::invalid_client(
                1_000_502,
                "The provided certificate is not within its specified validity period.",
            ));
        }
        let thumbprint = certificate.thumbprint();
        if !within(key.start, key.end, now) {
            return Err(self.bad_signature("The key used is expired.", &thumbprint, Some(key)));
        }
        let Some(public) = &certificate.rsa else {
            return Err(Refusal::invalid_request(
                5_002_730,
                "Invalid JWT token. Unsupported key for the signing algorithm.",
            ));
        };
        let jwt = self.jwt;
        if !self.algorithm.verifies(public, jwt.signed, &jwt.signature) {
            let reason = "The provided signature value did not match the expected signature value.";
            return Err(self.bad_signature(reason, &thumbprint, Some(key)));
        }
        Ok(())
    }

    fn bad_signature(&self, reason: &str, thumbprint: &str, found: Option<&Key>) -> Refusal {
        let found = found.map_or_else(String::new, |key| {
            let day = |time: DateTime<Utc>| time.format("%m/%d/%Y %H:%M:%S").to_string();
            format!(
                ", Found key 'Start={}, End={}'",
                day(key.start),
                day(key.end)
            )
        });
        let id = self.client.client_id;
        Refusal::invalid_client(
            700_027,
            format!(
                "Client assertion contains an invalid signature. [Reason - {reason}, Thumbprint of key used \
                 by client: '{thumbprint}'{found}, Please visit the Azure Portal, Graph Explorer or directly \
                 use MS Graph to see configured keys for app Id '{id}'. Review the documentation at \
                 https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding service \
                 endpoint and https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http \
                 to build a query request URL, such as 'https://graph.microsoft.com/beta/applications/{id}']."
            ),
        )
    }

    /// The audience is the token endpoint: ours as the client reached it, or the public cloud's.
    fn check_audience(&self, world: &World) -> Result<(), Refusal> {
        let audience = self.jwt.audience().unwrap_or_default();
        if self
            .audiences(world)
            .any(|ours| ours.eq_ignore_ascii_case(audience))
        {
            return Ok(());
        }
        Err(Refusal::invalid_client(
            700_023,
            "Client assertion audience claim does not match Realm issuer. Review the documentation at \
             https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
        ))
    }

    fn audiences<'w>(&'w self, world: &'w World) -> impl Iterator<Item = String> + 'w {
        let exchange = self.exchange;
        let own = [
            exchange.call.origin.clone(),
            exchange.service.origins.login.clone(),
        ];
        let cloud = PUBLIC_CLOUD.iter().map(|host| format!("https://{host}"));
        let tenant = world.directory.tenants.get(&self.client.tenant);
        let domains = tenant.into_iter().flat_map(|tenant| tenant.domains.clone());
        let names: Vec<String> = [self.client.tenant.to_string(), exchange.tenant.to_owned()]
            .into_iter()
            .chain(domains)
            .collect();
        let endings: &[&str] = if world.behaviours.lenient_audience {
            &["/oauth2/v2.0/token", "/oauth2/token", "/v2.0", "/", ""]
        } else {
            &["/oauth2/v2.0/token"]
        };
        own.into_iter().chain(cloud).flat_map(move |origin| {
            let names = names.clone();
            names.into_iter().flat_map(move |name| {
                let login = format!("{origin}/{name}");
                endings.iter().map(move |ending| format!("{login}{ending}"))
            })
        })
    }

    fn check_times(&self, world: &World) -> Result<(), Refusal> {
        let now = self.exchange.seen.now;
        let skew = world.behaviours.clock_skew;
        let at = |name| {
            self.jwt
                .seconds(name)
                .and_then(|it| DateTime::from_timestamp(it, 0))
        };
        let Some(end) = at("exp") else {
            return Err(invalid("JWT token is invalid or malformed."));
        };
        let start = at("nbf").unwrap_or(DateTime::<Utc>::MIN_UTC);
        if crate::clock::add(now, skew) >= start && crate::clock::add(now, -skew) < end {
            return Ok(());
        }
        let shown = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S%.7fZ").to_string();
        Err(Refusal::invalid_client(
            700_024,
            format!(
                "Client assertion is not within its valid time range. Current time: {}, assertion valid from \
                 {}, expiry time of assertion {}. Review the documentation at \
                 https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
                shown(now),
                shown(start.max(now - TimeDelta::days(36_500))),
                shown(end)
            ),
        ))
    }

    /// Matches issuer, subject and audience case-sensitively, as the service has since 2025.
    fn by_federation(&self, world: &World) -> Result<Proof, Refusal> {
        let subject = self.jwt.claim("sub").unwrap_or_default();
        let audience = self.jwt.audience().unwrap_or_default();
        let (behaviours, seen) = (&world.behaviours, self.exchange.seen);
        let known: Vec<&Federated> = credentials_of(world, self.client)
            .into_iter()
            .flat_map(|object| &object.federated)
            .filter(|it| it.history.in_token_service(it.id, behaviours, seen))
            .collect();
        if known.is_empty() {
            return Err(Refusal::invalid_client(
                70_021,
                format!(
                    "No matching federated identity record found for presented assertion. Assertion Issuer: \
                     '{}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'. \
                     https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation",
                    self.issuer
                ),
            ));
        }
        let fits = |code: u32, what: &str, value: &str| no_match(code, what, value);
        let of_issuer: Vec<_> = known.iter().filter(|it| it.issuer == self.issuer).collect();
        if of_issuer.is_empty() {
            return Err(fits(700_211, "issuer", self.issuer));
        }
        let of_subject: Vec<_> = of_issuer
            .iter()
            .filter(|it| it.subject == subject)
            .collect();
        if of_subject.is_empty() {
            return Err(fits(700_213, "subject", subject));
        }
        let credential = of_subject
            .iter()
            .find(|it| it.audiences.iter().any(|one| one == audience))
            .ok_or_else(|| fits(700_212, "audience", audience))?;
        self.check_issuer_signature(world)?;
        self.check_times(world)?;
        Ok(Proof::Federated(credential.id))
    }

    /// Checks the signature with the issuer's keys: our own, or those the emulator was told of.
    fn check_issuer_signature(&self, world: &World) -> Result<(), Refusal> {
        let jwt = self.jwt;
        let exchange = self.exchange;
        let own = [
            exchange.call.origin.as_str(),
            &exchange.service.origins.login,
            "https://sts.windows.net",
        ];
        let verified = if own.iter().any(|origin| self.issuer.starts_with(origin)) {
            let public = exchange.service.keys.signing().rsa.public();
            self.algorithm.verifies(public, jwt.signed, &jwt.signature)
        } else {
            let jwks = world.issuers.get(self.issuer).ok_or_else(|| {
                Refusal::invalid_request(50_166, "Request to External OIDC endpoint failed.")
            })?;
            self.verified_by(jwks)
        };
        if verified {
            return Ok(());
        }
        let kid = jwt.header("kid").unwrap_or_default();
        Err(Refusal::invalid_client(
            7_000_272,
            format!(
                "The certificate with identifier {kid} used to sign the federated credential could not be \
                 found in the metadata of identity provider {}. Please validate that your Identity \
                 Provider's metadata exposes the key used to sign the incoming token.",
                self.issuer
            ),
        ))
    }

    fn verified_by(&self, jwks: &Value) -> bool {
        let jwt = self.jwt;
        let kid = jwt.header("kid");
        let part = |key: &Value, name: &str| key[name].as_str().and_then(jwt::decode);
        let keys = jwks["keys"].as_array().into_iter().flatten();
        keys.filter(|key| kid.is_none() || key["kid"].as_str() == kid)
            .filter_map(|key| Some((part(key, "n")?, part(key, "e")?)))
            .any(|(n, e)| {
                self.algorithm
                    .verifies_jwk(&n, &e, jwt.signed, &jwt.signature)
            })
    }
}

/// How an assertion's header names its certificate.
struct Named {
    sha256: Option<Vec<u8>>,
    sha1: Option<Vec<u8>>,
    kid: Option<String>,
}

impl Named {
    fn of(jwt: &Jwt<'_>) -> Self {
        Self {
            sha256: jwt.header("x5t#S256").and_then(jwt::decode),
            sha1: jwt.header("x5t").and_then(jwt::decode),
            kid: jwt.header("kid").map(str::to_owned),
        }
    }

    /// A thumbprint decides where there is one; `kid` may be a thumbprint in base64 or hex.
    fn fits(&self, key: &Key) -> bool {
        let certificate = &key.certificate;
        match (&self.sha256, &self.sha1, &self.kid) {
            (Some(sha256), _, _) => *sha256 == certificate.sha256,
            (_, Some(sha1), _) => *sha1 == certificate.sha1,
            (_, _, Some(kid)) => {
                let decoded = jwt::decode(kid);
                decoded.as_ref() == Some(&certificate.sha1)
                    || decoded.as_ref() == Some(&certificate.sha256)
                    || kid.eq_ignore_ascii_case(&certificate.thumbprint())
                    || kid.eq_ignore_ascii_case(&key.key_id.to_string())
            }
            _ => false,
        }
    }

    /// Returns the thumbprint as errors show it.
    fn shown(&self) -> Option<String> {
        let bytes = self.sha256.as_deref().or(self.sha1.as_deref());
        bytes.map(hex).or_else(|| self.kid.clone())
    }

    /// Tells whether the header brings a chain whose leaf is the certificate it names.
    fn sent_chain(&self, jwt: &Jwt<'_>) -> bool {
        let first = match jwt.header.get("x5c") {
            Some(Value::Array(chain)) => chain.first().and_then(Value::as_str),
            Some(Value::String(leaf)) => Some(leaf.as_str()),
            _ => None,
        };
        let compact: Option<String> =
            first.map(|it| it.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let Some(bytes) = compact.as_deref().and_then(jwt::decode) else {
            return false;
        };
        // One client sends the base64 of the PEM text instead of the DER.
        let pem = || Certificate::from_pem(std::str::from_utf8(&bytes).ok()?);
        let leaf = Certificate::from_der(&bytes).or_else(pem);
        leaf.is_some_and(|leaf| {
            self.sha256.as_ref().is_none_or(|it| *it == leaf.sha256)
                && self.sha1.as_ref().is_none_or(|it| *it == leaf.sha1)
        })
    }
}

fn invalid(text: &str) -> Refusal {
    Refusal::invalid_request(50_027, text)
}

fn unauthorised_subject() -> Refusal {
    Refusal::invalid_client(
        700_030,
        "Invalid certificate - subject name in certificate is not authorized.",
    )
}

fn no_match(code: u32, what: &str, value: &str) -> Refusal {
    Refusal::invalid_client(
        code,
        format!(
            "No matching federated identity record found for presented assertion {what} '{value}'. Check your \
             federated identity credential Subject, Audience and Issuer against the presented assertion. \
             https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation"
        ),
    )
}
