//! `bookd bench` measures every kind of call that it names.
//!
//! It leaves no calendar on a named server, and no file of its own server.

use std::process::Command;

use serde_json::Value;

use crate::kill::Process;

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

fn bench(words: &[&str], folder: &std::path::Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let output = command
        .args(QUICK)
        .args(words)
        .env_remove("BOOKD_SERVER")
        .current_dir(folder)
        .output()
        .unwrap();
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
