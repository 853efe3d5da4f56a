use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use keywheel_connection::{
    Actor, ConnectionId, ConnectionStore, Consumer, Cursor, DeadLetter, DeadLetters, Entry,
    EventKind, EventSink, MemoryStore, Save, StoreError, StoreErrorKind, Versioned,
};
use keywheel_core::{
    Clock, MockHttpSend, Secret, SystemEntropy, TransportError, TransportErrorKind,
};
use keywheel_rotation::{
    DeliveryOptions, DeliveryWaker, EventChannel, EventDelivery, EventHandler, HandleError,
    TracingEvents, Webhook, WebhookKey,
};
use keywheel_testkit::CapturedLogs;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, Member, tenant};

mod webhooks;

/// Keeps what arrives, and fails as it is told.
#[derive(Clone, Debug, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Debug, Default)]
struct Received {
    arrived: Vec<(ConnectionId, u64)>,
    tries: u32,
    away: bool,
    /// Goes away when so many have arrived.
    leaves_after: Option<usize>,
    /// Never gets through.
    stuck: Option<(ConnectionId, u64)>,
    refused: Option<(ConnectionId, u64)>,
    dead: Vec<DeadLetter>,
}

impl Receiver {
    fn get(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, id: ConnectionId) -> Vec<u64> {
        let received = self.get();
        let of = received.arrived.iter().filter(|(of, _)| *of == id);
        of.map(|(_, seq)| *seq).collect()
    }
}

#[async_trait]
impl EventHandler for Receiver {
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError> {
        // The more the number, the sooner it arrives: order is kept by the delivery or not at all.
        sleep(Duration::from_millis(50 / entry.seq)).await;
        let mut received = self.get();
        received.tries += 1;
        let left = received.leaves_after == Some(received.arrived.len());
        if received.away || left {
            return Err(HandleError::unavailable("nobody is there"));
        }
        if received.stuck == Some((entry.connection, entry.seq)) {
            return Err(HandleError::unavailable("it fell over"));
        }
        if received.refused == Some((entry.connection, entry.seq)) {
            return Err(HandleError::refused("not that one"));
        }
        received.arrived.push((entry.connection, entry.seq));
        Ok(())
    }

    async fn given_up(&self, dead: &DeadLetter) {
        self.get().dead.push(dead.clone());
    }
}

struct Stage {
    fleet: Fleet,
    members: Vec<Member>,
    receiver: Receiver,
}

/// Five connections, each with the two events of its creation and nine more.
async fn stage() -> Stage {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 5).await;
    for n in 0..9 {
        for member in &members {
            happen(&fleet, *member, n).await;
        }
    }
    Stage {
        fleet,
        members,
        receiver: Receiver::default(),
    }
}

/// Something happens to a connection.
async fn happen(fleet: &Fleet, member: Member, n: u64) -> Vec<Entry> {
    let Versioned {
        connection,
        version,
    } = fleet.memory.load(member.id).await.unwrap().unwrap();
    let kind = EventKind::Changed {
        what: format!("thing {n}"),
    };
    let mut connection = Arc::unwrap_or_clone(connection);
    let entries = vec![connection.record(&Actor::named("test"), fleet.clock.now(), kind)];
    let save = Save::new(&connection, version, &entries);
    fleet.memory.save(save).await.unwrap();
    entries
}

impl Stage {
    fn delivery(&self) -> EventDelivery {
        self.delivery_to(self.receiver.clone())
    }

    fn delivery_to(&self, handler: impl EventHandler + 'static) -> EventDelivery {
        EventDelivery::new(
            Arc::new(self.fleet.store.clone()),
            Arc::new(self.fleet.clock.clone()),
            &SystemEntropy::new(),
            consumer(),
            handler,
        )
    }

    /// Each event of each connection arrived, in order.
    fn assert_all(&self, times: usize) {
        for member in &self.members {
            let seqs = self.receiver.of(member.id);
            let mut first = Vec::new();
            for seq in &seqs {
                if !first.contains(seq) {
                    first.push(*seq);
                }
            }
            assert_eq!(first, (1..=11).collect::<Vec<_>>(), "{seqs:?}");
            assert!(seqs.len() <= 11 * times, "{seqs:?}");
        }
    }
}

pub(crate) fn consumer() -> Consumer {
    "test".parse().unwrap()
}

