use keywheel_connection::{Connection, ConnectionId, Save, Trouble};
use keywheel_core::KeyId;

use super::faults::Call;
use super::world::{Moment, PROCESSES, State};

/// Who throttles says when to come back: whoever stored that comes no sooner (point 39).
#[derive(Debug, Default)]
pub(crate) struct Promises(Vec<Promise>);

/// A call that is made for a connection, and about which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) of: ConnectionId,
    pub(crate) call: Call,
    pub(crate) about: Option<KeyId>,
}

#[derive(Debug)]
struct Promise {
    errand: Errand,
    until: Moment,
    /// Whether the store knows of it: what only one process heard ends with it.
    stored: bool,
    /// Which processes know of it: the one that heard it, and those that read it since. One that was
    /// overtaken goes on with what it knew before.
    known_to: [bool; PROCESSES],
}

impl State {
    /// A call was answered with `Retry-After`.
    pub(crate) fn throttled(&mut self, process: usize, errand: Errand, until: Moment) {
        // A proof and a read serve several steps, and each step keeps a time of its own.
        if !matches!(errand.call, Call::Mint | Call::Remove) {
            return;
        }
        let Promises(promises) = &mut self.promises;
        promises.retain(|promise| promise.errand != errand);
        promises.push(Promise {
            errand,
            until,
            stored: false,
            known_to: std::array::from_fn(|other| other == process),
        });
    }

    /// A process takes the lease of a connection, and reads its record.
    pub(crate) fn reads(&mut self, process: usize, id: ConnectionId) {
        let Promises(promises) = &mut self.promises;
        for promise in promises.iter_mut().filter(|p| p.errand.of == id) {
            promise.known_to[process] |= promise.stored;
        }
    }

    /// A call leaves. G7: not before the time that was stored. Who was overtaken removes what it minted
    /// itself, and knows of no time.
    pub(crate) fn leaves(&mut self, process: usize, now: Moment, errand: Errand) {
        let record = self.truth.record(errand.of);
        if record.is_some_and(|record| record.owes_an_orphan(errand.about)) {
            return;
        }
        let Promises(promises) = &mut self.promises;
        promises.retain(|promise| now < promise.until);
        let misled = self.truth.misled;
        let early = promises.iter().find(|promise| {
            let knows = promise.stored && promise.known_to[process];
            knows && promise.errand == errand && now.plus(misled) < promise.until
        });
        if let Some(early) = early {
            let left = early.until.0 - now.0;
            self.broken(|| format!("G7: {errand:?} comes back {left} ms before its Retry-After"));
        }
    }

    /// A save took place: it tells the store of a time, or somebody or something put the time aside.
    pub(crate) fn promised(&mut self, before: &Connection, save: &Save<'_>) {
        let after = save.connection;
        let Promises(promises) = &mut self.promises;
        let aside = save.lease.is_none() || generation(before) != generation(after);
        promises.retain(|promise| promise.errand.of != after.id || !aside);
        let mine = promises.iter_mut().filter(|p| p.errand.of == after.id);
        for promise in mine {
            promise.stored |= match promise.errand.about {
                None => throttled(after, "mint") && trouble(after) != trouble(before),
                Some(key_id) => {
                    throttled(after, "revoke") && attempts(after, key_id) > attempts(before, key_id)
                }
            };
        }
    }
}

/// Whether a step was throttled last.
fn throttled(connection: &Connection, step: &str) -> bool {
    let hit = |trouble: &Trouble| trouble.step == step && trouble.message.contains("Throttled");
    trouble(connection).is_some_and(hit)
}

fn trouble(connection: &Connection) -> Option<&Trouble> {
    connection.rotation.as_ref()?.trouble.as_ref()
}

fn attempts(connection: &Connection, key_id: KeyId) -> Option<u32> {
    let rotation = connection.rotation.as_ref()?;
    let mut debts = rotation.debts.iter();
    Some(debts.find(|debt| debt.key_id == key_id)?.attempts)
}

fn generation(connection: &Connection) -> Option<u64> {
    Some(connection.secrets()?.current.generation)
}
