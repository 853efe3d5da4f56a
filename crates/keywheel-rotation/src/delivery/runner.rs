use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use keywheel_connection::{
    ConnectionId, ConnectionStore, Consumer, Cursor, DeadLetter, DeadLetters, Entry, EventSink,
    Holder, StoreError,
};
use keywheel_core::{Clock, Entropy, Report};
use keywheel_schedule::RetryDelay;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::window::Window;
use super::{EventHandler, HandleError};
use crate::history::verified;

/// Takes events from the outbox to an [`EventHandler`]: at least once, and of each connection in order.
///
/// What has arrived is acknowledged under the name of a [`Consumer`], each of which has a place of its own
/// in the outbox; a new one starts at its beginning. What fails is tried again, ever more rarely. An event
/// that its receiver refuses is given up after [`attempts`](DeliveryOptions::attempts), and so is one that
/// does not get through while others do. As long as nothing arrives, the receiver is away, and that is no
/// event's fault: it is waited for until an event is older than [`patience`](DeliveryOptions::patience).
/// Given up means logged as `event.given_up` and told to [`EventHandler::given_up`]; the journal keeps the
/// event, and [`redeliver`](Self::redeliver) sends it again.
///
/// Before the outbox goes on, what was given up is put on a list that outlives the process, in the store, or
/// elsewhere by [`keeping_dead_letters`](Self::keeping_dead_letters): [`DeadLetters::dead_letters`] pages
/// through it, [`resend`](Self::resend) tries one once more, and [`DeadLetters::drop_dead_letter`] forgets it.
///
/// Run it in every replica: one of them leads and delivers, the others stand by and take over within
/// [`lead`](DeliveryOptions::lead) when it dies. No rotation waits for any of this.
pub struct EventDelivery {
    store: Arc<dyn ConnectionStore>,
    clock: Arc<dyn Clock>,
    consumer: Consumer,
    holder: Holder,
    handler: Arc<dyn EventHandler>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    options: DeliveryOptions,
    waker: DeliveryWaker,
}

/// How an [`EventDelivery`] works.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeliveryOptions {
    /// How often the outbox is looked at when nobody wakes us. Default: one second.
    pub poll: Duration,
    /// For how long a replica leads the others without saying again that it is alive, which it does three
    /// times as often. Default: 30 seconds.
    pub lead: Duration,
    /// How many events are on their way at once. Default: 16.
    pub at_once: usize,
    /// How many events are read ahead. Default: 1,000, about a megabyte.
    pub ahead: usize,
    /// How long to wait after a failure. Default: one second, doubling up to five minutes. A receiver that
    /// asks for time gets no more than the longest wait either.
    pub retry: RetryDelay,
    /// After how many failures of its own an event is given up: its receiver refused it, or others arrived
    /// since the failure before. Default: 8, which takes one to two minutes.
    pub attempts: u32,
    /// How old an event may become. Default: 3 days, a long weekend.
    pub patience: TimeDelta,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        let mut retry = RetryDelay::default();
        retry.base = Duration::from_secs(1);
        retry.cap = Duration::from_mins(5);
        Self {
            poll: Duration::from_secs(1),
            lead: Duration::from_secs(30),
            at_once: 16,
            ahead: 1000,
            retry,
            attempts: 8,
            patience: TimeDelta::days(3),
        }
    }
}

/// Wakes every [`EventDelivery`] that is [`woken_by`](EventDelivery::woken_by) it as soon as something is
/// committed in the same process: an [`EventSink`] for the engine. Clones wake the same ones.
#[derive(Clone, Debug, Default)]
pub struct DeliveryWaker(watch::Sender<()>);

impl EventSink for DeliveryWaker {
    fn committed(&self, _: &[Entry]) {
        self.0.send_replace(());
    }
}

impl EventDelivery {
    /// Returns a delivery of everything in `store` that `consumer` has not had.
    #[must_use]
    pub fn new(
        store: Arc<dyn ConnectionStore>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        consumer: Consumer,
        handler: impl EventHandler + 'static,
    ) -> Self {
        Self {
            store,
            clock,
            consumer,
            holder: Holder::from(entropy.uuid()),
            handler: Arc::new(handler),
            dead_letters: None,
            options: DeliveryOptions::default(),
            waker: DeliveryWaker::default(),
        }
    }

