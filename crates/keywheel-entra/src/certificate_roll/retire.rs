use keywheel_connection::{ConnectionId, ConnectionStore, Credential};
use keywheel_core::KeyId;
use keywheel_graph::{ApplicationClient, GraphError, Refusal, Sought, Verdict};

use super::{RollError, RollErrorKind, Rolled, decide};
use crate::access::Given;

/// How often a removal is tried whose effect does not show.
const TRIES: usize = 3;

impl Rolled {
    /// Removes the certificate from before, by its own key id and no other, and sees that it is gone. The last
    /// step of a roll.
    ///
    /// Call it when every process that authenticates with the old certificate has loaded the new one. `id` is
    /// the connection in `store`: while what is stored there is not the new certificate, nothing is removed,
    /// because a restart would be locked out. The new certificate is proven once more first. Tokens that the
    /// old one got stay valid until they end.
    ///
    /// Returns the key ids that are gone; none when it was gone already. May be stopped anywhere and called
    /// again.
    ///
    /// # Errors
    ///
    /// [`NotStored`](RollErrorKind::NotStored) when the connection is not by the new certificate, and see
    /// [`RollErrorKind`].
    pub async fn retire_previous(
        &self,
        store: &dyn ConnectionStore,
        id: ConnectionId,
    ) -> Result<Vec<KeyId>, RollError> {
        self.check_stored(store, id).await?;
        let token = self.roll.proof(&self.next).await?;
        let access = self.roll.access.by(Given(token));
        let graph = access.graph();
        let application = graph.application(access.client);
        let keys = application.settled_keys(&self.roll.policy.confirm).await;
        let keys = keys.map_err(|error| self.roll.failed(error))?;
        if decide::ids(&keys, &self.next).next().is_none() {
            return Err(RollError::unsettled());
        }
        let previous: Vec<_> = decide::ids(&keys, &self.roll.current).collect();
        for key_id in &previous {
            self.remove(&application, key_id).await?;
            tracing::info!(client_id = %access.client, %key_id, "certificate.removed");
        }
        Ok(previous)
    }

    async fn check_stored(
        &self,
        store: &dyn ConnectionStore,
        id: ConnectionId,
    ) -> Result<(), RollError> {
        let stored = store.load(id).await.map_err(|error| {
            let message = "the store does not answer, and what it holds decides; call again";
            RollError::new(RollErrorKind::Unavailable, message).because(error)
        })?;
        let connection = stored.map(|stored| stored.connection);
        let is_new = connection.is_some_and(|connection| {
            connection.client == self.roll.access.client
                && matches!(&connection.credential, Credential::Certificate(held)
                    if held.thumbprint == self.next.thumbprint())
        });
        if is_new {
            return Ok(());
        }
        Err(RollError::new(
            RollErrorKind::NotStored,
            "the stored connection does not authenticate with the new certificate, and would be locked out \
             without the old one: replace its certificate first (Enrolment::replace_certificate), then call \
             again",
        ))
    }

    async fn remove(
        &self,
        application: &ApplicationClient<'_>,
        key_id: &KeyId,
    ) -> Result<(), RollError> {
        let (sought, policy) = (Sought::KeyId(*key_id), &self.roll.policy.confirm);
        for _ in 0..TRIES {
            match self.remove_once(application, key_id).await? {
                Ok(()) => {}
                Err(error) if error.refusal() == Some(Refusal::UnknownKey) => {}
                Err(error) if error.may_have_effect() => {}
                Err(error) => return Err(self.roll.failed(error)),
            }
            let looked = application.confirm_absent(&sought, policy).await;
            match looked.map_err(|error| self.roll.failed(error))?.verdict {
                Verdict::Absent => return Ok(()),
                Verdict::Present => {}
                _ => break,
            }
        }
        Err(RollError::unsettled())
    }

    /// The new certificate vouches; where Graph does not know it yet, the one that is to go. The outer error
    /// says that it was not tried.
    async fn remove_once(
        &self,
        application: &ApplicationClient<'_>,
        key_id: &KeyId,
    ) -> Result<Result<(), GraphError>, RollError> {
        let proof = self.roll.possession(application, &self.next).await?;
        let removed = application.remove_key(key_id, &proof).await;
        let refused = |error: &GraphError| error.refusal() == Some(Refusal::BadProof);
        if !removed.as_ref().is_err_and(refused) {
            return Ok(removed);
        }
        let current = &self.roll.current;
        let proof = self.roll.possession(application, current).await?;
        Ok(application.remove_key(key_id, &proof).await)
    }
}
