use std::time::Duration;

/// A delay that spreads runs which are due at the same time, fixed for each id.
///
/// The same id and span always give the same delay, in every process and every release, so that the time
/// that was shown is the time of the run. It is `floor(h × span / 2⁶⁴)` in whole seconds, where `h` is the
/// FNV-1a hash (64 bits) of the id's bytes, finished with SplitMix64's mixer. In Python:
///
/// ```python
/// def delay(id: bytes, span: int) -> int:
///     h = 0xCBF29CE484222325
///     for byte in id:
///         h = (h ^ byte) * 0x100000001B3 % 2**64
///     h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
///     h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
///     h = h ^ h >> 31
///     return h * span >> 64
/// ```
///
/// ```
/// use std::time::Duration;
/// use keywheel_schedule::Jitter;
///
/// let jitter = Jitter::new("connection 42", Duration::from_hours(2));
/// assert_eq!(jitter.delay(), Duration::from_secs(4476));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Jitter {
    hash: u64,
    #[cfg_attr(feature = "serde", serde(with = "seconds"))]
    span: Duration,
}

#[cfg(feature = "serde")]
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(span.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

impl Jitter {
    /// Returns the delay of `id`, uniform over `span`: at least zero and less than `span`.
    #[must_use]
    pub fn new(id: &str, span: Duration) -> Self {
        Self {
            hash: spread(id, 0),
            span,
        }
    }

    /// Returns how much later than due this id runs.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_secs(scale(self.hash, self.span.as_secs()))
    }

    /// Returns the span that delays are spread over.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.span
    }

    /// The delay in seconds, spread over less where there is less room than the span.
    pub(crate) fn within(&self, seconds: u64) -> u64 {
        scale(self.hash, self.span.as_secs().min(seconds))
    }
}

/// Hashes an id to 64 bits that look random; another `salt`, other bits.
pub(crate) fn spread(id: &str, salt: u64) -> u64 {
    let fnv = id.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    // FNV alone leaves ids that differ in the last letter close together in the high bits.
    let mut hash = fnv.wrapping_add(salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// Scales a hash to `0..limit`.
pub(crate) fn scale(hash: u64, limit: u64) -> u64 {
    ((u128::from(hash) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: [(&str, u64, u64); 6] = [
        ("", 86400, 82742),
        ("a", 86400, 929),
        ("connection 42", 7200, 4476),
        ("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11", 14400, 11208),
        ("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f12", 14400, 1296),
        ("größe", 18446744073709551615, 13731609136773574631),
    ];

    #[test]
    fn delays_are_those_of_the_documented_formula() {
        // Computed with the Python of the documentation.
        for (id, span, delay) in VECTORS {
            let jitter = Jitter::new(id, Duration::from_secs(span));
            assert_eq!(jitter.delay().as_secs(), delay, "{id}");
        }
    }

    #[test]
    fn similar_ids_are_spread_evenly() {
        let mut buckets = [0_u32; 24];
        for id in 0..24_000 {
            let delay = Jitter::new(&format!("connection-{id}"), Duration::from_hours(24)).delay();
            buckets[(delay.as_secs() / 3600) as usize] += 1;
        }

        // A thousand each; the standard deviation is 31.
        assert!(
            buckets.iter().all(|count| (850..1150).contains(count)),
            "{buckets:?}"
        );
    }

    #[test]
    fn delays_stay_below_the_span_and_the_room() {
        for span in [0, 1, 2, u64::MAX] {
            let jitter = Jitter::new("x", Duration::from_secs(span));
            assert!(jitter.delay().as_secs() < span.max(1));
            assert!(jitter.within(60) < span.clamp(1, 60));
            assert_eq!(jitter.within(0), 0);
        }
    }
}
