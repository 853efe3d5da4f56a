//! Connections to test with.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use keywheel_core::KeyId;
use keywheel_schedule::Schedule;
use uuid::Uuid;

use crate::{
    Actor, Candidate, Cause, Connection, ConnectionId, Credential, DeadMarker, Debt, DebtReason,
    Entry, EventKind, Held, Holder, Marker, Phase, Rotation, RotationId, RotationSettings, Run,
    Sealed, Secrets, Trouble, TroubleKind,
};

/// Returns the connection number `n`, called `name`, and its first journal entry.
#[must_use]
pub fn connection(n: u64, name: &str) -> (Connection, Vec<Entry>) {
    let id = ConnectionId::from(uuid(n));
    let held = Held::given(sealed(n), Some(key_id(n)), at(0));
    let place = (
        "11111111-2222-3333-4444-555555555555".parse().unwrap(),
        "66666666-7777-8888-9999-aaaaaaaaaaaa".parse().unwrap(),
    );
    let credential = Credential::ClientSecret(Secrets::new(held));
    let mut connection = Connection::new(id, name.parse().unwrap(), place, credential, at(0));
    let entry = connection.record(
        &Actor::named("an \"administrator\" \u{2014} \u{1f511}"),
        at(1),
        EventKind::ConnectionCreated {
            tenant: connection.tenant.clone(),
            client_id: connection.client,
            method: connection.credential.method().to_owned(),
        },
    );
    (connection, vec![entry])
}

/// Returns the connection number `n` in the middle of a rotation that has seen trouble: a record with
/// something in every place.
#[must_use]
pub fn rotating(n: u64, name: &str) -> (Connection, Vec<Entry>) {
    let (mut connection, mut entries) = connection(n, name);
    let marker = Marker::new(connection.id, 1, uuid(n + 1));
    let mut rotation = Rotation::new(RotationSettings::new(schedule()), at(0));
    rotation.run = Some(Run::new(
        RotationId::from(uuid(n + 2)),
        Cause::Schedule,
        at(2),
    ));
    rotation.phase = Phase::Proving(Candidate::minted(
        marker,
        key_id(n + 3),
        sealed(n + 3),
        Some(at(9_000)),
        at(3),
    ));
    rotation.debts = vec![Debt::new(
        key_id(n + 4),
        DebtReason::Superseded,
        at(2),
        at(3_600),
    )];
    rotation.dead_markers = vec![DeadMarker::new(marker, at(2), at(60))];
    rotation.trouble = Some(Trouble::new(
        TroubleKind::Transient,
        "throttled: try again\nin 'a' \\ minute",
        at(4),
        at(64),
    ));
    connection.rotation = Some(rotation);
    entries.push(change(&mut connection, "rotation"));
    (connection, entries)
}

/// Changes a connection and returns the journal entry of it.
pub fn change(connection: &mut Connection, what: &str) -> Entry {
    let at = at(connection.journal.seq.try_into().unwrap());
    let kind = EventKind::Changed {
        what: what.to_owned(),
    };
    connection.record(&Actor::engine(), at, kind)
}

/// Returns the holder number `n`.
#[must_use]
pub fn holder(n: u64) -> Holder {
    Holder::from(uuid(n))
}

/// Scatters, as real ids are.
fn uuid(n: u64) -> Uuid {
    let mixed = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Uuid::from_u128(mixed ^ (mixed >> 64))
}

fn key_id(n: u64) -> KeyId {
    uuid(n).to_string().parse().unwrap()
}

fn sealed(n: u64) -> Sealed {
    let byte = u8::try_from(n % 251).unwrap();
    Sealed::new("0123456789abcdef", vec![byte; 68])
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

fn schedule() -> Schedule {
    Schedule::builder()
        .every_days(30)
        .at(NaiveTime::from_hms_opt(2, 30, 0).unwrap())
        .zone("Europe/Berlin")
        .anchor(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap())
        .build()
        .unwrap()
}
