mod copies;
mod renewal;
mod work;

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keywheel_core::{
    AccessToken, Clock, CredentialError, CredentialErrorKind, Scope, TokenRequest,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span, warn};

use self::copies::Copies;
use self::renewal::refresh_on;
use self::work::Work;

/// Where a [`TokenCache`] gets what it does not have.
pub(crate) trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Gets a token that was not handed out before.
    fn fetch(
        &self,
        request: &TokenRequest,
    ) -> impl Future<Output = Result<AccessToken, CredentialError>> + Send;
}

/// The tokens of one application in one tenant, a slot for each set of scopes and claims.
///
/// * Whoever finds a token that is good for a while gets it without a lock.
/// * Whoever finds one that nears its end gets it too, and sets its renewal going. The old token serves
///   for as long as it is valid, however the renewal fares.
/// * Whoever finds none sees to the one request that gets it. When others wait for it too, or that caller
///   goes away, a task takes over, so that nobody takes anything from the others.
/// * A failure is told to those who waited for it and is not kept. The next request waits until its time
///   has come.
pub(crate) struct TokenCache<S>(Arc<Inner<S>>);

struct Inner<S> {
    source: S,
    clock: Arc<dyn Clock>,
    tokens: ArcSwap<Tokens>,
    state: Mutex<State>,
}

/// The tokens at hand. The newest is nearly always the only one, and found without a step more.
#[derive(Debug, Default)]
struct Tokens {
    newest: Option<Held>,
    older: Vec<Held>,
}

/// A token at hand.
#[derive(Clone, Debug)]
struct Held {
    /// A copy of its own, for it is looked at before every call.
    request: TokenRequest,
    token: AccessToken,
    copies: Copies,
    /// When to get the next one.
    refresh_on: DateTime<Utc>,
}

#[derive(Default)]
struct State {
    /// Grows with each invalidation: what was asked for before is not kept.
    epoch: u64,
    /// Counts the requests, to tell them apart.
    flights: u64,
    slots: Vec<Slot>,
}

/// What is going on for one request, and those like it.
struct Slot {
    request: Arc<TokenRequest>,
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

/// A request on its way.
struct Flight {
    number: u64,
    work: Arc<Work<Outcome>>,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// `None` when it came to no end: it panicked, or its runtime has shut down.
type Outcome = Option<Result<AccessToken, CredentialError>>;

enum Next<'a, S: TokenSource> {
    Await {
        landed: oneshot::Receiver<Outcome>,
        number: u64,
    },
    Fail(CredentialError),
    Lead(Lead<'a, S>),
    Pause(Instant),
    Use(AccessToken),
}

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
        let held = tokens
            .iter()
            .find(|held| want_same(&held.request, request))?;
        (now < held.refresh_on && is_wanted(&held.token, request)).then(|| held.hand_out())
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
                Next::Await { landed, .. } => match landed.await.ok().flatten() {
                    Some(Ok(token)) if is_wanted(&token, request) => return Ok(token),
                    // Another caller's request, older than the token that this one rejects; or one
                    // that came to no end.
                    Some(Ok(_)) | None => {}
                    Some(Err(error)) => return Err(error),
                },
                Next::Fail(error) => return Err(error),
                Next::Lead(lead) => {
                    if let Some(result) = lead.finish().await {
                        return result;
                    }
                }
                Next::Pause(until) => sleep_until(until).await,
                Next::Use(token) => return Ok(token),
            }
        }
    }

    /// Keeps a token that came another way.
    pub(crate) fn put(&self, scopes: &[Scope], token: &AccessToken) {
        let _state = self.0.state();
        let [first, others @ ..] = scopes else {
            return;
        };
        let mut request = TokenRequest::new(first.clone());
        request.scopes.extend_from_slice(others);
        self.0.keep(request, token);
    }

    /// Forgets every token, and what the requests on their way will bring.
    pub(crate) fn invalidate(&self) {
        let mut state = self.0.state();
        state.epoch += 1;
        let slots = mem::take(&mut state.slots);
        self.0.tokens.store(Arc::default());
        // What they hold may end with them, and then looks at the state.
        drop(state);
        drop(slots);
    }

    fn next<'a>(&'a self, request: &'a TokenRequest) -> Next<'a, S> {
        let mut state = self.0.state();
        let usable = self.0.usable(request);
        if let Some((token, fresh)) = &usable
            && (*fresh || state.slot(request).flight.is_some())
        {
            return Next::Use(token.clone());
        }
        let next = self.join(&mut state, request);
        drop(state);
        match (usable, next) {
            // The lead, if it is one, goes away now, and leaves its request to a task.
            (Some((token, _)), _) => Next::Use(token),
            (None, Next::Await { landed, number }) => {
                self.carry(number, request);
                Next::Await { landed, number }
            }
            (None, next) => next,
        }
    }

    /// Takes part in the request that is on its way, or in a new one.
    fn join<'a>(&'a self, state: &mut State, request: &'a TokenRequest) -> Next<'a, S> {
        let (number, epoch) = (state.flights + 1, state.epoch);
        let slot = state.slot(request);
        if let Some(flight) = &mut slot.flight {
            let (tell, landed) = oneshot::channel();
            flight.waiting.push(tell);
            let number = flight.number;
            return Next::Await { landed, number };
        }
        if let Some(pause) = slot.failed.as_ref().and_then(Failed::pause) {
            return pause;
        }
        let work = self.launch(number, epoch, Arc::clone(&slot.request));
        slot.flight = Some(Flight {
            number,
            work: Arc::clone(&work),
            waiting: Vec::new(),
        });
        state.flights = number;
        Next::Lead(Lead {
            cache: self,
            number,
            request,
            work,
        })
    }

    fn launch(&self, number: u64, epoch: u64, request: Arc<TokenRequest>) -> Arc<Work<Outcome>> {
        let landing = Landing {
            inner: Arc::clone(&self.0),
            epoch,
            number,
            request,
            landed: false,
        };
        let span = Span::current();
        let work = async move {
            let outcome = {
                // Pinned before it is wrapped, so that it is not moved with each wrapper.
                let fetched = pin!(landing.inner.source.fetch(&landing.request));
                let fetched = fetched.instrument(span.clone());
                AssertUnwindSafe(fetched).catch_unwind().await.ok()
            };
            span.in_scope(|| landing.land(outcome.as_ref()));
            outcome
        };
        Arc::new(Work::new(work.boxed()))
    }

    /// Gives a request that is on its way a task of its own, unless it has one.
    fn carry(&self, number: u64, request: &TokenRequest) {
        let Some((request, shared)) = self.0.state().on_its_way(number, request) else {
            return;
        };
        let Some(work) = shared.take() else {
            return;
        };
        let carrier = Carrier {
            inner: Arc::clone(&self.0),
            number,
            request,
            shared,
            end: None,
        };
        // Without a runtime there is nobody who could go on.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(carrier.carry(work));
        }
    }
}

