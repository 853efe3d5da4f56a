/// What to do where the local clock does not show the asked-for time exactly once.
///
/// The default needs one sentence: *the first instant at which the clock shows the asked-for time or a
/// later one.* After a gap that is the instant at which the clock jumps; of a time that repeats it is the
/// first. So every due date has exactly one run.
///
/// ```
/// use keywheel_schedule::{Disambiguation, Missing, Repeated};
///
/// let mut rules = Disambiguation::default();
/// assert_eq!((rules.gap, rules.skipped_date, rules.fold), (Missing::After, Missing::After, Repeated::First));
/// rules.skipped_date = Missing::Skip;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct Disambiguation {
    /// A time that the clock jumps over, as when summer time begins.
    pub gap: Missing,
    /// A whole date that the calendar of the zone jumps over, as 30 December 2011 in Samoa.
    pub skipped_date: Missing,
    /// A time that happens twice, as when summer time ends.
    pub fold: Repeated,
}

/// What to do with a local time that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Missing {
    /// Run at the first instant after the gap. The default: late by less than the gap, and never left out.
    #[default]
    After,
    /// Refuse to build a schedule that would meet one on or after its anchor.
    Reject,
    /// Leave this due date out.
    Skip,
}

/// What to do with a local time that happens twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Repeated {
    /// Run the first time. The default: never later than asked.
    #[default]
    First,
    /// Run the last time.
    Last,
    /// Refuse to build a schedule that would meet one on or after its anchor.
    Reject,
}
