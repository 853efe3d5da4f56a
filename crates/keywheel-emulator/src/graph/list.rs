use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::filter::{Filter, field};
use super::{GraphError, Request, permission, render};
use crate::behaviour::Event;
use crate::call::{Pairs, Reply};
use crate::directory::{Kind, Object, property};
use crate::world::World;

/// `GET /applications`, `GET /servicePrincipals`.
pub(crate) fn list(request: &Request<'_>) -> Result<Reply, GraphError> {
    let query = Query::read(request)?;
    let world = &*request.service.world();
    let found = query.find(request, world)?;
    let (page, next) = query.page(&found)?;
    let shown: Vec<Map<String, Value>> = page
        .iter()
        .map(|object| {
            let mut shown = render::object(object, &world.behaviours, request.seen, false);
            render::select(&mut shown, query.names.as_deref());
            shown
        })
        .collect();
    let selected = query
        .names
        .as_ref()
        .map_or_else(String::new, |names| format!("({})", names.join(",")));
    let context = format!("{}{selected}", query.kind.collection());
    let mut body = json!({ "@odata.context": request.context(&context), "value": shown });
    if query.counted {
        body["@odata.count"] = json!(found.len());
    }
    if let Some(token) = next {
        body["@odata.nextLink"] = json!(next_link(request, &token));
    }
    let mut reply = Reply::json(StatusCode::OK, &body);
    let units = 2 - u8::from(query.names.is_some());
    reply.set(RESOURCE_UNIT, &units.to_string());
    Ok(reply)
}

/// `GET /applications/$count`: a number in plain text.
pub(crate) fn count(request: &Request<'_>) -> Result<Reply, GraphError> {
    let query = Query::read(request)?;
    if !query.eventual {
        return Err(unsupported("$count is not currently supported."));
    }
    let world = &*request.service.world();
    let found = query.find(request, world)?.len();
    Ok(Reply::text(StatusCode::OK, "text/plain", found.to_string()))
}

/// A list's query options.
struct Query<'a> {
    kind: Kind,
    names: Option<Vec<&'a str>>,
    filter: Option<Filter>,
    search: Option<Search>,
    order: Option<(String, bool)>,
    top: usize,
    after: Option<Mark>,
    counted: bool,
    eventual: bool,
}

/// Where a page ended.
struct Mark {
    offset: usize,
    last: Uuid,
}

impl<'a> Query<'a> {
    fn read(request: &Request<'a>) -> Result<Self, GraphError> {
        let kind = request.operation.kind.unwrap_or(Kind::Application);
        let options = &request.call.query;
        check_names(options)?;
        let eventual = request
            .call
            .header("consistencylevel")
            .is_some_and(|level| level.eq_ignore_ascii_case("eventual"));
        let filter = options
            .get("$filter")
            .map(|text| Filter::parse(text, kind))
            .transpose()?;
        let search = options
            .get("$search")
            .map(|text| Search::parse(text, kind))
            .transpose()?;
        let order = options
            .get("$orderby")
            .map(|text| order_of(text, kind))
            .transpose()?;
        let asks_count = options
            .get("$count")
            .is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let advanced = filter.as_ref().is_some_and(Filter::is_advanced)
            || (order.is_some() && filter.is_some());
        if search.is_some() && !eventual {
            return Err(unsupported(
                "Request with $search query parameter only works through MSGraph with a special request \
                 header: 'ConsistencyLevel: eventual'",
            ));
        }
        if advanced && !(eventual && asks_count) {
            return Err(unsupported(
                "Operator is not supported because the required parameters might be missing. Try adding \
                 $count=true query parameter and ConsistencyLevel:eventual header. Refer to \
                 https://aka.ms/graph-docs/advanced-queries for more information",
            ));
        }
        Ok(Self {
            kind,
            names: render::selection(kind, options.get("$select"))?,
            filter,
            search,
            order,
            top: options.get("$top").map_or(Ok(DEFAULT_PAGE), page_size)?,
            after: options.get("$skiptoken").map(Mark::read).transpose()?,
            counted: asks_count && eventual,
            eventual,
        })
    }

    /// Returns all that fits, in order.
    fn find<'w>(
        &self,
        request: &Request<'_>,
        world: &'w World,
    ) -> Result<Vec<&'w Object>, GraphError> {
        let tenant = request.tenant(world)?;
        permission::check(request, world)?;
        let behaviours = &world.behaviours;
        let arrived = |object: &&Object| {
            let lag = behaviours.object_lag;
            behaviours.arrived(lag, object.id, Event::Created, object.created, request.seen)
        };
        let mut found: Vec<&Object> = tenant
            .of_kind(self.kind)
            .filter(arrived)
            .filter(|object| self.filter.as_ref().is_none_or(|it| it.admits(object)))
            .filter(|object| self.search.as_ref().is_none_or(|it| it.admits(object)))
            .collect();
        if let Some((name, descending)) = &self.order {
            found.sort_by_cached_key(|object| field(object, name).to_string().to_lowercase());
            if *descending {
                found.reverse();
            }
        }
        Ok(found)
    }

    /// Cuts the page out, and says where the next one begins.
    fn page<'w>(
        &self,
        found: &[&'w Object],
    ) -> Result<(Vec<&'w Object>, Option<String>), GraphError> {
        let start = self.after.as_ref().map_or(0, |mark| mark.start(found));
        let page: Vec<_> = found.iter().skip(start).take(self.top).copied().collect();
        let end = start + page.len();
        let next = page.last().filter(|_| end < found.len()).map(|last| {
            Mark {
                offset: end,
                last: last.id,
            }
            .write()
        });
        Ok((page, next))
    }
}

