use std::borrow::Cow;

use serde_json::{Value, json};

use super::{GraphError, render};
use crate::directory::{Kind, Object, property};

/// A `$filter` expression (OData 4.01, the part that the directory supports).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    And(Box<Self>, Box<Self>),
    /// Any element of a list fits.
    Any(String, Box<Self>),
    Compare(String, Comparison, Value),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    EndsWith,
    Equal,
    GreaterOrEqual,
    LessOrEqual,
    NotEqual,
    StartsWith,
}

impl Filter {
    /// Reads a filter on objects of a kind.
    pub(crate) fn parse(text: &str, kind: Kind) -> Result<Self, GraphError> {
        let mut reader = Reader {
            text,
            tokens: tokens(text)?,
            next: 0,
            kind,
            variable: None,
            depth: 0,
        };
        let filter = reader.either()?;
        if reader.peek().is_some() {
            return Err(reader.syntax());
        }
        Ok(filter)
    }

    /// Tells whether the directory answers this only with `ConsistencyLevel: eventual` and `$count`.
    pub(crate) fn is_advanced(&self) -> bool {
        match self {
            Self::And(one, other) | Self::Or(one, other) => {
                one.is_advanced() || other.is_advanced()
            }
            Self::Any(_, inner) => inner.is_advanced(),
            Self::Compare(_, comparison, _) => {
                !matches!(comparison, Comparison::Equal | Comparison::StartsWith)
            }
            Self::Not(_) => true,
        }
    }

    pub(crate) fn admits(&self, object: &Object) -> bool {
        self.fits(&|name| field(object, name))
    }

    fn fits<'v>(&self, of: &dyn Fn(&str) -> Cow<'v, Value>) -> bool {
        match self {
            Self::And(one, other) => one.fits(of) && other.fits(of),
            Self::Any(name, inner) => of(name).as_array().is_some_and(|list| {
                list.iter()
                    .any(|it| inner.fits(&|_| Cow::Owned(it.clone())))
            }),
            Self::Compare(name, comparison, wanted) => comparison.holds(&of(name), wanted),
            Self::Not(inner) => !inner.fits(of),
            Self::Or(one, other) => one.fits(of) || other.fits(of),
        }
    }
}

/// Returns a property as a filter sees it.
pub(crate) fn field<'o>(object: &'o Object, name: &str) -> Cow<'o, Value> {
    match name {
        "id" => Cow::Owned(json!(object.id)),
        "appId" => Cow::Owned(json!(object.app_id)),
        "createdDateTime" => Cow::Owned(json!(render::date(object.created))),
        other => object
            .properties
            .get(other)
            .map_or(Cow::Owned(Value::Null), Cow::Borrowed),
    }
}

