//! The diagram of states in `STATES.md` is drawn by walking the machine: from a connection at rest, with
//! everything that people can ask for and everything that can come of a step.

use std::collections::{BTreeSet, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Cause, Connection, Debt, DebtReason, Inspection, Listed, Origin, Phase, Rotation, TroubleKind,
};
use uuid::Uuid;

use super::{Step, connection, health, key, marker, now, offer, request, sealed};
use crate::apply::{Outcome, apply};
use crate::failure::Failure;
use crate::rotator::record_only;
use crate::{Policy, decide};

/// Where a connection stands.
fn state(connection: &Connection) -> &'static str {
    let rotation = connection.rotation.as_ref().expect("it rotates");
    let promoted = rotation.run.is_some_and(|run| run.promoted_at.is_some());
    let doubt = rotation.dead_markers.iter().any(|dead| !dead.settled);
    match &rotation.phase {
        Phase::Intent { .. } => "Intent",
        _ if rotation.farewell.is_some() => "Leaving",
        Phase::Proving(_) => "Proving",
        _ if rotation.offer.is_some() => "Offered",
        _ if doubt => "Unresolved",
        _ if is_refused(connection) => "Refused",
        _ if promoted => "Grace",
        _ if rotation.in_progress().is_some() => "Asked",
        _ => "Idle",
    }
}

fn is_refused(connection: &Connection) -> bool {
    let secrets = connection.secrets();
    secrets.is_some_and(|secrets| secrets.current.refused_since.is_some())
}

fn transient() -> Failure {
    Failure::new(TroubleKind::Transient, String::new())
}

fn read(secrets: Vec<Listed>) -> Inspection {
    Inspection::new(Uuid::from_u128(8).into(), secrets)
}

/// Everything that can come of an effect, in words.
pub(super) fn outcomes(
    connection: &Connection,
    step: &Step,
    sent_at: DateTime<Utc>,
) -> Vec<(&'static str, Outcome)> {
    let rotation = connection.rotation.as_ref().expect("it rotates");
    match step {
        Step::Mint { cause, .. } => vec![(
            "intent stored",
            Outcome::Intended {
                rotation: Uuid::from_u128(21).into(),
                cause: *cause,
                marker: marker(2),
            },
        )],
        Step::Prove => vec![
            (
                "proven",
                Outcome::Proved {
                    read: Some(read(Vec::new())),
                },
            ),
            ("refused", Outcome::ProofRefused),
            ("trouble", Outcome::ProofFailed(transient())),
            ("read failed", Outcome::ProvedUnread(transient())),
        ],
        Step::Inspect => {
            let listed = rotation
                .dead_markers
                .iter()
                .map(|dead| Listed::new(Some(key(30)), Some(dead.marker.to_string())));
            let inspected = |listed| Outcome::Inspected {
                sent_at,
                read: read(listed),
            };
            vec![
                ("orphan found", inspected(listed.collect())),
                ("not found", inspected(Vec::new())),
                ("trouble", Outcome::InspectFailed(transient())),
            ]
        }
        Step::Retire { key_id } => {
            let key_id = *key_id;
            let failure = transient();
            let mut all = vec![
                ("revoked", Outcome::Removed { key_id }),
                ("not found", Outcome::RemoveNotFound { key_id }),
                (
                    "trouble",
                    Outcome::RemoveFailed {
                        key_id,
                        failure: failure.clone(),
                    },
                ),
            ];
            let owed = |debt: &Debt| debt.key_id == key_id && debt.reason == DebtReason::Superseded;
            if rotation.debts.iter().any(owed) {
                all.push((
                    "current refused",
                    Outcome::CurrentRefused { key_id, failure },
                ));
            }
            all
        }
        _ => Vec::new(),
    }
}

/// What can come of the mint whose intent is stored.
pub(super) fn minting() -> Vec<(&'static str, Outcome)> {
    let minted = Outcome::Minted {
        marker: marker(2),
        key_id: key(2),
        sealed: sealed(),
        end: None,
    };
    vec![
        ("minted", minted),
        ("refused", Outcome::MintFailed(transient())),
        ("outcome unknown", Outcome::MintUnknown(transient())),
    ]
}

