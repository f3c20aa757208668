//! Words for dates and times, such as `tomorrow`, in every command that takes them.
//!
//! They are read in `--zone`, or else in the calendar's zone; the end of a range is found from its
//! start.

use serde_json::Value;

use crate::harness::Bookd;
use crate::people::{bookd, id_of, said, words};

/// Tuesday 15:00 in New York, Wednesday 05:00 in Tokyo.
const TUESDAY_AND_WEDNESDAY: &str = "2027-03-02T20:00:00Z";
/// Saturday noon in UTC.
const SATURDAY: &str = "2027-03-06T12:00:00Z";
const IN_NEW_YORK: &str = "--zone America/New_York";

/// Runs a command line against this service and returns its output; it must succeed.
fn well(service: &Bookd, line: &str) -> String {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = bookd(
        &service.address().to_string(),
        std::env::temp_dir().as_path(),
        &words,
    );
    assert!(output.status.success(), "{line}\n{}", said(&output));
    said(&output)
}

fn json(service: &Bookd, line: &str) -> Value {
    serde_json::from_str(&well(service, &format!("{line} --json"))).unwrap()
}

async fn open_at(now: &str, zone: &str) -> Bookd {
    let service = Bookd::start_at(now).await;
    service.hours("c", zone, &[("00:00", "24:00")]).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_read_in_the_zone_that_is_named_whatever_books() {
    let service = open_at(TUESDAY_AND_WEDNESDAY, "Asia/Tokyo").await;
    let start = |line: &str, pointer: &str| {
        let answer = json(&service, line);
        answer
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{line}: {answer}"))
            .as_str()
            .unwrap()
            .to_owned()
    };
    let booked = "/appointment/start_time";
    assert_eq!(
        start("book c tomorrow 10:00 --name A --dry-run", booked),
        "2027-03-04T01:00:00Z",
        "of the calendar"
    );
    for command in ["book", "hold"] {
        let line =
            |word: &str| format!("{command} c {word} 10:00 {IN_NEW_YORK} --name A --dry-run");
        assert_eq!(
            start(&line("tomorrow"), booked),
            "2027-03-03T15:00:00Z",
            "{command}"
        );
        assert_eq!(
            start(&line("wednesday"), booked),
            "2027-03-03T15:00:00Z",
            "{command}"
        );
        assert_eq!(
            start(&line("2027-03-03"), booked),
            "2027-03-03T15:00:00Z",
            "{command}"
        );
    }
    assert_eq!(
        start(
            &format!("explain c tomorrow 10:00 {IN_NEW_YORK}"),
            "/slot/start_time"
        ),
        "2027-03-03T15:00:00Z"
    );
    let series = format!(
        "series book c tomorrow 10:00 --every daily --until thursday {IN_NEW_YORK} --name A --dry-run"
    );
    let series = json(&service, &series);
    let starts: Vec<&Value> = series["occurrences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["appointment"]["start_time"])
        .collect();
    assert_eq!(starts, ["2027-03-03T15:00:00Z", "2027-03-04T15:00:00Z"]);
    let id = id_of(&well(&service, "book c 2027-03-10 10:00 --name A"));
    let moved = format!("move {id} tomorrow 12:00 {IN_NEW_YORK} --dry-run");
    assert_eq!(start(&moved, booked), "2027-03-03T17:00:00Z");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_dates_and_ranges_are_read_in_the_zone_that_is_named_whatever_lists() {
    let service = open_at(TUESDAY_AND_WEDNESDAY, "Asia/Tokyo").await;
    let first = |line: &str| {
        json(&service, line)["slots"][0]["local_start"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        first(&format!("slots c today {IN_NEW_YORK}"))[..10],
        *"2027-03-02"
    );
    assert_eq!(
        first(&format!("slots c 2027-03-05 --to 2027-03-06 {IN_NEW_YORK}")),
        "2027-03-05T00:00"
    );
    assert_eq!(
        first(&format!("slots c tomorrow --to friday {IN_NEW_YORK}")),
        "2027-03-03T00:00"
    );
    let watched = well(
        &service,
        &format!("watch-slots c tomorrow {IN_NEW_YORK} --count 1"),
    );
    assert!(watched.starts_with("+ 2027-03-03T00:00"), "{watched}");
    // Today in Tokyo, tomorrow in New York.
    well(&service, "book c 2027-03-03 19:00 --name A");
    assert!(well(&service, "list c --to tomorrow").contains(" A "));
    assert_eq!(
        well(&service, &format!("list c --to tomorrow {IN_NEW_YORK}")),
        "none\n"
    );
    assert!(well(&service, &format!("list c --from tomorrow {IN_NEW_YORK}")).contains(" A "));
    let range = format!("--from tomorrow --to tomorrowT03:00 {IN_NEW_YORK}");
    let free = json(&service, &format!("free-busy c {range}"));
    assert_eq!(
        free["calendars"][0]["open"][0]["start_time"], "2027-03-03T05:00:00Z",
        "{free}"
    );
    let put = json(
        &service,
        &format!("busy put c google {range} tomorrowT01:00/tomorrowT02:00"),
    );
    assert_eq!(
        put["periods"][0]["start_time"], "2027-03-03T06:00:00Z",
        "{put}"
    );
    let listed = json(&service, &format!("busy list c {range}"));
    assert_eq!(
        listed["periods"][0]["period"]["end_time"], "2027-03-03T07:00:00Z",
        "{listed}"
    );
    let put = json(
        &service,
        &format!("overrides put c tomorrow 08:00-09:00 {IN_NEW_YORK}"),
    );
    assert_eq!(
        put["availability"]["overrides"][0]["date"], "2027-03-03",
        "{put}"
    );
    let deleted = json(
        &service,
        &format!("overrides delete c wednesday {IN_NEW_YORK}"),
    );
    assert!(deleted["availability"]["overrides"].is_null(), "{deleted}");
    service.stop().await;
}

/// The dates of the first and the last slot that the command line lists.
fn first_and_last_date(service: &Bookd, line: &str) -> [String; 2] {
    let answer = json(service, line);
    let slots = answer["slots"].as_array().unwrap();
    let date = |slot: &Value| slot["local_start"].as_str().unwrap()[..10].to_owned();
    [date(&slots[0]), date(&slots[slots.len() - 1])]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_word_of_a_range_is_read_from_the_first_date_on() {
    let service = open_at(SATURDAY, "UTC").await;
    let put = json(&service, "overrides put c saturday 08:00-10:00 --to sunday");
    let dates: Vec<&Value> = put["availability"]["overrides"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["date"])
        .collect();
    assert_eq!(dates, ["2027-03-13", "2027-03-14"]);
    let put = json(
        &service,
        "overrides put c 2027-03-13 08:00-10:00 --to saturday",
    );
    assert_eq!(
        put["availability"]["overrides"].as_array().unwrap().len(),
        2,
        "one date up to itself"
    );
    let series = json(
        &service,
        "series book c saturday 08:00 --every daily --until monday --allow-partial --name A",
    );
    assert_eq!(series["occurrences"].as_array().unwrap().len(), 3);
    // The last date of slots, as of overrides, is included; the end of a range of time is not.
    for (line, bounds) in [
        ("slots c saturday --to sunday", ["2027-03-13", "2027-03-14"]),
        ("slots c saturday --to monday", ["2027-03-13", "2027-03-15"]),
        ("slots c sunday --to sunday", ["2027-03-07", "2027-03-07"]),
        (
            "slots c saturday --to sundayT00:00",
            ["2027-03-13", "2027-03-13"],
        ),
    ] {
        assert_eq!(first_and_last_date(&service, line), bounds, "{line}");
    }
    let free = json(
        &service,
        "free-busy c --from saturdayT08:30 --to sundayT08:30",
    );
    assert_eq!(
        free["calendars"][0]["busy"].as_array().unwrap().len(),
        2,
        "both mornings: {free}"
    );
    let put = json(
        &service,
        "busy put c google --from friday --to monday saturdayT20:00/sundayT02:00",
    );
    assert_eq!(
        put["periods"][0]["start_time"], "2027-03-13T20:00:00Z",
        "{put}"
    );
    assert_eq!(
        put["periods"][0]["end_time"], "2027-03-14T02:00:00Z",
        "{put}"
    );
    let listed = json(&service, "busy list c --from saturday --to sunday");
    assert_eq!(listed["periods"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        json(&service, "list c --from saturday --to sunday")["appointments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_date_is_refused_with_what_can_be_written() {
    let service = open_at(SATURDAY, "UTC").await;
    for line in [
        "book c 2027-3-8 10:00 --name A",
        "slots c someday",
        "slots c 2027-03-08 --to 9pm",
        "overrides put c 2027-03-08 08:00-10:00 --to later",
        "list c --from 2027-03-08T25:00",
        "slots c tomorrow --zone Nowhere/Land",
    ] {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = bookd(
            &service.address().to_string(),
            std::env::temp_dir().as_path(),
            &words,
        );
        assert_eq!(output.status.code(), Some(2), "{line}\n{}", said(&output));
        assert!(said(&output).contains("write"), "{line}\n{}", said(&output));
    }
    service.stop().await;
}
