//! `bookd tenant delete`: nothing of the tenant is in the files afterwards, and nobody else is told
//! anything but what was shared with it.

use std::path::Path;
use std::sync::Arc;

use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use bookd::store::Store;
use bookd::zones::Zones;
use bookd_core::time::Instant;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth_guarded::{Guarded, connected};
use crate::backup::{names, run_json};
use crate::harness::reason;
use crate::people::{bookd, said};
use crate::tenant_world::{
    OF_ACME, Tenants, batch_of_both, book, delete, found_in, local, morning, open, taken,
};
use crate::transfer::well;
use crate::words::booking;

/// What globex is told, by all reads.
#[derive(Debug, PartialEq)]
struct Told {
    calendars: Vec<pb::Calendar>,
    appointments: Vec<pb::Appointment>,
    histories: Vec<pb::Change>,
    watched: Vec<pb::Change>,
}

fn all_of(calendar: &str) -> pb::ListAppointmentsRequest {
    pb::ListAppointmentsRequest {
        calendar_id: calendar.to_owned(),
        states: (1..=8).collect(),
        start_time: Some(prost_types::Timestamp::default()),
        page_size: 2,
        ..Default::default()
    }
}

/// All pages of a list from this one on.
async fn pages(caller: &Guarded, mut request: pb::ListAppointmentsRequest) -> Vec<pb::Appointment> {
    let mut found = Vec::new();
    loop {
        let page = ListServiceClient::new(caller.clone())
            .list_appointments(request.clone())
            .await
            .unwrap()
            .into_inner();
        found.extend(page.appointments);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return found;
        }
    }
}

async fn history(caller: &Guarded, calendar: &str) -> Vec<pb::Change> {
    let mut found = Vec::new();
    let mut request = pb::ListChangesRequest {
        calendar_id: calendar.to_owned(),
        page_size: 2,
        ..Default::default()
    };
    loop {
        let page = ListServiceClient::new(caller.clone())
            .list_changes(request.clone())
            .await
            .unwrap()
            .into_inner();
        found.extend(page.changes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return found;
        }
    }
}

async fn watched(caller: &Guarded) -> Vec<pb::Change> {
    let request = pb::WatchAppointmentsRequest {
        start_revision: 1,
        ..Default::default()
    };
    let answer = ListServiceClient::new(caller.clone())
        .watch_appointments(request)
        .await;
    let (mut stream, mut changes) = (answer.unwrap().into_inner(), Vec::new());
    loop {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Change(change) => changes.push(change),
            Message::Progress(_) => return changes,
        }
    }
}

const CALENDARS: [&str; 3] = ["globex/attic", "globex/eve", "globex/room"];

