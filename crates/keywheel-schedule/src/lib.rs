//! When a rotation is next due.

mod calendar;
mod day;
mod describe;
mod disambiguation;
mod error;
mod freeze;
mod jitter;
mod occurrence;
mod plan;
mod retry;
mod schedule;
mod window;
mod zone;

pub use self::describe::Description;
pub use self::disambiguation::{Disambiguation, Missing, Repeated};
pub use self::error::InvalidSchedule;
pub use self::freeze::Freeze;
pub use self::jitter::Jitter;
pub use self::occurrence::{Occurrence, Resolution};
pub use self::plan::{Due, Lifetime, Plan, PlanBuilder, Why};
pub use self::retry::RetryDelay;
pub use self::schedule::{DueBetween, Schedule, ScheduleBuilder, Upcoming};
pub use self::window::{Days, Window};
pub use self::zone::{StaleZone, Zone, tzdb_version};
