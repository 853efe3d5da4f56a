use std::fmt;

use chrono::{DateTime, Utc};
use keywheel_connection::{
    Cause, Connection, Debt, DebtReason, Inspection, Marker, RotationId, RotationRequest, Sealed,
};
use keywheel_core::KeyId;
use serde::Serialize;
use uuid::Uuid;

use crate::apply::{Outcome, apply};
use crate::rotator::record_only;
use crate::{Policy, Step, Waiting, decide};

/// What a rotation that began now would do, if all went well: a dry run.
///
/// It is made by the same state machine, on a copy of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Every call, in order.
    pub calls: Vec<PlannedCall>,
    /// What holds it up after the last of them, for somebody to end: a pause.
    pub held: Option<Waiting>,
}

/// A call that would be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedCall {
    /// Not before.
    pub at: DateTime<Utc>,
    /// Which call.
    pub call: Call,
    /// The secret that it is about. `None` for the new one, which has no key id yet.
    pub key_id: Option<KeyId>,
}

/// A kind of call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Call {
    /// `addPassword`, with this display name but for its last word.
    AddPassword {
        /// The generation of the new secret.
        generation: u64,
    },
    /// A token, with exactly the new secret.
    Token,
    /// A read of the application.
    ReadApplication,
    /// The new secret, to a sink.
    Sink(String),
    /// `removePassword`.
    RemovePassword,
}

/// More steps than any rotation has.
const LIMIT: usize = 2000;

