use keywheel_core::{KeyId, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

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

    /// Registers a certificate without a proof, for who may write to the application. One that is registered
    /// already is left as it is.
    ///
    /// `PATCH` replaces the whole list, so what is there is read and sent back untouched: the list is read
    /// until `policy.agree` reads in a row show the same certificates, because one that a replica does not
    /// know yet would be lost. Other writers in this process wait; others elsewhere must not change
    /// certificates at the same time.
    ///
    /// # Errors
    ///
    /// Returns an error when the list did not come to rest, or could not be written. When
    /// [`may_have_effect`](GraphError::may_have_effect), do it again: that finds out.
    pub async fn add_key_by_patch(
        &self,
        key: &NewKey,
        policy: &ConfirmPolicy,
    ) -> Result<(), GraphError> {
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
    /// left at that.
    ///
    /// # Errors
    ///
    /// As [`add_key_by_patch`](Self::add_key_by_patch).
    pub async fn remove_key_by_patch(
        &self,
        key_id: &KeyId,
        policy: &ConfirmPolicy,
    ) -> Result<(), GraphError> {
        let is_it = |one: &Value| id_of(one) == Some(*key_id);
        self.merge_keys(policy, |keys| {
            let before = keys.len();
            keys.retain(|one| !is_it(one));
            keys.len() < before
        })
        .await
    }

    async fn merge_keys(
        &self,
        policy: &ConfirmPolicy,
        change: impl FnOnce(&mut Vec<Value>) -> bool,
    ) -> Result<(), GraphError> {
        let _turn = self.graph.traffic().turn(&self.lane()).await;
        let mut keys = self.settled_keys(policy).await?;
        if !change(&mut keys) {
            return Ok(());
        }
        for key in &mut keys {
            keep(key);
        }
        let body = serde_json::json!({ "keyCredentials": keys });
        let call = Call::patch("patchKeys", self.key.path(&[]), &body);
        // Whoever does it again must read again.
        let call = call.repeat(Repeat::IfRefused);
        self.graph.send(&call).await.map(drop)
    }

    /// Reads until several reads in a row show the same certificates.
    async fn settled_keys(&self, policy: &ConfirmPolicy) -> Result<Vec<Value>, GraphError> {
        let started = tokio::time::Instant::now();
        let (mut last, mut agree) = (self.raw_keys().await?, 1);
        while agree < policy.agree.max(1) {
            if started.elapsed() + policy.interval > policy.max_elapsed {
                return Err(GraphError::protocol(
                    "reads of the certificates do not agree, and writing the list would lose some; try again \
                     when nobody changes them",
                ));
            }
            sleep(policy.interval).await;
            let next = self.raw_keys().await?;
            agree = if ids(&next) == ids(&last) {
                agree + 1
            } else {
                1
            };
            last = next;
        }
        Ok(last)
    }

    async fn raw_keys(&self) -> Result<Vec<Value>, GraphError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Keys {
            #[serde(default, deserialize_with = "nullable")]
            key_credentials: Vec<Value>,
        }
        let keys: Keys = self.graph.json(&self.read_keys()).await?;
        Ok(keys.key_credentials)
    }

    fn read_keys(&self) -> Call {
        let path = self
            .key
            .path(&[])
            .query("$select", "id,appId,keyCredentials");
        Call::read("keyCredentials", path)
    }
}

/// An entry that is there already is sent back by its key id, without its bytes: they could not have
/// changed, and Graph leaves them out at times.
fn keep(key: &mut Value) {
    if key["keyId"].is_string() {
        key["key"] = Value::Null;
    }
}

fn ids(keys: &[Value]) -> Vec<Option<KeyId>> {
    let mut ids: Vec<_> = keys.iter().map(id_of).collect();
    ids.sort();
    ids
}

fn id_of(key: &Value) -> Option<KeyId> {
    key["keyId"].as_str()?.parse().ok()
}
