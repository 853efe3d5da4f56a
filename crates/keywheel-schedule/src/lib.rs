//! When a rotation is next due.

mod describe;
mod disambiguation;
mod error;
mod occurrence;
mod schedule;
mod zone;

pub use self::describe::Description;
pub use self::disambiguation::{Disambiguation, Missing, Repeated};
pub use self::error::InvalidSchedule;
pub use self::occurrence::{Occurrence, Resolution};
pub use self::schedule::{DueBetween, Schedule, ScheduleBuilder, Upcoming};
pub use self::zone::{Zone, tzdb_version};
