//! The table of health in `STATES.md`: every trouble is made, and what ends it is tried out.

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Cause, Connection, Credential, Phase, Rotation, SignIn, SignInEnded, Trouble, TroubleKind,
};

use super::diagram::{minting, outcomes, verbs, word};
use super::{candidate, connection, now, run, sealed};
use crate::apply::{Outcome, apply};
use crate::failure::Failure;
use crate::rotator::record_only;
use crate::{Health, Policy, Status, Step, decide};

/// Every kind of trouble, and what is written of it where it is declared.
fn kinds() -> Vec<(TroubleKind, String)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../keywheel-connection/src/record/rotation/trouble.rs"
    );
    let source = std::fs::read_to_string(path).expect("a file");
    let (_, declared) = source.split_once("pub enum TroubleKind {").expect("it");
    let (declared, _) = declared.split_once("\n}").expect("its end");
    let (mut kinds, mut text) = (Vec::new(), String::new());
    for line in declared.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            text += more;
        } else if let Some(name) = line.strip_suffix(',') {
            let about = format!("`{name}`:{}", std::mem::take(&mut text));
            kinds.push((kind(name), about.trim_end_matches('.').to_owned()));
        }
    }
    kinds
}

fn kind(name: &str) -> TroubleKind {
    let kebab = |c: char| match c.is_uppercase() {
        true => format!("-{}", c.to_lowercase()),
        false => c.to_string(),
    };
    let word: String = name.chars().map(kebab).collect();
    let json = serde_json::json!(word.trim_start_matches('-'));
    serde_json::from_value(json).expect("a kind")
}

/// What can be the matter with a connection.
fn matters() -> Vec<(String, Connection)> {
    let mut matters = vec![
        ("nothing".to_owned(), connection()),
        (
            "a secret that ends soon, and that nothing replaces".to_owned(),
            expiring(),
        ),
    ];
    let kinds = kinds().into_iter();
    matters.extend(kinds.map(|(kind, about)| (about, troubled(kind, 1))));
    matters.push(("a sign-in that has ended".to_owned(), signed_out()));
    matters
}

fn expiring() -> Connection {
    let mut connection = connection();
    rotation(&mut connection).enabled = false;
    let secrets = connection.credential.secrets_mut().expect("secrets");
    (secrets.current.since, secrets.current.end) = (
        now() - TimeDelta::days(80),
        Some(now() + TimeDelta::days(1)),
    );
    connection
}

/// A rotation whose step failed so often: the mint, or the last proof, which sees that a store is behind.
fn troubled(kind: TroubleKind, times: u32) -> Connection {
    let mut connection = connection();
    let failure = Failure::new(kind, String::new());
    rotation(&mut connection).run = Some(run(Cause::Manual));
    let outcome = if kind == TroubleKind::StoreBehind {
        rotation(&mut connection).phase = Phase::Proving(candidate(2, false));
        Outcome::ProofFailed(failure)
    } else {
        Outcome::MintFailed(failure)
    };
    for _ in 0..times {
        drop(apply(&mut connection, &outcome, now(), &Policy::default()));
    }
    connection
}

fn signed_out() -> Connection {
    let mut connection = connection();
    let mut user = SignIn::new(sealed(), "somebody", Vec::new(), now());
    user.ended = Some(SignInEnded::new(now(), "why"));
    (connection.credential, connection.rotation) = (Credential::AuthorizationCode(user), None);
    connection
}

fn rotation(connection: &mut Connection) -> &mut Rotation {
    connection.rotation.as_mut().expect("it rotates")
}

fn trouble(connection: &Connection) -> Option<&Trouble> {
    connection.rotation.as_ref()?.trouble.as_ref()
}

fn health(connection: &Connection, at: DateTime<Utc>) -> Health {
    Status::of(connection, at, &Policy::default()).health
}

fn is_well(connection: &Connection, at: DateTime<Utc>) -> bool {
    health(connection, at) == Health::Active && trouble(connection).is_none()
}