pub(super) type Verb = (&'static str, fn(&mut Rotation, u64));

/// What people ask for.
pub(super) fn verbs() -> [Verb; 4] {
    [
        ("rotate now", |rotation, _| {
            if rotation.in_progress().is_none() {
                rotation.request = Some(request(Cause::Manual));
            }
        }),
        ("abort", |rotation, _| {
            rotation.abort = rotation.run.is_some()
        }),
        ("supply, roll back", |rotation, generation| {
            if rotation.phase == Phase::Idle {
                let mut offer = offer();
                offer.generation = generation + 1;
                rotation.offer = Some(offer);
            }
        }),
        ("delete", |rotation, _| rotation.farewell = Some(now())),
    ]
}

#[derive(Default)]
struct Walk {
    edges: BTreeSet<(&'static str, &'static str, String)>,
    seen: HashSet<String>,
    queue: VecDeque<(Connection, DateTime<Utc>)>,
}

impl Walk {
    fn go(&mut self, from: &Connection, what: &str, to: Connection, at: DateTime<Utc>) {
        let (before, after) = (state(from), state(&to));
        if before != after {
            self.edges.insert((before, after, what.to_owned()));
        }
        if self.seen.insert(signature(&to, at)) {
            self.queue.push_back((to, at));
        }
    }

    fn apply(&mut self, from: &Connection, what: &str, outcome: &Outcome, at: DateTime<Utc>) {
        let mut to = from.clone();
        drop(apply(&mut to, outcome, at, &policy()));
        self.go(from, what, to, at);
    }

    fn step(&mut self, from: &Connection, at: DateTime<Utc>) {
        let step = decide(from, at, &policy());
        if matches!(
            from.rotation.as_ref().map(|r| &r.phase),
            Some(Phase::Intent { .. })
        ) {
            for (what, outcome) in minting() {
                self.apply(from, what, &outcome, at);
            }
        }
        if let Step::Wait {
            until: Some(until), ..
        } = step
        {
            self.go(from, "", from.clone(), until);
            // And long after, because waits that repeat look alike.
            let later = until + policy().patience;
            return self.go(from, "", from.clone(), later);
        }
        if let Some(outcome) = record_only(&step) {
            self.apply(from, &word(&step), &outcome, at);
        }
        if step == Step::Delete {
            self.edges
                .insert((state(from), "[*]", "deleted".to_owned()));
        }
        for (what, outcome) in outcomes(from, &step, at) {
            self.apply(from, what, &outcome, at);
        }
        for (what, verb) in verbs() {
            let mut to = from.clone();
            let generation = to.secrets().map_or(0, |secrets| secrets.current.generation);
            verb(to.rotation.as_mut().expect("it rotates"), generation);
            self.go(from, what, to, at);
        }
    }
}

pub(super) fn word(step: &Step) -> String {
    match step {
        Step::Abandon => "stopped",
        Step::Abort => "given up",
        Step::Adopt => "taken up",
        Step::Finish => "confirmed",
        Step::Promote => "promoted",
        Step::Quarantine => "never accepted",
        _ => "",
    }
    .to_owned()
}

fn policy() -> Policy {
    Policy {
        agreeing_reads: 1,
        settle: TimeDelta::zero(),
        watch: TimeDelta::zero(),
        ..Policy::default()
    }
}

/// What of a record matters to where it can go.
fn signature(connection: &Connection, at: DateTime<Utc>) -> String {
    let rotation = connection.rotation.as_ref().expect("it rotates");
    let debts = |debt: &Debt| {
        (
            debt.reason == DebtReason::Superseded,
            debt.unconfirmed,
            debt.due <= at,
        )
    };
    let debts: Vec<_> = rotation.debts.iter().map(debts).collect();
    let long = |since: Option<DateTime<Utc>>| since.map(|since| at - since >= policy().patience);
    let candidate = rotation
        .candidate()
        .map(|c| (c.proofs.min(3), c.read, long(c.refused_since)));
    let refused = connection
        .secrets()
        .and_then(|s| long(s.current.refused_since));
    let run = rotation.run.map(|run| run.promoted_at.is_some());
    // Only a secret that was given is proven while another one is in doubt. With debts it is no other
    // state, and there is no end of them.
    let given = rotation
        .candidate()
        .is_some_and(|c| c.origin == Origin::Given);
    let doubt = given && debts.is_empty() && rotation.dead_markers.iter().any(|dead| !dead.settled);
    let step = format!("{:?}", decide(connection, at, &policy()));
    let step = step.split(' ').next().unwrap_or_default();
    format!(
        "{} {step} {refused:?} {debts:?} {candidate:?} {run:?} {doubt} {} {} {}",
        state(connection),
        rotation.abort,
        rotation.took_leave,
        connection
            .secrets()
            .is_some_and(|secrets| secrets.previous.is_some()),
    )
}

fn diagram() -> String {
    let mut walk = Walk::default();
    walk.queue.push_back((connection(), now()));
    let mut left = 20_000;
    while let Some((at_rest, at)) = walk.queue.pop_front() {
        walk.step(&at_rest, at);
        left -= 1;
        assert!(
            left > 0,
            "the machine has more states than its signature tells apart"
        );
    }
    let mut text = "stateDiagram-v2\n    [*] --> Asked: create, enable\n".to_owned();
    for (from, to, what) in walk.edges {
        let label = if what.is_empty() {
            String::new()
        } else {
            format!(": {what}")
        };
        text += &format!("    {from} --> {to}{label}\n");
    }
    text
}

#[test]
fn the_diagram_in_the_docs_is_what_the_machine_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/STATES.md");
    let drawn = format!("{HEAD}{}\n```mermaid\n{}```\n", health::table(), diagram());
    if std::env::var_os("KEYWHEEL_DRAW").is_some() {
        std::fs::write(path, &drawn).expect("a file");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written, drawn,
        "draw it anew: KEYWHEEL_DRAW=1 cargo test -p keywheel-rotation diagram"
    );
}

const HEAD: &str = "\
# The states of a rotation

Drawn by a test that walks the machine (`src/decide/tests/diagram.rs`): every outcome of every step, and what
people ask for. Steps that lead back to where they began, waits and retries among them, are left out.

- **Idle**: nothing runs. Debts that are no replaced secrets are paid on the way.
- **Asked**: a rotation was asked for or has begun, and no secret is being minted.
- **Intent**: `addPassword` may have been called.
- **Unresolved**: it is open whether it was; reads will tell.
- **Proving**: the new secret is stored, and not in use yet.
- **Grace**: it is in use, and the replaced one is not confirmed to be gone.
- **Refused**: Entra refuses the current secret, and the one before is kept.
- **Offered**: a secret was supplied, or is to be taken back.
- **Leaving**: the connection is being deleted.

An emergency is no mode but the cause of one rotation (`Cause::Emergency`): in either `Mode` it walks the same
states, and its grace has no length. The health of a connection stands beside these states and is not drawn,
since it changes none of them: a trouble is kept where the rotation stands, and ends with the event
`rotation.recovered`.

Health is found out in the same way: everything that can be the matter is made, every step then succeeds, or
people ask for something. A trouble is tried again as its column says, and ends with the step that the next one
names.

| what is the matter | health | a person | tried again | ends with | or at once, when people |
|---|---|---|---|---|---|
";
