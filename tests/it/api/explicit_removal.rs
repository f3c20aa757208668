//! Commands keep what they do not name: to remove, close or free something takes a word of its own.
//!
//! A word that a shell left empty, or a missing argument, is wrong usage and changes nothing.

use std::path::Path;

use bookd_core::appointment::Carried;
use serde_json::Value;
use tempfile::TempDir;

use crate::kill::Process;
use crate::people::{bookd, id_of, said, words};

/// A server on a store of its own, and the command line as its client.
struct Served {
    folder: TempDir,
    process: Process,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(&folder.path().join("bookd.db"));
        Self { folder, process }
    }

    /// The exit code of a command line, and its output on stdout and stderr.
    fn run(&self, line: &str) -> (i32, String) {
        let (words, folder): (Vec<String>, &Path) = (words(line), self.folder.path());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = bookd(&self.process.address.to_string(), folder, &words);
        (output.status.code().unwrap(), said(&output))
    }

    fn well(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "{line}\n{said}");
        said
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.well(&format!("{line} --json"))).unwrap()
    }

    /// The line is wrong usage, and its message has this hint.
    fn refused(&self, line: &str, hint: &str) {
        let (code, said) = self.run(line);
        assert!(code == 2 && said.contains(hint), "{line}: {code}\n{said}");
    }
}

#[test]
fn a_zone_alone_keeps_the_hours_and_shows_the_appointments_that_lie_outside() {
    let served = Served::start();
    served.well("hours ada mon-fri 09:00-17:00 --zone Europe/Paris");
    let id = id_of(&served.well("book ada monday 09:00 --name Grace"));
    let rules = served.json("hours ada")["availability"]["rules"].clone();
    assert_eq!(rules.as_array().unwrap().len(), 1);
    let shown = served.well("hours ada --zone Asia/Tokyo --dry-run");
    assert!(
        shown.contains("ada in Asia/Tokyo") && shown.contains(&id),
        "{shown}"
    );
    let moved = served.well("hours ada --zone America/New_York");
    assert!(
        moved.contains("09:00") && moved.contains("17:00"),
        "{moved}"
    );
    assert!(
        moved.contains("1 upcoming appointment lies outside open hours") && moved.contains(&id),
        "{moved}"
    );
    let now = served.json("hours ada --zone America/New_York");
    assert_eq!(now["availability"]["rules"], rules);
    assert_eq!(now["availability"]["time_zone"], "America/New_York");
    assert_eq!(
        now["appointments_outside"][0]["appointment_id"],
        Value::from(id),
        "the appointments of the server's answer"
    );
    let (code, said) = served.run("hours nobody --zone Europe/Paris");
    assert!(
        code == 4 && said.contains("CALENDAR_NOT_FOUND"),
        "no hours are nobody's to keep: {said}"
    );
}

