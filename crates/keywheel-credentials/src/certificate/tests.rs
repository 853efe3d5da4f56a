use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::{fs, str};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keywheel_core::{
    Cloud, CredentialErrorKind, ManualClock, Report, TokenCredential, TokenRequest,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use self::workshop::Workshop;
use super::*;
use crate::test_support::{Fields, Service, cases, client_id, granted, noon};
use crate::{CertificateCredential, TokenEndpoint};

mod workshop;

static FILES: LazyLock<Workshop> = LazyLock::new(Workshop::equip);

fn password(text: &str) -> Option<Secret> {
    Some(Secret::new(text))
}

fn read(file: impl AsRef<[u8]>) -> Result<Certificate, InvalidCertificate> {
    Certificate::read(file.as_ref(), password("pw").as_ref())
}

/// The certificate alone and its key alone, or in one file in either order, must give the same.
fn assert_reads(name: &str, certificate: &str, key: &str) {
    let parts = Certificate::read_parts(
        certificate.as_bytes(),
        key.as_bytes(),
        password("pw").as_ref(),
    );
    for (form, result) in [
        ("parts", parts),
        ("one file", read(format!("{certificate}\n{key}"))),
        ("key first", read(format!("{key}\n{certificate}"))),
    ] {
        let certificate = result.unwrap_or_else(|error| panic!("{name}, {form}: {error}"));
        assert_eq!(certificate.thumbprint(), thumbprint(), "{name}, {form}");
    }
}

/// The thumbprint of the leaf as OpenSSL tells it.
fn thumbprint() -> String {
    let told = FILES.openssl("x509 -in leaf.pem -noout -fingerprint -sha1");
    let told = String::from_utf8(told).unwrap();
    let digits = told.trim().split_once('=').unwrap().1;
    digits.replace(':', "")
}

#[test]
fn what_people_have_is_read() {
    let leaf = FILES.text("leaf.pem");
    let key = FILES.text("key.pem");
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let escaped = |text: &str| text.replace('\n', "\\n");
    let spaced = |text: &str| text.replace('\n', " ");
    let indented = |text: &str| format!("\u{feff}  \n{}", text.replace('\n', "\n    "));
    let quoted = |text: &str| format!("\"{}\"", escaped(text));
    let noted = |text: &str| {
        format!("Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\n{text}")
    };

    assert_reads("as OpenSSL writes it", &leaf, &key);
    assert_reads("PKCS#1", &leaf, &FILES.text("key.pkcs1.pem"));
    assert_reads("CRLF", &crlf(&leaf), &crlf(&key));
    assert_reads("literal \\n", &escaped(&leaf), &escaped(&key));
    assert_reads("literal \\r\\n", &escaped(&crlf(&leaf)), &escaped(&key));
    assert_reads("on one line", &spaced(&leaf), &spaced(&key));
    assert_reads("leading blanks", &indented(&leaf), &indented(&key));
    assert_reads("quoted", &quoted(&leaf), &quoted(&key));
    assert_reads("text around", &noted(&leaf), &noted(&key));
    assert_reads(
        "wrong labels",
        &leaf.replace("CERTIFICATE", "X509 CERTIFICATE"),
        &key.replace("PRIVATE", "RSA PRIVATE"),
    );
    assert!(read(FILES.bytes("bags.pem")).is_ok());

    let (leaf, key) = (FILES.bytes("leaf.der"), FILES.bytes("key.der"));
    let bare = |der: &[u8]| STANDARD.encode(der);
    for (certificate, key) in [
        (bare(&leaf).into_bytes(), bare(&key).into_bytes()),
        (leaf, key),
    ] {
        assert!(Certificate::read_parts(&certificate, &key, None).is_ok());
    }
}

#[test]
fn the_certificate_of_the_key_is_found_in_any_order() {
    let (leaf, ca, key) = (
        FILES.text("leaf.pem"),
        FILES.text("ca.pem"),
        FILES.text("key.pem"),
    );
    let foreign = FILES.text("weak.pem");
    for file in [
        format!("{leaf}{ca}{key}"),
        format!("{ca}{leaf}{key}"),
        format!("{key}{ca}{foreign}{leaf}"),
    ] {
        let certificate = read(&file).unwrap();

        assert_eq!(certificate.thumbprint(), thumbprint());
        assert_eq!(certificate.chain.len(), 2, "leaf and issuer, no other");
    }
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn encrypted_keys_are_read() {
    for name in [
        "key.aes.pem",
        "key.3des.pem",
        "key.scrypt.pem",
        "key.quick.pem",
    ] {
        assert_reads(name, &FILES.text("leaf.pem"), &FILES.text(name));
    }
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn an_encrypted_key_that_can_not_be_opened_says_why() {
    use InvalidCertificate::{PasswordRequired, TooCostly, UnsupportedEncryption, WrongPassword};

    let leaf = FILES.bytes("leaf.pem");
    for (name, given, error) in [
        ("key.aes.pem", None, PasswordRequired),
        ("key.aes.pem", password("other"), WrongPassword),
        ("key.aes.pem", password(""), WrongPassword),
        ("key.scrypt.pem", password("other"), WrongPassword),
        ("key.costly.pem", password("pw"), TooCostly),
        ("key.pbes1.pem", password("pw"), UnsupportedEncryption),
        ("key.rfc1423.pem", password("pw"), UnsupportedEncryption),
    ] {
        let result = Certificate::read_parts(&leaf, &FILES.bytes(name), given.as_ref());
        assert_eq!(result.unwrap_err(), error, "{name}");
    }
}

#[cfg(not(feature = "encrypted-keys"))]
#[test]
fn an_encrypted_key_names_the_feature_it_needs() {
    let result =
        Certificate::read_parts(&FILES.bytes("leaf.pem"), &FILES.bytes("key.aes.pem"), None);
    let feature = "encrypted-keys";

    assert_eq!(
        result.unwrap_err(),
        InvalidCertificate::FeatureDisabled { feature }
    );
}

#[cfg(feature = "pfx")]
#[test]
fn archives_are_read() {
    for (name, given) in [
        ("modern.pfx", "pw"),
        ("umlaut.pfx", "Schlüssel"),
        ("3des.pfx", "pw"),
        ("quick.pfx", "pw"),
        ("quick3des.pfx", "pw"),
        ("legacy.pfx", "pw"),
        ("empty.pfx", ""),
        ("open.pfx", ""),
    ] {
        let file = FILES.bytes(name);
        for form in [file.clone(), STANDARD.encode(file).into_bytes()] {
            let certificate = Certificate::read(&form, password(given).as_ref());
            let certificate = certificate.unwrap_or_else(|error| panic!("{name}: {error}"));

            assert_eq!(certificate.thumbprint(), thumbprint(), "{name}");
            assert_eq!(certificate.chain.len(), 2, "{name}");
        }
    }
    assert!(Certificate::read(&FILES.bytes("open.pfx"), None).is_ok());
}

#[cfg(feature = "pfx")]
#[test]
fn an_archive_that_can_not_be_opened_says_why() {
    use InvalidCertificate::{NoPrivateKey, PasswordRequired, TooCostly, WrongPassword};

    for (name, given, error) in [
        ("modern.pfx", None, PasswordRequired),
        ("modern.pfx", password("other"), WrongPassword),
        ("legacy.pfx", password("other"), WrongPassword),
        ("keyless.pfx", password("pw"), NoPrivateKey),
        ("costly.pfx", password("pw"), TooCostly),
    ] {
        let result = Certificate::read(&FILES.bytes(name), given.as_ref());
        assert_eq!(result.unwrap_err(), error, "{name}");
    }
}

#[cfg(not(feature = "pfx"))]
#[test]
fn an_archive_names_the_feature_it_needs() {
    let result = read(FILES.bytes("modern.pfx"));

    assert_eq!(
        result.unwrap_err(),
        InvalidCertificate::FeatureDisabled { feature: "pfx" }
    );
}

#[test]
fn what_can_not_work_is_refused_with_its_reason() {
    use InvalidCertificate::{
        KeyMismatch, MalformedCertificate, MalformedKey, NoCertificate, NoPrivateKey,
        SeveralPrivateKeys, TooLarge, Unreadable, UnsupportedKey, WeakKey,
    };

    let file = |names: &[&str]| -> String { names.iter().map(|name| FILES.text(name)).collect() };
    let (leaf, key) = (FILES.text("leaf.pem"), FILES.text("key.pem"));
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let damage = |text: &str| text.replacen("\nM", "\n!", 1);
    let garbage = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");

    for (what, file, error) in [
        ("nothing", String::new(), Unreadable),
        ("a password", "hunter2".to_owned(), Unreadable),
        ("a path", "/etc/ssl/private/app.pem".to_owned(), Unreadable),
        ("HTML", "<html>".to_owned(), Unreadable),
        ("a request", file(&["leaf.csr"]), NoPrivateKey),
        ("no key", leaf.clone(), NoPrivateKey),
        ("no certificate", key.clone(), NoCertificate),
        ("another key", file(&["leaf.pem", "ca.key"]), KeyMismatch),
        (
            "two keys",
            file(&["leaf.pem", "key.pem", "ca.key"]),
            SeveralPrivateKeys,
        ),
        ("a curve", file(&["curve.pem", "curve.key"]), UnsupportedKey),
        (
            "a curve, SEC1",
            file(&["curve.pem", "curve.sec1.key"]),
            UnsupportedKey,
        ),
        (
            "1024 bits",
            file(&["weak.pem", "weak.key"]),
            WeakKey { bits: 1024 },
        ),
        (
            "a cut certificate",
            key.clone() + &cut(&leaf),
            MalformedCertificate,
        ),
        ("a cut key", leaf.clone() + &cut(&key), MalformedKey),
        (
            "a damaged certificate",
            key.clone() + &damage(&leaf),
            MalformedCertificate,
        ),
        ("a damaged key", leaf.clone() + &damage(&key), MalformedKey),
        (
            "no certificate in it",
            key + &garbage("CERTIFICATE"),
            MalformedCertificate,
        ),
        ("no key in it", leaf + &garbage("PRIVATE KEY"), MalformedKey),
        ("a film", " ".repeat((1 << 20) + 1), TooLarge),
    ] {
        assert_eq!(read(&file).unwrap_err(), error, "{what}");
    }
    assert_eq!(read([0xff, 0xfe, 0x00]).unwrap_err(), Unreadable);
}

#[test]
fn time_is_checked_to_the_second_and_the_end_is_announced() {
    let certificate = read(FILES.text("leaf.pem") + &FILES.text("key.pem")).unwrap();
    let (begins, ends) = (certificate.not_before(), certificate.not_after());
    let second = TimeDelta::seconds(1);

    assert_eq!(
        certificate.check(begins - second),
        Err(InvalidCertificate::NotYetValid { begins })
    );
    assert_eq!(certificate.check(begins), Ok(()));
    assert_eq!(certificate.check(ends - second), Ok(()));
    assert_eq!(
        certificate.check(ends),
        Err(InvalidCertificate::Expired { ended: ends })
    );

    assert_eq!(certificate.warning(ends - TimeDelta::days(31)), None);
    let warning = certificate.warning(ends - TimeDelta::days(12)).unwrap();
    assert_eq!(warning.days_left(), 12);
    assert!(
        warning.to_string().contains("12 days from now"),
        "{warning}"
    );
}

/// The parts of a JWT: header, claims, what is signed, signature.
fn parts(jwt: &Secret) -> (Value, Value, String, Vec<u8>) {
    let jwt = jwt.expose();
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    (json(header), json(claims), message.to_owned(), signature)
}

fn sign(change: impl FnOnce(Certificate) -> Certificate) -> Secret {
    let file = FILES.text("ca.pem") + &FILES.text("leaf.pem") + &FILES.text("key.pem");
    let certificate = change(read(file).unwrap());
    let audience = "https://login.microsoftonline.com/t.example/oauth2/v2.0/token";
    Signer::new(certificate, client_id())
        .sign(&audience.parse().unwrap(), noon(), Uuid::from_u128(7))
        .unwrap()
}

/// Has OpenSSL check the signature, by the public key in the certificate.
fn assert_verifies(message: &str, signature: &[u8], padding: &str) {
    let files = TempDir::new_in(FILES.0.path()).unwrap();
    let name = files.path().file_name().unwrap().to_str().unwrap();
    fs::write(files.path().join("message"), message).unwrap();
    fs::write(files.path().join("signature"), signature).unwrap();
    FILES.openssl(&format!(
        "x509 -in leaf.pem -noout -pubkey -out {name}/public"
    ));
    FILES.openssl(&format!(
        "dgst -sha256 {padding} -verify {name}/public -signature {name}/signature {name}/message"
    ));
}

#[test]
fn an_assertion_is_what_microsoft_documents() {
    let (header, claims, message, signature) = parts(&sign(|certificate| certificate));
    let digest = digest::digest(&digest::SHA256, &FILES.bytes("leaf.der"));

    assert_eq!(
        header,
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(digest)})
    );
    let now = noon().timestamp();
    assert_eq!(
        claims,
        json!({
            "aud": "https://login.microsoftonline.com/t.example/oauth2/v2.0/token",
            "iss": client_id(), "sub": client_id(), "jti": Uuid::from_u128(7),
            "nbf": now - 120, "iat": now, "exp": now + 480,
        })
    );
    let padding = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
    assert_verifies(&message, &signature, padding);
}

#[test]
fn rs256_goes_with_the_sha1_thumbprint() {
    let (header, _, message, signature) = parts(&sign(Certificate::with_rs256));
    let bytes: Vec<u8> = (0..40)
        .step_by(2)
        .map(|at| u8::from_str_radix(&thumbprint()[at..at + 2], 16).unwrap())
        .collect();

    assert_eq!(
        header,
        json!({"alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(bytes)})
    );
    assert_verifies(&message, &signature, "");
}

#[test]
fn x5c_holds_the_chain_from_the_leaf_up_in_standard_base64_of_der() {
    let (header, ..) = parts(&sign(Certificate::with_x5c));
    let body = |name: &str| -> String {
        let text = FILES.text(name);
        text.lines().filter(|line| !line.starts_with('-')).collect()
    };

    assert_eq!(header["x5c"], json!([body("leaf.pem"), body("ca.pem")]));
}

#[test]
fn the_private_key_is_not_shown() {
    let certificate = read(FILES.text("leaf.pem") + &FILES.text("key.pem")).unwrap();
    let mut shown = format!("{certificate:?} ");
    write!(shown, "{:?}", Signer::new(certificate, client_id())).unwrap();

    assert!(shown.contains(&thumbprint()), "{shown}");
    assert!(shown.len() < 1_000, "no key and no chain: {shown}");
}

#[test]
fn errors_repeat_nothing_of_the_file() {
    let secret = "c2VjcmV0LW1hdGVyaWFs";
    let file = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----");
    let error = read(file).unwrap_err();

    let shown = format!("{error:?} {}", Report(&error));
    assert!(!shown.contains(secret), "{shown}");
}

/// What `rustls-pemfile` reads, we read the same.
#[test]
fn clean_pem_is_read_as_rustls_pemfile_reads_it() {
    let text = FILES.text("leaf.pem")
        + &FILES.text("ca.pem")
        + &FILES.text("key.pkcs1.pem")
        + &FILES.text("key.pem");
    let theirs: Vec<Vec<u8>> = rustls_pemfile::read_all(&mut text.as_bytes())
        .map(|item| match item.unwrap() {
            rustls_pemfile::Item::X509Certificate(der) => der.to_vec(),
            rustls_pemfile::Item::Pkcs1Key(der) => der.secret_pkcs1_der().to_vec(),
            rustls_pemfile::Item::Pkcs8Key(der) => der.secret_pkcs8_der().to_vec(),
            item => panic!("{item:?}"),
        })
        .collect();
    let ours: Vec<Vec<u8>> = pem::blocks(&text)
        .unwrap()
        .into_iter()
        .map(|block| match block.content {
            pem::Content::Der(der) => der.to_vec(),
            pem::Content::LegacyEncryption => panic!("it is not encrypted"),
        })
        .collect();

    assert_eq!(ours, theirs);
}

/// A change of a file: some bytes replaced, inserted or cut out.
fn mutate(mut file: Vec<u8>, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (index, byte, kind) in edits {
        let at = index.index(file.len().max(1)).min(file.len());
        match kind % 4 {
            0 => file.insert(at, *byte),
            1 => file.truncate(at),
            2 if at < file.len() => {
                file.remove(at);
            }
            _ if at < file.len() => file[at] = *byte,
            _ => {}
        }
    }
    file
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>(), any::<u8>()),
        1..6,
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_is_read_or_refused(
        text in prop_oneof![
            ".{0,200}",
            "(-----(BEGIN|END) (RSA |EC |ENCRYPTED )?(CERTIFICATE|PRIVATE KEY)-----[A-Za-z0-9+/= \\\\rn\n]{0,40}){0,6}",
        ],
    ) {
        prop_assert!(read(&text).is_err());
    }

    #[test]
    fn any_change_of_a_pem_file_is_read_or_refused(edits in edits()) {
        let file = FILES.text("leaf.pem") + &FILES.text("key.pkcs1.pem");
        if let Ok(certificate) = read(mutate(file.into_bytes(), &edits)) {
            prop_assert_eq!(certificate.chain.len(), 1);
        }
    }

    #[test]
    fn any_change_of_der_is_read_or_refused(edits in edits(), swap in any::<bool>()) {
        let (leaf, key) = (FILES.bytes("leaf.der"), FILES.bytes("key.der"));
        let (leaf, key) = if swap { (mutate(leaf, &edits), key) } else { (leaf, mutate(key, &edits)) };
        let _ = Certificate::read_parts(&leaf, &key, None);
    }
}

#[cfg(feature = "pfx")]
proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_change_of_an_archive_is_read_or_refused(edits in edits(), name in prop::sample::select(vec!["quick.pfx", "open.pfx", "quick3des.pfx"])) {
        let _ = read(mutate(FILES.bytes(name), &edits));
    }
}

#[cfg(feature = "encrypted-keys")]
proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_change_of_an_encrypted_key_is_read_or_refused(edits in edits()) {
        let file = FILES.text("leaf.pem") + &FILES.text("key.quick.pem");
        let _ = read(mutate(file.into_bytes(), &edits));
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ends_while_it_is_used_is_an_error_before_anything_is_sent() {
    let service = Service::new(|_: usize, _: &Fields| granted("t"));
    let certificate = read(FILES.text("leaf.pem") + &FILES.text("key.pem")).unwrap();
    let clock = ManualClock::new(certificate.not_before());
    let endpoint = service.endpoint().with_clock(clock.clone());
    let request = crate::test_support::graph();
    let credential =
        CertificateCredential::new(endpoint, client_id(), certificate.clone()).unwrap();
    credential.get_token(&request).await.unwrap();
    assert_eq!(credential.warning(), None);

    clock.set(certificate.not_after());

    let error = credential.get_token(&request).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::InvalidConfiguration);
    assert_eq!(service.count(), 1);
    assert!(credential.warning().is_some());
    assert!(credential.replace(certificate).is_err());
}

/// Its audience is the address that it is sent to: Entra of another cloud takes no other.
#[tokio::test(start_paused = true)]
async fn an_assertion_is_for_the_cloud_that_it_is_sent_to() {
    let service = Service::new(|_: usize, _: &Fields| granted("a"));
    let tenant = "t.example".parse().unwrap();
    let file = FILES.text("leaf.pem") + &FILES.text("key.pem");
    for (cloud, address) in [
        (
            Cloud::us_government(),
            "https://login.microsoftonline.us/t.example/oauth2/v2.0/token",
        ),
        (
            Cloud::china(),
            "https://login.partner.microsoftonline.cn/t.example/oauth2/v2.0/token",
        ),
    ] {
        let certificate = read(&file).unwrap();
        let valid = certificate.not_after() - TimeDelta::days(1);
        let endpoint = TokenEndpoint::new(Arc::clone(&service), &cloud, &tenant)
            .with_clock(ManualClock::new(valid));
        let credential = CertificateCredential::new(endpoint, client_id(), certificate).unwrap();
        let request = TokenRequest::new(cloud.graph_scope());
        let number = service.count();
        credential.get_token(&request).await.unwrap();

        let sent_to = service.with_request(number, |request| request.uri().to_string());
        let form = service.form(number);
        let (_, claims, ..) = parts(&Secret::new(form.get("client_assertion")));
        assert_eq!(
            (sent_to.as_str(), &claims["aud"]),
            (address, &json!(address))
        );
        assert_eq!(form.get("scope"), cloud.graph_scope().as_str());
    }
}