async fn run_for(delivery: &EventDelivery, span: Duration) {
    delivery.run(sleep(span)).await;
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_the_order_of_each_connection_and_once_when_nothing_fails() {
    let stage = stage().await;

    run_for(&stage.delivery(), Duration::from_secs(5)).await;
    run_for(&stage.delivery(), Duration::from_secs(5)).await;

    stage.assert_all(1);
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_the_process_ended_arrives_again() {
    let stage = stage().await;

    for millis in [10, 25, 40, 60, 75, 110, 130, 150] {
        run_for(&stage.delivery(), Duration::from_millis(millis)).await;
    }
    run_for(&stage.delivery(), Duration::from_secs(5)).await;

    stage.assert_all(9);
}

#[tokio::test(start_paused = true)]
async fn of_many_replicas_one_delivers() {
    let stage = stage().await;
    let replicas = [stage.delivery(), stage.delivery(), stage.delivery()];

    let running = replicas
        .iter()
        .map(|of| run_for(of, Duration::from_mins(5)));
    let more = async {
        sleep(Duration::from_mins(2)).await;
        for member in &stage.members {
            happen(&stage.fleet, *member, 10).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(running), more).await;

    assert_eq!(stage.receiver.get().tries, 5 * 12);
}

#[tokio::test(start_paused = true)]
async fn another_replica_takes_over_from_one_that_died_and_at_once_from_one_that_left() {
    let stage = stage().await;
    let (first, second) = (stage.delivery(), stage.delivery());
    let third = stage.delivery();
    let dies = tokio::spawn(async move { run_for(&first, Duration::MAX).await });
    sleep(Duration::from_secs(21)).await;
    stage.assert_all(1);
    dies.abort();
    happen(&stage.fleet, stage.members[0], 10).await;

    let running = tokio::spawn(async move { run_for(&second, Duration::from_secs(60)).await });
    sleep(Duration::from_secs(15)).await;
    assert_eq!(stage.receiver.get().tries, 55, "the dead one still leads");
    sleep(Duration::from_secs(25)).await;
    assert_eq!(stage.receiver.get().tries, 56);

    running.await.unwrap();
    happen(&stage.fleet, stage.members[0], 11).await;
    run_for(&third, Duration::from_secs(1)).await;
    assert_eq!(stage.receiver.get().tries, 57);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_for_two_days_misses_nothing() {
    let stage = stage().await;
    stage.receiver.get().away = true;
    let delivery = stage.delivery();
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_hours(60)).await });

    sleep(Duration::from_hours(48)).await;
    let tries = stage.receiver.get().tries;
    stage.receiver.get().away = false;
    running.await.unwrap();

    assert!((1000..6000).contains(&tries), "{tries} tries in two days");
    assert_eq!(stage.receiver.get().dead, []);
    stage.assert_all(1);
}

/// What was on its way when it left has seen others arrive, once.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_leaves_in_the_middle_of_a_burst_misses_nothing() {
    let stage = stage().await;
    stage.receiver.get().leaves_after = Some(1);
    let delivery = stage.delivery();
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_hours(60)).await });

    sleep(Duration::from_hours(48)).await;
    assert_eq!(stage.receiver.get().dead, []);
    stage.receiver.get().leaves_after = None;
    running.await.unwrap();

    assert_eq!(stage.receiver.get().dead, []);
    stage.assert_all(1);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_never_gets_through_is_given_up_when_others_did_so_many_times() {
    let stage = stage().await;
    let (stuck, other) = (stage.members[2].id, stage.members[0]);
    stage.receiver.get().stuck = Some((stuck, 4));
    let delivery = stage.delivery();
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_hours(3)).await });

    sleep(Duration::from_hours(1)).await;
    assert_eq!(stage.receiver.get().dead, [], "nothing else was to be sent");
    for n in 10..40 {
        happen(&stage.fleet, other, n).await;
        sleep(Duration::from_mins(4)).await;
    }
    running.await.unwrap();

    let dead = stage.receiver.get().dead.clone();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].connection, dead[0].seq), (stuck, 4));
    assert!(dead[0].attempts > 8, "{dead:?}");
    assert_eq!(stage.receiver.of(stuck), [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_is_given_up_and_holds_nobody_else_up() {
    let stage = stage().await;
    let stubborn = stage.members[2].id;
    stage.receiver.get().refused = Some((stubborn, 4));
    let delivery = stage.delivery();

    run_for(&delivery, Duration::from_secs(3)).await;
    assert_eq!(stage.receiver.of(stage.members[4].id).len(), 11);
    assert_eq!(stage.receiver.of(stubborn), [1, 2, 3]);
    run_for(&delivery, Duration::from_mins(30)).await;

    let dead = stage.receiver.get().dead.clone();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].connection, dead[0].seq), (stubborn, 4));
    assert_eq!(dead[0].attempts, 8);
    assert_eq!(dead[0].error, "not that one");
    let mut arrived = stage.receiver.of(stubborn);
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived, [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    // The journal keeps it.
    stage.receiver.get().refused = None;
    assert_eq!(delivery.redeliver(stubborn, 3).await.unwrap(), 11);
    assert!(stage.receiver.of(stubborn).contains(&4));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_listed_sent_again_or_dropped() {
    let stage = stage().await;
    stage.receiver.get().away = true;
    let mut options = DeliveryOptions::default();
    options.patience = TimeDelta::hours(1);
    let letters = stage.fleet.memory.clone();
    let delivery = stage.delivery().options(options);
    run_for(&delivery, Duration::from_hours(5)).await;
    let page = async |after| letters.dead_letters(&consumer(), after, 50).await.unwrap();

    let first = page(Cursor::START).await;
    let last = page(first[49].cursor).await;
    assert_eq!((first.len(), last.len()), (50, 5));
    let told = stage.receiver.get().dead.clone();
    assert!(
        first
            .iter()
            .chain(&last)
            .all(|letter| told.contains(letter))
    );
    assert_eq!(first[0].error, "nobody is there");
    assert!(
        !delivery.resend(&first[0]).await.unwrap(),
        "it is away still"
    );
    let attempts = page(Cursor::START).await[0].attempts;
    assert_eq!(attempts, first[0].attempts + 1);

    stage.receiver.get().away = false;
    assert!(delivery.resend(&first[0]).await.unwrap());
    let second = first[1].cursor;
    assert!(letters.drop_dead_letter(&consumer(), second).await.unwrap());

    assert_eq!(page(Cursor::START).await[0], first[2]);
    let arrived = stage.receiver.get().arrived.clone();
    assert_eq!(arrived, [(first[0].connection, first[0].seq)]);
}

/// Once it is acknowledged, nothing else would know of it.
#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_that_was_given_up_and_not_kept() {
    let stage = stage().await;
    let stubborn = stage.members[0].id;
    stage.receiver.get().refused = Some((stubborn, 1));
    let letters = AwayForAnHour(stage.fleet.memory.clone(), Instant::now());
    let delivery = stage.delivery().keeping_dead_letters(letters);
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_hours(2)).await });

    sleep(Duration::from_mins(50)).await;
    let store = &stage.fleet.memory;
    let acknowledged = store.acknowledged(&consumer()).await.unwrap();
    let (first, _) = &store.entries(Cursor::START, 1).await.unwrap()[0];
    assert!(acknowledged < *first, "{acknowledged:?}");
    running.await.unwrap();

    let kept = store.dead_letters(&consumer(), Cursor::START, 9).await;
    assert_eq!(kept.unwrap(), stage.receiver.get().dead);
    let acknowledged = store.acknowledged(&consumer()).await.unwrap();
    assert!(acknowledged > *first, "{acknowledged:?}");
}

