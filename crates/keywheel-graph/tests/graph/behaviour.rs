use chrono::TimeDelta;
use futures_util::TryStreamExt;
use keywheel_core::{ApplicationObjectId, KeyId, ServicePrincipalObjectId};
use keywheel_credentials::Certificate;
use keywheel_emulator::{ConflictAnswer, Fault, PolicySeed, Route, Span};
use keywheel_graph::{
    ApplicationKey, ApplicationUpdate, ConfirmPolicy, Filter, GraphErrorKind, ListOptions,
    NewApplication, NewFederatedIdentityCredential, NewKey, NewPassword, Refusal, Sought, Verdict,
};

use crate::tenant::Tenant;

fn in_days(tenant: &Tenant, days: i64) -> chrono::DateTime<chrono::Utc> {
    tenant.emulator.clock().now() + TimeDelta::days(days)
}

/// Five reads in a row, at once.
fn at_once() -> ConfirmPolicy {
    let mut policy = ConfirmPolicy::default();
    policy.interval = std::time::Duration::from_millis(1);
    policy
}

#[tokio::test]
async fn an_application_lives_from_creation_to_deletion_under_each_of_its_keys() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let mut new = NewApplication::new("it's new");
    new.unique_name = Some("unique/it's".to_owned());

    let made = graph.create_application(&new).await.unwrap();
    let keys: [ApplicationKey; 3] = [
        made.id.into(),
        made.app_id.into(),
        ApplicationKey::unique_name("unique/it's"),
    ];
    for key in keys {
        let read = graph.application(key).get().await.unwrap();
        assert_eq!((read.id, read.secret_limit()), (made.id, None));
    }
    let mut update = ApplicationUpdate::default();
    update.display_name = Some("renamed".to_owned());
    graph.application(made.id).update(&update).await.unwrap();
    let read = graph
        .application(made.app_id)
        .get_with(&["id", "appId", "displayName"])
        .await;
    assert_eq!(read.unwrap().display_name.as_deref(), Some("renamed"));
    graph.application(made.id).delete().await.unwrap();
    let gone = graph.application(made.id).get().await.unwrap_err();
    assert_eq!(gone.kind(), GraphErrorKind::NotFound);
}

#[tokio::test]
async fn lists_are_filtered_searched_and_paged() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    for number in 0..7 {
        let new = NewApplication::new(format!("billing o'{number}"));
        graph.create_application(&new).await.unwrap();
    }
    let names = async |options: &ListOptions| {
        let items = graph.applications(options).items();
        let all: Vec<_> = items.try_collect().await.unwrap();
        all.into_iter()
            .filter_map(|it: keywheel_graph::Application| it.display_name)
            .count()
    };

    assert_eq!(names(&ListOptions::new().page_size(3)).await, 8);
    let starting = Filter::starts_with("displayName", "billing o'");
    assert_eq!(names(&ListOptions::new().filter(&starting)).await, 7);
    let one = Filter::equal("displayName", "billing o'3");
    assert_eq!(names(&ListOptions::new().filter(&one)).await, 1);
    assert_eq!(
        names(&ListOptions::new().filter(&Filter::client_id(tenant.client_id()))).await,
        1
    );
    assert_eq!(
        names(&ListOptions::new().search("displayName", "bill")).await,
        7
    );
    let not = Filter::odata("displayName ne 'tool'", true).and(&starting);
    assert_eq!(
        names(&ListOptions::new().filter(&not).order_by("displayName desc")).await,
        7
    );
    let mut pages = graph.applications(&ListOptions::new().count().page_size(5));
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!((first.count, first.value.len()), (Some(8), 5));
    let resumed = graph
        .applications(&ListOptions::new())
        .resume(first.next_link.unwrap());
    assert_eq!(resumed.all().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_secret_is_added_shown_once_confirmed_and_removed() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let application = graph.application(tenant.client_id());

    let end = in_days(&tenant, 30);
    let added = application
        .add_password(&NewPassword::new("marker", end))
        .await
        .unwrap();
    let (id, text) = (added.key_id.unwrap(), added.secret_text.unwrap());
    assert!(text.expose().starts_with(added.hint.as_deref().unwrap()));
    assert!(
        tenant
            .emulator
            .accepts(&tenant.client_id().to_string(), text.expose())
    );
    let sought = Sought::DisplayName("marker".to_owned());
    assert!(
        application
            .confirm_present(&sought, &at_once())
            .await
            .unwrap()
            .is_present()
    );
    let listed = application.passwords().await.unwrap();
    assert!(
        listed.iter().all(|one| one.secret_text.is_none()),
        "{listed:?}"
    );

    application.remove_password(&id).await.unwrap();
    let absent = application
        .confirm_absent(&Sought::KeyId(id), &at_once())
        .await
        .unwrap();
    assert_eq!((absent.is_absent(), absent.reads()), (true, 5));
    let again = application.remove_password(&id).await.unwrap_err();
    assert_eq!(again.refusal(), Some(Refusal::UnknownKey));
    assert_eq!(again.status().unwrap(), 400);
}

