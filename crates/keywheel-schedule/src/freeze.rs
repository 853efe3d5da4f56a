use chrono::NaiveDate;

use crate::InvalidSchedule;
use crate::day::day_of;

/// Dates on which nothing is rotated, both ends included: a year-end close, a holiday.
///
/// The dates are those of the zone of the schedule.
///
/// ```
/// use keywheel_schedule::Freeze;
///
/// let holidays = Freeze::new("2026-12-19".parse()?, "2027-01-03".parse()?)?;
/// assert!(Freeze::new("2027-01-03".parse()?, "2026-12-19".parse()?).is_err());
/// # let _ = holidays;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Stored", into = "Stored"))]
pub struct Freeze {
    first: NaiveDate,
    last: NaiveDate,
}

/// A freeze as it is written down.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    first: String,
    last: String,
}

#[cfg(feature = "serde")]
impl From<Freeze> for Stored {
    fn from(freeze: Freeze) -> Self {
        Self {
            first: freeze.first.to_string(),
            last: freeze.last.to_string(),
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Freeze {
    type Error = InvalidSchedule;

    fn try_from(stored: Stored) -> Result<Self, InvalidSchedule> {
        let date = |text: &str| {
            text.parse().map_err(|_| {
                InvalidSchedule::new("freeze", "not a date; give one such as 2026-12-19")
            })
        };
        Self::new(date(&stored.first)?, date(&stored.last)?)
    }
}

impl Freeze {
    /// Returns the freeze from `first` to `last`.
    ///
    /// # Errors
    /// Field `freeze`, when `last` is before `first`.
    pub fn new(first: NaiveDate, last: NaiveDate) -> Result<Self, InvalidSchedule> {
        if last < first {
            return Err(InvalidSchedule::new(
                "freeze",
                format!("{last} is before {first}; give the earlier date first"),
            ));
        }
        Ok(Self { first, last })
    }

    /// The frozen days, since 1970.
    pub(crate) fn days(&self) -> (i64, i64) {
        (day_of(self.first), day_of(self.last))
    }
}
