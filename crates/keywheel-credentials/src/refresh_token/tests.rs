use std::sync::Mutex as StdMutex;

use chrono::TimeDelta;
use keywheel_core::{ClientSecret, Report};

use super::*;
use crate::ClientSecretCredential;
use crate::test_support::{
    Answer, Fields, Service, client_id, granted, graph, noon, refused, reply,
};

/// A store that tells its history, and may fail.
#[derive(Clone, Debug)]
struct Store(Arc<StdMutex<Record>>);

#[derive(Debug)]
struct Record {
    held: String,
    saved: Vec<String>,
    ends: Vec<String>,
    failures: usize,
}

impl Store {
    fn with(refresh_token: &str) -> Self {
        Self(Arc::new(StdMutex::new(Record {
            held: refresh_token.to_owned(),
            saved: Vec::new(),
            ends: Vec::new(),
            failures: 0,
        })))
    }

    fn saved(&self) -> Vec<String> {
        self.0.lock().unwrap().saved.clone()
    }

    fn ends(&self) -> Vec<String> {
        self.0.lock().unwrap().ends.clone()
    }

    fn fail(&self, times: usize) {
        self.0.lock().unwrap().failures = times;
    }
}

#[async_trait]
impl RefreshTokenStore for Store {
    async fn load(&self) -> Result<Secret, CredentialError> {
        Ok(Secret::new(self.0.lock().unwrap().held.clone()))
    }

    async fn save(&self, refresh_token: &Secret) -> Result<(), CredentialError> {
        let mut record = self.0.lock().unwrap();
        if record.failures > 0 {
            record.failures -= 1;
            let kind = CredentialErrorKind::Unavailable;
            return Err(CredentialError::new(kind, "the store is away: try again"));
        }
        record.held = refresh_token.expose().to_owned();
        record.saved.push(refresh_token.expose().to_owned());
        Ok(())
    }

    async fn ended(&self, why: &CredentialError) {
        self.0.lock().unwrap().ends.push(why.to_string());
    }
}

fn client<F: Fn(usize, &Fields) -> Answer + Send + Sync + 'static>(
    service: &Arc<Service<F>>,
) -> ConfidentialClient {
    let secret = ClientSecret::new(Secret::new("kq~8Q~made-up")).unwrap();
    ClientSecretCredential::new(service.endpoint(), client_id(), secret).client()
}

fn rotated(access_token: &str, refresh_token: &str) -> Answer {
    reply(
        200,
        serde_json::json!({"access_token": access_token, "refresh_token": refresh_token, "expires_in": 3600}),
    )
}

/// Gives refresh token `n + 1` for the `n`th, and only once.
fn strict(number: usize, form: &Fields) -> Answer {
    if form.get("refresh_token") == format!("r{number}") {
        rotated(&format!("a{number}"), &format!("r{}", number + 1))
    } else {
        refused("invalid_grant", 50_173)
    }
}

