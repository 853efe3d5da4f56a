use crate::place::{Place, stderr};

/// One wrong thing, what the message must name, and the remedy it must hold.
struct Case {
    variable: &'static str,
    value: &'static str,
    flags: &'static [&'static str],
    says: [&'static str; 2],
}

fn variable(variable: &'static str, value: &'static str, says: [&'static str; 2]) -> Case {
    Case {
        variable,
        value,
        flags: &[],
        says,
    }
}

fn flag(flags: &'static [&'static str], says: [&'static str; 2]) -> Case {
    Case {
        variable: "KEYWHEEL_TEST_UNUSED",
        value: "",
        flags,
        says,
    }
}

#[tokio::test]
async fn bad_configuration_is_named_and_nothing_is_written() {
    let place = Place::new().await;
    let before = (place.files(), place.ours());
    for case in [
        variable(
            "AZURE_TENANT_ID",
            "contoso",
            ["AZURE_TENANT_ID", "expected a GUID"],
        ),
        variable(
            "AZURE_TENANT_ID",
            "common",
            ["AZURE_TENANT_ID", "verified domain"],
        ),
        variable("AZURE_TENANT_ID", "", ["AZURE_TENANT_ID", "set it"]),
        variable(
            "AZURE_CLIENT_ID",
            "keywheel",
            ["AZURE_CLIENT_ID", "Application (client) ID"],
        ),
        variable(
            "AZURE_CLIENT_SECRET",
            "8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11",
            ["AZURE_CLIENT_SECRET", "the secret's id, not its value"],
        ),
        variable(
            "AZURE_AUTHORITY_HOST",
            "http://login.example",
            ["AZURE_AUTHORITY_HOST", "https"],
        ),
        variable(
            "KEYWHEEL_GRAPH_ENDPOINT",
            "http://graph.example",
            ["KEYWHEEL_GRAPH_ENDPOINT", "https"],
        ),
        variable(
            "KEYWHEEL_CLIENT_SECRET_KEY_ID",
            "1",
            ["KEYWHEEL_CLIENT_SECRET_KEY_ID", "Secret ID"],
        ),
        variable(
            "KEYWHEEL_SEALING_KEY",
            "c2hvcnQ=",
            ["KEYWHEEL_SEALING_KEY", "32 random bytes"],
        ),
        variable(
            "KEYWHEEL_CONNECTION",
            "two words",
            ["KEYWHEEL_CONNECTION", "letters"],
        ),
        variable(
            "KEYWHEEL_CA_CERTIFICATE",
            "/nowhere/ca.pem",
            ["KEYWHEEL_CA_CERTIFICATE", "/nowhere/ca.pem"],
        ),
        variable(
            "KEYWHEEL_DATABASE",
            "mysql://localhost/keywheel",
            ["KEYWHEEL_DATABASE", "postgres://"],
        ),
        variable(
            "KEYWHEEL_DATABASE",
            "postgres://localhost:1/keywheel",
            ["KEYWHEEL_SEALING_KEY", "openssl rand -base64 32"],
        ),
        flag(&["--interval", "0"], ["interval", "1"]),
        flag(&["--interval", "731"], ["interval", "730"]),
        flag(&["--zone", "Mars/Olympus"], ["zone", "IANA name"]),
        flag(&["--at", "25:00"], ["--at", "02:30"]),
        flag(&["--proofs", "0"], ["--proofs", "1.."]),
        flag(&["--grace", "soon"], ["--grace", "1h"]),
    ] {
        let output = place
            .rotate(case.flags)
            .env(case.variable, case.value)
            .output()
            .await
            .unwrap();

        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{}: {told}", case.variable);
        for words in case.says {
            assert!(
                told.contains(words),
                "{}={}: {told}",
                case.variable,
                case.value
            );
        }
        assert!(output.stdout.is_empty());
        assert_eq!((place.files(), place.ours()), before, "{}", case.variable);
    }
}

#[tokio::test]
async fn a_key_id_that_does_not_fit_the_secret_is_refused_before_anything_is_written() {
    let place = Place::new().await;
    let before = place.files();
    for (key_id, says) in [
        ("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11", "has no secret"),
        (place.foreign.key_id.as_str(), "begins otherwise"),
    ] {
        let mut command = place.rotate(&[]);
        command.env("KEYWHEEL_CLIENT_SECRET_KEY_ID", key_id);
        let output = command.output().await.unwrap();

        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(says), "{told}");
        assert_eq!(place.files(), before);
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_as_it_is() {
    let place = Place::new().await;
    std::fs::write(place.database(), "a diary").unwrap();

    let output = place.run(&[]).await;

    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("KEYWHEEL_DATABASE"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(place.database()).unwrap(), b"a diary");
    assert_eq!(place.files(), ["ca.pem", "keywheel.db"]);
}

#[tokio::test]
async fn a_wrong_or_missing_sealing_key_is_named() {
    let place = Place::new().await;
    place.run(&["--proof-span", "1s"]).await;
    let other = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";

    let mut wrong = place.rotate(&["--now"]);
    let wrong = wrong
        .env("KEYWHEEL_SEALING_KEY", other)
        .output()
        .await
        .unwrap();
    std::fs::remove_file(place.folder.path().join("keywheel.db.key")).unwrap();
    let missing = place.run(&["--now"]).await;

    for output in [wrong, missing] {
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("KEYWHEEL_SEALING_KEY"), "{told}");
    }
    assert_eq!(place.ours().len(), 1);
}

#[tokio::test]
async fn a_refused_secret_fails_with_the_next_step_and_writes_nothing() {
    let place = Place::new().await;
    let before = place.files();
    let mut command = place.rotate(&[]);
    command.env(
        "AZURE_CLIENT_SECRET",
        "abc8Q~not-the-secret-of-this-application",
    );

    let output = command.output().await.unwrap();

    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("AADSTS7000215"), "{told}");
    assert!(told.contains("correlation id"), "{told}");
    assert_eq!(place.files(), before);
}
