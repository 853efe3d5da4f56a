use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::Occurrence;
use crate::occurrence::Shown;
use crate::zone::{Moment, Table};

/// When a rotation is due, and why then. `Display` says both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Due {
    shown: Shown,
    why: Why,
    occurrence: Option<Occurrence>,
}

/// Why a rotation is due when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It went by without being run, and this is the next time at which it may.
    CatchUp,
    /// The credential ends; this is the latest that the margin before it allows.
    Expiry,
    /// Its date is frozen, and this is the next time at which it may run.
    Freeze,
    /// The schedule says so, with the jitter.
    Schedule,
    /// No window is open at its time, and this is the next time at which it may run.
    Window,
}

impl Due {
    pub(super) fn new(
        table: &Table,
        at: i64,
        why: Why,
        occurrence: Option<Occurrence>,
    ) -> Option<Self> {
        let kind = table.kind_at(at);
        Some(Self {
            shown: Shown::new(Moment { at, kind })?,
            why,
            occurrence,
        })
    }

    /// Returns the instant.
    #[must_use]
    pub fn at(&self) -> DateTime<Utc> {
        self.shown.at()
    }

    /// Returns what the clock of the plan's zone shows at that instant.
    #[must_use]
    pub fn local(&self) -> NaiveDateTime {
        self.shown.local()
    }

    /// Returns why the rotation is due then.
    #[must_use]
    pub fn why(&self) -> Why {
        self.why
    }

    /// Returns the run of the schedule that this is, or that expiry comes before.
    ///
    /// `None` when the schedule has no further run before 2100.
    #[must_use]
    pub fn occurrence(&self) -> Option<Occurrence> {
        self.occurrence
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(occurrence) = self.occurrence else {
            return write!(f, "{} (before the credential ends)", self.shown);
        };
        match self.why {
            Why::CatchUp => write!(f, "{} (makes up for {occurrence})", self.shown),
            Why::Expiry => write!(
                f,
                "{} (before the credential ends; the schedule says {occurrence})",
                self.shown
            ),
            Why::Freeze => write!(f, "{} (moved by a freeze from {occurrence})", self.shown),
            Why::Schedule if self.at() == occurrence.at() => occurrence.fmt(f),
            Why::Schedule => write!(f, "{} (spread from {occurrence})", self.shown),
            Why::Window => write!(f, "{} (moved to a window from {occurrence})", self.shown),
        }
    }
}
