use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};
use keywheel_connection::{ConnectionId, Marker};
use keywheel_core::{ClientId, KeyId};

use super::administrators::Deed;
use super::issuer;
use super::store::{PendingCreate, PendingSave};
use super::world::{Moment, World};

/// What happens by itself, in its order.
#[derive(Debug, Default)]
pub(crate) struct Nature {
    queue: BinaryHeap<Reverse<(Moment, u64)>>,
    due: Vec<(u64, Happening)>,
    serial: u64,
}

/// Something that happens by itself.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A request arrives that nobody waits for any more.
    Lands(Landing),
    /// A process that ended starts again.
    Starts(usize),
    /// The clock of a process, or the store's, steps by so many milliseconds.
    Steps(usize, i64),
    /// An administrator does something.
    Administers(Deed),
    /// The store is backed up.
    BacksUp,
    /// Every process is stopped, and the store put back to its backup.
    Restores,
    /// Nothing but a look at the processes: one may have been stopped until now.
    Wakes,
}

/// A request that arrives late.
#[derive(Debug)]
pub(crate) enum Landing {
    Mint {
        client: ClientId,
        marker: Marker,
        end: DateTime<Utc>,
    },
    Remove {
        client: ClientId,
        by: ConnectionId,
        key_id: KeyId,
    },
    Create(Box<PendingCreate>),
    Save(Box<PendingSave>),
}

impl Nature {
    pub(crate) fn add(&mut self, at: Moment, happening: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial)));
        self.due.push((self.serial, happening));
    }

    pub(crate) fn land(&mut self, at: Moment, landing: Landing) {
        self.add(at, Happening::Lands(landing));
    }

    pub(crate) fn wake(&mut self, at: Moment) {
        self.add(at, Happening::Wakes);
    }

    /// Takes every request that is under way.
    pub(crate) fn take_landings(&mut self) -> Vec<Landing> {
        let mut landings = Vec::new();
        for (_, happening) in &mut self.due {
            if matches!(happening, Happening::Lands(_))
                && let Happening::Lands(landing) = std::mem::replace(happening, Happening::Wakes)
            {
                landings.push(landing);
            }
        }
        landings
    }

    /// Returns when something happens next.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes what has happened by `now`.
    pub(crate) fn take(&mut self, now: Moment) -> Option<Happening> {
        let Reverse((at, serial)) = *self.queue.peek()?;
        if at > now {
            return None;
        }
        self.queue.pop();
        let index = self.due.iter().position(|(due, _)| *due == serial)?;
        Some(self.due.swap_remove(index).1)
    }
}

impl World {
    /// Carries out a request that arrives late. Nobody hears of it.
    pub(crate) fn land(&self, landing: Landing) {
        let now = self.now();
        match landing {
            Landing::Mint {
                client,
                marker,
                end,
            } => {
                let state = &mut *self.state();
                state
                    .trace
                    .note(now, None, format_args!("a late mint arrives"));
                drop(issuer::mint(state, now, (client, marker), end));
            }
            Landing::Remove { client, by, key_id } => {
                let state = &mut *self.state();
                state
                    .trace
                    .note(now, None, format_args!("a late removal arrives"));
                issuer::remove(state, now, (client, by), key_id);
            }
            Landing::Create(new) => {
                let created = self.create(&new).map_err(|error| error.kind());
                let trace = &mut self.state().trace;
                trace.note(
                    now,
                    None,
                    format_args!("a late connection arrives: {created:?}"),
                );
            }
            Landing::Save(save) => {
                let saved = self.commit(save.save());
                let saved = saved.map_err(|error| error.kind());
                let trace = &mut self.state().trace;
                trace.note(now, None, format_args!("a late save arrives: {saved:?}"));
            }
        }
    }
}
