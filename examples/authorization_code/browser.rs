//! A browser and the person before it, for `--check`: follows redirects, keeps cookies, fills in the forms
//! of the emulator.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{Method, Request, header};
use keywheel::core::{HttpSend, ReqwestSend};
use url::{Url, form_urlencoded};

use crate::place::Result;

/// The user of the emulator's own seed.
pub(crate) const USER: &str = "ada@contoso.example";
pub(crate) const PASSWORD: &str = "ada's password";

/// Signs in at `address` and checks that the service knows the user.
pub(crate) async fn walk(http: &ReqwestSend, address: &str) -> Result<()> {
    let mut browser = Browser {
        http,
        cookies: BTreeMap::new(),
    };
    let start = format!("{address}/sign-in").parse()?;
    let page = browser.go(start, Method::GET, String::new()).await?;
    let page = browser
        .submit(
            &page,
            &[("login", USER), ("passwd", PASSWORD), ("action", "signin")],
        )
        .await?;
    let page = browser.submit(&page, &[("action", "accept")]).await?;

    println!("\n{}", page.html.rsplit("<p>").next().unwrap_or_default());
    let signed_in = page.html.contains(&format!("Signed in: {USER}"));
    signed_in.then_some(()).ok_or_else(|| page.html.into())
}

struct Browser<'a> {
    http: &'a ReqwestSend,
    /// By host and name.
    cookies: BTreeMap<(String, String), String>,
}

struct Page {
    url: Url,
    html: String,
}

impl Browser<'_> {
    async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Result<Page> {
        let action = attribute(&page.html, "action").ok_or_else(|| page.html.clone())?;
        let context = attribute(&page.html, "value").ok_or_else(|| page.html.clone())?;
        let form = fill_in(&context, fields);
        self.go(page.url.join(&action)?, Method::POST, form).await
    }

    async fn go(&mut self, mut url: Url, mut method: Method, mut form: String) -> Result<Page> {
        for _ in 0..10 {
            let request = Request::builder()
                .method(&method)
                .uri(url.as_str())
                .header(header::COOKIE, self.cookies_for(&url))
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Bytes::from(std::mem::take(&mut form)))?;
            let answer = self.http.send(request).await?;
            for cookie in answer.headers().get_all(header::SET_COOKIE) {
                self.keep(&url, cookie.to_str()?);
            }
            let Some(location) = answer.headers().get(header::LOCATION) else {
                let html = String::from_utf8(answer.body().to_vec())?;
                return Ok(Page { url, html });
            };
            url = url.join(location.to_str()?)?;
            method = Method::GET;
        }
        Err("redirected in circles".into())
    }

    fn keep(&mut self, url: &Url, cookie: &str) {
        let pair = cookie.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            self.cookies
                .insert((place(url), name.to_owned()), value.to_owned());
        }
    }

    fn cookies_for(&self, url: &Url) -> String {
        let ours = self.cookies.iter().filter(|((at, _), _)| *at == place(url));
        let pairs: Vec<_> = ours
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }
}

fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn fill_in(context: &str, fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("ctx", context)
        .extend_pairs(fields)
        .finish()
}

/// The value of an attribute where it first stands.
fn attribute(html: &str, name: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!(" {name}=\""))?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}