/// Sees to a request for who asked first.
struct Lead<'a, S: TokenSource> {
    cache: &'a TokenCache<S>,
    number: u64,
    request: &'a TokenRequest,
    work: Arc<Work<Outcome>>,
}

impl<S: TokenSource> Lead<'_, S> {
    /// Returns nothing when a task took over that gave up.
    async fn finish(self) -> Option<Result<AccessToken, CredentialError>> {
        let outcome = poll_fn(|cx| self.work.poll(cx)).await?;
        Some(outcome.unwrap_or_else(|| {
            Err(CredentialError::new(
                CredentialErrorKind::Protocol,
                "getting a token panicked: report the panic's message",
            ))
        }))
    }
}

/// Leaves what has not landed to a task.
impl<S: TokenSource> Drop for Lead<'_, S> {
    fn drop(&mut self) {
        self.cache.carry(self.number, self.request);
    }
}

/// Goes with the task that sees to a request. When the task's runtime ends before it, it takes the request
/// from the board and sends who waits to make another.
struct Carrier<S> {
    inner: Arc<Inner<S>>,
    number: u64,
    request: Arc<TokenRequest>,
    shared: Arc<Work<Outcome>>,
    end: Option<Outcome>,
}

impl<S: TokenSource> Carrier<S> {
    async fn carry(mut self, work: BoxFuture<'static, Outcome>) {
        self.end = Some(work.await);
    }
}

impl<S> Drop for Carrier<S> {
    fn drop(&mut self) {
        let flight = self.inner.state().take_flight(self.number, &self.request);
        // After the lock: what it holds may end with it, and then looks at the state.
        drop(flight);
        self.shared.end(self.end.take());
    }
}

impl<S> Inner<S> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the token that will do, and whether it will for a while.
    fn usable(&self, request: &TokenRequest) -> Option<(AccessToken, bool)> {
        let tokens = self.tokens.load();
        let mut tokens = tokens.iter();
        let held = tokens
            .find(|held| want_same(&held.request, request) && is_wanted(&held.token, request))?;
        let now = self.clock.now();
        (now < held.token.expires_on).then(|| (held.hand_out(), now < held.refresh_on))
    }

    /// Puts `token` in the place of its predecessor. The caller holds the lock.
    fn keep(&self, request: TokenRequest, token: &AccessToken) {
        // What had ended when this one was asked for leaves.
        let now = token.obtained_on;
        let tokens = self.tokens.load();
        let stay =
            |held: &&Held| now < held.token.expires_on && !is_replaced(&held.request, &request);
        let mut older: Vec<_> = tokens.iter().filter(stay).cloned().collect();
        if older.len() >= MOST_TOKENS {
            older.sort_by_key(|held| held.token.expires_on);
            older.remove(0);
        }
        let newest = Some(Held {
            refresh_on: refresh_on(token),
            token: token.clone(),
            copies: Copies::default(),
            request,
        });
        self.tokens.store(Arc::new(Tokens { newest, older }));
    }
}

