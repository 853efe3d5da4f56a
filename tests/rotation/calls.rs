//! A rotation over HTTP, by the issuer that services use: what the crash matrix does at each port, at each
//! request that is sent, and what users of the connection see meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use keywheel::core::{Clock, Entropy, TokenCredential, TokenRequest};
use keywheel::entra::{ConnectionCredential, EntraIssuer};
use keywheel_connection::{
    Actor, ConnectionId, ConnectionStore, RotationSettings, Sealer, Seconds,
};
use keywheel_emulator::Behaviours;
use keywheel_rotation::{Connections, NewConnection, Rotator, RotatorParts, Status};
use keywheel_testkit::{SeededEntropy, cases};
use workspace_tests::{Fate, secret, settings};

use crate::certificates::{OLD, OWNED_BY, Place, lagging};

/// A connection by client secret, in the tenant of the certificates.
pub(crate) struct Rotating<'a> {
    place: &'a Place,
    pub(crate) id: ConnectionId,
    original: String,
    foreign: String,
}

impl<'a> Rotating<'a> {
    pub(crate) async fn begin(place: &'a Place, name: &str, settings: RotationSettings) -> Self {
        let app = place.emulator.default_app();
        let original = app.secret().expose().to_owned();
        place.emulator.clock().set(place.rig.clock.now());
        let foreign = place.emulator.add_secret(&place.client(), "foreign");
        let new = NewConnection::client_secret(
            name.parse().unwrap(),
            app.tenant_id().parse().unwrap(),
            place.client().parse().unwrap(),
            secret(&original),
        )
        .with_key_id(app.secret_key_id().parse().ok())
        .in_cloud(place.cloud.clone())
        .rotating(settings);
        let connections = Connections::new(parts(place), place.rig.policy.clone());
        let created = connections.create(new, &Actor::named("test")).await;
        let rotating = Self {
            place,
            id: created.unwrap().connection.id,
            original,
            foreign: foreign.unwrap().text.expose().to_owned(),
        };
        rotating.watch();
        rotating
    }

    /// After each request: the stored current secret is in force, and so is somebody else's.
    fn watch(&self) {
        let (emulator, client) = (Arc::clone(&self.place.emulator), self.place.client());
        let (store, ring) = (self.place.rig.store.clone(), self.place.rig.ring.clone());
        let (id, foreign) = (self.id, self.foreign.clone());
        self.place.wire.after_each(move || {
            let stored = store.load(id).now_or_never().unwrap().unwrap();
            let connection = stored.unwrap().connection;
            let held = &connection.secrets().unwrap().current;
            let context = connection.seal_context(held.generation);
            let current = ring.open(&held.sealed, &context).now_or_never();
            let current = current.unwrap().unwrap();
            let accepted = emulator.accepts(&client, current.expose());
            assert!(accepted, "G1: locked out: {connection:#?}");
            assert!(emulator.accepts(&client, &foreign), "G3: it is gone");
        });
    }

    /// Drives as one process does, until it is done or stops.
    pub(crate) async fn drive(&self) {
        let (rig, id) = (&self.place.rig, self.id);
        let rotator = Rotator::new(parts(self.place), rig.policy.clone());
        let deadline = rig.clock.now() + TimeDelta::hours(30);
        let settled = |connection: &keywheel_connection::Connection| {
            Status::of(connection, rig.clock.now(), &rig.policy).is_settled()
        };
        let driven = Box::pin(rotator.drive(id, deadline, settled)).await;
        assert_eq!(driven.unwrap(), None);
    }

    /// Lets time pass while one process works.
    pub(crate) async fn run(&self, span: TimeDelta) {
        let rig = &self.place.rig;
        let rotator = Rotator::new(parts(self.place), rig.policy.clone());
        let deadline = rig.clock.now() + span;
        let driven = Box::pin(rotator.drive(self.id, deadline, |_| false)).await;
        driven.unwrap();
    }

