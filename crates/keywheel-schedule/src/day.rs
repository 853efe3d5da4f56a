//! Days as numbers, counted from 1 January 1970.

use chrono::NaiveDate;

/// Seconds in a civil day.
pub(crate) const DAY: i64 = 86_400;
/// 31 December 2099: the last day that is answered for.
pub(crate) const LAST_DAY: i64 = 47_481;

pub(crate) fn day_of(date: NaiveDate) -> i64 {
    i64::from(date.to_epoch_days())
}

pub(crate) fn date_of(day: i64) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(day).ok()?)
}
