//! The demo, as a person runs it: the story, the figures, and nothing left behind.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{SOON, eventually};

/// More than it takes on a slow machine.
const PLAYED: Duration = Duration::from_secs(90);
/// The name that its directory has in the temporary directory.
const DIRECTORY: &str = "sw-demo-";

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The number at `name` in the table at the end.
fn figure(said: &str, name: &str) -> u64 {
    let line = said.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{said}"));
    let number = line.trim_start()[name.len()..].split_whitespace().next().expect("a number");
    number.replace(',', "").parse().unwrap_or_else(|_| panic!("no number: {line}"))
}

/// The seconds of the span that is explained with `words`.
fn seconds(said: &str, words: &str) -> f64 {
    let line = said.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{said}"));
    let number = line.split_whitespace().rev().skip_while(|word| *word != "s").nth(1).expect("a number");
    number.parse().unwrap_or_else(|_| panic!("no span: {line}"))
}

#[tokio::test]
async fn the_demo_kills_a_node_and_proves_that_nothing_was_lost() {
    let played = tokio::time::timeout(PLAYED, demo(&["--events", "200"]).output()).await;
    let Output { status, stdout, stderr } = played.expect("it ends in time").expect("the binary is built");
    let (said, complaint) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}\n{complaint}");
    // 6 webhooks get every event, 18 one of four types.
    let expected = 6 * 200 + 18 * 50;
    assert_eq!(figure(&said, "published"), 200, "{said}");
    assert_eq!(figure(&said, "unique"), expected, "{said}");
    assert_eq!(figure(&said, "lost"), 0, "{said}");
    assert_eq!(figure(&said, "delivered"), expected + figure(&said, "duplicates"), "{said}");
    assert_eq!(figure(&said, "in order"), 6, "{said}");
    // Nobody may take a lease sooner than four seconds after its last sign of life.
    let (owned, delivered) =
        (seconds(&said, "until every partition had a living owner"), seconds(&said, "to the first delivery"));
    assert!(owned > 2.0 && delivered > 2.0 && owned < 20.0 && delivered < 20.0, "{said}");
    let directory = directory_of(&said);
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[tokio::test]
async fn a_demo_that_is_stopped_takes_its_processes_and_its_data_along() {
    for signal in ["INT", "TERM", "KILL"] {
        let mut child = demo(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it is built");
        let (said, _open) = until_published(&mut child).await;
        let directory = directory_of(&said);
        assert!(directory.exists() && !processes_in(&directory).is_empty(), "{said}");
        let pid = child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().await;
        assert!(sent.expect("kill is there").success());
        let status =
            tokio::time::timeout(SOON, child.wait()).await.expect("it ends in time").expect("a child");
        assert!(!status.success());
        eventually("all its processes end", SOON, async || processes_in(&directory).is_empty().then_some(()))
            .await;
        // After kill -9 nobody is left to remove it.
        assert_eq!(directory.exists(), signal == "KILL");
        let _ = std::fs::remove_dir_all(&directory);
    }
}

/// What it says up to the start of the publishing, and its output: closed, it would end the demo.
async fn until_published(child: &mut Child) -> (String, Lines<BufReader<ChildStdout>>) {
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut said = String::new();
    let read = async {
        while let Some(line) = lines.next_line().await.expect("it is text") {
            said.push_str(&line);
            said.push('\n');
            if line.contains("are being published") {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, read).await.expect("it starts in time");
    (said, lines)
}

fn directory_of(said: &str) -> std::path::PathBuf {
    let words = said.split_whitespace().find(|word| word.contains(DIRECTORY));
    words.unwrap_or_else(|| panic!("no directory in\n{said}")).into()
}

/// The processes that work in that directory, also when it was removed under them.
fn processes_in(directory: &std::path::Path) -> Vec<String> {
    let directory = directory.to_string_lossy();
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").filter_map(Result::ok);
    let inside = |entry: &std::fs::DirEntry| {
        let cwd = std::fs::read_link(entry.path().join("cwd"));
        cwd.is_ok_and(|cwd| cwd.to_string_lossy().starts_with(&*directory))
    };
    entries.filter(inside).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
