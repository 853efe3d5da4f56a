use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chrono::TimeDelta;
use keywheel_core::{Cloud, ManualClock, Secret};
use tokio::task::JoinSet;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::test_support::{TokioClock, graph};

type Cache = TokenCache<Source>;

/// Gives a token a second after it is asked, and counts.
#[derive(Debug)]
struct Source {
    clock: Arc<dyn Clock>,
    count: AtomicUsize,
    life: TimeDelta,
    refresh_in: Option<TimeDelta>,
    failing: Mutex<Option<CredentialError>>,
}

impl TokenSource for Source {
    async fn fetch(&self, _: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let asked = self.clock.now();
        sleep(Duration::from_secs(1)).await;
        if let Some(error) = self.failing.lock().unwrap().clone() {
            return Err(error);
        }
        let token = AccessToken::new(
            Secret::new(format!("token {number}")),
            asked,
            asked + self.life,
        );
        Ok(token.with_refresh_on(self.refresh_in.map(|span| asked + span)))
    }
}

fn cache_of(life: TimeDelta, refresh_in: Option<TimeDelta>) -> Cache {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let source = Source {
        clock: Arc::clone(&clock),
        count: AtomicUsize::new(0),
        life,
        refresh_in,
        failing: Mutex::default(),
    };
    TokenCache::new(source, &clock)
}

fn cache() -> Cache {
    cache_of(TimeDelta::hours(1), None)
}

fn failure(kind: CredentialErrorKind) -> CredentialError {
    CredentialError::new(kind, "no token: try again")
}

fn set_failing(cache: &Cache, error: Option<CredentialError>) {
    *cache.source().failing.lock().unwrap() = error;
}

fn count(cache: &Cache) -> usize {
    cache.source().count.load(Ordering::SeqCst)
}

async fn token(cache: &Cache, request: &TokenRequest) -> String {
    cache.get(request).await.unwrap().token.expose().to_owned()
}

