use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, ConnectionId, ConnectionStore, KeyRing, MemoryStore, RotationSettings, Seconds,
};
use keywheel_core::{ClientId, ClientSecret, Clock, Secret, TenantId};
use keywheel_rotation::{
    Connections, NewConnection, Policy, Rotator, RotatorParts, Sinks, Status, Worker, WorkerEnded,
};
use keywheel_schedule::Schedule;
use keywheel_testkit::{SeededEntropy, TokioClock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::directory::Directory;
use crate::shaky::Shaky;

/// Many connections, each to an application of its own, and the workers over them.
pub(crate) struct Fleet {
    pub(crate) clock: TokioClock,
    pub(crate) directory: Directory,
    pub(crate) store: Shaky,
    /// What is in the store, whether it is away or not.
    pub(crate) memory: MemoryStore,
    /// What the runs of the connections that are added are spread over.
    pub(crate) spread: Duration,
    /// What holds for workers.
    pub(crate) policy: Policy,
    /// Who gets new secrets too.
    pub(crate) sinks: Sinks,
    ring: Arc<KeyRing>,
    next: u128,
}

/// A connection of the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) id: ConnectionId,
    pub(crate) client: ClientId,
}

/// A worker at work. Dropping it does not stop it.
pub(crate) struct Working {
    stop: oneshot::Sender<()>,
    pub(crate) monitor: keywheel_rotation::WorkerMonitor,
    task: JoinHandle<WorkerEnded>,
}

impl Working {
    /// Asks the worker to end, and waits until it has.
    pub(crate) async fn stop(self) -> WorkerEnded {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }

    /// Ends the worker as a crash does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        keywheel_testkit::watch_logs();
        let noon: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        let clock = TokioClock::starting_at(noon);
        let memory = MemoryStore::new(Arc::new(clock.clone()));
        Self {
            clock,
            directory: Directory::new(),
            store: Shaky::new(memory.clone()),
            memory,
            ring: Arc::new(KeyRing::new(&[7; 32]).unwrap()),
            spread: Duration::ZERO,
            policy: Policy::default(),
            sinks: Sinks::default(),
            next: 1,
        }
    }

    fn parts(&self, seed: u64) -> RotatorParts {
        RotatorParts {
            store: Arc::new(self.store.clone()),
            issuer: Arc::new(self.directory.clone()),
            sealer: self.ring.clone(),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(seed)),
            events: None,
            sinks: self.sinks.clone(),
        }
    }

    pub(crate) fn connections(&self) -> Connections {
        // Other ids than those that were made before.
        let seed = u64::MAX - u64::try_from(self.next).unwrap();
        Connections::new(self.parts(seed), Policy::default())
    }

    /// Adds connections of `tenant` whose first rotation is due now.
    pub(crate) async fn add(&mut self, tenant: &TenantId, count: usize) -> Vec<Member> {
        let connections = self.connections();
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let n = self.next;
            self.next += 1;
            let client = ClientId::from(Uuid::from_u128(n));
            let text = format!("fir8Q~secret-of-{n:~>30}");
            assert!(keywheel_testkit::secret_in(text.as_bytes()).is_some());
            let key_id = self.directory.register(client, &text);
            let new = NewConnection::client_secret(
                format!("number-{n}").parse().unwrap(),
                tenant.clone(),
                client,
                ClientSecret::new(Secret::new(text)).unwrap(),
            )
            .with_key_id(Some(key_id))
            .rotating(settings())
            .spread_over(self.spread);
            let created = connections.create(new, &Actor::named("test")).await;
            let id = created.unwrap().connection.id;
            members.push(Member { id, client });
        }
        members
    }

    /// Adds `count` connections of each of so many tenants.
    pub(crate) async fn add_to_each(&mut self, tenants: usize, count: usize) -> Vec<Member> {
        let mut members = Vec::new();
        for n in 0..tenants {
            let tenant = tenant(&format!("tenant-{n}.example"));
            members.extend(self.add(&tenant, count).await);
        }
        members
    }

    /// Returns a worker of its own process.
    pub(crate) fn worker(&self, seed: u64) -> Worker {
        Worker::new(Rotator::new(self.parts(seed), self.policy.clone()))
    }

    /// Starts a worker.
    pub(crate) fn start(&self, worker: Worker) -> Working {
        let (stop, stopped) = oneshot::channel::<()>();
        let monitor = worker.monitor();
        let task = tokio::spawn(worker.run(async {
            drop(stopped.await);
        }));
        Working {
            stop,
            monitor,
            task,
        }
    }

    pub(crate) async fn status(&self, member: Member) -> Status {
        let stored = self.memory.load(member.id).await.unwrap().unwrap();
        Status::of(&stored.connection, self.clock.now(), &Policy::default())
    }

    /// Waits until all of them are settled at `generation`, and returns how long that took.
    pub(crate) async fn settled(&self, members: &[Member], generation: u64) -> TimeDelta {
        let begun = self.clock.now();
        for member in members {
            loop {
                let status = self.status(*member).await;
                if status.is_settled() && status.generation >= generation {
                    break;
                }
                let waited = self.clock.now() - begun;
                assert!(waited < TimeDelta::days(1), "{status:#?}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        self.clock.now() - begun
    }

    /// Asks for a rotation of each.
    pub(crate) async fn request(&self, members: &[Member], cause: Cause) {
        let connections = self.connections();
        for member in members {
            let requested = connections
                .rotate_now(member.id, cause, &Actor::named("test"))
                .await;
            requested.unwrap();
        }
    }

    /// Asserts that each was rotated exactly `mints` times and holds nothing but its current secret.
    pub(crate) async fn assert_clean(&self, members: &[Member], mints: u32) {
        for member in members {
            let status = self.status(*member).await;
            assert_eq!(self.directory.mints(member.client), mints, "{status:#?}");
            assert_eq!(self.directory.live(member.client), 1, "{status:#?}");
        }
    }
}

/// Every 30 days, three proofs over ten seconds, and no grace.
pub(crate) fn settings() -> RotationSettings {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().unwrap())
        .zone("Europe/Berlin")
        .anchor("2026-03-01".parse().unwrap())
        .build();
    let mut settings = RotationSettings::new(schedule.unwrap());
    settings.grace = Seconds(0);
    settings
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}
