//! Every client command ends by its timeout, however the server fails to answer.
//!
//! A watch has the timeout for its opening alone.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bookd::cli::arguments::{Arguments, CliCommand as Parsed};
use clap::{CommandFactory, Parser};

use crate::kill::Process;
use crate::people::{bookd, examples, leaves, said, words};

/// The exit code of a command whose server did not answer in time.
const NO_ANSWER: i32 = 9;

/// Starts a command with a timeout of a second.
fn asking(server: SocketAddr, words: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command
        .args(words)
        .args(["--timeout", "1s"])
        .env("BOOKD_SERVER", server.to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_client_command_ends_when_nobody_answers_and_says_who_did_not_in_what_time() {
    // The system accepts connections for this listener, as for a stopped process; nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut all = Vec::new();
    leaves(&Arguments::command(), "bookd", &mut all);
    let mut lines: Vec<Vec<String>> = all
        .iter()
        .flat_map(|(_, it)| examples(it))
        .map(|it| words(&it))
        .collect();
    // `batch` reads its file first; the bench and the race need `--server`.
    lines.retain(|line| {
        matches!(
            Arguments::try_parse_from(line).unwrap().command,
            Parsed::Client(_)
        ) && line[1] != "batch"
            && !line.iter().any(|word| word == "--store")
    });
    lines.extend(
        ["bookd bench --only echo --seconds 1", "bookd demo-race"].map(|line| {
            let mut line = words(line);
            line.extend(["--server".to_owned(), address.to_string()]);
            line
        }),
    );
    assert!(lines.len() > 50, "{}", lines.len());
    let running: Vec<(Child, String)> = lines
        .into_iter()
        .map(|line| (asking(address, &line[1..]), line.join(" ")))
        .collect();
    for (child, line) in running {
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(NO_ANSWER), "{line}\n{said}");
        assert!(
            said.contains(&address.to_string()) && said.contains("within 1s"),
            "{line}\n{said}"
        );
    }
}

#[test]
fn a_stopped_process_is_not_waited_for_and_answers_again_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let signal = |name: &str| {
        assert!(
            Command::new("kill")
                .args([name, &process.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    };
    let server = process.address.to_string();
    signal("-STOP");
    let output = asking(process.address, &["info".to_owned()])
        .wait_with_output()
        .unwrap();
    let complaint = said(&output);
    assert_eq!(output.status.code(), Some(NO_ANSWER), "{complaint}");
    assert!(
        complaint.contains("GetServerInfo") && complaint.contains("--timeout"),
        "{complaint}"
    );
    signal("-CONT");
    let output = bookd(&server, folder.path(), &["info"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(process.terminate().success());
}

#[test]
fn a_connection_that_nobody_takes_is_not_waited_for() {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    // A full backlog drops further connections without an answer.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000);
    }
    let output = asking(address, &["info".to_owned()])
        .wait_with_output()
        .unwrap();
    let complaint = said(&output);
    assert_eq!(output.status.code(), Some(NO_ANSWER), "{complaint}");
    assert!(
        complaint.contains(&format!("{address} took no connection within 1s")),
        "{complaint}"
    );
}

#[test]
fn a_watch_outlives_the_deadline_of_its_opening() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let watch = asking(process.address, &["watch".to_owned()]);
    // The watch still runs when commands that started later have waited for their whole timeout.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..2 {
        let waited = asking(silent.local_addr().unwrap(), &["info".to_owned()])
            .wait_with_output()
            .unwrap();
        assert_eq!(waited.status.code(), Some(NO_ANSWER));
    }
    assert!(process.terminate().success());
    let output = watch.wait_with_output().unwrap();
    assert!(
        output.status.code() == Some(7) && said(&output).contains("SHUTTING_DOWN"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_timeout_has_a_unit_and_is_longer_than_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for timeout in ["0s", "30", "soon", ""] {
        let output = bookd(
            "127.0.0.1:1",
            folder.path(),
            &["info", "--timeout", timeout],
        );
        assert_eq!(
            output.status.code(),
            Some(2),
            "{timeout}: {}",
            said(&output)
        );
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let output = command
        .arg("info")
        .env("BOOKD_TIMEOUT", "never")
        .output()
        .unwrap();
    assert!(
        output.status.code() == Some(2) && said(&output).contains("30s"),
        "{}",
        said(&output)
    );
}