#[test]
fn hours_are_closed_by_a_word_and_never_by_leaving_them_out() {
    let served = Served::start();
    served.well("hours ada mon-fri 09:00-17:00");
    let rules = served.json("hours ada")["availability"]["rules"].clone();
    served.refused("hours ada mon-fri", "mon-fri: say its hours");
    served.refused("hours ada mon-fri 09:00-12:00 sat", "sat: say its hours");
    served.refused("hours ada closed mon-fri 09:00-12:00", "closed");
    // An unset variable in quotes is an empty word.
    let (folder, server) = (served.folder.path(), served.process.address.to_string());
    let output = bookd(&server, folder, &["hours", "ada", ""]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(served.json("hours ada")["availability"]["rules"], rules);
    served.refused("overrides put ada tomorrow", "closed");
    served.refused("overrides put ada tomorrow closed 09:00-12:00", "closed");
    assert!(served.json("hours ada")["availability"]["overrides"].is_null());
    assert!(
        served
            .well("overrides put ada tomorrow closed --note away")
            .contains("closed")
    );
    served.well("types put ada early --hours \"daily 06:00-08:00\"");
    served.refused(
        "types put ada early --hours mon-fri",
        "mon-fri: say its hours",
    );
    served.refused("types put ada early --hours closed", "closed");
    assert_eq!(
        served.json("types get ada early")["appointment_type"]["rules"][0]["start_time"],
        "06:00"
    );
    assert!(served.json("hours ada closed")["availability"]["rules"].is_null());
}

#[test]
fn busy_time_is_freed_by_a_word_and_never_by_leaving_it_out() {
    let served = Served::start();
    served.well("hours ada daily 00:00-24:00");
    let range = "--from tomorrow --to tomorrowT12:00";
    served.well(&format!(
        "busy put ada google {range} tomorrowT09:00/tomorrowT10:00"
    ));
    served.refused(&format!("busy put ada google {range}"), "none");
    served.refused(
        &format!("busy put ada google {range} none tomorrowT09:00/tomorrowT10:00"),
        "none",
    );
    let busy = |served: &Served| served.json(&format!("busy list ada {range}"))["periods"].clone();
    assert_eq!(busy(&served).as_array().unwrap().len(), 1);
    served.well(&format!("busy put ada google {range} none"));
    assert!(busy(&served).is_null());
}

#[test]
fn a_type_keeps_what_nothing_is_said_of_until_it_is_told_to_be_replaced() {
    let served = Served::start();
    served.well("hours ada daily 00:00-24:00");
    let get = |served: &Served| served.json("types get ada visit")["appointment_type"].clone();
    let (code, said) = served.run("types put ada visit --keep --notice 10m");
    assert!(
        code == 4 && said.contains("APPOINTMENT_TYPE_NOT_FOUND"),
        "--keep wants one that is there: {said}"
    );
    served.well("types put ada visit --duration 30m --buffer-after 10m --approval --hours \"daily 08:00-18:00\"");
    served.well("types put ada visit --notice 2h");
    let kept = get(&served);
    assert_eq!(
        (&kept["duration"], &kept["buffer_after"]),
        (&Value::from("1800s"), &Value::from("600s")),
        "{kept}"
    );
    assert_eq!(
        (&kept["requires_approval"], &kept["min_notice"]),
        (&Value::from(true), &Value::from("7200s"))
    );
    assert_eq!(kept["rules"][0]["start_time"], "08:00");
    served.well("types put ada visit --keep --capacity 3");
    assert_eq!(get(&served)["buffer_after"], "600s");
    served.well("types put ada visit --replace --duration 45m");
    let replaced = get(&served);
    assert_eq!(replaced["duration"], "2700s");
    assert!(
        replaced["rules"].is_null() && replaced["min_notice"] != "7200s",
        "{replaced}"
    );
}

#[test]
fn metadata_and_invitees_keep_what_nothing_is_said_of() {
    let served = Served::start();
    served.well("hours ada daily 00:00-24:00");
    served.well("calendar update ada --metadata floor=2 --metadata room=7");
    let calendar =
        served.json("calendar update ada --metadata floor=3")["calendar"]["metadata"].clone();
    assert_eq!(calendar, serde_json::json!({ "floor": "3", "room": "7" }));
    let calendar =
        served.json("calendar update ada --clear metadata --metadata floor=4")["calendar"]["metadata"].clone();
    assert_eq!(calendar, serde_json::json!({ "floor": "4" }));
    let id =
        id_of(&served.well(
            "book ada tomorrow 10:00 --name Grace --note first --metadata a=1 --metadata b=2",
        ));
    let updated = served.json(&format!("update {id} --metadata b=3"))["appointment"].clone();
    assert_eq!(
        updated["metadata"],
        serde_json::json!({ "a": "1", "b": "3" })
    );
    assert_eq!(updated["note"], "first");
    let cleared =
        served.json(&format!("update {id} --clear metadata --clear note"))["appointment"].clone();
    assert!(
        cleared["metadata"].is_null() && cleared["note"].is_null(),
        "{cleared}"
    );
    assert_eq!(cleared["invitee"]["name"], "Grace");
    for (time, confirm) in [("12:00", "confirm"), ("14:00", "book --hold")] {
        let hold = format!("hold ada tomorrow {time} --name Bea --email bea@example.com");
        let hold = id_of(&served.well(&hold));
        let confirmed =
            served.json(&format!("{confirm} {hold} --phone 112"))["appointment"]["invitee"].clone();
        let whole =
            serde_json::json!({ "name": "Bea", "email": "bea@example.com", "phone": "112" });
        assert_eq!(confirmed, whole, "{confirm}");
    }
}

#[test]
fn a_series_is_cancelled_as_far_as_is_said_and_never_unless_it_is_said() {
    let served = Served::start();
    served.well("hours ada daily 00:00-24:00");
    let booked = served.json("series book ada tomorrow 09:00 --every daily --count 3 --name Grace");
    let id = |n: usize| {
        booked["occurrences"][n]["appointment"]["appointment_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let series = booked["series_id"].as_str().unwrap().to_owned();
    for line in [
        format!("series cancel --appointment {}", id(2)),
        format!("series cancel --series {series}"),
    ] {
        let (code, said) = served.run(&line);
        assert!(
            code == 2
                && ["one", "following", "all"]
                    .iter()
                    .all(|it| said.contains(it)),
            "{line}: {code}\n{said}"
        );
    }
    served.refused(
        &format!("series cancel --appointment {} --scope some", id(2)),
        "following",
    );
    let upcoming = |served: &Served| {
        served.json("list ada")["appointments"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(upcoming(&served), 3, "nothing was cancelled");
    served.well(&format!(
        "series cancel --appointment {} --scope one",
        id(0)
    ));
    assert_eq!(upcoming(&served), 2);
    served.well(&format!(
        "series cancel --appointment {} --scope following",
        id(2)
    ));
    assert_eq!(upcoming(&served), 1);
    served.well(&format!("series cancel --series {series} --scope all"));
    assert_eq!(upcoming(&served), 0);
}

#[test]
fn a_redaction_says_how_many_and_one_that_finds_nobody_is_no_success() {
    let served = Served::start();
    served.well("hours ada daily 00:00-24:00");
    let (code, said) = served.run("redact grace@example.com");
    assert!(
        code == 4 && said.contains("nothing was found for grace@example.com"),
        "{code}: {said}"
    );
    served.well("book ada tomorrow 10:00 --name Grace --email grace@example.com");
    let id = id_of(&served.well("book ada tomorrow 12:00 --name Grace --email grace@example.com"));
    assert_eq!(
        served.well("redact grace@example.com --dry-run"),
        "2 appointments would be redacted\n"
    );
    assert_eq!(
        served.well(&format!("redact --appointment {id}")),
        "1 appointment redacted\n"
    );
    assert_eq!(
        served.well("redact grace@example.com"),
        "1 appointment redacted\n"
    );
    let (code, said) = served.run("redact grace@example.com --json");
    assert!(
        code == 4 && said.contains("\"revision\"") && said.contains("nothing was found"),
        "{code}: {said}"
    );
    let (code, said) = served.run(&format!("redact --appointment {id}"));
    assert!(
        code == 4 && said.contains(&format!("nothing was found for {id}")),
        "{code}: {said}"
    );
}

#[test]
fn whatever_an_appointment_carries_can_be_said_and_cleared_by_the_command_line() {
    let served = Served::start();
    for (field, _) in Carried::default().bytes() {
        for command in ["book", "hold", "update", "series book"] {
            let help = served.well(&format!("{command} --help"));
            assert!(
                help.contains(&format!("--{field} ")),
                "{command} --{field}\n{help}"
            );
        }
        let cleared = served.well("update --help");
        assert!(
            cleared
                .split("--clear")
                .nth(1)
                .is_some_and(|it| it.contains(field)),
            "--clear {field}\n{cleared}"
        );
    }
}
