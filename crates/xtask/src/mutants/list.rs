/// One change of the engine's source.
pub(super) struct Mutant {
    /// What goes wrong with it.
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

const DECIDE: &str = "crates/keywheel-rotation/src/decide.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "promote before proof",
        file: DECIDE,
        from: "candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)",
        to: "candidate.proofs >= rotation.settings.proofs.max(1) || candidate.proofs >= 1",
    },
    Mutant {
        name: "promote on a read alone",
        file: DECIDE,
        from: "candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)",
        to: "candidate.read || candidate.proofs >= rotation.settings.proofs.max(1)",
    },
    Mutant {
        name: "promote without a sink that must have it",
        file: DECIDE,
        from: "is_proven(candidate, rotation) && next_sink(candidate, policy).is_none()",
        to: "is_proven(candidate, rotation)",
    },
    Mutant {
        name: "revoke what is in use",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = (proving, current, last);\n    false\n",
    },
    Mutant {
        name: "sweep away the current secret",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = (current, last);\n    proving\n",
    },
    Mutant {
        name: "sweep away the candidate before it is promoted",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = proving;\n    current && !last\n",
    },
    Mutant {
        name: "revoke while paused",
        file: DECIDE,
        from: "debt.reason == DebtReason::Superseded && rotation.pause.is_some()",
        to: "false && debt.reason == DebtReason::Superseded && rotation.pause.is_some()",
    },
    Mutant {
        name: "confirm with a debt",
        file: DECIDE,
        from: "is_promoted(rotation) && !rotation.debts.iter().any(superseded)",
        to: "is_promoted(rotation) || rotation.debts.iter().any(superseded)",
    },
    Mutant {
        name: "mint before the last call is settled",
        file: DECIDE,
        from: "rotation.dead_markers.iter().all(|marker| marker.settled)\n}",
        to: "rotation.dead_markers.len() < 9\n}",
    },
    Mutant {
        name: "mint beyond the budget",
        file: DECIDE,
        from: "    live < policy.slots\n",
        to: "    live < policy.slots + 2\n",
    },
    Mutant {
        name: "forget the debt",
        file: "crates/keywheel-rotation/src/apply/proving.rs",
        from: "            rotation.debts.extend(debt);\n",
        to: "            drop(debt);\n",
    },
    Mutant {
        name: "revoke at once instead of after the grace",
        file: "crates/keywheel-rotation/src/apply/proving.rs",
        from: "        let revoke_at = self.now + grace;\n",
        to: "        let revoke_at = self.now + grace * 0;\n",
    },
    Mutant {
        name: "forget the marker",
        file: "crates/keywheel-rotation/src/apply/minting.rs",
        from: "            .push(DeadMarker::new(marker, self.now, self.now));",
        to: "            .truncate(usize::from(marker.generation() > 99));",
    },
    Mutant {
        name: "believe one read",
        file: "crates/keywheel-rotation/src/apply/reading.rs",
        from: "            let old = age >= self.policy.settle;\n",
        to: "            let old = age >= TimeDelta::zero();\n",
    },
    Mutant {
        name: "take a failed removal for gone",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "Ok(Removal::NotFound) => Outcome::RemoveNotFound { key_id },",
        to: "Ok(Removal::NotFound) => Outcome::Removed { key_id },",
    },
    Mutant {
        name: "revoke without a fresh proof",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if is_replaced(connection, key_id)\n",
        to: "        if false && is_replaced(connection, key_id)\n",
    },
    Mutant {
        name: "end a grace by our own clock",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "(told + EARLY < due).then_some(",
        to: "(told + EARLY < due && due < told).then_some(",
    },
    Mutant {
        name: "carry an intent over to another record",
        file: "crates/keywheel-rotation/src/rotator/save.rs",
        from: "            if fold == Fold::Nothing {\n                return Ok(false);",
        to: "            if false && fold == Fold::Nothing {\n                return Ok(false);",
    },
    Mutant {
        name: "skip the fence",
        file: "crates/keywheel-rotation/src/rotator/save.rs",
        from: "                .wake_at(change.wake_at)\n                .under(&work.lease, change.lease);",
        to: "                .wake_at(change.wake_at);",
    },
    Mutant {
        name: "mint without an intent",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if !self.save(work, Some(&intent), Fold::Nothing).await? {",
        to: "        if false && !self.save(work, Some(&intent), Fold::Nothing).await? {",
    },
    Mutant {
        name: "remove what may have been stored",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if error.kind() == RotateErrorKind::Store {\n            return false;",
        to: "        if error.kind() == RotateErrorKind::Store {\n            return true;",
    },
    Mutant {
        name: "take a save whose answer was lost for not made",
        file: "crates/keywheel-rotation/src/rotator/save.rs",
        from: "Ok(at.first().is_some_and(|entry| entry.digest == ours.digest))",
        to: "Ok(at.first().is_some_and(|entry| entry.digest != ours.digest && entry.seq == 0))",
    },
    Mutant {
        name: "begin a grace by our own clock",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if !self.0.clocks.is_told(self.parts().clock.now())\n",
        to: "        if false && !self.0.clocks.is_told(self.parts().clock.now())\n",
    },
    Mutant {
        name: "forget a sink whose answer was lost",
        file: "crates/keywheel-rotation/src/apply/people.rs",
        from: "            told.extend(others.cloned());\n",
        to: "            told.extend(others.take(0).cloned());\n",
    },
    Mutant {
        name: "cover up a lock-out that another debt showed",
        file: "crates/keywheel-rotation/src/apply/revoking.rs",
        from: "let locked_out = locked_out || (alone && rotation.candidate().is_none());",
        to: "let locked_out = locked_out && alone || (alone && rotation.candidate().is_none());",
    },
    Mutant {
        name: "tell of a stray that is just being removed",
        file: "crates/keywheel-rotation/src/apply/strays.rs",
        from: "        if !found.told && old && found.reads >= enough {\n",
        to: "        if !found.told && (old || found.reads > 0) && found.reads <= enough {\n",
    },
];
