//! `graph-shapes.json`: the types, operations and errors of Graph v1.0.

use serde_json::{Map, Value, json};

use super::recorder::Exchange;

pub(super) struct Shapes(Value);

impl Shapes {
    pub(super) fn read() -> Self {
        let text = include_str!("../../fixtures/graph-shapes.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// Returns the type of a property, looking into base types; `id` belongs to every entity.
    pub(super) fn property(&self, kind: &str, name: &str) -> Option<String> {
        if name == "id" && self.0["types"][kind]["kind"] == "entity" {
            return Some("Edm.String".to_owned());
        }
        if matches!(name, "displayName" | "description") && kind == "policyBase" {
            return Some("Edm.String?".to_owned());
        }
        let shape = &self.0["types"][kind];
        let own = shape["props"][name].as_str().map(str::to_owned);
        own.or_else(|| self.property(shape["base"].as_str()?, name))
    }

    pub(super) fn errors(&self) -> Vec<(u16, String, String)> {
        serde_json::from_value(self.0["wire"]["graphErrors"].clone()).unwrap()
    }

    /// Makes an answer of this type: every property with a value, or null wherever that is allowed.
    pub(super) fn example(&self, kind: &str, nulls: bool) -> Value {
        let mut body = Map::from_iter([("@odata.context".to_owned(), json!("…"))]);
        let mut kind = Some(kind);
        while let Some(name) = kind {
            let shape = &self.0["types"][name];
            if shape["kind"] == "entity" {
                body.insert(
                    "id".to_owned(),
                    json!("11111111-2222-4333-8444-555555555555"),
                );
            }
            for (property, shape) in shape["props"].as_object().into_iter().flatten() {
                let shape = shape.as_str().unwrap();
                // An application without a client id does not exist, whatever the schema allows.
                let nulls = nulls && property != "appId";
                body.insert(property.clone(), self.value(shape, nulls));
            }
            kind = shape["base"].as_str();
        }
        Value::Object(body)
    }

    fn value(&self, shape: &str, nulls: bool) -> Value {
        let plain = shape.trim_end_matches('?');
        if nulls && shape.ends_with('?') {
            return Value::Null;
        }
        if let Some(inner) = plain.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            // Collections come as null too.
            return if nulls {
                Value::Null
            } else {
                json!([self.value(inner, false)])
            };
        }
        match plain {
            "Edm.String" | "Edm.Guid" => json!("11111111-2222-4333-8444-555555555555"),
            "Edm.Boolean" => json!(true),
            "Edm.Binary" => json!("AAEC"),
            "Edm.Duration" => json!("P90D"),
            "Edm.DateTimeOffset" => json!("2026-02-28T12:00:00.1234567Z"),
            "Edm.Stream" => Value::Null,
            kind if self.0["types"].get(kind).is_some() => self.example(kind, nulls),
            kind if self.0["enums"].get(kind).is_some() => json!("enabled"),
            // What the file does not describe.
            _ => json!({}),
        }
    }

    /// Checks one exchange, and returns what it was about.
    pub(super) fn hold(&self, exchange: &Exchange) -> String {
        let at = format!("{} {}", exchange.method, exchange.path);
        let below = exchange
            .path
            .strip_prefix("/v1.0/")
            .unwrap_or_else(|| panic!("{at}"));
        let place = self
            .place(below)
            .unwrap_or_else(|| panic!("no such place: {at}"));
        for (name, value) in &exchange.query {
            self.hold_option(&place, name, value);
        }
        self.hold_body(&place, exchange, &at);
        if exchange.status < 300 && place.name != "$batch" {
            self.hold_answer(&place, &exchange.answer, &at);
        }
        if place.name == "$batch" {
            self.hold_batch(exchange);
        }
        format!("{} {}", exchange.method, place.name)
    }

    fn hold_option(&self, place: &Place, name: &str, value: &str) {
        match name {
            "$select" => {
                for property in value.split(',') {
                    let kinds = place.kinds();
                    let known = kinds
                        .iter()
                        .any(|kind| self.property(kind, property).is_some());
                    assert!(known, "$select={property} on {}", place.name);
                }
            }
            "$filter" | "$search" | "$orderby" | "$top" | "$count" | "$skiptoken" => {}
            _ => panic!("no such option: {name}"),
        }
    }

    fn hold_body(&self, place: &Place, exchange: &Exchange, at: &str) {
        match (exchange.method.as_str(), &place.action) {
            ("GET" | "DELETE", _) => assert!(exchange.sent.is_null(), "{at} has a body"),
            (_, Some(action)) => {
                let parameters = self.parameters(&place.bound, action);
                for (name, value) in exchange.sent.as_object().unwrap() {
                    let shape = parameters[name].as_str();
                    let shape = shape.unwrap_or_else(|| panic!("{at}: no parameter {name}"));
                    self.fits(shape, value, &format!("{at}: {name}"));
                }
                let needed = parameters.as_object().unwrap().iter();
                for (name, shape) in
                    needed.filter(|(_, shape)| !shape.as_str().unwrap().ends_with('?'))
                {
                    assert!(
                        exchange.sent.get(name).is_some(),
                        "{at}: {name}: {shape} is missing"
                    );
                }
            }
            (_, None) if place.name == "$batch" => {}
            (_, None) if exchange.path.ends_with("/$ref") => {
                let link = exchange.sent["@odata.id"].as_str().unwrap();
                assert!(link.contains("/v1.0/directoryObjects/"), "{link}");
            }
            (_, None) => self.members(&place.kind, &exchange.sent, at),
        }
    }

    fn hold_answer(&self, place: &Place, answer: &Value, at: &str) {
        let returned = place
            .action
            .as_ref()
            .map(|action| self.returns(&place.bound, action));
        let kind = returned.as_deref().unwrap_or(&place.kind);
        match answer {
            Value::Null => {}
            list if list["value"].is_array() => {
                for one in list["value"].as_array().unwrap() {
                    let kind = one["@odata.type"]
                        .as_str()
                        .map_or(kind, |it| &it["#microsoft.graph.".len()..]);
                    self.members(if kind == "user" { "user(min)" } else { kind }, one, at);
                }
            }
            one => self.members(kind, one, at),
        }
    }

    fn hold_batch(&self, exchange: &Exchange) {
        let requests = exchange.sent["requests"].as_array().unwrap();
        assert!((1..=20).contains(&requests.len()));
        for request in requests {
            let url = format!("https://x/v1.0{}", request["url"].as_str().unwrap());
            let url: url::Url = url.parse().unwrap();
            let id = &request["id"];
            let answers = exchange.answer["responses"].as_array().unwrap();
            let answer = answers.iter().find(|it| it["id"] == *id).unwrap();
            self.hold(&Exchange {
                method: request["method"].as_str().unwrap().to_owned(),
                path: url.path().to_owned(),
                query: url.query_pairs().into_owned().collect(),
                sent: request["body"].clone(),
                status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
                answer: answer["body"].clone(),
            });
        }
    }

    fn members(&self, kind: &str, body: &Value, at: &str) {
        let body = body.as_object().unwrap_or_else(|| panic!("{at}: {body}"));
        for (name, value) in body.iter().filter(|(name, _)| !name.starts_with('@')) {
            let shape = self.property(kind, name);
            let shape = shape.unwrap_or_else(|| panic!("{at}: {kind} has no {name}"));
            self.fits(&shape, value, &format!("{at}: {name}"));
        }
    }

    fn fits(&self, shape: &str, value: &Value, at: &str) {
        let plain = shape.trim_end_matches('?');
        if let Some(inner) = plain.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            let all = value
                .as_array()
                .unwrap_or_else(|| panic!("{at}: {value} is no list"));
            return all.iter().for_each(|one| self.fits(inner, one, at));
        }
        let text = value.as_str();
        let fits = match plain {
            _ if value.is_null() => shape.ends_with('?'),
            "Edm.String" | "Edm.Duration" => text.is_some(),
            "Edm.Guid" => text.is_some_and(|it| it.parse::<uuid::Uuid>().is_ok()),
            "Edm.Boolean" => value.is_boolean(),
            "Edm.Binary" => text.is_some(),
            "Edm.DateTimeOffset" => text.is_some_and(|it| {
                it.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(it).is_ok()
            }),
            kind if self.0["types"].get(kind).is_some() && !NEWER.contains(&kind) => {
                return self.members(kind, value, at);
            }
            _ => true,
        };
        assert!(fits, "{at}: {value} is no {shape}");
    }

