use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use keywheel_core::{
    AccessToken, Clock, CredentialError, CredentialErrorKind, Scope, TokenRequest,
};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span, warn};

/// Where a [`TokenCache`] gets what it does not have.
#[async_trait]
pub(crate) trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Gets a token that was not handed out before.
    async fn fetch(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError>;
}

/// The tokens of one application in one tenant, a slot for each set of scopes and claims.
///
/// * Whoever finds a token that is good for a while gets it without a lock.
/// * Whoever finds one that nears its end gets it too, and sets its renewal going. The old token serves
///   for as long as it is valid, however the renewal fares.
/// * Whoever finds none waits for the one request that is on its way. It runs in a task of its own, so
///   that a caller who goes away takes nothing from the others.
/// * A failure is told to those who waited for it and is not kept. The next request waits until its time
///   has come.
pub(crate) struct TokenCache<S>(Arc<Inner<S>>);

struct Inner<S> {
    source: S,
    clock: Arc<dyn Clock>,
    tokens: ArcSwap<Vec<Held>>,
    state: Mutex<State>,
}

/// A token at hand.
#[derive(Clone, Debug)]
struct Held {
    key: Key,
    token: AccessToken,
    /// When to get the next one.
    refresh_on: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    scopes: Vec<Scope>,
    claims: Option<String>,
}

#[derive(Default)]
struct State {
    /// Grows with each invalidation: what was asked for before is not kept.
    epoch: u64,
    slots: Vec<Slot>,
}

/// What is going on for one key.
struct Slot {
    key: Key,
    flight: Option<Flight>,
    failures: u32,
    failed: Option<Failed>,
}

struct Failed {
    error: CredentialError,
    until: Instant,
    /// The issuer asked for the wait: it is long, and not ours to sit out.
    ordered: bool,
}

/// A request on its way. `None` comes when its runtime has shut down.
type Flight = Shared<BoxFuture<'static, Option<Result<AccessToken, CredentialError>>>>;

enum Next {
    Await { flight: Flight, ours: bool },
    Fail(CredentialError),
    Pause(Instant),
    Use(AccessToken),
}

/// How long before its end a token is renewed: time for several attempts, and what the other Azure
/// libraries keep. Tokens that last less than twice that are renewed at half their life.
const MARGIN: TimeDelta = TimeDelta::minutes(5);

/// Renewals are spread over this part of the margin, so that a thousand connections that were opened
/// together don't renew together.
const SPREAD: i32 = 5;

/// No token is renewed younger than this, whatever `refresh_in` says.
const YOUNGEST: TimeDelta = TimeDelta::minutes(1);

/// More tokens than an application has resources to talk to.
const MOST_TOKENS: usize = 64;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