impl Held {
    fn hand_out(&self) -> AccessToken {
        let token = self.copies.of(&self.token.token);
        AccessToken::new(token, self.token.obtained_on, self.token.expires_on)
            .with_refresh_on(self.token.refresh_on)
    }
}

impl Tokens {
    fn iter(&self) -> impl Iterator<Item = &Held> {
        self.newest.iter().chain(&self.older)
    }
}

/// Takes a request from the board, also when it is given up.
struct Landing<S> {
    inner: Arc<Inner<S>>,
    epoch: u64,
    number: u64,
    request: Arc<TokenRequest>,
    landed: bool,
}

impl<S> Landing<S> {
    /// Keeps what came, and tells those who wait.
    fn land(mut self, outcome: Option<&Result<AccessToken, CredentialError>>) {
        self.landed = true;
        let flight = {
            let mut state = self.inner.state();
            if let (Some(result), true) = (outcome, state.epoch == self.epoch) {
                self.keep(&mut state, result);
            }
            state.take_flight(self.number, &self.request)
        };
        for tell in flight.into_iter().flat_map(|flight| flight.waiting) {
            // Who has gone away need not be told.
            let _ = tell.send(outcome.cloned());
        }
    }

    fn keep(&self, state: &mut State, result: &Result<AccessToken, CredentialError>) {
        let (inner, request) = (&self.inner, &*self.request);
        match result {
            Ok(token) => {
                state.slot(request).succeed();
                inner.keep(request.clone(), token);
            }
            Err(error) => {
                state.slot(request).fail(error);
                if inner.usable(request).is_some() {
                    warn!(kind = ?error.kind(), codes = ?error.aadsts_codes(),
                        correlation_id = error.correlation_id(), "token.renewal.failure");
                }
            }
        }
    }
}

impl<S> Drop for Landing<S> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let flight = self.inner.state().take_flight(self.number, &self.request);
        // After the lock: what it holds may end with it, and then looks at the state.
        drop(flight);
    }
}

impl State {
    fn slot(&mut self, request: &TokenRequest) -> &mut Slot {
        let at = self
            .slots
            .iter()
            .position(|slot| want_same(&slot.request, request));
        let at = at.unwrap_or_else(|| {
            self.slots.push(Slot::new(Arc::new(request.clone())));
            self.slots.len() - 1
        });
        &mut self.slots[at]
    }

    /// Takes the request with this number from the board, if it is there still. The caller drops it after the
    /// lock, for what it holds may look at the state.
    fn take_flight(&mut self, number: u64, request: &TokenRequest) -> Option<Flight> {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| want_same(&slot.request, request))?;
        let flight = slot.flight.take_if(|flight| flight.number == number);
        self.forget_idle();
        flight
    }

    /// Returns the work of the request with this number, if that has not landed.
    fn on_its_way(
        &self,
        number: u64,
        request: &TokenRequest,
    ) -> Option<(Arc<TokenRequest>, Arc<Work<Outcome>>)> {
        let mut slots = self.slots.iter();
        let slot = slots.find(|slot| want_same(&slot.request, request))?;
        let flight = slot.flight.as_ref()?;
        (flight.number == number).then(|| (Arc::clone(&slot.request), Arc::clone(&flight.work)))
    }

    fn forget_idle(&mut self) {
        self.slots.retain(|slot| {
            let failed = slot.failed.as_ref();
            slot.flight.is_some() || failed.is_some_and(Failed::is_remembered)
        });
    }
}

impl Slot {
    fn new(request: Arc<TokenRequest>) -> Self {
        Self {
            request,
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
}

impl Failed {
    fn pause<'a, S: TokenSource>(&self) -> Option<Next<'a, S>> {
        if Instant::now() >= self.until {
            None
        } else if self.ordered {
            Some(Next::Fail(self.error.clone()))
        } else {
            Some(Next::Pause(self.until))
        }
    }

    /// A slot that fails on and off remembers how often for a while after its pause.
    fn is_remembered(&self) -> bool {
        Instant::now() < self.until + LONGEST_PAUSE * 4
    }
}

/// Tells whether one token does for both, if nothing is rejected.
fn want_same(one: &TokenRequest, other: &TokenRequest) -> bool {
    one.scopes == other.scopes && one.claims == other.claims
}

/// A claims challenge means that the plain token for the same scopes is refused from now on.
fn is_replaced(old: &TokenRequest, new: &TokenRequest) -> bool {
    old.scopes == new.scopes && (old.claims.is_none() || old.claims == new.claims)
}

fn is_wanted(token: &AccessToken, request: &TokenRequest) -> bool {
    request
        .rejected
        .is_none_or(|rejected| rejected < token.obtained_on)
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
