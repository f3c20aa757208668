//! Import and export: an import is whole or not at all, and an export reads back to the same bytes.
//!
//! Every mistake in a file is named with its line and field.

use std::path::Path;
use std::process::Output;

use bookd::proto::v1 as pb;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Bookd, minutes};
use crate::kill::Process;
use crate::people::{bookd, said};

fn offline(folder: &Path, words: &[&str]) -> Output {
    bookd("127.0.0.1:1", folder, words)
}

pub fn written(folder: &TempDir, name: &str, text: &str) -> String {
    std::fs::write(folder.path().join(name), text).unwrap();
    name.to_owned()
}

pub fn well(folder: &Path, words: &[&str]) -> String {
    let output = offline(folder, words);
    assert!(output.status.success(), "{words:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The mistakes that a failed import names, one a line; nothing was imported.
pub fn complaints(folder: &TempDir, text: &str, further: &[&str]) -> Vec<String> {
    let file = written(folder, "wrong.json", text);
    let words: Vec<&str> = ["import", &file]
        .into_iter()
        .chain(further.iter().copied())
        .collect();
    let output = offline(folder.path(), &words);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        !folder.path().join("bookd.db").exists()
            || well(folder.path(), &["export"]) == "{\"calendars\": []}\n"
    );
    said(&output)
        .lines()
        .skip(1)
        .map(|line| line.trim().trim_start_matches("wrong.json:").to_owned())
        .collect()
}

const CLINIC: &str = r#"{"calendars": [
  {"calendar_id": "ada", "display_name": "Ada", "time_zone": "Europe/Paris",
   "owner": {"name": "Ada", "email": "ada@example.com"}, "limits": {"per_day": 8},
   "metadata": {"zebra": "1", "apple": "2", "mango": "3"},
   "rules": [{"days_of_week": ["DAY_OF_WEEK_MONDAY"], "start_time": "09:00", "end_time": "17:00"}],
   "overrides": [{"date": "2031-12-24", "to_date": "2031-12-26", "note": "closed"}],
   "appointment_types": [
     {"appointment_type_id": "visit", "duration": "1800s", "capacity": 2, "buffer_after": "600s"},
     {"appointment_type_id": "request", "requires_approval": true, "pending_blocks": false}],
   "deleted_appointment_types": ["gone"],
   "busy": [{"source": "google", "periods": [{"start_time": "2031-03-03T10:00:00Z", "end_time": "2031-03-03T12:00:00Z"}]}],
   "appointments": [
     {"appointment_type_id": "visit", "local_start": "2031-03-03T11:00", "invitee": {"name": "Grace"}, "note": "over busy time"},
     {"appointment_type_id": "visit", "localStart": "2031-03-03T11:00", "invitee": {"name": "Bob", "email": "bob@example.com"}},
     {"appointment_type_id": "visit", "calendar_ids": ["ada", "room"], "local_start": "2031-03-04T11:00",
      "metadata": {"q": "1", "b": "2"}, "sequence": 3, "series_id": "0190163d-8694-739b-aea5-966c26f8ad91",
      "ignored_rules": ["IGNORABLE_RULE_NOTICE"]},
     {"appointment_type_id": "request", "local_start": "2031-03-05T09:00", "state": "APPOINTMENT_STATE_PENDING"},
     {"appointment_type_id": "request", "local_start": "2031-03-05T09:30", "state": "APPOINTMENT_STATE_PENDING"},
     {"appointment_type_id": "visit", "start_time": "2031-03-06T09:00:00Z", "time_zone": "Europe/Paris",
      "local_start": "2031-03-06T11:00", "note": "booked by rules that have changed since"},
     {"appointment_type_id": "gone", "start_time": "2020-03-01T11:00:00Z", "end_time": "2020-03-01T11:15:00Z",
      "state": "APPOINTMENT_STATE_COMPLETED"},
     {"start_time": "2020-03-02T11:00:00Z", "state": "APPOINTMENT_STATE_CANCELLED", "cancel_reason": "ill"},
     {"start_time": "2020-03-02T11:00:00Z", "state": "APPOINTMENT_STATE_PENDING"}
   ]},
  {"calendar_id": "room", "appointment_types": [{"appointment_type_id": "visit"}]}
]}
"#;

