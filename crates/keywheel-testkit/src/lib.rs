//! What keywheel's own tests share: a clock that runs with tokio's, entropy from a seed, a log that can be
//! searched for secrets, other processes, a load for stores, and a PostgreSQL server. Not published.

mod child;
mod claimers;
mod clock;
mod entropy;
mod figures;
pub mod fixture;
mod load;
mod logs;
mod mishaps;
#[cfg(unix)]
mod postgres;
mod secrets;

pub use self::child::Child;
pub use self::claimers::{
    check_a_stopped_holder_is_fenced_off, check_claimers_in_four_processes, claim_with_others,
    write_with_an_old_lease,
};
pub use self::clock::TokioClock;
pub use self::entropy::SeededEntropy;
pub use self::figures::figure;
pub use self::load::{Ack, Acks, load};
pub use self::logs::{CapturedLogs, secret_in, watch_logs};
pub use self::mishaps::{MEDDLING, check_damaged_records, check_full_disk, check_meddling};
#[cfg(unix)]
pub use self::postgres::{PgBouncer, PostgresOptions, PostgresServer, TestDatabase};
pub use self::secrets::Secrets;

/// Returns how many cases a suite runs: `full` when the whole is asked for by the environment variable
/// `KEYWHEEL_TEST_FULL`, and else `plain`.
#[must_use]
pub fn cases(plain: u32, full: u32) -> u32 {
    if std::env::var_os("KEYWHEEL_TEST_FULL").is_some() {
        full
    } else {
        plain
    }
}
