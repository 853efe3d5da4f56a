mod merge;

use keywheel_core::{KeyId, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::merge::typed;
use super::ApplicationClient;
use crate::call::{Call, Repeat};
use crate::wire::nullable;
use crate::{ConfirmPolicy, GraphError, KeyCredential, NewKey};

impl ApplicationClient<'_> {
    /// Reads the certificates, their bytes included. Graph limits this to 150 requests a minute and tenant.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn keys(&self) -> Result<Vec<KeyCredential>, GraphError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Keys {
            #[serde(default, deserialize_with = "nullable")]
            key_credentials: Vec<KeyCredential>,
        }
        let keys: Keys = self.graph.json(&self.read_keys()).await?;
        Ok(keys.key_credentials)
    }

    /// Registers a certificate, vouched for by one that is registered: an application needs no permission
    /// to roll its own keys like this.
    ///
    /// `proof` is a JWT that is signed with the registered certificate's private key, for this application's
    /// object id, and valid for ten minutes at most. Sent again only when it certainly had no effect.
    /// <https://learn.microsoft.com/graph/api/application-addkey>
    ///
    /// # Errors
    ///
    /// [`BadProof`](crate::Refusal::BadProof) when the proof does not hold.
    pub async fn add_key(&self, key: &NewKey, proof: &Secret) -> Result<KeyCredential, GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            key_credential: &'b NewKey,
            password_credential: Option<()>,
            proof: &'b str,
        }
        let body = Body {
            key_credential: key,
            password_credential: None,
            proof: proof.expose(),
        };
        let call = Call::post("addKey", self.key.path(&["addKey"]), &body)
            .repeat(Repeat::IfRefused)
            .on(self.lane());
        self.graph.json(&call).await
    }

    /// Removes a certificate by its key id, vouched for as in [`add_key`](Self::add_key): by any that is
    /// registered, the one to be removed included.
    ///
    /// # Errors
    ///
    /// [`BadProof`](crate::Refusal::BadProof) when the proof does not hold. A key id that the replica does
    /// not know is an [`UnknownKey`](crate::Refusal::UnknownKey): no proof that it is gone.
    pub async fn remove_key(&self, key_id: &KeyId, proof: &Secret) -> Result<(), GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            key_id: &'b KeyId,
            proof: &'b str,
        }
        let body = Body {
            key_id,
            proof: proof.expose(),
        };
        let call = Call::post("removeKey", self.key.path(&["removeKey"]), &body);
        self.done(call.repeat(Repeat::IfRefused)).await
    }

    /// Reads the certificates until `policy.agree` reads in a row show the same ones, so that one replica that
    /// lags behind does not stand for all.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read, or the reads did not come to agree.
    pub async fn settled_keys(
        &self,
        policy: &ConfirmPolicy,
    ) -> Result<Vec<KeyCredential>, GraphError> {
        let settled = self.settled(policy).await?;
        Ok(typed(settled.list))
    }

    /// Registers a certificate without a proof, for who may write to the application. One that is registered
    /// already is left as it is.
    ///
    /// `PATCH` replaces the whole list, so [`add_key`](Self::add_key) is better wherever a registered
    /// certificate can vouch. What is there is read and sent back untouched: the list is read until
    /// `policy.agree` reads in a row show the same certificates, because one that a replica does not know yet
    /// would be lost, and read in the same way afterwards. What somebody else registered in between, and this
    /// write dropped, is put back under its key id, and returned. Only what a read showed can be put back;
    /// other writers in this process wait.
    ///
    /// # Errors
    ///
    /// Returns an error when the list did not come to rest, or could not be written. When
    /// [`may_have_effect`](GraphError::may_have_effect), do it again: that finds out.
    pub async fn add_key_by_patch(
        &self,
        key: &NewKey,
        policy: &ConfirmPolicy,
    ) -> Result<Vec<KeyCredential>, GraphError> {
        self.merge_keys(policy, |keys| {
            if keys.iter().any(|one| one["key"] == key.key()) {
                return false;
            }
            keys.push(key.to_value());
            true
        })
        .await
    }

    /// Removes a certificate without a proof, for who may write to the application. One that is not there is
    /// left at that. Returns what was put back, as [`add_key_by_patch`](Self::add_key_by_patch) does.
    ///
    /// # Errors
    ///
    /// As [`add_key_by_patch`](Self::add_key_by_patch).
    pub async fn remove_key_by_patch(
        &self,
        key_id: &KeyId,
        policy: &ConfirmPolicy,
    ) -> Result<Vec<KeyCredential>, GraphError> {
        self.merge_keys(policy, |keys| {
            let before = keys.len();
            keys.retain(|one| id_of(one) != Some(*key_id));
            keys.len() < before
        })
        .await
    }

    fn read_keys(&self) -> Call {
        let path = self
            .key
            .path(&[])
            .query("$select", "id,appId,keyCredentials");
        Call::read("keyCredentials", path)
    }
}

fn id_of(key: &Value) -> Option<KeyId> {
    key["keyId"].as_str()?.parse().ok()
}
