use chrono::TimeDelta;
use keywheel_core::{ClientId, KeyId};

use super::chance::Chance;
use super::directory::{By, Lags};
use super::issuer::lags;
use super::scenario::{DAY, client, managed};
use super::world::{Moment, State, World};

/// What an administrator does: of the tenant to an application, or of the machines to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Adds a secret of their own.
    Adds(ClientId),
    /// Removes a secret: one of their own, or any of ours.
    Removes(ClientId, bool),
    /// Disables or deletes the application, or restores it.
    Disables(ClientId, bool),
    /// Takes the permission away, or gives it back.
    Forbids(ClientId, bool),
    /// Lets the tenant's policy forbid client secrets, or no more.
    ForbidsSecrets(ClientId, bool),
    /// Lets the tenant's policy limit how many days a secret lives.
    LimitsLife(ClientId, i64),
    /// Deletes the application for good; perhaps somebody makes another one in its place.
    Buries(ClientId, bool),
    /// Loses the sealing key, or finds it.
    LosesKey(bool),
}

impl Deed {
    /// Draws a deed, and what undoes it.
    pub(crate) fn draw(chance: &mut Chance, manages: bool) -> (Self, Option<Self>) {
        let other = manages && chance.one_in(2);
        let on = if other { managed() } else { client() };
        match chance.below(9) {
            0 => (Self::Adds(on), None),
            1 => (Self::Removes(on, false), None),
            2 => (Self::Removes(on, true), None),
            3 => (Self::Disables(on, true), Some(Self::Disables(on, false))),
            4 => (Self::Forbids(on, true), Some(Self::Forbids(on, false))),
            5 => (
                Self::ForbidsSecrets(on, true),
                Some(Self::ForbidsSecrets(on, false)),
            ),
            6 => (Self::Buries(on, chance.one_in(2)), None),
            7 => (Self::LosesKey(true), Some(Self::LosesKey(false))),
            _ => (Self::LimitsLife(on, chance.pick(&[20, 90, 180])), None),
        }
    }
}

impl World {
    pub(crate) fn administer(&self, deed: Deed) {
        let now = self.now();
        let state = &mut *self.state();
        state
            .trace
            .note(now, None, format_args!("an administrator: {deed:?}"));
        state.directory.interfered = now;
        match deed {
            Deed::Adds(on) => {
                let lags = lags(state);
                if !state.directory.application(on).is_full() {
                    add(state, on, now, lags);
                }
            }
            Deed::Removes(on, ours) => remove(state, on, now, ours),
            Deed::Disables(on, so) => {
                let application = state.directory.application(on);
                application.unusable = so || application.gone;
            }
            Deed::Forbids(on, so) => state.directory.application(on).unpermitted = so,
            Deed::ForbidsSecrets(on, so) => state.directory.application(on).forbidden = so,
            Deed::LimitsLife(on, days) => {
                let longest = Some(TimeDelta::days(days));
                state.directory.application(on).longest_life = longest;
            }
            Deed::Buries(on, anew) => state.directory.bury(on, now, anew),
            Deed::LosesKey(so) => state.keyless = so,
        }
    }
}

/// Adds a secret by hand and returns its key id and text.
pub(crate) fn add(state: &mut State, on: ClientId, now: Moment, lags: Lags) -> (KeyId, String) {
    let State {
        directory, chance, ..
    } = state;
    let named = ("by hand".to_owned(), None);
    let secret = directory.add(on, named, (now, now.plus(400 * DAY)), lags, chance);
    (secret.key_id, secret.text.clone())
}

fn remove(state: &mut State, on: ClientId, now: Moment, ours: bool) {
    let lags = lags(state);
    let State {
        directory, chance, ..
    } = state;
    let secrets = directory.application(on).secrets.iter().filter(|secret| {
        secret.is_live(now) && secret.marker.is_some() == ours && secret.name != "first"
    });
    let candidates: Vec<_> = secrets.map(|secret| secret.key_id).collect();
    if candidates.is_empty() {
        return;
    }
    let key_id = chance.pick(&candidates);
    directory.remove(key_id, (now, By::Administrator), lags, chance);
    state
        .trace
        .note(now, None, format_args!("removed {key_id}"));
}
