mod diagram;
mod health;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Candidate, Cause, Connection, Credential, DeadMarker, Debt, DebtReason, Delivery, Held, Marker,
    Mode, Offer, Origin, Pause, Phase, Rotation, RotationRequest, RotationSettings, Run, Sealed,
    Secrets, Trouble, TroubleKind,
};
use keywheel_core::KeyId;
use keywheel_schedule::Schedule;
use uuid::Uuid;

use super::{Step, Waiting, decide, is_moot};
use crate::Policy;

const MINUTE: TimeDelta = TimeDelta::minutes(1);

fn now() -> DateTime<Utc> {
    "2026-03-10T12:00:00Z".parse().expect("an instant")
}

fn key(n: u128) -> KeyId {
    Uuid::from_u128(n).into()
}

fn sealed() -> Sealed {
    Sealed::new("key", vec![1])
}

/// A connection with the secret of generation 1, which rotates every 30 days and did so yesterday.
fn connection() -> Connection {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().expect("a time"))
        .zone("Europe/Berlin")
        .anchor("2026-03-09".parse().expect("a date"))
        .build();
    let settings = RotationSettings::new(schedule.expect("a schedule"));
    let since = now() - TimeDelta::days(1);
    let mut held = Held::given(sealed(), Some(key(1)), since);
    (held.generation, held.end) = (1, Some(now() + TimeDelta::days(90)));
    held.origin = Origin::Minted(marker(1));
    let mut connection = Connection::new(
        Uuid::from_u128(7).into(),
        "test".parse().expect("a name"),
        (
            "contoso.example".parse().expect("a tenant"),
            Uuid::from_u128(3).into(),
        ),
        Credential::ClientSecret(Secrets::new(held)),
        since,
    );
    connection.rotation = Some(Rotation::new(settings, since));
    connection
}

fn marker(n: u128) -> Marker {
    Marker::new(Uuid::from_u128(7).into(), 2, Uuid::from_u128(n))
}

fn run(cause: Cause) -> Run {
    Run::new(Uuid::from_u128(11).into(), cause, now())
}

fn promoted() -> Run {
    let mut run = run(Cause::Manual);
    run.promoted_at = Some(now());
    run
}

fn candidate(proofs: u8, read: bool) -> Candidate {
    let mut candidate = Candidate::minted(marker(2), key(2), sealed(), None, now());
    (candidate.proofs, candidate.read) = (proofs, read);
    candidate
}

fn debt(reason: DebtReason, due: TimeDelta) -> Debt {
    Debt::new(key(9), reason, now(), now() + due)
}

fn dead(settled: bool, next: TimeDelta) -> DeadMarker {
    let mut dead = DeadMarker::new(marker(5), now(), now() + next);
    dead.settled = settled;
    dead
}

fn request(cause: Cause) -> RotationRequest {
    RotationRequest::new(Uuid::from_u128(12).into(), cause, now())
}

fn mint(cause: Cause) -> Step {
    Step::Mint {
        cause,
        generation: 2,
    }
}

fn waits(until: TimeDelta, why: Waiting) -> Step {
    Step::Wait {
        until: Some(now() + until),
        why,
    }
}

