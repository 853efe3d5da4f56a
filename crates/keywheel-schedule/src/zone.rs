use std::fmt::{self, Display};
use std::sync::{Arc, LazyLock, OnceLock};

use chrono::{NaiveDate, TimeZone};

use crate::InvalidSchedule;

#[cfg(any(test, not(feature = "fresh-tzdb")))]
mod chrono_data;
#[cfg(any(test, feature = "fresh-tzdb"))]
mod jiff_data;
mod suggest;
mod table;

#[cfg(not(feature = "fresh-tzdb"))]
use self::chrono_data as tzdb;
#[cfg(feature = "fresh-tzdb")]
use self::jiff_data as tzdb;
pub(crate) use self::table::{Abbreviation, END, Moment, Table, Wall};

/// A time zone: its name, and every change of its clock from 1970 to 2100.
///
/// [`Zone::named`] knows the IANA zones. Their changes are worked out on first use, kept for the life of
/// the process in less than 4 KiB a zone, and shared: a clone is a pointer. [`Zone::new`] takes any
/// [`chrono::TimeZone`].
#[derive(Clone)]
pub struct Zone(Arc<Named>);

struct Named {
    name: Box<str>,
    table: Table,
    stale: Option<StaleZone>,
}

/// The zones of the time zone database, sorted by name, each filled in when it is first asked for.
static ZONES: LazyLock<Vec<(&'static str, OnceLock<Zone>)>> = LazyLock::new(|| {
    let mut names: Vec<_> = tzdb::names().collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| (name, OnceLock::new()))
        .collect()
});

impl Zone {
    /// Returns the zone with this IANA name, such as `"Europe/Berlin"` or `"UTC"`.
    ///
    /// # Errors
    /// Field `zone`, when the time zone database has no such name; near names are suggested. A text that
    /// resembles no name is not repeated: people paste secrets into the wrong box.
    pub fn named(name: &str) -> Result<Self, InvalidSchedule> {
        let index = ZONES
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .map_err(|_| unknown(name))?;
        let (name, zone) = &ZONES[index];
        let build = || Self::from_parts(name, tzdb::table(name), tzdb::stale(name));
        Ok(zone.get_or_init(build).clone())
    }

    /// Returns a zone with the rules of `rules`: of newer data, of a test, of no country at all.
    ///
    /// Its clock is read once a day from 1970 to 2100, and each change is then found to the second; a
    /// change that is undone within a day may go unseen. Keep the zone and clone it: nothing is shared
    /// between two that are made.
    ///
    /// ```
    /// use chrono::FixedOffset;
    /// use keywheel_schedule::Zone;
    ///
    /// let ship = Zone::new("Ship", &FixedOffset::east_opt(5 * 3600).unwrap());
    /// assert_eq!(ship.name(), "Ship");
    /// ```
    #[must_use]
    pub fn new<Z: TimeZone>(name: &str, rules: &Z) -> Self
    where
        Z::Offset: Display + PartialEq,
    {
        Self::from_parts(name, Table::read(rules), None)
    }

    fn from_parts(name: &str, table: Table, stale: Option<StaleZone>) -> Self {
        Self(Arc::new(Named {
            name: name.into(),
            table,
            stale,
        }))
    }

    /// Returns the name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns what is known to be wrong with the data of this zone.
    ///
    /// Only [`Zone::named`] without the feature `fresh-tzdb` has any such zones.
    #[must_use]
    pub fn stale(&self) -> Option<StaleZone> {
        self.0.stale
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.0.name).finish()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.name == other.0.name && self.0.table == other.0.table)
    }
}

impl Eq for Zone {}

/// A zone whose rules were changed after the data in use was made: its schedules run at the wrong time.
///
/// `Display` says so, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleZone {
    zone: &'static str,
    since: &'static str,
}

impl StaleZone {
    /// Returns the first date on which the clock is wrong.
    #[must_use]
    pub fn since(&self) -> NaiveDate {
        self.since.parse().unwrap_or_default()
    }
}

impl Display for StaleZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tzdb {} is wrong for {} from {}; turn on the feature `fresh-tzdb`",
            tzdb_version(),
            self.zone,
            self.since
        )
    }
}

/// Returns the release of the time zone database that [`Zone::named`] answers from, such as `"2025b"`.
#[must_use]
pub fn tzdb_version() -> &'static str {
    tzdb::version()
}

fn unknown(name: &str) -> InvalidSchedule {
    let near = suggest::near(name, ZONES.iter().map(|(known, _)| *known));
    let problem = if near.is_empty() {
        "not a time zone; give an IANA name such as Europe/Berlin".to_owned()
    } else {
        let version = tzdb_version();
        let near = near.join(" or ");
        format!("\"{name}\" is not in tzdb {version}; did you mean {near}?")
    };
    InvalidSchedule::new("zone", problem)
}

#[cfg(test)]
mod tests;