#[tokio::test]
async fn a_secret_that_reads_do_not_show_yet_is_confirmed_once_they_do() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let application = graph.application(tenant.client_id());
    let lag = TimeDelta::hours(1);
    tenant
        .emulator
        .behave(|service| service.read_lag = Span::exactly(lag));
    let new = NewPassword::new("marker", in_days(&tenant, 30));
    let added = application.add_password(&new).await.unwrap();
    let sought = Sought::KeyId(added.key_id.unwrap());
    let mut briefly = at_once();
    briefly.max_elapsed = std::time::Duration::ZERO;

    let early = application
        .confirm_present(&sought, &briefly)
        .await
        .unwrap();
    assert_eq!((early.verdict, early.reads()), (Verdict::Undecided, 1));
    tenant.emulator.clock().advance(lag);
    let later = application
        .confirm_present(&sought, &at_once())
        .await
        .unwrap();
    assert!(later.is_present(), "{later:?}");
}

#[tokio::test]
async fn a_dropped_connection_before_or_after_the_effect_is_never_answered_by_a_second_secret() {
    for fault in [
        Fault::reset(),
        Fault::reset().after_effect(),
        Fault::truncate(20),
    ] {
        let tenant = Tenant::with_rights().await;
        let graph = tenant.graph();
        let application = graph.application(tenant.client_id());
        application.get().await.unwrap();
        let effect = fault.after_effect;
        tenant.emulator.inject(fault.on(Route::AddPassword));

        let new = NewPassword::new("marker", in_days(&tenant, 30));
        let lost = application.add_password(&new).await.unwrap_err();

        assert!(lost.may_have_effect(), "{lost:?}");
        let secrets = tenant
            .emulator
            .live_secrets(&tenant.client_id().to_string());
        assert_eq!(secrets.len(), 1 + usize::from(effect));
        let sought = Sought::DisplayName("marker".to_owned());
        let looked = if effect {
            application
                .confirm_present(&sought, &at_once())
                .await
                .unwrap()
                .is_present()
        } else {
            application
                .confirm_absent(&sought, &at_once())
                .await
                .unwrap()
                .is_absent()
        };
        assert!(looked);
    }
}