/// What is in the record, and what follows from it.
type Row = (&'static str, fn(&mut Rotation, &mut Secrets), Step);

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let next = "2026-04-08T00:30:00Z".parse::<DateTime<Utc>>().expect("an instant") - now();
    vec![
        ("nothing", |_, _| {}, waits(next, Waiting::Due)),
        ("a date has come", |r, _| r.since -= TimeDelta::days(30), mint(Cause::Schedule)),
        ("the end is near", |_, s| s.current.end = Some(now() + TimeDelta::days(6)), mint(Cause::Expiry)),
        ("disabled", |r, _| { r.enabled = false; r.since -= TimeDelta::days(30); }, waits(TimeDelta::days(30), Waiting::Idle)),
        ("asked for", |r, _| r.request = Some(request(Cause::Manual)), mint(Cause::Manual)),
        ("asked for while disabled", |r, _| { r.enabled = false; r.request = Some(request(Cause::Manual)); }, mint(Cause::Manual)),
        ("asked for while paused", |r, _| { r.pause = Some(Pause::new(now(), "why")); r.request = Some(request(Cause::Manual)); }, waits(TimeDelta::days(30), Waiting::Paused)),
        ("begun, and to be tried again", |r, _| { r.run = Some(run(Cause::Manual)); r.trouble = Some(Trouble::new(TroubleKind::Transient, "", now(), now() + MINUTE).during("mint")); }, waits(MINUTE, Waiting::Retry)),
        ("an orphan's trouble holds up nothing", |r, _| { r.run = Some(run(Cause::Manual)); r.trouble = Some(Trouble::new(TroubleKind::Transient, "", now(), now() + MINUTE).during("revoke")); }, mint(Cause::Manual)),
        ("an intent", |r, _| r.phase = Phase::Intent { marker: marker(2), since: now() }, Step::Abandon),
        ("a marker that may show", |r, _| { r.request = Some(request(Cause::Manual)); r.dead_markers.push(dead(false, MINUTE)); }, waits(MINUTE, Waiting::Read)),
        ("a marker to be looked for", |r, _| r.dead_markers.push(dead(false, -MINUTE)), Step::Inspect),
        ("a marker that is settled", |r, _| { r.request = Some(request(Cause::Manual)); r.dead_markers.push(dead(true, MINUTE)); }, mint(Cause::Manual)),
        ("a candidate", |r, _| { r.run = Some(run(Cause::Manual)); r.phase = Phase::Proving(candidate(0, false)); }, Step::Prove),
        ("a candidate that is proven but was not read with", |r, _| { r.run = Some(run(Cause::Manual)); r.phase = Phase::Proving(candidate(3, false)); }, Step::Prove),
        ("a candidate that was read with but not proven", |r, _| { r.run = Some(run(Cause::Manual)); r.phase = Phase::Proving(candidate(2, true)); }, Step::Prove),
        ("a proven candidate", |r, _| { r.run = Some(run(Cause::Manual)); r.phase = Phase::Proving(candidate(3, true)); }, Step::Promote),
        ("a candidate of no rotation", |r, _| r.phase = Phase::Proving(candidate(3, true)), Step::Abort),
        ("a candidate that is given up", |r, _| { r.abort = true; r.run = Some(run(Cause::Manual)); r.phase = Phase::Proving(candidate(3, true)); }, Step::Abort),
        ("a candidate that is refused for too long", |r, _| { r.run = Some(run(Cause::Manual)); let mut c = candidate(0, false); c.refused_since = Some(now() - MINUTE * 15); r.phase = Phase::Proving(c); }, Step::Quarantine),
        ("in grace", |r, _| { r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, MINUTE)); }, waits(MINUTE, Waiting::Grace)),
        ("after grace", |r, _| { r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, -MINUTE)); }, Step::Retire { key_id: key(9) }),
        ("after grace, paused", |r, _| { r.pause = Some(Pause::new(now(), "why")); r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, -MINUTE)); }, waits(TimeDelta::days(30), Waiting::Paused)),
        ("an orphan, paused", |r, _| { r.pause = Some(Pause::new(now(), "why")); r.debts.push(debt(DebtReason::Orphan, -MINUTE)); }, Step::Retire { key_id: key(9) }),
        ("the replaced one is gone", |r, _| r.run = Some(promoted()), Step::Finish),
        ("a debt of the current secret", |r, s| { r.debts.push(debt(DebtReason::Superseded, -MINUTE)); s.current.key_id = Some(key(9)); }, waits(next, Waiting::Due)),
        ("a debt of the candidate", |r, _| { r.run = Some(run(Cause::RollBack)); let mut c = candidate(0, false); (c.key_id, c.next_at) = (key(9), now() + MINUTE); r.phase = Phase::Proving(c); r.debts.push(debt(DebtReason::Superseded, -MINUTE)); }, waits(MINUTE, Waiting::Proof)),
        ("a removal to be confirmed", |r, _| { let mut d = debt(DebtReason::Orphan, -MINUTE); d.unconfirmed = true; r.debts.push(d); }, Step::Inspect),
        ("two secrets and a request", |r, _| { r.request = Some(request(Cause::Manual)); r.debts.push(debt(DebtReason::Orphan, MINUTE)); }, waits(MINUTE, Waiting::Grace)),
        ("two secrets and an end that is near", |r, s| { s.current.end = Some(now() + TimeDelta::days(6)); r.debts.push(debt(DebtReason::Orphan, MINUTE)); }, mint(Cause::Expiry)),
        ("two secrets, a date that has gone by and an end that is near", |r, s| { r.since -= TimeDelta::days(30); s.current.end = Some(now() + TimeDelta::days(6)); r.debts.push(debt(DebtReason::Orphan, MINUTE)); }, mint(Cause::Expiry)),
        ("one that can't be removed, a date that has gone by and an end that is near", |r, s| { r.since -= TimeDelta::days(30); s.current.end = Some(now() + TimeDelta::days(6)); r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, MINUTE)); }, mint(Cause::Expiry)),
        ("one that can't be removed, and a date that has gone by", |r, _| { r.since -= TimeDelta::days(30); r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, MINUTE)); }, waits(MINUTE, Waiting::Grace)),
        ("an application for two, one that can't be removed and an end that is near", |r, s| { r.settings.mode = Mode::OnePlusOne; s.current.end = Some(now() + TimeDelta::days(6)); r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, MINUTE)); }, waits(MINUTE, Waiting::Grace)),
        ("the current one is refused, the one before works", |r, s| { s.current.refused_since = Some(now() - MINUTE * 15); s.previous = Some(s.current.clone()); r.run = Some(promoted()); r.debts.push(debt(DebtReason::Superseded, MINUTE)); }, mint(Cause::Repair)),
        ("the current one is refused, and one that was never accepted is not gone yet", |r, s| { s.current.refused_since = Some(now() - MINUTE * 15); s.previous = Some(s.current.clone()); r.run = Some(promoted()); r.debts.extend([debt(DebtReason::Superseded, MINUTE * 2), debt(DebtReason::Quarantined, MINUTE)]); }, waits(MINUTE, Waiting::Grace)),
        ("the current one is refused, and an older one can't go before it works", |r, s| { s.current.refused_since = Some(now() - MINUTE * 15); s.previous = Some(s.current.clone()); r.run = Some(promoted()); let mut older = debt(DebtReason::Superseded, MINUTE); older.key_id = key(8); r.debts.extend([debt(DebtReason::Superseded, MINUTE), older]); }, mint(Cause::Repair)),
        ("a secret that was given, paused", |r, _| { r.pause = Some(Pause::new(now(), "why")); r.offer = Some(offer()); }, Step::Adopt),
        ("to be deleted", |r, _| r.farewell = Some(now()), Step::TakeLeave),
        ("deleted but for the current secret", |r, _| { r.farewell = Some(now()); r.took_leave = true; let mut d = debt(DebtReason::Deleted, -MINUTE); d.key_id = key(1); r.debts.push(d); }, Step::Retire { key_id: key(1) }),
        ("deleted but for the current secret and another", |r, _| { r.farewell = Some(now()); r.took_leave = true; let mut d = debt(DebtReason::Deleted, -MINUTE); d.key_id = key(1); r.debts = vec![d, debt(DebtReason::Superseded, MINUTE)]; }, waits(MINUTE, Waiting::Grace)),
        ("deleted, and nothing is left", |r, _| { r.farewell = Some(now()); r.took_leave = true; }, Step::Delete),
        ("the clock was set back", |r, _| r.since += TimeDelta::days(60), Step::SetBack),
        ("the clock was set back after a change of the plan", |r, _| r.planned_since = Some(r.since + TimeDelta::days(60)), Step::SetBack),
        ("disabled, and its end near", |r, s| { r.enabled = false; s.current.end = Some(now() + TimeDelta::days(10)); }, Step::Remind { days: 14 }),
    ]
}