#[derive(Debug)]
struct AwayForAnHour(MemoryStore, Instant);

#[async_trait]
impl DeadLetters for AwayForAnHour {
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError> {
        if self.1.elapsed() < Duration::from_hours(1) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "away"));
        }
        self.0.keep_dead_letter(consumer, letter).await
    }

    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.0.dead_letters(consumer, after, limit).await
    }

    async fn drop_dead_letter(&self, of: &Consumer, at: Cursor) -> Result<bool, StoreError> {
        self.0.drop_dead_letter(of, at).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_only_gets_older_is_given_up_after_three_days() {
    let stage = stage().await;
    stage.receiver.get().away = true;
    let mut options = DeliveryOptions::default();
    options.patience = TimeDelta::hours(1);
    let delivery = stage.delivery().options(options);

    run_for(&delivery, Duration::from_hours(5)).await;

    assert_eq!(stage.receiver.get().dead.len(), 55);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_out_and_a_waker_is_heard() {
    let stage = stage().await;
    stage.fleet.store.set_away(true);
    let waker = DeliveryWaker::default();
    let delivery = stage.delivery().woken_by(&waker);
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_hours(1)).await });
    sleep(Duration::from_mins(20)).await;
    stage.fleet.store.set_away(false);
    sleep(Duration::from_mins(6)).await;
    stage.assert_all(1);

    let polled = stage.receiver.get().tries;
    let entries = happen(&stage.fleet, stage.members[0], 10).await;
    waker.committed(&entries);
    sleep(Duration::from_millis(20)).await;

    assert_eq!(stage.receiver.get().tries, polled + 1);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_waits_while_it_is_full() {
    let stage = stage().await;
    let (channel, mut receiver) = EventChannel::new(3);
    let delivery = stage.delivery_to(channel);
    let running = tokio::spawn(async move { run_for(&delivery, Duration::from_secs(60)).await });

    sleep(Duration::from_secs(20)).await;
    assert_eq!(receiver.len(), 3);
    let mut of: HashMap<_, u64> = HashMap::new();
    for _ in 0..55 {
        let event = receiver.recv().await.unwrap();
        let seq = of.entry(event.connection).or_default();
        *seq += 1;
        assert_eq!(event.seq, *seq);
    }
    running.await.unwrap();
}

#[tokio::test]
async fn each_event_is_logged_once() {
    let (logs, _guard) = CapturedLogs::capture();
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let entry = &fleet.memory.journal(members[0].id, 0, 1).await.unwrap()[0];

    TracingEvents::new().handle(entry).await.unwrap();

    let text = logs.text();
    assert!(text.contains("keywheel::event"), "{text}");
    assert!(text.contains("connection.created"), "{text}");
}

pub(crate) const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn key(text: &str) -> WebhookKey {
    WebhookKey::parse(&Secret::new(text)).unwrap()
}
