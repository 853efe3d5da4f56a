use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    ConnectionId, IssuerError, IssuerErrorKind, Rotation, SealError, Seconds, Trouble, TroubleKind,
};
use keywheel_core::Report;

use crate::Policy;
use crate::authority::{MANAGING, NoAuthority};

/// A step that failed, as the record keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: TroubleKind,
    message: String,
    retry_after: Option<TimeDelta>,
    lifetime_too_long: bool,
    refusal: bool,
}

impl Failure {
    pub(crate) fn new(kind: TroubleKind, message: String) -> Self {
        Self {
            kind,
            message,
            retry_after: None,
            lifetime_too_long: false,
            refusal: false,
        }
    }

    /// Says which sink it is about.
    pub(crate) fn at_sink(mut self, sink: &str) -> Self {
        self.message = format!("sink {sink:?}: {}", self.message);
        self
    }

    /// Whether Entra does not accept the secret that was used.
    pub(crate) fn is_refusal(&self) -> bool {
        self.refusal
    }

    /// The same failure as something that passes, for a secret that nothing depends on yet.
    pub(crate) fn passing(mut self) -> Self {
        self.kind = TroubleKind::Transient;
        self
    }

    /// What the failure means after so many refusals in a row: a secret that was good is refused for good
    /// only when it is refused again and again.
    pub(crate) fn after(&self, refusals: u32, policy: &Policy) -> Self {
        let failure = self.clone();
        if self.refusal && refusals < policy.agreeing_reads.into() {
            failure.passing()
        } else {
            failure
        }
    }

    /// How long until the next attempt, after the `attempts`-th in a row that failed. The end of the
    /// secret in use makes it shorter.
    pub(crate) fn delay(
        &self,
        id: ConnectionId,
        attempts: u32,
        policy: &Policy,
        now: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> TimeDelta {
        let delay = if self.lifetime_too_long {
            TimeDelta::zero()
        } else if self.kind.needs_a_person() {
            policy.halted
        } else {
            let wait = policy.retry.wait(attempts, &id.to_string(), now, end);
            TimeDelta::from_std(wait).unwrap_or(policy.halted)
        };
        delay.max(self.asked(now, end))
    }

    /// How long we were asked to wait, as far as we do: not until the secret in use has ended, but for half
    /// of what is left of it at most, and no longer than a day.
    fn asked(&self, now: DateTime<Utc>, end: Option<DateTime<Utc>>) -> TimeDelta {
        let asked = self.retry_after.unwrap_or_default().min(LONGEST_ASKED);
        let left = end.map(|end| end - now);
        let left = left.filter(|left| *left > TimeDelta::zero());
        left.map_or(asked, |left| asked.min(left / 2))
    }

    pub(crate) fn trouble(
        &self,
        before: Option<Trouble>,
        now: DateTime<Utc>,
        retry_at: DateTime<Utc>,
    ) -> Trouble {
        let mut trouble = Trouble::new(self.kind, self.message.clone(), now, retry_at);
        if let Some(before) = before {
            trouble.since = before.since;
            trouble.attempts = before.attempts + 1;
        }
        trouble
    }

    /// When the tenant's policy refused the lifetime, notes half of it as the longest, down to a day.
    /// A tenant that refuses even that leaves no room for client secrets.
    pub(crate) fn shorten_life(mut self, rotation: &mut Rotation) -> Self {
        if !self.lifetime_too_long {
            return self;
        }
        let refused = u32::try_from(lifetime(rotation).num_seconds()).unwrap_or(u32::MAX);
        if refused > DAY {
            rotation.lifetime_cap = Some(Seconds((refused / 2).max(DAY)));
        } else {
            self.lifetime_too_long = false;
            self.kind = TroubleKind::MethodForbidden;
        }
        self
    }
}

const DAY: u32 = 86_400;

/// What stands between us and the directory may ask for years, and issuers are anybody's.
const LONGEST_ASKED: TimeDelta = TimeDelta::days(1);

/// How long a new secret is to live: the interval, the grace, and two missed rotations, within what the
/// tenant's policy is known to allow.
pub(crate) fn lifetime(rotation: &Rotation) -> TimeDelta {
    let settings = &rotation.settings;
    let interval = TimeDelta::days(settings.plan.schedule().interval_days().into());
    let grace = settings.grace.delta().max(settings.original_grace.delta());
    let margin = TimeDelta::from_std(settings.plan.expiry_margin()).unwrap_or_default();
    let wanted = interval * 3 + grace + margin;
    rotation
        .lifetime_cap
        .map_or(wanted, |cap| wanted.min(cap.delta()))
}

impl From<&IssuerError> for Failure {
    fn from(error: &IssuerError) -> Self {
        let kind = match error.kind() {
            IssuerErrorKind::ApplicationUnusable => TroubleKind::ApplicationUnusable,
            IssuerErrorKind::Forbidden => TroubleKind::PermissionMissing,
            IssuerErrorKind::LimitReached => TroubleKind::LimitReached,
            IssuerErrorKind::MethodForbidden => TroubleKind::MethodForbidden,
            IssuerErrorKind::Expired | IssuerErrorKind::Refused => TroubleKind::LockedOut,
            IssuerErrorKind::Invalid => TroubleKind::Refused,
            _ => TroubleKind::Transient,
        };
        let retry_after = error
            .retry_after()
            .map(|after| TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX));
        Self {
            retry_after,
            lifetime_too_long: error.kind() == IssuerErrorKind::LifetimeTooLong,
            refusal: matches!(
                error.kind(),
                IssuerErrorKind::Expired | IssuerErrorKind::Refused
            ),
            ..Self::new(kind, Report(error).to_string())
        }
    }
}

