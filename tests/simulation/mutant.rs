use std::fmt;

use keywheel_connection::{Cause, Phase, Rotation, Save, Wake};

use super::store::PendingSave;
use super::world::World;

/// A defect that is put between the engine and its ports, to show that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A lost answer of `addPassword` is taken for a refusal.
    BelievesLostMints,
    /// An unknown key id is taken for a removal.
    BelievesNotFound,
    /// A secret that nobody tried is taken for proven.
    BelievesUnproven,
    /// What must still be removed is not stored.
    DropsDebts,
    /// The marker of a call without an answer is not stored.
    ForgetsMarkers,
    /// When to wake is not stored.
    ForgetsToWake,
    /// When a service that throttles wants to be asked again is not heard.
    ForgetsWhenToRetry,
    /// The dates on which nothing may begin are not stored.
    ForgetsFreezes,
    /// That a rotation ends a leak is not stored.
    ForgetsLeaks,
    /// A secret is in the text of an error.
    LeaksSecrets,
    /// A lease that somebody holds is given to somebody else, and writes are not fenced.
    LeavesOutLeases,
    /// Newer secrets than the store knows are not seen.
    OverlooksWhatIsAhead,
    /// The due dates before a rotation are not done with.
    RepeatsDates,
    /// `addPassword` is sent again when there was no answer.
    RepeatsMints,
    /// A failed read of the application is taken for an empty one.
    ReadsNothing,
    /// A replaced secret is removed at once.
    RemovesAtOnce,
    /// A secret is swept because its name looks like ours.
    RemovesForeign,
    /// The secret in use is removed in place of the one before.
    RemovesTheCurrent,
    /// Secrets are sealed for another generation.
    SealsForAnother,
    /// A call without an answer is forgotten after the first read.
    SettlesAtOnce,
    /// The intent is not stored before `addPassword` is called.
    SkipsIntents,
    /// The directory's time is not heard, so each process goes by its own clock.
    TellsNoTime,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 22] = [
        Self::BelievesLostMints,
        Self::BelievesNotFound,
        Self::BelievesUnproven,
        Self::DropsDebts,
        Self::ForgetsMarkers,
        Self::ForgetsToWake,
        Self::ForgetsWhenToRetry,
        Self::ForgetsFreezes,
        Self::ForgetsLeaks,
        Self::LeaksSecrets,
        Self::LeavesOutLeases,
        Self::OverlooksWhatIsAhead,
        Self::RepeatsDates,
        Self::RepeatsMints,
        Self::ReadsNothing,
        Self::RemovesAtOnce,
        Self::RemovesForeign,
        Self::RemovesTheCurrent,
        Self::SealsForAnother,
        Self::SettlesAtOnce,
        Self::SkipsIntents,
        Self::TellsNoTime,
    ];

    /// Changes what is written.
    pub(crate) fn change(world: &World, save: &Save<'_>) -> Option<Box<PendingSave>> {
        let mutant = world.state().mutant?;
        let mut changed = Box::new(PendingSave::new(save));
        if mutant == Self::LeavesOutLeases {
            changed.lease = None;
        }
        let rotation = changed.connection.rotation.as_mut()?;
        match mutant {
            Self::DropsDebts => rotation.debts.clear(),
            Self::ForgetsMarkers => rotation.dead_markers.clear(),
            Self::ForgetsFreezes => {
                let schedule = rotation.settings.plan.schedule().clone();
                rotation.settings.plan = schedule.into();
            }
            Self::ForgetsLeaks => forget_leaks(rotation),
            Self::ForgetsToWake if save.lease.is_some() => changed.wake = Wake::Never,
            Self::RepeatsDates => rotation.since -= chrono::TimeDelta::days(400),
            Self::RemovesAtOnce => {
                for debt in &mut rotation.debts {
                    debt.next_at = debt.since;
                }
            }
            Self::SettlesAtOnce => rotation.dead_markers.retain(|dead| dead.absent_reads == 0),
            Self::SkipsIntents if matches!(rotation.phase, Phase::Intent { .. }) => {
                rotation.phase = Phase::Idle;
            }
            _ => {}
        }
        Some(changed)
    }
}

fn forget_leaks(rotation: &mut Rotation) {
    if let Some(run) = &mut rotation.run {
        run.urgent = false;
        if run.cause == Cause::Emergency {
            run.cause = Cause::Manual;
        }
    }
    if let Some(offer) = &mut rotation.offer {
        offer.urgent = false;
    }
    if let Some(request) = &mut rotation.request {
        request.cause = Cause::Manual;
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

impl World {
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.state().mutant == Some(mutant)
    }
}
