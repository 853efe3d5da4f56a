use chrono::TimeDelta;
use keywheel_core::{ClientId, Cloud};
use keywheel_emulator::{ApplicationSeed, PolicySeed, TenantSeed, UserSeed};
use keywheel_entra::{Finding, Need, Preflight, Purpose, Standing};
use keywheel_graph::{GraphClient, GraphErrorKind, NewPassword};
use serde_json::json;

use crate::rote::{self, CLIENT, OWNER, Rote};
use crate::tenant::{REDIRECT, Tenant};

fn seed(application: ApplicationSeed) -> TenantSeed {
    TenantSeed::new("contoso.example")
        .user(UserSeed::new("ada@contoso.example", "ada's password"))
        .application(application.secret("first"))
        .application(ApplicationSeed::new("other").client_id(OTHER))
}

const OTHER: &str = "0c4e2000-1111-4222-8333-444455556666";

fn application() -> ApplicationSeed {
    ApplicationSeed::new("demo")
}

async fn look(application: ApplicationSeed, purposes: &[Purpose]) -> (Tenant, Preflight) {
    let tenant = Tenant::of(seed(application)).await;
    let preflight = tenant.access().preflight(purposes).await.unwrap();
    (tenant, preflight)
}

fn find(preflight: &Preflight, need: Need) -> &Finding {
    let found = preflight.findings.iter().find(|it| it.need == need);
    found.unwrap_or_else(|| panic!("{need} in {preflight:#?}"))
}

fn commands(finding: &Finding) -> String {
    finding.fix.as_ref().unwrap().commands.join("\n")
}

const OWN: [Purpose; 1] = [Purpose::RotateOwnSecret];

#[tokio::test]
async fn one_permission_and_one_ownership_are_all_that_rotating_ones_own_secret_needs() {
    let seed = application()
        .role("Application.ReadWrite.OwnedBy")
        .owns_itself();

    let (_tenant, preflight) = look(seed, &OWN).await;

    assert!(preflight.passes(), "{}", preflight.table());
    assert_eq!(
        find(&preflight, Need::Permission).standing,
        Standing::Granted
    );
    assert_eq!(
        find(&preflight, Need::Ownership).standing,
        Standing::Granted
    );
    assert_eq!(find(&preflight, Need::Policy).standing, Standing::Unknown);
    let warned = preflight
        .findings
        .iter()
        .any(|it| it.standing == Standing::Warning);
    assert!(!warned, "{}", preflight.table());
    assert_eq!(preflight.application.as_deref(), Some("demo"));
}

#[tokio::test]
async fn the_forgotten_ownership_is_named_with_the_command_that_makes_it() {
    let (tenant, preflight) = look(application().role("Application.ReadWrite.OwnedBy"), &OWN).await;

    let ownership = find(&preflight, Need::Ownership);
    assert_eq!(ownership.standing, Standing::Missing);
    let app = tenant.emulator.default_app();
    let command = format!(
        "az ad app owner add --id {} --owner-object-id {}",
        app.client_id(),
        app.service_principal_id()
    );
    assert_eq!(commands(ownership), command);
    assert!(!preflight.passes());

    // What the command does.
    tenant
        .emulator
        .add_owner(app.client_id(), app.client_id())
        .unwrap();
    let again = tenant.access().preflight(&OWN).await.unwrap();
    assert!(again.passes(), "{}", again.table());
}

#[tokio::test]
async fn a_missing_permission_comes_with_portal_path_command_and_consent_address() {
    let (tenant, preflight) = look(application().owns_itself(), &OWN).await;

    let permission = find(&preflight, Need::Permission);
    assert_eq!(permission.standing, Standing::Missing);
    let fix = permission.fix.as_ref().unwrap();
    assert!(
        fix.portal.contains("App registrations") && fix.portal.contains("API permissions"),
        "{}",
        fix.portal
    );
    let id = "18a4783c-866b-4cc7-a460-3d5e5662c884=Role";
    assert!(fix.commands[0].contains(id), "{:?}", fix.commands);
    assert!(
        fix.commands[1].contains("admin-consent"),
        "{:?}",
        fix.commands
    );
    let consent = fix.admin_consent.as_ref().unwrap();
    let expected = format!(
        "{}/{}/adminconsent?client_id={}",
        tenant.emulator.authority(),
        tenant.id(),
        tenant.client()
    );
    assert_eq!(consent, &expected);
}

