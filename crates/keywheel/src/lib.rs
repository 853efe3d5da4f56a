//! Azure (Microsoft Entra) connections whose client secret rotates itself.
//!
//! [`Keywheel`] wires the default parts together: reqwest and rustls for HTTP, Entra and Microsoft Graph
//! behind them, the system's clock, and a store and a sealer of your choice. Everything else is a
//! re-export: each crate is a module here, and each item has this one path.
//!
//! ```no_run
//! use keywheel::Keywheel;
//! use keywheel::connection::{Actor, KeyRing, RotationSettings};
//! use keywheel::core::TokenRequest;
//! use keywheel::rotation::NewConnection;
//! use keywheel::schedule::Schedule;
//! use keywheel::sqlite::SqliteStore;
//!
//! # async fn run(secret: String, key: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteStore::builder("keywheel.db").open().await?;
//! let keywheel = Keywheel::builder(store, KeyRing::from_base64(key)?).build()?;
//!
//! let schedule = Schedule::builder()
//!     .every_days(30)
//!     .at("02:30".parse()?)
//!     .zone("Europe/Berlin")
//!     .anchor("2026-11-01".parse()?)
//!     .build()?;
//! let new = NewConnection::client_secret(
//!     "production".parse()?,
//!     "contoso.onmicrosoft.com".parse()?,
//!     "11111111-2222-3333-4444-555555555555".parse()?,
//!     keywheel::core::ClientSecret::new(secret)?,
//! )
//! .rotating(RotationSettings::new(schedule));
//! let created = keywheel.connections().create(new, &Actor::named("setup")).await?;
//!
//! // In every replica: drives what is due until the program is told to end.
//! let worker = keywheel.worker();
//! # let terminated = async {};
//! let working = tokio::spawn(worker.run(terminated));
//!
//! let credential = keywheel.credential(created.connection.id).await?;
//! # let _ = (credential, working);
//! # Ok(())
//! # }
//! ```
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sqlite` | yes | [`sqlite`], the embedded store |
//! | `postgres` | no | [`postgres`], the store for any number of replicas |
//! | `encrypted-keys` | no | certificates with private keys that a password protects |
//! | `pfx` | no | certificates in PKCS#12 (PFX) archives |
//! | `metrics` | no | metrics of the engine and the worker, through the `metrics` facade |

mod builder;

pub use keywheel_connection as connection;
pub use keywheel_core as core;
pub use keywheel_credentials as credentials;
pub use keywheel_entra as entra;
pub use keywheel_graph as graph;
#[cfg(feature = "postgres")]
pub use keywheel_postgres as postgres;
pub use keywheel_rotation as rotation;
pub use keywheel_schedule as schedule;
#[cfg(feature = "sqlite")]
pub use keywheel_sqlite as sqlite;

pub use self::builder::{Keywheel, KeywheelBuilder};
