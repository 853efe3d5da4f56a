mod bucket;
mod lane;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use keywheel_core::Entropy;
use tokio::time::{Instant, sleep};

use self::bucket::Bucket;
use self::lane::Lanes;
pub(crate) use self::lane::{Lane, Turn};
use crate::call::Call;

/// Keeps what one application asks of one tenant below Microsoft's limits.
///
/// It counts resource units and writes, slows down when Graph's `x-ms-throttle-*` headers say that a limit
/// is near, holds every call back while Graph wants to be left alone, and lets writes to one object go one
/// after the other, spaced. Clones share the count: give one to all the clients of a process that speak for
/// the same application and tenant.
/// <https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits>
#[derive(Clone, Debug)]
pub struct Traffic(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spacing: Duration,
    lanes: Lanes,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    units: Bucket,
    writes: Bucket,
    pace: Pace,
    held_until: Option<Instant>,
    usage: TrafficUsage,
}

/// How much is asked for at most.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrafficLimits {
    /// Resource units in ten seconds. Default: 3,500, what a tenant of up to fifty users has; large ones
    /// have 8,000.
    pub units_in_ten_seconds: u32,
    /// Writes in 150 seconds. Default: 3,000.
    pub writes_in_150_seconds: u32,
    /// From the end of one write to an object until the next one to it begins. Default: 200 ms; writes that
    /// follow closely are what `Directory_ConcurrencyViolation` is made of.
    pub write_spacing: Duration,
}

impl Default for TrafficLimits {
    fn default() -> Self {
        Self {
            units_in_ten_seconds: 3_500,
            writes_in_150_seconds: 3_000,
            write_spacing: Duration::from_millis(200),
        }
    }
}

/// What was asked so far, and what Graph said about it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TrafficUsage {
    /// The requests that were sent.
    pub requests: u64,
    /// The resource units that they cost.
    pub units: u64,
    /// How many were throttled.
    pub throttled: u64,
    /// The share of a limit that was used up when Graph last told: from 0.8 on.
    pub limit_percentage: Option<f64>,
    /// Whose limit that was, as Graph writes it.
    pub scope: Option<String>,
}

impl Traffic {
    /// Returns an account of what one application asks of one tenant.
    #[must_use]
    pub fn new(limits: TrafficLimits) -> Self {
        let rate = |count: u32, seconds: f64| f64::from(count.max(1)) / seconds;
        Self(Arc::new(Inner {
            spacing: limits.write_spacing,
            lanes: Lanes::default(),
            state: Mutex::new(State {
                // In any window, a full bucket and what flows in stay below the limit together.
                units: Bucket::new(rate(limits.units_in_ten_seconds, 11.25), 1.25),
                writes: Bucket::new(rate(limits.writes_in_150_seconds, 165.0), 15.0),
                pace: Pace::default(),
                held_until: None,
                usage: TrafficUsage::default(),
            }),
        }))
    }

    /// Returns what was asked so far.
    #[must_use]
    pub fn usage(&self) -> TrafficUsage {
        self.state().usage.clone()
    }

    /// Waits until no other write to the object is going on, and until the last one is a while ago.
    pub(crate) async fn turn(&self, lane: &Lane) -> Turn {
        self.0.lanes.turn(lane, self.0.spacing).await
    }

    /// Waits until the call may be sent.
    pub(crate) async fn admit(&self, call: &Call, entropy: &dyn Entropy) {
        let wait = self.state().book(call);
        if let Some(wait) = wait {
            tracing::trace!(?wait, "graph.paced");
            sleep(wait).await;
        }
        while let Some(wait) = self.held() {
            // Those who waited together do not come back together.
            let apart = Duration::from_millis(250).mul_f64(entropy.unit());
            tracing::trace!(?wait, "graph.held");
            sleep(wait + apart).await;
        }
    }

    fn held(&self) -> Option<Duration> {
        let until = self.state().held_until?;
        until
            .checked_duration_since(Instant::now())
            .filter(|wait| !wait.is_zero())
    }

    /// Learns from an answer.
    pub(crate) fn observe(&self, call: &Call, status: StatusCode, headers: &HeaderMap) {
        let units = text(headers, &RESOURCE_UNIT).and_then(|text| text.parse().ok());
        self.state().settle(call.units, units.unwrap_or(call.units));
        self.heed(status, headers);
    }

    /// Learns from an answer how near the limits are.
    pub(crate) fn heed(&self, status: StatusCode, headers: &HeaderMap) {
        let share = text(headers, &LIMIT_PERCENTAGE);
        let share: Option<f64> = share.and_then(|text| text.parse().ok());
        let throttled = status == StatusCode::TOO_MANY_REQUESTS;
        if share.is_none() && !throttled {
            return;
        }
        let state = &mut *self.state();
        if let Some(share) = share {
            let scope = text(headers, &SCOPE);
            state.usage.limit_percentage = Some(share);
            state.usage.scope = scope.map(|text| text.chars().take(200).collect());
        }
        state.usage.throttled += u64::from(throttled);
        let near = !throttled && share.is_some_and(|share| share < 1.0);
        state.pace.slow(if near { 0.5 } else { 0.25 });
    }

    /// Holds every call back for as long as Graph wants to be left alone.
    pub(crate) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let state = &mut *self.state();
        state.held_until = Some(state.held_until.map_or(until, |before| before.max(until)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new(TrafficLimits::default())
    }
}

impl State {
    /// Books what the call costs, and returns how long until that is there.
    fn book(&mut self, call: &Call) -> Option<Duration> {
        let now = Instant::now();
        let pace = self.pace.at(now);
        let units = self.units.take(f64::from(call.units), pace, now);
        let writes = if call.is_read() {
            Duration::ZERO
        } else {
            self.writes.take(1.0, pace, now)
        };
        let wait = units.max(writes);
        (!wait.is_zero()).then_some(wait)
    }

    fn settle(&mut self, booked: u32, units: u32) {
        self.units.take_back(f64::from(booked) - f64::from(units));
        self.usage.requests += 1;
        self.usage.units += u64::from(units);
    }
}

const RESOURCE_UNIT: HeaderName = HeaderName::from_static("x-ms-resource-unit");
const LIMIT_PERCENTAGE: HeaderName = HeaderName::from_static("x-ms-throttle-limit-percentage");
const SCOPE: HeaderName = HeaderName::from_static("x-ms-throttle-scope");

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The share of the full rate that is used: it falls when Graph says so, and is back within a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Pace(Option<(Instant, f64)>);

impl Pace {
    fn at(&self, now: Instant) -> f64 {
        self.0.map_or(1.0, |(since, share)| {
            (share + now.duration_since(since).as_secs_f64() / 60.0).min(1.0)
        })
    }

    fn slow(&mut self, to: f64) {
        let now = Instant::now();
        self.0 = Some((now, self.at(now).min(to)));
    }
}

#[cfg(test)]
mod tests;
