//! Holds what is sent and what is read against the shapes of Graph v1.0.

mod fields;
mod recorder;
mod shapes;

use chrono::TimeDelta;
use keywheel_core::{ApplicationObjectId, ServicePrincipalObjectId};
use keywheel_credentials::Certificate;
use keywheel_graph::{
    AppManagementPolicy, AppRoleAssignment, Application, ApplicationKey, ApplicationUpdate,
    ConfirmPolicy, CredentialRestriction, DirectoryObject, FederatedIdentityCredential,
    KeyCredential, ListOptions, NewApplication, NewFederatedIdentityCredential, NewKey,
    NewPassword, Organization, PasswordCredential, Refusal, RequiredResourceAccess, ResourceAccess,
    Restrictions, ServicePrincipal, Sought, User,
};

use self::fields::fields;
use self::recorder::Recorder;
use self::shapes::Shapes;
use crate::tenant::Tenant;

#[test]
fn every_member_that_is_read_is_a_property_of_its_type() {
    let shapes = Shapes::read();
    let hold = |kinds: &[&str], names: &[&str]| {
        for name in names.iter().filter(|name| !name.starts_with('@')) {
            let known = kinds
                .iter()
                .any(|kind| shapes.property(kind, name).is_some());
            assert!(known, "{name} is no property of {kinds:?}");
        }
    };

    hold(&["application"], fields::<Application>());
    hold(
        &["requiredResourceAccess"],
        fields::<RequiredResourceAccess>(),
    );
    hold(&["resourceAccess"], fields::<ResourceAccess>());
    hold(&["passwordCredential"], fields::<PasswordCredential>());
    hold(&["keyCredential"], fields::<KeyCredential>());
    hold(
        &["federatedIdentityCredential"],
        fields::<FederatedIdentityCredential>(),
    );
    hold(&["servicePrincipal"], fields::<ServicePrincipal>());
    hold(&["appRoleAssignment"], fields::<AppRoleAssignment>());
    hold(&["organization"], fields::<Organization>());
    hold(&["user(min)"], fields::<User>());
    hold(
        &["user(min)", "application", "servicePrincipal"],
        fields::<DirectoryObject>(),
    );
    hold(
        &["tenantAppManagementPolicy"],
        fields::<AppManagementPolicy>(),
    );
    hold(
        &["appManagementApplicationConfiguration"],
        fields::<Restrictions>(),
    );
    hold(
        &["passwordCredentialConfiguration"],
        fields::<CredentialRestriction>(),
    );
}

#[test]
fn every_answer_that_the_schema_allows_is_read_with_values_and_with_nulls() {
    let shapes = Shapes::read();
    macro_rules! hold {
        ($($kind:literal => $rust:ty),* $(,)?) => {$(
            for nulls in [false, true] {
                let body = shapes.example($kind, nulls);
                let read = serde_json::from_value::<$rust>(body.clone());
                assert!(read.is_ok(), "{}: {:?}: {body}", $kind, read.err());
            }
        )*};
    }

    hold! {
        "application" => Application,
        "passwordCredential" => PasswordCredential,
        "keyCredential" => KeyCredential,
        "federatedIdentityCredential" => FederatedIdentityCredential,
        "servicePrincipal" => ServicePrincipal,
        "appRoleAssignment" => AppRoleAssignment,
        "organization" => Organization,
        "user(min)" => User,
        "tenantAppManagementPolicy" => AppManagementPolicy,
    }
}

#[test]
fn every_refusal_on_record_has_a_kind_and_those_to_be_treated_are_recognised() {
    for (status, code, _) in Shapes::read().errors() {
        let code = code.split(' ').next().unwrap_or_default().to_owned();
        let own = [
            "CredentialInvalidLifetimeAsPerAppPolicy",
            "CredentialTypeNotAllowedAsPerAppPolicy",
            "TooManyAppPasswords",
            "Directory_ResourceSizeExceeded",
            "Directory_QuotaExceeded",
            "Directory_ConcurrencyViolation",
            "Authentication_MissingOrMalformed",
            "CannotUpdateLockedServicePrincipalProperty",
        ];
        let refusal = recorder::refusal(status, &code);
        assert_eq!(
            refusal.is_some(),
            own.contains(&code.as_str()),
            "{status} {code}"
        );
        assert_ne!(refusal, Some(Refusal::UnknownKey), "by words only");
    }
}

