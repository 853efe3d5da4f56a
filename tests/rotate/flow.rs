use keywheel_testkit::PostgresServer;

use crate::place::{Place, lines, stderr};

const QUICK: [&str; 2] = ["--proof-span", "1s"];

#[tokio::test]
async fn the_first_run_rotates_and_tells_each_event_as_a_json_line() {
    let place = Place::new().await;
    let app = place.emulator.default_app();

    let output = place.run(&QUICK).await;

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = lines(&output);
    let events: Vec<_> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        [
            "connection.created",
            "rotation.requested",
            "rotation.intent",
            "rotation.minted",
            "rotation.proved",
            "rotation.proved",
            "rotation.proved",
            "rotation.promoted",
            "secret.revoked",
            "rotation.confirmed",
            "status"
        ]
    );
    for line in &lines {
        assert!(
            line["connection"].is_string() && line["at"].is_string(),
            "{line}"
        );
    }
    assert!(
        !place
            .emulator
            .accepts(place.client(), app.secret().expose())
    );
    assert!(
        place
            .emulator
            .accepts(place.client(), place.foreign.text.expose())
    );
    let status = lines.last().unwrap();
    assert_eq!(place.ours(), [status["key_id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_later_run_without_flags_has_nothing_to_do_and_needs_no_credentials() {
    let place = Place::new().await;
    place.run(&QUICK).await;

    let mut command = place.rotate(&[]);
    command
        .env_remove("AZURE_CLIENT_SECRET")
        .env_remove("AZURE_TENANT_ID");
    let output = command.output().await.unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(lines(&output).len(), 1);
}

#[tokio::test]
async fn now_waits_for_the_grace_and_says_so() {
    let place = Place::new().await;
    place.run(&QUICK).await;

    let output = place.run(&["--now", "--proof-span", "1s"]).await;

    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the replaced secret is revoked at"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.ours().len(), 2);
}

#[tokio::test]
async fn an_emergency_leaves_one_secret_at_once() {
    let place = Place::new().await;
    place.run(&QUICK).await;
    let before = place.ours();

    let output = place.run(&["--emergency", "--proof-span", "1s"]).await;

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.ours().len(), 1);
    assert_ne!(place.ours(), before);
}

#[tokio::test]
async fn token_and_status_show_no_secret() {
    let place = Place::new().await;
    let first = place.run(&QUICK).await;
    let (_, secret) = place.stored().await.unwrap();

    let token = place.run(&["--token"]).await;
    let status = place.run(&["--status"]).await;

    assert_eq!(token.status.code(), Some(0), "{}", stderr(&token));
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    assert!(lines(&token)[0]["expires_on"].is_string());
    let original = place.emulator.default_app().secret().expose().to_owned();
    for output in [&first, &token, &status] {
        let text = format!("{output:?}{}{}", stderr(output), lines(output).len());
        for hidden in [original.as_str(), secret.expose(), "eyJ"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

#[tokio::test]
async fn a_postgresql_url_is_a_database_too() {
    let place = Place::new().await;
    let database = PostgresServer::shared_database();
    let run = async |flags: &[&str]| {
        let mut command = place.rotate(flags);
        command.env("KEYWHEEL_DATABASE", database.url()).env(
            "KEYWHEEL_SEALING_KEY",
            "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=",
        );
        command.output().await.unwrap()
    };

    let first = run(&QUICK).await;
    let second = run(&["--emergency", "--proof-span", "1s"]).await;

    for output in [&first, &second] {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    }
    assert_eq!(lines(&second).last().unwrap()["generation"], 2);
    assert_eq!(place.ours().len(), 1);
    assert_eq!(place.files(), ["ca.pem"]);
}

#[tokio::test]
async fn what_is_on_disk_shows_no_secret() {
    let place = Place::new().await;
    place.run(&QUICK).await;
    let (_, secret) = place.stored().await.unwrap();
    let original = place.emulator.default_app().secret().expose().to_owned();

    for name in place.files() {
        let bytes = std::fs::read(place.folder.path().join(&name)).unwrap();
        for hidden in [original.as_bytes(), secret.expose().as_bytes()] {
            let found = bytes.windows(hidden.len()).any(|window| window == hidden);
            assert!(!found, "{name} holds a secret");
        }
    }
}
