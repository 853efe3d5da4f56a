use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// A JSON Web Token taken apart (RFC 7519), nothing of it verified yet.
#[derive(Debug)]
pub(crate) struct Jwt<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes `token` apart; nothing when it is not three base64 parts with two JSON objects.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signed,
            signature: decode(signature)?,
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Returns a time claim in seconds. Clients send integers, floats (MSAL for Python) and strings
    /// (MSAL.NET).
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        match self.claims.get(name)? {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.trim().parse::<f64>().ok().and_then(whole),
            _ => None,
        }
    }

    /// Returns the audience: a text, or a list that holds one (RFC 7519 4.1.3).
    pub(crate) fn audience(&self) -> Option<&str> {
        match self.claims.get("aud")? {
            Value::String(text) => Some(text),
            Value::Array(list) if list.len() == 1 => list[0].as_str(),
            _ => None,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before"
)]
fn whole(number: f64) -> Option<i64> {
    (number.is_finite() && number.abs() < 1e15).then(|| number.floor() as i64)
}

/// Decodes base64 in either alphabet, with or without padding: clients send all four.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let standard = text.bytes().any(|byte| byte == b'+' || byte == b'/');
    if standard { &LENIENT } else { &LENIENT_URL }
        .decode(text)
        .ok()
}

/// Encodes for JSON Web Tokens: URL-safe, no padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const LENIENT: GeneralPurpose = GeneralPurpose::new(&STANDARD, FORGIVING);
const LENIENT_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, FORGIVING);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decodes_every_base64_that_clients_send() {
        for text in ["-_-_AQ", "-_-_AQ==", "+/+/AQ", "+/+/AQ=="] {
            assert_eq!(decode(text), Some(vec![0xfb, 0xff, 0xbf, 1]), "{text}");
        }
        assert_eq!(decode("%%%"), None);
    }

    #[test]
    fn reads_times_as_integers_floats_and_strings() {
        let claims = json!({"a": 5, "b": 5.9, "c": "5", "d": "5.9", "e": [], "f": "x", "g": 1e300});
        let token = format!("{}.{}.", encode("{}"), encode(claims.to_string()));
        let jwt = Jwt::parse(&token).expect("is a token");

        for name in ["a", "b", "c", "d"] {
            assert_eq!(jwt.seconds(name), Some(5), "{name}");
        }
        for name in ["e", "f", "g", "h"] {
            assert_eq!(jwt.seconds(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_token_is_nothing() {
        for text in ["", ".", "..", "a.b", "a.b.c", "e30.e30", "W10.W10."] {
            assert!(Jwt::parse(text).is_none(), "{text}");
        }
        assert!(Jwt::parse("e30.e30.").is_some());
    }
}
