use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::{Freeze, InvalidSchedule, Jitter, Schedule, Window};

/// What a plan is made of, as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    schedule: Schedule,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    and: Vec<Schedule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter: Option<Jitter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    windows: Vec<Window>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    freezes: Vec<Freeze>,
    minimum_spacing_seconds: u64,
    expiry_margin_seconds: u64,
}

impl From<Plan> for Stored {
    fn from(plan: Plan) -> Self {
        Self {
            minimum_spacing_seconds: plan.minimum_spacing().as_secs(),
            expiry_margin_seconds: plan.expiry_margin().as_secs(),
            schedule: plan.first,
            and: plan.others,
            jitter: plan.jitter,
            windows: plan.calendar.windows,
            freezes: plan.calendar.freezes,
        }
    }
}

impl TryFrom<Stored> for Plan {
    type Error = InvalidSchedule;

    fn try_from(stored: Stored) -> Result<Self, InvalidSchedule> {
        let mut plan = Self::builder(stored.schedule)
            .minimum_spacing(Duration::from_secs(stored.minimum_spacing_seconds))
            .expiry_margin(Duration::from_secs(stored.expiry_margin_seconds));
        for schedule in stored.and {
            plan = plan.and(schedule);
        }
        if let Some(jitter) = stored.jitter {
            plan = plan.jitter(jitter);
        }
        for window in stored.windows {
            plan = plan.window(window);
        }
        for freeze in stored.freezes {
            plan = plan.freeze(freeze);
        }
        plan.build()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::Weekday;

    use crate::{Days, Freeze, Jitter, Plan, Schedule, Window};

    fn schedule() -> Schedule {
        Schedule::builder()
            .every_days(30)
            .at("02:30".parse().unwrap())
            .zone("Europe/Berlin")
            .anchor("2026-11-01".parse().unwrap())
            .build()
            .unwrap()
    }

    #[test]
    fn a_plan_survives_being_stored() {
        let night = Window::new("22:00".parse().unwrap(), "04:00".parse().unwrap()).unwrap();
        let freeze = Freeze::new("2026-12-19".parse().unwrap(), "2027-01-03".parse().unwrap());
        for plan in [
            Plan::builder(schedule()),
            Plan::builder(schedule())
                .and(schedule())
                .jitter(Jitter::new("connection 42", Duration::from_hours(2)))
                .window(night.on(Days::ALL.on_weekdays([Weekday::Fri])))
                .freeze(freeze.unwrap())
                .minimum_spacing(Duration::from_secs(7))
                .expiry_margin(Duration::ZERO),
        ] {
            let plan = plan.build().unwrap();
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan, "{text}");
        }
    }

    #[test]
    fn a_stored_plan_is_checked_like_any_other() {
        let text = serde_json::to_string(&Plan::builder(schedule()).build().unwrap()).unwrap();
        for (good, bad, field) in [
            (r#""interval_days":30"#, r#""interval_days":0"#, "interval"),
            (
                r#""minimum_spacing_seconds":43200"#,
                r#""minimum_spacing_seconds":99999999"#,
                "minimum spacing",
            ),
        ] {
            let text = text.replacen(good, bad, 1);
            let error = serde_json::from_str::<Plan>(&text).unwrap_err();
            assert!(error.to_string().contains(field), "{text}: {error}");
        }
        let window =
            r#"{"days":{"weekdays":1,"from_start":2,"from_end":2,"months":2},"from":0,"length":0}"#;
        assert!(serde_json::from_str::<Window>(window).is_err());
    }
}
