use super::chance::Chance;

/// A call that leaves a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `addPassword`.
    Mint,
    /// `removePassword`.
    Remove,
    /// A fresh token.
    Prove,
    /// A read of the application.
    Inspect,
    /// A write to the store.
    Save,
    /// A lease, a claim or a read from the store.
    Store,
    /// A secret handed to a sink.
    Publish,
    /// A secret sealed or opened.
    Seal,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out and answered.
    Fine,
    /// The process ends before it.
    CrashBefore,
    /// It is carried out, and the process ends before it hears of it.
    CrashAfter,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// Nobody hears of it, and it is carried out later.
    Late,
    /// The same, and the process ends.
    CrashLate,
    /// It is lost on the way, and nobody knows.
    RequestLost,
    /// It is refused for a reason that passes.
    Refused,
}

/// How often what goes wrong in one run, in thousandths of the calls. Every run has its own mixture, and
/// many kinds of trouble are absent from any one run: what hides behind a frequent fault is found when that
/// one is away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) crash: u64,
    pub(crate) answer_lost: u64,
    pub(crate) request_lost: u64,
    pub(crate) late: u64,
    pub(crate) refused: u64,
    pub(crate) stall: u64,
    pub(crate) slow: u64,
    pub(crate) store: u64,
    pub(crate) seal: u64,
    pub(crate) sink: u64,
    /// The longest that a replica of the directory lags behind in accepting, in milliseconds.
    pub(crate) accept_lag: i64,
    /// The longest that it lags behind in listing.
    pub(crate) list_lag: i64,
    /// How far the processes' clocks are off at most.
    pub(crate) skew: i64,
    /// How far a clock steps at most.
    pub(crate) step: i64,
    /// How many times a clock steps in a run.
    pub(crate) steps: u64,
    /// How many times administrators interfere in a run.
    pub(crate) deeds: u64,
    /// Whether the store is restored from a backup.
    pub(crate) restores: bool,
    /// Whether issuers keep tokens, as the real one does.
    pub(crate) tokens: bool,
}

const SECOND: i64 = 1000;

impl Faults {
    /// Draws the mixture of a run.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let often = |chance: &mut Chance| match chance.below(6) {
            0..3 => 0,
            3 => 4,
            4 => 20,
            _ => 80,
        };
        Self {
            crash: often(chance),
            answer_lost: often(chance),
            request_lost: often(chance),
            late: often(chance),
            refused: often(chance),
            stall: often(chance) / 4,
            slow: often(chance) * 3,
            store: often(chance),
            seal: often(chance) / 4,
            sink: often(chance) * 3,
            accept_lag: chance.pick(&[0, 0, 4, 18, 60, 300]) * SECOND,
            list_lag: chance.pick(&[0, 0, 4, 18, 25]) * SECOND,
            skew: chance.pick(&[0, 0, 0, 1, 2, 5, 30, 300]) * SECOND,
            step: chance.pick(&[0, 0, 0, 60, 3600, 86_400]) * SECOND,
            steps: chance.below(4),
            deeds: chance.pick(&[0, 0, 0, 1, 2, 4]),
            restores: chance.one_in(8),
            tokens: chance.one_in(2),
        }
    }

    /// Draws the fate of a call.
    pub(crate) fn fate(&self, call: Call, chance: &mut Chance) -> Fate {
        let mut draw = chance.below(1000);
        let mut hits = |rate: u64| {
            let hit = draw < rate;
            draw = draw.wrapping_sub(rate);
            hit
        };
        if call == Call::Seal {
            return if hits(self.seal) {
                Fate::Refused
            } else {
                Fate::Fine
            };
        }
        if hits(self.crash) {
            return chance.pick(&[Fate::CrashBefore, Fate::CrashAfter, Fate::CrashLate]);
        }
        match call {
            Call::Publish if hits(self.sink) => {
                chance.pick(&[Fate::Refused, Fate::AnswerLost, Fate::RequestLost])
            }
            Call::Save if hits(self.store) => chance.pick(&[
                Fate::Refused,
                Fate::AnswerLost,
                Fate::RequestLost,
                Fate::Late,
            ]),
            Call::Store if hits(self.store) => Fate::Refused,
            Call::Save | Call::Store | Call::Publish => Fate::Fine,
            _ if hits(self.answer_lost) => Fate::AnswerLost,
            _ if hits(self.request_lost) => Fate::RequestLost,
            _ if hits(self.late) => Fate::Late,
            _ if hits(self.refused) => Fate::Refused,
            _ => Fate::Fine,
        }
    }
}
