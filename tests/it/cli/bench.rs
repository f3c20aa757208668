//! `bookd bench` measures every kind of call that it names.
//!
//! It leaves no calendar on a named server, and no file of its own server.

use std::path::Path;
use std::process::{Command, Output};

use bookd::cli::exit::Exit;
use serde_json::Value;

use crate::authority::Authority;
use crate::kill::{Process, command};
use crate::people::said;
use crate::tls::Files;

const QUICK: [&str; 9] = [
    "bench",
    "--json",
    "--seconds",
    "1",
    "--in-flight",
    "4",
    "--calendars",
    "8",
    "--connections",
];

fn calls(report: &Value) -> Vec<(&str, u64, u64)> {
    let all = report["calls"].as_array().unwrap().iter();
    all.map(|measured| {
        (
            measured["call"].as_str().unwrap(),
            measured["calls"].as_u64().unwrap(),
            measured["failed"].as_u64().unwrap(),
        )
    })
    .collect()
}

fn run(words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let command = command.args(words).current_dir(folder);
    command.env_remove("BOOKD_SERVER").output().unwrap()
}

fn bench(words: &[&str], folder: &Path) -> Value {
    let output = run(&[&QUICK, words].concat(), folder);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_call_is_measured_on_a_server_of_its_own_that_is_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let report = bench(&["2"], folder.path());
    let calls = calls(&report);
    let names: Vec<&str> = calls.iter().map(|it| it.0).collect();
    assert_eq!(names, ["echo", "list", "book", "refuse", "mix", "cancel"]);
    assert!(
        calls
            .iter()
            .all(|(_, calls, failed)| *calls > 0 && *failed == 0),
        "{report:#}"
    );
    assert_eq!(report["calls"][0]["ratio_to_echo"], 1.0);
    assert!(report["fsyncs_per_second"].as_f64().unwrap() > 0.0);
    let waits = &report["calls"][2]["wait_microseconds"];
    assert!(waits["p50"].as_u64() <= waits["p99.9"].as_u64());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_server_that_is_named_has_no_calendar_more_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let server = process.address.to_string();
    let report = bench(
        &["1", "--only", "echo,book", "--server", &server],
        folder.path(),
    );
    assert_eq!(calls(&report).len(), 2);
    assert!(report["fsyncs_per_second"].is_null());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let listed = command
        .args(["calendars", "--server", &server])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "none\n");
    assert!(process.terminate().success());
}

/// Two tokens: one with the scopes that the bench and the race need on their own calendars alone,
/// and one that may only read.
const GRANTS: &str = r#"
[[grant]]
name = "bench"
token_file = "bench.token"
scopes = ["slots", "book", "manage"]
prefix = "bench/"

[[grant]]
name = "bench"
token_file = "bench.token"
scopes = ["book", "manage"]
prefix = "demo-race/"

[[grant]]
name = "reader"
token_file = "reader.token"
scopes = ["read"]
"#;

#[test]
fn the_bench_and_the_race_send_their_token_inside_tls_with_every_call() {
    let authority = Authority::new("ours");
    let files = Files::new(&authority);
    let home = files.path("");
    files.write("client", &authority.client("client", &[]));
    for name in ["bench", "reader"] {
        let token = format!("{name}-{}", "q4".repeat(13));
        std::fs::write(files.path(&format!("{name}.token")), token).unwrap();
    }
    std::fs::write(files.path("bookd.toml"), GRANTS).unwrap();
    let mut serving = command(&files.path("bookd.db"));
    serving.current_dir(&home).args(["--config", "bookd.toml"]);
    serving.args(["--tls-cert", "server.pem", "--tls-key", "server.key"]);
    serving.args(["--client-ca", "ca.pem"]);
    let process = Process::spawn(serving, "with this program");
    let server = format!("https://localhost:{}", process.address.port());
    let tls = "--server-ca ca.pem --client-cert client.pem --client-key client.key";
    let tls: Vec<&str> = tls.split(' ').collect();
    let options = |token| {
        let named = ["--server", &server, "--token-file", token];
        [&named[..], &tls].concat()
    };
    let calls_of = ["1", "--only", "echo,list,book,refuse,cancel"];
    let report = bench(&[&calls_of[..], &options("bench.token")].concat(), &home);
    assert_eq!(calls(&report).len(), 5);
    assert!(
        calls(&report).iter().all(|it| it.1 > 0 && it.2 == 0),
        "{report:#}"
    );
    let race = run(
        &[&["demo-race"], &options("bench.token")[..]].concat(),
        &home,
    );
    assert!(race.status.success(), "{}", said(&race));
    for command in ["bench", "demo-race"] {
        let refused = run(&[&[command], &options("reader.token")[..]].concat(), &home);
        let said = said(&refused);
        assert_eq!(
            refused.status.code(),
            Some(Exit::NotAllowed.code().into()),
            "{said}"
        );
        assert!(said.contains("PERMISSION_DENIED"), "{command}: {said}");
        // The certificate alone has no rights: what was let in was the token.
        let without = [&[command, "--server", &server][..], &tls].concat();
        let refused = self::said(&run(&without, &home));
        assert!(refused.contains("PERMISSION_DENIED"), "{refused}");
    }
    assert!(process.terminate().success());
}
