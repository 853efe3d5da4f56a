use std::time::Duration;

use keywheel_graph::ConfirmPolicy;

/// How patiently a [`CertificateRoll`](super::CertificateRoll) looks and proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollPolicy {
    /// How long a certificate must not be seen before it is taken for not registered, and the others for all
    /// that there are. Default: 30 seconds; what is added shows in reads after 4 to 18.
    pub settle: Duration,
    /// How many reads must agree that a certificate is there, or gone. Default: five, two seconds apart, within
    /// two minutes. Graph allows 150 such reads a minute and tenant.
    pub confirm: ConfirmPolicy,
    /// How many tokens in a row Entra must give for the new certificate. Default: 3, as for a secret.
    pub proofs: u32,
    /// The time that the proofs are spread over, so that they meet several replicas. Default: 10 seconds.
    pub proof_span: Duration,
    /// How long Entra may refuse the new certificate before the call gives up; it can be called again. Default:
    /// 15 minutes; the longest propagation that was ever reported is "minutes".
    pub patience: Duration,
}

impl Default for RollPolicy {
    fn default() -> Self {
        let mut confirm = ConfirmPolicy::default();
        confirm.interval = Duration::from_secs(2);
        Self {
            settle: Duration::from_secs(30),
            confirm,
            proofs: 3,
            proof_span: Duration::from_secs(10),
            patience: Duration::from_mins(15),
        }
    }
}

impl RollPolicy {
    /// Returns how often reads must agree for all of `settle`.
    pub(super) fn settling(&self) -> ConfirmPolicy {
        let mut settling = self.confirm;
        let interval = settling.interval.as_millis().max(1);
        let reads = self.settle.as_millis().div_ceil(interval) + 1;
        settling.agree = settling.agree.max(u32::try_from(reads).unwrap_or(u32::MAX));
        settling.max_elapsed += self.settle * 4;
        settling
    }

    /// Returns the time from one proof to the next.
    pub(super) fn spacing(&self) -> Duration {
        self.proof_span / self.proofs.saturating_sub(1).max(1)
    }
}