async fn told(caller: &Guarded) -> Told {
    let calendars = CalendarServiceClient::new(caller.clone())
        .list_calendars(pb::ListCalendarsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .calendars;
    let (mut appointments, mut histories) = (Vec::new(), Vec::new());
    for calendar in CALENDARS {
        appointments.extend(pages(caller, all_of(calendar)).await);
        histories.extend(history(caller, calendar).await);
    }
    Told {
        calendars,
        appointments,
        histories,
        watched: watched(caller).await,
    }
}

/// The first page of a list, and of a history.
async fn first_pages(caller: &Guarded) -> (pb::ListAppointmentsRequest, pb::ListChangesRequest) {
    let mut lists = ListServiceClient::new(caller.clone());
    let list = all_of("globex/room");
    let first = lists.list_appointments(list.clone()).await.unwrap();
    let history = pb::ListChangesRequest {
        calendar_id: "globex/eve".to_owned(),
        page_size: 3,
        ..Default::default()
    };
    let first_changes = lists.list_changes(history.clone()).await.unwrap();
    (
        pb::ListAppointmentsRequest {
            page_token: first.into_inner().next_page_token,
            ..list
        },
        pb::ListChangesRequest {
            page_token: first_changes.into_inner().next_page_token,
            ..history
        },
    )
}

async fn next_changes(caller: &Guarded, request: &pb::ListChangesRequest) -> Vec<pb::Change> {
    let page = ListServiceClient::new(caller.clone())
        .list_changes(request.clone())
        .await;
    page.unwrap().into_inner().changes
}

/// The appointments but one, and that one.
fn without(all: Vec<pb::Appointment>, id: &str) -> (Vec<pb::Appointment>, Option<pb::Appointment>) {
    let (one, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.appointment_id == id);
    (others, one.into_iter().next())
}

/// Asserts that globex is told what it was told before, but that the shared appointment was
/// cancelled.
fn expect_the_same(before: Told, after: Told, shared: &str) {
    assert_eq!(before.calendars, after.calendars);
    let (others, was) = without(before.appointments, shared);
    let (others_now, is) = without(after.appointments, shared);
    assert_eq!(others, others_now);
    let (was, is) = (was.unwrap(), is.unwrap());
    assert_eq!(was.calendar_ids, is.calendar_ids);
    assert_eq!(is.state(), pb::AppointmentState::Cancelled);
    assert_eq!(was.confirmation_code, is.confirmation_code);
    let cancelled = |all: &[pb::Change]| {
        let last = all.iter().max_by_key(|it| it.revision).unwrap().clone();
        assert_eq!(last.command, "DeleteCalendar");
        assert_eq!(last.events.len(), 1, "{last:?}");
        assert_eq!(last.events[0].appointment_id, shared);
        assert_eq!(last.events[0].calendar_ids, ["globex/room"]);
        last.revision
    };
    for (before, after) in [
        (before.histories, after.histories),
        (before.watched, after.watched),
    ] {
        let revision = cancelled(&after);
        let of_before: Vec<_> = after
            .into_iter()
            .filter(|it| it.revision != revision)
            .collect();
        assert_eq!(before, of_before);
    }
}

pub fn offline(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = bookd("127.0.0.1:1", folder, words);
    (output.status.code(), said(&output))
}

#[tokio::test]
async fn a_deleted_tenant_is_in_no_byte_and_the_others_are_told_what_they_were() {
    let world = Tenants::new().await;
    let before = told(&world.globex).await;
    let (list, changes) = first_pages(&world.globex).await;
    let (rest, rest_of_changes) = (
        pages(&world.globex, list.clone()).await,
        next_changes(&world.globex, &changes).await,
    );
    let repeated = pb::BookAppointmentRequest {
        request_id: "visit-12".to_owned(),
        ..booking("globex/eve", &local(3, "12:00"))
    };
    let first_answer = book(&world.globex, repeated.clone()).await;
    let (shared, past) = (world.upcoming.clone(), world.past.clone());
    let (given, taken, last) = (world.given.clone(), world.taken.clone(), world.last.clone());
    let (folder, grants) = world.stop().await;
    assert_eq!(found_in(folder.path(), &OF_ACME).len(), OF_ACME.len());
    let id = uuid::Uuid::parse_str(&last.appointment_id).unwrap();

    let deleted = run_json(folder.path(), &["tenant", "delete", "acme/", "--yes"]);
    assert_eq!(deleted["deleted"], json!(true));
    assert_eq!(deleted["tokens"], json!(1));
    // Both that are shared, and those that came from globex and went there.
    assert_eq!(deleted["shared_appointments"], json!(4));
    assert_eq!(found_in(folder.path(), &OF_ACME), Vec::<String>::new());
    let bytes = std::fs::read(folder.path().join("bookd.db")).unwrap();
    assert!(!bytes.windows(16).any(|it| it == id.as_bytes()));
    assert_eq!(names(folder.path()), ["bookd.db"]);
    well(folder.path(), &["check"]);

    let (bookd, globex) = Tenants::served_again(folder, grants.path()).await;
    expect_the_same(before, told(&globex).await, &shared.appointment_id);
    // A page goes on as of the revision of its first page.
    assert_eq!(pages(&globex, list).await, rest);
    assert_eq!(next_changes(&globex, &changes).await, rest_of_changes);
    assert_eq!(book(&globex, repeated).await, first_answer);
    for (appointment, is_seen) in [(&past, true), (&given, true), (&taken, false)] {
        assert_eq!(sees(&globex, appointment).await, is_seen);
    }
    expect_the_batch_again(&connected(&bookd, "owner-of-all").await).await;
    let new = book(&globex, booking("globex/room", &local(3, "16:00"))).await;
    assert_ne!(new.confirmation_code, last.confirmation_code);
    let by_code = pb::ListAppointmentsRequest {
        confirmation_code: last.confirmation_code,
        states: (1..=8).collect(),
        ..Default::default()
    };
    assert_eq!(pages(&globex, by_code).await, []);
    delete(&globex, "globex/eve").await;
    open(&globex, "globex/eve").await;
    drop(globex);
    let folder = bookd.stop_and_keep().await;
    well(folder.path(), &["check"]);
    well(folder.path(), &["backup", "copy.db"]);
    let (code, text) = offline(folder.path(), &["tenant", "delete", "acme/", "--yes"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("has nothing of acme/"), "{text}");
    expect_nothing_after_the_other(folder.path());
}

/// Repeats a request of both tenants: it is not carried out again, and answers what is left.
async fn expect_the_batch_again(owner: &Guarded) {
    let answer = BookingServiceClient::new(owner.clone())
        .batch_book(batch_of_both())
        .await
        .unwrap()
        .into_inner();
    let calendars = answer.appointments.iter().map(|it| &it.calendar_ids[0]);
    assert_eq!(calendars.collect::<Vec<_>>(), ["globex/room", "globex/eve"]);
}

/// Deletes the other tenant, too: then nothing of either is there, nor of what they shared.
fn expect_nothing_after_the_other(folder: &Path) {
    std::fs::remove_file(folder.join("copy.db")).unwrap();
    run_json(folder, &["tenant", "delete", "globex/", "--yes"]);
    let words = ["globex", "Grace", "deleted-"];
    assert_eq!(found_in(folder, &words), Vec::<String>::new());
    well(folder, &["check"]);
    let connection = rusqlite::Connection::open(folder.join("bookd.db")).unwrap();
    for table in ["appointments", "calendars", "versions", "claims"] {
        let count = format!("select count(*) from {table}");
        let count: i64 = connection.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "{table}");
    }
}

/// Forgets the log but for its last change, as a server does that keeps changes for some days.
fn forget_the_log(file: &Path) {
    let zones = Arc::new(Zones::bundled());
    let mut store = open_sqlite(file, &zones).unwrap();
    while store
        .compact_changes(Instant::MAX, 1_000)
        .unwrap()
        .is_some_and(|oldest| oldest.revision < store.boot().unwrap().revision)
    {}
}

#[tokio::test]
async fn a_request_from_before_the_log_is_not_carried_out_again() {
    let (folder, grants) = Tenants::new().await.stop().await;
    forget_the_log(&folder.path().join("bookd.db"));
    run_json(folder.path(), &["tenant", "delete", "acme/", "--yes"]);
    well(folder.path(), &["check"]);
    let (bookd, globex) = Tenants::served_again(folder, grants.path()).await;
    let again = BookingServiceClient::new(globex.clone())
        .book_appointment(taken())
        .await;
    assert_eq!(reason(&again.unwrap_err()), "APPOINTMENT_NOT_FOUND");
    drop(globex);
    bookd.stop().await;
}

/// Whether a caller is shown an appointment; otherwise it is as if it were not there.
async fn sees(caller: &Guarded, appointment: &pb::Appointment) -> bool {
    let request = pb::GetAppointmentRequest {
        appointment_id: appointment.appointment_id.clone(),
    };
    let found = ListServiceClient::new(caller.clone())
        .get_appointment(request)
        .await;
    if let Err(status) = &found {
        assert_eq!(reason(status), "APPOINTMENT_NOT_FOUND");
    }
    found.is_ok()
}

fn copied(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    let to = copy.path().join("bookd.db");
    std::fs::copy(folder.join("bookd.db"), to).unwrap();
    copy
}

#[tokio::test]
async fn the_export_of_a_tenant_has_all_of_it_and_nothing_of_another() {
    let (folder, _grants) = Tenants::new().await.stop().await;
    let home = folder.path();
    let text = well(home, &["tenant", "export", "acme/", "--codes"]);
    for word in ["globex", "Shared-person"] {
        assert!(!text.contains(word), "{word} is in the export");
    }
    let seen_by_all_calendars_alone = ["Shared-person"];
    for word in OF_ACME
        .iter()
        .filter(|it| !seen_by_all_calendars_alone.contains(it))
    {
        assert!(text.contains(word), "{word} is not in the export");
    }
    let exported: Value = serde_json::from_str(&text).unwrap();
    let count = |name: &str| exported[name].as_array().unwrap().len();
    assert_eq!(count("calendars"), 3);
    assert_eq!(count("tokens"), 1);
    assert!(exported["tokens"][0].get("hash").is_none());
    assert_eq!(
        exported["deleted_calendars"][0]["calendar_id"],
        "acme/gone-room"
    );
    assert!(exported["deleted_calendars"][0]["delete_time"].is_string());
    // Of the deleted calendar, and the hold.
    assert_eq!(count("further_appointments"), 9);
    let is_known = |it: &Value| it["events"].as_array().is_some_and(|it| !it.is_empty());
    assert!(exported["changes"].as_array().unwrap().iter().all(is_known));
    let without = well(
        home,
        &["tenant", "export", "acme/", "--codes", "--without-history"],
    );
    let without: Value = serde_json::from_str(&without).unwrap();
    let mut rest = exported.clone();
    rest.as_object_mut().unwrap().remove("changes");
    assert_eq!(without, rest);
    let file = crate::transfer::written(&folder, "acme.json", &text);
    let (_, imported) = offline(home, &["import", &file, "--store", "sqlite:new.db"]);
    assert!(imported.contains("3 calendars"), "{imported}");
    let passed_over = "deleted_calendars, further_appointments, tokens, changes";
    assert!(imported.contains(passed_over), "{imported}");
    let again = well(home, &["export", "--store", "sqlite:new.db"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    let ids = |of: &Value| -> Vec<Value> {
        let calendars = of["calendars"].as_array().unwrap().iter();
        let appointments = calendars.flat_map(|it| it["appointments"].as_array().unwrap().clone());
        appointments
            .map(|it| it["appointment_id"].clone())
            .collect()
    };
    assert_eq!(ids(&again), ids(&exported));
    well(home, &["check", "--store", "sqlite:new.db"]);
    let (code, said) = offline(home, &["tenant", "export", "nobody/"]);
    assert_eq!(code, Some(4), "{said}");
}

/// Dies at each step of a deletion: the file is as it was or without the tenant, and the next run
/// leaves nothing.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_deletion_that_dies_leaves_the_file_as_it_was_or_without_the_tenant() {
    use std::os::unix::process::ExitStatusExt;
    let (folder, _grants) = Tenants::new().await.stop().await;
    let whole = well(folder.path(), &["tenant", "export", "acme/"]);
    let mut before_and_after = [0, 0];
    for times in 1..=7 {
        let copy = copied(folder.path());
        let mut dying = std::process::Command::new(env!("CARGO_BIN_EXE_bookd"));
        let output = dying
            .args(["tenant", "delete", "acme/", "--yes"])
            .current_dir(copy.path())
            .env("BOOKD_DIE_AT", format!("TenantDeletion:{times}"))
            .output()
            .unwrap();
        assert!(
            output.status.signal().is_some(),
            "{times}: {}",
            said(&output)
        );
        well(copy.path(), &["check"]);
        let (code, text) = offline(copy.path(), &["tenant", "export", "acme/"]);
        let is_there = code == Some(0);
        before_and_after[usize::from(!is_there)] += 1;
        assert!(code == Some(4) || text == whole, "{times}: {text}");
        let (code, text) = offline(copy.path(), &["tenant", "delete", "acme/", "--yes"]);
        assert_eq!(code, Some(if is_there { 0 } else { 4 }), "{times}: {text}");
        assert!(text.contains("cut short"), "{times}: {text}");
        assert_eq!(found_in(copy.path(), &OF_ACME), Vec::<String>::new());
        assert_eq!(names(copy.path()), ["bookd.db"], "{times}");
        well(copy.path(), &["check"]);
    }
    assert_eq!(before_and_after, [6, 1]);
}

/// A file with appointments of one hour each, one after the other, on a calendar of each tenant.
fn large_file() -> String {
    let of = |calendar: &str| {
        let appointments = (0..1_200).map(|hour| {
            let start = morning(1).plus(hour * 3_600).to_string();
            json!({ "start_time": start, "invitee": { "name": "Grace" } })
        });
        let appointments: Vec<Value> = appointments.collect();
        json!({ "calendar_id": calendar, "appointments": appointments })
    };
    json!({ "calendars": [of("acme/large"), of("globex/large")] }).to_string()
}

#[tokio::test]
async fn positions_within_a_change_of_both_tenants_stay() {
    let (folder, grants) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = crate::transfer::written(&folder, "both.json", &large_file());
    well(folder.path(), &["import", &file]);
    std::fs::remove_file(folder.path().join(&file)).unwrap();
    let (bookd, globex) = Tenants::served_again(folder, grants.path()).await;
    let first = ListServiceClient::new(globex.clone())
        .list_changes(pb::ListChangesRequest {
            calendar_id: "globex/large".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let second = pb::ListChangesRequest {
        calendar_id: "globex/large".to_owned(),
        page_token: first.next_page_token,
        ..Default::default()
    };
    let rest = next_changes(&globex, &second).await;
    assert!(rest[0].events.len() > 100, "the change is cut by the page");
    let before = watched(&globex).await;
    drop(globex);
    let folder = bookd.stop_and_keep().await;
    run_json(folder.path(), &["tenant", "delete", "acme/", "--yes"]);
    assert_eq!(found_in(folder.path(), &["acme/"]), Vec::<String>::new());
    well(folder.path(), &["check"]);
    let (bookd, globex) = Tenants::served_again(folder, grants.path()).await;
    assert_eq!(next_changes(&globex, &second).await, rest);
    assert_eq!(watched(&globex).await, before);
    drop(globex);
    bookd.stop().await;
}
