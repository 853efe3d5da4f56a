mod secrets;
mod sign_in;

use async_trait::async_trait;
use keywheel_connection::{Connection, ConnectionId, Credential, HeldCertificate};
use keywheel_core::{AccessToken, CredentialError, TokenCredential, TokenRequest};
use keywheel_credentials::{CertificateCredential, ClientSecretCredential, RefreshTokenCredential};

use self::secrets::Source;
use self::sign_in::StoredSignIn;
use crate::CertificateFile;
use crate::parts::{EntraParts, invalid};
use crate::refusal;

/// The tokens of a stored connection, by whichever method it authenticates.
///
/// By client secret, it holds the secret that was current when it was made, looks into the store when Entra
/// refuses it, and so follows rotations of any process; it never writes to the record. By certificate, it
/// holds the certificate that was stored when it was made. By authorization code, each new refresh token is
/// stored before the access token that came with it is used.
#[derive(Clone, Debug)]
pub struct ConnectionCredential(Method);

#[derive(Clone, Debug)]
enum Method {
    AuthorizationCode(RefreshTokenCredential),
    Certificate(CertificateCredential),
    ClientSecret(ClientSecretCredential),
}

impl ConnectionCredential {
    /// Loads the connection and opens what it authenticates with.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when there is no such connection, what it holds can't be
    /// opened or used, or it is by authorization code and the parts have no application to sign in to; and of
    /// kind `Unavailable` when the store does not answer.
    pub async fn load(id: ConnectionId, parts: EntraParts) -> Result<Self, CredentialError> {
        let connection = parts.load(id).await?.connection;
        let method = match &connection.credential {
            Credential::AuthorizationCode(_) => {
                Method::AuthorizationCode(refreshing(&connection, parts)?)
            }
            Credential::Certificate(held) => {
                let credential = certificate(&connection, held, &parts).await?;
                Method::Certificate(credential)
            }
            Credential::ClientSecret(held) | Credential::Managed { secrets: held, .. } => {
                let endpoint = parts.endpoint(&connection.cloud, &connection.tenant);
                let source = Source { id, parts };
                let secrets = source.secrets(&connection, held).await?;
                let client = connection.client;
                let credential =
                    ClientSecretCredential::with_source(endpoint, client, secrets, source);
                Method::ClientSecret(credential)
            }
            _ => return Err(invalid("the connection is of a newer version; upgrade")),
        };
        Ok(Self(method))
    }

    /// Returns the generation of the secret in use; 0 for a connection by certificate or authorization code.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match &self.0 {
            Method::ClientSecret(credential) => credential.generation(),
            Method::AuthorizationCode(_) | Method::Certificate(_) => 0,
        }
    }
}

fn refreshing(
    connection: &Connection,
    parts: EntraParts,
) -> Result<RefreshTokenCredential, CredentialError> {
    let application = parts.sign_in.as_ref();
    let application = application.filter(|application| application.client() == connection.client);
    let Some(application) = application else {
        return Err(invalid(format!(
            "sign-in application: users of this connection signed in to the application {}; give the builder \
             that one, with its secret or certificate",
            connection.client
        )));
    };
    let client = application.at(parts.endpoint(&connection.cloud, &connection.tenant))?;
    let stored = StoredSignIn::new(connection.id, parts);
    Ok(RefreshTokenCredential::new(client, stored))
}

async fn certificate(
    connection: &Connection,
    held: &HeldCertificate,
    parts: &EntraParts,
) -> Result<CertificateCredential, CredentialError> {
    let context = connection.certificate_context();
    let text = parts.open(&held.sealed, &context).await?;
    let certificate = CertificateFile::stored(&text)?;
    CertificateCredential::new(
        parts.endpoint(&connection.cloud, &connection.tenant),
        connection.client,
        certificate,
    )
    .map_err(refusal::certificate)
}

#[async_trait]
impl TokenCredential for ConnectionCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        match &self.0 {
            Method::AuthorizationCode(credential) => credential.get_token(request).await,
            Method::Certificate(credential) => credential.get_token(request).await,
            Method::ClientSecret(credential) => credential.get_token(request).await,
        }
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        match &self.0 {
            Method::AuthorizationCode(credential) => credential.cached_token(request),
            Method::Certificate(credential) => credential.cached_token(request),
            Method::ClientSecret(credential) => credential.cached_token(request),
        }
    }
}
