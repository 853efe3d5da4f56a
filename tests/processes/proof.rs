use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use keywheel::connection::{ConnectionStore, Event, EventKind, verify_journal};
use keywheel_testkit::{cases, figure};
use tokio::time::{Instant, sleep};

use crate::chaos::Chaos;
use crate::fleet::{Fleet, Member, patiently};
use crate::watcher::Watcher;

/// Three worker processes on one PostgreSQL, against the emulator in a process of its own: killed at random,
/// stopped past their leases, their database crashed and started again, and calls failing in every way.
///
/// The 1,000 connections in the full run; each is rotated five times and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_rotate_whatever_happens_to_them() {
    let fleet = Fleet::start(cases(40, 1000)).await;
    fleet.azure.go_wrong().await;
    let mut chaos = Chaos::start(&fleet);
    let watcher = Watcher::default();
    let begun = Instant::now();

    let rotations = async {
        let rounds = rotate_while(&fleet, &mut chaos).await;
        watcher.end();
        rounds
    };
    let (rounds, ()) = tokio::join!(rotations, watcher.watch(&fleet));

    let faults = fleet.azure.recover().await;
    let took = begun.elapsed();
    until_settled(&fleet, rounds, None).await;
    let (killed, stopped, restarts) = (chaos.killed, chaos.stopped, chaos.restarts);
    chaos.end().await;
    let totals = Totals::check(&fleet, rounds).await;
    figure(
        "processes",
        &format!(
            "{} connections x {rounds} rotations by 3 processes in {:.0} s; {killed} SIGKILL, {stopped} \
         SIGSTOP past the lease, {restarts} crashes of the database, {faults} calls that went wrong; \
         {} calls to mint were intended, {} answers of them stored and {} secrets promoted, what the others \
         made was removed; {} looks at stored secrets: 0 lockouts, 0 lost secrets, 0 double rotations, 0 \
         orphans, {} foreign secrets untouched",
            fleet.members.len(),
            took.as_secs_f64(),
            totals.intended,
            totals.minted,
            totals.promoted,
            watcher.looks.into_inner(),
            fleet.members.len(),
        ),
    );
}

/// Rotates all of them again and again while things happen.
async fn rotate_while(fleet: &Fleet, chaos: &mut Chaos<'_>) -> u64 {
    let mut rounds = 0;
    loop {
        rounds += 1;
        if rounds > 1 {
            fleet.request().await;
        }
        until_settled(fleet, rounds, Some(chaos)).await;
        if rounds >= 5 && chaos.is_enough(cases(10, 50), cases(1, 5)) {
            return rounds;
        }
    }
}

async fn until_settled(fleet: &Fleet, generation: u64, mut chaos: Option<&mut Chaos<'_>>) {
    let begun = Instant::now();
    loop {
        match &mut chaos {
            Some(chaos) => chaos.strike().await,
            None => sleep(Duration::from_millis(500)).await,
        }
        let settled = fleet.settled(generation).await;
        if settled == fleet.members.len() {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(20),
            "{settled} of {} reached generation {generation}",
            fleet.members.len()
        );
    }
}

#[derive(Default)]
struct Totals {
    intended: u64,
    minted: u64,
    promoted: u64,
}

impl Totals {
    /// Checks what must be true of every connection when all is over.
    async fn check(fleet: &Fleet, rounds: u64) -> Self {
        let checks = futures_util::stream::iter(&fleet.members)
            .map(|member| check(fleet, member, rounds))
            .buffer_unordered(16);
        let mut totals = Self::default();
        let mut checks = std::pin::pin!(checks);
        while let Some(one) = checks.next().await {
            totals.intended += one.intended;
            totals.minted += one.minted;
            totals.promoted += one.promoted;
        }
        totals
    }
}

/// Returns what was made for the connection.
async fn check(fleet: &Fleet, member: &Member, rounds: u64) -> Totals {
    let application = &member.application;
    let (generation, secret) = fleet.current(member).await.unwrap();
    // One generation for each rotation that was asked for: none was lost, none done twice.
    assert_eq!(generation, rounds, "double or missing rotation: {member:?}");
    assert!(
        fleet
            .azure
            .accepts(application.client, secret.expose())
            .await
    );
    assert!(
        fleet
            .azure
            .accepts(application.client, &application.foreign)
            .await
    );
    assert!(
        !fleet
            .azure
            .accepts(application.client, &application.secret)
            .await
    );
    let secrets = fleet.azure.secrets(application.client).await;
    assert_eq!(secrets.len(), 2, "orphans on {member:?}: {secrets:?}");
    let events = journal(fleet, member).await;
    let mut promoted: BTreeMap<u64, u32> = BTreeMap::new();
    let mut totals = Totals::default();
    for event in &events {
        match event.kind {
            EventKind::Promoted { generation, .. } => {
                *promoted.entry(generation).or_default() += 1;
                totals.promoted += 1;
            }
            EventKind::Intent { .. } => totals.intended += 1,
            EventKind::Minted { .. } => totals.minted += 1,
            _ => {}
        }
    }
    let each_once: BTreeMap<u64, u32> = (1..=rounds).map(|generation| (generation, 1)).collect();
    assert_eq!(promoted, each_once, "{member:?}");
    totals
}

/// The whole journal, which must be as it was written.
async fn journal(fleet: &Fleet, member: &Member) -> Vec<Event> {
    let stored = fleet.store.load(member.id).await.unwrap().unwrap();
    let entries = patiently(async || fleet.store.journal(member.id, 0, 10_000).await).await;
    verify_journal(&entries, &stored.connection.journal).unwrap();
    entries.iter().map(|entry| entry.event().unwrap()).collect()
}
