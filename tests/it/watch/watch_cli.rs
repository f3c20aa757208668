//! `bookd watch` and `bookd watch-slots` as a person runs them.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::kill::Process;

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(process: &Process, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        command
            .args(words)
            .env("BOOKD_SERVER", process.address.to_string());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Waits for the end of the process; answers its exit code and its standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut complaint = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut complaint)
            .unwrap();
        (self.child.wait().unwrap().code(), complaint)
    }
}

fn call(process: &Process, words: &[&str]) {
    let (code, complaint) = Running::start(process, words).ended();
    assert_eq!(code, Some(0), "{words:?}: {complaint}");
}

/// The words of a line without times and ids.
fn words(line: &str) -> Vec<&str> {
    let is_stable = |word: &&str| !word.contains(':') && word.len() != 36;
    line.split("  ").filter(is_stable).collect()
}

#[test]
fn what_happens_is_shown_line_by_line_until_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    call(&process, &["hours", "ada", "daily", "09:00-11:00"]);
    let mut people = Running::start(&process, &["watch", "ada", "--from", "1"]);
    let mut machines = Running::start(&process, &["watch", "--json", "--prefix", "a"]);
    let mut slots = Running::start(&process, &["watch-slots", "ada", "tomorrow"]);
    assert_eq!(words(&people.line()), ["1", "calendar created", "ada"]);
    assert!(machines.line().starts_with(r#"{"progress":{"revision":1"#));
    let (first, second) = (slots.line(), slots.line());
    assert!(
        first.starts_with("+ ")
            && first.ends_with("T09:00  ada")
            && second.ends_with("T10:00  ada"),
        "{first}"
    );
    call(
        &process,
        &["book", "ada", "tomorrow", "10:00", "--name", "Grace Hopper"],
    );
    assert_eq!(
        words(&people.line()),
        ["2", "booked", "ada", "default", "confirmed", "Grace Hopper"]
    );
    let message: serde_json::Value = serde_json::from_str(&machines.line()).unwrap();
    assert_eq!(
        message["change"]["events"][0]["appointment"]["invitee"]["name"],
        "Grace Hopper"
    );
    assert_eq!(slots.line(), second.replace("+ ", "- "));
    assert!(process.terminate().success());
    for running in [people, machines, slots] {
        let (code, complaint) = running.ended();
        assert_eq!(code, Some(7), "{complaint}");
        assert!(
            complaint.starts_with("bookd: SHUTTING_DOWN: "),
            "{complaint}"
        );
    }
}
