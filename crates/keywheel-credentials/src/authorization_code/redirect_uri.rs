use thiserror::Error;
use url::{Host, Url};

/// Where Entra sends the browser back to. The text is kept as it was given, because Entra compares it
/// letter by letter with what is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedirectUri(String);

/// A redirect URI that Entra would refuse.
/// Rules: <https://learn.microsoft.com/entra/identity-platform/reply-url>.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("redirect URI: {problem}")]
pub struct InvalidRedirectUri {
    problem: &'static str,
}

const LONGEST: usize = 256;

impl RedirectUri {
    pub(super) fn new(text: String) -> Result<Self, InvalidRedirectUri> {
        match problem(&text) {
            Some(problem) => Err(InvalidRedirectUri { problem }),
            None => Ok(Self(text)),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn problem(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else {
        return Some("expected an absolute address such as https://app.example/callback");
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
    if !secure {
        Some("the code would travel in the clear: use https (http is for localhost and 127.0.0.1)")
    } else if matches!(url.host(), Some(Host::Ipv6(_))) {
        Some("Entra takes no IPv6 address: use localhost or a name")
    } else if url.fragment().is_some() {
        Some("leave the fragment out")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("leave the user name and password out")
    } else if text.len() > LONGEST {
        Some("Entra takes 256 characters at most")
    } else {
        None
    }
}

fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1"))
}