#[tokio::test]
async fn every_request_and_answer_of_all_calls_keeps_to_the_shapes() {
    let tenant = Tenant::with_rights().await;
    let recorder = Recorder::over(tenant.http.clone());
    ask_everything(&tenant, &recorder).await;

    let shapes = Shapes::read();
    let exchanges = recorder.exchanges();
    let mut names: Vec<_> = exchanges.iter().map(|one| shapes.hold(one)).collect();
    names.sort_unstable();
    names.dedup();
    let wanted = [
        "DELETE application",
        "DELETE application/federatedIdentityCredentials",
        "DELETE servicePrincipal/appRoleAssignments",
        "GET application",
        "GET application/federatedIdentityCredentials",
        "GET application/owners",
        "GET applications",
        "GET me",
        "GET organization",
        "GET policies/defaultAppManagementPolicy",
        "GET servicePrincipal",
        "GET servicePrincipal/appRoleAssignments",
        "GET servicePrincipal/ownedObjects",
        "GET servicePrincipals",
        "PATCH application",
        "PATCH application/federatedIdentityCredentials",
        "POST $batch",
        "POST application/addKey",
        "POST application/addPassword",
        "POST application/federatedIdentityCredentials",
        "POST application/owners",
        "POST application/removeKey",
        "POST application/removePassword",
        "POST applications",
        "POST servicePrincipal/appRoleAssignments",
    ];
    assert_eq!(names, wanted);
}

/// Makes every call that there is.
async fn ask_everything(tenant: &Tenant, recorder: &Recorder) {
    let graph = tenant.graph_over(recorder.clone());
    let app = tenant.emulator.default_app();
    let now = tenant.emulator.clock().now();
    let mut at_once = ConfirmPolicy::default();
    at_once.interval = std::time::Duration::from_millis(1);

    let mut new = NewApplication::new("made");
    (new.unique_name, new.notes) = (Some("made/1".to_owned()), Some("notes".to_owned()));
    new.tags = vec!["tag".to_owned()];
    let made = graph.create_application(&new).await.unwrap();
    let made = graph.application(made.id);
    graph
        .application(ApplicationKey::unique_name("made/1"))
        .get()
        .await
        .unwrap();
    let mut update = ApplicationUpdate::default();
    (update.display_name, update.tags) = (Some("renamed".to_owned()), Some(Vec::new()));
    (update.notes, update.sign_in_audience) =
        (Some("n".to_owned()), Some("AzureADMyOrg".to_owned()));
    update.required_resource_access = Some(Vec::new());
    made.update(&update).await.unwrap();
    let options = ListOptions::new()
        .search("displayName", "rena")
        .page_size(5);
    graph.applications(&options).all().await.unwrap();
    graph
        .service_principals(&ListOptions::new())
        .all()
        .await
        .unwrap();

    let own = graph.application(tenant.client_id());
    let end = now + TimeDelta::days(30);
    let added = own
        .add_password(&NewPassword::new("marker", end))
        .await
        .unwrap();
    let key_id = added.key_id.unwrap();
    own.confirm_present(&Sought::KeyId(key_id), &at_once)
        .await
        .unwrap();
    own.passwords().await.unwrap();
    own.remove_password(&key_id).await.unwrap();

    let object: ApplicationObjectId = app.object_id().parse().unwrap();
    let pem = app.certificate_pem().unwrap() + app.private_key_pem().unwrap().expose();
    let certificate = Certificate::read(pem.as_bytes(), None).unwrap();
    let proof = || {
        certificate
            .key_proof(object, tenant.emulator.clock().now())
            .unwrap()
    };
    let registered = own.keys().await.unwrap().remove(0).key.unwrap();
    let der = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, registered).unwrap();
    let new = NewKey::certificate(&der).named("again");
    let key = own.add_key(&new, &proof()).await.unwrap();
    own.remove_key(&key.key_id.unwrap(), &proof())
        .await
        .unwrap();
    made.add_key_by_patch(&new, &at_once).await.unwrap();

    let principal: ServicePrincipalObjectId = app.service_principal_id().parse().unwrap();
    own.add_owner(*principal.as_uuid()).await.unwrap();
    own.owners().await.unwrap();
    let service = graph.service_principal(tenant.client_id());
    service.get().await.unwrap();
    graph.service_principal(principal).get().await.unwrap();
    service.owned_objects().all().await.unwrap();
    let assigned = service.app_role_assignments().all().await.unwrap();
    service.remove_app_role(&assigned[0].id).await.unwrap();
    let resource = assigned[0].resource_id.unwrap().into();
    service
        .assign_app_role(principal, resource, assigned[0].app_role_id)
        .await
        .unwrap();

    let audience = tenant.cloud.exchange_audience();
    let new =
        NewFederatedIdentityCredential::new("pipeline", "https://ci.example", "subject", audience);
    made.add_federated_credential(&new).await.unwrap();
    made.update_federated_credential(&new).await.unwrap();
    made.federated_credential("pipeline").await.unwrap();
    made.federated_credentials().all().await.unwrap();
    made.remove_federated_credential("pipeline").await.unwrap();

    graph.organization().await.unwrap();
    graph.me().await.unwrap_err();
    graph.app_management_policy().await.unwrap();
    let mut batch = graph.batch();
    batch.get_application(tenant.client_id());
    batch.owners(tenant.client_id());
    batch.remove_password(tenant.client_id(), &key_id);
    batch.send().await;
    made.delete().await.unwrap();
}