fn offer() -> Offer {
    Offer::new(
        (Uuid::from_u128(13).into(), Cause::Supplied),
        (key(4), Origin::Given),
        2,
        sealed(),
        None,
    )
}

#[test]
fn what_is_in_the_record_decides() {
    for (what, prepare, step) in rows() {
        let mut connection = connection();
        let mut rotation = connection.rotation.take().expect("it rotates");
        let secrets = connection.credential.secrets_mut().expect("secrets");
        prepare(&mut rotation, secrets);
        connection.rotation = Some(rotation);

        let decided = decide(&connection, now(), &Policy::default());

        assert_eq!(decided, step, "{what}");
    }
}

#[test]
fn the_same_record_gives_the_same_step() {
    for (what, prepare, _) in rows() {
        let mut connection = connection();
        let mut rotation = connection.rotation.take().expect("it rotates");
        let secrets = connection.credential.secrets_mut().expect("secrets");
        prepare(&mut rotation, secrets);
        connection.rotation = Some(rotation);
        let read = Connection::decode(&connection.encode()).expect("a record");

        let steps = [&connection, &read].map(|c| decide(c, now(), &Policy::default()));

        assert_eq!(steps[0], steps[1], "{what}");
    }
}

#[test]
fn what_a_sink_may_hold_is_not_revoked_before_it_has_another_secret() {
    let policy = Policy {
        sinks_before: vec!["before".to_owned()],
        sinks_after: vec!["after".to_owned()],
        ..Policy::default()
    };
    for (reason, sink, stays) in [
        (DebtReason::Superseded, "before", true),
        (DebtReason::Aborted, "before", true),
        (DebtReason::Orphan, "before", false),
        (DebtReason::Superseded, "after", false),
        (DebtReason::Superseded, "one that was taken out", false),
    ] {
        let mut connection = connection();
        let rotation = connection.rotation.as_mut().expect("it rotates");
        rotation.debts.push(debt(reason, -MINUTE));
        rotation
            .deliveries
            .push(Delivery::new(sink, now() + MINUTE));

        let step = decide(&connection, now(), &policy);

        let expected = if stays {
            waits(MINUTE, Waiting::Sink)
        } else {
            Step::Retire { key_id: key(9) }
        };
        assert_eq!(step, expected, "{reason:?} {sink}");
    }
}

#[test]
fn a_repair_that_could_not_mint_is_tried_again_at_its_time_and_not_at_once() {
    let mut connection = connection();
    let rotation = connection.rotation.as_mut().expect("it rotates");
    let trouble = Trouble::new(TroubleKind::Transient, String::new(), now(), now() + MINUTE);
    rotation.trouble = Some(trouble.during("mint"));
    assert!(is_moot(&connection, now()), "the schedule wants nothing");

    let secrets = connection.credential.secrets_mut().expect("secrets");
    secrets.current.refused_since = Some(now() - TimeDelta::days(1));

    assert!(!is_moot(&connection, now()));
}
