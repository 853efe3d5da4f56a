use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::SecretText;
use crate::behaviour::{Behaviours, Event, Seen, Span};
use crate::certificate::Certificate;
use crate::secret_text::exposed;

/// A password credential: a client secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Password {
    pub(crate) key_id: Uuid,
    pub(crate) display_name: Option<String>,
    #[serde(with = "exposed")]
    pub(crate) text: SecretText,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) history: History,
}

/// A key credential: a registered certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) key_id: Uuid,
    pub(crate) display_name: Option<String>,
    pub(crate) certificate: Certificate,
    /// Base64; the thumbprint unless the client chose another.
    pub(crate) identifier: Option<String>,
    pub(crate) usage: String,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) history: History,
}

impl Key {
    /// Registers a certificate for as long as it is valid itself.
    pub(crate) fn of(
        certificate: Certificate,
        key_id: Uuid,
        display_name: Option<String>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            display_name: display_name.or_else(|| Some(certificate.subject.clone())),
            identifier: Some(STANDARD.encode(&certificate.sha1)),
            usage: "Verify".to_owned(),
            start: certificate.not_before,
            end: certificate.not_after,
            history: History::starting(now),
            certificate,
        }
    }
}

/// A federated identity credential: trust in another issuer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Federated {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) description: Option<String>,
    pub(crate) history: History,
}

/// When a credential came and went. What went is kept until every replica has heard of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) added: DateTime<Utc>,
    pub(crate) removed: Option<DateTime<Utc>>,
}

impl History {
    pub(crate) fn starting(at: DateTime<Utc>) -> Self {
        Self {
            added: at,
            removed: None,
        }
    }

    /// Tells whether it is there, in truth.
    pub(crate) fn present(self) -> bool {
        self.removed.is_none()
    }

    /// Tells whether the token endpoint's replica goes by it.
    pub(crate) fn in_token_service(self, id: Uuid, behaviours: &Behaviours, seen: Seen) -> bool {
        self.visible(
            id,
            behaviours,
            seen,
            behaviours.secret_propagation,
            behaviours.removal_propagation,
        )
    }

    /// Tells whether a Graph read shows it.
    pub(crate) fn in_reads(self, id: Uuid, behaviours: &Behaviours, seen: Seen) -> bool {
        self.visible(
            id,
            behaviours,
            seen,
            behaviours.read_lag,
            behaviours.read_lag,
        )
    }

    /// Tells whether a Graph write finds it.
    pub(crate) fn in_writes(self, id: Uuid, behaviours: &Behaviours, seen: Seen) -> bool {
        self.present()
            && behaviours.arrived(behaviours.write_lag, id, Event::Added, self.added, seen)
    }

    fn visible(
        self,
        id: Uuid,
        behaviours: &Behaviours,
        seen: Seen,
        adding: Span,
        removing: Span,
    ) -> bool {
        let come = behaviours.arrived(adding, id, Event::Added, self.added, seen);
        let gone = self
            .removed
            .is_some_and(|at| behaviours.arrived(removing, id, Event::Removed, at, seen));
        come && !gone
    }
}
