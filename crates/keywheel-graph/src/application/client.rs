use keywheel_core::KeyId;
use serde::Serialize;
use uuid::Uuid;

use super::{Application, ApplicationKey, ApplicationUpdate, NewApplication, PROPERTIES};
use crate::call::{Call, Path, Repeat};
use crate::confirm::{self, ConfirmPolicy, Confirmation, Sought};
use crate::traffic::Lane;
use crate::{
    DirectoryObject, FederatedIdentityCredential, GraphClient, GraphError,
    NewFederatedIdentityCredential, NewPassword, Pages, PasswordCredential, Refusal,
};

/// The calls on one application.
#[derive(Clone, Debug)]
pub struct ApplicationClient<'a> {
    pub(super) graph: &'a GraphClient,
    pub(super) key: ApplicationKey,
}

impl<'a> ApplicationClient<'a> {
    pub(crate) fn new(graph: &'a GraphClient, key: ApplicationKey) -> Self {
        Self { graph, key }
    }

    /// Reads the application and its client secrets.
    ///
    /// Sent again while Graph is in trouble. What it does not show may exist nevertheless.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn get(&self) -> Result<Application, GraphError> {
        self.graph.json(&get(&self.key)).await
    }

    /// Reads these properties of the application, as Graph names them. `id` and `appId` must be among them.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn get_with(&self, properties: &[&str]) -> Result<Application, GraphError> {
        self.graph.json(&get_with(&self.key, properties)).await
    }

    /// Changes the application. Twice has the effect of once, so it is sent again while Graph is in trouble.
    ///
    /// # Errors
    ///
    /// Returns an error when Graph refused it, or perhaps carried it out:
    /// [`may_have_effect`](GraphError::may_have_effect).
    pub async fn update(&self, update: &ApplicationUpdate) -> Result<(), GraphError> {
        self.done(Call::patch("updateApplication", self.key.path(&[]), update))
            .await
    }

    /// Deletes the application, with all its credentials. It can be restored for thirty days.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update). One that is not there is [`NotFound`](crate::GraphErrorKind::NotFound).
    pub async fn delete(&self) -> Result<(), GraphError> {
        self.done(Call::delete("deleteApplication", self.key.path(&[])))
            .await
    }

    /// Reads the owners of the application: users and service principals.
    ///
    /// # Errors
    ///
    /// Returns an error when they could not be read.
    pub async fn owners(&self) -> Result<Vec<DirectoryObject>, GraphError> {
        Pages::new(self.graph, owners(&self.key)).all().await
    }

    /// Makes a user or service principal an owner, by its object id. One that is an owner already is none
    /// the worse.
    ///
    /// Beside `Application.ReadWrite.OwnedBy` it needs `Directory.Read.All`.
    /// <https://learn.microsoft.com/graph/api/application-post-owners>
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn add_owner(&self, owner: impl Into<Uuid>) -> Result<(), GraphError> {
        #[derive(Serialize)]
        struct Reference {
            #[serde(rename = "@odata.id")]
            id: String,
        }
        let id = format!("{}/directoryObjects/{}", self.graph.base(), owner.into());
        let path = self.key.path(&["owners", "$ref"]);
        let call = Call::post("addOwner", path, &Reference { id }).repeat(Repeat::Freely);
        match self.done(call).await {
            Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => Ok(()),
            other => other,
        }
    }

    /// Reads the client secrets, in no order.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn passwords(&self) -> Result<Vec<PasswordCredential>, GraphError> {
        let application = self.get_with(&["id", "appId", "passwordCredentials"]);
        Ok(application.await?.password_credentials)
    }

    /// Adds a client secret. Its answer is the only time that the secret is shown.
    ///
    /// **Not idempotent**: it is sent again only when it certainly never left.
    /// <https://learn.microsoft.com/graph/api/application-addpassword>
    ///
    /// # Errors
    ///
    /// When [`may_have_effect`](GraphError::may_have_effect), a secret may have been added whose text
    /// nobody holds: look for its display name.
    pub async fn add_password(
        &self,
        password: &NewPassword,
    ) -> Result<PasswordCredential, GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            password_credential: &'b NewPassword,
        }
        let body = Body {
            password_credential: password,
        };
        let path = self.key.path(&["addPassword"]);
        let call = Call::post("addPassword", path, &body).on(self.lane());
        self.graph.json(&call).await
    }

    /// Removes a client secret by its key id.
    ///
    /// Sent again only when it certainly never left.
    /// <https://learn.microsoft.com/graph/api/application-removepassword>
    ///
    /// # Errors
    ///
    /// A key id that the replica does not know is an [`UnknownKey`](Refusal::UnknownKey): no proof that it
    /// is gone.
    pub async fn remove_password(&self, key_id: &KeyId) -> Result<(), GraphError> {
        self.done(remove_password(&self.key, key_id)).await
    }

    /// Lists the federated identity credentials.
    /// <https://learn.microsoft.com/graph/api/application-list-federatedidentitycredentials>
    #[must_use]
    pub fn federated_credentials(&self) -> Pages<FederatedIdentityCredential> {
        let path = self.key.path(&[FEDERATED]);
        Pages::new(self.graph, Call::read("federatedCredentials", path))
    }

    /// Reads a federated identity credential by its name.
    ///
    /// # Errors
    ///
    /// Returns an error when it could not be read.
    pub async fn federated_credential(
        &self,
        name: &str,
    ) -> Result<FederatedIdentityCredential, GraphError> {
        let call = Call::read("federatedCredential", self.federated(name));
        self.graph.json(&call).await
    }

    /// Adds a federated identity credential; an application holds twenty at most.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](Refusal::AlreadyExists) when its name, or its issuer and subject, are taken.
    pub async fn add_federated_credential(
        &self,
        credential: &NewFederatedIdentityCredential,
    ) -> Result<FederatedIdentityCredential, GraphError> {
        let path = self.key.path(&[FEDERATED]);
        let call = Call::post("addFederatedCredential", path, credential)
            .repeat(Repeat::IfRefused)
            .on(self.lane());
        self.graph.json(&call).await
    }

    /// Changes a federated identity credential to what is given. Its name stays.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn update_federated_credential(
        &self,
        credential: &NewFederatedIdentityCredential,
    ) -> Result<(), GraphError> {
        let path = self.federated(&credential.name);
        self.done(Call::patch(
            "updateFederatedCredential",
            path,
            &credential.change(),
        ))
        .await
    }

    /// Removes a federated identity credential by its name.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update). One that is not there is [`NotFound`](crate::GraphErrorKind::NotFound).
    pub async fn remove_federated_credential(&self, name: &str) -> Result<(), GraphError> {
        self.done(Call::delete(
            "removeFederatedCredential",
            self.federated(name),
        ))
        .await
    }

    /// Reads until several reads in a row show the credential.
    ///
    /// # Errors
    ///
    /// Returns an error when reading is refused. A read that fails for a while counts as none.
    pub async fn confirm_present(
        &self,
        sought: &Sought,
        policy: &ConfirmPolicy,
    ) -> Result<Confirmation, GraphError> {
        confirm::confirm(self, sought, policy, true).await
    }

    /// Reads until several reads in a row do not show the credential. Replicas lag behind, so a single one
    /// proves nothing.
    ///
    /// # Errors
    ///
    /// Returns an error when reading is refused. A read that fails for a while, or does not find the
    /// application, counts as none.
    pub async fn confirm_absent(
        &self,
        sought: &Sought,
        policy: &ConfirmPolicy,
    ) -> Result<Confirmation, GraphError> {
        confirm::confirm(self, sought, policy, false).await
    }

    fn federated(&self, name: &str) -> Path {
        let keyed = format!("{FEDERATED}(name='{}')", Path::encode(name));
        self.key.path(&[&keyed])
    }

    pub(super) fn lane(&self) -> Lane {
        Lane::Application(self.key.clone())
    }

    /// Carries a write out whose answer says nothing more.
    pub(super) async fn done(&self, call: Call) -> Result<(), GraphError> {
        let call = call.on(self.lane());
        self.graph.send(&call).await.map(drop)
    }
}

