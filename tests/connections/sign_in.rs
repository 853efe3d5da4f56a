use keywheel::connection::{Credential, Sealer};
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

    let stored = place.load(id).await;
    let Credential::AuthorizationCode(sign_in) = &stored.credential else {
        panic!("{stored:?}")
    };
    assert_eq!(sign_in.generation, 2);
    let context = stored.refresh_token_context(2);
    let newest = place.ring.open(&sign_in.sealed, &context).await.unwrap();
    assert_ne!(
        newest.expose(),
        authorization.refresh_token.unwrap().expose()
    );
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