    /// Sets how it works.
    #[must_use]
    pub fn options(mut self, options: DeliveryOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what wakes it, so that events of this process need not wait for the next poll.
    #[must_use]
    pub fn woken_by(mut self, waker: &DeliveryWaker) -> Self {
        self.waker = waker.clone();
        self
    }

    /// Keeps what is given up here. By default the store keeps it, if it
    /// [does](ConnectionStore::as_dead_letters), as all of this workspace do.
    #[must_use]
    pub fn keeping_dead_letters(mut self, dead_letters: impl DeadLetters + 'static) -> Self {
        self.dead_letters = Some(Arc::new(dead_letters));
        self
    }

    /// Delivers until `shutdown` is done. What is on its way then comes again.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.deliver_for_ever() => {}
        }
        // So that another replica need not wait for the end of our lead. If that fails, it waits.
        drop(self.take_lead(Duration::ZERO).await);
    }

    async fn deliver_for_ever(&self) {
        let mut failures = 0;
        loop {
            let Err(failed) = Box::pin(self.lead(&mut failures)).await else {
                continue;
            };
            failures += 1;
            tracing::warn!(
                consumer = %self.consumer,
                error = %Report(&failed),
                "event.outbox_away"
            );
            sleep(self.wait(failures, self.consumer.as_str())).await;
        }
    }

    /// Waits for the lead, and delivers until it is lost.
    async fn lead(&self, failures: &mut u32) -> Result<(), StoreError> {
        while !self.take_lead(self.options.lead).await? {
            *failures = 0;
            sleep(self.options.lead / 3).await;
        }
        tokio::select! {
            lost = self.keep_lead() => lost,
            failed = self.deliver(failures) => Err(failed),
        }
    }

    /// Returns when another replica has the lead, which it has only when we were late.
    async fn keep_lead(&self) -> Result<(), StoreError> {
        loop {
            sleep(self.options.lead / 3).await;
            if !self.take_lead(self.options.lead).await? {
                tracing::warn!(consumer = %self.consumer, "event.lead_lost");
                return Ok(());
            }
        }
    }

    async fn take_lead(&self, span: Duration) -> Result<bool, StoreError> {
        self.store.lead(&self.consumer, self.holder, span).await
    }

    /// Sends a connection's events from number `after` again, whether they had arrived or not, until one
    /// fails. Returns the number of the last that arrived.
    ///
    /// # Errors
    ///
    /// Returns the store's error when the journal can't be read, and
    /// [`Corrupt`](keywheel_connection::StoreErrorKind::Corrupt) with the number of the first entry that is not
    /// as it was written, if there is one: nothing is sent then, because a receiver would take what somebody put
    /// there for what happened.
    pub async fn redeliver(&self, id: ConnectionId, after: u64) -> Result<u64, StoreError> {
        verified(self.store.as_ref(), id).await?;
        let mut last = after;
        loop {
            let page = self.store.journal(id, last, 100).await?;
            // None after it, but in a journal that was meddled with since it was verified.
            if page.last().is_none_or(|entry| entry.seq <= last) {
                return Ok(last);
            }
            for entry in page {
                if self.handler.handle(&entry).await.is_err() {
                    return Ok(last);
                }
                last = entry.seq;
            }
        }
    }

    /// Tries once more what was given up, and drops the letter when it arrives: after the events that came
    /// later, which have arrived long since. Returns whether it did. If not, the letter stays, with what was said
    /// this time.
    ///
    /// # Errors
    ///
    /// Returns the store's error. The event may have arrived all the same, but for a journal that was meddled
    /// with, of which nothing is sent, as by [`redeliver`](Self::redeliver).
    pub async fn resend(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        verified(self.store.as_ref(), letter.connection).await?;
        let page = self
            .store
            .journal(letter.connection, letter.seq.saturating_sub(1), 1);
        let page = page.await?.into_iter();
        let entry = page.last().filter(|entry| entry.seq == letter.seq);
        let entry = entry.ok_or_else(StoreError::not_found)?;
        let Err(error) = self.handler.handle(&entry).await else {
            if let Some(kept) = self.dead_letters() {
                kept.drop_dead_letter(&self.consumer, letter.cursor).await?;
            }
            return Ok(true);
        };
        if let Some(kept) = self.dead_letters() {
            let attempts = letter.attempts.saturating_add(1);
            let letter = self.letter(letter.cursor, &entry, attempts, &Report(&error));
            kept.keep_dead_letter(&self.consumer, &letter).await?;
        }
        Ok(false)
    }

    /// Where what is given up is kept.
    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        let given = self.dead_letters.as_deref();
        given.or_else(|| self.store.as_dead_letters())
    }

    fn letter(
        &self,
        cursor: Cursor,
        entry: &Entry,
        attempts: u32,
        error: &impl fmt::Display,
    ) -> DeadLetter {
        DeadLetter {
            cursor,
            connection: entry.connection,
            seq: entry.seq,
            given_up_at: self.clock.now(),
            attempts,
            // Not every store takes a NUL.
            error: error.to_string().replace('\0', " "),
        }
    }

    /// Keeps a letter, however long it takes: once it is acknowledged, nothing else knows of it.
    async fn keep(&self, letter: &DeadLetter) {
        let Some(kept) = self.dead_letters() else {
            return;
        };
        let mut failures = 0;
        while let Err(error) = kept.keep_dead_letter(&self.consumer, letter).await {
            failures += 1;
            tracing::warn!(
                consumer = %self.consumer,
                error = %Report(&error),
                "event.dead_letters_away"
            );
            sleep(self.wait(failures, self.consumer.as_str())).await;
        }
    }

    /// Delivers until the store fails.
    async fn deliver(&self, failures: &mut u32) -> StoreError {
        let mut start = match self.store.acknowledged(&self.consumer).await {
            Ok(cursor) => cursor,
            Err(error) => return error,
        };
        let mut window = Window::default();
        let run = Run::new(self);
        let mut out = FuturesUnordered::new();
        let mut read_at = Instant::now();
        let mut committed = self.waker.0.subscribe();
        loop {
            let room = window.len() < self.options.ahead;
            tokio::select! {
                biased;
                Some((connection, cursor)) = out.next() => {
                    out.extend(window.done(connection, cursor).map(|next| run.send(next)));
                    if let Some(settled) = window.settled() {
                        start = settled;
                        if let Err(error) = self.store.acknowledge(&self.consumer, settled).await {
                            return error;
                        }
                    }
                }
                () = due(read_at, &mut committed), if room => {
                    let from = window.end().unwrap_or(start);
                    let page = match self.store.entries(from, PAGE).await {
                        Ok(page) => page,
                        Err(error) => return error,
                    };
                    *failures = 0;
                    // A full page says that there is more.
                    let more = page.len() >= PAGE as usize;
                    read_at = Instant::now() + if more { Duration::ZERO } else { self.options.poll };
                    for (cursor, entry) in page {
                        out.extend(window.read(cursor, entry).map(|entry| run.send(entry)));
                    }
                }
            }
        }
    }

    fn wait(&self, failures: u32, id: &str) -> Duration {
        let (retry, now) = (&self.options.retry, self.clock.now());
        retry.wait(failures, id, now, None)
    }
}