impl Mark {
    fn read(text: &str) -> Result<Self, GraphError> {
        let parsed = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| {
            let text = String::from_utf8(bytes).ok()?;
            let (offset, last) = text.split_once(' ')?;
            Some(Self {
                offset: offset.parse().ok()?,
                last: Uuid::try_parse(last).ok()?,
            })
        });
        parsed.ok_or_else(|| {
            GraphError::new(
                400,
                "Directory_ExpiredPageToken",
                "The specified page token value has expired and can no longer be included in your request.",
            )
        })
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", self.offset, self.last))
    }

    /// Returns where to go on: after the last object shown, or if it is gone, where it was.
    fn start(&self, found: &[&Object]) -> usize {
        let place = found.iter().position(|object| object.id == self.last);
        place.map_or_else(|| self.offset.saturating_sub(1), |place| place + 1)
    }
}

/// A `$search`: quoted clauses, joined by `AND` or `OR`, each `property:words`.
struct Search(Vec<(bool, String, String)>);

impl Search {
    fn parse(text: &str, kind: Kind) -> Result<Self, GraphError> {
        let invalid = || {
            GraphError::invalid(format!(
                "Syntax error: character '\"' is not valid at position 0 in '{text}'."
            ))
        };
        let mut clauses = Vec::new();
        let mut rest = text.trim();
        let mut all = true;
        while let Some(inner) = rest.strip_prefix('"') {
            let (clause, tail) = inner.split_once('"').ok_or_else(invalid)?;
            let (name, words) = clause.split_once(':').ok_or_else(invalid)?;
            if property(kind, name).is_none() {
                return Err(GraphError::no_property(name, kind));
            }
            clauses.push((all, name.to_owned(), words.to_lowercase()));
            rest = tail.trim_start();
            all = match rest.split_once(' ').map_or("", |(word, _)| word) {
                "AND" => true,
                "OR" => false,
                _ => break,
            };
            rest = rest
                .split_once(' ')
                .map_or("", |(_, tail)| tail.trim_start());
        }
        if clauses.is_empty() || !rest.is_empty() {
            return Err(invalid());
        }
        Ok(Self(clauses))
    }

    fn admits(&self, object: &Object) -> bool {
        self.0.iter().fold(true, |so_far, (all, name, words)| {
            let value = field(object, name);
            let fits = value.as_str().is_some_and(|value| has_words(value, words));
            if *all { so_far && fits } else { so_far || fits }
        })
    }
}

/// Tells whether a word of `value` begins with each of the `words`.
fn has_words(value: &str, words: &str) -> bool {
    let value = value.to_lowercase();
    let parts: Vec<&str> = value.split(|c: char| !c.is_alphanumeric()).collect();
    words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .all(|word| parts.iter().any(|part| part.starts_with(word)))
}

fn check_names(options: &Pairs) -> Result<(), GraphError> {
    const KNOWN: [&str; 8] = [
        "$count",
        "$filter",
        "$format",
        "$orderby",
        "$search",
        "$select",
        "$skiptoken",
        "$top",
    ];
    match options
        .0
        .iter()
        .find(|(name, _)| name.starts_with('$') && !KNOWN.contains(&name.as_str()))
    {
        Some((name, _)) => Err(GraphError::invalid(format!(
            "'{name}' is not supported by the service."
        ))),
        None => Ok(()),
    }
}

fn page_size(text: &str) -> Result<usize, GraphError> {
    text.parse()
        .ok()
        .filter(|size| (1..=LARGEST_PAGE).contains(size))
        .ok_or_else(|| {
            GraphError::invalid(format!(
                "Invalid page size specified: '{text}'. Must be between 1 and 999 inclusive."
            ))
        })
}

fn order_of(text: &str, kind: Kind) -> Result<(String, bool), GraphError> {
    let (name, direction) = {
        let text = text.trim();
        text.split_once(' ').unwrap_or((text, "asc"))
    };
    if property(kind, name).is_none() {
        return Err(GraphError::no_property(name, kind));
    }
    match direction.trim() {
        "asc" => Ok((name.to_owned(), false)),
        "desc" => Ok((name.to_owned(), true)),
        _ => Err(GraphError::bad_request(format!(
            "Syntax error in '$orderby={text}'."
        ))),
    }
}

/// Builds the link to the next page on the host through which the client came.
fn next_link(request: &Request<'_>, token: &str) -> String {
    let mut query = request.call.query.clone();
    query.0.retain(|(name, _)| name != "$skiptoken");
    query.0.push(("$skiptoken".to_owned(), token.to_owned()));
    format!(
        "{}{}?{}",
        request.call.origin,
        request.call.path,
        query.encoded()
    )
}

fn unsupported(message: &str) -> GraphError {
    GraphError::new(400, "Request_UnsupportedQuery", message)
}

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 999;
const RESOURCE_UNIT: HeaderName = HeaderName::from_static("x-ms-resource-unit");
