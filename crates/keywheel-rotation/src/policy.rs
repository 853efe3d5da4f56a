use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::{Connection, SecretSink};
use keywheel_schedule::RetryDelay;

use crate::Sinks;

/// What holds for every rotation that an engine drives.
///
/// What belongs to one connection stands in its
/// [`RotationSettings`](keywheel_connection::RotationSettings).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a lease lasts; each save extends it, and it is renewed while a call takes long. Default:
    /// 30 seconds. Another worker takes over a dead one's work after that.
    pub lease: Duration,
    /// How long to look for a secret whose mint got no answer before another one is minted. Default: 30
    /// seconds; a new secret shows in reads after 4 to 18.
    pub settle: TimeDelta,
    /// How many reads in a row must agree that a secret is not there. Default: 3.
    pub agreeing_reads: u8,
    /// The time between such reads. Default: 2 seconds, so that several replicas answer.
    pub read_spacing: TimeDelta,
    /// How long a settled marker is still looked for, now and then. Default: one day.
    pub watch: TimeDelta,
    /// How long a new secret may be refused before it is given up. Default: 15 minutes; the longest
    /// propagation that was ever reported is "minutes".
    pub patience: TimeDelta,
    /// How old the last proof of the current secret may be when the one before it is revoked; it is proven
    /// anew where that is longer ago. Default: 5 minutes.
    pub fresh: TimeDelta,
    /// How many secrets of ours a connection may have on its application at once. Default: two, the old and the
    /// new. While older ones can't be revoked, the next rotation waits; but the end of the secret in use beats
    /// this, and so does its repair, since a secret too many does less harm than none. Connections of one
    /// application count apart.
    pub slots: usize,
    /// How long to wait after a step that failed. Default: 2 seconds, doubling up to an hour.
    pub retry: RetryDelay,
    /// How long a trouble that needs a person is left alone before it is probed again. Default: one hour.
    pub halted: TimeDelta,
    /// Whether the gauges of each connection are shown, with the feature `metrics`: five series for every
    /// connection in every process with an engine. Default: yes.
    pub connection_gauges: bool,
    /// The sinks that must have a new secret before it becomes the current one. An engine puts the names of
    /// its own here, and of each connection only those that [want](SecretSink::wants) it.
    pub sinks_before: Vec<String>,
    /// The sinks that get it afterwards.
    pub sinks_after: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        let mut retry = RetryDelay::default();
        retry.base = Duration::from_secs(2);
        retry.cap = Duration::from_hours(1);
        Self {
            lease: Duration::from_secs(30),
            settle: TimeDelta::seconds(30),
            agreeing_reads: 3,
            read_spacing: TimeDelta::seconds(2),
            watch: TimeDelta::days(1),
            patience: TimeDelta::minutes(15),
            fresh: TimeDelta::minutes(5),
            slots: 2,
            retry,
            halted: TimeDelta::hours(1),
            connection_gauges: true,
            sinks_before: Vec::new(),
            sinks_after: Vec::new(),
        }
    }
}

impl Policy {
    /// Takes over the names of the sinks that an engine has.
    pub(crate) fn name_sinks(&mut self, sinks: &Sinks) {
        self.sinks_before = names(&sinks.before);
        self.sinks_after = names(&sinks.after);
    }

    /// Returns what holds for `connection`: the same, but with those of `sinks` only that want it.
    pub(crate) fn of(&self, connection: &Connection, sinks: &Sinks) -> Cow<'_, Self> {
        let mut all = sinks.before.iter().chain(&sinks.after);
        if all.all(|sink| sink.wants(connection)) {
            return Cow::Borrowed(self);
        }
        let names = |names: &[String], sinks: &[Arc<dyn SecretSink>]| {
            let wanted = wanted(names, sinks, connection);
            wanted.map(|(name, _)| name.to_owned()).collect()
        };
        Cow::Owned(Self {
            sinks_before: names(&self.sinks_before, &sinks.before),
            sinks_after: names(&self.sinks_after, &sinks.after),
            ..self.clone()
        })
    }
}

/// Those of an engine's sinks that want a connection, with the names that it knows them by.
pub(crate) fn wanted<'a>(
    names: &'a [String],
    sinks: &'a [Arc<dyn SecretSink>],
    connection: &Connection,
) -> impl Iterator<Item = (&'a str, &'a dyn SecretSink)> {
    let named = names.iter().zip(sinks);
    let wanted = named.filter(|(_, sink)| sink.wants(connection));
    wanted.map(|(name, sink)| (name.as_str(), sink.as_ref()))
}

/// The record knows sinks by their names, so the second one of a name gets another.
fn names(sinks: &[Arc<dyn SecretSink>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sink in sinks {
        let name = sink.name();
        let same = names.iter().filter(|known| *known == name).count();
        names.push(if same == 0 {
            name.to_owned()
        } else {
            format!("{name} ({})", names.len())
        });
    }
    names
}
