//! The README's commands, run as they stand.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const README: &str = include_str!("../../README.md");

/// Returns the fenced blocks of a language under a heading.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let (_, section) = README.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|it| it.split("```").next().unwrap()).collect()
}

fn names(json: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn the_commands_do_what_the_readme_says() {
    let console = blocks("Run", "console");
    let (command, ready) = console[0].trim().split_once('\n').unwrap();
    assert_eq!(command, "$ cargo run -p keywheel-emulator");
    let folder = tempfile::tempdir().unwrap();
    // As `cargo run` does it, but on a free port.
    let mut emulator = Command::new(env!("CARGO_BIN_EXE_keywheel-emulator"))
        .args(["--port", "0"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(emulator.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let words = |text: &str| {
        text.split(' ')
            .filter(|it| !it.starts_with("https"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&line), words(ready));

    // One shell, as the reader has one: the second command uses what the first one set.
    let commands = blocks("Run", "sh");
    assert_eq!(commands.len(), 3, "{commands:?}");
    let script = commands.join("\nprintf '\\n%s\\n' ---\n");
    let output = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success(),
        "curl is needed (apt-get install curl): {errors}\n{text}"
    );

    let answers: Vec<&str> = text.split("---").map(str::trim).collect();
    let promised = blocks("Run", "json");
    assert_eq!(names(answers[1]), names(promised[0]), "{text}");
    assert_eq!(names(answers[2]), names(promised[1]), "{text}");
    assert!(answers[1].contains("\"displayName\":\"second\""), "{text}");
    emulator.kill().await.unwrap();
}
