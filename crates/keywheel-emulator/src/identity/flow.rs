use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{Refusal, page};
use crate::behaviour::Behaviours;
use crate::call::{Ids, Pairs, Reply};

/// A sign-in under way in a browser: what the application asked for, and who has signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) purpose: Purpose,
    /// The tenant as the path named it.
    pub(crate) place: String,
    pub(crate) client_id: Uuid,
    pub(crate) redirect_uri: String,
    pub(crate) platform: Platform,
    pub(crate) mode: Mode,
    pub(crate) state: Option<String>,
    pub(crate) scope: String,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) prompt: Option<String>,
    pub(crate) login_hint: Option<String>,
    /// Tenant and id of the user who has signed in.
    pub(crate) user: Option<(Uuid, Uuid)>,
    pub(crate) begun: DateTime<Utc>,
}

/// What a flow ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// An administrator's consent for the whole tenant.
    AdminConsent,
    /// An authorization code.
    Code,
}

/// As what a redirect URI is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Platform {
    Public,
    Spa,
    Web,
}

/// How the answer goes back to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    FormPost,
    Fragment,
    Query,
}

/// What the code's redemption must prove (RFC 7636).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Challenge {
    pub(crate) hashed: bool,
    pub(crate) value: String,
}

/// What the browser is told next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// A page.
    Page(StatusCode, String),
    /// Back to the application with an answer.
    Return {
        uri: String,
        mode: Mode,
        pairs: Pairs,
    },
}

impl Flow {
    /// Sends the browser back with an answer; the state goes with it.
    pub(crate) fn back(&self, pairs: &[(&str, &str)]) -> Next {
        let state = self.state.as_deref().map(|state| ("state", state));
        let pairs = pairs.iter().copied().chain(state);
        Next::Return {
            uri: self.redirect_uri.clone(),
            mode: self.mode,
            pairs: Pairs(
                pairs
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            ),
        }
    }

    /// Sends the browser back with an error.
    pub(crate) fn fail(
        &self,
        refusal: &Refusal,
        ids: Ids,
        now: DateTime<Utc>,
        behaviours: &Behaviours,
        origin: &str,
    ) -> Next {
        let description = refusal.description(ids, now, behaviours);
        let uri = format!("{origin}/error?code={}", refusal.code);
        let mut pairs = vec![
            ("error", refusal.error),
            ("error_description", &description),
        ];
        pairs.push(("error_uri", &uri));
        pairs.extend(refusal.suberror.map(|sub| ("error_subcode", sub)));
        if self.purpose == Purpose::AdminConsent {
            pairs.push(("admin_consent", "True"));
        }
        self.back(&pairs)
    }
}

impl Next {
    /// Returns the address that the browser is sent to; nothing for a page. What a form would post stands in
    /// the query.
    pub(crate) fn location(&self) -> Option<String> {
        let Self::Return { uri, mode, pairs } = self else {
            return None;
        };
        let mut url = Url::parse(uri).ok()?;
        match mode {
            Mode::Fragment => url.set_fragment(Some(&pairs.encoded())),
            Mode::FormPost | Mode::Query => {
                url.query_pairs_mut().extend_pairs(&pairs.0);
            }
        }
        Some(url.into())
    }

    pub(crate) fn reply(&self, cookie: Option<&str>) -> Reply {
        let mut reply = match self {
            Self::Page(status, html) => Reply::html(*status, html.clone()),
            Self::Return {
                uri,
                mode: Mode::FormPost,
                pairs,
            } => Reply::html(StatusCode::OK, page::form_post(uri, pairs)),
            Self::Return { uri, .. } => {
                Reply::redirect(&self.location().unwrap_or_else(|| uri.clone()))
            }
        };
        if let Some(session) = cookie {
            let value = format!("{SESSION}={session}; path=/; secure; HttpOnly; SameSite=None");
            reply.set(SET_COOKIE, &value);
        }
        reply
    }
}

/// The cookie that remembers who has signed in.
pub(crate) const SESSION: &str = "ESTSAUTH";
