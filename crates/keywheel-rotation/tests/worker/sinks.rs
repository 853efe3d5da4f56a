use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel_connection::{
    Connection, ConnectionStore, Credential, EventKind, Held, NewSecret, Sealed, SecretSink,
    Secrets, SinkError,
};
use keywheel_core::{Clock, Secret, SystemClock};
use keywheel_rotation::{Call, CallbackSink, CommandSink, FileSink, PlannedCall};
use uuid::Uuid;

use crate::fleet::{Fleet, tenant};

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
    publish_of(&connection(), sink, generation, text).await
}

async fn publish_of(
    connection: &Connection,
    sink: &impl SecretSink,
    generation: u64,
    text: &str,
) -> Result<(), SinkError> {
    let facts = (Some(Uuid::from_u128(9).into()), None);
    let new = NewSecret::new(connection, generation, facts, Secret::new(text));
    sink.publish(&new).await
}

/// A sink of the one connection that there is.
fn file_sink(path: &Path) -> FileSink {
    FileSink::of(
        "default".parse().unwrap(),
        "production".parse().unwrap(),
        path,
    )
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap();
    let name = |file: fs::DirEntry| file.file_name().into_string().unwrap();
    files.map(|file| name(file.unwrap())).collect()
}

#[tokio::test]
async fn a_file_is_replaced_whole_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "what was there before").unwrap();
    let sink = file_sink(&path);
    // What a crash left does not matter, nor who could read it.
    let left = format!(".secret.keywheel-new-{}", Uuid::from_u128(77));
    fs::write(folder.path().join(left), "half").unwrap();

    publish(&sink, 1, TEXT).await.unwrap();
    publish(&sink, 1, TEXT).await.unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    let names = names_in(folder.path());
    let expected = [".secret.keywheel-order", "secret"].map(str::to_owned);
    assert_eq!(names, expected.into());
    for name in names {
        let file = fs::metadata(folder.path().join(&name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// A process that is suspended in the middle of a call ends it after others went on.
#[tokio::test]
async fn an_older_secret_never_takes_the_place_of_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for sink in [file_sink(&path), file_sink(&path).as_json()] {
        let (mut late, mut next) = (connection(), connection());
        late.journal.seq = 40;
        next.journal.seq = 41;
        publish_of(&next, &sink, 6, TEXT).await.unwrap();
        let held = fs::read(&path).unwrap();

        let error = publish_of(&late, &sink, 7, "old8Q~secret").await;
        let error = error.unwrap_err().to_string();

        assert!(error.contains("later state"), "{error}");
        assert!(error.contains(".secret.keywheel-order"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), held);
        publish_of(&next, &sink, 6, TEXT).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_made_anew_under_the_same_name_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let sink = file_sink(&path);
    let mut before = connection();
    before.journal.seq = 900;
    publish_of(&before, &sink, 6, "old8Q~secret").await.unwrap();
    let mut anew = connection();
    anew.id = Uuid::from_u128(2).into();

    publish_of(&anew, &sink, 1, TEXT).await.unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
}

/// As two workers do when one of them lost its lease in the middle of a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishers_at_once_leave_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let texts = ["a", "b", "c", "d"].map(|letter| letter.repeat(300_000));
    let publishers = texts.clone().map(|text| {
        let (path, texts) = (path.clone(), texts.clone());
        tokio::spawn(async move {
            for _ in 0..8 {
                publish(&file_sink(&path), 1, &text).await.unwrap();
                let read = fs::read_to_string(&path).unwrap();
                assert!(texts.contains(&read), "{} bytes", read.len());
            }
        })
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }

    assert_eq!(names_in(folder.path()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_suspended_process_holds_is_an_error_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    publish(&file_sink(&path), 1, "old8Q~secret").await.unwrap();
    let order = File::open(folder.path().join(".secret.keywheel-order")).unwrap();
    order.lock().unwrap();

    let error = publish(&file_sink(&path), 2, TEXT).await.unwrap_err();

    assert!(error.to_string().contains("another process"), "{error}");
    order.unlock().unwrap();
    publish(&file_sink(&path), 2, TEXT).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
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

/// What each of them says is saved durably: of hundreds of sinks, that would be hundreds of writes.
#[tokio::test(start_paused = true)]
async fn a_rotation_tells_of_the_sinks_that_want_the_connection_and_of_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new();
    let sinks = |place: &str| {
        let sink = |n: u32| {
            let name = format!("number-{n}");
            let path = folder.path().join(format!("{place}-{n}"));
            FileSink::of("default".parse().unwrap(), name.parse().unwrap(), path)
        };
        [2, 3, 1].map(|n| Arc::new(sink(n)) as Arc<dyn SecretSink>)
    };
    fleet.sinks.before = sinks("before").into();
    fleet.sinks.after = sinks("after").into();
    let members = fleet.add(&tenant("some.example"), 2).await;
    let worker = fleet.start(fleet.worker(1));

    fleet.settled(&members, 1).await;
    worker.stop().await;

    for (n, member) in (1..).zip(&members) {
        let journal = fleet.memory.journal(member.id, 0, 100).await.unwrap();
        let events = journal.iter().map(|entry| entry.event().unwrap());
        let told: Vec<_> = events
            .filter_map(|event| match event.kind {
                EventKind::Published { sink, .. } => Some(sink),
                _ => None,
            })
            .collect();
        let place = |place| format!("file:{}", folder.path().join(place).display());
        let expected = ["before", "after"].map(|at| place(format!("{at}-{n}")));
        assert_eq!(told, expected);
        let plan = fleet.connections().plan(member.id).await.unwrap();
        let sinks = |call: &&PlannedCall| matches!(call.call, Call::Sink(_));
        assert_eq!(plan.calls.iter().filter(sinks).count(), 2, "{plan}");
    }
    let [before, after] = ["before-1", "after-1"].map(|name| folder.path().join(name));
    assert_eq!(fs::read(before).unwrap(), fs::read(after).unwrap());
    assert!(!folder.path().join("before-3").exists());
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
    let sink = file_sink(Path::new("/proc/nowhere/secret"));

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
