//! The web service: a page, the way to Entra, and the way back.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use keywheel::core::{
    CredentialError, Entropy, Report, Scope, Secret, SystemEntropy, TokenCredential, TokenRequest,
};
use keywheel::credentials::{
    AuthorizationCodeFlow, AuthorizationError, AuthorizationRequest, Callback, ConfidentialClient,
    PendingAuthorization, RefreshTokenCredential, RefreshTokenStore, SealKey,
};

/// What is asked for: to read who the user is.
const SCOPE: &str = "https://graph.microsoft.com/User.Read";

/// Holds the sealed sign-in while the browser is at Entra.
const COOKIE: &str = "sign-in";

#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    flow: AuthorizationCodeFlow,
    client: ConfidentialClient,
    /// All replicas of a service have the same; this one is alone.
    key: SealKey,
}

impl Service {
    pub(crate) fn new(flow: AuthorizationCodeFlow, client: ConfidentialClient) -> Self {
        let mut key = [0; 32];
        SystemEntropy::new().fill(&mut key);
        let key = SealKey::new(&key);
        Self(Arc::new(Inner { flow, client, key }))
    }

    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/", get(home))
            .route("/sign-in", get(sign_in))
            .route("/callback", get(callback))
            .with_state(self)
    }
}

async fn home() -> Html<&'static str> {
    Html("<!DOCTYPE html><title>Example</title><p><a href=\"/sign-in\">Sign in with Microsoft</a>")
}

/// Sends the browser to Entra. What has to be kept goes along with it, encrypted, so that the answer may
/// reach any replica.
async fn sign_in(State(service): State<Service>) -> Result<Response, Failure> {
    let scope: Scope = SCOPE.parse().map_err(|_| Failure::NotStarted)?;
    let (url, pending) = service.0.flow.begin(&AuthorizationRequest::new(scope));
    let sealed = pending.seal(&service.0.key);
    // `Lax`: the browser comes back from another site. Add `Secure` behind https.
    let cookie = format!("{COOKIE}={sealed}; HttpOnly; SameSite=Lax; Max-Age=600; Path=/callback");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(url.as_str())).into_response())
}

/// Takes the browser back, and acts for the user once.
async fn callback(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Html<String>, Failure> {
    let sealed = cookie(&headers).ok_or(Failure::NotStarted)?;
    let pending =
        PendingAuthorization::unseal(sealed, &service.0.key).map_err(|_| Failure::NotStarted)?;
    let callback = Callback::parse(&query.unwrap_or_default())?;
    let authorization = service.0.flow.complete(pending, callback).await?;

    let (user, scopes) = (authorization.user.clone(), authorization.scopes.clone());
    let first = authorization.token.clone();
    let (client, store) = (service.0.client.clone(), Store::default());
    // The refresh token is in the store before any access token is used.
    let credential =
        RefreshTokenCredential::from_authorization(authorization, client, store).await?;
    let mut request = TokenRequest::new(scopes[0].clone());
    request.scopes = scopes;
    let next = credential.get_token(&request.rejecting(&first)).await?;

    let name = user.username.or(user.name).unwrap_or(user.subject);
    Ok(Html(format!(
        "<!DOCTYPE html><title>Example</title><p>Signed in: {}. A refreshed token is valid until {}.",
        escape(&name),
        next.expires_on.format("%F %H:%M UTC")
    )))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// Names come from the tenant.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Keeps the refresh token; a service would keep it encrypted in its database.
#[derive(Clone, Debug, Default)]
struct Store(Arc<Mutex<Option<Secret>>>);

#[async_trait::async_trait]
impl RefreshTokenStore for Store {
    async fn load(&self) -> Result<Secret, CredentialError> {
        let held = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        held.ok_or_else(|| {
            let kind = keywheel::core::CredentialErrorKind::InteractionRequired;
            CredentialError::new(kind, "nobody has signed in yet: sign in")
        })
    }

    async fn save(&self, refresh_token: &Secret) -> Result<(), CredentialError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(refresh_token.clone());
        Ok(())
    }
}

/// What is told to the user, and what to the operator.
#[derive(Debug)]
enum Failure {
    Credential(CredentialError),
    NotStarted,
    SignIn(AuthorizationError),
}

impl From<AuthorizationError> for Failure {
    fn from(error: AuthorizationError) -> Self {
        Self::SignIn(error)
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::Credential(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let text = match self {
            Self::Credential(error) => {
                eprintln!("{}", Report(&error));
                "Something went wrong after the sign-in. Try again later.".to_owned()
            }
            Self::NotStarted => "This sign-in was not started here. Start it again.".to_owned(),
            Self::SignIn(error) => {
                eprintln!("{}", Report(&error));
                error.to_string()
            }
        };
        (StatusCode::BAD_REQUEST, text).into_response()
    }
}