/// With which step's success the connection is well again, if nobody does anything.
fn by_itself(mut connection: Connection) -> Option<String> {
    let (mut at, mut last) = (now(), String::new());
    while !is_well(&connection, at) {
        let step = decide(&connection, at, &Policy::default());
        if let Step::Wait { until, .. } = step {
            at = until.filter(|until| *until < now() + TimeDelta::days(1))?;
            continue;
        }
        let (what, outcome) = success(&connection, &step, at)?;
        drop(apply(&mut connection, &outcome, at, &Policy::default()));
        last = what;
    }
    Some(last)
}

/// What comes of a step, or of the mint whose intent is stored, when it succeeds. Nothing of a deletion.
fn success(connection: &Connection, step: &Step, at: DateTime<Utc>) -> Option<(String, Outcome)> {
    let (what, outcome) = match record_only(step) {
        Some(Outcome::Abandoned) => minting().remove(0),
        Some(outcome) => return Some((word(step), outcome)),
        None => outcomes(connection, step, at).into_iter().next()?,
    };
    Some((what.to_owned(), outcome))
}

/// What people do that ends it, with what the engine makes of it at once. Where nothing goes on by itself, what
/// they ask for may take its steps.
fn by_people(matter: &Connection) -> Vec<&'static str> {
    let stuck = by_itself(matter.clone()).is_none();
    let ends = |after: Connection| {
        let after = folded(after);
        is_well(&after, now()) || (stuck && by_itself(after).is_some())
    };
    let done = done_by_people(matter).into_iter();
    done.filter_map(|(what, after)| ends(after).then_some(what))
        .collect()
}

fn done_by_people(matter: &Connection) -> Vec<(&'static str, Connection)> {
    let mut after = matter.clone();
    if let Credential::AuthorizationCode(user) = &mut after.credential {
        user.ended = None;
        return vec![("sign in again", after)];
    }
    let done = verbs().into_iter().map(|(what, verb)| {
        let mut after = matter.clone();
        verb(rotation(&mut after), 1);
        (what, after)
    });
    done.collect()
}

/// After the steps that change the record only.
fn folded(mut connection: Connection) -> Connection {
    let policy = Policy::default();
    while let Some(outcome) = record_only(&decide(&connection, now(), &policy)) {
        drop(apply(&mut connection, &outcome, now(), &policy));
    }
    connection
}

/// When a step that fails is tried again.
fn tried_again(kind: TroubleKind) -> String {
    let wait = |times| trouble(&troubled(kind, times)).map(|it| it.retry_at - now());
    let (first, later) = (wait(1).expect("a trouble"), wait(30).expect("a trouble"));
    if first == later {
        return format!("every {} minutes", first.num_minutes());
    }
    assert!(first < later && later <= TimeDelta::hours(1), "{later}");
    "ever more seldom, up to every hour".to_owned()
}

fn row((what, matter): (String, Connection)) -> String {
    let health = health(&matter, now());
    if is_well(&matter, now()) {
        return format!("| {what} | `{health:?}` | | | | |\n");
    }
    let by_itself = by_itself(matter.clone());
    let kind = trouble(&matter).map(|trouble| trouble.kind);
    let needed = kind.map_or_else(|| by_itself.is_none(), TroubleKind::needs_a_person);
    format!(
        "| {what} | `{health:?}` | {} | {} | {} | {} |\n",
        if needed { "needed" } else { "" },
        kind.map(tried_again).unwrap_or_default(),
        by_itself.unwrap_or_default(),
        by_people(&matter).join("; "),
    )
}

/// The rows of the table.
pub(super) fn table() -> String {
    let order = |(_, matter): &(String, Connection)| match health(matter, now()) {
        Health::Active => 0,
        Health::Expiring => 1,
        Health::Halted => 2,
        Health::LockedOut => 3,
        Health::StoreBehind => 4,
        Health::NeedsReauth => 5,
    };
    let mut matters = matters();
    matters.sort_by_key(order);
    matters.into_iter().map(row).collect()
}
