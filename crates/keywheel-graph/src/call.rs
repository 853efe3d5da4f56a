use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::traffic::Lane;

/// A request to Graph: what is asked, and what may be done with it when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What stands in logs.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) body: Bytes,
    pub(crate) eventual: bool,
    pub(crate) repeat: Repeat,
    /// The object that it writes to.
    pub(crate) lane: Option<Lane>,
    /// The resource units that Microsoft counts for it.
    pub(crate) units: u32,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A path and query below the version, beginning with a slash.
    Path(String),
    /// A link that Graph gave, to be followed verbatim.
    Link(String),
}

/// When a call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Repeat {
    /// Not here: whoever made the call sends it again.
    Never,
    /// When it certainly never left: its answer can't be had again (`addPassword`), or a second one would
    /// say something else (`removePassword`).
    IfUnsent,
    /// When it never left, or Graph said that it was not done: throttled, or in the way of another write.
    IfRefused,
    /// Whenever it may help: a read, or a write that twice has the effect of once.
    Freely,
}

impl Call {
    pub(crate) fn read(name: &'static str, path: Path) -> Self {
        Self {
            name,
            method: Method::GET,
            units: path.units(),
            target: Target::Path(path.text),
            body: Bytes::new(),
            eventual: path.eventual,
            repeat: Repeat::Freely,
            lane: None,
        }
    }

    /// Returns a `POST` that is sent again only when it certainly never left.
    pub(crate) fn post(name: &'static str, path: Path, body: &impl Serialize) -> Self {
        Self::write(Method::POST, name, path, body)
    }

    pub(crate) fn patch(name: &'static str, path: Path, body: &impl Serialize) -> Self {
        Self::write(Method::PATCH, name, path, body).repeat(Repeat::Freely)
    }

    pub(crate) fn delete(name: &'static str, path: Path) -> Self {
        let mut call = Self::read(name, path);
        call.method = Method::DELETE;
        call.units = 1;
        call
    }

    fn write(method: Method, name: &'static str, path: Path, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("request bodies have only text keys");
        Self {
            name,
            method,
            target: Target::Path(path.text),
            body: body.into(),
            eventual: path.eventual,
            repeat: Repeat::IfUnsent,
            lane: None,
            units: 1,
        }
    }

    /// Returns the same call for a link to the next page.
    pub(crate) fn follow(&self, link: String) -> Self {
        Self {
            target: Target::Link(link),
            ..self.clone()
        }
    }

    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Lets the call wait for other writes to the same object.
    pub(crate) fn on(mut self, lane: Lane) -> Self {
        self.lane = Some(lane);
        self
    }

    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET
    }
}

/// A path with its query, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    text: String,
    query: bool,
    selects: bool,
    small: bool,
    eventual: bool,
}

impl Path {
    /// Returns a path of these segments. Those that hold values from outside go through
    /// [`encode`](Self::encode) first.
    pub(crate) fn of(segments: &[&str]) -> Self {
        let mut text = String::with_capacity(96);
        for segment in segments {
            text.push('/');
            text.push_str(segment);
        }
        Self {
            text,
            query: false,
            selects: false,
            small: false,
            eventual: false,
        }
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.query { '&' } else { '?' });
        self.query = true;
        self.selects |= name == "$select";
        self.text.push_str(name);
        self.text.push('=');
        self.text
            .extend(utf8_percent_encode(value, SPECIAL_IN_QUERY));
        self
    }

    pub(crate) fn eventual(mut self) -> Self {
        self.eventual = true;
        self
    }

    /// Marks a page of fewer than twenty.
    pub(crate) fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// Encodes a key value: quotes doubled, everything beyond letters, digits and `-._~` in hexadecimal.
    pub(crate) fn encode(value: &str) -> String {
        utf8_percent_encode(&value.replace('\'', "''"), SPECIAL).to_string()
    }

    /// A read costs two units, one less with `$select`, one less for a small page.
    /// <https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits>
    fn units(&self) -> u32 {
        (2 - u32::from(self.selects))
            .saturating_sub(u32::from(self.small))
            .max(1)
    }
}

/// Everything but what RFC 3986 lets stand for itself anywhere.
const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What Graph's queries are made of stays readable.
const SPECIAL_IN_QUERY: &AsciiSet = &SPECIAL
    .remove(b',')
    .remove(b':')
    .remove(b'(')
    .remove(b')')
    .remove(b'\'')
    .remove(b'$')
    .remove(b'*');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_outside_stay_inside_their_place() {
        assert_eq!(
            Path::encode("it's a/../b?c#d"),
            "it%27%27s%20a%2F..%2Fb%3Fc%23d"
        );
        let path = Path::of(&["applications"]).query("$filter", "displayName eq 'a&b=c#d é+'");
        assert_eq!(
            path.text,
            "/applications?$filter=displayName%20eq%20'a%26b%3Dc%23d%20%C3%A9%2B'"
        );
    }

    #[test]
    fn units_are_counted_as_microsoft_counts_them() {
        let list = || Path::of(&["applications"]);
        let units = |path| Call::read("list", path).units;

        assert_eq!(units(list()), 2);
        assert_eq!(units(list().query("$select", "id")), 1);
        assert_eq!(
            units(list().query("$select", "id").query("$top", "5").small()),
            1
        );
    }
}
