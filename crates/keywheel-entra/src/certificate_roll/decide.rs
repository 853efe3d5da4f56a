//! What follows from what is registered. No clock, no network.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use keywheel_credentials::Certificate;
use keywheel_graph::KeyCredential;

/// What is seen of the application.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    pub(super) registered: &'a [KeyCredential],
    pub(super) current: &'a Certificate,
    pub(super) next: &'a Certificate,
    pub(super) now: DateTime<Utc>,
    /// Graph has refused a proof by the current certificate.
    pub(super) refused: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The new certificate is registered: it has this key id.
    Take(KeyId),
    /// The current certificate vouches for the new one.
    Vouch,
    /// It can't, so the list is written.
    Write(NoProof),
}

/// Why the current certificate can't vouch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoProof {
    Ended(DateTime<Utc>),
    NotRegistered,
    NotYetValid(DateTime<Utc>),
    Refused,
}

impl Sight<'_> {
    pub(super) fn decide(&self) -> Step {
        let step = ids(self.registered, self.next).next().map(Step::Take);
        step.unwrap_or_else(|| self.no_proof().map_or(Step::Vouch, Step::Write))
    }

    fn no_proof(&self) -> Option<NoProof> {
        let mut same = self.registered.iter().filter(|key| is(key, self.current));
        let Some(first) = same.next() else {
            return Some(NoProof::NotRegistered);
        };
        let end_of = |key: &KeyCredential| {
            let end = key.end_date_time.unwrap_or(DateTime::<Utc>::MAX_UTC);
            end.min(self.current.not_after())
        };
        let end = same.map(end_of).fold(end_of(first), DateTime::max);
        if self.refused {
            Some(NoProof::Refused)
        } else if self.now < self.current.not_before() {
            Some(NoProof::NotYetValid(self.current.not_before()))
        } else {
            (end <= self.now).then_some(NoProof::Ended(end))
        }
    }
}

/// Returns the key ids of a certificate, the least one first: it may have been registered twice by hand.
pub(super) fn ids(
    registered: &[KeyCredential],
    certificate: &Certificate,
) -> impl Iterator<Item = KeyId> {
    let same = registered.iter().filter(|key| is(key, certificate));
    let mut ids: Vec<_> = same.filter_map(|key| key.key_id).collect();
    ids.sort();
    ids.into_iter()
}

/// Tells whether an entry is this certificate: by its bytes, and only where Graph leaves them out by what it
/// says of them, since whoever registers a certificate may say what they like.
pub(super) fn is(key: &KeyCredential, certificate: &Certificate) -> bool {
    match &key.key {
        Some(bytes) => BASE64_STANDARD
            .decode(bytes)
            .is_ok_and(|bytes| bytes == certificate.der()),
        None => key.thumbprint() == Some(certificate.thumbprint()),
    }
}

impl fmt::Display for NoProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(end) => write!(f, "the current certificate ended on {end}"),
            Self::NotRegistered => f.write_str("the current certificate is not registered"),
            Self::NotYetValid(begin) => write!(f, "the current certificate begins on {begin}"),
            Self::Refused => f.write_str("Graph refused the current certificate's proof"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn made() -> Certificate {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(["app".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let certificate = params.self_signed(&key).unwrap().pem();
        Certificate::read((certificate + &key.serialize_pem()).as_bytes(), None).unwrap()
    }

    fn entry(key: Value, identifier: &str, end: Value) -> KeyCredential {
        let entry = json!({
            "keyId": ID, "key": key, "customKeyIdentifier": identifier, "endDateTime": end,
        });
        serde_json::from_value(entry).unwrap()
    }

    fn registered(certificate: &Certificate) -> KeyCredential {
        let bytes = json!(BASE64_STANDARD.encode(certificate.der()));
        entry(bytes, &certificate.thumbprint(), Value::Null)
    }

    #[test]
    fn bytes_say_which_certificate_it_is_and_the_identifier_only_where_there_are_none() {
        let (ours, other) = (made(), made());
        let print = ours.thumbprint();
        let bytes = |one: &Certificate| json!(BASE64_STANDARD.encode(one.der()));

        assert!(is(&entry(bytes(&ours), "anything", Value::Null), &ours));
        assert!(is(&entry(Value::Null, &print, Value::Null), &ours));
        assert!(!is(&entry(bytes(&other), &print, Value::Null), &ours));
        assert!(!is(&entry(json!("?"), &print, Value::Null), &ours));
        assert!(!is(&entry(Value::Null, "", Value::Null), &ours));
    }

    #[test]
    fn the_current_certificate_vouches_while_it_is_registered_and_valid() {
        let (current, next) = (made(), made());
        let decide = |registered: &[KeyCredential], now, refused| {
            let (current, next) = (&current, &next);
            let sight = Sight {
                registered,
                current,
                next,
                now,
                refused,
            };
            sight.decide()
        };
        let (begin, end) = (current.not_before(), current.not_after());
        let (early, late) = (begin - TimeDelta::seconds(1), end - TimeDelta::seconds(1));
        let there = [registered(&current)];

        assert_eq!(decide(&there, late, false), Step::Vouch);
        assert_eq!(decide(&there, end, false), Step::Write(NoProof::Ended(end)));
        assert_eq!(
            decide(&there, early, false),
            Step::Write(NoProof::NotYetValid(begin))
        );
        assert_eq!(decide(&there, late, true), Step::Write(NoProof::Refused));
        assert_eq!(
            decide(&[], late, false),
            Step::Write(NoProof::NotRegistered)
        );
        // Graph may end it before its time.
        let cut = json!(begin + TimeDelta::days(1));
        let shorter = [entry(Value::Null, &current.thumbprint(), cut)];
        let ended = NoProof::Ended(begin + TimeDelta::days(1));
        assert_eq!(decide(&shorter, late, false), Step::Write(ended));
        // The new one is taken, however it came there.
        let both = [registered(&current), registered(&next)];
        let id = ID.parse().unwrap();
        for (now, refused) in [(early, false), (late, false), (end, true)] {
            assert_eq!(decide(&both, now, refused), Step::Take(id));
        }
    }
}