impl<S: TokenSource> TokenCache<S> {
    pub(crate) fn new(source: S, clock: &Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            source,
            clock: Arc::clone(clock),
            tokens: ArcSwap::default(),
            state: Mutex::default(),
        }))
    }

    pub(crate) fn source(&self) -> &S {
        &self.0.source
    }

    /// Returns a token that needs no renewal, without a lock, allocation or I/O.
    pub(crate) fn cached(&self, request: &TokenRequest) -> Option<AccessToken> {
        let now = self.0.clock.coarse_now();
        let tokens = self.0.tokens.load();
        let held = tokens.iter().find(|held| held.key.is_of(request))?;
        (now < held.refresh_on && is_wanted(&held.token, request)).then(|| held.token.clone())
    }

    /// Returns a token at hand, or the one that is got now.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub(crate) async fn get(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        if let Some(token) = self.cached(request) {
            return Ok(token);
        }
        loop {
            match self.next(request) {
                Next::Await { flight, ours } => match flight.await {
                    Some(Ok(token)) if ours || is_wanted(&token, request) => return Ok(token),
                    // Another caller's request, older than the token that this one rejects; or a
                    // runtime that ended before it.
                    Some(Ok(_)) | None => {}
                    Some(Err(error)) => return Err(error),
                },
                Next::Fail(error) => return Err(error),
                Next::Pause(until) => sleep_until(until).await,
                Next::Use(token) => return Ok(token),
            }
        }
    }

    /// Keeps a token that came another way.
    pub(crate) fn put(&self, scopes: &[Scope], token: &AccessToken) {
        let _state = self.0.state();
        let key = Key {
            scopes: scopes.to_vec(),
            claims: None,
        };
        self.0.keep(key, token);
    }

    /// Forgets every token, and what the requests on their way will bring.
    pub(crate) fn invalidate(&self) {
        let mut state = self.0.state();
        state.epoch += 1;
        state.slots.clear();
        self.0.tokens.store(Arc::default());
    }

    fn next(&self, request: &TokenRequest) -> Next {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        let held = self.0.usable(request, now);
        if let Some(held) = &held
            && now < held.refresh_on
        {
            return Next::Use(held.token.clone());
        }

        let epoch = state.epoch;
        let slot = state.slot(request);
        let next = match (&slot.flight, slot.pause()) {
            (Some(flight), _) => Next::Await {
                flight: flight.clone(),
                ours: false,
            },
            (None, Some(next)) => next,
            (None, None) => {
                let flight = self.launch(epoch, request.clone());
                slot.flight = Some(flight.clone());
                Next::Await { flight, ours: true }
            }
        };
        held.map_or(next, |held| Next::Use(held.token))
    }

    fn launch(&self, epoch: u64, request: TokenRequest) -> Flight {
        let landing = Landing {
            inner: Arc::clone(&self.0),
            epoch,
            request,
        };
        let task = async move {
            let result = landing.inner.source.fetch(&landing.request).await;
            landing.inner.land(epoch, &landing.request, &result);
            result
        };
        tokio::spawn(task.instrument(Span::current()))
            .map(|joined| match joined {
                Ok(result) => Some(result),
                Err(error) if error.is_panic() => Some(Err(CredentialError::new(
                    CredentialErrorKind::Protocol,
                    "getting a token panicked: report the panic's message",
                ))),
                Err(_) => None,
            })
            .boxed()
            .shared()
    }
}

impl<S> Inner<S> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self, request: &TokenRequest, now: DateTime<Utc>) -> Option<Held> {
        let tokens = self.tokens.load();
        let held = tokens.iter().find(|held| held.key.is_of(request))?;
        (now < held.token.expires_on && is_wanted(&held.token, request)).then(|| held.clone())
    }

    fn land(
        &self,
        epoch: u64,
        request: &TokenRequest,
        result: &Result<AccessToken, CredentialError>,
    ) {
        let mut state = self.state();
        if state.epoch != epoch {
            return;
        }
        match result {
            Ok(token) => {
                state.slot(request).succeed();
                self.keep(Key::of(request), token);
            }
            Err(error) => {
                state.slot(request).fail(error);
                if self.usable(request, self.clock.now()).is_some() {
                    warn!(kind = ?error.kind(), codes = ?error.aadsts_codes(),
                        correlation_id = error.correlation_id(), "token.renewal.failure");
                }
            }
        }
    }

    /// Puts `token` in the place of its predecessor. The caller holds the lock.
    fn keep(&self, key: Key, token: &AccessToken) {
        let now = self.clock.now();
        let mut tokens = self.tokens.load().as_ref().clone();
        tokens.retain(|held| now < held.token.expires_on && !held.key.is_replaced_by(&key));
        if tokens.len() >= MOST_TOKENS {
            tokens.sort_by_key(|held| held.token.expires_on);
            tokens.remove(0);
        }
        tokens.push(Held {
            refresh_on: refresh_on(token),
            token: token.clone(),
            key,
        });
        self.tokens.store(Arc::new(tokens));
    }
}

