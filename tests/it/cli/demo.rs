//! `bookd demo` serves calendars with appointments; `bookd demo-race` has clients race for slots.
//!
//! Neither leaves a file or a calendar behind.

use std::process::Command;

use serde_json::Value;

use crate::kill::Process;
use crate::people::{bookd, said};

#[test]
fn a_demo_is_filled_can_be_used_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command
        .args(["demo", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path());
    let process = Process::spawn(command, "SlotsService/ListSlots");
    let server = process.address.to_string();
    let run = |words: &[&str]| {
        let output = bookd(&server, folder.path(), words);
        assert!(output.status.success(), "{words:?}\n{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let calendars: Value = serde_json::from_str(&run(&["calendars", "--json"])).unwrap();
    assert_eq!(calendars["calendars"].as_array().unwrap().len(), 7);
    for calendar in calendars["calendars"].as_array().unwrap() {
        let id = calendar["calendar_id"].as_str().unwrap();
        assert_ne!(run(&["list", id]), "none\n", "{id} has no appointments");
    }
    assert!(run(&["list", "acme/ada", "--state", "pending"]).contains("pending"));
    assert!(run(&["list", "clinic/room-1"]).contains("clinic/dr-lee, clinic/room-1"));
    assert!(run(&["hours", "acme/ada"]).contains("closed for a day"));
    assert_ne!(
        run(&[
            "slots",
            "clinic/dr-lee,clinic/room-1",
            "monday",
            "--all",
            "--type",
            "visit"
        ]),
        "none\n"
    );
    let race = run(&["demo-race"]);
    assert!(race.contains("64 clients"), "{race}");
    assert!(
        !run(&["calendars"]).contains("demo-race"),
        "the race tidies up"
    );
    assert!(process.terminate().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_race_on_a_server_of_its_own_has_one_winner_for_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let output = command
        .args(["demo-race", "--json"])
        .env_remove("BOOKD_SERVER")
        .current_dir(folder.path())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let race: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(race["wrong"], serde_json::json!([]));
    let slots = race["slots"].as_array().unwrap();
    let sum = |field: &str| {
        slots
            .iter()
            .map(|it| it[field].as_u64().unwrap())
            .sum::<u64>()
    };
    let lost: u64 = slots
        .iter()
        .map(|it| it["lost"]["SLOT_TAKEN"].as_u64().unwrap_or_default())
        .sum();
    assert_eq!(
        (slots.len(), sum("clients"), sum("won") + lost),
        (25, 64, 64)
    );
    assert!(slots.iter().all(|it| it["won"].as_u64().unwrap() <= 1));
    assert!((3..=5).contains(&sum("won")), "{race}");
}

#[test]
fn a_demo_race_against_nobody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = bookd("127.0.0.1:1", folder.path(), &["demo-race"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
}
