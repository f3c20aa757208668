//! `bookd check` derives again everything that a file keeps beside its rows and its log, and finds
//! each difference.

use std::path::Path;
use std::sync::Arc;

use bookd::store::sqlite::Sqlite;
use bookd_core::command::{Booking, Command};
use bookd_core::ids::TypeId;
use serde_json::Value;
use tempfile::TempDir;

use crate::people::bookd as command;
use crate::stored::{
    CODE_KEY, World, at_hour, booking, id, live_a_life, open, raw, special_type, zones,
};

/// A store with two seats of one session, calendars that were deleted and created again, and types
/// that were deleted.
fn lived_in() -> World {
    let mut world = World::sqlite();
    live_a_life(&mut world);
    for number in [8, 9] {
        let seat = Booking {
            type_id: Some(special_type().id),
            ..booking(number, "ada", at_hour(30))
        };
        world.run(&Command::Book(seat));
    }
    for number in [8, 9] {
        world.run(&Command::Approve {
            appointment: crate::stored::appointment_id(number),
            etag: None,
        });
    }
    for name in ["bob", "eve"] {
        open(&mut world, name, "UTC");
        let delete = Command::DeleteAppointmentType {
            calendar: id(name),
            type_id: TypeId::default_type(),
            etag: None,
        };
        world.book(if name == "bob" { 10 } else { 11 }, name, at_hour(9));
        world.run(&delete);
        world.run(&Command::DeleteCalendar {
            calendar: id(name),
            force: true,
            etag: None,
            beforehand: None,
        });
    }
    open(&mut world, "bob", "UTC");
    let both = Booking {
        calendars: vec![id("ada"), id("bob")],
        ..booking(12, "ada", at_hour(40))
    };
    world.run(&Command::Book(both));
    world
}

/// The folder of a world, with the store closed.
fn closed(world: World) -> Arc<TempDir> {
    world.folder.clone().unwrap()
}

/// The findings of `bookd check`, each with the name of its check, and the exit code; if the file
/// cannot be read at all, the error.
pub fn checked(folder: &Path) -> (Vec<String>, i32) {
    let output = command("127.0.0.1:1", folder, &["check", "--json"]);
    let code = output.status.code().unwrap();
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        return (
            vec![String::from_utf8_lossy(&output.stderr).into_owned()],
            code,
        );
    };
    let reported = |it: &Value| {
        let name = it["check"].as_str().unwrap().to_owned();
        let findings = it["findings"].as_array().unwrap().clone();
        findings
            .into_iter()
            .map(move |finding| format!("{name}: {}", finding.as_str().unwrap()))
    };
    (
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(reported)
            .collect(),
        code,
    )
}