const FEDERATED: &str = "federatedIdentityCredentials";

pub(crate) fn get(key: &ApplicationKey) -> Call {
    Call::read("application", key.path(&[]).query("$select", PROPERTIES))
}

pub(crate) fn get_with(key: &ApplicationKey, properties: &[&str]) -> Call {
    let path = key.path(&[]).query("$select", &properties.join(","));
    Call::read("application", path)
}

pub(crate) fn owners(key: &ApplicationKey) -> Call {
    let properties = "id,displayName,appId,userPrincipalName";
    Call::read("owners", key.path(&["owners"]).query("$select", properties))
}

pub(crate) fn remove_password(key: &ApplicationKey, key_id: &KeyId) -> Call {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'b> {
        key_id: &'b KeyId,
    }
    Call::post(
        "removePassword",
        key.path(&["removePassword"]),
        &Body { key_id },
    )
    .on(Lane::Application(key.clone()))
}

impl GraphClient {
    /// Creates an application. <https://learn.microsoft.com/graph/api/application-post-applications>
    ///
    /// Sent again only when it certainly had no effect.
    ///
    /// # Errors
    ///
    /// When [`may_have_effect`](GraphError::may_have_effect), look for its name. Right after it was created
    /// an application may not be found for a while.
    pub async fn create_application(
        &self,
        application: &NewApplication,
    ) -> Result<Application, GraphError> {
        let call = Call::post(
            "createApplication",
            Path::of(&["applications"]),
            application,
        );
        self.json(&call.repeat(Repeat::IfRefused)).await
    }
}
