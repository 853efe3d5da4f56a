//! As much of a vault as the example needs: it asks who is there, looks at the token, and answers.

use azure_core::http::headers::{AUTHORIZATION, Headers, WWW_AUTHENTICATE};
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(crate) const ADDRESS: &str = "https://demo.vault.azure.net";

const RESOURCE: &str = "https://vault.azure.net";

/// Stands in for the network between the SDK and a vault.
#[derive(Debug)]
pub(crate) struct Vault;

impl Vault {
    pub(crate) fn new() -> Self {
        Self
    }
}

#[async_trait::async_trait]
impl HttpClient for Vault {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut headers = Headers::new();
        let token = request.headers().get_optional_str(&AUTHORIZATION);
        if token.and_then(audience).as_deref() != Some(RESOURCE) {
            let challenge = format!(
                "Bearer authorization=\"https://login.microsoftonline.com/common\", resource=\"{RESOURCE}\""
            );
            headers.insert(WWW_AUTHENTICATE, challenge);
            return Ok(AsyncRawResponse::from_bytes(
                StatusCode::Unauthorized,
                headers,
                "",
            ));
        }
        let body = format!(r#"{{"id":"{ADDRESS}/secrets/greeting/1","value":"hello, keywheel"}}"#);
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, headers, body))
    }
}

/// The `aud` of a bearer token. A real vault checks the signature as well.
fn audience(authorization: &str) -> Option<String> {
    let claims = authorization.strip_prefix("Bearer ")?.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["aud"].as_str().map(str::to_owned)
}
