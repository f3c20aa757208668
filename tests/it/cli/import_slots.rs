//! Import of `slots.json`, the slots of an earlier system, as a calendar that offers exactly these.
//!
//! Every mistake is named with its line and field.

use bookd_core::time::Instant;
use serde_json::{Value, json};

use crate::kill::Process;
use crate::people::{bookd, said};
use crate::transfer::{complaints, well, written};

const SLOTS: &str = r#"{
  "2031-03-03": {
    "consultation": ["09:00-09:30", "09:30-10:00", {"start_time": "14:00", "end_time": "14:30"}],
    "therapy": [{"start": "16:00", "end": "17:00", "available": true}, {"start": "17:00", "end": "18:00", "available": false}]
  },
  "2031-03-04": {
    "consultation": ["09:00-09:30", "09:30-10:00"]
  }
}
"#;

#[test]
fn s4_slots_json_becomes_a_calendar_that_offers_exactly_its_slots() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(&folder, "slots.json", SLOTS);
    well(
        folder.path(),
        &[
            "import",
            &file,
            "--calendar",
            "clinic",
            "--zone",
            "Europe/Paris",
        ],
    );
    let exported: Value = serde_json::from_str(&well(folder.path(), &["export"])).unwrap();
    let types = exported["calendars"][0]["appointment_types"]
        .as_array()
        .unwrap();
    let of = |id: &str| {
        types
            .iter()
            .find(|it| it["appointment_type_id"] == id)
            .unwrap()
    };
    assert_eq!(of("consultation")["duration"], "1800s");
    assert_eq!(of("therapy")["duration"], "3600s");
    let rule = |start: &str, end: &str, last: &str| json!({ "start_time": start, "end_time": end, "from_date": "2031-03-03", "to_date": last });
    let expected = json!([
        rule("09:00", "10:00", "2031-03-04"),
        rule("14:00", "14:30", "2031-03-03")
    ]);
    assert_eq!(of("consultation")["rules"], expected);
    assert_eq!(
        of("therapy")["rules"],
        json!([rule("16:00", "17:00", "2031-03-03")])
    );
    let mistakes = complaints(&tempfile::tempdir().unwrap(), SLOTS, &[]);
    assert!(mistakes[0].contains("--calendar"), "{mistakes:?}");
}

#[tokio::test]
async fn s4_slots_of_a_file_are_listed_and_booked_as_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let tomorrow = Instant::from_seconds(
        bookd::clock::Clock::now(&bookd::clock::SystemClock).seconds() + 2 * 86_400,
    );
    let date = &tomorrow.to_string()[..10].to_owned();
    let text = format!(
        r#"{{"{date}": {{"follow-up": ["10:00", "10:15", "11:00"], "visit": ["10:00-11:00"]}}}}"#
    );
    let file = written(&folder, "slots.json", &text);
    well(
        folder.path(),
        &[
            "import",
            &file,
            "--calendar",
            "clinic",
            "--duration",
            "follow-up=15m",
        ],
    );
    let process = Process::start(&folder.path().join("bookd.db"));
    let server = process.address.to_string();
    let run = |words: Vec<String>| {
        let output = bookd(
            &server,
            folder.path(),
            &words.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        said(&output)
    };
    let slots = |kind: &str| {
        let words = ["slots", "clinic", date, "--type", kind].map(ToOwned::to_owned);
        let lines = run(words.to_vec());
        lines
            .lines()
            .skip(1)
            .map(|it| it.split_whitespace().nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(slots("follow-up"), ["10:00", "10:15", "11:00"]);
    assert_eq!(slots("visit"), ["10:00"]);
    let words = [
        "book",
        "clinic",
        date,
        "10:15",
        "--type",
        "follow-up",
        "--name",
        "Grace",
    ];
    assert!(run(words.map(ToOwned::to_owned).to_vec()).contains("confirmed"));
    assert_eq!(slots("follow-up"), ["10:00", "11:00"]);
    assert!(
        run(["slots", "clinic", date, "--type", "visit"]
            .map(ToOwned::to_owned)
            .to_vec())
        .contains("none")
    );
    assert!(process.terminate_beside_clients().await.success());
}

#[test]
fn s4_mistakes_in_slots_are_told_with_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{
  "2031-3-05": {"visit": ["09:00-10:00"]},
  "2031-03-06": {
    "visit": ["9:00-10:00", "09:00-10:00",
              "09:30-10:30", "12:00-12:30", {"from": "13:00"}, "14:00-13:00"],
    "bad name": ["10:00-11:00"],
    "open": ["10:00"]
  }
}"#;
    let mistakes = complaints(
        &folder,
        text,
        &["--calendar", "clinic", "--zone", "Nowhere"],
    );
    let fields: Vec<String> = mistakes
        .iter()
        .map(|it| it.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "2 2031-3-05",
        "4 2031-03-06.visit[0].start_time",
        "5 2031-03-06.visit[3].end_time",
        "5 2031-03-06.visit[4]",
        "5 2031-03-06.visit[5].end_time",
        "5 2031-03-06.visit[2]",
        "7 2031-03-06.open[0]",
        "1 --zone",
        "1 bad name",
    ];
    assert_eq!(fields, expected, "{mistakes:#?}");
}