/// Asserts that a sound file has no findings, and that each change of it is found with these words.
pub fn each_is_found(file: &Path, cases: &[(&str, &str)]) {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("bookd.db");
    std::fs::copy(file, &copy).unwrap();
    let (found, code) = checked(folder.path());
    assert!(
        code != 1 && found.iter().all(|it| it.starts_with("sessions: ")),
        "a sound file has no findings: {found:?}"
    );
    let mut wrong = Vec::new();
    for (sql, words) in cases {
        std::fs::copy(file, &copy).unwrap();
        assert!(raw(&copy).execute(sql, []).unwrap() > 0, "{sql}");
        let (found, code) = checked(folder.path());
        if code != 1 || !found.iter().any(|it| it.contains(words)) {
            wrong.push(format!("{sql}: code {code}, {found:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// SQL that changes derived data of a file, each with words of the finding.
const WRONG_FACTS: [(&str, &str); 36] = [
    (
        "delete from claims where key = 2",
        "derived: appointment 00000000-0000-0000-0000-000000000002 has no claim",
    ),
    (
        "update claims set start = start + 60 where key = 2",
        "is of no place",
    ),
    (
        "update claims set is_over = 1 where key = 2",
        "has no claim on calendar ada",
    ),
    (
        "update claims set calendar = (select max(key) from calendars) where key = 2",
        "is of no place",
    ),
    (
        "update claims set key = 4 where key = 2",
        "has no claim on calendar ada",
    ),
    (
        "insert into claims (calendar, is_over, start, id, key) \
                 select calendar, is_over, start + 60, id, key from claims where key = 2",
        "is of no place",
    ),
    (
        "insert into claims (calendar, is_over, start, id, key) \
                 select 1000, is_over, start, id, key from claims where key = 2",
        "is of no place",
    ),
    (
        "update versions set reach = 0",
        "ends after what calendar ada says",
    ),
    (
        "update versions set reach = 59",
        "ends after what calendar ada says",
    ),
    (
        "update versions set version = version - 1 where calendar = 1",
        "derived: the version of calendar ada",
    ),
    (
        "update versions set version = version + 1 where calendar = 1",
        "derived: the version of calendar ada",
    ),
    (
        "update versions set version = version - 1 where calendar = 2",
        "derived: the version of calendar bob",
    ),
    (
        "update calendars set revision = revision - 1 where key = 1",
        "calendar ada was not last changed",
    ),
    (
        "update calendars set delete_time = null where id = 'eve'",
        "calendar eve is deleted in its row or",
    ),
    (
        "update calendars set delete_time = delete_time + 1 where id = 'eve'",
        "calendar eve is deleted in its row",
    ),
    (
        "update calendars set delete_time = 1 where id = 'ada'",
        "calendar ada is deleted in its row or",
    ),
    (
        "delete from types where calendar = 1 and number = 1",
        "type special of calendar ada, which revision",
    ),
    (
        "update types set body = null where calendar = 1 and number = 0",
        "type default of calendar ada is not",
    ),
    (
        "update types set body = null where calendar = 2",
        "type default of calendar bob is not",
    ),
    (
        "update types set delete_time = null where calendar = 2",
        "type default of calendar bob is not",
    ),
    (
        "update types set delete_time = 1 where calendar = 2",
        "type default of calendar bob is not",
    ),
    (
        "update types set delete_time = 1 where calendar = 1 and number = 1",
        "type special of calendar ada is not",
    ),
    (
        "update appointments set email_key = null where key = 2",
        "the key of the address of appointment",
    ),
    (
        "update appointments set email_key = 'eve@example.com' where key = 2",
        "the key of the address",
    ),
    (
        "update appointments set original_start = original_start + 60 where key = 2",
        "the original start of",
    ),
    (
        "update appointments set session = null where session is not null",
        "rows: appointment",
    ),
    (
        "update appointments set session = 1000 where key = 2",
        "of an appointment that is not there",
    ),
    (
        "update changes set replaced = x'ff' where revision = 5",
        "what revision 5 replaced",
    ),
    (
        "update changes set replaced = null where revision = 2",
        "what revision 2 replaced",
    ),
    (
        "update changes set caller = 7",
        "the caller of a change cannot be read",
    ),
    (
        "update meta set value = 1000 where name = 'sessions_from'",
        "schema 4 begins at revision 1000",
    ),
    (
        "update meta set value = 5 where name = 'sessions_from'",
        "schema 4 does not begin at revision 5",
    ),
    (
        "update meta set value = 0 where name = 'sessions_from'",
        "schema 4 begins at revision 0",
    ),
    (
        "insert into meta (name, value) values ('clock_reset', 5)",
        "the note of the last clock reset",
    ),
    (
        "delete from appointments where key = 2",
        "rows: the appointment with key 2, which the log made, is not",
    ),
    (
        "delete from calendars where key = 2",
        "of a calendar bob that is not there",
    ),
];

#[test]
fn each_derived_fact_that_is_not_as_it_follows_is_found() {
    let folder = closed(lived_in());
    each_is_found(&folder.path().join("bookd.db"), &WRONG_FACTS);
}

#[test]
fn a_fault_in_bringing_an_older_file_along_is_found() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    std::fs::copy(files.join("schema-3.db"), &file).unwrap();
    drop(Sqlite::open(&file, zones(), CODE_KEY).unwrap());
    each_is_found(
        &file,
        &[
            (
                "update appointments set session = null where session is not null",
                "is not in the session of",
            ),
            (
                "update appointments set session = key - 1 where session is null and key > 1",
                "is not in the session of",
            ),
            (
                "update appointments set original_start = original_start + 60 where series is not null",
                "original start",
            ),
            (
                "update appointments set email_key = null",
                "the key of the address",
            ),
            (
                "update meta set value = value - 20 where name = 'sessions_from'",
                "schema 4 does not begin at",
            ),
            ("update claims set is_over = 1 - is_over", "has no claim"),
        ],
    );
}

#[test]
fn a_log_of_which_a_part_is_kept_is_judged_by_that_part() {
    let mut world = lived_in();
    let before = world.now.plus(1);
    world.store().compact_changes(before, 10).unwrap();
    let in_part = closed(world);
    let file = in_part.path().join("bookd.db");
    each_is_found(
        &file,
        &[
            ("delete from claims where key = 2", "has no claim"),
            (
                "update versions set version = version - 1 where calendar = 1",
                "the version of calendar ada",
            ),
            (
                "update types set body = null where calendar = 1 and number = 0",
                "type default of calendar ada",
            ),
        ],
    );
    let mut world = lived_in();
    world.store().compact_changes(before, 1_000).unwrap();
    let last_alone = closed(world);
    let version =
        "update versions set version = (select max(revision) from changes) where calendar = 3";
    // The two seats are of one session whatever the log has kept: the file was never one of before
    // schema 4.
    let session = "update appointments set session = null where session is not null";
    let file = last_alone.path().join("bookd.db");
    each_is_found(
        &file,
        &[
            (version, "the version of calendar eve"),
            (session, "conflicts: appointments"),
        ],
    );
}
