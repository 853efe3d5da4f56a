use std::time::Duration;

use keywheel_core::KeyId;
use tokio::time::{Instant, sleep};

use crate::{Application, ApplicationClient, GraphError, GraphErrorKind};

/// What is looked for on an application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sought {
    /// A client secret or certificate with this display name, as a marker that was given to it.
    DisplayName(String),
    /// The client secret or certificate with this key id.
    KeyId(KeyId),
}

/// How many reads must agree, and how long that may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmPolicy {
    /// How many reads in a row must agree. Default: 5, what other tools have found to be enough.
    pub agree: u32,
    /// From one read to the next. Default: 1 second.
    pub interval: Duration,
    /// How long it may take in all. Default: 2 minutes; replicas have been seen to lag for longer, and then
    /// the answer is that it is not decided.
    pub max_elapsed: Duration,
}

impl Default for ConfirmPolicy {
    fn default() -> Self {
        Self {
            agree: 5,
            interval: Duration::from_secs(1),
            max_elapsed: Duration::from_secs(120),
        }
    }
}

impl ConfirmPolicy {
    /// Sets how many reads in a row must agree.
    #[must_use]
    pub fn agree(mut self, reads: u32) -> Self {
        self.agree = reads;
        self
    }
}

/// What several reads showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirmation {
    /// What follows from them.
    pub verdict: Verdict,
    /// The reads, in their order.
    pub sightings: Vec<Sighting>,
}

/// What follows from several reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The last reads agree that it is not there.
    Absent,
    /// The last reads agree that it is there.
    Present,
    /// Time ran out before enough reads agreed. Ask again later, and assume neither.
    Undecided,
}

/// What one read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// When, counted from the first read.
    pub after: Duration,
    /// Whether it was there; `None` when the read failed, or did not find the application.
    pub seen: Option<bool>,
}

impl Confirmation {
    /// Tells whether enough reads agreed that it is there.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.verdict == Verdict::Present
    }

    /// Tells whether enough reads agreed that it is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.verdict == Verdict::Absent
    }

    /// Returns how often the application was read, failed reads included.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.sightings.len()
    }

    /// Counts how many reads at the end agree on `seen`.
    fn agreeing(&self, seen: bool) -> usize {
        let last = self.sightings.iter().rev();
        last.take_while(|one| one.seen == Some(seen)).count()
    }
}

impl Sought {
    fn is_on(&self, application: &Application) -> bool {
        let passwords = application.password_credentials.iter();
        let keys = application.key_credentials.iter();
        match self {
            Self::KeyId(id) => {
                let ids = passwords
                    .map(|it| it.key_id)
                    .chain(keys.map(|it| it.key_id));
                ids.flatten().any(|one| one == *id)
            }
            Self::DisplayName(name) => {
                let names = passwords.map(|it| &it.display_name);
                let names = names.chain(keys.map(|it| &it.display_name));
                names.flatten().any(|one| one == name)
            }
        }
    }
}

/// Reads until `policy.agree` reads in a row show that it is `wanted`, or the time is over.
pub(crate) async fn confirm(
    application: &ApplicationClient<'_>,
    sought: &Sought,
    policy: &ConfirmPolicy,
    wanted: bool,
) -> Result<Confirmation, GraphError> {
    let started = Instant::now();
    let mut confirmation = Confirmation {
        verdict: Verdict::Undecided,
        sightings: Vec::new(),
    };
    loop {
        let after = started.elapsed();
        let seen = look(application, sought).await?;
        confirmation.sightings.push(Sighting { after, seen });
        let enough = policy.agree.max(1) as usize;
        if confirmation.agreeing(wanted) >= enough {
            confirmation.verdict = if wanted {
                Verdict::Present
            } else {
                Verdict::Absent
            };
            return Ok(confirmation);
        }
        if started.elapsed() + policy.interval > policy.max_elapsed {
            if confirmation.agreeing(!wanted) >= enough {
                confirmation.verdict = if wanted {
                    Verdict::Absent
                } else {
                    Verdict::Present
                };
            }
            return Ok(confirmation);
        }
        sleep(policy.interval).await;
    }
}

/// Reads once. An application that is not found says nothing about its credentials: it, too, may lag.
async fn look(
    application: &ApplicationClient<'_>,
    sought: &Sought,
) -> Result<Option<bool>, GraphError> {
    let properties = ["id", "appId", "passwordCredentials", "keyCredentials"];
    match application.get_with(&properties).await {
        Ok(application) => Ok(Some(sought.is_on(&application))),
        Err(error) if error.is_transient() || error.kind() == GraphErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