#[tokio::test]
async fn certificates_are_rolled_by_proof_and_merged_by_patch() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let app = tenant.emulator.default_app();
    let application = graph.application(tenant.client_id());
    let object: ApplicationObjectId = app.object_id().parse().unwrap();
    let pem = app.certificate_pem().unwrap() + app.private_key_pem().unwrap().expose();
    let certificate = Certificate::read(pem.as_bytes(), None).unwrap();
    let made = rcgen::generate_simple_self_signed(["second.example".to_owned()]).unwrap();
    let new = NewKey::certificate(made.cert.der()).named("second");
    let proof = || {
        certificate
            .key_proof(object, tenant.emulator.clock().now())
            .unwrap()
    };

    let added = application.add_key(&new, &proof()).await.unwrap();
    assert_eq!(application.keys().await.unwrap().len(), 2);
    application
        .remove_key(&added.key_id.unwrap(), &proof())
        .await
        .unwrap();
    let nonsense = keywheel_core::Secret::new("a.b.c");
    let bad = application
        .remove_key(&added.key_id.unwrap(), &nonsense)
        .await;
    assert_eq!(bad.unwrap_err().refusal(), Some(Refusal::BadProof));

    let before = application.keys().await.unwrap();
    application
        .add_key_by_patch(&new, &at_once())
        .await
        .unwrap();
    application
        .add_key_by_patch(&new, &at_once())
        .await
        .unwrap();
    let merged = application.keys().await.unwrap();
    assert_eq!(merged.len(), 2);
    let kept = merged
        .iter()
        .find(|key| key.key_id == before[0].key_id)
        .unwrap();
    assert_eq!(kept, &before[0], "what was there is untouched");
    assert!(
        kept.thumbprint()
            .is_some_and(|it| it == certificate.thumbprint())
    );
    let second = merged
        .iter()
        .find(|key| key.key_id != before[0].key_id)
        .unwrap();
    let id: KeyId = second.key_id.unwrap();
    application
        .remove_key_by_patch(&id, &at_once())
        .await
        .unwrap();
    application
        .remove_key_by_patch(&id, &at_once())
        .await
        .unwrap();
    assert_eq!(application.keys().await.unwrap(), before);
}

#[tokio::test]
async fn owners_assignments_and_federated_credentials_come_and_go() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let app = tenant.emulator.default_app();
    let made = graph
        .create_application(&NewApplication::new("other"))
        .await
        .unwrap();
    let application = graph.application(made.id);
    let own: ServicePrincipalObjectId = app.service_principal_id().parse().unwrap();

    let before = application.owners().await.unwrap().len();
    let ada = graph.application(tenant.client_id());
    assert!(ada.owners().await.unwrap().is_empty());
    ada.add_owner(*own.as_uuid()).await.unwrap();
    ada.add_owner(*own.as_uuid()).await.unwrap();
    let owners = ada.owners().await.unwrap();
    assert_eq!(owners[0].app_id, Some(tenant.client_id()));
    assert_eq!(before, 1, "who creates it owns it");

    let principal = graph.service_principal(tenant.client_id());
    assert_eq!(principal.get().await.unwrap().id, own);
    let assigned = principal.app_role_assignments().all().await.unwrap();
    assert_eq!(assigned.len(), crate::tenant::EVERYTHING.len());
    let one = &assigned[0];
    principal.remove_app_role(&one.id).await.unwrap();
    let resource = one.resource_id.unwrap().into();
    let again = principal
        .assign_app_role(own, resource, one.app_role_id)
        .await
        .unwrap();
    assert_eq!(again.app_role_id, one.app_role_id);
    let twice = principal
        .assign_app_role(own, resource, one.app_role_id)
        .await
        .unwrap_err();
    assert_eq!(twice.refusal(), Some(Refusal::AlreadyExists));
    let owned = principal.owned_objects().all().await.unwrap();
    assert!(
        owned
            .iter()
            .all(keywheel_graph::DirectoryObject::is_application),
        "{owned:?}"
    );

    let audience = tenant.cloud.exchange_audience();
    let mut new = NewFederatedIdentityCredential::new(
        "pipeline",
        "https://ci.example",
        "repo:a/b:ref:main",
        audience,
    );
    application.add_federated_credential(&new).await.unwrap();
    let taken = application
        .add_federated_credential(&new)
        .await
        .unwrap_err();
    assert_eq!(taken.refusal(), Some(Refusal::AlreadyExists));
    new.subject = "repo:a/b:ref:release".to_owned();
    application.update_federated_credential(&new).await.unwrap();
    let read = application.federated_credential("pipeline").await.unwrap();
    assert_eq!(read.subject.as_deref(), Some("repo:a/b:ref:release"));
    application
        .remove_federated_credential("pipeline")
        .await
        .unwrap();
    assert!(
        application
            .federated_credentials()
            .all()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn the_tenant_is_read_and_me_is_for_users() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();

    let organization = graph.organization().await.unwrap();
    assert!(
        organization.is(&"contoso.example".parse().unwrap()),
        "{organization:?}"
    );
    assert!(!organization.is(&"fabrikam.example".parse().unwrap()));
    let refused = graph.me().await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::DelegatedOnly));
}