impl Plan {
    pub(crate) fn of(connection: &Connection, now: DateTime<Utc>, policy: &Policy) -> Self {
        let mut run = DryRun {
            connection: connection.clone(),
            now,
            policy,
            calls: Vec::new(),
            held: None,
        };
        run.request();
        for _ in 0..LIMIT {
            if !run.step() {
                break;
            }
        }
        Self {
            calls: run.calls,
            held: run.held,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for call in &self.calls {
            writeln!(f, "{}  {call}", call.at.format("%F %H:%M:%S UTC"))?;
        }
        match self.held {
            Some(Waiting::Paused) => writeln!(f, "held up by a pause: resume it"),
            Some(why) => writeln!(f, "held up: {why:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PlannedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id = self
            .key_id
            .map_or_else(|| "the new secret".to_owned(), |id| id.to_string());
        match &self.call {
            Call::AddPassword { generation } => write!(f, "addPassword: secret {generation}"),
            Call::Token => write!(f, "token with {key_id}"),
            Call::ReadApplication => f.write_str("read the application"),
            Call::Sink(sink) => write!(f, "give {key_id} to sink {sink:?}"),
            Call::RemovePassword => write!(f, "removePassword {key_id}"),
        }
    }
}

/// What the new secret is called, which has no key id before Entra gives it one.
fn the_new_one() -> KeyId {
    KeyId::from(Uuid::nil())
}

struct DryRun<'a> {
    connection: Connection,
    now: DateTime<Utc>,
    policy: &'a Policy,
    calls: Vec<PlannedCall>,
    held: Option<Waiting>,
}

impl DryRun<'_> {
    fn request(&mut self) {
        if let Some(rotation) = &mut self.connection.rotation
            && rotation.in_progress().is_none()
        {
            let id = RotationId::from(Uuid::nil());
            rotation.request = Some(RotationRequest::new(id, Cause::Manual, self.now));
        }
    }

    /// Returns whether there is more to come.
    fn step(&mut self) -> bool {
        let step = decide(&self.connection, self.now, self.policy);
        if let Some(outcome) = record_only(&step) {
            self.apply(&outcome);
            return true;
        }
        match step {
            Step::Wait { until, why } => return self.wait(until, why),
            Step::Mint { cause, generation } => self.mint(cause, generation),
            Step::Prove => self.prove(),
            Step::Publish { sink } => {
                let sink = self.policy.sinks_before[sink].clone();
                self.call(Call::Sink(sink.clone()), self.candidate());
                self.apply(&Outcome::Published { sink });
            }
            Step::Deliver { sink } => {
                let policy = self.policy;
                let mut sinks = policy.sinks_after.iter().chain(&policy.sinks_before);
                let Some(sink) = sinks.nth(sink).cloned() else {
                    return false;
                };
                self.call(Call::Sink(sink.clone()), self.current());
                self.apply(&Outcome::Delivered { sink });
            }
            Step::Inspect => {
                self.call(Call::ReadApplication, None);
                let (sent_at, read) = (self.now, self.nothing_new());
                self.apply(&Outcome::Inspected { sent_at, read });
            }
            Step::Retire { key_id } => {
                if self.is_proven_anew(key_id) {
                    self.call(Call::Token, self.current());
                }
                self.call(Call::RemovePassword, Some(key_id));
                self.apply(&Outcome::Removed { key_id });
            }
            _ => return false,
        }
        true
    }

    /// Waits for what is unfinished, and not for what is due some day.
    fn wait(&mut self, until: Option<DateTime<Utc>>, why: Waiting) -> bool {
        let rotation = self.connection.rotation.as_ref();
        let busy = rotation.is_some_and(|rotation| {
            rotation.in_progress().is_some()
                || !rotation.debts.is_empty()
                || !rotation.deliveries.is_empty()
        });
        match until {
            Some(until) if busy => {
                self.now = until;
                true
            }
            _ => {
                self.held = Some(why).filter(|_| busy);
                false
            }
        }
    }

    fn mint(&mut self, cause: Cause, generation: u64) {
        let marker = Marker::new(self.connection.id, generation, Uuid::nil());
        let rotation = self.connection.rotation.as_ref();
        let id = rotation.and_then(|rotation| rotation.in_progress());
        self.apply(&Outcome::Intended {
            rotation: id.unwrap_or_else(|| Uuid::nil().into()),
            cause,
            marker,
        });
        self.call(Call::AddPassword { generation }, None);
        self.apply(&Outcome::Minted {
            marker,
            key_id: the_new_one(),
            sealed: Sealed::new("plan", Vec::new()),
            end: None,
        });
    }

    fn prove(&mut self) {
        let rotation = self.connection.rotation.as_ref();
        let candidate = rotation.and_then(|rotation| rotation.candidate());
        let proofs = candidate.map_or(0, |candidate| candidate.proofs + 1);
        let last = rotation.is_some_and(|rotation| proofs >= rotation.settings.proofs);
        self.call(Call::Token, self.candidate());
        if last {
            self.call(Call::ReadApplication, None);
        }
        let read = last.then(|| self.nothing_new());
        self.apply(&Outcome::Proved { read });
    }

    /// Whether the current secret is proven again before this one goes.
    fn is_proven_anew(&self, key_id: KeyId) -> bool {
        let since = self.connection.secrets().map(|s| s.current.since);
        let stale = since.is_some_and(|since| self.now - since > self.policy.fresh);
        let debts = self.connection.rotation.iter().flat_map(|r| &r.debts);
        let superseded = |debt: &Debt| debt.reason == DebtReason::Superseded;
        let mut debts = debts.filter(|debt| debt.key_id == key_id);
        debts.any(|debt| superseded(debt) && (stale || debt.due > debt.since))
    }

    fn nothing_new(&self) -> Inspection {
        let application = self.connection.application;
        Inspection::new(
            application.unwrap_or_else(|| Uuid::nil().into()),
            Vec::new(),
        )
    }

    fn candidate(&self) -> Option<KeyId> {
        let rotation = self.connection.rotation.as_ref()?;
        rotation.candidate().map(|candidate| candidate.key_id)
    }

    fn current(&self) -> Option<KeyId> {
        self.connection.secrets()?.current.key_id
    }

    fn call(&mut self, call: Call, key_id: Option<KeyId>) {
        self.calls.push(PlannedCall {
            at: self.now,
            call,
            key_id: key_id.filter(|key_id| *key_id != the_new_one()),
        });
    }

    fn apply(&mut self, outcome: &Outcome) {
        drop(apply(&mut self.connection, outcome, self.now, self.policy));
    }
}