#[tokio::test]
async fn too_much_is_warned_of_with_the_command_that_takes_it_away() {
    let seed = application()
        .role("Application.ReadWrite.All")
        .role("Directory.ReadWrite.All");

    let (_tenant, preflight) = look(seed, &OWN).await;

    assert!(preflight.passes(), "{}", preflight.table());
    let warned: Vec<_> = preflight
        .findings
        .iter()
        .filter(|it| it.need == Need::LeastPrivilege)
        .collect();
    assert_eq!(warned.len(), 2, "{}", preflight.table());
    assert!(warned.iter().any(|it| it.detail.contains("never needed")));
    for finding in warned {
        let commands = commands(finding);
        assert!(
            commands.contains("az ad app permission delete"),
            "{commands}"
        );
        assert!(commands.contains("/appRoleAssignments/"), "{commands}");
    }
}

#[tokio::test]
async fn what_writes_to_all_is_not_too_much_for_who_rotates_others() {
    let seed = application().role("Application.ReadWrite.All");

    let (_tenant, preflight) = look(seed, &[Purpose::RotateOthersSecrets]).await;

    let warned = preflight
        .findings
        .iter()
        .any(|it| it.need == Need::LeastPrivilege);
    assert!(!warned && preflight.passes(), "{}", preflight.table());
}

#[tokio::test]
async fn another_application_is_looked_at_by_its_own_owners() {
    let tenant = Tenant::of(seed(application().role("Application.ReadWrite.OwnedBy"))).await;
    let other: ClientId = OTHER.parse().unwrap();
    let purposes = [Purpose::RotateSecretOf(other)];

    let before = tenant.access().preflight(&purposes).await.unwrap();
    assert_eq!(find(&before, Need::Ownership).standing, Standing::Missing);
    let own = tenant.client().to_string();
    tenant.emulator.add_owner(&other.to_string(), &own).unwrap();
    let after = tenant.access().preflight(&purposes).await.unwrap();

    assert_eq!(find(&after, Need::Ownership).standing, Standing::Granted);
    assert_eq!(find(&after, Need::Ownership).purpose, Some(purposes[0]));
}

#[tokio::test]
async fn listing_needs_more_than_owned_by_and_certificates_need_no_permission() {
    let purposes = [Purpose::ListApplications, Purpose::RollCertificates];
    let seed = application()
        .role("Application.ReadWrite.OwnedBy")
        .owns_itself()
        .certificate();

    let (_tenant, preflight) = look(seed, &purposes).await;

    let listing = find(&preflight, Need::Permission);
    assert_eq!(listing.standing, Standing::Missing);
    assert!(commands(listing).contains("9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30=Role"));
    assert_eq!(
        find(&preflight, Need::Certificate).standing,
        Standing::Granted
    );
}

#[tokio::test]
async fn without_a_valid_certificate_rolling_needs_what_writing_needs() {
    let purposes = [Purpose::RollCertificates];
    let owner = application()
        .role("Application.ReadWrite.OwnedBy")
        .owns_itself();
    let (_tenant, able) = look(owner, &purposes).await;
    let (_tenant, reader) = look(application().role("Application.Read.All"), &purposes).await;
    let (_tenant, blind) = look(application(), &purposes).await;

    assert_eq!(find(&able, Need::Certificate).standing, Standing::Warning);
    assert_eq!(find(&able, Need::Permission).standing, Standing::Granted);
    assert!(able.passes());
    let certificate = find(&reader, Need::Certificate);
    assert_eq!(certificate.standing, Standing::Missing);
    assert!(commands(certificate).contains("az ad app credential reset"));
    assert_eq!(find(&reader, Need::Permission).standing, Standing::Missing);
    assert_eq!(find(&reader, Need::Ownership).standing, Standing::Missing);
    assert_eq!(find(&blind, Need::Certificate).standing, Standing::Unknown);
    assert_eq!(find(&blind, Need::Permission).standing, Standing::Missing);
}

