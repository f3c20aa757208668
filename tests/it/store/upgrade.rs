//! The files of every released schema open, and everything in them is there.

use std::path::{Path, PathBuf};

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use rusqlite::Connection;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::Process;
use crate::people::{bookd, said};

/// A calendar of every released file, and an appointment on it.
const CALENDAR: &str = "clinic/lee";
const APPOINTMENT: &str = "01900005-0000-7000-8000-000000000001";

/// The files that the binaries of their time made, oldest first (`tests/files/make.sh`).
fn released() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|it| it.extension().is_some_and(|it| it == "db"))
        .collect();
    files.sort();
    files
}

/// The revision of the last change of a file, read by SQLite alone.
fn revision(file: &Path) -> i64 {
    let connection = Connection::open(file).unwrap();
    connection
        .query_row("select max(revision) from changes", [], |row| row.get(0))
        .unwrap()
}

/// The content of a file that a command on a store writes.
fn written(home: &Path, words: &[&str], file: &str) -> String {
    let output = bookd("127.0.0.1:1", home, words);
    assert!(output.status.success(), "{words:?}\n{}", said(&output));
    std::fs::read_to_string(home.join(file)).unwrap()
}

/// The export without original starts: before schema 4 none was stored, and moved appointments have
/// one from the log.
fn without_original_starts(exported: &str) -> String {
    let mut pieces = exported.split(",\"original_start\":\"");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('"').unwrap().1)
}

/// A released file is exported as the binary of its time exported it, and is sound.
fn everything_is_exported(home: &Path, file: &Path) {
    let wanted = std::fs::read_to_string(file.with_extension("json")).unwrap();
    let export = ["export", "all.json", "--codes"];
    let exported = written(home, &export, "all.json");
    let is_with = wanted.contains("original_start");
    let exported = if is_with {
        exported
    } else {
        without_original_starts(&exported)
    };
    assert_eq!(exported, wanted, "{}", file.display());
    let check = bookd("127.0.0.1:1", home, &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(report["damaged"], false, "{}: {report:#}", file.display());
}

/// The log of an appointment and of a deleted calendar is there.
async fn its_log_is_there(channel: &Channel) {
    let of_appointment = pb::ListChangesRequest {
        appointment_id: APPOINTMENT.to_owned(),
        ..Default::default()
    };
    let changes = ListServiceClient::new(channel.clone())
        .list_changes(of_appointment)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        changes.changes.len(),
        2,
        "booked and moved: {:?}",
        changes.changes
    );
    let of_deleted = pb::ListChangesRequest {
        calendar_id: "gone".to_owned(),
        ..Default::default()
    };
    let changes = ListServiceClient::new(channel.clone())
        .list_changes(of_deleted)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        changes.changes.len(),
        2,
        "created and deleted: {:?}",
        changes.changes
    );
}

/// The next change has the next revision, and what is over is listed.
async fn it_goes_on(channel: &Channel, last: i64) {
    let update = pb::UpdateAppointmentRequest {
        appointment_id: APPOINTMENT.to_owned(),
        note: "after the upgrade".to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["note".to_owned()],
        }),
        ..Default::default()
    };
    let updated = BookingServiceClient::new(channel.clone())
        .update_appointment(update)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(updated.revision, last + 1, "revisions go on");
    let list = pb::ListAppointmentsRequest {
        calendar_id: CALENDAR.to_owned(),
        // The appointments of the files are past, so that the list begins at the epoch.
        start_time: Some(prost_types::Timestamp::default()),
        states: vec![
            pb::AppointmentState::Cancelled as i32,
            pb::AppointmentState::Declined as i32,
        ],
        ..Default::default()
    };
    let over = ListServiceClient::new(channel.clone())
        .list_appointments(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        over.appointments.len(),
        3,
        "cancelled, declined and let go: {:?}",
        over.appointments
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_every_released_schema_opens_and_everything_in_it_is_there() {
    let released = released();
    assert!(!released.is_empty());
    for file in released {
        let folder = TempDir::new().unwrap();
        let home = folder.path();
        std::fs::copy(&file, home.join("bookd.db")).unwrap();
        let last = revision(&home.join("bookd.db"));
        everything_is_exported(home, &file);
        let process = Process::start(&home.join("bookd.db"));
        let channel = connect(process.address).await;
        its_log_is_there(&channel).await;
        it_goes_on(&channel, last).await;
        drop(channel);
        assert!(process.terminate_beside_clients().await.success());
    }
}