/// The export of `CLINIC` has what the file says, and what follows from it.
fn expect_the_clinic_in(exported: &Value) {
    let appointments = exported["calendars"][0]["appointments"].as_array().unwrap();
    let of = |start: &str| {
        appointments
            .iter()
            .find(|it| it["local_start"] == start)
            .unwrap()
    };
    assert_eq!(
        of("2031-03-04T11:00")["series_id"],
        "0190163d-8694-739b-aea5-966c26f8ad91"
    );
    assert_eq!(of("2031-03-04T11:00")["sequence"], 3);
    assert_eq!(
        of("2031-03-04T11:00")["calendar_ids"],
        json!(["ada", "room"])
    );
    assert_eq!(
        of("2031-03-06T11:00")["start_time"],
        "2031-03-06T09:00:00Z",
        "the recorded start counts, not the wall time"
    );
    assert_eq!(of("2020-03-01T12:00")["appointment_type_id"], "gone");
    let states = |state: &str| {
        appointments
            .iter()
            .filter(|it| it["state"] == state)
            .count()
    };
    assert_eq!(
        states("APPOINTMENT_STATE_EXPIRED"),
        1,
        "a request that nobody approved before its start"
    );
    assert_eq!(
        states("APPOINTMENT_STATE_PENDING"),
        2,
        "two requests of one type that do not block each other"
    );
    let overrides = &exported["calendars"][0]["overrides"];
    assert_eq!(
        overrides.as_array().unwrap().len(),
        3,
        "a range of dates becomes one override a date"
    );
}

#[test]
fn what_is_exported_and_imported_again_is_exported_the_same_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(&folder, "clinic.json", CLINIC);
    assert!(
        well(folder.path(), &["import", &file])
            .contains("2 calendars with 9 appointments imported")
    );
    assert!(
        well(folder.path(), &["export", "one.json"])
            .contains("2 calendars with 9 appointments exported")
    );
    well(
        folder.path(),
        &["import", "one.json", "--store", "sqlite:two.db"],
    );
    well(
        folder.path(),
        &["export", "two.json", "--store", "sqlite:two.db"],
    );
    let [one, two] =
        ["one.json", "two.json"].map(|it| std::fs::read_to_string(folder.path().join(it)).unwrap());
    assert_eq!(one, two);
    assert_eq!(
        well(folder.path(), &["export"]),
        one,
        "the export to standard output is the same"
    );
    expect_the_clinic_in(&serde_json::from_str(&one).unwrap());
    let codes = well(folder.path(), &["export", "--codes"]);
    assert_eq!(codes.matches("confirmation_code").count(), 9);
    written(&folder, "codes.json", &codes);
    well(
        folder.path(),
        &["import", "codes.json", "--store", "sqlite:three.db"],
    );
    assert!(
        std::fs::read_dir(folder.path())
            .unwrap()
            .all(|it| !it.unwrap().path().ends_with(".part"))
    );
}

