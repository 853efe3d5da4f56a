use bytes::Bytes;
use http::{Request, StatusCode};
use keywheel_core::{CredentialError, CredentialErrorKind, retry_after};
use url::Url;

use super::TokenEndpoint;
use crate::patience::Patience;

impl TokenEndpoint {
    /// Reads a public document of the authority, as patiently as tokens are asked for.
    pub(crate) async fn read_public(
        &self,
        address: &Url,
        what: &str,
    ) -> Result<Bytes, CredentialError> {
        let mut patience = Patience::new(&self.0.retry, self.entropy());
        loop {
            let error = match self.read_once(address, what).await {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            if !error.is_transient() || !patience.lasts_after(&error).await {
                return Err(error);
            }
        }
    }

    async fn read_once(&self, address: &Url, what: &str) -> Result<Bytes, CredentialError> {
        let request = Request::get(address.as_str()).body(Bytes::new());
        let request = request.map_err(|error| {
            let message = format!("{what} has no usable address: check the authority address");
            CredentialError::new(CredentialErrorKind::Protocol, message).with_source(error)
        })?;
        let answer = self.0.http.send(request).await;
        let answer = answer.map_err(|error| self.no_answer(error).error)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => CredentialErrorKind::Throttled,
            _ if status.is_server_error() => CredentialErrorKind::Unavailable,
            _ => CredentialErrorKind::Protocol,
        };
        let message = format!(
            "{what} can't be read, the answer was {}: check the authority address, or try again later",
            status.as_u16()
        );
        let asked = retry_after(answer.headers(), self.0.clock.now());
        Err(CredentialError::new(kind, message).with_retry_after(asked))
    }
}
