use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Route;
use crate::random::Draws;

/// Something that goes wrong, on purpose.
///
/// A fault waits for requests that fit (`route`, `client_id`, `path`), lets the first `skip` pass, and then
/// strikes: the next `times` requests, or each with a `probability`. Made by the constructors below and
/// narrowed by the methods; in TOML and JSON it has the same fields.
///
/// ```
/// use keywheel_emulator::{Fault, Route};
///
/// // The secret is made, and nobody learns of it.
/// let lost = Fault::reset().after_effect().on(Route::AddPassword);
/// // Two refusals, then the service recovers.
/// let busy = Fault::respond(503).on(Route::RemovePassword).times(2);
/// # let _ = (lost, busy);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// The route that is hit; any when absent. The admin endpoint never is.
    #[serde(default)]
    pub route: Option<Route>,
    /// The calling application's client id; any when absent. Known for token requests and Graph calls.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A part of the request's path; any when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// How many fitting requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are hit; without end when absent.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// With which probability, 0 to 1, each fitting request is hit.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many seconds pass before anything else happens, by the real clock.
    #[serde(default)]
    pub delay: f64,
    /// Whether the request takes effect before the fault shows.
    #[serde(default)]
    pub after_effect: bool,
    /// What happens.
    pub action: Action,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The connection is closed without an answer.
    Close,
    /// Nothing but the delay.
    Delay,
    /// The TLS handshake of the next connections takes as long as the delay says.
    Handshake,
    /// The connection is reset (RST) without an answer.
    Reset,
    /// An answer other than the service's own.
    #[non_exhaustive]
    Respond {
        /// The HTTP status.
        status: u16,
        /// Headers besides those that every answer has.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body; when absent, what the service says with this status.
        #[serde(default)]
        body: Option<String>,
    },
    /// The answer stops after so many bytes of its body, and the connection stays open.
    Stall(usize),
    /// The answer stops after so many bytes of its body, and the connection is closed.
    Truncate(usize),
}

impl Fault {
    /// Closes the connection without an answer.
    #[must_use]
    pub fn close() -> Self {
        Self::of(Action::Close)
    }

    /// Delays the answer.
    #[must_use]
    pub fn delay(by: Duration) -> Self {
        Self::of(Action::Delay).delayed(by)
    }

    /// Delays the TLS handshake of the next connection.
    #[must_use]
    pub fn handshake(by: Duration) -> Self {
        Self::of(Action::Handshake).delayed(by)
    }

    /// Resets the connection without an answer.
    #[must_use]
    pub fn reset() -> Self {
        Self::of(Action::Reset)
    }

    /// Answers with `status`, in the shape that the service gives it.
    #[must_use]
    pub fn respond(status: u16) -> Self {
        Self::of(Action::Respond {
            status,
            headers: BTreeMap::new(),
            body: None,
        })
    }

    /// Carries the request out, sends `bytes` of the answer's body and then nothing more.
    #[must_use]
    pub fn stall(bytes: usize) -> Self {
        Self::of(Action::Stall(bytes)).after_effect()
    }

    /// Answers 429, with `Retry-After` when `seconds` are given.
    #[must_use]
    pub fn throttle(seconds: Option<u32>) -> Self {
        let fault = Self::respond(429);
        match seconds {
            Some(seconds) => fault.header("retry-after", seconds.to_string()),
            None => fault,
        }
    }

    /// Carries the request out, sends `bytes` of the answer's body and closes the connection.
    #[must_use]
    pub fn truncate(bytes: usize) -> Self {
        Self::of(Action::Truncate(bytes)).after_effect()
    }

    /// Hits only this route.
    #[must_use]
    pub fn on(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }

    /// Hits only requests of this application.
    #[must_use]
    pub fn of_client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Hits only requests whose path contains `part`.
    #[must_use]
    pub fn at_path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    /// Lets the first `count` fitting requests pass.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Hits the next `count` requests instead of one.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// Hits without end, each request with this probability.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self.times = None;
        self
    }

    /// Hits every request from now on.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets the request take effect first: what was asked for is done, and the client can't know.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    /// Waits before anything else.
    #[must_use]
    pub fn delayed(mut self, by: Duration) -> Self {
        self.delay = by.as_secs_f64();
        self
    }

    /// Sets the body of [`respond`](Self::respond). Without effect on other faults.
    #[must_use]
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Action::Respond { body, .. } = &mut self.action {
            *body = Some(text.into());
        }
        self
    }

    /// Adds a header to [`respond`](Self::respond). Without effect on other faults.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Action::Respond { headers, .. } = &mut self.action {
            headers.insert(name.into(), value.into());
        }
        self
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::try_from_secs_f64(self.delay.clamp(0.0, 3600.0)).unwrap_or_default()
    }

    fn of(action: Action) -> Self {
        Self {
            route: None,
            client_id: None,
            path: None,
            skip: 0,
            times: once(),
            probability: always(),
            delay: 0.0,
            after_effect: false,
            action,
        }
    }

    fn fits(&self, aim: &Aim<'_>) -> bool {
        let same = |id: &String| aim.client_id.is_some_and(|it| it.eq_ignore_ascii_case(id));
        self.route.is_none_or(|route| Some(route) == aim.route)
            && self.client_id.as_ref().is_none_or(same)
            && self
                .path
                .as_ref()
                .is_none_or(|part| aim.path.contains(part))
            && (aim.route.is_none() == matches!(self.action, Action::Handshake))
    }
}

fn once() -> Option<u32> {
    Some(1)
}

fn always() -> f64 {
    1.0
}

/// What a fault is held against: a request, or (without a route) a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim<'a> {
    pub(crate) route: Option<Route>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) path: &'a str,
}

/// A fault that waits, and how often it has struck.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InjectedFault {
    /// The number by which it can be taken back.
    pub id: u64,
    /// How many requests it has hit.
    pub hits: u32,
    /// What it does.
    pub fault: Fault,
    #[serde(default)]
    seen: u32,
}

/// The faults that wait, in the order they came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Faults {
    waiting: Vec<InjectedFault>,
    last: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.last += 1;
        self.waiting.push(InjectedFault {
            id: self.last,
            hits: 0,
            fault,
            seen: 0,
        });
        self.last
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        self.waiting.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn list(&self) -> &[InjectedFault] {
        &self.waiting
    }

    /// Returns the first fault that strikes, and wears it out by one.
    pub(crate) fn strike(&mut self, aim: &Aim<'_>, draws: &mut Draws) -> Option<Fault> {
        self.waiting
            .iter_mut()
            .find_map(|waiting| waiting.strikes(aim, draws))
    }
}

impl InjectedFault {
    fn strikes(&mut self, aim: &Aim<'_>, draws: &mut Draws) -> Option<Fault> {
        let spent = self.fault.times.is_some_and(|times| self.hits >= times);
        if spent || !self.fault.fits(aim) {
            return None;
        }
        self.seen += 1;
        if self.seen <= self.fault.skip {
            return None;
        }
        let certain = self.fault.probability >= 1.0;
        (certain || draws.chance(self.fault.probability)).then(|| {
            self.hits += 1;
            self.fault.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Aim<'_> = Aim {
        route: Some(Route::Token),
        client_id: Some("abc"),
        path: "/t/oauth2/v2.0/token",
    };

    fn strikes(fault: Fault, rounds: usize) -> usize {
        let mut faults = Faults::default();
        faults.add(fault);
        let mut draws = Draws::seeded(1);
        (0..rounds)
            .filter(|_| faults.strike(&TOKEN, &mut draws).is_some())
            .count()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        assert_eq!(strikes(Fault::close(), 10), 1);
        assert_eq!(strikes(Fault::close().times(3), 10), 3);
        assert_eq!(strikes(Fault::close().forever(), 10), 10);
        assert_eq!(strikes(Fault::close().times(3).skip(8), 10), 2);
        let half = strikes(Fault::close().with_probability(0.5), 1000);
        assert!((400..600).contains(&half), "{half}");
    }

    #[test]
    fn a_fault_hits_only_what_it_aims_at() {
        assert_eq!(strikes(Fault::close().on(Route::AddPassword), 10), 0);
        assert_eq!(strikes(Fault::close().on(Route::Token), 10), 1);
        assert_eq!(strikes(Fault::close().of_client("ABC"), 10), 1);
        assert_eq!(strikes(Fault::close().of_client("x"), 10), 0);
        assert_eq!(strikes(Fault::close().at_path("/token"), 10), 1);
        assert_eq!(strikes(Fault::handshake(Duration::from_secs(1)), 10), 0);
    }

    #[test]
    fn reads_from_toml() {
        let fault: Fault = toml::from_str(
            "route = 'token'\ntimes = 2\n[action.respond]\nstatus = 429\nheaders = { retry-after = '3' }",
        )
        .unwrap();

        assert_eq!(fault, Fault::throttle(Some(3)).on(Route::Token).times(2));
    }
}