impl From<&SealError> for Failure {
    fn from(error: &SealError) -> Self {
        let kind = if error.is_transient() {
            TroubleKind::Transient
        } else {
            TroubleKind::LockedOut
        };
        Self::new(kind, Report(error).to_string())
    }
}

impl From<&NoAuthority> for Failure {
    fn from(error: &NoAuthority) -> Self {
        match error {
            NoAuthority::Managing(error) => {
                let kind = if error.is_transient() {
                    TroubleKind::Transient
                } else {
                    TroubleKind::ApplicationUnusable
                };
                Self::new(kind, format!("{MANAGING}: {}", Report(error)))
            }
            NoAuthority::Seal(error) => error.into(),
            NoAuthority::Unfit(why) => Self::new(TroubleKind::Refused, (*why).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn delay(asked: Duration, left: Option<TimeDelta>) -> TimeDelta {
        let error = IssuerError::new(IssuerErrorKind::Busy, "later");
        let failure = Failure::from(&error.with_retry_after(Some(asked)));
        let now = DateTime::UNIX_EPOCH;
        let (id, policy) = (Uuid::from_u128(1).into(), Policy::default());
        failure.delay(id, 1, &policy, now, left.map(|left| now + left))
    }

    #[test]
    fn who_asks_for_time_gets_up_to_a_day() {
        let hour = Duration::from_hours(1);

        assert_eq!(delay(hour, None), TimeDelta::hours(1));
        assert_eq!(delay(hour * 24 * 365, None), TimeDelta::days(1));
        assert_eq!(delay(Duration::MAX, None), TimeDelta::days(1));
    }

    #[test]
    fn nobody_is_obeyed_beyond_the_end_of_the_secret_in_use() {
        let (hour, day) = (TimeDelta::hours(1), Duration::from_hours(24));

        assert_eq!(delay(day, Some(hour * 24 * 90)), hour * 24);
        assert_eq!(delay(day, Some(hour * 4)), hour * 2);
        let short = delay(day, Some(TimeDelta::milliseconds(10)));
        assert!((1000..=2000).contains(&short.num_milliseconds()), "{short}");
        assert_eq!(delay(day, Some(-hour)), hour * 24, "it has ended");
    }
}
