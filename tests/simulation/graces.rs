use chrono::TimeDelta;
use keywheel_connection::{Cause, Connection, Run};

use super::record::Record;
use super::world::State;

impl State {
    /// G9: what an emergency replaces has no grace, whatever the emergency joined.
    pub(super) fn ends_a_leak(&mut self, before: &Connection, after: &Connection) {
        let run = before.rotation.as_ref().and_then(|rotation| rotation.run);
        let replaced = before.secrets().and_then(|secrets| secrets.current.key_id);
        let told = |run: &Run| self.truth.urgent.contains(&run.id);
        if !run.as_ref().is_some_and(told) {
            return;
        }
        let mut debts = after.rotation.iter().flat_map(|rotation| &rotation.debts);
        let spared = debts.find(|debt| Some(debt.key_id) == replaced && debt.due > debt.since);
        if let Some(spared) = spared {
            let key_id = spared.key_id;
            self.broken(|| format!("G9: {key_id} leaked, and was left a grace"));
        }
    }
}

/// How long the secret that is replaced now is to live on.
pub(super) fn grace(before: &Connection) -> TimeDelta {
    let rotation = before.rotation.as_ref();
    rotation.map_or(TimeDelta::zero(), |rotation| {
        let settings = &rotation.settings;
        match rotation.run {
            None => TimeDelta::zero(),
            Some(run) if run.is_urgent() => TimeDelta::zero(),
            Some(run) if run.cause == Cause::Initial => settings.original_grace.delta(),
            Some(_) => settings.grace.delta(),
        }
    })
}

/// Whether somebody ended the grace of a replaced secret.
pub(super) fn hurried(before: &Connection, record: &Record) -> bool {
    let (Some(was), Some(is)) = (&before.rotation, record.rotation()) else {
        return false;
    };
    was.debts.iter().any(|debt| {
        let mut debts = is.debts.iter().filter(|d| d.key_id == debt.key_id);
        debts.any(|now| now.due < debt.due)
    })
}
