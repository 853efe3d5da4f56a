use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use keywheel_connection::{
    Actor, ConnectionId, NewSecret, SealContext, SealError, SealErrorKind, Sealed, Sealer, Sealing,
    SecretSink, SinkError,
};
use keywheel_core::Secret;
use keywheel_rotation::{Connections, Policy, RotatorParts, Sinks};
use keywheel_testkit::SeededEntropy;

use super::faults::{Call, Fate};
use super::issuer::Issuer;
use super::mutant::Mutant;
use super::store::Store;
use super::world::{PEOPLE, ProcessClock, World};

/// A process's parts: its own clock, tokens and entropy, and the common store and directory.
pub(crate) fn parts(world: &World, process: usize) -> RotatorParts {
    let (seed, sinks) = {
        let state = &mut *world.state();
        (state.chance.next(), state.sinks)
    };
    let sink = |name| {
        let world = world.clone();
        let sink: Arc<dyn SecretSink> = Arc::new(Sink {
            world,
            process,
            name,
        });
        sink
    };
    let world = world.clone();
    RotatorParts {
        sinks: Sinks {
            before: sinks.then(|| sink(BEFORE)).into_iter().collect(),
            after: sinks.then(|| sink(AFTER)).into_iter().collect(),
        },
        store: Arc::new(Store {
            world: world.clone(),
            process,
        }),
        issuer: Arc::new(Issuer::new(world.clone(), process)),
        sealer: Arc::new(Envelopes(world.clone(), process)),
        clock: Arc::new(ProcessClock { world, process }),
        entropy: Arc::new(SeededEntropy::new(seed)),
        events: None,
    }
}

/// The sink that must have a secret before it is used, and the one that gets it afterwards.
pub(crate) const BEFORE: &str = "before";
pub(crate) const AFTER: &str = "after";

/// What holds for every rotation in the simulation.
pub(crate) fn policy(sinks: bool) -> Policy {
    let mut policy = Policy::default();
    if sinks {
        policy.sinks_before = vec![BEFORE.to_owned()];
        policy.sinks_after = vec![AFTER.to_owned()];
    }
    policy
}

/// Seals without hiding: what a sealer is for is tested elsewhere. The context is kept, so that what was
/// sealed for one generation does not open for another.
struct Envelopes(World, usize);

const KEY: &str = "plain";

impl Sealer for Envelopes {
    fn seal<'a>(&'a self, secret: &'a Secret, context: &'a SealContext<'_>) -> Sealing<'a, Sealed> {
        Sealing::later(async move {
            self.reach().await?;
            let another = u64::from(self.0.is(Mutant::SealsForAnother));
            let mut data = head(context.connection, context.generation + another);
            data.extend_from_slice(secret.expose().as_bytes());
            Ok(Sealed::new(KEY, data))
        })
    }

    fn open<'a>(&'a self, sealed: &'a Sealed, context: &'a SealContext<'_>) -> Sealing<'a, Secret> {
        Sealing::later(async move {
            self.reach().await?;
            let text = opened(sealed, context.connection, context.generation);
            let text = text.ok_or_else(|| SealError::new(SealErrorKind::Damaged, KEY))?;
            Ok(Secret::new(text))
        })
    }

    fn key_id(&self) -> &str {
        KEY
    }
}

impl Envelopes {
    async fn reach(&self) -> Result<(), SealError> {
        let fate = self.0.begin(self.1, Call::Seal).await;
        if self.0.state().keyless {
            return Err(SealError::new(SealErrorKind::KeyMissing, KEY));
        }
        match fate {
            Fate::Fine => Ok(()),
            _ => Err(SealError::new(SealErrorKind::Unavailable, KEY)),
        }
    }
}

impl fmt::Debug for Envelopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelopes").finish_non_exhaustive()
    }
}

fn head(connection: ConnectionId, generation: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(48);
    head.extend_from_slice(connection.as_uuid().as_bytes());
    head.extend_from_slice(&generation.to_be_bytes());
    head
}

/// Opens what was sealed for a generation of a connection, and nothing else.
pub(crate) fn opened(sealed: &Sealed, connection: ConnectionId, generation: u64) -> Option<String> {
    let text = sealed
        .data()
        .strip_prefix(head(connection, generation).as_slice())?;
    String::from_utf8(text.to_vec()).ok()
}

/// Takes secrets at a place that is away at times.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) world: World,
    pub(crate) process: usize,
    pub(crate) name: &'static str,
}

impl Sink {
    fn is_given_up_now(&self) -> bool {
        let state = &mut *self.world.state();
        state.faults.sink > 0 && state.chance.one_in(6)
    }

    /// Somebody gives the rotation up while its secret is handed over, and nothing in the record says that
    /// it was.
    fn give_up(&self, id: ConnectionId) {
        let connections = Connections::new(parts(&self.world, PEOPLE), Policy::default());
        let actor = Actor::named("test");
        let asked = connections.abort(id, &actor).now_or_never();
        let asked = asked.map(|asked| asked.map_err(|error| error.kind()));
        self.world
            .note(PEOPLE, format_args!("abort meanwhile: {asked:?}"));
    }
}

#[async_trait]
impl SecretSink for Sink {
    fn name(&self) -> &str {
        self.name
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let fate = self.world.begin(self.process, Call::Publish).await;
        let arrives = matches!(fate, Fate::Fine | Fate::AnswerLost | Fate::CrashAfter);
        if arrives {
            let now = self.world.now();
            self.world.state().published(now, self.name, new);
            if self.name == BEFORE && self.is_given_up_now() {
                self.give_up(new.connection.id);
            }
        }
        self.world.end(self.process, fate).await;
        if arrives && fate != Fate::AnswerLost {
            Ok(())
        } else {
            Err(SinkError::new("the sink is away; it is tried again"))
        }
    }
}
