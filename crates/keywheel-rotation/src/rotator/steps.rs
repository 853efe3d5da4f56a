use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Access, Actor, Cause, Connection, EventKind, IssuerErrorKind, Marker, Minted, NewSecret,
    Removal, RotationId, SecretSink, SinkError, TroubleKind,
};
use keywheel_core::{KeyId, Report};

use super::save::Fold;
use super::{RotateError, RotateErrorKind, Rotator, Work};
use crate::Step;
use crate::apply::Outcome;
use crate::failure::{Failure, lifetime};

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
            rotation: in_progress(&work.connection).unwrap_or_else(|| attempt.into()),
            cause,
            marker,
        };
        self.save(work, Some(&intent), Fold::Nothing).await?;

        let connection = Box::new(work.connection.clone());
        let access = authority.access(&connection);
        let end = self.end_of_life(&connection);
        let mint = self.parts().issuer.mint(&access, &marker, end);
        let outcome = match self.holding(&work.lease, mint).await {
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
    /// may have been made, or may be yet; only one that another lease has overtaken can't be.
    async fn is_nobodys(&self, outcome: &Outcome, work: &Work, error: &RotateError) -> bool {
        let Outcome::Minted { key_id, .. } = outcome else {
            return true;
        };
        if error.kind() != RotateErrorKind::LeaseLost {
            return false;
        }
        let newest = self.newest(work).await;
        newest.is_ok_and(|newest| !holds(&newest.connection, *key_id))
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
        if let Err(error) = self.parts().issuer.prove(&access).await {
            return Some(match error.kind() {
                IssuerErrorKind::Refused => Outcome::ProofRefused,
                _ => Outcome::ProofFailed(Failure::from(&error)),
            });
        }
        if candidate.proofs.saturating_add(1) < rotation.settings.proofs {
            return Some(Outcome::Proved { read: None });
        }
        // The last proof: the token must be good for something. A managed application's own token need
        // not be good for Graph; there the reader is who manages it.
        Some(match connection.credential.via() {
            None => self.read(&access).await,
            Some(_) => match self.authority(connection).await {
                Ok(authority) => self.read(&authority.access(connection)).await,
                Err(failure) => Outcome::ProofFailed(failure),
            },
        })
    }

    async fn read(&self, access: &Access<'_>) -> Outcome {
        match self.parts().issuer.inspect(access).await {
            Ok(read) => Outcome::Proved { read: Some(read) },
            Err(error) => Outcome::ProofFailed(Failure::from(&error)),
        }
    }

    async fn publish(&self, connection: &Connection, sink: usize) -> Option<Outcome> {
        let sink = self.parts().sinks.before.get(sink)?;
        let candidate = connection.rotation.as_ref()?.candidate()?;
        let access = match self.with_candidate(connection, candidate).await {
            Ok(access) => access,
            Err(failure) => return Some(Outcome::PublishFailed(failure)),
        };
        let facts = (Some(candidate.key_id), candidate.end);
        let new = NewSecret::new(connection, candidate.generation, facts, access.secret);
        Some(match sink.publish(&new).await {
            Ok(()) => Outcome::Published {
                sink: sink.name().to_owned(),
            },
            Err(error) => Outcome::PublishFailed(sink_failure(sink, &error)),
        })
    }

    async fn deliver(&self, connection: &Connection, sink: usize) -> Option<Outcome> {
        let sink = self.parts().sinks.after.get(sink)?;
        let name = sink.name().to_owned();
        let current = &connection.secrets()?.current;
        let secret = match self.open(connection, current).await {
            Ok(secret) => secret,
            Err(error) => {
                let failure = Failure::from(&error);
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
            Err(error) => Outcome::DeliveryFailed {
                sink: name,
                failure: sink_failure(sink, &error),
            },
        })
    }

    async fn inspect(&self, connection: &Connection) -> Outcome {
        let authority = match self.authority(connection).await {
            Ok(authority) => authority,
            Err(failure) => return Outcome::InspectFailed(failure),
        };
        let access = authority.access(connection);
        match self.parts().issuer.inspect(&access).await {
            Ok(read) => Outcome::Inspected(read),
            Err(error) => Outcome::InspectFailed(Failure::from(&error)),
        }
    }

    async fn retire(&self, connection: &Connection, key_id: KeyId) -> Outcome {
        let failed = |failure| Outcome::RemoveFailed { key_id, failure };
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

    /// Takes the connection out of the store; its journal stays.
    pub(super) async fn delete(&self, work: &mut Work) -> Result<(), RotateError> {
        let left = work
            .connection
            .secrets()
            .and_then(|secrets| secrets.current.key_id)
            .filter(|_| is_given(&work.connection));
        let kind = EventKind::ConnectionDeleted {
            left: left.into_iter().collect(),
        };
        let mut connection = work.connection.clone();
        let entry = connection.record(&Actor::engine(), self.now(), kind);
        self.save_deleting(work, connection, entry).await
    }
}

fn holds(connection: &Connection, key_id: KeyId) -> bool {
    let (secrets, rotation) = (connection.secrets(), connection.rotation.as_ref());
    let current = secrets.and_then(|secrets| secrets.current.key_id);
    let previous = secrets.and_then(|secrets| secrets.previous.as_ref()?.key_id);
    let candidate = rotation.and_then(|rotation| Some(rotation.candidate()?.key_id));
    [current, previous, candidate].contains(&Some(key_id))
}

/// A secret that somebody gave is not ours to remove.
fn is_given(connection: &Connection) -> bool {
    connection
        .secrets()
        .is_some_and(|secrets| secrets.current.origin == keywheel_connection::Origin::Given)
}

fn sink_failure(sink: &Arc<dyn SecretSink>, error: &SinkError) -> Failure {
    let message = format!("sink {:?}: {}", sink.name(), Report(error));
    Failure::new(TroubleKind::Transient, message)
}

fn in_progress(connection: &Connection) -> Option<RotationId> {
    connection.rotation.as_ref()?.in_progress()
}
