//! The ends that run no destructor: a static at exit, SIGKILL, and the binary's own ways to end.
//!
//! Each test runs a child: this test binary again, or the `engines` binary.

#![cfg(target_os = "linux")] // by `/proc`
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use common::{eventually, exists, processes_with};

/// The `engines` binary, with a name of its own for its folder.
fn engines(name: &str) -> (Command, String) {
    let name = format!("{name}-{}", std::process::id());
    let mut command = Command::new(env!("CARGO_BIN_EXE_engines"));
    command.args(["--name", &name]);
    (command, name)
}

fn missing_tools(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stderr);
    let missing = text.contains("missing ");
    assert!(!missing || std::env::var_os("CI").is_none(), "{text}");
    if missing {
        eprintln!("SKIPPED: {text}");
    }
    missing
}

/// Removes what a test has kept.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `target/engines/<name>`, found from a file that cargo puts into `target/<profile>`.
fn folder(name: &str) -> Folder {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .to_owned();
    Folder(target.join("engines").join(name))
}

/// Not a test of its own: the child of the next one.
#[test]
#[ignore = "run by engines_of_a_test_process_end_with_it"]
fn child_that_starts_the_engines_and_exits() {
    let shared = engines::for_tests().unwrap();
    let again = engines::for_tests().unwrap();
    assert!(std::ptr::eq(shared, again), "one pair of engines per process");
    let name = format!("engines/test-{}", std::process::id());
    assert!(processes_with(&name).len() >= 2, "the engines and their watchdog");
}

#[test]
fn engines_of_a_test_process_end_with_it() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_starts_the_engines_and_exits",
            "--ignored",
            "--nocapture",
        ])
        .env_remove("KAFKA_BROKERS")
        .env_remove("MONGODB_URI")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let name = format!("test-{}", child.id());
    let output = child.wait_with_output().unwrap();
    if missing_tools(&output) {
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let folder = folder(&name);
    let mine = format!("engines/{name}");
    eventually("the engines are gone", || processes_with(&mine).is_empty());
    eventually("so is their folder", || !folder.0.exists());
}

/// Starts the binary and waits for its export lines.
fn running(name: &str, more: &[&str]) -> Option<(Child, Vec<String>, Folder)> {
    let (mut command, name) = engines(name);
    let mut child = command
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let exports: Vec<_> = lines.by_ref().take(2).map(Result::unwrap).collect();
    if exports.len() < 2 {
        let output = child.wait_with_output().unwrap();
        assert!(missing_tools(&output), "{output:?}");
        return None;
    }
    Some((child, exports, folder(&name)))
}

#[test]
fn the_binary_ends_its_engines_on_sigterm_and_the_watchdog_does_after_sigkill() {
    let Some((mut first, exports, kept)) = running("signals", &[]) else {
        return;
    };
    assert!(
        exports[0].starts_with("export KAFKA_BROKERS=127.0.0.1:"),
        "{exports:?}"
    );
    assert!(
        exports[1].starts_with("export MONGODB_URI=mongodb://127.0.0.1:"),
        "{exports:?}"
    );
    let mine = kept.0.display().to_string();
    let engines = processes_with(&mine);
    assert!(engines.len() >= 2, "{engines:?}");
    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    assert!(first.wait().unwrap().success());
    assert!(processes_with(&mine).is_empty(), "an engine outlived SIGTERM");

    // At once on the same data: the second start waits for nothing and finds it in order.
    let Some((mut second, _, _same)) = running("signals", &[]) else {
        return;
    };
    let engines = processes_with(&mine);
    second.kill().unwrap();
    second.wait().unwrap();
    eventually("no engine outlives SIGKILL", || {
        !engines.iter().any(|&pid| exists(pid))
    });
}

#[test]
fn a_command_gets_the_variables_and_gives_its_code() {
    let (mut command, name) = engines("command");
    let _folder = folder(&name);
    let output = command
        .args(["--only", "mongo", "--", "sh", "-c", "echo $MONGODB_URI; exit 7"])
        .output()
        .unwrap();
    if missing_tools(&output) {
        return;
    }
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with("mongodb://127.0.0.1:") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn every_missing_tool_is_named_with_how_to_get_it() {
    let empty = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nothing-here");
    let (mut command, _) = engines("missing");
    let output = command
        .env("PATH", "")
        .env("CARGO_TARGET_DIR", &empty)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    for tool in ["Java 17", "Maven", "Python 3 with pip"] {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("missing {tool}")));
        assert!(
            line.is_some_and(|line| line.contains("get it: ")),
            "{tool} in {said}"
        );
    }
    assert!(!empty.exists(), "nothing was begun");
}

/// Not a test of its own: the child of the next one.
#[test]
#[ignore = "run by engines_off_skips_loudly_and_fails_in_ci"]
fn child_that_is_without_engines() {
    assert!(engines::for_tests().is_none());
}

#[test]
fn engines_off_skips_loudly_and_fails_in_ci() {
    let child = |ci: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_without_engines", "--ignored"])
            .env("ENGINES", "off")
            .env("CI", ci)
            .output()
            .unwrap()
    };
    let skipped = child("");
    assert!(skipped.status.success(), "{skipped:?}");
    let said = String::from_utf8(skipped.stderr).unwrap();
    assert!(
        said.contains("SKIPPED: child_that_is_without_engines: needs Kafka and MongoDB"),
        "{said}"
    );
    assert!(
        !child("true").status.success(),
        "absence passed for success in CI"
    );
}
