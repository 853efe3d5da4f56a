use std::time::Duration;

use chrono::TimeDelta;

/// What holds for every rotation that an engine drives.
///
/// What belongs to one connection stands in its
/// [`RotationSettings`](keywheel_connection::RotationSettings).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a lease lasts; each save extends it. Default: 30 seconds, several times what a step
    /// takes. Another worker takes over a dead one's work after that.
    pub lease: Duration,
    /// How long to look for a secret whose mint got no answer before another one is minted. Default: 30
    /// seconds; a new secret shows in reads after 4 to 18.
    pub settle: TimeDelta,
    /// How many reads in a row must agree that a secret is not there. Default: 3.
    pub agreeing_reads: u8,
    /// The time between such reads. Default: 2 seconds, so that several replicas answer.
    pub read_spacing: TimeDelta,
    /// How long a settled marker is still looked for, now and then. Default: one day.
    pub watch: TimeDelta,
    /// How long a new secret may be refused before it is given up. Default: 15 minutes; the longest
    /// propagation that was ever reported is "minutes".
    pub patience: TimeDelta,
    /// How long before its end a secret is replaced, whatever the schedule says. Default: three days, so
    /// that a weekend of trouble does not lock anyone out.
    pub expiry_margin: TimeDelta,
    /// The shortest time between two scheduled rotations, so that a clock that steps back repeats none.
    /// Default: 12 hours, half of the shortest interval.
    pub minimum_spacing: TimeDelta,
    /// How many secrets of ours an application may hold at once. Default: two, the old and the new.
    pub slots: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            settle: TimeDelta::seconds(30),
            agreeing_reads: 3,
            read_spacing: TimeDelta::seconds(2),
            watch: TimeDelta::days(1),
            patience: TimeDelta::minutes(15),
            expiry_margin: TimeDelta::days(3),
            minimum_spacing: TimeDelta::hours(12),
            slots: 2,
        }
    }
}
