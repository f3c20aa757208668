//! Output of commands: the zone of a time, the result of a deletion, the argument that is wrong.
//!
//! An error names the argument as it was typed, and not the field of the request.

use bookd::cli::exit::Exit;

use crate::harness::Bookd;
use crate::people::{bookd, said, words};

async fn tokyo() -> Bookd {
    let service = Bookd::start_at("2027-03-02T20:00:00Z").await;
    service
        .hours("c", "Asia/Tokyo", &[("00:00", "24:00")])
        .await;
    service
}

/// The output and the exit code of a command line.
fn run(service: &Bookd, line: &str) -> (String, Option<i32>) {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = bookd(
        &service.address().to_string(),
        std::env::temp_dir().as_path(),
        &words,
    );
    (said(&output), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_not_of_the_zone_that_was_named_says_its_zone() {
    let service = tokyo().await;
    for line in [
        "book c 2027-03-10 10:00 --name A --zone America/New_York",
        "hold c 2027-03-11 10:00 --zone America/New_York",
        "series book c 2027-03-12 10:00 --every daily --count 2 --name A --zone America/New_York",
    ] {
        let (shown, _) = run(&service, line);
        assert!(shown.contains("Asia/Tokyo"), "{line}: {shown}");
    }
    let (booked, _) = run(
        &service,
        "book c 2027-03-20 10:00 --name A --zone Asia/Tokyo",
    );
    assert!(
        !booked.contains("Asia/Tokyo") && booked.contains("2027-03-20 10:00"),
        "as it was asked for: {booked}"
    );
    service
        .hours("d", "Europe/Paris", &[("00:00", "24:00")])
        .await;
    run(
        &service,
        "book d 2027-03-20 10:00 --name A --email a@example.com",
    );
    run(
        &service,
        "book c 2027-03-21 10:00 --name A --email a@example.com",
    );
    let (listed, _) = run(&service, "list --email a@example.com");
    assert!(
        listed.contains("Asia/Tokyo") && listed.contains("Europe/Paris"),
        "{listed}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_says_what_was_done() {
    let service = tokyo().await;
    run(&service, "types put c visit --duration 30m");
    run(&service, "book c 2027-03-10 10:00 --name A");
    let (dry, _) = run(&service, "types delete c visit --dry-run");
    assert!(
        dry.starts_with("type visit of calendar c would be deleted"),
        "{dry}"
    );
    let (of_type, _) = run(&service, "types delete c visit");
    assert!(
        of_type.starts_with("type visit of calendar c is deleted"),
        "{of_type}"
    );
    let (of_calendar, _) = run(&service, "calendar delete c --force");
    assert!(
        of_calendar.starts_with("calendar c is deleted, and what is upcoming of it cancelled"),
        "{of_calendar}"
    );
    let (called, _) = run(&service, "call ListCalendars");
    assert_eq!(called.trim(), "none");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_as_it_was_typed() {
    let service = tokyo().await;
    service
        .hours("p", "Europe/Paris", &[("00:00", "24:00")])
        .await;
    for (line, typed, field) in [
        (
            "book p 2027-03-28 02:30 --name A",
            "DATE TIME: ",
            "local_start",
        ),
        ("hold p 2027-03-28 02:30", "DATE TIME: ", "local_start"),
        (
            "book p 2027-03-29 10:00 --name A --zone Nowhere/At_All",
            "--zone: ",
            "time_zone",
        ),
        (
            "book p 2027-03-29 10:00 --name A --email nobody",
            "--email: ",
            "invitee.email",
        ),
        ("book p 2027-03-29 10:00", "--name: ", "invitee.name"),
    ] {
        let (shown, code) = run(&service, line);
        assert_eq!(code, Some(Exit::Invalid.code().into()), "{line}: {shown}");
        assert!(
            shown.contains(typed) && !shown.contains(field),
            "{line}: {shown}"
        );
    }
    let (shown, _) = run(
        &service,
        r#"call BookAppointment '{"calendar_id":"p","local_start":"2027-03-28T02:30","invitee":{"name":"A"}}'"#,
    );
    assert!(
        shown.contains("local_start: ") && !shown.contains("DATE TIME"),
        "a typed request gets the names of its fields: {shown}"
    );
    service.stop().await;
}