impl Comparison {
    /// The directory compares texts without regard to case.
    fn holds(self, value: &Value, wanted: &Value) -> bool {
        if let (Some(value), Some(wanted)) = (value.as_str(), wanted.as_str()) {
            let (value, wanted) = (value.to_lowercase(), wanted.to_lowercase());
            return match self {
                Self::EndsWith => value.ends_with(&wanted),
                Self::Equal => value == wanted,
                Self::GreaterOrEqual => value >= wanted,
                Self::LessOrEqual => value <= wanted,
                Self::NotEqual => value != wanted,
                Self::StartsWith => value.starts_with(&wanted),
            };
        }
        match self {
            Self::Equal => value == wanted,
            Self::NotEqual => value != wanted,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Close,
    Colon,
    Comma,
    Literal(Value),
    Open,
    Slash,
    Word(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, GraphError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            ':' => (Token::Colon, 1),
            '/' => (Token::Slash, 1),
            '\'' => quoted(rest).ok_or_else(|| syntax(text, text.len() - rest.len()))?,
            _ => word(rest),
        };
        if length == 0 {
            return Err(syntax(text, text.len() - rest.len()));
        }
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Reads a quoted text; a quote inside is doubled.
fn quoted(text: &str) -> Option<(Token, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((place, character)) = characters.next() {
        if character != '\'' {
            value.push(character);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            value.push('\'');
        } else {
            return Some((Token::Literal(Value::String(value)), place + 1));
        }
    }
    None
}

fn word(text: &str) -> (Token, usize) {
    let end = text
        .find(|c: char| c.is_whitespace() || "(),:/'".contains(c))
        .unwrap_or(text.len());
    let word = &text[..end];
    let token = match word {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        _ => Token::Word(word.to_owned()),
    };
    (token, end)
}

struct Reader<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    kind: Kind,
    /// The name that stands for a list's element inside `any`.
    variable: Option<String>,
    depth: usize,
}

impl Reader<'_> {
    fn either(&mut self) -> Result<Filter, GraphError> {
        let mut filter = self.both()?;
        while self.takes_word("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.both()?));
        }
        Ok(filter)
    }

    fn both(&mut self) -> Result<Filter, GraphError> {
        let mut filter = self.one()?;
        while self.takes_word("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.one()?));
        }
        Ok(filter)
    }

    fn one(&mut self) -> Result<Filter, GraphError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.syntax());
        }
        let filter = if self.takes_word("not") {
            Filter::Not(Box::new(self.one()?))
        } else if self.takes(&Token::Open) {
            let inner = self.either()?;
            self.expect(&Token::Close)?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, GraphError> {
        let name = self.word()?;
        let function = match name.to_ascii_lowercase().as_str() {
            "startswith" => Some(Comparison::StartsWith),
            "endswith" => Some(Comparison::EndsWith),
            _ => None,
        };
        if let Some(function) = function
            && self.takes(&Token::Open)
        {
            let property = self.word()?;
            let property = self.property(property)?;
            self.expect(&Token::Comma)?;
            let value = self.literal()?;
            self.expect(&Token::Close)?;
            return Ok(Filter::Compare(property, function, value));
        }
        let property = self.property(name)?;
        if self.takes(&Token::Slash) {
            return self.any(property);
        }
        let operator = self.word()?;
        let comparison = match operator.to_ascii_lowercase().as_str() {
            "eq" => Comparison::Equal,
            "ne" => Comparison::NotEqual,
            "ge" => Comparison::GreaterOrEqual,
            "le" => Comparison::LessOrEqual,
            "in" => return self.one_of(property),
            _ => return Err(self.syntax()),
        };
        Ok(Filter::Compare(property, comparison, self.literal()?))
    }

    /// Reads `any(x:x eq 'value')`.
    fn any(&mut self, property: String) -> Result<Filter, GraphError> {
        if !self.takes_word("any") || self.variable.is_some() {
            return Err(self.syntax());
        }
        self.expect(&Token::Open)?;
        self.variable = Some(self.word()?);
        self.expect(&Token::Colon)?;
        let inner = self.either()?;
        self.variable = None;
        self.expect(&Token::Close)?;
        Ok(Filter::Any(property, Box::new(inner)))
    }

    /// Reads `('a', 'b')` after `in`.
    fn one_of(&mut self, property: String) -> Result<Filter, GraphError> {
        self.expect(&Token::Open)?;
        let mut filter = Filter::Compare(property.clone(), Comparison::Equal, self.literal()?);
        while self.takes(&Token::Comma) {
            let other = Filter::Compare(property.clone(), Comparison::Equal, self.literal()?);
            filter = Filter::Or(Box::new(filter), Box::new(other));
        }
        self.expect(&Token::Close)?;
        Ok(filter)
    }

    /// Checks that a name is a property that can be filtered by.
    fn property(&self, name: String) -> Result<String, GraphError> {
        if let Some(variable) = &self.variable {
            return if *variable == name {
                Ok(name)
            } else {
                Err(self.syntax())
            };
        }
        if property(self.kind, &name).is_none() {
            return Err(GraphError::no_property(&name, self.kind));
        }
        if FILTERABLE.contains(&name.as_str()) {
            return Ok(name);
        }
        Err(GraphError::new(
            400,
            "Request_UnsupportedQuery",
            format!(
                "Unsupported or invalid query filter clause specified for property '{name}' of resource '{}'.",
                self.kind.type_name()
            ),
        ))
    }

    fn word(&mut self) -> Result<String, GraphError> {
        match self.tokens.get(self.next) {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(word.clone())
            }
            _ => Err(self.syntax()),
        }
    }

    /// Reads a value; a date stands without quotes, and its colons come apart.
    fn literal(&mut self) -> Result<Value, GraphError> {
        if let Some(Token::Literal(value)) = self.peek() {
            let value = value.clone();
            self.next += 1;
            return Ok(value);
        }
        let mut text = self.word()?;
        while self.takes(&Token::Colon) {
            text = format!("{text}:{}", self.word()?);
        }
        Ok(Value::String(text))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn takes(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<(), GraphError> {
        if self.takes(token) {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn syntax(&self) -> GraphError {
        syntax(self.text, self.next)
    }
}

fn syntax(text: &str, place: usize) -> GraphError {
    GraphError::bad_request(format!(
        "Invalid filter clause: Syntax error at position {place} in '{text}'."
    ))
}

/// Deeper nesting than this is refused.
const DEEPEST: usize = 50;
const FILTERABLE: &[&str] = &[
    "accountEnabled",
    "appId",
    "appOwnerOrganizationId",
    "createdDateTime",
    "description",
    "displayName",
    "homepage",
    "id",
    "identifierUris",
    "isDisabled",
    "publisherDomain",
    "serviceManagementReference",
    "servicePrincipalNames",
    "servicePrincipalType",
    "signInAudience",
    "tags",
    "uniqueName",
];

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn application() -> Object {
        let created = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        let id = Uuid::from_u128;
        let mut object = Object::application(id(1), id(2), "O'Hara's app", created);
        object.set("identifierUris", json!(["api://one", "api://two"]));
        object.set("signInAudience", json!("AzureADMyOrg"));
        object
    }

    fn admits(text: &str) -> bool {
        Filter::parse(text, Kind::Application)
            .unwrap_or_else(|error| panic!("{text}: {error:?}"))
            .admits(&application())
    }

    #[test]
    fn filters_fit_as_they_say() {
        for (text, expected) in [
            ("displayName eq 'o''hara''s APP'", true),
            ("displayName eq 'other'", false),
            ("appId eq '00000000-0000-0000-0000-000000000002'", true),
            ("startswith(displayName,'O''H')", true),
            (
                "startsWith(displayName, 'x') or signInAudience eq 'AzureADMyOrg'",
                true,
            ),
            ("not (displayName eq 'other') and id ne '5'", true),
            ("endswith(displayName,'app')", true),
            ("signInAudience in ('a','AzureADMyOrg')", true),
            ("identifierUris/any(u:u eq 'api://two')", true),
            ("identifierUris/any(u:startswith(u,'https'))", false),
            ("createdDateTime ge 2026-01-01T00:00:00Z", true),
            ("isDisabled eq null", true),
            ("isDisabled eq true", false),
        ] {
            assert_eq!(admits(text), expected, "{text}");
        }
    }

    #[test]
    fn only_plain_filters_do_without_eventual_consistency() {
        let advanced = |text| {
            Filter::parse(text, Kind::Application)
                .unwrap()
                .is_advanced()
        };

        assert!(!advanced("appId eq 'x' or startswith(displayName,'x')"));
        assert!(advanced("displayName ne 'x'"));
        assert!(advanced("endsWith(displayName,'x')"));
        assert!(advanced("not(displayName eq 'x')"));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = "(".repeat(10_000);
        for text in [
            "",
            "appId",
            "appId eq",
            "appId eq 'x",
            "appId like 'x'",
            "appId eq 'x' 'y'",
            "x eq 'y'",
            "(",
            ")",
            "notes eq 'x'",
            "identifierUris/all(u:u eq 'x')",
            "identifierUris/any(u:v eq 'x')",
            deep.as_str(),
            "ü",
            "appId eq ü('",
        ] {
            let error = Filter::parse(text, Kind::Application).expect_err(text);
            assert_eq!(error.status, 400, "{text}");
        }
    }
}