#[tokio::test]
async fn limit_policy_and_end_dates_are_told() {
    let seed = application()
        .role("Application.ReadWrite.OwnedBy")
        .role("Policy.Read.All")
        .owns_itself()
        .audience("AzureADandPersonalMicrosoftAccount")
        .secret("second");
    let (tenant, preflight) = look(seed, &OWN).await;
    assert_eq!(
        find(&preflight, Need::SecretLimit).standing,
        Standing::Missing
    );
    assert_eq!(find(&preflight, Need::Policy).standing, Standing::Granted);
    assert_eq!(find(&preflight, Need::EndDates).standing, Standing::Granted);

    let mut policy = PolicySeed::default();
    policy.secret_lifetime = Some("P90D".to_owned());
    tenant
        .emulator
        .set_policy("contoso.example", &policy)
        .unwrap();
    tenant.emulator.clock().advance(TimeDelta::days(720));
    let later = tenant.access().preflight(&OWN).await.unwrap();

    assert!(find(&later, Need::Policy).detail.contains("90 days"));
    let ends = find(&later, Need::EndDates);
    assert_eq!(ends.standing, Standing::Warning, "{ends}");
}

#[tokio::test]
async fn a_policy_against_secrets_is_missing_permission_to_rotate() {
    let seed = application()
        .role("Application.ReadWrite.OwnedBy")
        .role("Policy.Read.All")
        .owns_itself();
    let tenant = Tenant::of(self::seed(seed)).await;
    tenant
        .emulator
        .set_policy("contoso.example", &PolicySeed::no_secrets())
        .unwrap();

    let preflight = tenant.access().preflight(&OWN).await.unwrap();

    assert_eq!(find(&preflight, Need::Policy).standing, Standing::Missing);
}

#[tokio::test]
async fn the_clock_is_compared_with_the_date_of_the_answers() {
    for (date, standing) in [
        ("Sun, 01 Mar 2026 12:00:20 GMT", Standing::Granted),
        ("Sun, 01 Mar 2026 12:04:00 GMT", Standing::Warning),
        ("Sun, 01 Mar 2026 11:50:00 GMT", Standing::Warning),
    ] {
        let rote = Rote {
            date: Some(date),
            ..Rote::default()
        };
        let preflight = rote::access(rote, &json!({}))
            .preflight(&OWN)
            .await
            .unwrap();
        assert_eq!(
            find(&preflight, Need::ClockSkew).standing,
            standing,
            "{date}"
        );
    }
}

#[tokio::test]
async fn an_opaque_token_and_a_silent_graph_leave_everything_unknown() {
    let cloud = Cloud::public();
    let access = rote::access_with(Rote::default(), "EwBwA8l6BAAU-opaque", &cloud);

    let preflight = access.preflight(&OWN).await.unwrap();

    assert_eq!(
        find(&preflight, Need::Permission).standing,
        Standing::Unknown
    );
    assert_eq!(
        find(&preflight, Need::Ownership).standing,
        Standing::Unknown
    );
    let fix = find(&preflight, Need::Permission).fix.as_ref();
    assert!(fix.is_some(), "what would grant it is told nevertheless");
}

fn registration(permissions: &[(&str, &str)]) -> serde_json::Value {
    let access: Vec<_> = permissions
        .iter()
        .map(|(id, kind)| json!({ "id": id, "type": kind }))
        .collect();
    json!({
        "id": CLIENT, "appId": CLIENT, "displayName": "demo",
        "requiredResourceAccess": [{
            "resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": access,
        }],
    })
}

/// And what is said of it is what Graph then does.
#[tokio::test]
async fn a_users_right_comes_from_a_directory_role_or_from_ownership() {
    let people = [
        ("ada", Some("Application Administrator"), Standing::Granted),
        ("gus", Some("Global Administrator"), Standing::Granted),
        (
            "cleo",
            Some("Cloud Application Administrator"),
            Standing::Granted,
        ),
        ("ole", None, Standing::Granted),
        ("eve", None, Standing::Missing),
    ];
    let name = |first: &str| format!("{first}@contoso.example");
    let application = application()
        .scope("Application.ReadWrite.All")
        .redirect_uri(REDIRECT)
        .owner(name("ole"))
        .secret("first");
    let mut seed = TenantSeed::new("contoso.example").application(application);
    for (first, role, _) in people {
        let user = UserSeed::new(name(first), "a password");
        seed = seed.user(role.into_iter().fold(user, UserSeed::role));
    }
    let tenant = Tenant::of(seed).await;
    tenant.consent(&name("gus"));

    for (first, _, standing) in people {
        let token = tenant.token_of(&name(first)).await;
        let access = tenant.access_by(token.clone(), &tenant.id());
        let preflight = access.preflight(&OWN).await.unwrap();

        assert!(preflight.signed_in_user);
        let user = find(&preflight, Need::UserStanding);
        assert_eq!(user.standing, standing, "{first}: {user}");
        assert_eq!(
            find(&preflight, Need::Permission).standing,
            Standing::Granted
        );
        let graph = GraphClient::new(tenant.http.clone(), token, &tenant.cloud);
        let password = NewPassword::new("by a user", rote::now() + TimeDelta::days(90));
        let application = graph.application(tenant.client());
        let added = application.add_password(&password).await;
        assert_eq!(
            added.map_err(|error| error.kind()).err(),
            (standing == Standing::Missing).then_some(GraphErrorKind::Forbidden),
            "{first}"
        );
    }
}

