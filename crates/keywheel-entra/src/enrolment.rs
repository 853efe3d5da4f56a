use std::sync::Arc;

use keywheel_connection::{
    Actor, Connection, ConnectionId, ConnectionName, Credential, EventKind, HeldCertificate,
    Namespace, Save, SealContext, SignIn, StoreError, Versioned,
};
use keywheel_core::{
    ClientId, Cloud, CredentialError, CredentialErrorKind, Report, TenantId, TokenCredential,
};
use keywheel_credentials::{Authorization, CertificateCredential, ConfidentialClient};

use crate::access::Given;
use crate::parts::{EntraParts, from_store, invalid};
use crate::{
    CertificateFile, Method, SignInApplication, TenantAccess, ValidationError, ValidationErrorKind,
    refusal,
};

/// Stores connections that authenticate otherwise than by a client secret, and changes what they authenticate
/// with. Each is tried out first, and nothing is stored that does not work.
///
/// Connections by client secret, which can rotate, are created by the rotation engine.
#[derive(Clone, Debug)]
pub struct Enrolment {
    parts: EntraParts,
}

/// Where a new connection leads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The name of the connection.
    pub name: ConnectionName,
    /// The tenant of the embedding backend that it belongs to. Default: `default`.
    pub namespace: Namespace,
    /// The cloud. Default: the public one.
    pub cloud: Cloud,
    /// The customer's tenant.
    pub tenant: TenantId,
}

impl Target {
    /// Returns a way into `tenant` in the public cloud.
    #[must_use]
    pub fn new(name: ConnectionName, tenant: TenantId) -> Self {
        Self {
            name,
            namespace: Namespace::default(),
            cloud: Cloud::default(),
            tenant,
        }
    }

    /// Sets the cloud.
    #[must_use]
    pub fn in_cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// Sets the tenant of the embedding backend.
    #[must_use]
    pub fn in_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }
}

type Result<T> = std::result::Result<T, CredentialError>;

impl Enrolment {
    /// Returns what stores connections with these parts.
    #[must_use]
    pub fn new(parts: EntraParts) -> Self {
        Self { parts }
    }

    /// Stores a connection of the application `client` by certificate.
    ///
    /// The certificate is read, a token obtained with it, and Graph asked to read the application; whether the
    /// application may read itself is for the preflight to say.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when the files can't be used or the name is taken, the
    /// error of Entra or Graph when they refuse the certificate, and `Unavailable` when somebody does not
    /// answer. Nothing was stored then.
    pub async fn by_certificate(
        &self,
        target: Target,
        client: ClientId,
        file: &CertificateFile,
        actor: &Actor,
    ) -> Result<Versioned> {
        let id = self.new_id(&target).await?;
        let way = (&target.cloud, &target.tenant, client);
        let context = SealContext::certificate(&target.namespace, id);
        let held = self.held_certificate(way, file, &context).await?;
        let credential = Credential::Certificate(held);
        self.create((id, target, client), credential, actor).await
    }

    /// Gives a connection by certificate another one, tried out like the first. Load its credential anew to use
    /// it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`by_certificate`](Self::by_certificate); the connection has the certificate from
    /// before then.
    pub async fn replace_certificate(
        &self,
        id: ConnectionId,
        file: &CertificateFile,
        actor: &Actor,
    ) -> Result<()> {
        let stored = self.parts.load(id).await?;
        let connection = &stored.connection;
        if !matches!(connection.credential, Credential::Certificate(_)) {
            return Err(invalid("the connection is not by certificate"));
        }
        let way = (&connection.cloud, &connection.tenant, connection.client);
        let context = connection.certificate_context();
        let held = self.held_certificate(way, file, &context).await?;
        let kind = EventKind::CertificateReplaced {
            thumbprint: held.thumbprint.clone(),
            end: held.end,
        };
        self.change(stored, Credential::Certificate(held), kind, actor)
            .await
    }

    /// Stores a connection on behalf of a user who signed in just now to the application of the parts.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when the parts have no such application, the user is of
    /// another tenant or the name is taken; of kind `Denied` when the sign-in gave no refresh token; and of kind
    /// `Unavailable` when the store does not answer. Nothing was stored then.
    pub async fn by_sign_in(
        &self,
        target: Target,
        authorization: &Authorization,
        actor: &Actor,
    ) -> Result<Versioned> {
        let client = self.application()?.client();
        let id = self.new_id(&target).await?;
        let way = (&target.cloud, &target.tenant, client);
        let context = SealContext::refresh_token(&target.namespace, id, 0);
        let sign_in = self.sign_in(way, authorization, &context).await?;
        let credential = Credential::AuthorizationCode(sign_in);
        self.create((id, target, client), credential, actor).await
    }

    /// Gives a connection by authorization code the consent of a user who signed in again. Its credentials in
    /// every process go on with it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`by_sign_in`](Self::by_sign_in); the connection is as before then.
    pub async fn sign_in_again(
        &self,
        id: ConnectionId,
        authorization: &Authorization,
        actor: &Actor,
    ) -> Result<()> {
        let stored = self.parts.load(id).await?;
        let connection = &stored.connection;
        let Credential::AuthorizationCode(before) = &connection.credential else {
            return Err(invalid("the connection is not by authorization code"));
        };
        let generation = before.generation + 1;
        let context = connection.refresh_token_context(generation);
        let way = (&connection.cloud, &connection.tenant, connection.client);
        let mut sign_in = self.sign_in(way, authorization, &context).await?;
        sign_in.generation = generation;
        let user = sign_in.user.clone();
        let credential = Credential::AuthorizationCode(sign_in);
        self.change(stored, credential, EventKind::SignedIn { user }, actor)
            .await
    }

