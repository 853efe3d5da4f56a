use keywheel::connection::{ConnectionStore, Namespace, Page};
use keywheel::core::CredentialErrorKind;
use keywheel::entra::CertificateFile;

use crate::place::{Place, actor};

fn registered(place: &Place) -> CertificateFile {
    let app = place.emulator.default_app();
    let key = app.private_key_pem().unwrap();
    CertificateFile::new(app.certificate_pem().unwrap()).with_private_key(key.expose())
}

/// A certificate that nobody registered.
fn stranger() -> CertificateFile {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(["stranger".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    CertificateFile::new(certificate.pem()).with_private_key(key.serialize_pem())
}

#[tokio::test]
async fn a_registered_certificate_is_stored_sealed_and_gives_tokens() {
    let place = Place::new().await;
    let created = place.by_certificate(&registered(&place)).await.unwrap();

    let id = created.connection.id;
    place.token(id).await.unwrap();
    let record = created.connection.encode();
    assert!(record.contains(r#""method":"certificate""#), "{record}");
    assert!(
        !record.contains("PRIVATE KEY") && !record.contains("LS0t"),
        "{record}"
    );
    assert_eq!(place.events(id).await, ["connection.created"]);
    assert!(place.status(id).await.end.is_some());
}

#[tokio::test]
async fn a_certificate_that_entra_does_not_know_is_refused_and_nothing_is_stored() {
    let place = Place::new().await;
    let refused = place.by_certificate(&stranger()).await.unwrap_err();

    assert!(refused.to_string().contains("AADSTS"), "{refused}");
    let namespace = Namespace::default();
    let page = Page::of(&namespace, 10);
    assert!(place.store.list(page).await.unwrap().is_empty());
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let place = Place::new().await;
    let refused = place
        .by_certificate(&CertificateFile::new("a diary"))
        .await
        .unwrap_err();

    assert_eq!(refused.kind(), CredentialErrorKind::InvalidConfiguration);
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let place = Place::new().await;
    let create = || async {
        let file = registered(&place);
        place.by_certificate(&file).await
    };

    create().await.unwrap();
    let second = create().await.unwrap_err();

    assert!(second.to_string().contains("name"), "{second}");
}

#[tokio::test]
async fn a_replaced_certificate_is_tried_out_first() {
    let place = Place::new().await;
    let created = place.by_certificate(&registered(&place)).await.unwrap();
    let id = created.connection.id;

    let enrolment = place.keywheel.enrolment();
    let replace = async |file| enrolment.replace_certificate(id, &file, &actor()).await;

    replace(stranger()).await.unwrap_err();
    place.token(id).await.unwrap();
    replace(registered(&place)).await.unwrap();

    place.token(id).await.unwrap();
    let expected = ["connection.created", "connection.certificate-replaced"];
    assert_eq!(place.events(id).await, expected);
}
