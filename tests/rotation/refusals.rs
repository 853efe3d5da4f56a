//! W20: what Entra and Graph refuse, over HTTP and by the issuer that services use, and what a rotation makes
//! of it.

use chrono::TimeDelta;
use keywheel::core::Clock;
use keywheel_connection::{EventKind, TroubleKind};
use keywheel_emulator::{Fault, PolicySeed, RequestRecord, Route};
use workspace_tests::settings;

use crate::calls::Rotating;
use crate::certificates::{OLD, OWNED_BY, Place};

/// What is the matter, how it comes about, and what it is called.
type Case = (&'static str, fn(&Place), TroubleKind);

const CASES: [Case; 7] = [
    (
        "addPassword is forbidden",
        |place| refuse(place, Fault::respond(403).on(Route::AddPassword)),
        TroubleKind::PermissionMissing,
    ),
    (
        "client secrets are forbidden",
        |place| set_policy(place, &PolicySeed::no_secrets()),
        TroubleKind::MethodForbidden,
    ),
    (
        "two secrets are as many as the audience allows",
        |place| {
            let audience = "AzureADandPersonalMicrosoftAccount";
            let set = place
                .emulator
                .set_property(&place.client(), "signInAudience", audience);
            set.unwrap();
        },
        TroubleKind::LimitReached,
    ),
    (
        "the secret has ended",
        |place| refuse(place, refused_by_entra(401, "invalid_client", 7_000_222)),
        TroubleKind::LockedOut,
    ),
    (
        "a policy blocks access",
        |place| refuse(place, refused_by_entra(400, "invalid_grant", 53_003)),
        TroubleKind::ApplicationUnusable,
    ),
    (
        "the application is not in the tenant",
        |place| refuse(place, refused_by_entra(400, "unauthorized_client", 700_016)),
        TroubleKind::ApplicationUnusable,
    ),
    (
        "the service is away",
        |place| refuse(place, Fault::respond(503).on(Route::AddPassword)),
        TroubleKind::Transient,
    ),
];

fn refuse(place: &Place, fault: Fault) {
    place.emulator.inject(fault.forever());
}

fn refused_by_entra(status: u16, error: &str, code: u32) -> Fault {
    let body = serde_json::json!({
        "error": error,
        "error_codes": [code],
        "error_description": format!("AADSTS{code}: Words."),
    });
    Fault::respond(status)
        .body(body.to_string())
        .on(Route::Token)
}

fn set_policy(place: &Place, policy: &PolicySeed) {
    let app = place.emulator.default_app();
    place.emulator.set_policy(app.tenant_id(), policy).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_service_refuses_is_called_by_what_can_be_done_about_it() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let begin = place.snapshot();
    for (n, (what, come_about, kind)) in CASES.into_iter().enumerate() {
        place.restore(&begin);
        let rotating = Rotating::begin(&place, &format!("refused-{n}"), settings()).await;
        come_about(&place);

        rotating.run(TimeDelta::minutes(30)).await;

        let status = place.rig.status(rotating.id).await;
        let trouble = status.trouble.expect(what);
        assert_eq!(trouble.kind, kind, "{what}: {trouble:?}");
        assert_eq!(status.generation, 0, "{what}");
        let added = place.calls("addPassword");
        place.emulator.clear_faults();
        set_policy(&place, &PolicySeed::default());
        assert!(added < 60, "{what}: {added} calls in all cases until now");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_on_lifetimes_is_met_with_a_secret_that_ends_sooner() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let rotating = Rotating::begin(&place, "short-lived", settings()).await;
    set_policy(&place, &PolicySeed::secret_lifetime("P20D"));

    rotating.drive().await;

    rotating.assert_clean("a policy of 20 days").await;
    let left = place.rig.status(rotating.id).await.end.unwrap() - place.rig.clock.now();
    assert!(left <= TimeDelta::days(20), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_sent_again_no_sooner_than_the_service_said() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let rotating = Rotating::begin(&place, "throttled", settings()).await;
    let throttled = Fault::throttle(Some(300)).on(Route::AddPassword);
    place.emulator.inject(throttled);

    rotating.drive().await;

    rotating.assert_clean("throttled").await;
    let requests = place.emulator.requests();
    let added = |it: &&RequestRecord| it.route == Route::AddPassword;
    let [first, second] = requests.iter().filter(added).collect::<Vec<_>>()[..] else {
        panic!("{requests:#?}")
    };
    let waited = second.at - first.at;
    assert!(waited >= TimeDelta::seconds(300), "{waited}");
}

/// The secret is made, and nobody learns of it.
#[tokio::test(start_paused = true)]
async fn a_secret_that_a_failed_call_made_is_found_and_removed() {
    let place = Place::new(&OLD, OWNED_BY).await;
    let rotating = Rotating::begin(&place, "failed", settings()).await;
    let failed = Fault::respond(500).after_effect().on(Route::AddPassword);
    place.emulator.inject(failed);

    rotating.drive().await;

    rotating.assert_clean("failed after its effect").await;
    let events = place.rig.events(rotating.id).await;
    let found = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::OrphanFound { .. }));
    assert_eq!(found.count(), 1);
}
