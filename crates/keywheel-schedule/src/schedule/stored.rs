use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::occurrence::Clock;
use crate::{Disambiguation, InvalidSchedule};

/// What a schedule is made of, as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    interval_days: u32,
    at: String,
    zone: String,
    anchor: String,
    #[serde(default, skip_serializing_if = "is_default")]
    disambiguation: Disambiguation,
}

fn is_default(rules: &Disambiguation) -> bool {
    *rules == Disambiguation::default()
}

impl From<Schedule> for Stored {
    fn from(schedule: Schedule) -> Self {
        Self {
            interval_days: schedule.interval_days,
            at: Clock(schedule.at).to_string(),
            zone: schedule.zone.name().to_owned(),
            anchor: schedule.anchor.to_string(),
            disambiguation: schedule.disambiguation,
        }
    }
}

impl TryFrom<Stored> for Schedule {
    type Error = InvalidSchedule;

    fn try_from(stored: Stored) -> Result<Self, InvalidSchedule> {
        let invalid = |field, example| {
            move |_| {
                InvalidSchedule::new(field, format!("cannot be read; give one such as {example}"))
            }
        };
        Self::builder()
            .every_days(stored.interval_days)
            .at(stored.at.parse().map_err(invalid("at", "02:30"))?)
            .zone(stored.zone)
            .anchor(
                stored
                    .anchor
                    .parse()
                    .map_err(invalid("anchor", "2026-11-01"))?,
            )
            .disambiguation(stored.disambiguation)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Disambiguation, Repeated, Schedule};

    const PLAIN: &str =
        r#"{"interval_days":30,"at":"02:30","zone":"Europe/Berlin","anchor":"2026-11-01"}"#;

    #[test]
    fn exactly_what_a_schedule_is_made_of_is_stored() {
        let schedule: Schedule = serde_json::from_str(PLAIN).unwrap();

        assert_eq!(schedule.interval_days(), 30);
        assert_eq!(serde_json::to_string(&schedule).unwrap(), PLAIN);
    }

    #[test]
    fn rules_that_are_not_the_default_are_stored_too() {
        let rules = Disambiguation {
            fold: Repeated::Last,
            ..Disambiguation::default()
        };
        let schedule = Schedule::builder()
            .every_days(1)
            .at("23:59:59".parse().unwrap())
            .zone("UTC")
            .anchor("1970-01-01".parse().unwrap())
            .disambiguation(rules)
            .build()
            .unwrap();

        let text = serde_json::to_string(&schedule).unwrap();

        assert!(text.contains(r#""fold":"last""#), "{text}");
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    }

    #[test]
    fn a_stored_schedule_is_checked_like_any_other() {
        for (good, bad, field) in [
            ("30", "731", "interval: "),
            ("02:30", "2.30", "at: "),
            ("Europe/Berlin", "Europe/Berlim", "zone: "),
            ("2026-11-01", "2026-02-30", "anchor: "),
        ] {
            let text = PLAIN.replacen(good, bad, 1);
            let error = serde_json::from_str::<Schedule>(&text).unwrap_err();
            assert!(error.to_string().starts_with(field), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Schedule>(&PLAIN.replace("zone", "tz")).is_err());
    }
}
