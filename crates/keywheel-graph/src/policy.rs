use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use crate::call::{Call, Path};
use crate::wire::nullable;
use crate::{GraphClient, GraphError};

/// What a tenant allows of applications' credentials.
///
/// Read with `Policy.Read.All`; who has not that learns of the policy when it refuses something.
/// <https://learn.microsoft.com/graph/api/resources/tenantappmanagementpolicy>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AppManagementPolicy {
    /// The id.
    #[serde(default)]
    pub id: Option<String>,
    /// Whether it is in force.
    #[serde(default)]
    pub is_enabled: bool,
    /// What it restricts.
    #[serde(default, deserialize_with = "nullable")]
    pub application_restrictions: Restrictions,
}

/// Restrictions of each kind of credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Restrictions {
    /// Of client secrets.
    #[serde(default, deserialize_with = "nullable")]
    pub password_credentials: Vec<CredentialRestriction>,
    /// Of certificates.
    #[serde(default, deserialize_with = "nullable")]
    pub key_credentials: Vec<CredentialRestriction>,
}

/// One restriction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CredentialRestriction {
    /// What it restricts, as in `passwordAddition` or `passwordLifetime`.
    #[serde(default)]
    pub restriction_type: Option<String>,
    /// The longest lifetime, as ISO 8601 writes it: `P90D`.
    #[serde(default)]
    pub max_lifetime: Option<String>,
    /// From when on an application must have been created for it to be meant.
    #[serde(default)]
    pub restrict_for_apps_created_after_date_time: Option<DateTime<Utc>>,
    /// `enabled` or `disabled`.
    #[serde(default)]
    pub state: Option<String>,
}

impl AppManagementPolicy {
    /// Tells whether client secrets may not be added to an application that was created at `created`.
    #[must_use]
    pub fn forbids_secrets(&self, created: Option<DateTime<Utc>>) -> bool {
        self.secrets(created, "passwordAddition").next().is_some()
    }

    /// Returns the longest lifetime of a client secret, if the policy limits it.
    #[must_use]
    pub fn longest_secret(&self, created: Option<DateTime<Utc>>) -> Option<TimeDelta> {
        self.secrets(created, "passwordLifetime")
            .filter_map(CredentialRestriction::lifetime)
            .min()
    }

    fn secrets<'p>(
        &'p self,
        created: Option<DateTime<Utc>>,
        kind: &'p str,
    ) -> impl Iterator<Item = &'p CredentialRestriction> {
        let all = self.application_restrictions.password_credentials.iter();
        all.filter(move |one| {
            self.is_enabled
                && one.restriction_type.as_deref() == Some(kind)
                && one.state.as_deref() != Some("disabled")
                && one.means(created)
        })
    }
}

impl CredentialRestriction {
    /// An application whose age is unknown is taken to be meant.
    fn means(&self, created: Option<DateTime<Utc>>) -> bool {
        let after = self.restrict_for_apps_created_after_date_time;
        after
            .zip(created)
            .is_none_or(|(after, created)| created > after)
    }

    /// Returns the longest lifetime. Months count as 30 days and years as 365.
    #[must_use]
    pub fn lifetime(&self) -> Option<TimeDelta> {
        duration(self.max_lifetime.as_deref()?)
    }
}

/// Reads an ISO 8601 duration of whole numbers: `P90D`, `P1Y`, `PT12H`, `P4DT12H30M5S`.
fn duration(text: &str) -> Option<TimeDelta> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let date = sum(days, |unit| match unit {
        'Y' => Some(365 * 86_400),
        'M' => Some(30 * 86_400),
        'W' => Some(7 * 86_400),
        'D' => Some(86_400),
        _ => None,
    })?;
    let time = sum(time, |unit| match unit {
        'H' => Some(3_600),
        'M' => Some(60),
        'S' => Some(1),
        _ => None,
    })?;
    TimeDelta::try_seconds(date.checked_add(time)?)
}

fn sum(text: &str, seconds: impl Fn(char) -> Option<i64>) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()) {
        let count: i64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        total = total.checked_add(count.checked_mul(seconds(unit)?)?)?;
        rest = &rest[end + unit.len_utf8()..];
    }
    rest.is_empty().then_some(total)
}

impl GraphClient {
    /// Reads the tenant's default app-management policy.
    /// <https://learn.microsoft.com/graph/api/tenantappmanagementpolicy-get>
    ///
    /// # Errors
    ///
    /// Without `Policy.Read.All`, [`Forbidden`](crate::GraphErrorKind::Forbidden).
    pub async fn app_management_policy(&self) -> Result<AppManagementPolicy, GraphError> {
        let path = Path::of(&["policies", "defaultAppManagementPolicy"]);
        self.json(&Call::read("appManagementPolicy", path)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_durations_are_read() {
        for (text, seconds) in [
            ("P90D", Some(90 * 86_400)),
            ("P1Y", Some(365 * 86_400)),
            ("P2W", Some(14 * 86_400)),
            ("PT12H", Some(43_200)),
            ("P4DT12H30M5S", Some(4 * 86_400 + 45_005)),
            ("P", Some(0)),
            ("90D", None),
            ("PXD", None),
            ("P99999999999999999999D", None),
            ("P1.5D", None),
            ("P5é", None),
        ] {
            assert_eq!(duration(text).map(|it| it.num_seconds()), seconds, "{text}");
        }
    }
}
