use std::sync::Arc;

use keywheel_connection::{Access, CredentialIssuer, IssuerErrorKind, Removal};
use keywheel_core::{ReqwestSend, Secret, SystemEntropy, TenantId};
use keywheel_emulator::{ApplicationSeed, Fault, Route, TenantSeed};
use keywheel_entra::{EntraIssuer, Method, Read, ValidationErrorKind};
use serde_json::json;

use crate::rote::{self, CLIENT, Rote, TENANT};
use crate::tenant::{Tenant, Wall};

fn seed() -> TenantSeed {
    let application = ApplicationSeed::new("demo").role("Application.ReadWrite.OwnedBy");
    TenantSeed::new("contoso.example").application(application.owns_itself().secret("first"))
}

#[tokio::test]
async fn a_secret_that_works_is_a_token_of_the_tenant_and_one_read() {
    let tenant = Tenant::of(seed()).await;
    tenant.emulator.clear_log();

    let validated = tenant
        .access()
        .validate(Method::ClientSecret)
        .await
        .unwrap();

    assert_eq!(validated.tenant, Some(tenant.id()));
    assert_eq!(validated.read, Read::Application(Some("demo".to_owned())));
    let routes: Vec<_> = tenant
        .emulator
        .requests()
        .iter()
        .map(|it| it.route)
        .collect();
    assert_eq!(routes, [Route::Token, Route::Get]);
    assert!(
        tenant
            .emulator
            .effects()
            .iter()
            .all(|it| it.request.is_some()),
        "reads only"
    );
}

#[tokio::test]
async fn a_connection_without_any_permission_works_and_reads_nothing() {
    let application = ApplicationSeed::new("demo").secret("first");
    let tenant = Tenant::of(TenantSeed::new("contoso.example").application(application)).await;

    let validated = tenant.access().validate(Method::Certificate).await.unwrap();

    assert_eq!(validated.read, Read::Nothing);
}

#[tokio::test]
async fn a_domain_is_resolved_to_the_tenants_id() {
    let tenant = Tenant::of(seed()).await;
    let domain: TenantId = "contoso.example".parse().unwrap();
    let secret = tenant.emulator.default_app().secret().expose().to_owned();
    let access = tenant.access_by(tenant.credential(&domain, &secret), &domain);

    let validated = access.validate(Method::ClientSecret).await.unwrap();

    assert_eq!(validated.tenant, Some(tenant.id()));
}

#[tokio::test]
async fn a_wrong_secret_is_the_credentials_fault_and_an_outage_is_not() {
    let tenant = Tenant::of(seed()).await;
    let access = tenant.access_by(
        tenant.credential(&tenant.id(), "wrong~wrong~wrong"),
        &tenant.id(),
    );
    let wrong = access.validate(Method::ClientSecret).await.unwrap_err();
    assert_eq!(wrong.kind(), ValidationErrorKind::Credential);
    let report = keywheel_core::Report(&wrong).to_string();
    assert!(report.contains("AADSTS7000215"), "{report}");

    let access = tenant
        .access()
        .with_retry(keywheel_core::RetryPolicy::never());
    tenant.emulator.inject(Fault::respond(503).on(Route::Get));
    let down = access.validate(Method::ClientSecret).await.unwrap_err();
    assert_eq!(down.kind(), ValidationErrorKind::Unavailable);
    assert!(down.is_transient());
}

