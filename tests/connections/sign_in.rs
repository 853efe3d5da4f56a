use keywheel::core::{CredentialErrorKind, TokenCredential, TokenRequest};
use keywheel::entra::Target;
use keywheel::rotation::Health;

use crate::place::{Place, actor};

const USER: &str = "ada@contoso.example";

#[tokio::test]
async fn a_user_signs_in_and_the_connection_acts_for_them() {
    let place = Place::new().await;
    let authorization = place.sign_in(USER).await;

    let created = place.by_sign_in(place.target(), &authorization).await;
    let created = created.unwrap();

    place.token(created.connection.id).await.unwrap();
    let record = created.connection.encode();
    let refresh_token = authorization.refresh_token.unwrap();
    assert!(record.contains(USER), "{record}");
    assert!(!record.contains(refresh_token.expose()), "{record}");
}

#[tokio::test]
async fn each_new_refresh_token_is_stored_before_the_access_token_is_used() {
    let place = Place::new().await;
    let authorization = place.sign_in(USER).await;
    let created = place.by_sign_in(place.target(), &authorization).await;
    let id = created.unwrap().connection.id;

    place.token(id).await.unwrap();
    place.token(id).await.unwrap();

    let (sign_in, newest) = place.signed_in(id).await;
    assert_eq!(sign_in.generation, 2);
    let first = authorization.refresh_token.unwrap();
    assert_ne!(newest.expose(), first.expose());
    assert_eq!(place.events(id).await, ["connection.created"]);
}

#[tokio::test]
async fn a_sign_in_that_ended_shows_in_the_status_until_the_user_signs_in_again() {
    let place = Place::new().await;
    let enrolment = place.keywheel.enrolment();
    let authorization = place.sign_in(USER).await;
    let created = place.by_sign_in(place.target(), &authorization).await;
    let id = created.unwrap().connection.id;
    let credential = place.keywheel.credential(id).await.unwrap();
    let request = TokenRequest::new(place.cloud().graph_scope());

    place.emulator.revoke_sessions(USER).unwrap();
    let refused = credential.get_token(&request).await.unwrap_err();
    let ended = place.status(id).await;
    let again = place.sign_in(USER).await;
    enrolment.sign_in_again(id, &again, &actor()).await.unwrap();

    assert_eq!(refused.kind(), CredentialErrorKind::InteractionRequired);
    assert_eq!(ended.health, Health::NeedsReauth);
    credential.get_token(&request).await.unwrap();
    assert_eq!(place.status(id).await.health, Health::Active);
    let expected = [
        "connection.created",
        "connection.needs-reauth",
        "connection.signed-in",
    ];
    assert_eq!(place.events(id).await, expected);
}

/// Whatever the refresh that was on its way is answered, it is about the sign-in from before.
#[tokio::test]
async fn a_refresh_that_was_on_its_way_takes_nothing_from_who_signed_in_again() {
    for revoked in [false, true] {
        let place = Place::new().await;
        let first = place.sign_in(USER).await;
        let created = place.by_sign_in(place.target(), &first).await.unwrap();
        let id = created.connection.id;
        if revoked {
            place.emulator.revoke_sessions(USER).unwrap();
        }

        let held = place.gate.hold();
        let (token, again) = tokio::join!(place.token(id), async {
            held.arrived.await.unwrap();
            let again = place.sign_in(USER).await;
            let enrolment = place.keywheel.enrolment();
            enrolment.sign_in_again(id, &again, &actor()).await.unwrap();
            held.open.send(()).unwrap();
            again
        });

        token.unwrap();
        let status = place.status(id).await;
        assert_eq!(status.health, Health::Active, "revoked: {revoked}");
        let (_, stored) = place.signed_in(id).await;
        // The refused one was repeated with the new sign-in, whose refresh token follows.
        let taken = again.refresh_token.unwrap();
        assert_eq!(stored.expose() != taken.expose(), revoked);
        let events = ["connection.created", "connection.signed-in"];
        assert_eq!(place.events(id).await, events);
        place.token(id).await.unwrap();
    }
}

/// Users need not sign in again because the application's secret has to be given anew.
#[tokio::test]
async fn a_secret_of_the_application_that_has_gone_ends_no_sign_in() {
    let place = Place::new().await;
    let authorization = place.sign_in(USER).await;
    let created = place.by_sign_in(place.target(), &authorization).await;
    let id = created.unwrap().connection.id;
    let app = place.emulator.default_app();
    let (client, key_id) = (app.client_id(), app.secret_key_id());
    assert!(place.emulator.remove_secret(client, key_id).unwrap());

    let refused = place.token(id).await.unwrap_err();

    assert_eq!(refused.kind(), CredentialErrorKind::InvalidClient);
    assert_eq!(place.status(id).await.health, Health::Active);
    assert_eq!(place.events(id).await, ["connection.created"]);
}

#[tokio::test]
async fn a_user_of_another_tenant_is_refused() {
    let place = Place::new().await;
    let authorization = place.sign_in(USER).await;
    let other = "11111111-2222-3333-4444-555555555555".parse().unwrap();
    let target = Target::new("customer".parse().unwrap(), other).in_cloud(place.cloud());

    let refused = place.by_sign_in(target, &authorization).await.unwrap_err();

    assert_eq!(refused.kind(), CredentialErrorKind::InvalidConfiguration);
    assert!(refused.to_string().contains("tenant"), "{refused}");
}
