use chrono::TimeDelta;
use futures_util::TryStreamExt;
use keywheel_emulator::{ApplicationSeed, SecretSeed, TenantSeed, UserSeed};
use keywheel_entra::{CredentialKind, Expiry, ExpiryWatch, Holder};

use crate::rote::now;
use crate::tenant::Tenant;

/// Twenty-five applications with a secret each, that end one to twenty-five days from now.
fn seed(role: &str) -> TenantSeed {
    let tool = ApplicationSeed::new("tool")
        .role(role)
        .owns_itself()
        .secret("tool's");
    let mut tenant = TenantSeed::new("contoso.example")
        .user(UserSeed::new("ada@contoso.example", "ada's password"))
        .application(tool);
    for days in 1..=25 {
        let mut secret = SecretSeed::default().ending(now() + TimeDelta::days(days));
        secret.display_name = Some(format!("secret {days}"));
        secret.start = Some(now() - TimeDelta::days(100));
        let mut application = ApplicationSeed::new(format!("app {days:02}")).with_secret(secret);
        application.owners = vec!["ada@contoso.example".to_owned()];
        if days <= 3 {
            application.owners.push("tool".to_owned());
        }
        tenant = tenant.application(application);
    }
    tenant
}

fn days(expiries: &[Expiry]) -> Vec<i64> {
    let mut days: Vec<_> = expiries.iter().filter_map(|it| it.days_left).collect();
    days.sort_unstable();
    days
}

#[tokio::test]
async fn every_credential_of_every_readable_application_is_told_with_its_owners() {
    let tenant = Tenant::of(seed("Application.Read.All")).await;
    let watch = ExpiryWatch::new()
        .within(TimeDelta::days(20))
        .with_owners()
        .page_size(7);

    let all: Vec<Expiry> = tenant
        .access()
        .expiries(&watch)
        .try_collect()
        .await
        .unwrap();

    assert_eq!(days(&all), (1..=20).collect::<Vec<_>>());
    let first = all.iter().find(|it| it.days_left == Some(1)).unwrap();
    assert_eq!(
        (first.kind, first.holder),
        (CredentialKind::ClientSecret, Holder::Foreign)
    );
    assert_eq!(first.name.as_deref(), Some("secret 1"));
    let owners = first.owners.clone().unwrap();
    assert!(
        owners.contains(&"ada@contoso.example".to_owned()) && owners.contains(&"tool".to_owned()),
        "{owners:?}"
    );
    assert_eq!(first.threshold, Some(1));
}

#[tokio::test]
async fn with_owned_by_alone_it_is_the_owned_applications() {
    let tenant = Tenant::of(seed("Application.ReadWrite.OwnedBy")).await;

    let near = ExpiryWatch::new().within(TimeDelta::days(90));
    let all: Vec<Expiry> = tenant.access().expiries(&near).try_collect().await.unwrap();

    assert_eq!(days(&all), [1, 2, 3]);
}

#[tokio::test]
async fn thresholds_are_events_that_are_told_once() {
    let tenant = Tenant::of(seed("Application.Read.All")).await;
    let watch = ExpiryWatch::new();
    let mut told = Vec::new();
    let mut since = now() - TimeDelta::days(1);
    for _ in 0..3 {
        let events = tenant.access().expiry_events(&watch, since);
        let events: Vec<_> = events.try_collect().await.unwrap();
        told.push(events.iter().map(|it| it.threshold).collect::<Vec<_>>());
        since = tenant.emulator.clock().now();
        tenant.emulator.clock().advance(TimeDelta::days(1));
    }

    for day in &mut told {
        day.sort_unstable();
    }
    // Each day one secret passes each of 1, 3, 7 and 14 days; from the second on, one ends too.
    assert_eq!(told[0], [1, 3, 7, 14]);
    assert_eq!(told[1], [0, 1, 3, 7, 14]);
    assert_eq!(told[2], [0, 1, 3, 7, 14]);
}

#[tokio::test]
async fn ours_are_told_by_marker_and_by_key_id() {
    let marker = keywheel_connection::Marker::new(
        keywheel_connection::ConnectionId::from(uuid::Uuid::nil()),
        1,
        uuid::Uuid::nil(),
    );
    let key_id = "11111111-2222-4333-8444-555555555555";
    let mut marked = SecretSeed::default();
    marked.display_name = Some(marker.to_string());
    let tool = ApplicationSeed::new("tool")
        .role("Application.ReadWrite.OwnedBy")
        .owns_itself()
        .secret("given")
        .with_secret(SecretSeed::default().key_id(key_id))
        .with_secret(marked)
        .certificate();
    let tenant = Tenant::of(TenantSeed::new("contoso.example").application(tool)).await;
    let watch = ExpiryWatch::new().held([key_id.parse().unwrap()]);

    let all = tenant
        .access()
        .expiries_of(tenant.client(), &watch)
        .await
        .unwrap();

    let ours = all.iter().filter(|it| it.holder == Holder::Ours).count();
    let certificates = all
        .iter()
        .filter(|it| it.kind == CredentialKind::Certificate)
        .count();
    assert_eq!((all.len(), ours, certificates), (4, 2, 1), "{all:#?}");
}
