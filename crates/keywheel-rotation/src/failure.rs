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

    /// How long until the next attempt, which is the `attempts`-th in a row that failed. The end of the
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
        delay.max(self.retry_after.unwrap_or_default())
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
            .and_then(|after| TimeDelta::from_std(after).ok());
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
