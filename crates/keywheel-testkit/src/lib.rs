//! What keywheel's own tests share: a clock that runs with tokio's, entropy from a seed, a log that can be
//! searched for secrets, and a PostgreSQL server. Not published.

mod clock;
mod entropy;
mod logs;
#[cfg(unix)]
mod postgres;

pub use self::clock::TokioClock;
pub use self::entropy::SeededEntropy;
pub use self::logs::CapturedLogs;
#[cfg(unix)]
pub use self::postgres::{PostgresOptions, PostgresServer, TestDatabase};

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
