//! When is a rotation next due? The answer is exact in every time zone, pure, and cheap enough to ask for
//! every connection at every tick.
//!
//! No clock, no I/O, no async, no state: `now` is an argument, and what must be known of the past is in the
//! credential that is in use. There are three things to know, one built on the other:
//!
//! - A [`Schedule`] says on which days and at what local time: *every 30 days at 02:30 in Berlin*.
//! - A [`Plan`] moves its runs: [`Jitter`], [`Window`]s, [`Freeze`]s, the least time between two rotations,
//!   and the end of the credential, which beats all of these.
//! - A [`RetryDelay`] says how long to wait after a rotation that failed.
//!
//! ```
//! use keywheel_schedule::{Lifetime, Plan, Schedule};
//!
//! let schedule = Schedule::builder()
//!     .every_days(30)
//!     .at("02:30".parse()?)
//!     .zone("Europe/Berlin")
//!     .anchor("2026-11-01".parse()?)
//!     .build()?;
//! let now = "2026-11-23T12:00:00Z".parse()?;
//! assert_eq!(
//!     schedule.describe(now).to_string(),
//!     "every 30 days at 02:30, Europe/Berlin; next Tue 2026-12-01 02:30 CET = 01:30 UTC",
//! );
//!
//! let plan = Plan::from(schedule);
//! let secret = Lifetime::new("2026-11-01T01:31:00Z".parse()?).until("2026-12-06T00:00:00Z".parse()?);
//! assert_eq!(
//!     plan.next_due(&secret, now).unwrap().to_string(),
//!     "Sun 2026-11-29 01:00 CET = 00:00 UTC \
//!      (before the credential ends; the schedule says Tue 2026-12-01 02:30 CET = 01:30 UTC)",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Days are civil days
//!
//! The due dates are the anchor and every N days before and after it. In between lie N nights, whatever
//! their length: over the beginning of summer time, 30 days are an hour less than 30 × 24 hours, and the run
//! is at 02:30 still. Nothing ever moves the due dates: not a run that was late, not one by hand, not a
//! restart. To move the anchor by a whole number of intervals changes nothing.
//!
//! So what is stored is what a person said: interval, time, zone by name, anchor. An instant is computed
//! when it is needed, because legislatures change the clocks of stored instants.
//!
//! # Where the clock jumps
//!
//! The run is at *the first instant at which the clock shows the asked-for time or a later one*. Each due
//! date has exactly one run, and the [`Occurrence`] says where this was not what was asked for:
//!
//! ```
//! use keywheel_schedule::{Resolution, Schedule};
//!
//! let daily = |zone: &str| Schedule::builder()
//!     .every_days(1)
//!     .at("02:30".parse().unwrap())
//!     .zone(zone)
//!     .anchor("2026-01-01".parse().unwrap())
//!     .build()
//!     .unwrap();
//! let next = |zone, after: &str| daily(zone).next_after(after.parse().unwrap()).unwrap();
//!
//! // The clock goes from 02:00 to 03:00.
//! let gap = next("Europe/Berlin", "2026-03-28T12:00:00Z");
//! assert_eq!(gap.to_string(), "Sun 2026-03-29 03:00 CEST = 01:00 UTC (02:30 does not exist on this date)");
//! assert_eq!(gap.resolution(), Resolution::AfterGap);
//!
//! // It goes back from 03:00 to 02:00.
//! let fold = next("Europe/Berlin", "2026-10-24T12:00:00Z");
//! assert_eq!(fold.to_string(), "Sun 2026-10-25 02:30 CEST = 00:30 UTC (02:30 happens twice; the first)");
//!
//! // Half an hour back, at 02:00 on Lord Howe Island. And Samoa had no 30 December 2011.
//! let half = next("Australia/Lord_Howe", "2026-10-03T00:00:00Z");
//! assert_eq!(half.local().to_string(), "2026-10-04 02:30:00");
//! let skipped = next("Pacific/Apia", "2011-12-29T13:00:00Z");
//! assert_eq!(skipped.asked().to_string(), "2011-12-30 02:30:00");
//! assert_eq!(skipped.local().to_string(), "2011-12-31 00:00:00");
//! ```
//!
//! Who wants it otherwise says so with [`Disambiguation`]: leave out what does not exist, take the last of
//! two, or refuse to build a schedule that would ever meet such a time.
//!
//! # After a downtime
//!
//! What was missed is made up for once, by the next run at which it may happen. [`Schedule::due_between`]
//! says how many runs went by and which was the last; [`Plan::next_due`] needs no such question.
//!
//! ```
//! # use keywheel_schedule::Schedule;
//! # let daily = Schedule::builder().every_days(1).at("02:30".parse()?).zone("UTC").anchor("2026-01-01".parse()?).build()?;
//! let missed = daily.due_between("2026-11-01T00:00:00Z".parse()?, "2026-11-08T12:00:00Z".parse()?);
//! assert_eq!(missed.count, 8);
//! assert_eq!(missed.latest.unwrap().to_string(), "Sun 2026-11-08 02:30 UTC");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Whose time zones
//!
//! The zones of chrono-tz 0.10 are those of tzdb 2025b, and since then fifteen have got other rules: at
//! 03:00 in Vancouver this winter, it takes it for 02:00. What is known to be wrong is said wherever a
//! schedule is described, and by [`Zone::stale`] as a value:
//!
//! ```
//! # use keywheel_schedule::{Schedule, Zone, tzdb_version};
//! let schedule = Schedule::builder()
//!     .every_days(1)
//!     .at("03:00".parse()?)
//!     .zone("America/Vancouver")
//!     .anchor("2026-11-01".parse()?)
//!     .build()?;
//! let description = schedule.describe("2026-12-01T00:00:00Z".parse()?);
//!
//! match description.warning() {
//!     None => assert_eq!(description.next().unwrap().at().to_rfc3339(), "2026-12-01T10:00:00+00:00"),
//!     Some(stale) => assert_eq!(
//!         stale.to_string(),
//!         "tzdb 2025b is wrong for America/Vancouver from 2026-11-01; turn on the feature `fresh-tzdb`",
//!     ),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The feature `fresh-tzdb` answers from the data of the jiff crate instead, compiled in like chrono-tz's
//! and newer; the facade crate `keywheel` turns it on. The data of the host is never read, because
//! containers seldom have any and hosts are seldom up to date. [`tzdb_version`] says which release it is.
//! [`Zone::new`] takes any [`chrono::TimeZone`].
//!
//! # What others can express
//!
//! | | there | here |
//! |---|---|---|
//! | Infisical | interval in days; hour and minute in UTC | [`every_days`](ScheduleBuilder::every_days), [`at`](ScheduleBuilder::at), zone `UTC` |
//! | Vault | `rotation_period` | [`every_days`](ScheduleBuilder::every_days); for hours, several daily schedules joined by [`and`](PlanBuilder::and) |
//! | | `rotation_schedule`, cron in UTC | a schedule and a [`Window`] on certain [`Days`] |
//! | | `rotation_window`; what misses it waits for the next | [`window`](PlanBuilder::window) of that length |
//! | AWS Secrets Manager | `rate(30 days)`, `AutomaticallyAfterDays` | [`every_days`](ScheduleBuilder::every_days), up to 730, which is as long as Entra lets a secret live |
//! | | `rate(12 hours)` | two daily schedules, [`and`](PlanBuilder::and) |
//! | | `cron(0 8 1,15 * ? *)`, `cron(0 16 L * ? *)`, `cron(0 0 ? * SUN#1 *)` | daily, with a window on [`on_month_days`](Days::on_month_days), [`on_weekdays`](Days::on_weekdays), [`in_months`](Days::in_months) |
//! | | `Duration: 3h`, at any time within | [`window`](PlanBuilder::window) and [`jitter`](PlanBuilder::jitter) |
//! | cert-manager | `renewBefore` | [`expiry_margin`](PlanBuilder::expiry_margin), with an interval that is longer than the life |
//! | | two thirds of the life, by default | the least that is left to a life shorter than the margin |
//! | Akeyless | interval in days; hour | [`every_days`](ScheduleBuilder::every_days), [`at`](ScheduleBuilder::at) |
//!
//! Nobody but us has zones, freezes, an anchor that does not drift, or an end that beats the schedule.
//! A row of each:
//!
//! ```
//! use std::time::Duration;
//! use chrono::Weekday::{Sat, Sun};
//! use keywheel_schedule::{Days, Jitter, Lifetime, Plan, Schedule, Window};
//!
//! let every = |days: u32, at: &str| Schedule::builder()
//!     .every_days(days)
//!     .at(at.parse().unwrap())
//!     .zone("UTC")
//!     .anchor("2026-01-01".parse().unwrap())
//!     .build()
//!     .unwrap();
//! let hours = Duration::from_hours;
//! let created = "2026-01-01T12:00:00Z".parse()?;
//! let life = Lifetime::new(created);
//! let next = |plan: &Plan, life: &Lifetime| plan.next_due(life, created).unwrap().at().format("%F %R").to_string();
//!
//! // Infisical: 30 days, rotateAtUtc 02:30.
//! let infisical = Plan::from(every(30, "02:30"));
//! assert_eq!(next(&infisical, &life), "2026-01-31 02:30");
//!
//! // Vault: rotation_schedule = "0 0 * * SAT", rotation_window = "6h".
//! let saturdays = Window::new("00:00".parse()?, "06:00".parse()?)?.on(Days::ALL.on_weekdays([Sat]));
//! let vault = Plan::builder(every(1, "00:00")).window(saturdays).build()?;
//! assert_eq!(next(&vault, &life), "2026-01-03 00:00");
//! let late = "2026-01-03T07:00:00Z".parse()?;
//! assert_eq!(vault.next_due(&life, late).unwrap().to_string(),
//!     "Sat 2026-01-10 00:00 UTC (makes up for Fri 2026-01-02 00:00 UTC)");
//!
//! // AWS: cron(0 0 ? * SUN#1 *), Duration 3h, at any time within.
//! let first_sunday = Days::ALL.on_weekdays([Sun]).on_month_days(1..=7)?;
//! let aws = Plan::builder(every(1, "00:00"))
//!     .window(Window::new("00:00".parse()?, "03:00".parse()?)?.on(first_sunday))
//!     .jitter(Jitter::new("connection 42", hours(3)))
//!     .build()?;
//! assert_eq!(next(&aws, &life), "2026-01-04 01:51");
//!
//! // cert-manager: duration 2160h, renewBefore 360h.
//! let cert_manager = Plan::builder(every(730, "00:00")).expiry_margin(hours(360)).build()?;
//! assert_eq!(next(&cert_manager, &life.until(created + hours(2160))), "2026-03-17 12:00");
//!
//! // Akeyless: every 7 days at 14.
//! let akeyless = Plan::from(every(7, "14:00"));
//! assert_eq!(next(&akeyless, &life), "2026-01-08 14:00");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Why not a cron crate
//!
//! Cron has no *every 30 days*, and what a cron crate makes of a changing clock is its own affair. *Daily at
//! 02:30 in Berlin: when next, after 28 March 2026, 13:00 UTC?* The run of the 29th is at 01:00 UTC, when
//! the clock goes from 02:00 to 03:00.
//!
//! | | answers | is wrong around changes of the clock |
//! |---|---|---|
//! | cron 0.17 | 30 March, 00:30 UTC: the 29th is left out | 13 % |
//! | rrule 0.14 | 29 March, 01:30 UTC: it shows 03:30 | 16 % |
//! | croner 4.0.3 | 29 March, 01:00 UTC | 64 of 654,750 questions |
//!
//! On the way back cron can answer with an instant before the one it was asked at: daily at 02:59 in Berlin,
//! after 28 October 2035, 01:10 UTC, it says 00:59 UTC of that day. croner 3.0 to 4.0.2 run what is due in
//! the hour before a gap twice ([croner-rust#67](https://github.com/Hexagon/croner-rust/issues/67)); 4.0.3
//! finds no run at all after 31 December 1995, 15:00 UTC, for daily at 00:00 in America/Danmarkshavn. The
//! shares are those of `cargo bench -p benches --bench schedule`, which asks around every change of every
//! clock from 1990 to 2036. This crate answers all of them as jiff does: a test asks both a million times.
//!
//! # What it costs
//!
//! The changes of a zone's clock are worked out on first use, into a table of less than 4 KiB which all
//! schedules in that zone share. After that an answer takes two short searches in it, about as long as two
//! bare bisections, and no memory: 20 to 40 ns where jiff's zoned arithmetic took 120 to 280, cron 260 to
//! 320, croner 670 to 1,010 and rrule 1,300, in one run of that bench.

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
