//! keywheel's connections in one SQLite file: the store for one machine.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), keywheel_connection::StoreError> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("keywheel.db");
//! use keywheel_connection::{ConnectionStore, Page};
//! use keywheel_sqlite::SqliteStore;
//!
//! let store = SqliteStore::builder(path).open().await?;
//! assert_eq!(store.list(Page::of_all(10)).await?, []);
//! # Ok(())
//! # }
//! ```
//!
//! * **Durable.** The journal mode is WAL with `synchronous=FULL`: what was acknowledged is on the disk.
//!   A process or machine that dies at any point is recovered from by opening the file again.
//! * **Commits are shared.** One thread writes. What many callers save while it commits goes into the
//!   next commit together. Reads run beside it on connections of their own.
//! * **Polls are cheap.** Due work is found by an index over a narrow table of leases, whatever the number
//!   of connections.
//! * **Careful with files.** A new file gets mode 0600. A file that is not one of ours, or of a newer
//!   version, is refused without a byte written. Several processes may share a file on a local disk; on
//!   network file systems SQLite is not safe.
//!
//! # Beside your own SQLite
//!
//! A program links one SQLite, so that all of its crates must agree on a version of `libsqlite3-sys`. This
//! crate works with every rusqlite from 0.32 to 0.43, and Cargo picks the one that fits beside your own
//! rusqlite or sqlx (0.8 and 0.9).
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `bundled` | yes | compiles SQLite in, instead of linking the system's (3.38 or later) |

mod builder;
mod dead_letters;
mod error;
mod file;
mod read;
mod reader;
mod row;
mod schema;
mod store;
mod write;
mod writer;

pub use self::builder::SqliteStoreBuilder;
pub use self::store::SqliteStore;
