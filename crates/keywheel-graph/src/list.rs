use std::fmt::Write as _;

use keywheel_core::ClientId;

use crate::call::Path;

/// What of a list is asked for.
///
/// ```
/// use keywheel_graph::{Filter, ListOptions};
///
/// let options = ListOptions::new()
///     .filter(&Filter::starts_with("displayName", "O'Hara"))
///     .select(["id", "appId", "displayName"])
///     .page_size(999);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    filter: Option<String>,
    search: Option<String>,
    select: Vec<String>,
    order_by: Option<String>,
    page_size: Option<u16>,
    advanced: bool,
}

/// Which objects are wanted: an OData filter, with its values quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    advanced: bool,
}

impl Filter {
    /// Wants the object with this client id.
    #[must_use]
    pub fn client_id(id: ClientId) -> Self {
        Self::plain(format!("appId eq '{id}'"))
    }

    /// Wants objects whose `property` is `value`.
    #[must_use]
    pub fn equal(property: &str, value: &str) -> Self {
        Self::plain(format!("{property} eq {}", quoted(value)))
    }

    /// Wants objects whose `property` begins with `value`.
    #[must_use]
    pub fn starts_with(property: &str, value: &str) -> Self {
        Self::plain(format!("startswith({property},{})", quoted(value)))
    }

    /// Wants what an OData filter says. `advanced` is for what Graph answers only with
    /// `ConsistencyLevel: eventual` and `$count`: `ne`, `not`, `endsWith` and the like.
    /// <https://learn.microsoft.com/graph/aad-advanced-queries>
    #[must_use]
    pub fn odata(text: impl Into<String>, advanced: bool) -> Self {
        Self {
            text: text.into(),
            advanced,
        }
    }

    /// Wants what both filters want.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            text: format!("({}) and ({})", self.text, other.text),
            advanced: self.advanced || other.advanced,
        }
    }

    fn plain(text: String) -> Self {
        Self {
            text,
            advanced: false,
        }
    }
}

impl ListOptions {
    /// Asks for all objects, with what is read of them by default, in pages as large as Graph's default
    /// (100).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks only for objects that the filter wants.
    #[must_use]
    pub fn filter(mut self, filter: &Filter) -> Self {
        self.filter = Some(filter.text.clone());
        self.advanced |= filter.advanced;
        self
    }

    /// Asks only for objects in whose `property` words begin with the words of `text`. It may lag behind.
    #[must_use]
    pub fn search(mut self, property: &str, text: &str) -> Self {
        // Quotes and backslashes would end the clause.
        let text: String = text.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
        self.search = Some(format!("\"{property}:{text}\""));
        self.advanced = true;
        self
    }

    /// Asks only for these properties. `id` and `appId` are always among them.
    #[must_use]
    pub fn select<S: Into<String>>(mut self, properties: impl IntoIterator<Item = S>) -> Self {
        self.select = properties.into_iter().map(Into::into).collect();
        self
    }

    /// Sorts by a property: `displayName`, or `displayName desc`.
    #[must_use]
    pub fn order_by(mut self, property: impl Into<String>) -> Self {
        self.order_by = Some(property.into());
        self
    }

    /// Sets how many are on a page: 1 to 999, what is beyond is brought within. Default: Graph's own, 100.
    #[must_use]
    pub fn page_size(mut self, size: u16) -> Self {
        self.page_size = Some(size.clamp(1, 999));
        self
    }

    /// Asks how many there are. The first page tells.
    #[must_use]
    pub fn count(mut self) -> Self {
        self.advanced = true;
        self
    }

    pub(crate) fn path(&self, collection: &str, properties: &str) -> Path {
        let mut path = Path::of(&[collection]).query("$select", &self.selection(properties));
        // Sorting and filtering at once is an advanced query too.
        let advanced = self.advanced || (self.filter.is_some() && self.order_by.is_some());
        let texts = [
            ("$filter", &self.filter),
            ("$search", &self.search),
            ("$orderby", &self.order_by),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                path = path.query(name, text);
            }
        }
        if let Some(size) = self.page_size {
            path = path.query("$top", &size.to_string());
            if size < 20 {
                path = path.small();
            }
        }
        if advanced {
            path = path.query("$count", "true").eventual();
        }
        path
    }

    fn selection(&self, properties: &str) -> String {
        if self.select.is_empty() {
            return properties.to_owned();
        }
        let mut text = "id,appId".to_owned();
        for property in &self.select {
            if !matches!(property.as_str(), "id" | "appId") {
                write!(text, ",{property}").expect("a string can be written to");
            }
        }
        text
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
