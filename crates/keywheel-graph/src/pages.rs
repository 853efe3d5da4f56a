use std::marker::PhantomData;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::call::{Call, Target};
use crate::{GraphClient, GraphError};

/// One page of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on the page; it may be empty though more follow.
    pub value: Vec<T>,
    /// How many there are on all pages, if that was asked for.
    pub count: Option<u64>,
    /// The link to the next page, for [`Pages::resume`].
    pub next_link: Option<String>,
}

impl<T> Page<T> {
    /// Returns a page of its own, without a next one.
    #[must_use]
    pub fn of(value: Vec<T>) -> Self {
        Self {
            value,
            count: None,
            next_link: None,
        }
    }
}

/// A list, read page by page.
///
/// Links to the next page are followed verbatim, and only to where Graph is: the token goes nowhere else.
/// After an error the same page can be asked for again.
#[derive(Clone, Debug)]
pub struct Pages<T> {
    graph: GraphClient,
    call: Option<Call>,
    kind: PhantomData<fn() -> T>,
}

#[derive(Deserialize)]
struct Wire<T> {
    #[serde(rename = "@odata.count")]
    count: Option<u64>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
    value: Vec<T>,
}

impl<T: DeserializeOwned> Pages<T> {
    pub(crate) fn new(graph: &GraphClient, call: Call) -> Self {
        Self {
            graph: graph.clone(),
            call: Some(call),
            kind: PhantomData,
        }
    }

    /// Goes on where an earlier list was left, by the link that its last page had.
    #[must_use]
    pub fn resume(mut self, next_link: impl Into<String>) -> Self {
        self.call = self.call.map(|call| call.follow(next_link.into()));
        self
    }

    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    ///
    /// Returns an error when the page could not be read, or the link to it leads somewhere else. The next
    /// call asks for the same page.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, GraphError> {
        let Some(call) = &self.call else {
            return Ok(None);
        };
        if let Target::Link(link) = &call.target {
            self.check(link)?;
        }
        let page: Wire<T> = self.graph.json(call).await?;
        let again = |link: &String| matches!(&call.target, Target::Link(last) if last == link);
        if page.next_link.as_ref().is_some_and(again) {
            return Err(GraphError::protocol(
                "Microsoft Graph's link to the next page leads to the same page; report it",
            ));
        }
        self.call = page.next_link.clone().map(|link| call.follow(link));
        Ok(Some(Page {
            value: page.value,
            count: page.count,
            next_link: page.next_link,
        }))
    }

    /// Returns the pages as a stream. It ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Page<T>, GraphError>> + Send
    where
        T: Send,
    {
        stream::try_unfold(self, async |mut pages| {
            Ok(pages.next().await?.map(|page| (page, pages)))
        })
    }

    /// Returns what is on the pages as a stream, holding one page at a time. It ends after the first error.
    pub fn items(self) -> impl Stream<Item = Result<T, GraphError>> + Send
    where
        T: Send,
    {
        self.into_stream()
            .map_ok(|page| stream::iter(page.value).map(Ok))
            .try_flatten()
    }

    /// Reads all pages. For lists that are known to be short.
    ///
    /// # Errors
    ///
    /// Returns an error when a page could not be read.
    pub async fn all(mut self) -> Result<Vec<T>, GraphError> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page.value);
        }
        Ok(all)
    }

    fn check(&self, link: &str) -> Result<(), GraphError> {
        let base = self.graph.base();
        // What begins as all of Graph's addresses do, to the slash after the host, need not be parsed.
        let root = base.strip_suffix("v1.0").unwrap_or(base);
        if link.starts_with(root) || is_same_origin(link, base) {
            Ok(())
        } else {
            Err(GraphError::protocol(
                "Microsoft Graph's link to the next page leads to another address, where the token must not \
                 go; report it",
            ))
        }
    }
}

fn is_same_origin(link: &str, base: &str) -> bool {
    let (link, base) = (Url::parse(link), Url::parse(base));
    link.is_ok_and(|link| {
        link.username().is_empty() && base.is_ok_and(|base| link.origin() == base.origin())
    })
}
