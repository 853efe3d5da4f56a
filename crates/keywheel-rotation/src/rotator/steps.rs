use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Access, Cause, Connection, DebtReason, EventKind, Inspection, IssuerError, IssuerErrorKind,
    Marker, Minted, NewSecret, Proof, Removal, RotationId, SinkError, TroubleKind,
};
use keywheel_core::{KeyId, Report};
use tokio::time::Instant;

use super::save::Fold;
use super::{RotateError, RotateErrorKind, Rotator, Work};
use crate::Step;
use crate::apply::Outcome;
use crate::connections::strays;
use crate::failure::{Failure, lifetime};
use crate::policy::wanted;

impl Rotator {
    /// Carries out an effect. Returns `None` for a step that changes the record only, and when what the
    /// step is about is not there, which only a newer record can say.
    pub(super) async fn carry_out(&self, connection: &Connection, step: &Step) -> Option<Outcome> {
        match step {
            Step::Prove => self.prove(connection).await,
            Step::Publish { sink } => self.publish(connection, *sink).await,
            Step::Deliver { sink } => self.deliver(connection, *sink).await,
            Step::Inspect => Some(self.inspect(connection).await),
            Step::Retire { key_id } => Some(self.retire(connection, *key_id).await),
            _ => None,
        }
    }

    /// Stores the intent, mints, and stores what came of it.
    pub(super) async fn mint(
        &self,
        work: &mut Work,
        cause: Cause,
        generation: u64,
    ) -> Result<(), RotateError> {
        // Before the intent: without a secret to authenticate with, nothing can be minted.
        let authority = match self.authority(&work.connection).await {
            Ok(authority) => authority,
            Err(failure) => {
                return self.commit(work, Some(&Outcome::MintFailed(failure))).await;
            }
        };
        let attempt = self.parts().entropy.uuid();
        let marker = Marker::new(work.connection.id, generation, attempt);
        let intent = Outcome::Intended {
            rotation: unfinished(&work.connection).unwrap_or_else(|| attempt.into()),
            cause,
            marker,
        };
        let asked = Instant::now();
        if !self.save(work, Some(&intent), Fold::Nothing).await? {
            // Somebody changed the connection. Whether there is still something to mint is to be decided
            // anew.
            return Ok(());
        }
        if asked.elapsed() >= self.policy().lease / 2 {
            // Held up for so long, a call could leave after another process took over and looked for it.
            let failure = Failure::new(TroubleKind::Transient, HELD_UP.to_owned());
            return self.commit(work, Some(&Outcome::MintFailed(failure))).await;
        }

        let connection = Arc::clone(&work.connection);
        let access = authority.access(&connection);
        let end = self.end_of_life(&connection);
        let mint = self.parts().issuer.mint(&access, &marker, end);
        let outcome = match self.holding_to_the_end(&work.lease, mint).await {
            Ok(minted) => self.keep(&connection, marker, minted).await,
            Err(error) if error.kind() == IssuerErrorKind::Unknown => {
                Outcome::MintUnknown(Failure::from(&error))
            }
            Err(error) => Outcome::MintFailed(Failure::from(&error)),
        };
        let saved = self.commit(work, Some(&outcome)).await;
        if let Err(error) = &saved
            && self.is_nobodys(&outcome, work, error).await
        {
            self.undo(&access, &outcome).await;
        }
        saved
    }

    /// Whether the store certainly does not hold what was minted, and never will. A save without an answer
    /// may have been made, or may be yet; only one that another lease or a deletion has overtaken can't be.
    async fn is_nobodys(&self, outcome: &Outcome, work: &Work, error: &RotateError) -> bool {
        let Outcome::Minted { key_id, .. } = outcome else {
            return true;
        };
        if error.kind() == RotateErrorKind::Store {
            return false;
        }
        match self.newest(work).await {
            Ok(newest) => !holds(&newest.connection, *key_id),
            Err(error) if error.kind() == RotateErrorKind::Gone => {
                self.is_unheard_of(work, *key_id).await
            }
            Err(_) => false,
        }
    }

