use http::Uri;
use http::uri::PathAndQuery;
use keywheel_core::Cloud;

/// Where Graph's addresses begin: up to and with the version, without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct Root {
    text: String,
    /// The same, read once. Nothing when it is no URI, which a request says.
    uri: Option<Uri>,
}

impl Root {
    pub(super) fn new(cloud: &Cloud) -> Self {
        let text = format!("{}/v1.0", cloud.graph().as_str().trim_end_matches('/'));
        let uri = Uri::try_from(text.as_str()).ok();
        Self { text, uri }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the address of a path and query below the root.
    pub(super) fn with(&self, path: &str) -> Option<Uri> {
        let root = self.uri.as_ref()?;
        let path = [root.path(), path].concat();
        let mut parts = root.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_root_and_the_path() {
        for graph in [
            "https://graph.microsoft.com",
            "http://127.0.0.1:8080/emulated/",
        ] {
            let graph = graph.parse().unwrap();
            let root = Root::new(&Cloud::from_endpoints(&graph, &graph).unwrap());
            let path = "/applications(appId='1')?$select=id,a%20b";
            let whole = format!("{}{path}", root.as_str());

            assert_eq!(root.with(path).unwrap().to_string(), whole);
        }
        let root = Root::new(&Cloud::public());
        assert_eq!(root.with("/a path with blanks"), None);
    }
}
