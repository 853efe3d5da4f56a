use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

use crate::Entropy;

/// Ids for the requests of one client, as Entra and Graph take them in `client-request-id`: each another
/// one, and none of them a secret.
///
/// The first is drawn, and the others count on from it, which spares a system call for each. Clones share the
/// count.
#[derive(Clone, Debug, Default)]
pub struct RequestIds(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    first: OnceLock<[u8; 16]>,
    given: AtomicU64,
}

impl RequestIds {
    /// Where an id stands in a request. Entra and Graph log it, and Entra takes it for its correlation id.
    pub const HEADER: HeaderName = HeaderName::from_static("client-request-id");

    /// Returns the next id. The first call draws from `entropy`.
    #[must_use]
    pub fn next(&self, entropy: &dyn Entropy) -> Uuid {
        let first = *self.0.first.get_or_init(|| {
            let mut bytes = [0; 16];
            entropy.fill(&mut bytes);
            bytes
        });
        let given = self.0.given.fetch_add(1, Ordering::Relaxed);
        let bytes = u128::from_be_bytes(first).wrapping_add(given.into());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }

    /// Returns an id as it stands in `client-request-id`.
    ///
    /// # Panics
    ///
    /// Never: an id is digits and hyphens.
    #[must_use]
    pub fn header(id: Uuid) -> HeaderValue {
        let mut buffer = Uuid::encode_buffer();
        let text = id.hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(text).expect("hexadecimal digits and hyphens are a header value")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::SystemEntropy;

    #[derive(Debug)]
    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0xff);
        }
    }

    #[test]
    fn ids_are_version_4_and_differ_also_beyond_the_largest_number() {
        let ids = RequestIds::default();
        let seen: HashSet<_> = (0..1_000).map(|_| ids.clone().next(&Ones)).collect();

        assert_eq!(seen.len(), 1_000);
        assert!(seen.iter().all(|id| id.get_version_num() == 4));
    }

    #[test]
    fn two_clients_share_no_ids() {
        let (one, other) = (RequestIds::default(), RequestIds::default());

        assert_ne!(one.next(&SystemEntropy), other.next(&SystemEntropy));
    }
}
