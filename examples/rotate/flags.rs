//! The command line.

use chrono::{NaiveTime, TimeDelta};
use clap::Parser;
use keywheel::connection::{Cause, Mode, RotationSettings, Seconds};
use keywheel::schedule::{Plan, Schedule};

use crate::end::{End, Result};

/// Rotates the client secret of one connection. The environment says which: AZURE_TENANT_ID,
/// AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_AUTHORITY_HOST, KEYWHEEL_GRAPH_ENDPOINT,
/// KEYWHEEL_CLIENT_SECRET_KEY_ID, KEYWHEEL_CONNECTION, KEYWHEEL_DATABASE, KEYWHEEL_SEALING_KEY,
/// KEYWHEEL_CA_CERTIFICATE.
#[derive(Debug, Parser)]
pub(crate) struct Flags {
    /// Begin a rotation now, even if none is due
    #[arg(long)]
    pub(crate) now: bool,
    /// Begin a rotation now that leaves the replaced secret no grace
    #[arg(long)]
    pub(crate) emergency: bool,
    /// Only show the status
    #[arg(long, conflicts_with_all = ["now", "emergency", "token"])]
    pub(crate) status: bool,
    /// Only get a Graph token through the stored connection, and show when it ends
    #[arg(long, conflicts_with_all = ["now", "emergency"])]
    pub(crate) token: bool,
    /// How many tokens in a row prove a new secret [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    proofs: Option<u8>,
    /// The time that the proofs are spread over [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    proof_span: Option<TimeDelta>,
    /// How long a replaced secret stays valid [default: 0s for the original, 1h for later ones]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<TimeDelta>,
    /// How long to go on in this run
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) deadline: TimeDelta,
    /// Rotate every so many days [default: 30]
    #[arg(long, value_name = "DAYS")]
    interval: Option<u32>,
    /// At this local time [default: 02:30]
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    at: Option<NaiveTime>,
    /// In this time zone [default: UTC]
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
}

impl Flags {
    /// Why a rotation begins now, if it does.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if self.emergency {
            Some(Cause::Emergency)
        } else {
            self.now.then_some(Cause::Manual)
        }
    }

    /// The settings of a new connection that is created on `today`.
    pub(crate) fn settings(&self, today: chrono::NaiveDate) -> Result<RotationSettings> {
        let schedule = Schedule::builder()
            .every_days(30)
            .at(NaiveTime::from_hms_opt(2, 30, 0).unwrap_or_default())
            .zone("UTC")
            .anchor(today)
            .build()
            .map_err(|error| End::bad("schedule", error))?;
        let mut settings = RotationSettings::new(schedule);
        settings.proof_span = Seconds(5);
        settings.mode = Mode::Overlap;
        self.change(settings)
    }

    /// `settings` with what the flags say.
    pub(crate) fn change(&self, mut settings: RotationSettings) -> Result<RotationSettings> {
        if self.interval.is_some() || self.at.is_some() || self.zone.is_some() {
            settings.plan = self.plan(&settings.plan)?;
        }
        if let Some(proofs) = self.proofs {
            settings.proofs = proofs;
        }
        if let Some(span) = self.proof_span {
            settings.proof_span = seconds(span);
        }
        if let Some(grace) = self.grace {
            settings.grace = seconds(grace);
            settings.original_grace = seconds(grace);
        }
        Ok(settings)
    }

    fn plan(&self, before: &Plan) -> Result<Plan> {
        let schedule = before.schedule();
        let zone = self.zone.as_deref();
        let schedule = Schedule::builder()
            .every_days(self.interval.unwrap_or_else(|| schedule.interval_days()))
            .at(self.at.unwrap_or_else(|| schedule.at()))
            .zone(zone.unwrap_or_else(|| schedule.zone().name()))
            .anchor(schedule.anchor())
            .build()
            .map_err(|error| End::Bad(error.to_string()))?;
        let plan = before.to_builder().schedule(schedule).build();
        plan.map_err(|error| End::Bad(error.to_string()))
    }
}

fn seconds(span: TimeDelta) -> Seconds {
    Seconds::from(span.to_std().unwrap_or_default())
}

fn time_of_day(text: &str) -> std::result::Result<NaiveTime, &'static str> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| "expected a time of day such as 02:30")
}

/// A number and a unit: `500ms`, `5s`, `10m`, `1h`, `2d`.
fn duration(text: &str) -> std::result::Result<TimeDelta, &'static str> {
    const EXPECTED: &str = "expected a number and a unit, such as 500ms, 5s, 10m, 1h or 2d";
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| EXPECTED)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(EXPECTED),
    };
    number
        .checked_mul(millis)
        .and_then(TimeDelta::try_milliseconds)
        .filter(|span| *span <= TimeDelta::days(3650))
        .ok_or("too long: expected ten years at most")
}
