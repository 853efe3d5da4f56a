use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use keywheel_core::{HttpSend, ReqwestSend};
use url::{Url, form_urlencoded};

use crate::rig::REDIRECT;

/// A browser and the person before it: keeps cookies, follows redirects, fills in forms.
pub(crate) struct Browser {
    http: ReqwestSend,
    cookies: BTreeMap<String, String>,
    /// Of the page whose form was sent last.
    origin: String,
}

/// Where a browser has come to.
#[derive(Debug)]
pub(crate) enum Place {
    /// Back at the application, with this query.
    Callback(String),
    Page {
        url: Url,
        html: String,
    },
}

impl Browser {
    pub(crate) fn new(http: &ReqwestSend) -> Self {
        Self {
            http: http.clone(),
            cookies: BTreeMap::new(),
            origin: String::new(),
        }
    }

    pub(crate) async fn open(&mut self, url: &Url) -> Place {
        self.go(url.clone(), Method::GET, String::new()).await
    }

    /// Sends the form of `page`, its hidden fields and these.
    pub(crate) async fn submit(&mut self, page: &Place, fields: &[(&str, &str)]) -> Place {
        let Place::Page { url, html } = page else {
            panic!("no page: {page:?}");
        };
        let form = fill_in(html, fields);
        let to = match attribute(between(html, "<form", ">"), "action") {
            Some(action) => url.join(&action).unwrap(),
            None => url.clone(),
        };
        self.origin = url.origin().ascii_serialization();
        self.go(to, Method::POST, form).await
    }

    async fn go(&mut self, mut url: Url, mut method: Method, mut body: String) -> Place {
        for _ in 0..20 {
            if url.as_str().starts_with(REDIRECT) {
                return Place::Callback(url.query().unwrap_or_default().to_owned());
            }
            let answer = self.send(&url, &method, std::mem::take(&mut body)).await;
            let Some(location) = answer.headers().get(header::LOCATION) else {
                let html = String::from_utf8(answer.into_body().to_vec()).unwrap();
                return Place::Page { url, html };
            };
            url = url.join(location.to_str().unwrap()).unwrap();
            method = Method::GET;
        }
        panic!("redirected in circles: {url}");
    }

    async fn send(&mut self, url: &Url, method: &Method, body: String) -> Response<Bytes> {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::builder();
        if method == Method::POST {
            request = request.header(header::ORIGIN, &self.origin);
        }
        let request = request
            .method(method)
            .uri(url.as_str())
            .header(header::COOKIE, cookies.join("; "))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        let answer = self.http.send(request).await.unwrap();
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

impl Place {
    pub(crate) fn query(self) -> String {
        match self {
            Self::Callback(query) => query,
            page @ Self::Page { .. } => panic!("not back at the application: {page:?}"),
        }
    }
}

/// The hidden fields of a page and these.
fn fill_in(html: &str, fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for input in html.split("<input").skip(1) {
        let input = input.split('>').next().unwrap();
        if let (true, Some(name)) = (input.contains("hidden"), attribute(input, "name")) {
            form.append_pair(&name, &attribute(input, "value").unwrap_or_default());
        }
    }
    form.extend_pairs(fields).finish()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).unwrap().0
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let text = rest.split('"').next()?;
    Some(text.replace("&quot;", "\"").replace("&amp;", "&"))
}
