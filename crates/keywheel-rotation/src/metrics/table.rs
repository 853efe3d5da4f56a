use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// One of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind it is.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub meaning: &'static str,
}

/// The kind of a [`Metric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "those of the facade")]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident [$($label:literal),*] $meaning:literal;)*) => {
        pub(super) mod name {
            $(pub(crate) const $constant: &str = $name;)*
        }

        /// Every metric. No label ever holds a secret.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], meaning: $meaning },)*
        ];
    };
}

metrics! {
    ROTATIONS "keywheel_rotations_total" Counter ["outcome"]
        "Rotations that came to this point: `promoted`, `confirmed`, `quarantined`, `aborted`, `overtaken`.";
    FAILURES "keywheel_rotation_failures_total" Counter ["step", "kind"]
        "Steps that failed and are tried again, by what must be done about it.";
    STEPS "keywheel_steps_total" Counter ["step", "outcome"]
        "Steps by how saving them went: `saved`, `lease-lost`, `store-failed`.";
    STEP_SECONDS "keywheel_step_seconds" Histogram ["step"]
        "How long a step took, the calls and the save together.";
    MINTED "keywheel_secrets_minted_total" Counter []
        "Secrets that were minted and stored.";
    REVOKED "keywheel_secrets_revoked_total" Counter ["reason"]
        "Secrets whose end is confirmed.";
    UNRESOLVED "keywheel_mints_unresolved_total" Counter []
        "Mints whose outcome was unknown and had to be found out by reading.";
    ORPHANS "keywheel_orphans_found_total" Counter []
        "Secrets of ours that nobody held. Each is removed.";
    DEBTS "keywheel_debts" Gauge ["namespace", "connection"]
        "Secrets of the connection that should be gone by now and are not confirmed to be. Those in their grace are not counted.";
    GRACE "keywheel_secrets_in_grace" Gauge ["namespace", "connection"]
        "Replaced secrets of the connection whose grace is not over.";
    STRAYS "keywheel_strays" Gauge ["namespace", "connection"]
        "Valid secrets with the connection's display name that its record does not know: the event `secret.stray_found`. None is removed; somebody must.";
    DRIFT "keywheel_sink_drift" Gauge ["namespace", "connection"]
        "Sinks that do not have the connection's current secret yet.";
    EXPIRY "keywheel_secret_expiry_timestamp_seconds" Gauge ["namespace", "connection"]
        "When the connection's current secret or certificate ends, in seconds since 1970; `NaN` once the connection is deleted. Days left: (x - time()) / 86400.";
    CONNECTIONS "keywheel_connections" Gauge ["health"]
        "Connections by health: `active`, `expiring`, `halted`, `locked-out`, `needs-reauth`, `store-behind`. Counted every five minutes or so by each worker: take the maximum, not the sum.";
    CLOCK_SKEW "keywheel_clock_skew_seconds" Gauge []
        "How far the machine's clock is ahead of Entra's by the `Date` of its last answer to a proof; below zero when it is behind, and 0 up to five seconds.";
    LAG "keywheel_worker_lag_seconds" Histogram []
        "How long after it was due a rotation began.";
    IN_FLIGHT "keywheel_worker_in_flight" Gauge []
        "Connections that the worker holds.";
    PUT_BACK "keywheel_worker_put_back_total" Counter []
        "Connections that were put back because their tenant had no room.";
    LEASES_LOST "keywheel_worker_leases_lost_total" Counter []
        "Turns that ended because another worker had taken over.";
    PANICS "keywheel_worker_panics_total" Counter []
        "Turns that ended in a panic.";
    ANSWERED "keywheel_worker_store_answered_timestamp_seconds" Gauge []
        "When the store last answered the worker, in seconds since 1970.";
    STORE_FAILURES "keywheel_worker_store_failures_total" Counter []
        "Claims that the store did not answer.";
    DELIVERED "keywheel_events_delivered_total" Counter ["consumer"]
        "Events that arrived at a consumer, repetitions included.";
    GIVEN_UP "keywheel_events_given_up_total" Counter ["consumer"]
        "Events that were given up. The journal keeps them.";
}

/// Tells the recorder that is installed what each metric means.
pub fn describe_metrics() {
    for metric in METRICS {
        let unit = if metric.name.ends_with("_seconds") {
            Unit::Seconds
        } else {
            Unit::Count
        };
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, unit, metric.meaning),
            MetricKind::Gauge => describe_gauge!(metric.name, unit, metric.meaning),
            MetricKind::Histogram => describe_histogram!(metric.name, unit, metric.meaning),
        }
    }
}
