//! PEM as people have it (RFC 7468 and what became of it).

use std::borrow::Cow;

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::InvalidCertificate;

/// One block of a PEM text.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    pub(super) content: Content,
}

pub(super) enum Content {
    Der(Zeroizing<Vec<u8>>),
    /// RFC 1423: the key is encrypted, and headers say how.
    LegacyEncryption,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Tells whether `text` has a block.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Undoes what environment variables, JSON and quoting do to line ends.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        Cow::Owned(text.replace("\\r", "\n").replace("\\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns the certificates and private keys in `text`, and skips all else: attributes between the
/// blocks, parameters, requests.
///
/// A block without an end, or whose content isn't base64, is an error: something was cut off.
pub(super) fn blocks(mut text: &str) -> Result<Vec<Block<'_>>, InvalidCertificate> {
    let mut blocks = Vec::new();
    while let Some((_, rest)) = text.split_once(BEGIN) {
        let (label, rest) = rest
            .split_once(DASHES)
            .ok_or(InvalidCertificate::Unreadable)?;
        let (body, rest) = rest.split_once(END).ok_or_else(|| damaged(label))?;
        text = rest.split_once(DASHES).map_or("", |(_, rest)| rest);
        if is_wanted(label) {
            let content = decode(body).ok_or_else(|| damaged(label))?;
            blocks.push(Block { label, content });
        }
    }
    Ok(blocks)
}

fn is_wanted(label: &str) -> bool {
    label.ends_with("CERTIFICATE") || label.ends_with("PRIVATE KEY")
}

/// Returns the error for a block that can't be read.
pub(super) fn damaged(label: &str) -> InvalidCertificate {
    if label.ends_with("CERTIFICATE") {
        InvalidCertificate::MalformedCertificate
    } else {
        InvalidCertificate::MalformedKey
    }
}

fn decode(body: &str) -> Option<Content> {
    if body.contains("DEK-Info") {
        return Some(Content::LegacyEncryption);
    }
    base64(body).map(Content::Der)
}

/// Decodes base64 with any white space in it, in constant time.
///
/// `rustls-pki-types` does that for what it takes for a private key, so this is put to it as one.
pub(super) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    pem.extend(text.split_whitespace());
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
}
