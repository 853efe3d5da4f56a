use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Uri;
use http::uri::Authority;
use reqwest::Url;
use url::ParseError;

/// The last addresses, as reqwest takes them.
///
/// It parses each address anew, which takes a thirtieth of a request to a server near by. A service asks the
/// same token endpoint, and reads and writes the same application, many times in a row.
#[derive(Default)]
pub(super) struct Addresses(Mutex<VecDeque<(Uri, Url)>>);

/// More than a rotation goes to.
const MOST: usize = 8;

impl Addresses {
    /// Returns `uri` in the form of reqwest.
    pub(super) fn url(&self, uri: &Uri) -> Result<Url, ParseError> {
        // What has a query is a page of a list, and comes once.
        if uri.query().is_some() {
            return parse(uri);
        }
        if let Some(url) = find(&self.known(), uri) {
            return Ok(url);
        }
        let url = parse(uri)?;
        let mut known = self.known();
        known.truncate(MOST - 1);
        known.push_front((uri.clone(), url.clone()));
        Ok(url)
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<(Uri, Url)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(known: &VecDeque<(Uri, Url)>, uri: &Uri) -> Option<Url> {
    let mut known = known.iter();
    let (_, url) = known.find(|(other, _)| are_same(other, uri))?;
    Some(url.clone())
}

/// Letter by letter, which is faster than to compare them as addresses; paths differ most, and neither has a
/// query. One that is written in another way is another one.
fn are_same(one: &Uri, other: &Uri) -> bool {
    fn host(uri: &Uri) -> Option<&str> {
        uri.authority().map(Authority::as_str)
    }
    one.path() == other.path() && host(one) == host(other) && one.scheme() == other.scheme()
}

fn parse(uri: &Uri) -> Result<Url, ParseError> {
    // Room for all but the longest, so that it need not grow part by part.
    let mut text = String::with_capacity(256);
    write!(text, "{uri}").expect("a string takes any text");
    Url::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_the_same_from_memory() {
        let addresses = Addresses::default();
        for _ in 0..2 {
            for number in 0..2 * MOST {
                let text = format!("https://graph.microsoft.com/v1.0/applications/{number}?$top=1");
                for text in [&text[..], text.split('?').next().unwrap()] {
                    assert_eq!(addresses.url(&uri(text)).unwrap().as_str(), text);
                }
            }
        }
        assert_eq!(addresses.known().len(), MOST);
    }

    #[test]
    fn the_same_path_on_another_host_is_another_address() {
        let addresses = Addresses::default();
        for text in [
            "https://graph.microsoft.com/v1.0/me",
            "https://graph.microsoft.us/v1.0/me",
            "http://graph.microsoft.com/v1.0/me",
            "https://graph.microsoft.com:8443/v1.0/me",
        ] {
            assert_eq!(addresses.url(&uri(text)).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_whole_address_is_refused() {
        assert!(Addresses::default().url(&uri("/v1.0/me")).is_err());
    }
}