#[test]
fn what_an_older_version_wrote_is_exported_and_imported_the_same_byte_by_byte() {
    // An import refuses the file of schema 3, whose sessions overlap.
    for schema in 1..=2 {
        let folder = tempfile::tempdir().unwrap();
        let kept = format!(
            "{}/tests/files/schema-{schema}.db",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::copy(kept, folder.path().join("bookd.db")).unwrap();
        let one = well(folder.path(), &["export"]);
        let file = written(&folder, "one.json", &one);
        well(
            folder.path(),
            &["import", &file, "--store", "sqlite:two.db"],
        );
        assert_eq!(
            well(folder.path(), &["export", "--store", "sqlite:two.db"]),
            one,
            "schema {schema}"
        );
    }
}

/// A server with three seats of a class, an appointment, one on two calendars, and a hold.
async fn served() -> Bookd {
    let bookd = Bookd::start_at("2031-01-06T08:00:00Z").await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.open("bea", "09:00", "17:00").await;
    let class = |id: &str| pb::AppointmentType {
        appointment_type_id: id.to_owned(),
        duration: Some(minutes(30)),
        capacity: Some(3),
        ..Default::default()
    };
    bookd.put_type("ada", class("class")).await;
    let book = |start: &str, kind: &str| pb::BookAppointmentRequest {
        calendar_id: "ada".to_owned(),
        local_start: format!("2031-01-07T{start}"),
        appointment_type_id: kind.to_owned(),
        invitee: Some(pb::Invitee {
            name: "Grace".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    for _ in 0..3 {
        bookd
            .booking()
            .book_appointment(book("09:00", "class"))
            .await
            .unwrap();
    }
    bookd
        .booking()
        .book_appointment(book("11:00", ""))
        .await
        .unwrap();
    let both = pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["bea".to_owned(), "ada".to_owned()],
        assignment: pb::Assignment::All.into(),
        ..book("14:00", "")
    };
    bookd.booking().book_appointment(both).await.unwrap();
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        local_start: "2031-01-07T15:00".to_owned(),
        ..Default::default()
    };
    bookd.booking().hold_appointment(hold).await.unwrap();
    bookd
}

/// Deletes the types of `ada`, and `bea`, the first calendar of the appointment on two.
async fn delete_types_and_a_calendar(bookd: &Bookd) {
    let delete = pb::DeleteAppointmentTypeRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    for kind in ["class", "default"] {
        let delete = pb::DeleteAppointmentTypeRequest {
            appointment_type_id: kind.to_owned(),
            ..delete.clone()
        };
        bookd
            .calendars()
            .delete_appointment_type(delete)
            .await
            .unwrap();
    }
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "bea".to_owned(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
}

#[tokio::test]
async fn what_a_server_wrote_is_exported_without_the_holds_and_what_was_deleted() {
    let bookd = served().await;
    delete_types_and_a_calendar(&bookd).await;
    let folder = tempfile::tempdir().unwrap();
    let refused = offline(
        folder.path(),
        &[
            "export",
            "--store",
            &format!("sqlite:{}", bookd.file().display()),
        ],
    );
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(said(&refused).contains("stop it first"));
    let store = bookd.file();
    let copy = folder.path().join("bookd.db");
    let source = rusqlite::Connection::open(store).unwrap();
    source
        .execute("vacuum into ?1", [copy.to_str().unwrap()])
        .unwrap();
    let exported = well(folder.path(), &["export"]);
    let read: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(read["calendars"].as_array().unwrap().len(), 1);
    let appointments = read["calendars"][0]["appointments"].as_array().unwrap();
    assert_eq!(
        appointments.len(),
        5,
        "three seats, one alone, one that a calendar left: {exported}"
    );
    assert_eq!(
        read["calendars"][0]["deleted_appointment_types"],
        json!(["class", "default"])
    );
    let last = read["calendars"][0]["last_definitions"].as_array().unwrap();
    assert_eq!(
        last.iter()
            .map(|it| &it["appointment_type_id"])
            .collect::<Vec<_>>(),
        ["class", "default"]
    );
    let file = written(&folder, "again.json", &exported);
    well(
        folder.path(),
        &["import", &file, "--store", "sqlite:again.db"],
    );
    assert_eq!(
        well(folder.path(), &["export", "--store", "sqlite:again.db"]),
        exported
    );
    bookd.stop().await;
}

#[test]
fn every_mistake_in_a_file_is_told_with_line_and_field_and_nothing_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"calendars": [
  {"calendar_id": "ada ", "time_zone": "Europe/Pari",
   "limits": {"per_day": "many"},
   "rules": [{"start_time": "9:00", "end_time": "17:00"},
             {"start_time": "09:00", "end_tim": "17:00"}],
   "surprise": 1,
   "appointments": [
     {"start_time": "2031-03-03T10:00:30Z"},
     {"start_time": "2031-03-03T10:00:00Z",
      "invitee": {"name": "Bob", "email": "nonsense"}, "end_time": "2031-03-03T09:00:00Z"},
     {"state": "APPOINTMENT_STATE_HELD", "local_start": "2031-03-03T10:00"},
     {"start_time": 7}
   ]}
], "more": 1}"#;
    let mistakes = complaints(&folder, text, &[]);
    let mut begins: Vec<String> = mistakes
        .iter()
        .map(|it| it.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    begins.sort();
    let expected = [
        "10 calendars[0].appointments[1].end_time",
        "10 calendars[0].appointments[1].invitee.email",
        "11 calendars[0].appointments[2].state",
        "12 calendars[0].appointments[3].start_time",
        "14 more",
        "2 calendars[0].calendar_id",
        "2 calendars[0].time_zone",
        "3 calendars[0].limits.per_day",
        "4 calendars[0].rules[0].start_time",
        "5 calendars[0].rules[1].end_tim",
        "6 calendars[0].surprise",
        "8 calendars[0].appointments[0].start_time",
    ];
    assert_eq!(begins, expected, "{mistakes:#?}");
    let shown = r#"{"calendars": [{"calendar_id": "ada", "appointments": [
        {"start_time": "2031-03-03T10:00:00Z", "local_start": "9999-12-31T23:59"}]}]}"#;
    let mistakes = complaints(&folder, shown, &[]);
    assert!(
        mistakes[0].starts_with("2: calendars[0].appointments[0].local_start: "),
        "{mistakes:?}"
    );
    let mistakes = complaints(
        &folder,
        "{\"calendars\": [\n{\"calendar_id\": \"a\"},\n]}",
        &[],
    );
    assert!(mistakes[0].starts_with("3: "), "{mistakes:?}");
    assert_eq!(complaints(&folder, "[]", &[]).len(), 1);
    assert_eq!(complaints(&folder, "{\"x\": 1}", &[]).len(), 2);
    let twice = complaints(
        &folder,
        "{\"calendars\": [{\"calendar_id\": \"a\", \"calendar_id\": \"b\"}]}",
        &[],
    );
    assert!(twice[0].contains("twice"), "{twice:?}");
}

