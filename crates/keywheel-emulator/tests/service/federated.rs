use chrono::TimeDelta;
use keywheel_emulator::{ApplicationSeed, ExternalIssuer, FederatedSeed, TenantSeed};

use crate::client::{Answer, Bench, GRAPH_SCOPE, refused};

const ISSUER: &str = "https://oidc.cluster.example/";
const SUBJECT: &str = "system:serviceaccount:default:app";
const AUDIENCE: &str = "api://AzureADTokenExchange";

async fn bench() -> Bench {
    let application =
        ApplicationSeed::new("app").federated(FederatedSeed::new("cluster", ISSUER, SUBJECT));
    Bench::seeded(TenantSeed::new("contoso.example").application(application)).await
}

async fn present(bench: &Bench, issuer: &str, subject: &str, audience: &str) -> Answer {
    let assertion =
        ExternalIssuer::new(issuer).assertion(subject, audience, bench.emulator.clock().now());
    present_text(bench, assertion.expose()).await
}

async fn present_text(bench: &Bench, assertion: &str) -> Answer {
    bench
        .token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion),
            ("scope", GRAPH_SCOPE),
        ])
        .await
}

#[tokio::test]
async fn issuer_subject_and_audience_must_match_to_the_letter() {
    let bench = bench().await;
    bench.emulator.trust_issuer(&ExternalIssuer::new(ISSUER));
    let client = |code| refused(401, "invalid_client", code);

    let good = present(&bench, ISSUER, SUBJECT, AUDIENCE).await;

    assert_eq!(good.status, 200, "{good:?}");
    let slashless = ISSUER.trim_end_matches('/');
    for (issuer, subject, audience, code) in [
        (slashless, SUBJECT, AUDIENCE, 700_211),
        (
            ISSUER,
            "SYSTEM:serviceaccount:default:app",
            AUDIENCE,
            700_213,
        ),
        (ISSUER, SUBJECT, "api://azureadtokenexchange", 700_212),
    ] {
        let answer = present(&bench, issuer, subject, audience).await;
        assert_eq!(answer.refusal(), client(code), "{answer:?}");
    }
}

#[tokio::test]
async fn the_issuers_keys_must_be_known_and_must_have_signed() {
    let bench = bench().await;

    let unreachable = present(&bench, ISSUER, SUBJECT, AUDIENCE).await;
    bench.emulator.trust_issuer(&ExternalIssuer::new(ISSUER));
    let now = bench.emulator.clock().now();
    let good = ExternalIssuer::new(ISSUER).assertion(SUBJECT, AUDIENCE, now);
    let other = ExternalIssuer::new(ISSUER).assertion(SUBJECT, "other", now);
    let (text, _) = good.expose().rsplit_once('.').unwrap();
    let forged = format!("{text}.{}", other.expose().rsplit_once('.').unwrap().1);

    assert_eq!(
        unreachable.refusal(),
        refused(400, "invalid_request", 50_166)
    );
    let answer = present_text(&bench, &forged).await;
    assert_eq!(
        answer.refusal(),
        refused(401, "invalid_client", 7_000_272),
        "{answer:?}"
    );
    assert_eq!(present_text(&bench, good.expose()).await.status, 200);
    bench.emulator.clock().advance(TimeDelta::hours(1));
    assert_eq!(
        present_text(&bench, good.expose()).await.refusal().2,
        700_024
    );
}

#[tokio::test]
async fn an_application_without_federated_credentials_trusts_nobody() {
    let bench = Bench::start().await;
    bench.emulator.trust_issuer(&ExternalIssuer::new(ISSUER));

    let answer = present(&bench, ISSUER, SUBJECT, AUDIENCE).await;

    assert_eq!(answer.refusal(), refused(401, "invalid_client", 70_021));
}
