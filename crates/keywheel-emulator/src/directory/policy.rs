use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The app-management policies of a tenant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Policies {
    /// For every application without one of its own.
    pub(crate) default: Policy,
    pub(crate) custom: Vec<Policy>,
}

/// One app-management policy: what credentials may be added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) id: Uuid,
    pub(crate) display_name: String,
    pub(crate) is_enabled: bool,
    pub(crate) passwords: Vec<Restriction>,
    pub(crate) keys: Vec<Restriction>,
    /// The objects a custom policy is assigned to.
    pub(crate) applies_to: Vec<Uuid>,
}

/// One restriction of a policy, in Graph's own form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Restriction {
    pub(crate) restriction_type: String,
    #[serde(default)]
    pub(crate) max_lifetime: Option<String>,
    #[serde(default)]
    pub(crate) restrict_for_apps_created_after_date_time: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) state: Option<String>,
}

impl Policies {
    /// Returns the policy that holds for an object.
    pub(crate) fn of(&self, object: Uuid) -> &Policy {
        self.custom
            .iter()
            .find(|policy| policy.is_enabled && policy.applies_to.contains(&object))
            .unwrap_or(&self.default)
    }
}

impl Policy {
    /// Tells whether `kind` of restriction forbids adding to an object created at `created`.
    pub(crate) fn forbids(&self, kind: &str, created: DateTime<Utc>) -> bool {
        self.in_force(kind, created).is_some()
    }

    /// Returns the longest lifetime that `kind` of restriction allows.
    pub(crate) fn longest(&self, kind: &str, created: DateTime<Utc>) -> Option<TimeDelta> {
        self.in_force(kind, created)
            .and_then(|restriction| duration(restriction.max_lifetime.as_deref()?))
    }

    fn in_force(&self, kind: &str, created: DateTime<Utc>) -> Option<&Restriction> {
        let all = self.passwords.iter().chain(&self.keys);
        all.filter(|_| self.is_enabled)
            .filter(|restriction| restriction.restriction_type == kind)
            .filter(|restriction| restriction.state.as_deref() != Some("disabled"))
            .find(|restriction| {
                restriction
                    .restrict_for_apps_created_after_date_time
                    .is_none_or(|after| created >= after)
            })
    }
}

/// Reads an ISO 8601 duration of days, hours, minutes and seconds, with years and months counted as 365
/// and 30 days, as the directory does.
pub(crate) fn duration(text: &str) -> Option<TimeDelta> {
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((date, time)) => (date, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let days = parts(date, &[('Y', 365), ('M', 30), ('W', 7), ('D', 1)])?;
    let seconds = parts(time, &[('H', 3600), ('M', 60), ('S', 1)])?;
    TimeDelta::try_days(days)?.checked_add(&TimeDelta::try_seconds(seconds)?)
}

fn parts(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut sum = 0_i64;
    for (unit, worth) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
            sum = sum.checked_add(number.checked_mul(*worth)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_policies_write_them() {
        for (text, days) in [("P90D", 90), ("P1Y", 365), ("P6M", 180), ("P1M1D", 31)] {
            assert_eq!(duration(text), Some(TimeDelta::days(days)), "{text}");
        }
        assert_eq!(duration("PT36H"), Some(TimeDelta::hours(36)));
        assert_eq!(duration("P0DT0H0M0S"), Some(TimeDelta::zero()));
        for text in ["90D", "P-1D", "P90", "", "P1D1Y", "P99999999999999999999D"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
