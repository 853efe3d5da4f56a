use std::fmt::Debug;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::{Builder, Uuid};

/// Gives unpredictable bytes, for markers, `state` values and jitter.
///
/// A seam, so that a simulation can be replayed from its seed. Production code uses [`SystemEntropy`];
/// anything predictable in its place makes OAuth `state` guessable.
pub trait Entropy: Debug + Send + Sync {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// Returns a random (version 4) UUID.
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Returns a UUID of `now` (version 7, RFC 9562, section 5.7): 74 bits are random, and those made later are
    /// greater.
    ///
    /// For what is stored: rows that were made together then stand together in an index, and come up together
    /// too, so that work on them meets few of its pages.
    fn uuid_of(&self, now: DateTime<Utc>) -> Uuid {
        let mut bytes = [0; 10];
        self.fill(&mut bytes);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    /// Returns a number that is uniform over `0.0..1.0`.
    fn unit(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // 53 bits are what an f64 holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let mantissa = (u64::from_le_bytes(bytes) >> 11) as f64;
        mantissa / (1_u64 << 53) as f64
    }
}

impl<T: Entropy + ?Sized> Entropy for Arc<T> {
    fn fill(&self, buffer: &mut [u8]) {
        (**self).fill(buffer);
    }
}

/// The random generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemEntropy;

impl SystemEntropy {
    /// Returns the random generator of the operating system.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    ///
    /// Panics when the operating system has no random source, as every TLS library does.
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system provides random bytes");
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn unit_stays_below_one() {
        assert_eq!(Fixed(0).unit().to_bits(), 0.0_f64.to_bits());
        assert!(Fixed(0xff).unit() < 1.0, "{}", Fixed(0xff).unit());
    }

    #[test]
    fn uuids_are_version_4_and_differ() {
        let (first, second) = (SystemEntropy.uuid(), SystemEntropy.uuid());

        assert_eq!(first.get_version_num(), 4);
        assert_ne!(first, second);
    }

    #[test]
    fn uuids_of_a_time_differ_and_come_in_its_order() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let uuid = |millis| SystemEntropy.uuid_of(now + TimeDelta::milliseconds(millis));

        assert_eq!(uuid(0).get_version_num(), 7);
        assert_ne!(uuid(0), uuid(0));
        assert!(uuid(0) < uuid(1));
        let before_1970 = DateTime::UNIX_EPOCH - TimeDelta::days(1);
        assert_eq!(SystemEntropy.uuid_of(before_1970).get_version_num(), 7);
    }
}