async fn minutes(minutes: u64) {
    advance(Duration::from_secs(60 * minutes)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tasks_on_a_cold_cache_make_one_request() {
    let cache = cache();
    let mut tasks = JoinSet::new();
    for _ in 0..10_000 {
        let cache = cache.clone();
        tasks.spawn(async move { token(&cache, &graph()).await });
    }

    let tokens = tasks.join_all().await;

    assert_eq!(count(&cache), 1);
    assert!(tokens.iter().all(|token| token == "token 1"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_nothing_from_the_others() {
    let cache = cache();
    let request = graph();
    let first = timeout(Duration::from_millis(100), cache.get(&request)).await;
    assert!(first.is_err(), "it was dropped");

    assert_eq!(token(&cache, &graph()).await, "token 1");
    assert_eq!(count(&cache), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_holds_still_holds_up_nobody() {
    let (cache, request) = (cache(), graph());
    let mut first = Box::pin(cache.get(&request));
    assert!(futures_util::poll!(&mut first).is_pending());

    // The first is not polled any more, as in a `select!` whose other branch needs a token too.
    assert_eq!(token(&cache, &graph()).await, "token 1");
    assert_eq!(first.await.unwrap().token.expose(), "token 1");
    assert_eq!(count(&cache), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_everybody_has_left_goes_on() {
    let cache = cache();
    let impatient = async || {
        let request = graph();
        let left = timeout(Duration::from_millis(100), cache.get(&request)).await;
        assert!(left.is_err());
    };
    tokio::join!(impatient(), impatient(), impatient());

    sleep(Duration::from_secs(1)).await;
    assert!(cache.cached(&graph()).is_some());
    assert_eq!(count(&cache), 1);
    assert_eq!(cache.0.state().slots.len(), 0);
}

#[test]
fn a_request_that_was_left_outside_of_a_runtime_is_made_again() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (cache, request) = (runtime().block_on(async { cache() }), graph());
    let mut first = Box::pin(cache.get(&request));
    let asked = runtime().block_on(async { futures_util::poll!(&mut first) });
    assert!(asked.is_pending());
    drop(first);

    assert_eq!(runtime().block_on(token(&cache, &graph())), "token 2");
}

#[tokio::test(start_paused = true)]
async fn who_waits_through_an_invalidation_gets_a_token_from_after_it() {
    let cache = cache();
    let (one, two) = (graph(), graph());
    let (early, late, ()) = tokio::join!(cache.get(&one), cache.get(&two), async {
        sleep(Duration::from_millis(500)).await;
        cache.invalidate();
    });

    assert_eq!(early.unwrap().token.expose(), "token 1", "it is valid");
    assert_eq!(late.unwrap().token.expose(), "token 2");
    assert_eq!(token(&cache, &graph()).await, "token 2");
}

#[tokio::test(start_paused = true)]
async fn different_scopes_and_claims_do_not_wait_for_each_other() {
    let cache = cache();
    let vault = TokenRequest::new("https://vault.azure.net/.default".parse().unwrap());
    let start = Instant::now();
    let (graph, claims) = (graph(), graph().with_claims("{}"));
    let (one, two, three) = tokio::join!(cache.get(&graph), cache.get(&vault), cache.get(&claims));

    assert_eq!(count(&cache), 3);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let tokens = [one, two, three].map(|token| token.unwrap().token.expose().to_owned());
    assert!(
        tokens[0] != tokens[1] && tokens[1] != tokens[2],
        "{tokens:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_while_the_next_is_on_its_way() {
    let cache = cache();
    assert_eq!(token(&cache, &graph()).await, "token 1");
    assert!(cache.cached(&graph()).is_some());
    minutes(53).await;
    assert!(cache.cached(&graph()).is_some(), "seven minutes are left");

    minutes(2).await;
    let start = Instant::now();
    assert_eq!(token(&cache, &graph()).await, "token 1");
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits");

    sleep(Duration::from_secs(2)).await;
    assert_eq!(token(&cache, &graph()).await, "token 2");
    assert_eq!(count(&cache), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_serves_to_its_end_when_it_can_not_be_renewed() {
    let cache = cache();
    token(&cache, &graph()).await;
    set_failing(&cache, Some(failure(CredentialErrorKind::Unavailable)));

    for minute in 1..60 {
        minutes(1).await;
        assert_eq!(token(&cache, &graph()).await, "token 1", "minute {minute}");
    }
    minutes(1).await;
    let error = cache.get(&graph()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::Unavailable);

    set_failing(&cache, None);
    assert!(token(&cache, &graph()).await.starts_with("token "));
}

#[tokio::test(start_paused = true)]
async fn refresh_in_is_honoured_within_bounds() {
    let early = cache_of(TimeDelta::hours(24), Some(TimeDelta::hours(12)));
    token(&early, &graph()).await;
    minutes(11 * 60 + 50).await;
    assert!(early.cached(&graph()).is_some());
    minutes(10).await;
    assert!(early.cached(&graph()).is_none());

    let senseless = cache_of(TimeDelta::hours(1), Some(TimeDelta::zero()));
    token(&senseless, &graph()).await;
    assert!(senseless.cached(&graph()).is_some(), "no renewal at once");

    let late = cache_of(TimeDelta::hours(1), Some(TimeDelta::hours(2)));
    token(&late, &graph()).await;
    minutes(55).await;
    assert!(late.cached(&graph()).is_none(), "five minutes are kept");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_minute_is_used_and_renewed_at_half_its_life() {
    let cache = cache_of(TimeDelta::minutes(1), None);
    token(&cache, &graph()).await;

    assert!(cache.cached(&graph()).is_some());
    advance(Duration::from_secs(31)).await;
    assert!(cache.cached(&graph()).is_none());
    assert_eq!(token(&cache, &graph()).await, "token 1");
}

#[tokio::test]
async fn threads_get_a_token_in_a_few_copies() {
    let cache = cache();
    let text = token(&cache, &graph()).await;

    let copies = thread::scope(|scope| {
        let look = || cache.cached(&graph()).unwrap().token;
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(look)).collect();
        let tokens = threads.into_iter().map(|thread| thread.join().unwrap());
        tokens.collect::<Vec<_>>()
    });

    assert!(copies.iter().all(|copy| copy.expose() == text));
    let places: HashSet<_> = copies.iter().map(|copy| copy.expose().as_ptr()).collect();
    assert!((2..=8).contains(&places.len()), "{}", places.len());
}

#[test]
fn renewals_are_spread_over_a_minute_before_the_margin() {
    let start = crate::test_support::noon();
    let due: Vec<_> = (0..1_000)
        .map(|number| {
            let text = Secret::new(format!("token {number}"));
            refresh_on(&AccessToken::new(text, start, start + TimeDelta::hours(1))) - start
        })
        .collect();

    let (first, last) = (due.iter().min().unwrap(), due.iter().max().unwrap());
    assert!(*first >= TimeDelta::minutes(54), "{first}");
    assert!(*last <= TimeDelta::minutes(55), "{last}");
    assert!(*last - *first > TimeDelta::seconds(50), "{first} {last}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_waited_and_not_kept() {
    let cache = cache();
    set_failing(&cache, Some(failure(CredentialErrorKind::InvalidClient)));
    let (one, two) = (graph(), graph());
    let (one, two) = tokio::join!(cache.get(&one), cache.get(&two));
    assert!(one.is_err() && two.is_err());
    assert_eq!(count(&cache), 1);

    set_failing(&cache, None);
    assert_eq!(token(&cache, &graph()).await, "token 2");
}

#[tokio::test(start_paused = true)]
async fn requests_that_fail_keep_a_growing_distance() {
    let cache = cache();
    set_failing(&cache, Some(failure(CredentialErrorKind::InvalidClient)));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(600) {
        cache.get(&graph()).await.unwrap_err();
    }

    assert!((60..=75).contains(&count(&cache)), "{}", count(&cache));
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_that_entra_orders_is_not_sat_out() {
    let cache = cache();
    let throttled = failure(CredentialErrorKind::Throttled);
    let throttled = throttled.with_retry_after(Some(Duration::from_secs(60)));
    set_failing(&cache, Some(throttled));
    cache.get(&graph()).await.unwrap_err();
    set_failing(&cache, None);

    let error = cache.get(&graph()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::Throttled);
    assert_eq!(count(&cache), 1, "nothing was sent");

    minutes(1).await;
    assert_eq!(token(&cache, &graph()).await, "token 2");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_not_given_again() {
    let cache = cache();
    let first = cache.get(&graph()).await.unwrap();
    let again = graph().rejecting(&first);
    assert!(cache.cached(&again).is_none());

    let second = cache.get(&again).await.unwrap();
    assert_eq!(second.token.expose(), "token 2");
    assert_eq!(token(&cache, &graph()).await, "token 2");
    assert_eq!(token(&cache, &again).await, "token 2", "asked late");
    assert_eq!(count(&cache), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_not_answered_by_the_old_token_when_renewal_fails() {
    let cache = cache();
    let first = cache.get(&graph()).await.unwrap();
    set_failing(&cache, Some(failure(CredentialErrorKind::Denied)));

    let error = cache.get(&graph().rejecting(&first)).await.unwrap_err();

    assert_eq!(error.kind(), CredentialErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_claims_challenge_does_away_with_the_plain_token() {
    let cache = cache();
    token(&cache, &graph()).await;
    let challenged = graph().with_claims(r#"{"access_token":{"nbf":{"value":"1"}}}"#);

    assert_eq!(token(&cache, &challenged).await, "token 2");
    assert_eq!(token(&cache, &challenged).await, "token 2");
    assert_eq!(token(&cache, &graph()).await, "token 3");
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_an_invalidation_is_not_kept() {
    let cache = cache();
    let request = graph();
    let (early, ()) = tokio::join!(cache.get(&request), async {
        sleep(Duration::from_millis(500)).await;
        cache.invalidate();
    });

    assert_eq!(early.unwrap().token.expose(), "token 1", "it is valid");
    assert!(cache.cached(&graph()).is_none());
    assert_eq!(token(&cache, &graph()).await, "token 2");
    cache.invalidate();
    assert_eq!(token(&cache, &graph()).await, "token 3");
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_what_has_expired_leaves() {
    let cache = cache();
    for number in 0..1_000 {
        let challenge = graph().with_claims(number.to_string());
        token(&cache, &challenge).await;
    }
    assert_eq!(cache.0.tokens.load().iter().count(), MOST_TOKENS);
    assert_eq!(cache.0.state().slots.len(), 0);

    minutes(120).await;
    token(&cache, &graph()).await;
    assert_eq!(cache.0.tokens.load().iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn slots_of_failures_are_forgotten() {
    let cache = cache();
    set_failing(&cache, Some(failure(CredentialErrorKind::Denied)));
    for number in 0..1_000 {
        let challenge = graph().with_claims(number.to_string());
        cache.get(&challenge).await.unwrap_err();
    }

    let slots = cache.0.state().slots.len();
    assert!(slots < 64, "{slots}");
}

#[test]
fn a_request_whose_runtime_ends_is_made_again() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let cache = first.block_on(async { cache() });
    let lost = first.block_on(async {
        let request = graph();
        timeout(Duration::from_millis(100), cache.get(&request)).await
    });
    assert!(lost.is_err());
    let waiter = second.spawn(async move { token(&cache, &graph()).await });
    second.block_on(tokio::task::yield_now());
    drop(first);

    assert_eq!(second.block_on(waiter).unwrap(), "token 2");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_source_reaches_the_caller_as_an_error_and_is_not_for_ever() {
    #[derive(Debug)]
    struct Panics(AtomicUsize);

    impl TokenSource for Panics {
        async fn fetch(&self, _: &TokenRequest) -> Result<AccessToken, CredentialError> {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "the first time");
            let now = crate::test_support::noon();
            Ok(AccessToken::new(
                Secret::new("t"),
                now,
                now + TimeDelta::hours(1),
            ))
        }
    }

    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let cache = TokenCache::new(Panics(AtomicUsize::new(0)), &clock);

    let error = cache.get(&graph()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::Protocol);
    assert!(cache.get(&graph()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_or_forward_stops_nobody() {
    let manual = ManualClock::new(crate::test_support::noon());
    let clock: Arc<dyn Clock> = Arc::new(manual.clone());
    let source = Source {
        clock: Arc::clone(&clock),
        count: AtomicUsize::new(0),
        life: TimeDelta::hours(1),
        refresh_in: None,
        failing: Mutex::default(),
    };
    let cache = TokenCache::new(source, &clock);
    let first = cache.get(&graph()).await.unwrap();

    manual.advance(TimeDelta::days(-3));
    let second = cache.get(&graph().rejecting(&first)).await.unwrap();
    assert_eq!(second.token.expose(), "token 2");
    assert_eq!(token(&cache, &graph()).await, "token 2");

    manual.advance(TimeDelta::days(30));
    assert_eq!(token(&cache, &graph()).await, "token 3");
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_token() {
    let cache = cache();
    let scope = Cloud::public().graph_scope();
    token(&cache, &TokenRequest::new(scope)).await;

    let shown = format!("{cache:?}");
    assert!(!shown.contains("token 1"), "{shown}");
}