    /// Whether a connection was deleted without ever having held a secret that was minted. An answer may have
    /// been lost, and the secret been in use when the connection was deleted and its secrets left: the journal
    /// tells. Without a tombstone it was not deleted but lost, as by a restored backup, and nothing is certain.
    async fn is_unheard_of(&self, work: &Work, key_id: KeyId) -> bool {
        let (store, connection) = (&self.parts().store, &work.connection);
        let tombstone = store.tombstone(connection.id).await;
        if !tombstone.is_ok_and(|tombstone| tombstone.is_some()) {
            return false;
        }
        // Had it been saved, then as what came next: a save is made upon the version that it was decided on.
        let next = store.journal(connection.id, connection.journal.seq, FEW);
        let (next, key_id) = (next.await.unwrap_or_default(), key_id.to_string());
        !next.is_empty() && !next.iter().any(|entry| entry.body.contains(&key_id))
    }

    async fn keep(&self, connection: &Connection, marker: Marker, minted: Minted) -> Outcome {
        let (key_id, end) = (minted.key_id, minted.end);
        let context = connection.seal_context(marker.generation());
        match self.parts().sealer.seal(&minted.secret, &context).await {
            Ok(sealed) => Outcome::Minted {
                marker,
                key_id,
                sealed,
                end,
            },
            Err(error) => Outcome::MintedInVain {
                marker,
                key_id,
                failure: Failure::from(&error),
            },
        }
    }

    /// Removes a secret that could not be stored. If that fails too, its marker is in the store, and
    /// whoever takes the lease next looks for it.
    async fn undo(&self, access: &Access<'_>, outcome: &Outcome) {
        if let Outcome::Minted { key_id, .. } | Outcome::MintedInVain { key_id, .. } = outcome {
            drop(self.parts().issuer.remove(access, key_id).await);
        }
    }

    fn end_of_life(&self, connection: &Connection) -> DateTime<Utc> {
        let rotation = connection.rotation.as_ref();
        self.now() + rotation.map_or(TimeDelta::days(90), lifetime)
    }

    async fn prove(&self, connection: &Connection) -> Option<Outcome> {
        let rotation = connection.rotation.as_ref()?;
        let candidate = rotation.candidate()?;
        let access = match self.with_candidate(connection, candidate).await {
            Ok(access) => access,
            Err(failure) => return Some(Outcome::ProofFailed(failure)),
        };
        if let Err(error) = self.hear_proof(&access).await {
            return Some(unproven(&error));
        }
        if candidate.proofs.saturating_add(1) < rotation.settings.proofs {
            return Some(Outcome::Proved { read: None });
        }
        // The last proof: the token must be good for something. A managed application's own token need
        // not be good for Graph; there the reader is who manages it.
        Some(match connection.credential.via() {
            None => match self.read(&access).await {
                Ok(read) => Outcome::Proved { read: Some(read) },
                Err(failure) if failure.is_refusal() => Outcome::ProofRefused,
                Err(failure) => Outcome::ProvedUnread(failure),
            },
            Some(_) => match self.read_by_authority(connection).await {
                Ok(read) => Outcome::Proved { read: Some(read) },
                Err(failure) => Outcome::ProvedUnread(failure),
            },
        })
    }

    /// Proves a secret, and takes in what the answer says of the time.
    async fn hear_proof(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        let sent = Instant::now();
        let proof = self.parts().issuer.prove(access).await?;
        let wall = self.parts().clock.now();
        let skew = self.0.clocks.hear(sent.elapsed(), wall, proof.at);
        crate::metrics::clock_skew(skew);
        Ok(proof)
    }

    async fn read_by_authority(&self, connection: &Connection) -> Result<Inspection, Failure> {
        let authority = self.authority(connection).await?;
        self.read(&authority.access(connection)).await
    }

    /// Reads the application, which must be the one that the connection was made for.
    async fn read(&self, access: &Access<'_>) -> Result<Inspection, Failure> {
        let read = self.parts().issuer.inspect(access).await;
        let read = read.map_err(|error| Failure::from(&error))?;
        match access.connection.application {
            Some(known) if known != read.application => Err(Failure::new(
                TroubleKind::ApplicationUnusable,
                format!(
                    "the application with this client id is another one than before (object id {}, was \
                     {known}): it was deleted and made again; give the connection its new credential, or \
                     delete it",
                    read.application
                ),
            )),
            _ => Ok(read),
        }
    }

