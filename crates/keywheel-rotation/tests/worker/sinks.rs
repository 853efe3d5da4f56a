use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel_connection::{
    Connection, Credential, Held, NewSecret, Sealed, SecretSink, Secrets, SinkError,
};
use keywheel_core::{Clock, Secret, SystemClock};
use keywheel_rotation::{CallbackSink, CommandSink, FileSink};
use uuid::Uuid;

const TEXT: &str = "abc8Q~secret-for-a-sink";

fn connection() -> Connection {
    let now = SystemClock::new().now();
    let held = Held::given(Sealed::new("key", Vec::new()), None, now);
    Connection::new(
        Uuid::from_u128(1).into(),
        "production".parse().unwrap(),
        (
            "contoso.example".parse().unwrap(),
            Uuid::from_u128(3).into(),
        ),
        Credential::ClientSecret(Secrets::new(held)),
        now,
    )
}

async fn publish(sink: &impl SecretSink, generation: u64, text: &str) -> Result<(), SinkError> {
    let connection = connection();
    let facts = (Some(Uuid::from_u128(9).into()), None);
    let new = NewSecret::new(&connection, generation, facts, Secret::new(text));
    sink.publish(&new).await
}

#[tokio::test]
async fn a_file_is_replaced_whole_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "what was there before").unwrap();
    let sink = FileSink::of(
        "default".parse().unwrap(),
        "production".parse().unwrap(),
        &path,
    );
    // What a crash left does not matter, nor who could read it.
    fs::write(folder.path().join("secret.keywheel-new"), "half").unwrap();

    publish(&sink, 1, TEXT).await.unwrap();
    publish(&sink, 1, TEXT).await.unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_of_one_connection_takes_no_other_ones_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let sink = FileSink::of(
        "default".parse().unwrap(),
        "another".parse().unwrap(),
        &path,
    );

    publish(&sink, 1, TEXT).await.unwrap();

    assert!(!path.exists());
}

#[tokio::test]
async fn a_folder_has_a_json_file_for_each_connection() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::in_folder(folder.path().join("secrets")).as_json();

    publish(&sink, 7, TEXT).await.unwrap();

    let text = fs::read_to_string(folder.path().join("secrets/default/production")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["client_secret"], TEXT);
    assert_eq!(json["generation"], 7);
    assert_eq!(json["tenant_id"], "contoso.example");
}

#[tokio::test]
async fn a_file_that_can_not_be_written_says_so_and_leaves_what_was_there() {
    let sink = FileSink::of(
        "default".parse().unwrap(),
        "production".parse().unwrap(),
        "/proc/nowhere/secret",
    );

    let error = publish(&sink, 1, TEXT).await.unwrap_err();

    assert!(
        error.to_string().contains("/proc/nowhere/secret"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains(TEXT), "{error:?}");
}

#[tokio::test]
async fn a_command_reads_the_secret_from_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("got");
    let script = format!(
        "(cat; echo; echo $KEYWHEEL_CONNECTION $KEYWHEEL_GENERATION) > {}",
        path.display()
    );
    let sink = CommandSink::new("deploy", "sh")
        .argument("-c")
        .argument(script);

    publish(&sink, 4, TEXT).await.unwrap();

    let got = fs::read_to_string(path).unwrap();
    assert_eq!(got, format!("{TEXT}\nproduction 4\n"));
}

#[tokio::test]
async fn a_command_that_fails_is_named_without_what_it_printed() {
    let script = "cat; cat >&2; exit 3";
    let sink = CommandSink::new("deploy", "sh")
        .argument("-c")
        .argument(script);

    let error = publish(&sink, 1, TEXT).await.unwrap_err();

    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(!format!("{error:?}").contains(TEXT), "{error:?}");
    let absent = CommandSink::new("deploy", "/nowhere/command");
    let error = publish(&absent, 1, TEXT).await.unwrap_err();
    assert!(error.to_string().contains("can't be started"), "{error}");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    let sink = CommandSink::new("deploy", "sleep")
        .argument("1000")
        .limit(Duration::from_millis(50));

    let error = publish(&sink, 1, TEXT).await.unwrap_err();

    assert!(error.to_string().contains("killed"), "{error}");
}

#[tokio::test]
async fn a_callback_gets_the_secret() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let shared = got.clone();
    let sink = CallbackSink::new("vault", move |new| {
        let shared = shared.clone();
        async move {
            let text = new.secret.expose().to_owned();
            shared.lock().unwrap().push((new.generation, text));
            Ok(())
        }
    });

    publish(&sink, 2, TEXT).await.unwrap();

    assert_eq!(*got.lock().unwrap(), [(2, TEXT.to_owned())]);
    assert!(!format!("{sink:?}").contains(TEXT));
}