    /// What must be true when all is over: the new secret and somebody else's, and no other.
    pub(crate) async fn assert_clean(&self, what: &str) {
        let status = self.place.rig.status(self.id).await;
        assert!(status.is_settled(), "{what}: {status:#?}");
        assert_eq!(status.generation, 1, "{what}");
        let (emulator, client) = (&self.place.emulator, self.place.client());
        assert!(!emulator.accepts(&client, &self.original), "{what}");
        let live = emulator.live_secrets(&client);
        assert_eq!(live.len(), 2, "{what}: {live:?}");
    }
}

/// What a process works with: its own tokens, the common store.
pub(crate) fn parts(place: &Place) -> RotatorParts {
    let parts = place.rig.parts();
    let http = Arc::new(place.wire.clone());
    let issuer = EntraIssuer::new(http, parts.clock.clone(), parts.entropy.clone());
    RotatorParts {
        issuer: Arc::new(issuer),
        ..parts
    }
}

/// Stopped before and after each request and each save, refused, and with the answer lost; then another
/// process goes on.
#[tokio::test(start_paused = true)]
async fn wherever_a_request_stops_another_process_finishes_the_rotation() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let begin = place.snapshot();
    let every = usize::try_from(cases(3, 1)).unwrap();
    let (mut runs, mut met) = (0, Vec::new());
    for behaviours in [Behaviours::default(), lagging()] {
        let fates = [
            Fate::StopBefore,
            Fate::StopAfter,
            Fate::AnswerLost,
            Fate::Refused,
        ];
        for (turn, fate) in fates.into_iter().enumerate() {
            for at in (turn..).step_by(every) {
                place.restore(&begin);
                place.behave(behaviours.clone());
                let rotating = Rotating::begin(&place, &format!("run-{runs}"), settings()).await;
                let effects = &place.rig.effects;
                let before = effects.count();
                effects.plan(at, fate);
                let _ = effects.run(rotating.drive()).await;
                let names = effects.names().split_off(before);
                effects.forgive();
                rotating.drive().await;

                let what = format!("{fate:?} at {at}, lag {:?}", behaviours.read_lag);
                rotating.assert_clean(&what).await;
                runs += 1;
                let Some(name) = names.get(at) else { break };
                met.push(*name);
            }
        }
    }
    for name in ["token", "read", "addPassword", "removePassword", "save"] {
        assert!(met.contains(&name), "{name} is not among {met:?}");
    }
    assert!(runs > 30, "{runs}");
}

/// W1: tokens are asked for all the time, with what was loaded before the rotation and with what is loaded
/// now, and whatever they meet, no answer is a refusal and no record is written back.
#[tokio::test(start_paused = true)]
async fn a_token_is_to_be_had_at_every_moment_of_a_rotation() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let begin = place.snapshot();
    for seed in 0..cases(40, 1_000) {
        place.restore(&begin);
        let mut at_once = settings();
        at_once.original_grace = Seconds(0);
        let rotating = Rotating::begin(&place, &format!("seed-{seed}"), at_once).await;
        let entropy = SeededEntropy::new(seed.into());
        let users = async {
            let long_lived = credential(&rotating).await;
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_secs_f64(entropy.unit() * 3.0)).await;
                token(&rotating, &long_lived, seed).await;
                token(&rotating, &credential(&rotating).await, seed).await;
            }
        };

        tokio::join!(rotating.drive(), users);

        rotating.assert_clean(&format!("seed {seed}")).await;
    }
}

async fn credential(rotating: &Rotating<'_>) -> ConnectionCredential {
    let parts = rotating.place.parts.clone();
    let loaded = ConnectionCredential::load(rotating.id, parts).await;
    loaded.unwrap()
}

async fn token(rotating: &Rotating<'_>, credential: &ConnectionCredential, seed: u32) {
    let request = TokenRequest::new(rotating.place.cloud.graph_scope());
    let token = credential.get_token(&request).await;
    assert!(token.is_ok(), "seed {seed}: {token:?}");
}
