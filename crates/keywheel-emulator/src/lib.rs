#![doc = include_str!("../README.md")]

mod admin;
mod behaviour;
mod builder;
mod call;
mod certificate;
mod clock;
mod directory;
mod dispatch;
mod emulator;
mod fault;
mod graph;
mod hand;
mod identity;
mod issuer;
mod jwt;
mod keys;
mod log;
mod material;
mod random;
mod route;
mod secret_text;
mod seed;
mod server;
mod snapshot;
mod tls;
mod world;

pub use self::behaviour::{Behaviours, Concurrency, ConflictAnswer, OwnedByReads, Span, Throttle};
pub use self::builder::{Builder, StartError};
pub use self::clock::Clock;
pub use self::emulator::{AddedSecret, DefaultApp, Emulator, SecretInfo};
pub use self::fault::{Action, Fault, InjectedFault};
pub use self::hand::Unknown;
pub use self::issuer::ExternalIssuer;
pub use self::log::{Effect, EffectRecord, RequestRecord};
pub use self::material::{InvalidKeyMaterial, KeyMaterial};
pub use self::route::{Route, UnknownRoute};
pub use self::secret_text::SecretText;
pub use self::seed::{
    ApplicationSeed, CertificateSeed, FederatedSeed, InvalidSeed, IssuerSeed, PolicySeed,
    SecretSeed, Seed, TenantSeed, UserSeed,
};
pub use self::snapshot::{InvalidSnapshot, Snapshot};