#[tokio::test]
async fn a_token_of_another_tenant_or_application_is_refused_whatever_graph_says() {
    let readable = || Rote::default().answering(")", json!({ "id": CLIENT, "appId": CLIENT }));
    let other = "00000000-2222-4333-8444-555555555555";
    for (claims, kind) in [
        (
            json!({ "tid": other, "appid": CLIENT }),
            ValidationErrorKind::OtherTenant,
        ),
        (
            json!({ "tid": TENANT, "appid": other }),
            ValidationErrorKind::OtherApplication,
        ),
        (
            json!({ "tid": TENANT, "azp": other }),
            ValidationErrorKind::OtherApplication,
        ),
    ] {
        let access = rote::access(readable(), &claims);
        let refused = access.validate(Method::Certificate).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{claims}");
        assert!(!refused.is_transient());
    }
    let ours = json!({ "tid": TENANT, "appid": CLIENT.to_uppercase() });
    assert!(
        rote::access(readable(), &ours)
            .validate(Method::Certificate)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_opaque_token_is_checked_by_the_tenants_own_answer() {
    let organization = |id: &str| json!({ "value": [{ "id": id, "verifiedDomains": [] }] });
    let rote = |id: &str| {
        Rote::default()
            .answering(
                "/me",
                json!({ "id": CLIENT, "userPrincipalName": "ada@contoso.example" }),
            )
            .answering("/organization", organization(id))
    };
    let cloud = keywheel_core::Cloud::public();

    let ours = rote::access_with(rote(TENANT), "opaque", &cloud);
    let validated = ours.validate(Method::AuthorizationCode).await.unwrap();
    assert_eq!(validated.tenant, Some(TENANT.parse().unwrap()));
    assert_eq!(
        validated.read,
        Read::User(Some("ada@contoso.example".to_owned()))
    );
    let other = rote::access_with(rote(CLIENT), "opaque", &cloud);
    let refused = other.validate(Method::AuthorizationCode).await.unwrap_err();
    assert_eq!(refused.kind(), ValidationErrorKind::OtherTenant);
    let silent = Rote::default().answering("/me", json!({ "id": CLIENT }));
    let silent = rote::access_with(silent, "opaque", &cloud);
    assert_eq!(
        silent
            .validate(Method::AuthorizationCode)
            .await
            .unwrap()
            .tenant,
        None
    );
}

#[tokio::test]
async fn an_applications_token_is_no_users() {
    let tenant = Tenant::of(seed()).await;

    let refused = tenant
        .access()
        .validate(Method::AuthorizationCode)
        .await
        .unwrap_err();

    assert_eq!(refused.kind(), ValidationErrorKind::Refused);
}

/// What a connection's creation goes through.
#[tokio::test]
async fn the_issuer_proves_a_secret_only_in_the_tenant_that_was_asked_for() {
    let tenant = Tenant::of(seed()).await;
    let app = tenant.emulator.default_app();
    let issuer = issuer(&tenant, &Arc::new(tenant.http.clone()));
    let mut connection = connection(&tenant);
    let secret = Secret::new(app.secret().expose());

    issuer
        .prove(&Access::new(&connection, 0, secret.clone()))
        .await
        .unwrap();
    connection.tenant = "00000000-2222-4333-8444-555555555555".parse().unwrap();
    let refused = issuer
        .prove(&Access::new(&connection, 0, secret))
        .await
        .unwrap_err();

    assert_ne!(refused.kind(), IssuerErrorKind::Unknown);
}

/// What is open holds the way to send requests beside the secret, so that is how it is counted.
#[tokio::test]
async fn what_an_issuer_has_open_is_closed_when_a_secret_is_revoked() {
    let tenant = Tenant::of(seed()).await;
    let http = Arc::new(tenant.http.clone());
    let issuer = issuer(&tenant, &http);
    let idle = Arc::strong_count(&http);
    let connection = connection(&tenant);
    let app = tenant.emulator.default_app();
    let first = Secret::new(app.secret().expose());
    let second = tenant
        .emulator
        .add_secret(app.client_id(), "second")
        .unwrap();
    let access =
        Access::new(&connection, 1, Secret::new(second.text.expose())).with_previous(Some(first));
    issuer.prove(&access).await.unwrap();
    assert!(Arc::strong_count(&http) > idle, "something is open");

    let key_id = app.secret_key_id().parse().unwrap();
    let removed = issuer.remove(&access, &key_id).await.unwrap();

    assert_eq!(removed, Removal::Removed);
    assert_eq!(Arc::strong_count(&http), idle, "after a removal");

    issuer.prove(&access).await.unwrap();
    let removed = issuer.remove(&access, &key_id).await.unwrap();

    assert_eq!(removed, Removal::NotFound);
    assert_eq!(
        Arc::strong_count(&http),
        idle,
        "after a removal whose answer was lost"
    );
}

fn issuer(tenant: &Tenant, http: &Arc<ReqwestSend>) -> EntraIssuer {
    EntraIssuer::new(
        Arc::<ReqwestSend>::clone(http),
        Arc::new(Wall(tenant.emulator.clock().clone())),
        Arc::new(SystemEntropy::new()),
    )
}

fn connection(tenant: &Tenant) -> keywheel_connection::Connection {
    use keywheel_connection::{Connection, ConnectionId, Credential, Held, Sealed, Secrets};
    let now = tenant.emulator.clock().now();
    let held = Held::given(Sealed::new("k", Vec::new()), None, now);
    let mut connection = Connection::new(
        ConnectionId::from(uuid::Uuid::nil()),
        "demo".parse().unwrap(),
        (tenant.id(), tenant.client()),
        Credential::ClientSecret(Secrets::new(held)),
        now,
    );
    connection.cloud = tenant.cloud.clone();
    connection
}