    async fn publish(&self, connection: &Connection, sink: usize) -> Option<Outcome> {
        let (names, sinks) = (&self.policy().sinks_before, &self.parts().sinks.before);
        let (name, sink) = wanted(names, sinks, connection).nth(sink)?;
        let candidate = connection.rotation.as_ref()?.candidate()?;
        let access = match self.with_candidate(connection, candidate).await {
            Ok(access) => access,
            Err(failure) => return Some(Outcome::PublishFailed(failure)),
        };
        // The promotion follows, and with it the grace begins: by the directory's time. A process that took
        // over after the last proof does not know it yet.
        if !self.0.clocks.is_told(self.parts().clock.now())
            && let Err(error) = self.hear_proof(&access).await
        {
            return Some(unproven(&error));
        }
        let facts = (Some(candidate.key_id), candidate.end);
        let new = NewSecret::new(connection, candidate.generation, facts, access.secret);
        Some(match sink.publish(&new).await {
            Ok(()) => Outcome::Published {
                sink: name.to_owned(),
            },
            Err(error) => Outcome::PublishFailed(sink_failure(name, &error)),
        })
    }

    async fn deliver(&self, connection: &Connection, sink: usize) -> Option<Outcome> {
        let (policy, sinks) = (self.policy(), &self.parts().sinks);
        let before = wanted(&policy.sinks_before, &sinks.before, connection);
        let after = wanted(&policy.sinks_after, &sinks.after, connection);
        let (name, sink) = after.chain(before).nth(sink)?;
        let name = name.to_owned();
        let current = &connection.secrets()?.current;
        let secret = match self.open(connection, current).await {
            Ok(secret) => secret,
            Err(error) => {
                let failure = Failure::from(&error).at_sink(&name);
                return Some(Outcome::DeliveryFailed {
                    sink: name,
                    failure,
                });
            }
        };
        let facts = (current.key_id, current.end);
        let new = NewSecret::new(connection, current.generation, facts, secret);
        Some(match sink.publish(&new).await {
            Ok(()) => Outcome::Delivered { sink: name },
            Err(error) => {
                let failure = sink_failure(&name, &error);
                Outcome::DeliveryFailed {
                    sink: name,
                    failure,
                }
            }
        })
    }

    async fn inspect(&self, connection: &Connection) -> Outcome {
        let sent_at = self.now();
        match self.read_by_authority(connection).await {
            Ok(read) => Outcome::Inspected { sent_at, read },
            Err(failure) => Outcome::InspectFailed(failure),
        }
    }

    async fn retire(&self, connection: &Connection, key_id: KeyId) -> Outcome {
        let failed = |failure| Outcome::RemoveFailed { key_id, failure };
        if is_replaced(connection, key_id)
            && !is_leaving(connection)
            && let Some(reason) = self.must_stay(connection, key_id).await
        {
            return reason;
        }
        let authority = match self.authority(connection).await {
            Ok(authority) => authority,
            Err(failure) => return failed(failure),
        };
        let access = authority.access(connection);
        match self.parts().issuer.remove(&access, &key_id).await {
            Ok(Removal::Removed) => Outcome::Removed { key_id },
            Ok(Removal::NotFound) => Outcome::RemoveNotFound { key_id },
            Err(error) => failed(Failure::from(&error)),
        }
    }

    /// Says why a replaced secret must not go yet: the current one does not work, or its grace is not over
    /// by the directory's clock.
    async fn must_stay(&self, connection: &Connection, key_id: KeyId) -> Option<Outcome> {
        let grace = grace(connection, key_id);
        let shown = self.parts().clock.now();
        match self.prove_current(connection, grace.is_some()).await {
            Ok(proof) => {
                let (told, due) = (proof.at?, grace?);
                (told + EARLY < due).then_some(Outcome::TooEarly {
                    key_id,
                    shown,
                    told,
                    due,
                })
            }
            Err(failure) if failure.is_refusal() => {
                let failure = failure.passing();
                Some(Outcome::CurrentRefused { key_id, failure })
            }
            Err(failure) => Some(Outcome::RemoveFailed { key_id, failure }),
        }
    }