#[tokio::test]
async fn policies_and_limits_are_told_apart() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let application = graph.application(tenant.client_id());
    let new = NewPassword::new("marker", in_days(&tenant, 300));

    let mut lifetime = PolicySeed::default();
    lifetime.secret_lifetime = Some("P90D".to_owned());
    tenant
        .emulator
        .set_policy("contoso.example", &lifetime)
        .unwrap();
    let long = application.add_password(&new).await.unwrap_err();
    assert_eq!(long.refusal(), Some(Refusal::LifetimeTooLong));
    assert_eq!(long.target(), Some("EndDate"));
    let read = graph.app_management_policy().await.unwrap();
    assert_eq!(read.longest_secret(None), Some(TimeDelta::days(90)));

    let addition = PolicySeed::no_secrets();
    tenant
        .emulator
        .set_policy("contoso.example", &addition)
        .unwrap();
    let forbidden = application.add_password(&new).await.unwrap_err();
    assert_eq!(forbidden.refusal(), Some(Refusal::CredentialTypeForbidden));
    assert!(
        graph
            .app_management_policy()
            .await
            .unwrap()
            .forbids_secrets(None)
    );

    tenant
        .emulator
        .set_policy("contoso.example", &PolicySeed::default())
        .unwrap();
    let client_id = tenant.client_id().to_string();
    let audience = "AzureADandPersonalMicrosoftAccount";
    tenant
        .emulator
        .set_property(&client_id, "signInAudience", audience)
        .unwrap();
    application.add_password(&new).await.unwrap();
    let third = application.add_password(&new).await.unwrap_err();
    assert_eq!(third.refusal(), Some(Refusal::TooManySecrets));
    assert_eq!(application.get().await.unwrap().secret_limit(), Some(2));
}

#[tokio::test]
async fn a_token_that_graph_refuses_is_replaced_and_the_call_goes_through() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let application = graph.application(tenant.client_id());
    application.get().await.unwrap();
    tenant
        .emulator
        .inject(Fault::respond(401).on(Route::AddPassword));

    let new = NewPassword::new("marker", in_days(&tenant, 30));
    application.add_password(&new).await.unwrap();

    let tokens = tenant.emulator.requests().into_iter();
    assert_eq!(tokens.filter(|it| it.route == Route::Token).count(), 2);
    let secrets = tenant
        .emulator
        .live_secrets(&tenant.client_id().to_string());
    assert_eq!(secrets.len(), 2, "{secrets:?}");
}

#[tokio::test]
async fn concurrent_writes_in_each_shape_are_passed_by() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    tenant.emulator.behave(|service| {
        service.concurrency.probability = 0.4;
        service.concurrency.answer = ConflictAnswer::Mixed;
    });
    let mut retry = keywheel_core::RetryPolicy::default();
    (retry.max_attempts, retry.base) = (30, std::time::Duration::from_millis(1));
    retry.cap = retry.base;
    let graph = graph.with_retry(retry);

    for turn in 0..30 {
        let mut update = ApplicationUpdate::default();
        update.notes = Some(format!("turn {turn}"));
        graph
            .application(tenant.client_id())
            .update(&update)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_batch_reads_and_writes_more_than_twenty() {
    let tenant = Tenant::with_rights().await;
    let graph = tenant.graph();
    let application = graph.application(tenant.client_id());
    let new = NewPassword::new("marker", in_days(&tenant, 30));
    let added = application.add_password(&new).await.unwrap();

    let mut batch = graph.batch();
    let reads: Vec<_> = (0..45)
        .map(|_| batch.get_application(tenant.client_id()))
        .collect();
    let owners = batch.owners(tenant.client_id());
    let removal = batch.remove_password(tenant.client_id(), &added.key_id.unwrap());
    let mut answers = batch.send().await;

    for read in reads {
        let read = answers.take::<keywheel_graph::Application>(read).unwrap();
        assert_eq!(read.app_id, tenant.client_id());
    }
    assert!(
        answers
            .page::<keywheel_graph::DirectoryObject>(owners)
            .unwrap()
            .is_empty()
    );
    answers.take::<()>(removal).unwrap();
    assert_eq!(application.passwords().await.unwrap().len(), 1);
}
