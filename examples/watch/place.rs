//! The emulator, what goes wrong on it, and the connections.

use std::sync::Arc;

use chrono::TimeDelta;
use keywheel::Keywheel;
use keywheel::connection::{Actor, ConnectionId, KeyRing, MemoryStore, RotationSettings, Seconds};
use keywheel::core::{
    ClientSecret, Clock, Cloud, Entropy, ReqwestSend, Secret, SystemClock, SystemEntropy,
};
use keywheel::rotation::{NewConnection, Policy, Status};
use keywheel::schedule::Schedule;
use keywheel_emulator::{
    ApplicationSeed, Emulator, Fault, Route, SecretSeed, Seed, Span, TenantSeed,
};

use crate::Result;

/// The emulator, and keywheel pointed at it.
pub(crate) struct Place {
    pub(crate) keywheel: Keywheel,
    emulator: Emulator,
    connections: Vec<ConnectionId>,
}

impl Place {
    pub(crate) async fn start(count: u32) -> Result<Self> {
        let emulator = Emulator::builder().seed(seed(count)).start().await?;
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots()
            .build()?;
        let mut key = [0; 32];
        SystemEntropy::new().fill(&mut key);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let keywheel = Keywheel::builder(store, KeyRing::new(&key)?)
            .http(http)
            .policy(policy())
            .build()?;
        let mut place = Self {
            keywheel,
            emulator,
            connections: Vec::new(),
        };
        place.connect(count).await?;
        place.go_wrong();
        Ok(place)
    }

    async fn connect(&mut self, count: u32) -> Result<()> {
        let cloud = Cloud::from_endpoints(
            &self.emulator.authority().parse()?,
            &self.emulator.graph().parse()?,
        )?;
        for n in 0..count {
            let new = NewConnection::client_secret(
                format!("customer-{n:03}").parse()?,
                tenant(n).parse()?,
                client(n).parse()?,
                ClientSecret::new(Secret::new(secret(n)))?,
            )
            .in_cloud(cloud.clone())
            .rotating(settings(n)?);
            let actor = Actor::named("watch");
            let created = self.keywheel.connections().create(new, &actor).await?;
            self.connections.push(created.connection.id);
        }
        Ok(())
    }

    fn go_wrong(&self) {
        self.emulator.behave(|service| {
            service.replicas = 3;
            service.secret_propagation =
                Span::between(TimeDelta::milliseconds(200), TimeDelta::seconds(3));
            service.read_lag = Span::between(TimeDelta::zero(), TimeDelta::seconds(1));
        });
        for fault in [
            Fault::reset().on(Route::AddPassword),
            Fault::reset().after_effect().on(Route::AddPassword),
            Fault::truncate(40).on(Route::AddPassword),
            Fault::close().after_effect().on(Route::RemovePassword),
            Fault::respond(503).on(Route::Token),
            Fault::throttle(Some(1)).on(Route::Get),
        ] {
            self.emulator.inject(fault.with_probability(0.05));
        }
    }

    pub(crate) async fn statuses(&self) -> Result<Vec<Status>> {
        let mut statuses = Vec::with_capacity(self.connections.len());
        for id in &self.connections {
            statuses.push(self.keywheel.connections().status(*id).await?);
        }
        Ok(statuses)
    }

    /// How often each fault struck.
    pub(crate) fn faults(&self) -> Vec<(String, u32)> {
        let faults = self.emulator.faults().into_iter();
        faults
            .map(|it| {
                let route = it.fault.route.map_or("", Route::as_str);
                let when = if it.fault.after_effect {
                    " after it took effect"
                } else {
                    ""
                };
                let what = format!("{:?}", it.fault.action);
                let what = what
                    .split([' ', '('])
                    .next()
                    .unwrap_or_default()
                    .to_lowercase();
                (format!("{route}: {what}{when}"), it.hits)
            })
            .collect()
    }
}

/// Ten applications to a tenant, each its own owner.
fn seed(count: u32) -> Seed {
    let tenants = (0..count).step_by(10).map(|first| {
        (first..count.min(first + 10)).fold(TenantSeed::new(tenant(first)), |seed, n| {
            seed.application(
                ApplicationSeed::new(format!("application {n}"))
                    .client_id(client(n))
                    .role("Application.ReadWrite.OwnedBy")
                    .owns_itself()
                    .with_secret(SecretSeed::new(secret(n))),
            )
        })
    });
    Seed::of(tenants)
}

fn tenant(n: u32) -> String {
    format!("tenant-{}.example", n / 10)
}

fn client(n: u32) -> String {
    format!("c0ffee00-0000-4000-8000-{n:012}")
}

fn secret(n: u32) -> String {
    format!("abc8Q~the-first-secret-of-customer-{n:03}")
}

/// Seconds instead of minutes, since somebody is watching.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.settle = TimeDelta::seconds(4);
    policy.read_spacing = TimeDelta::milliseconds(700);
    policy.halted = TimeDelta::seconds(10);
    policy
}

/// Every 30 days, at another hour for each.
fn settings(n: u32) -> Result<RotationSettings> {
    let schedule = Schedule::builder()
        .every_days(30)
        .at(format!("{:02}:30:00", n % 24).parse()?)
        .zone("Europe/Berlin")
        .anchor(SystemClock::new().now().date_naive())
        .build()?;
    let mut settings = RotationSettings::new(schedule);
    settings.proof_span = Seconds(2);
    settings.grace = Seconds(2);
    Ok(settings)
}