    /// Proves that the current secret works before the one that it replaced goes: since its last proof
    /// somebody may have removed it, and then the other one is all that works (G1). Where there was no
    /// grace, the proof before the promotion serves.
    async fn prove_current(&self, connection: &Connection, grace: bool) -> Result<Proof, Failure> {
        let Some(secrets) = connection.secrets() else {
            return Ok(Proof::default());
        };
        let current = &secrets.current;
        let proven_for = self.now() - current.since;
        let fresh = proven_for.abs() <= self.policy().fresh;
        if !grace && current.refused_since.is_none() && fresh {
            return Ok(Proof::default());
        }
        let secret = self.open(connection, current).await;
        let secret = secret.map_err(|error| Failure::from(&error))?;
        let access = Access::new(connection, current.generation, secret);
        let proof = self.hear_proof(&access).await;
        proof.map_err(|error| Failure::from(&error))
    }

    /// Takes the connection out of the store; its journal stays.
    pub(super) async fn delete(&self, work: &mut Work) -> Result<(), RotateError> {
        let left = work
            .connection
            .secrets()
            .and_then(|secrets| secrets.current.key_id)
            .filter(|_| is_given(&work.connection));
        let kind = EventKind::ConnectionDeleted {
            left: left.into_iter().chain(strays(&work.connection)).collect(),
            unresolved: Vec::new(),
        };
        self.save_deleting(work, kind).await
    }
}

/// More entries than one save of a mint writes.
const FEW: u32 = 16;

fn holds(connection: &Connection, key_id: KeyId) -> bool {
    let (secrets, rotation) = (connection.secrets(), connection.rotation.as_ref());
    let current = secrets.and_then(|secrets| secrets.current.key_id);
    let previous = secrets.and_then(|secrets| secrets.previous.as_ref()?.key_id);
    let candidate = rotation.and_then(|rotation| Some(rotation.candidate()?.key_id));
    [current, previous, candidate].contains(&Some(key_id))
}

/// A connection that is deleted needs no secret that works: all of them go.
fn is_leaving(connection: &Connection) -> bool {
    let rotation = connection.rotation.as_ref();
    rotation.is_some_and(|rotation| rotation.farewell.is_some())
}

/// A secret that somebody gave is not ours to remove.
fn is_given(connection: &Connection) -> bool {
    connection
        .secrets()
        .is_some_and(|secrets| secrets.current.origin == keywheel_connection::Origin::Given)
}

fn sink_failure(sink: &str, error: &SinkError) -> Failure {
    Failure::new(TroubleKind::Transient, Report(error).to_string()).at_sink(sink)
}

/// A candidate that is refused is the candidate's trouble, and says nothing of the secret in use.
fn unproven(error: &IssuerError) -> Outcome {
    let failure = Failure::from(error);
    if failure.is_refusal() {
        Outcome::ProofRefused
    } else {
        Outcome::ProofFailed(failure)
    }
}

/// How much sooner than its end a grace may be ended: as far as clocks that agree are apart at most.
const EARLY: TimeDelta = TimeDelta::seconds(10);

/// When the grace of a secret ends, if it has one.
fn grace(connection: &Connection, key_id: KeyId) -> Option<DateTime<Utc>> {
    let mut debts = connection.rotation.iter().flat_map(|r| &r.debts);
    let debt = debts.find(|debt| debt.key_id == key_id && debt.due > debt.since)?;
    Some(debt.due)
}

/// Whether this is a secret that was in use until another one took its place.
fn is_replaced(connection: &Connection, key_id: KeyId) -> bool {
    let mut debts = connection.rotation.iter().flat_map(|r| &r.debts);
    debts.any(|debt| debt.key_id == key_id && debt.reason == DebtReason::Superseded)
}

const HELD_UP: &str = "the process was held up between noting that it would mint a secret and asking for \
                       it, so it did not ask; it will try again";

/// The rotation that a mint is for. One whose secret is in use already is overtaken by another.
fn unfinished(connection: &Connection) -> Option<RotationId> {
    let rotation = connection.rotation.as_ref()?;
    let run = rotation.run.filter(|run| run.promoted_at.is_none());
    run.map_or_else(|| rotation.asked_for(), |run| Some(run.id))
}
