//! keywheel's connections in PostgreSQL (13 and later), for any number of replicas.
//!
//! ```no_run
//! # async fn example() -> Result<(), keywheel_connection::StoreError> {
//! use keywheel_core::Secret;
//! use keywheel_postgres::PostgresStore;
//!
//! let url = Secret::new("postgres://keywheel:password@db.example.com/keywheel");
//! let store = PostgresStore::builder(url).open().await?;
//! # Ok(())
//! # }
//! ```
//!
//! * **Replicas need no other coordinator.** Due work is claimed by `FOR UPDATE SKIP LOCKED` over a narrow
//!   table, each claim with a fence; every save is a compare-and-swap under it. Leases run by the server's
//!   clock, which is one for all.
//! * **Saves share statements.** What many callers save while a task waits for the server goes into the
//!   next statement together, as arrays.
//! * **One statement, one round trip, one transaction.** Nothing is prepared by name and nothing is set for
//!   a session, so that PgBouncer may pool transactions. Only hints to poll at once need a session: see
//!   [`listen_at`](PostgresStoreBuilder::listen_at). Claims and saves are functions in the schema, whose plans
//!   a session keeps.
//! * **Upgrades roll.** A replica that starts brings the schema up to date; those that run go on with what
//!   they know, and an older one that starts afterwards is refused.
//! * **Acknowledged is durable**, even where the server's default for `synchronous_commit` is `off`.
//! * **The outbox misses nothing.** Positions are given in the order of commits.
//! * **Faults.** What collided with another transaction is run again; what can be read is read again on a
//!   new connection. A write whose answer was lost is reported, and not repeated: load and compare.
//! * **Failover.** Of several hosts in the URL the first that accepts writes is used. Each has its share of the
//!   [`answer_timeout`](PostgresStoreBuilder::answer_timeout), so that one that keeps silent is passed over. Once
//!   a write was refused by a server that has become read-only, and one that accepts writes was reached, no
//!   connection of before is used again; as long as none is reached, reads go on where they were.
//! * **The server's clock may be set back.** Leases that it gave before end: at once where they are next in line,
//!   and all others after a look at the whole narrow table, which takes 2 seconds for ten million connections
//!   and which no claim waits for. It runs on a connection of its own, once for each process too.
//!
//! # No maintenance by hand
//!
//! A rotation rewrites its record four times. `connection` leaves half of each page free for that, so that
//! the next version lands on the same page and no index is touched (HOT updates), and clears up as it goes.
//! In the narrow table `due` only claims and releases move an index entry; its autovacuum comes after so many
//! changes whatever its size, and does not pause. Its index holds only what is to wake. The journal is only
//! appended to.
//!
//! Ten million connections, all due at once and in no order (16 GB of records, 1.5 GB of `due` with its
//! indexes), were loaded into PostgreSQL 13 with its own settings. A claim of 64 looks at 64 rows and no more:
//!
//! ```text
//! Limit (actual rows=64)
//!   ->  LockRows (actual rows=64)
//!         ->  Index Scan using due_claimable on due (actual rows=64)
//!               Index Cond: (claimable_at <= $1)
//!               Buffers: shared hit=3 read=64
//! ```
//!
//! On two shared cores with 128 MB of shared buffers one claimer took 12 ms for that, durably: 5,000
//! connections a second, as many after 300,000 claims as at first, autovacuum running beside it. Most of it
//! goes into reading 64 pages of each table from anywhere.
//!
//! `KEYWHEEL_BENCH_ROWS=10000000 cargo bench -p benches --bench stores -- claims-postgres` loads as many (40 GB of
//! disk are needed) and makes claims beside the same ones in plain SQL, on the newest PostgreSQL that is
//! installed. `PG_BIN` chooses another one, for benchmarks and for tests: with the directory of its `initdb`,
//! `PG_BIN=/usr/lib/postgresql/13/bin cargo test -p keywheel-postgres --all-features`.

mod builder;
mod change;
mod company;
mod database;
mod dead_letters;
mod error;
mod link;
mod listener;
mod look;
mod pool;
mod queue;
mod row;
mod schema;
mod servers;
mod store;
mod task;
mod tls;
mod writer;

pub use self::builder::PostgresStoreBuilder;
pub use self::store::PostgresStore;