#[test]
fn conflicts_unknown_types_and_ids_that_are_there_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    let text = format!(
        r#"{{"calendars": [{{"calendar_id": "ada", "appointments": [
  {{"start_time": "2031-03-03T10:00:00Z", "appointment_id": "{id}"}},
  {{"start_time": "2031-03-03T10:30:00Z"}},
  {{"start_time": "2031-03-03T12:00:00Z", "appointment_id": "{id}"}},
  {{"start_time": "2031-03-03T14:00:00Z", "appointment_type_id": "other"}},
  {{"start_time": "2031-03-03T10:00:00Z", "state": "APPOINTMENT_STATE_CANCELLED"}},
  {{"start_time": "2031-03-03T16:00:00Z", "calendar_ids": ["ada", "nobody"]}}
]}}]}}"#
    );
    let mistakes = complaints(&folder, &text, &[]);
    let fields: Vec<&str> = mistakes
        .iter()
        .map(|it| it.split(": ").nth(1).unwrap())
        .collect();
    let expected = [
        "[1].start_time",
        "[2].appointment_id",
        "[3].appointment_type_id",
        "[5].calendar_ids",
    ];
    assert_eq!(
        fields,
        expected.map(|it| format!("calendars[0].appointments{it}")),
        "{mistakes:#?}"
    );
    assert!(
        mistakes[0].starts_with("3: ") && mistakes[0].contains("BUSY_BOOKING"),
        "{mistakes:?}"
    );
}

#[test]
fn an_import_beside_a_server_or_over_a_calendar_is_refused_and_a_dry_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(&folder, "clinic.json", CLINIC);
    assert!(well(folder.path(), &["import", &file, "--dry-run"]).contains("would be imported"));
    assert!(
        !folder.path().join("bookd.db").exists(),
        "a dry run makes no file"
    );
    let absent = offline(folder.path(), &["export"]);
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    let process = Process::start(&folder.path().join("bookd.db"));
    let refused = offline(folder.path(), &["import", &file]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(
        said(&refused).contains("stop it first"),
        "{}",
        said(&refused)
    );
    assert!(process.terminate().success());
    well(folder.path(), &["import", &file]);
    let before = well(folder.path(), &["export"]);
    let again = offline(folder.path(), &["import", &file]);
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    assert_eq!(well(folder.path(), &["export"]), before);
}

#[test]
fn a_large_file_is_imported_and_only_so_many_mistakes_of_it_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let start = |n: usize| {
        format!(
            "{}-01-01T{:02}:{:02}:00Z",
            2031 + n / 1_440,
            n / 60 % 24,
            n % 60
        )
    };
    let end = |n: usize| start(n + 1);
    let appointments: Vec<Value> = (0..10_000)
        .map(|n| json!({ "start_time": start(n), "end_time": end(n), "note": "n" }))
        .collect();
    let whole = |appointments: &[Value]| json!({ "calendars": [{ "calendar_id": "a", "appointments": appointments }] });
    // The last minute of each first of January is left out: its `end` would be in the next year.
    let proper: Vec<Value> = appointments
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 1_440 != 1_439)
        .map(|it| it.1.clone())
        .collect();
    let wrong: Vec<Value> = (0..200).map(|_| json!({ "start_time": "never" })).collect();
    let mistakes = complaints(&folder, &whole(&wrong).to_string(), &[]);
    assert_eq!(mistakes.len(), bookd::admin::import::COMPLAINTS_MAX + 1);
    assert!(
        mistakes.last().unwrap().contains("150 more"),
        "{:?}",
        mistakes.last()
    );
    let file = written(&folder, "large.json", &whole(&proper).to_string());
    assert!(well(folder.path(), &["import", &file]).contains("1 calendar with 9994 appointments"));
    assert_eq!(well(folder.path(), &["export"]).lines().count(), 9_994 + 4);
}
