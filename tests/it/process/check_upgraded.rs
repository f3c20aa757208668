//! `bookd check` of a file from before schema 4, whose log lacks some changes, and of approved
//! requests.

use std::path::Path;
use std::sync::Arc;

use bookd::proto::v1 as pb;
use bookd::store::sqlite::Sqlite;
use bookd_core::appointment::Appointment;
use bookd_core::command::{Booking, Command};
use serde_json::Value;

use crate::harness::{Bookd, at, minutes, timestamp};
use crate::people::{bookd as command, said};
use crate::stored::{
    CODE_KEY, World, at_hour, booking, open, put_special, raw, special_type, zones,
};
use crate::words::{self, appointment_type};

const FILE: &str = "schema-3.db";
const FILE_NOW: &str = "2026-12-01T00:00:00Z";

/// The findings of `bookd check` that mean damage.
fn damage(folder: &Path) -> Vec<Value> {
    let output = command("127.0.0.1:1", folder, &["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let findings: Vec<Value> = checks
        .filter(|it| !it["promise"].is_null())
        .flat_map(|it| it["findings"].as_array().unwrap())
        .cloned()
        .collect();
    assert_eq!(report["damaged"], !findings.is_empty());
    findings
}

impl Bookd {
    async fn approve(&self, appointment_id: String) -> pb::Appointment {
        let request = pb::ApproveAppointmentRequest {
            appointment_id,
            ..Default::default()
        };
        self.booking()
            .approve_appointment(request)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap()
    }

    async fn decline(&self, appointment_id: String) {
        let request = pb::DeclineAppointmentRequest {
            appointment_id,
            ..Default::default()
        };
        self.booking().decline_appointment(request).await.unwrap();
    }
}

/// The id of an appointment of the file by its number in `tests/files/make.sh`.
fn of_file(number: u32) -> String {
    format!("0190{number:04}-0000-7000-8000-000000000001")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_an_older_file_that_took_no_time_was_in_the_way_of_nobody() {
    let bookd = Bookd::start_from(FILE, FILE_NOW).await;
    let faster = pb::BookAppointmentRequest {
        calendar_id: "desk".into(),
        start_time: Some(timestamp("2026-12-11T13:00:00Z")),
        duration: Some(minutes(60)),
        ..at("desk", "09:00")
    };
    bookd.book(faster).await.unwrap();
    bookd.decline(of_file(24)).await;
    let folder = bookd.stop_and_keep().await;
    assert_eq!(damage(folder.path()), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approving_a_seat_of_one_of_two_sessions_of_an_older_file_claims_nothing() {
    let bookd = Bookd::start_from(FILE, FILE_NOW).await;
    for seat in [25, 26] {
        bookd.approve(of_file(seat)).await;
    }
    let folder = bookd.stop_and_keep().await;
    assert_eq!(damage(folder.path()), Vec::<Value>::new());
    let backup = command("127.0.0.1:1", folder.path(), &["backup", "copy.db"]);
    assert_eq!(backup.status.code(), Some(0), "{}", said(&backup));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approving_what_had_its_seat_before_there_were_fewer_claims_nothing() {
    let bookd = Bookd::with_ada().await;
    let of = |capacity| pb::AppointmentType {
        requires_approval: true,
        capacity: Some(capacity),
        ..appointment_type("class", 60)
    };
    bookd.put_type("ada", of(3)).await;
    let mut seats = Vec::new();
    for _ in 0..3 {
        let seat = pb::BookAppointmentRequest {
            appointment_type_id: "class".into(),
            ..words::booking("ada", "2027-03-03T10:00")
        };
        seats.push(bookd.book(seat).await.unwrap());
    }
    bookd.put_type("ada", of(2)).await;
    for seat in seats {
        bookd.approve(seat.appointment_id).await;
    }
    let folder = bookd.stop_and_keep().await;
    assert_eq!(damage(folder.path()), Vec::<Value>::new());
}

#[test]
fn only_what_takes_time_founds_a_session_of_an_older_file_or_joins_one() {
    let mut world = World::sqlite();
    open(&mut world, "ada", "UTC");
    put_special(&mut world);
    let seats: Vec<Arc<Appointment>> = (1..=7)
        .map(|number| {
            let type_id = Some(special_type().id);
            let seat = Booking {
                type_id,
                ..booking(number, "ada", at_hour(9))
            };
            world.run(&Command::Book(seat)).remove(0)
        })
        .collect();
    let (kept, file) = (
        world.folder.clone().unwrap(),
        world.folder.as_ref().unwrap().path().join("bookd.db"),
    );
    drop(world);
    let connection = raw(&file);
    // The same as the older file: a request that takes no time, an expired hold, an open hold,
    // another request, two bookings, and cancelled appointments.
    let states = [
        (2, false, 1),
        (1, true, 0),
        (1, true, 1),
        (2, false, 1),
        (3, true, 1),
        (2, true, 1),
        (4, true, 1),
    ];
    for (seat, (state, blocks, later)) in seats.iter().zip(states) {
        connection
            .execute(
                "update appointments set state = ?2, blocks = ?3, session = null, \
                 expire_time = (select max(time) from changes) + ?4 where key = ?1",
                (i64::try_from(seat.key.0).unwrap(), state, blocks, later),
            )
            .unwrap();
    }
    connection
        .execute("delete from meta where name = 'rows'", [])
        .unwrap();
    drop(connection);
    drop(Sqlite::open(&file, zones(), CODE_KEY).unwrap());
    let connection = raw(&file);
    let mut statement = connection
        .prepare("select coalesce(session, key) from appointments order by key")
        .unwrap();
    let sessions: Vec<i64> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let first = sessions[0];
    assert_eq!(
        sessions.iter().map(|it| it - first).collect::<Vec<_>>(),
        [0, 1, 2, 3, 2, 2, 6]
    );
    drop(kept);
}
