//! `bookd demo` serves calendars with appointments; `bookd demo-race` has clients race for slots.
//!
//! Neither leaves a file or a calendar behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

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

/// Runs a line of the banner in a shell that has the variables of its export line.
fn pasted(export: &str, line: &str) -> Output {
    let folder = Path::new(env!("CARGO_BIN_EXE_bookd")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{export}; {line}")]);
    shell.env("PATH", path).env_remove("BOOKD_TOKEN_FILE");
    shell.env_remove("BOOKD_TOKEN").output().unwrap()
}

#[test]
fn two_tenants_of_a_demo_see_their_own_and_are_refused_what_is_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command
        .args(["demo", "--tenants", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", folder.path());
    let process = Process::spawn(command, "# CREDENTIALS_INVALID");
    let lines = || process.banner.lines().map(str::trim);
    let export = lines().find(|line| line.starts_with("export ")).unwrap();
    let commands: Vec<(&str, &str)> = lines()
        .filter(|line| line.starts_with("bookd "))
        .filter_map(|line| line.split_once(" # "))
        .collect();
    assert_eq!(commands.len(), 9, "{}", process.banner);
    for (line, what) in commands {
        let output = pasted(export, line);
        let said = said(&output);
        match what {
            "PERMISSION_DENIED" | "CREDENTIALS_INVALID" => {
                assert_eq!(output.status.code(), Some(6), "{line}\n{said}");
                assert!(said.contains(what), "{line}\n{said}");
            }
            _ => assert!(output.status.success(), "{line}\n{said}"),
        }
        let own = ["clinic", "salon"]
            .into_iter()
            .find(|it| line.ends_with(&format!("/{it}\"")) || line.contains(&format!("/{it}\" ")));
        if let Some(own) = own.filter(|_| line.starts_with("bookd calendars ")) {
            let rows: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
            assert!(
                rows.len() == 2 && rows.iter().all(|it| it.starts_with(&format!("{own}/"))),
                "{line}\n{said}"
            );
        }
    }
    let held = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
    let held = held.unwrap().path();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&held), 0o700);
    for name in ["clinic", "salon", "operator"] {
        assert_eq!(mode(&held.join(name)), 0o600, "{name}");
        let token = std::fs::read_to_string(held.join(name)).unwrap();
        assert!(!process.banner.contains(token.trim()), "{name}");
    }
    let race = "bookd demo-race --token-file \"$TOKENS/operator\"";
    let race = pasted(export, race);
    assert!(race.status.success(), "{}", said(&race));
    assert!(process.terminate().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn tenants_of_a_demo_are_for_this_machine_alone() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command.args(["demo", "--tenants", "--insecure", "--listen", "0.0.0.0:0"]);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("--tenants is for this machine alone"));
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