#[tokio::test]
async fn who_granted_what_the_well_known_page_asks_for_learns_what_can_go() {
    let all = [
        ("1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9", "Role"),
        ("18a4783c-866b-4cc7-a460-3d5e5662c884", "Role"),
        ("bdfbf15f-ee85-4955-8675-146e8e5296b5", "Scope"),
        ("c5366453-9fb0-48a5-a156-24f0c49a4b84", "Scope"),
        ("e1fe6dd8-ba31-4d61-89e7-88639da4683d", "Scope"),
    ];
    let claims = json!({ "roles": ["Application.ReadWrite.All", "Application.ReadWrite.OwnedBy"], "oid": OWNER });
    let check = async |registered: &[(&str, &str)], purposes: &[Purpose]| {
        let rote = Rote::default().answering(")", registration(registered));
        let preflight = rote::access(rote, &claims)
            .preflight(purposes)
            .await
            .unwrap();
        let text = preflight.table().to_string();
        preflight.reference.map(|it| (it, text))
    };

    assert!(
        check(&all[..4], &OWN).await.is_none(),
        "not all of it was granted"
    );
    let (reference, table) = check(&all, &OWN).await.unwrap();
    let mut going: Vec<_> = reference
        .remove
        .iter()
        .map(|it| (it.permission, it.kind))
        .collect();
    going.sort_unstable();
    assert_eq!(
        going,
        [
            ("Application.ReadWrite.All", "application"),
            ("Application.ReadWrite.All", "delegated"),
            ("Directory.ReadWrite.All", "delegated"),
            ("User.Read", "delegated"),
        ]
    );
    assert!(table.contains("this is what you can take away"), "{table}");
    let (wide, _) = check(&all, &[Purpose::RotateOthersSecrets]).await.unwrap();
    assert!(
        wide.keep[0].starts_with("Application.ReadWrite.All (application)"),
        "{wide:?}"
    );
}

#[tokio::test]
async fn fixes_name_the_cloud_that_the_tenant_is_in() {
    let access = rote::access_with(Rote::default(), "opaque", &Cloud::us_government());

    let preflight = access.preflight(&OWN).await.unwrap();

    let fix = find(&preflight, Need::Permission).fix.clone().unwrap();
    assert_eq!(fix.commands[0], "az cloud set --name AzureUSGovernment");
    assert!(
        fix.portal.starts_with("https://entra.microsoft.us"),
        "{}",
        fix.portal
    );
    let consent = fix.admin_consent.unwrap();
    assert!(
        consent.starts_with("https://login.microsoftonline.us/"),
        "{consent}"
    );
}

#[tokio::test]
async fn json_and_table_say_the_same_and_names_do_not_steer_the_terminal() {
    let seed = ApplicationSeed::new("evil\u{1b}[2J\nname").role("Application.ReadWrite.OwnedBy");

    let (tenant, preflight) = look(seed, &OWN).await;

    let table = preflight.table().to_string();
    assert!(!table.contains('\u{1b}'), "{table:?}");
    assert!(
        table.contains("az ad app owner add") && table.ends_with("something is missing"),
        "{table}"
    );
    let json = serde_json::to_value(&preflight).unwrap();
    assert_eq!(json["client"], tenant.client().to_string());
    let ownership = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["need"] == "ownership");
    let ownership = ownership.unwrap();
    assert_eq!(
        (&ownership["standing"], &ownership["purpose"]),
        (&json!("missing"), &json!("rotate-own-secret"))
    );
    assert!(ownership["fix"]["commands"][0].is_string());
}