impl fmt::Debug for EventDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDelivery")
            .field("consumer", &self.consumer)
            .field("handler", &self.handler)
            .finish_non_exhaustive()
    }
}

/// Waits until it is time to read.
async fn due(at: Instant, committed: &mut watch::Receiver<()>) {
    tokio::select! {
        () = sleep_until(at) => {}
        // Its sender is a field of the delivery.
        Ok(()) = committed.changed() => {}
    }
}

/// How many entries are read at a time: some 50 kB.
const PAGE: u32 = 100;

/// What the events that are on their way share.
struct Run<'a> {
    delivery: &'a EventDelivery,
    permits: Semaphore,
    /// How many arrived, so that one that does not can tell whether others did since it failed before.
    arrived: AtomicU64,
}

/// How often an event did not arrive.
#[derive(Clone, Copy, Default)]
struct Failures {
    all: u32,
    /// Those that are not the receiver's: it was there, and took others. Each failure is judged by what
    /// arrived since the one before, because an outage may begin at any time.
    own: u32,
}

impl Failures {
    fn add(&mut self, own: bool) {
        self.all = self.all.saturating_add(1);
        self.own = self.own.saturating_add(own.into());
    }
}

impl<'a> Run<'a> {
    fn new(delivery: &'a EventDelivery) -> Self {
        Self {
            delivery,
            permits: Semaphore::new(delivery.options.at_once.max(1)),
            arrived: AtomicU64::new(0),
        }
    }

    /// Delivers one event or gives it up.
    fn send(&self, (cursor, entry): (Cursor, Entry)) -> BoxFuture<'_, (ConnectionId, Cursor)> {
        Box::pin(async move {
            let mut failures = Failures::default();
            let mut arrived = self.arrived();
            loop {
                let handled = {
                    let _permit = self.permits.acquire().await;
                    self.delivery.handler.handle(&entry).await
                };
                let Err(error) = handled else {
                    self.arrived.fetch_add(1, Ordering::Relaxed);
                    crate::metrics::delivered(&self.delivery.consumer);
                    return (entry.connection, cursor);
                };
                let before = std::mem::replace(&mut arrived, self.arrived());
                failures.add(error.is_refused() || arrived != before);
                if self.is_hopeless(&entry, failures) {
                    let run = self.delivery;
                    let letter = run.letter(cursor, &entry, failures.all, &Report(&error));
                    self.give_up(&letter).await;
                    return (entry.connection, cursor);
                }
                let id = format!("{}.{}", entry.connection, entry.seq);
                let wait = self.delivery.wait(failures.all, &id);
                let wait = wait.max(self.asked(&error));
                sleep(wait).await;
            }
        })
    }

    /// How long the receiver asked for, as far as it is obeyed: what waits for longer would hold up every
    /// connection, once the outbox has been read so far ahead.
    fn asked(&self, error: &HandleError) -> Duration {
        let asked = error.retry_after.unwrap_or_default();
        asked.min(self.delivery.options.retry.cap)
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn is_hopeless(&self, entry: &Entry, failures: Failures) -> bool {
        let options = &self.delivery.options;
        if failures.own >= options.attempts {
            return true;
        }
        let now = self.delivery.clock.now();
        let at = entry.event().map_or(now, |event| event.at);
        failures.all >= options.attempts && now - at > options.patience
    }

    async fn give_up(&self, dead: &DeadLetter) {
        self.delivery.keep(dead).await;
        crate::metrics::given_up(&self.delivery.consumer);
        tracing::error!(
            consumer = %self.delivery.consumer,
            connection = %dead.connection,
            seq = dead.seq,
            attempts = dead.attempts,
            error = %dead.error,
            "event.given_up"
        );
        self.delivery.handler.given_up(dead).await;
    }
}
