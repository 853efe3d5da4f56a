use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, PAD};
use http::HeaderMap;

/// Reads the claims that the next token must carry, from `WWW-Authenticate` of a 401 answer: base64 of
/// JSON. <https://learn.microsoft.com/entra/identity-platform/claims-challenge>
pub(super) fn challenge(headers: &HeaderMap) -> Option<String> {
    let mut challenges = headers.get_all("www-authenticate").iter();
    let claims = challenges.find_map(|header| parameter(header.to_str().ok()?, "claims"))?;
    let json = decode(claims)?;
    serde_json::from_str::<serde_json::Map<_, _>>(&json).ok()?;
    Some(json)
}

/// Finds `name="value"`, or `name=value`, in a list of challenges and parameters (RFC 9110, section 11).
fn parameter<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut rest = header;
    while let Some((before, after)) = rest.split_once('=') {
        let key = before.rsplit([',', ' ']).next().unwrap_or_default();
        let (value, tail) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find([',', ' ']).unwrap_or(after.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = tail;
    }
    None
}

/// Both alphabets have been seen, with padding and without.
fn decode(text: &str) -> Option<String> {
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let config = if text.ends_with('=') { PAD } else { NO_PAD };
    let bytes = GeneralPurpose::new(alphabet, config).decode(text).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<String> {
        let header = ("www-authenticate".parse().unwrap(), header.parse().unwrap());
        challenge(&HeaderMap::from_iter([header]))
    }

    #[test]
    fn a_challenge_is_read_as_microsoft_writes_it() {
        let json = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
        let claims = base64::prelude::BASE64_STANDARD.encode(json);
        let header = format!(
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
             client_id=\"00000003-0000-0000-c000-000000000000\", error=\"insufficient_claims\", claims=\"{claims}\""
        );

        assert_eq!(read(&header).as_deref(), Some(json));
        assert_eq!(read(&header.replace('"', "")).as_deref(), Some(json));
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for header in [
            "Bearer realm=\"\", client_id=\"x\"",
            "Bearer error_description=\"claims=nothing\"",
            "Bearer claims=\"not base64!\"",
            "Bearer claims=\"AAAA\"",
            "Bearer claims=\"",
            "",
        ] {
            assert_eq!(read(header), None, "{header}");
        }
    }
}
