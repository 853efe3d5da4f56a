use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::clock::system_now;
use crate::keys::since_1970;

/// The emulator's certificate authority: clients trust [`ca_pem`](Self::ca_pem) and nothing else.
///
/// The keys are ECDSA P-256, which are made in microseconds and which every client understands; only
/// client assertions must be RSA.
pub(crate) struct Authority {
    pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn make() -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(TlsError::make)?;
        let made = Self::params().self_signed(&key).map_err(TlsError::make)?;
        Ok(Self {
            pem: made.pem(),
            key,
        })
    }

    /// Takes an authority that an earlier start made, so that clients need not learn a new one.
    pub(crate) fn read(certificate: &str, key: &str) -> Result<Self, TlsError> {
        Ok(Self {
            pem: certificate.to_owned(),
            key: KeyPair::from_pem(key).map_err(TlsError::make)?,
        })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Makes a certificate for `hosts` (names and addresses) and the server configuration with it.
    pub(crate) fn server(&self, hosts: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate().map_err(TlsError::make)?;
        let mut params = CertificateParams::new(hosts).map_err(TlsError::make)?;
        let name = hosts.first().map_or("localhost", String::as_str);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before =
            date_time_ymd(1970, 1, 1) + since_1970(system_now() - TimeDelta::days(1));
        params.not_after =
            date_time_ymd(1970, 1, 1) + since_1970(system_now() + TimeDelta::days(800));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::new(Self::params(), &self.key);
        let leaf = params.signed_by(&key, &issuer).map_err(TlsError::make)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(TlsError::make)?;
        server(vec![leaf.der().clone()], key)
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "keywheel emulator CA");
        params.not_before =
            date_time_ymd(1970, 1, 1) + since_1970(system_now() - TimeDelta::days(1));
        params.not_after =
            date_time_ymd(1970, 1, 1) + since_1970(system_now() + TimeDelta::days(3650));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        params
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Builds a server configuration from PEM texts: the chain, leaf first, and its key (PKCS#8, PKCS#1 or SEC 1).
pub(crate) fn server_from_pem(chain: &str, key: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = rustls_pemfile::certs(&mut chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::make)?;
    let key = rustls_pemfile::private_key(&mut key.as_bytes())
        .map_err(TlsError::make)?
        .ok_or_else(|| TlsError::make("the key file holds no private key"))?;
    server(chain, key)
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::make)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::make)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why no TLS configuration could be made.
#[derive(Debug)]
pub(crate) struct TlsError(pub(crate) Box<dyn std::error::Error + Send + Sync>);

impl TlsError {
    fn make(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