    /// Returns the application that users sign in to, for an
    /// [`AuthorizationCodeFlow`](keywheel_credentials::AuthorizationCodeFlow) into `target`.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when the parts have no application, or its certificate
    /// has ended.
    pub fn sign_in_client(&self, target: &Target) -> Result<ConfidentialClient> {
        let endpoint = self.parts.endpoint(&target.cloud, &target.tenant);
        self.application()?.at(endpoint)
    }

    fn application(&self) -> Result<&SignInApplication> {
        self.parts.sign_in.as_ref().ok_or_else(|| {
            invalid("sign-in application: none was given to the builder, so nobody can sign in")
        })
    }

    /// Returns the id of a connection whose name is free.
    async fn new_id(&self, target: &Target) -> Result<ConnectionId> {
        let store = &self.parts.store;
        let taken = store.find(&target.namespace, &target.name).await;
        match taken.map_err(from_store)? {
            Some(_) => Err(from_store(StoreError::name_taken())),
            None => {
                let now = self.parts.clock.now();
                Ok(self.parts.entropy.uuid_of(now).into())
            }
        }
    }

    /// Reads a certificate and tries it out: a token, and one harmless read with it.
    async fn held_certificate(
        &self,
        (cloud, tenant, client): (&Cloud, &TenantId, ClientId),
        file: &CertificateFile,
        context: &SealContext<'_>,
    ) -> Result<HeldCertificate> {
        let certificate = file.open().map_err(refusal::certificate)?;
        let (thumbprint, end) = (certificate.thumbprint(), certificate.not_after());
        let endpoint = self.parts.endpoint(cloud, tenant);
        let credential = CertificateCredential::new(endpoint, client, certificate);
        let credential = credential.map_err(refusal::certificate)?;
        self.try_out((cloud, tenant, client), credential, Method::Certificate)
            .await?;
        let sealed = self.parts.seal(&file.to_text(), context).await?;
        let now = self.parts.clock.now();
        Ok(HeldCertificate::new(sealed, thumbprint, end, now))
    }

    async fn sign_in(
        &self,
        way: (&Cloud, &TenantId, ClientId),
        authorization: &Authorization,
        context: &SealContext<'_>,
    ) -> Result<SignIn> {
        let user = &authorization.user;
        let Some(refresh_token) = &authorization.refresh_token else {
            let message =
                "the sign-in gave no refresh token: allow the scope `offline_access` in the tenant";
            return Err(CredentialError::new(CredentialErrorKind::Denied, message));
        };
        let token = Given(authorization.token.clone());
        self.try_out(way, token, Method::AuthorizationCode).await?;
        let sealed = self.parts.seal(refresh_token, context).await?;
        let object_id = user.object_id.map(|id| id.to_string());
        let name = user.username.clone().or(object_id);
        let name = name.unwrap_or_else(|| user.subject.clone());
        let scopes = authorization.scopes.iter().map(ToString::to_string);
        let now = self.parts.clock.now();
        Ok(SignIn::new(sealed, name, scopes.collect(), now))
    }

    /// Sees that a token is of this tenant and application, and makes one harmless read with it.
    async fn try_out(
        &self,
        (cloud, tenant, client): (&Cloud, &TenantId, ClientId),
        credential: impl TokenCredential + 'static,
        method: Method,
    ) -> Result<()> {
        let http = Arc::clone(&self.parts.http);
        let access = TenantAccess::new(http, credential, cloud, tenant, client)
            .with_clock(Arc::clone(&self.parts.clock))
            .with_entropy(Arc::clone(&self.parts.entropy));
        access.validate(method).await.map(drop).map_err(refused)
    }

    async fn create(
        &self,
        (id, target, client): (ConnectionId, Target, ClientId),
        credential: Credential,
        actor: &Actor,
    ) -> Result<Versioned> {
        let now = self.parts.clock.now();
        let place = (target.tenant, client);
        let mut connection = Connection::new(id, target.name, place, credential, now);
        connection.namespace = target.namespace;
        connection.cloud = target.cloud;
        let created = EventKind::ConnectionCreated {
            tenant: connection.tenant.clone(),
            client_id: client,
            method: connection.credential.method().to_owned(),
        };
        let entries = [connection.record(actor, now, created)];
        let version = self.parts.store.create(&connection, None, &entries).await;
        Ok(Versioned {
            version: version.map_err(from_store)?,
            connection: connection.into(),
        })
    }

    async fn change(
        &self,
        stored: Versioned,
        credential: Credential,
        kind: EventKind,
        actor: &Actor,
    ) -> Result<()> {
        let mut connection = Arc::unwrap_or_clone(stored.connection);
        connection.credential = credential;
        let entries = [connection.record(actor, self.parts.clock.now(), kind)];
        let save = Save::new(&connection, stored.version, &entries);
        self.parts
            .store
            .save(save)
            .await
            .map(drop)
            .map_err(from_store)
    }
}

/// What the connection that did not work means to whoever is enrolling it.
fn refused(error: ValidationError) -> CredentialError {
    let kind = match error.kind() {
        ValidationErrorKind::Unavailable => CredentialErrorKind::Unavailable,
        ValidationErrorKind::OtherApplication | ValidationErrorKind::OtherTenant => {
            CredentialErrorKind::InvalidConfiguration
        }
        ValidationErrorKind::Credential | ValidationErrorKind::Refused => {
            CredentialErrorKind::Denied
        }
    };
    CredentialError::new(kind, Report(&error).to_string()).with_source(error)
}
