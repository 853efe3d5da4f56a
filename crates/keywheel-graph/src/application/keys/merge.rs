//! Writing a list that can only be replaced as a whole, without losing what others do to it.

use keywheel_core::KeyId;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::id_of;
use crate::application::ApplicationClient;
use crate::call::{Call, Repeat};
use crate::wire::nullable;
use crate::{ConfirmPolicy, GraphError, GraphErrorKind, KeyCredential};

/// How often what was lost is put back: each time is a write that may lose something itself.
const ROUNDS: usize = 3;

/// What several reads in a row showed, and on the way there any of them.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) list: Vec<Value>,
    seen: Vec<Value>,
}

impl Settled {
    fn note(&mut self, read: Vec<Value>) {
        let new = read.iter().filter(|one| !holds(&self.seen, one));
        let new: Vec<_> = new.cloned().collect();
        self.seen.extend(new);
        self.list = read;
    }
}

/// Returns what a write dropped: what the reads after it show for a while, and none before it did.
///
/// What is `known` from before was sent back by us, or gone by then: somebody else removed it, and it stays
/// gone.
fn lost(known: &[Value], after: &Settled) -> Vec<Value> {
    let seen = after.seen.iter().filter(|one| one["key"].is_string());
    seen.filter(|one| !holds(known, one) && !holds(&after.list, one))
        .cloned()
        .collect()
}

/// A list that names a certificate which is gone by now is an invalid request.
fn is_worth_another_look(error: &GraphError) -> bool {
    matches!(
        error.kind(),
        GraphErrorKind::Conflict | GraphErrorKind::InvalidRequest | GraphErrorKind::Throttled
    )
}

fn holds(list: &[Value], key: &Value) -> bool {
    list.iter().any(|one| id_of(one) == id_of(key))
}

/// An entry that is there already is sent back by its key id, without its bytes: they could not have
/// changed, and Graph leaves them out at times.
fn kept(list: &[Value]) -> Vec<Value> {
    let mut kept = list.to_vec();
    for key in kept.iter_mut().filter(|key| key["keyId"].is_string()) {
        key["key"] = Value::Null;
    }
    kept
}

fn ids(keys: &[Value]) -> Vec<Option<KeyId>> {
    let mut ids: Vec<_> = keys.iter().map(id_of).collect();
    ids.sort();
    ids
}

/// Reads entries that Graph wrote; one that is none is left out.
pub(super) fn typed(list: Vec<Value>) -> Vec<KeyCredential> {
    let read = list.into_iter().map(serde_json::from_value);
    read.filter_map(Result::ok).collect()
}

impl ApplicationClient<'_> {
    /// Carries out a change of the list, which says whether there is anything to be done. Returns what had to
    /// be put back.
    pub(super) async fn merge_keys(
        &self,
        policy: &ConfirmPolicy,
        change: impl Fn(&mut Vec<Value>) -> bool + Send + Sync,
    ) -> Result<Vec<KeyCredential>, GraphError> {
        let _turn = self.graph.traffic().turn(&self.lane()).await;
        let Some((mut known, unheard)) = self.change_keys(policy, &change).await? else {
            return Ok(Vec::new());
        };
        let mut restored = Vec::new();
        for _ in 0..ROUNDS {
            let after = self.settled(policy).await?;
            let lost = lost(&known, &after);
            if lost.is_empty() {
                let is_done = !change(&mut after.list.clone());
                let failed = unheard.filter(|_| !is_done);
                return failed.map_or_else(|| Ok(typed(restored)), Err);
            }
            self.put_back(&after.list, &lost).await?;
            known.extend(lost.iter().cloned());
            restored.extend(lost);
        }
        Ok(typed(restored))
    }

    /// Writes the changed list, and returns what was seen before, with the error that leaves the effect open;
    /// `None` when nothing is to be changed.
    ///
    /// A list that was refused is not sent again: whoever was in the way may have changed it.
    async fn change_keys(
        &self,
        policy: &ConfirmPolicy,
        change: &(impl Fn(&mut Vec<Value>) -> bool + Send + Sync),
    ) -> Result<Option<(Vec<Value>, Option<GraphError>)>, GraphError> {
        let mut refused = None;
        for _ in 0..ROUNDS {
            let Settled { list: before, seen } = self.settled(policy).await?;
            let same = |(list, error): &mut (Vec<Value>, GraphError)| {
                !error.is_transient() && ids(list) == ids(&before)
            };
            if let Some((_, error)) = refused.take_if(same) {
                return Err(error);
            }
            let mut changed = before.clone();
            if !change(&mut changed) {
                return Ok(None);
            }
            match self.patch_keys(&kept(&changed)).await {
                Ok(()) => return Ok(Some((seen, None))),
                Err(error) if error.may_have_effect() => return Ok(Some((seen, Some(error)))),
                Err(error) if is_worth_another_look(&error) => refused = Some((before, error)),
                Err(error) => return Err(error),
            }
        }
        let open =
            || GraphError::unsettled("the certificates were changed all the time; try again");
        Err(refused.map_or_else(open, |(_, error)| error))
    }

    async fn put_back(&self, list: &[Value], lost: &[Value]) -> Result<(), GraphError> {
        for key in lost {
            let (key_id, name) = (id_of(key), key["displayName"].as_str());
            tracing::warn!(?key_id, name, "graph.certificate_put_back");
        }
        let mut whole = kept(list);
        whole.extend(lost.iter().cloned());
        self.patch_keys(&whole).await
    }

    async fn patch_keys(&self, keys: &[Value]) -> Result<(), GraphError> {
        let body = serde_json::json!({ "keyCredentials": keys });
        let call = Call::patch("patchKeys", self.key.path(&[]), &body);
        // Whoever does it again must read again.
        let call = call.repeat(Repeat::IfUnsent);
        self.graph.send(&call).await.map(drop)
    }

    /// Reads until several reads in a row show the same certificates.
    pub(super) async fn settled(&self, policy: &ConfirmPolicy) -> Result<Settled, GraphError> {
        let started = Instant::now();
        let mut settled = Settled::default();
        let mut agree = 0;
        loop {
            let read = self.raw_keys().await?;
            let same = agree > 0 && ids(&read) == ids(&settled.list);
            agree = if same { agree + 1 } else { 1 };
            settled.note(read);
            if agree >= policy.agree {
                return Ok(settled);
            }
            if started.elapsed() + policy.interval > policy.max_elapsed {
                return Err(GraphError::unsettled(
                    "reads of the certificates do not agree, so that some would be missed; try again when \
                     nobody changes them",
                ));
            }
            sleep(policy.interval).await;
        }
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
}
