use serde_json::Value;

use super::body::{Body, cut};

/// A refusal that callers treat by itself, whatever status it came with.
///
/// Recognised by Graph's code, and where that is a general one, by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// What was to be added is there already.
    AlreadyExists,
    /// The proof of possession does not hold: `addKey` and `removeKey` want one that is signed with a
    /// certificate that is registered and valid now.
    BadProof,
    /// An app-management policy forbids this kind of credential.
    CredentialTypeForbidden,
    /// Other writes to the directory were going on: 409 and 503 with the code
    /// `Directory_ConcurrencyViolation`, and 400 with only the words. Nothing was done.
    ConcurrentWrites,
    /// The call is for signed-in users: `/me` with an application's own token.
    DelegatedOnly,
    /// The link to the next page has ended. Begin the list again.
    ExpiredPage,
    /// An app-management policy does not allow a lifetime this long.
    LifetimeTooLong,
    /// The application instance property lock keeps credentials off the service principal: change those of
    /// the application.
    LockedServicePrincipal,
    /// The object holds too much: old credentials must go first.
    ObjectTooLarge,
    /// The caller may not create more objects.
    QuotaExceeded,
    /// An application whose audience includes personal accounts holds two secrets at most.
    TooManySecrets,
    /// There is no credential with this key id where it was answered. Within minutes of adding one that may
    /// be wrong, so it is no proof of absence: see
    /// [`confirm_absent`](crate::ApplicationClient::confirm_absent).
    UnknownKey,
}

impl Refusal {
    pub(super) fn of(body: &Body) -> Option<Self> {
        let by_code = body.code.as_deref().and_then(of_code);
        by_code.or_else(|| of_words(body.message.as_deref()?))
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::AlreadyExists => "it is there already; nothing needs to be done",
            Self::BadProof => {
                "sign the proof with the private key of a certificate that is registered on the application and \
                 valid now, for the application's object id"
            }
            Self::CredentialTypeForbidden => {
                "the tenant's app-management policy forbids this kind of credential; use a certificate or a \
                 federated credential, or have the policy changed or the application exempted"
            }
            Self::ConcurrentWrites => "another change was going on; try again in a moment",
            Self::DelegatedOnly => {
                "ask with a signed-in user's token, not with the application's own"
            }
            Self::ExpiredPage => "begin the list again",
            Self::LifetimeTooLong => {
                "the tenant's app-management policy limits lifetimes; choose an earlier end date"
            }
            Self::LockedServicePrincipal => {
                "the service principal's credentials are locked; change those of the application object"
            }
            Self::ObjectTooLarge => "remove credentials that have expired, then try again",
            Self::QuotaExceeded => {
                "delete objects that are no longer needed, or have the caller's quota raised"
            }
            Self::TooManySecrets => {
                "an application that serves personal accounts holds two secrets at most; remove one first"
            }
            Self::UnknownKey => {
                "no replica is bound to know it within minutes of its creation; read the application several \
                 times before taking it for gone"
            }
        }
    }
}

fn of_code(code: &str) -> Option<Refusal> {
    Some(match code {
        "Authentication_MissingOrMalformed" => Refusal::BadProof,
        "CannotUpdateLockedServicePrincipalProperty" => Refusal::LockedServicePrincipal,
        "CredentialInvalidLifetimeAsPerAppPolicy" => Refusal::LifetimeTooLong,
        "CredentialTypeNotAllowedAsPerAppPolicy" => Refusal::CredentialTypeForbidden,
        "Directory_ConcurrencyViolation" => Refusal::ConcurrentWrites,
        "Directory_ExpiredPageToken" => Refusal::ExpiredPage,
        "Directory_QuotaExceeded" => Refusal::QuotaExceeded,
        "Directory_ResourceSizeExceeded" => Refusal::ObjectTooLarge,
        "Request_MultipleObjectsWithSameKeyValue" => Refusal::AlreadyExists,
        "TooManyAppPasswords" => Refusal::TooManySecrets,
        _ => return None,
    })
}

/// The words that several published clients match, for lack of a code of their own.
fn of_words(words: &str) -> Option<Refusal> {
    let words = words.to_ascii_lowercase();
    let holds = |part| words.contains(part);
    if holds("concurrent requests") {
        Some(Refusal::ConcurrentWrites)
    } else if words.starts_with("no password credential found with keyid")
        || words.starts_with("no key credential found with keyid")
    {
        Some(Refusal::UnknownKey)
    } else if holds("object references already exist") || holds("already exists") {
        Some(Refusal::AlreadyExists)
    } else if holds("size of the object has exceeded its limit") {
        Some(Refusal::ObjectTooLarge)
    } else if holds("only valid with delegated authentication flow") {
        Some(Refusal::DelegatedOnly)
    } else {
        None
    }
}

/// One objection of an error: a code, Graph's words, and what they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    code: Option<String>,
    message: Option<String>,
    target: Option<String>,
}

impl Detail {
    pub(super) fn of(detail: &Value) -> Self {
        let text = |name: &str, limit| detail[name].as_str().map(|text| cut(text, limit));
        Self {
            code: text("code", 100),
            message: text("message", 300),
            target: text("target", 100),
        }
    }

    /// Returns the code, as in `InvalidKeyEndDate`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns Graph's own words, at most 300 characters of them.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Returns what it is about, as in `EndDate`.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}