/// Takes a request from the board, also when its task panics or is dropped with its runtime.
struct Landing<S> {
    inner: Arc<Inner<S>>,
    epoch: u64,
    request: TokenRequest,
}

impl<S> Drop for Landing<S> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if state.epoch == self.epoch {
            state.slot(&self.request).flight = None;
            state.forget_idle();
        }
    }
}

impl Key {
    fn of(request: &TokenRequest) -> Self {
        Self {
            scopes: request.scopes.clone(),
            claims: request.claims.clone(),
        }
    }

    fn is_of(&self, request: &TokenRequest) -> bool {
        self.scopes == request.scopes && self.claims == request.claims
    }

    /// A claims challenge means that the plain token for the same scopes is refused from now on.
    fn is_replaced_by(&self, key: &Self) -> bool {
        self.scopes == key.scopes && (self.claims.is_none() || self.claims == key.claims)
    }
}

impl State {
    fn slot(&mut self, request: &TokenRequest) -> &mut Slot {
        let at = self.slots.iter().position(|slot| slot.key.is_of(request));
        let at = at.unwrap_or_else(|| {
            self.slots.push(Slot::new(Key::of(request)));
            self.slots.len() - 1
        });
        &mut self.slots[at]
    }

    fn forget_idle(&mut self) {
        let now = Instant::now();
        self.slots.retain(|slot| {
            let failed = slot.failed.as_ref();
            slot.flight.is_some() || failed.is_some_and(|failed| failed.is_remembered(now))
        });
    }
}

impl Slot {
    fn new(key: Key) -> Self {
        Self {
            key,
            flight: None,
            failures: 0,
            failed: None,
        }
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.failed = None;
    }

    fn fail(&mut self, error: &CredentialError) {
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(8))).min(LONGEST_PAUSE);
        let ordered = error.retry_after().filter(|asked| *asked > LONGEST_PAUSE);
        self.failures += 1;
        self.failed = Some(Failed {
            error: error.clone(),
            until: Instant::now() + ordered.unwrap_or(pause),
            ordered: ordered.is_some(),
        });
    }

    fn pause(&self) -> Option<Next> {
        let failed = self.failed.as_ref()?;
        if Instant::now() >= failed.until {
            None
        } else if failed.ordered {
            Some(Next::Fail(failed.error.clone()))
        } else {
            Some(Next::Pause(failed.until))
        }
    }
}

impl Failed {
    /// A slot that fails on and off remembers how often for a while after its pause.
    fn is_remembered(&self, now: Instant) -> bool {
        now < self.until + LONGEST_PAUSE * 4
    }
}

fn is_wanted(token: &AccessToken, request: &TokenRequest) -> bool {
    request
        .rejected
        .is_none_or(|rejected| rejected < token.obtained_on)
}

fn refresh_on(token: &AccessToken) -> DateTime<Utc> {
    let life = token.expires_on - token.obtained_on;
    let margin = MARGIN.min(life / 2);
    let latest = token.expires_on - margin;
    let due = token.refresh_on.map_or(latest, |due| due.min(latest));
    let youngest = token.obtained_on + YOUNGEST.min(life / 2);
    (due - jitter(token, margin / SPREAD)).max(youngest)
}

/// Hashed from the token, and so different for each connection and each replica.
fn jitter(token: &AccessToken, within: TimeDelta) -> TimeDelta {
    let text = token.token.expose().as_bytes();
    // The end of a token is its signature, different in each.
    let end = &text[text.len().saturating_sub(64)..];
    let mut hasher = DefaultHasher::new();
    end.hash(&mut hasher);
    let share = i64::from(u16::try_from(hasher.finish() >> 48).unwrap_or(0));
    TimeDelta::milliseconds(within.num_milliseconds() * share / i64::from(u16::MAX))
}

impl<S> Clone for TokenCache<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for TokenCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("source", &self.0.source)
            .field("tokens", &self.0.tokens.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
