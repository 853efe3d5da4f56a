use std::hash::Hasher;

use chrono::TimeDelta;
use keywheel_connection::ConnectionId;

/// How long a trouble that needs a person is left alone before it is probed again.
pub(crate) const HALTED: TimeDelta = TimeDelta::hours(1);

/// How long to wait for a new secret to be known: 1, 2, 4, 8, then 15 seconds.
pub(crate) fn propagation(refusals: u32) -> TimeDelta {
    TimeDelta::seconds((1 << refusals.saturating_sub(1).min(4)).min(15))
}

/// How long to wait after the n-th failure in a row: 2 seconds, doubling up to an hour, give or take a
/// fifth. The jitter is hashed from the connection, so that connections that failed together do not
/// come back together, and a test can tell it in advance.
pub(crate) fn backoff(id: ConnectionId, attempts: u32) -> TimeDelta {
    let seconds = (2_i64 << attempts.saturating_sub(1).min(20)).min(3600);
    let spread = i64::from(hash(id, attempts) % 401) - 200;
    TimeDelta::milliseconds(seconds * (1000 + spread))
}

/// FNV-1a: the same on every machine and in every version.
fn hash(id: ConnectionId, attempts: u32) -> u32 {
    struct Fnv(u32);
    impl Hasher for Fnv {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        }
        fn finish(&self) -> u64 {
            self.0.into()
        }
    }
    let mut hasher = Fnv(0x811c_9dc5);
    hasher.write(id.as_uuid().as_bytes());
    hasher.write(&attempts.to_be_bytes());
    hasher.0
}
