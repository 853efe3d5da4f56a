use chrono::TimeDelta;
use keywheel_core::{CredentialErrorKind, FreshConnection, Secret};

use super::*;
use crate::test_support::{Answer, Fields, Service, client_id, granted, graph, noon, refused};

fn secret(value: &str) -> ClientSecret {
    ClientSecret::new(Secret::new(value)).unwrap()
}

/// Knows one secret.
fn only(good: &'static str) -> impl Fn(usize, &Fields) -> Answer + Send + Sync + 'static {
    move |_, form| {
        if form.get("client_secret") == good {
            granted(&format!("token-by-{good}"))
        } else {
            refused("invalid_client", 7_000_215)
        }
    }
}

async fn token(credential: &ClientSecretCredential) -> Result<String, CredentialError> {
    let token = credential.get_token(&graph()).await?;
    Ok(token.token.expose().to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_request_is_what_entra_documents() {
    let service = Service::new(only("one"));
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secret("one"));
    token(&credential).await.unwrap();

    let form = service.form(0);
    assert_eq!(form.get("grant_type"), "client_credentials");
    assert_eq!(form.get("client_id"), client_id().to_string());
    assert_eq!(form.get("client_secret"), "one");
    assert_eq!(form.get("scope"), "https://graph.microsoft.com/.default");
    service.with_request(0, |request| {
        assert_eq!(
            request.uri(),
            "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
        );
        assert_eq!(request.method(), "POST");
        assert_eq!(
            request.headers()["content-type"],
            "application/x-www-form-urlencoded"
        );
        assert!(request.headers().contains_key("client-request-id"));
        assert!(request.extensions().get::<FreshConnection>().is_none());
    });
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_challenge_are_sent() {
    let service = Service::new(only("one"));
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secret("one"));
    let challenged = graph().with_claims(r#"{"access_token":{}}"#);
    credential.get_token(&challenged).await.unwrap();

    assert_eq!(service.form(0).get("claims"), r#"{"access_token":{}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_secret_is_used_by_every_handle_from_then_on() {
    let service = Service::new(|_: usize, form: &Fields| granted(form.get("client_secret")));
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secret("one"));
    let handle = credential.clone();
    assert_eq!(token(&credential).await.unwrap(), "one");

    let next = ClientSecrets::new(secret("two")).with_generation(1);
    assert!(handle.replace(next));

    assert!(credential.cached_token(&graph()).is_none());
    assert_eq!(token(&credential).await.unwrap(), "two");
    assert_eq!(credential.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn news_that_arrive_late_change_nothing() {
    let service = Service::new(|_: usize, form: &Fields| granted(form.get("client_secret")));
    let two = ClientSecrets::new(secret("two")).with_generation(2);
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), two);
    token(&credential).await.unwrap();

    let old = ClientSecrets::new(secret("one")).with_generation(1);
    assert!(!credential.replace(old));

    assert!(credential.cached_token(&graph()).is_some());
    assert_eq!(token(&credential).await.unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_grace_costs_no_token() {
    let service = Service::new(only("two"));
    let graceful = ClientSecrets::new(secret("two")).with_previous(secret("one"), noon());
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), graceful);
    token(&credential).await.unwrap();

    assert!(credential.replace(secret("two")));

    assert!(credential.cached_token(&graph()).is_some());
}

#[tokio::test(start_paused = true)]
async fn during_grace_a_refused_secret_falls_back_on_the_previous_one_and_says_so() {
    for code in [7_000_215, 7_000_222, 7_005_003] {
        let service =
            Service::new(
                move |_: usize, form: &Fields| match form.get("client_secret") {
                    "one" => granted("t"),
                    _ => refused("invalid_client", code),
                },
            );
        let until = noon() + TimeDelta::hours(1);
        let secrets = ClientSecrets::new(secret("two")).with_previous(secret("one"), until);
        let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secrets);

        assert_eq!(token(&credential).await.unwrap(), "t", "{code}");
        let fallback = credential.fallback().unwrap();
        assert_eq!(fallback.aadsts_codes(), [code]);
        assert_eq!(service.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_of_the_current_secret_ends_the_fallback() {
    let service =
        Service::new(
            |number: usize, form: &Fields| match (number, form.get("client_secret")) {
                (0, "two") => refused("invalid_client", 7_000_215),
                _ => granted("t"),
            },
        );
    let until = noon() + TimeDelta::hours(1);
    let secrets = ClientSecrets::new(secret("two")).with_previous(secret("one"), until);
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secrets);
    let first = credential.get_token(&graph()).await.unwrap();
    assert!(credential.fallback().is_some());

    credential
        .get_token(&graph().rejecting(&first))
        .await
        .unwrap();

    assert!(credential.fallback().is_none());
    assert_eq!(service.form(2).get("client_secret"), "two");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_and_for_other_refusals_there_is_no_fallback() {
    for (code, until) in [
        (7_000_215, noon()),
        (700_016, noon() + TimeDelta::hours(1)),
        (53_003, noon() + TimeDelta::hours(1)),
    ] {
        let service = Service::new(move |_: usize, _: &Fields| refused("invalid_client", code));
        let secrets = ClientSecrets::new(secret("two")).with_previous(secret("one"), until);
        let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secrets);

        let error = token(&credential).await.unwrap_err();
        assert_eq!(error.aadsts_codes(), [code]);
        assert_eq!(service.count(), 1, "{code}");
        assert!(credential.fallback().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_secrets_are_refused_the_error_is_about_the_current_one() {
    let service = Service::new(|_: usize, form: &Fields| match form.get("client_secret") {
        "two" => refused("invalid_client", 7_000_215),
        _ => refused("invalid_client", 7_000_222),
    });
    let until = noon() + TimeDelta::hours(1);
    let secrets = ClientSecrets::new(secret("two")).with_previous(secret("one"), until);
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secrets);

    let error = token(&credential).await.unwrap_err();

    assert_eq!(error.aadsts_codes(), [7_000_215]);
    assert_eq!(service.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_replaced_while_its_refusal_is_on_the_way_is_used_at_once() {
    let service = Service::new(only("two"));
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secret("one"));
    let (result, replaced) = tokio::join!(token(&credential), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        credential.replace(ClientSecrets::new(secret("two")).with_generation(1))
    });

    assert!(replaced);
    assert_eq!(result.unwrap(), "token-by-two");
}

/// A store that another process writes to.
#[derive(Debug)]
struct Store(Mutex<Vec<Result<ClientSecrets, CredentialError>>>);

#[async_trait]
impl SecretSource for Store {
    async fn newest(&self) -> Result<ClientSecrets, CredentialError> {
        lock(&self.0).pop().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_looked_up_once_in_the_store_that_replicas_share() {
    let service = Service::new(only("two"));
    let newest = ClientSecrets::new(secret("two")).with_generation(1);
    let store = Store(Mutex::new(vec![Ok(newest)]));
    let credential =
        ClientSecretCredential::with_source(service.endpoint(), client_id(), secret("one"), store);

    assert_eq!(token(&credential).await.unwrap(), "token-by-two");
    assert_eq!(credential.generation(), 1);
    assert!(credential.fallback().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_without_news_or_in_trouble_leaves_the_refusal_as_it_is() {
    let trouble = CredentialError::new(CredentialErrorKind::Unavailable, "the store is away");
    for answer in [Ok(ClientSecrets::new(secret("one"))), Err(trouble)] {
        let service = Service::new(only("two"));
        let store = Store(Mutex::new(vec![answer]));
        let credential = ClientSecretCredential::with_source(
            service.endpoint(),
            client_id(),
            secret("one"),
            store,
        );

        let error = token(&credential).await.unwrap_err();
        assert_eq!(error.aadsts_codes(), [7_000_215]);
        assert_eq!(service.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_one_request_on_a_connection_of_its_own_each_time() {
    let service = Service::new(only("one"));
    let endpoint = service.endpoint();
    for number in 0..3 {
        let proof = prove_secret(&endpoint, client_id(), &secret("one"), &graph()).await;
        assert!(proof.is_ok());
        assert_eq!(service.count(), number + 1);
        service.with_request(number, |request| {
            assert!(request.extensions().get::<FreshConnection>().is_some());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_fails_is_not_tried_again() {
    let service = Service::new(|_: usize, _: &Fields| crate::test_support::reply(503, ""));
    let proof = prove_secret(&service.endpoint(), client_id(), &secret("x"), &graph()).await;

    assert_eq!(proof.unwrap_err().kind(), CredentialErrorKind::Unavailable);
    assert_eq!(service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_secret() {
    let service = Service::new(only("s3cr3t-value"));
    let secrets =
        ClientSecrets::new(secret("s3cr3t-value")).with_previous(secret("s3cr3t-before"), noon());
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secrets.clone());
    token(&credential).await.unwrap();

    let shown = format!("{credential:?} {secrets:?} {:?}", credential.client());
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert!(!shown.contains("token-by"), "{shown}");
}
