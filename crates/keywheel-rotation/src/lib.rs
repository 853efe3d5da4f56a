//! The rotation engine.
//!
//! [`decide`] is the whole state machine, and pure: it looks at a
//! [`Connection`](keywheel_connection::Connection), the time and a [`Policy`], and names the next
//! [`Step`]. [`Rotator`] carries a step out and saves what came of it with a precondition. [`Worker`]
//! claims what is due and drives many connections at once. Everything that they need comes through ports:
//! the store, the issuer, the sealer, the clock.
//!
//! # The order of things
//!
//! 1. An *intent* with a unique marker is stored before `addPassword` is called. So a secret whose
//!    answer was lost can be found by its display name, and is removed.
//! 2. The new secret is stored, sealed, before anything is done with it.
//! 3. It is *proven*: fresh tokens with exactly this secret, several in a row over a span, and a read
//!    of the own application with the last one.
//! 4. It is *promoted* by compare-and-swap, and the replaced secret becomes a *debt*.
//! 5. The debt is paid after its grace: the replaced secret is removed by its key id, again and again
//!    until the directory has said so or several reads agree.
//!
//! An emergency is not another way to rotate but another [`Cause`](keywheel_connection::Cause): the same order,
//! in either [`Mode`](keywheel_connection::Mode), without a grace.
//!
//! A process that stops between any two of these loses nothing: the record says how far it got.
//!
//! `STATES.md` beside this crate's manifest draws the states, and `FAULTS.md` lists what can go wrong at each
//! point, what happens then, and the test that shows it.
//!
//! # Who else hears of it
//!
//! * [`EventDelivery`] takes every event from the store's outbox to an [`EventHandler`], at least once and
//!   in order: [`TracingEvents`], [`EventChannel`], a signed [`Webhook`], or one of your own. What a receiver
//!   never took is kept as a [`DeadLetter`](keywheel_connection::DeadLetter), and sent again when asked.
//! * New secrets go to [`SecretSink`](keywheel_connection::SecretSink)s: [`FileSink`], [`CommandSink`],
//!   [`CallbackSink`], or one of your own.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `metrics` | no | counters, gauges and histograms through the `metrics` facade; `METRICS.md` beside the sources lists them, with alert rules and a dashboard in `monitoring/` |

mod apply;
mod authority;
mod connections;
mod decide;
mod delivery;
mod failure;
mod history;
mod metrics;
mod plan;
mod policy;
mod retry;
mod rotator;
mod sinks;
mod status;
mod step_name;
mod worker;

pub use self::connections::{
    ConnectionError, ConnectionErrorKind, Connections, Disabled, Farewell, LiveSecrets,
    NewConnection, NewManaged, Requested, Validated,
};
pub use self::decide::{Step, Waiting, decide, next_due};
pub use self::delivery::{
    DeliveryOptions, DeliveryWaker, EventChannel, EventDelivery, EventHandler, HandleError,
    InvalidWebhook, InvalidWebhookKey, TracingEvents, Webhook, WebhookKey,
};
pub use self::history::{Ending, History, PastRotation, PastStep};
#[cfg(feature = "metrics")]
pub use self::metrics::{METRICS, Metric, MetricKind, describe_metrics};
pub use self::plan::{Call, Plan, PlannedCall};
pub use self::policy::Policy;
pub use self::rotator::{
    Advance, RotateError, RotateErrorKind, Rotator, RotatorParts, Sinks, Work,
};
pub use self::sinks::{CallbackSink, CommandSink, FileSink, OwnedSecret};
pub use self::status::{Health, Status};
pub use self::worker::{Worker, WorkerEnded, WorkerHealth, WorkerMonitor, WorkerOptions};
