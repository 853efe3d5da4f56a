use chrono::TimeDelta;
use keywheel_core::KeyId;

use super::chance::Chance;
use super::directory::{By, Lags};
use super::issuer::lags;
use super::scenario::{DAY, client};
use super::world::{Moment, State, World};

/// What an administrator of the tenant does to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Adds a secret of their own.
    Adds,
    /// Removes one of their own.
    RemovesOwn,
    /// Removes one of ours: any.
    RemovesOurs,
    /// Disables or deletes the application, or restores it.
    Disables(bool),
    /// Takes the permission away, or gives it back.
    Forbids(bool),
    /// Lets the tenant's policy forbid client secrets, or no more.
    ForbidsSecrets(bool),
    /// Lets the tenant's policy limit how many days a secret lives.
    LimitsLife(i64),
}

impl Deed {
    /// Draws a deed, and what undoes it.
    pub(crate) fn draw(chance: &mut Chance) -> (Self, Option<Self>) {
        match chance.below(7) {
            0 => (Self::Adds, None),
            1 => (Self::RemovesOwn, None),
            2 => (Self::RemovesOurs, None),
            3 => (Self::Disables(true), Some(Self::Disables(false))),
            4 => (Self::Forbids(true), Some(Self::Forbids(false))),
            5 => (
                Self::ForbidsSecrets(true),
                Some(Self::ForbidsSecrets(false)),
            ),
            _ => (Self::LimitsLife(chance.pick(&[20, 90, 180])), None),
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
            Deed::Adds => {
                let lags = lags(state);
                add(state, now, lags);
            }
            Deed::RemovesOwn => remove(state, now, false),
            Deed::RemovesOurs => remove(state, now, true),
            Deed::Disables(so) => state.directory.application(client()).unusable = so,
            Deed::Forbids(so) => state.directory.application(client()).unpermitted = so,
            Deed::ForbidsSecrets(so) => state.directory.application(client()).forbidden = so,
            Deed::LimitsLife(days) => {
                let longest = Some(TimeDelta::days(days));
                state.directory.application(client()).longest_life = longest;
            }
        }
    }
}

/// Adds a secret by hand and returns its key id and text.
pub(crate) fn add(state: &mut State, now: Moment, lags: Lags) -> (KeyId, String) {
    let State {
        directory, chance, ..
    } = state;
    let named = ("by hand".to_owned(), None);
    let secret = directory.add(client(), named, (now, now.plus(400 * DAY)), lags, chance);
    (secret.key_id, secret.text.clone())
}

fn remove(state: &mut State, now: Moment, ours: bool) {
    let lags = lags(state);
    let State {
        directory, chance, ..
    } = state;
    let secrets = directory.secrets().filter(|secret| {
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