    fn operation(&self, bound: &str, action: &str) -> &Value {
        let all = self.0["operations"].as_array().unwrap();
        let found = all
            .iter()
            .find(|it| it["name"] == action && it["boundTo"] == bound);
        found.unwrap_or_else(|| panic!("{bound} has no {action}"))
    }

    fn parameters(&self, bound: &str, action: &str) -> &Value {
        &self.operation(bound, action)["params"]
    }

    fn returns(&self, bound: &str, action: &str) -> String {
        self.operation(bound, action)["returns"]
            .as_str()
            .unwrap_or("nothing")
            .to_owned()
    }

    /// Finds what a path is about: an entity set or singleton, a key, and what lies below.
    fn place(&self, path: &str) -> Option<Place> {
        let mut parts = path.split('/');
        let (first, keyed) = self.keyed(parts.next()?);
        if first == "$batch" {
            return Some(Place::named("$batch", "batch"));
        }
        let kind = self.0["entityContainer"][&first]["type"]
            .as_str()?
            .to_owned();
        let single = keyed
            || (first != "organization" && first != "me" && {
                let mut rest = parts.clone();
                rest.next()
                    .is_some_and(|id| id.parse::<uuid::Uuid>().is_ok())
                    && parts.next().is_some()
            });
        let kind = if kind == "user" {
            "user(min)".to_owned()
        } else {
            kind
        };
        let Some(member) = parts.next() else {
            let name = if single { kind.clone() } else { first };
            return Some(Place::named(&name, &kind));
        };
        if first == "policies" {
            return Some(Place::named(
                &format!("policies/{member}"),
                "tenantAppManagementPolicy",
            ));
        }
        let (member, _) = self.keyed(member);
        let action = self.0["operations"]
            .as_array()?
            .iter()
            .any(|it| it["name"] == *member);
        let target = self.0["types"][&kind]["nav"][&member].as_str();
        let target = target.map(|it| it.trim_end_matches(" (contained)").trim_matches(['[', ']']));
        let mut place = Place::named(&format!("{kind}/{member}"), target.unwrap_or(&kind));
        place.bound.clone_from(&kind);
        place.action = action.then_some(member);
        (place.action.is_some() || target.is_some()).then_some(place)
    }

    /// Splits `applications(appId='…')`, and checks that the key is one.
    fn keyed(&self, part: &str) -> (String, bool) {
        let Some((name, key)) = part.split_once('(') else {
            return (part.to_owned(), false);
        };
        let key = key.split('=').next().unwrap();
        let keys = self.0["alternateKeys"].as_object().unwrap().iter();
        let known = keys.filter(|(kind, _)| name.starts_with(kind.as_str()));
        let known = known.flat_map(|(_, keys)| keys.as_array().unwrap());
        assert!(
            known.into_iter().any(|it| it == key),
            "{key} is no key of {name}"
        );
        (name.to_owned(), true)
    }
}

/// Types that have got members since the file was made; nothing of them is read.
const NEWER: [&str; 1] = ["servicePrincipalLockConfiguration"];

/// What a path is about.
struct Place {
    name: String,
    kind: String,
    bound: String,
    action: Option<String>,
}

impl Place {
    fn named(name: &str, kind: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            bound: String::new(),
            action: None,
        }
    }

    /// Owners are of any kind.
    fn kinds(&self) -> Vec<&str> {
        match self.kind.as_str() {
            "directoryObject" => vec!["user(min)", "servicePrincipal", "application"],
            kind => vec![kind],
        }
    }
}