async fn token(credential: &RefreshTokenCredential, request: &TokenRequest) -> String {
    let token = credential.get_token(request).await.unwrap();
    token.token.expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_saved_before_the_access_token_is_used() {
    let service = Service::new(strict);
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());

    assert_eq!(token(&credential, &graph()).await, "a0");

    assert_eq!(store.saved(), ["r1"]);
    let form = service.form(0);
    assert_eq!(form.get("grant_type"), "refresh_token");
    assert_eq!(
        form.get("scope"),
        "https://graph.microsoft.com/.default offline_access"
    );
    assert_eq!(form.get("client_secret"), "kq~8Q~made-up");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_yields_no_token_and_loses_none() {
    let service = Service::new(strict);
    let store = Store::with("r0");
    store.fail(2);
    let credential = RefreshTokenCredential::new(client(&service), store.clone());

    for _ in 0..2 {
        let error = credential.get_token(&graph()).await.unwrap_err();
        assert_eq!(error.kind(), CredentialErrorKind::Unavailable);
        assert!(credential.cached_token(&graph()).is_none());
        assert_eq!(
            service.count(),
            1,
            "nothing is refreshed before it is saved"
        );
    }

    assert_eq!(token(&credential, &graph()).await, "a1");
    assert_eq!(store.saved(), ["r1", "r2"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_keeps_the_old() {
    let service = Service::new(|number: usize, form: &Fields| {
        assert_eq!(form.get("refresh_token"), "r0");
        granted(&format!("a{number}"))
    });
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());
    let first = credential.get_token(&graph()).await.unwrap();

    assert_eq!(token(&credential, &graph().rejecting(&first)).await, "a1");
    assert!(store.saved().is_empty());
}

#[tokio::test(start_paused = true)]
async fn refreshes_for_several_scopes_take_turns() {
    let service = Service::new(strict);
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());
    let mail = TokenRequest::new("Mail.Read".parse().unwrap());
    let files = TokenRequest::new("Files.Read".parse().unwrap());
    let graph = graph();

    let (one, two, three) = tokio::join!(
        credential.get_token(&graph),
        credential.get_token(&mail),
        credential.get_token(&files),
    );

    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(store.saved(), ["r1", "r2", "r3"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_lose_the_refresh_token() {
    let service = Service::new(strict);
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());
    let request = graph();
    let short = std::time::Duration::from_millis(10);
    let dropped = tokio::time::timeout(short, credential.get_token(&request)).await;
    assert!(dropped.is_err());

    tokio::time::sleep(std::time::Duration::from_secs(1)).await;

    assert_eq!(store.saved(), ["r1"]);
    assert_eq!(token(&credential, &request).await, "a0");
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_saved_is_used() {
    let service = Service::new(|_: usize, form: &Fields| granted(form.get("refresh_token")));
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());
    let first = credential.get_token(&graph()).await.unwrap();

    store.save(&Secret::new("r7")).await.unwrap();

    assert_eq!(token(&credential, &graph().rejecting(&first)).await, "r7");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_has_ended_asks_for_the_user_and_says_why() {
    for (code, words) in [
        (50_173, "revoked"),
        (700_082, "has expired"),
        (70_043, "has expired"),
        (50_076, "multifactor"),
        (65_001, "consent"),
        (1, "user to act"),
    ] {
        let service = Service::new(move |_: usize, _: &Fields| refused("invalid_grant", code));
        let credential = RefreshTokenCredential::new(client(&service), Store::with("r0"));
        let error = credential.get_token(&graph()).await.unwrap_err();

        assert_eq!(
            error.kind(),
            CredentialErrorKind::InteractionRequired,
            "{code}"
        );
        assert!(
            error.to_string().contains(words),
            "{code}: {}",
            Report(&error)
        );
    }
}

/// The user signed in again, or another replica was quicker.
#[tokio::test(start_paused = true)]
async fn what_was_saved_while_its_forerunner_was_refused_is_used() {
    let store = Store::with("r0");
    let meanwhile = store.clone();
    let service = Service::new(move |number: usize, form: &Fields| {
        if number == 0 {
            meanwhile.0.lock().unwrap().held = "r7".to_owned();
            refused("invalid_grant", 50_173)
        } else {
            granted(form.get("refresh_token"))
        }
    });
    let credential = RefreshTokenCredential::new(client(&service), store.clone());

    assert_eq!(token(&credential, &graph()).await, "r7");
    assert!(store.ends().is_empty(), "{:?}", store.ends());
}

#[tokio::test(start_paused = true)]
async fn a_store_is_told_of_the_end_of_a_sign_in_and_not_of_a_challenge() {
    let service = Service::new(|_: usize, _: &Fields| refused("invalid_grant", 50_173));
    let store = Store::with("r0");
    let credential = RefreshTokenCredential::new(client(&service), store.clone());

    let challenged = graph().with_claims("{}");
    credential.get_token(&challenged).await.unwrap_err();
    assert!(store.ends().is_empty(), "{:?}", store.ends());

    let error = credential.get_token(&graph()).await.unwrap_err();
    assert_eq!(store.ends(), [error.to_string()]);
}

fn authorization(refresh_token: Option<&str>) -> Authorization {
    let token = AccessToken::new(Secret::new("first"), noon(), noon() + TimeDelta::hours(1));
    Authorization {
        user: crate::SignedInUser {
            tenant: uuid::Uuid::from_u128(1),
            object_id: None,
            subject: "s".to_owned(),
            username: None,
            name: None,
        },
        scopes: graph().scopes,
        granted: None,
        token,
        refresh_token: refresh_token.map(Secret::new),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_goes_on_with_its_own_token_once_the_refresh_token_is_saved() {
    let service = Service::new(strict);
    let store = Store::with("");
    let signed_in = authorization(Some("r0"));
    let credential =
        RefreshTokenCredential::from_authorization(signed_in, client(&service), store.clone());
    let credential = credential.await.unwrap();

    assert_eq!(store.saved(), ["r0"]);
    assert_eq!(token(&credential, &graph()).await, "first");
    assert_eq!(service.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_whose_refresh_token_can_not_be_saved_is_an_error() {
    let service = Service::new(strict);
    let store = Store::with("");
    store.fail(1);
    for signed_in in [authorization(Some("r0")), authorization(None)] {
        let client = client(&service);
        let store = store.clone();
        let result = RefreshTokenCredential::from_authorization(signed_in, client, store).await;
        assert!(result.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_secret() {
    let service = Service::new(strict);
    let store = Store::with("r0");
    let refresher = Refresher {
        client: client(&service),
        store: Arc::new(Silent),
        unsaved: Mutex::new(Some(Secret::new("s3cr3t"))),
    };
    let credential = RefreshTokenCredential::new(client(&service), store);
    let shown = format!("{refresher:?} {credential:?}");

    assert!(!shown.contains("s3cr3t"), "{shown}");
}

/// A store as embedders write them: its `Debug` tells nothing.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl RefreshTokenStore for Silent {
    async fn load(&self) -> Result<Secret, CredentialError> {
        Ok(Secret::new("r"))
    }

    async fn save(&self, _: &Secret) -> Result<(), CredentialError> {
        Ok(())
    }
}
