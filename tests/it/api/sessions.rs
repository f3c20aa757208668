//! Sessions: seats are shared by appointments on the same set of calendars, and by no others.
//!
//! A class in one room shares no seats with a class in another, though both need the same teacher.

use bookd::proto::v1 as pb;
use prost_types::Timestamp;
use tonic::Status;

use crate::harness::{Bookd, at, minutes, reason, timestamp, violations};
use crate::people::bookd as command;

/// A file of schema 3 with overlapping sessions: two seats in one room, one in another.
const FILE: &str = "schema-3.db";
const FILE_NOW: &str = "2026-12-01T00:00:00Z";
const FILE_START: &str = "2026-12-10T09:00:00Z";
const SEATS: [&str; 3] = [
    "01900014-0000-7000-8000-000000000001",
    "01900015-0000-7000-8000-000000000001",
    "01900016-0000-7000-8000-000000000001",
];

/// A session: its calendars, which are booked together, its type and its start.
#[derive(Clone)]
struct Class {
    calendars: Vec<String>,
    type_id: &'static str,
    start: Timestamp,
}

impl Class {
    fn new(calendars: &[&str], clock: &str) -> Self {
        Self {
            start: at("t", clock).start_time.unwrap(),
            ..Self::of_file(calendars)
        }
    }

    fn of_file(calendars: &[&str]) -> Self {
        let calendars = calendars.iter().map(|it| (*it).to_owned()).collect();
        Self {
            calendars,
            type_id: "yoga",
            start: timestamp(FILE_START),
        }
    }

    fn assignment(&self) -> i32 {
        pb::Assignment::All.into()
    }

    fn booking(&self) -> pb::BookAppointmentRequest {
        let start_time = Some(self.start);
        let (calendar_ids, assignment) = (self.calendars.clone(), self.assignment());
        let appointment_type_id = self.type_id.to_owned();
        let invitee = at("t", "09:00").invitee;
        pb::BookAppointmentRequest {
            calendar_ids,
            assignment,
            appointment_type_id,
            start_time,
            invitee,
            ..Default::default()
        }
    }

    fn hold(&self) -> pb::HoldAppointmentRequest {
        pb::HoldAppointmentRequest {
            calendar_ids: self.calendars.clone(),
            assignment: self.assignment(),
            appointment_type_id: self.type_id.to_owned(),
            start_time: Some(self.start),
            ..Default::default()
        }
    }
}

impl Bookd {
    async fn open_rooms(&self) {
        for calendar in ["t", "r1", "r2"] {
            self.open_room(calendar).await;
        }
    }

    async fn open_room(&self, calendar: &str) {
        self.open(calendar, "08:00", "18:00").await;
        let yoga = pb::AppointmentType {
            appointment_type_id: "yoga".into(),
            duration: Some(minutes(60)),
            capacity: Some(5),
            ..Default::default()
        };
        self.put_type(calendar, yoga).await;
    }

    /// The free seats that the list shows, if it shows the slot; the explanation must agree.
    async fn seats(&self, class: &Class) -> Option<i32> {
        let Class {
            calendars,
            type_id,
            start,
        } = class.clone();
        let (assignment, end) = (
            class.assignment(),
            Timestamp {
                seconds: start.seconds + 60,
                ..start
            },
        );
        let list = pb::ListSlotsRequest {
            calendar_ids: calendars.clone(),
            assignment,
            appointment_type_id: type_id.to_owned(),
            start_time: Some(start),
            end_time: Some(end),
            ..Default::default()
        };
        let listed = self
            .slots()
            .list_slots(list)
            .await
            .unwrap()
            .into_inner()
            .slots;
        let explain = pb::ExplainSlotRequest {
            calendar_ids: calendars,
            assignment,
            appointment_type_id: type_id.to_owned(),
            start_time: Some(start),
            ..Default::default()
        };
        let explained = self
            .slots()
            .explain_slot(explain)
            .await
            .unwrap()
            .into_inner();
        let seats = listed.first().map(|it| it.seats_remaining);
        assert_eq!(
            explained.bookable,
            seats.is_some(),
            "the list and the explanation agree"
        );
        seats
    }

    async fn hold_class(&self, class: &Class) -> Result<pb::Appointment, Status> {
        Ok(self
            .booking()
            .hold_appointment(class.hold())
            .await?
            .into_inner()
            .appointment
            .unwrap())
    }

    async fn move_class(&self, id: &str, to: &Class) -> Result<pb::Appointment, Status> {
        let request = pb::RescheduleAppointmentRequest {
            appointment_id: id.to_owned(),
            calendar_ids: to.calendars.clone(),
            assignment: to.assignment(),
            start_time: Some(to.start),
            ..Default::default()
        };
        Ok(self
            .booking()
            .reschedule_appointment(request)
            .await?
            .into_inner()
            .appointment
            .unwrap())
    }
}

/// The refusal is SLOT_TAKEN, because of bookings alone.
fn expect_busy(refused: Result<pb::Appointment, Status>) {
    let status = refused.unwrap_err();
    let codes = violations(&status);
    assert!(
        reason(&status) == "SLOT_TAKEN" && codes.iter().all(|it| it == "BUSY_BOOKING"),
        "{status:?}"
    );
}

/// A series of two days whose first is taken is refused; a partial one books the second day.
async fn expect_a_series_skips_the_taken_day(bookd: &Bookd, class: &Class) {
    let series = pb::BookSeriesRequest {
        calendar_ids: class.calendars.clone(),
        assignment: class.assignment(),
        appointment_type_id: "yoga".into(),
        start_time: Some(class.start),
        invitee: class.booking().invitee,
        frequency: pb::Frequency::Daily.into(),
        count: Some(2),
        ..Default::default()
    };
    let refused = bookd
        .booking()
        .book_series(series.clone())
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "SLOT_TAKEN");
    let partial = pb::BookSeriesRequest {
        allow_partial: true,
        ..series
    };
    let report = bookd
        .booking()
        .book_series(partial)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        report
            .occurrences
            .iter()
            .map(|it| it.bookable)
            .collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_shares_its_seats_with_the_same_set_of_places_and_with_no_other() {
    let mut bookd = Bookd::start().await;
    bookd.open_rooms().await;
    let (first, second) = (
        Class::new(&["t", "r1"], "10:00"),
        Class::new(&["t", "r2"], "10:00"),
    );
    assert_eq!(bookd.seats(&first).await, Some(5));
    let seat = bookd.book(first.booking()).await.unwrap();
    for _ in 0..2 {
        // The order of the calendars makes no difference.
        assert_eq!(bookd.seats(&first).await, Some(4));
        assert_eq!(
            bookd.seats(&Class::new(&["r1", "t"], "10:00")).await,
            Some(4)
        );
        let others = [&["t", "r2"][..], &["t"], &["r1"], &["t", "r1", "r2"]];
        for other in others.map(|places| Class::new(places, "10:00")) {
            assert_eq!(bookd.seats(&other).await, None, "{:?}", other.calendars);
            expect_busy(bookd.book(other.booking()).await);
            expect_busy(bookd.hold_class(&other).await);
        }
        assert_eq!(bookd.seats(&Class::new(&["r2"], "10:00")).await, Some(5));
        bookd = bookd.restart().await;
    }
    expect_a_series_skips_the_taken_day(&bookd, &second).await;

    let later = bookd
        .book(Class::new(&["t", "r2"], "12:00").booking())
        .await
        .unwrap();
    expect_busy(bookd.move_class(&later.appointment_id, &second).await);
    let joined = bookd
        .move_class(&later.appointment_id, &first)
        .await
        .unwrap();
    assert_eq!(joined.calendar_ids, ["t", "r1"]);
    assert_eq!(bookd.seats(&first).await, Some(3));
    // After the first seat has left, the others are still one session that can be joined.
    bookd
        .move_class(&seat.appointment_id, &Class::new(&["t", "r1"], "15:00"))
        .await
        .unwrap();
    assert_eq!(bookd.seats(&first).await, Some(4));
    bookd = bookd.restart().await;
    bookd.book(first.booking()).await.unwrap();
    assert_eq!(bookd.seats(&first).await, Some(3));
    expect_busy(bookd.book(second.booking()).await);
    bookd.stop().await;
}

/// The first seat of a session moves and starts another session, while the others stay: the two
/// share no seats, though both began with the same appointment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_seat_that_moves_away_founds_a_session_that_is_not_the_one_it_left() {
    let mut bookd = Bookd::start().await;
    bookd.open_rooms().await;
    bookd.open_room("r3").await;
    let class = |places: &[&str]| Class::new(places, "10:00");
    let (left, founded) = (class(&["t", "r1"]), class(&["r2", "r3"]));
    let first = bookd.book(left.booking()).await.unwrap();
    bookd.book(left.booking()).await.unwrap();
    bookd
        .move_class(&first.appointment_id, &founded)
        .await
        .unwrap();
    for _ in 0..2 {
        for mixed in [["t", "r2"], ["r2", "t"], ["r1", "r3"]] {
            assert_eq!(bookd.seats(&class(&mixed)).await, None, "{mixed:?}");
            expect_busy(bookd.book(class(&mixed).booking()).await);
            expect_busy(bookd.hold_class(&class(&mixed)).await);
            expect_busy(
                bookd
                    .move_class(&first.appointment_id, &class(&mixed))
                    .await,
            );
        }
        assert_eq!(
            (bookd.seats(&left).await, bookd.seats(&founded).await),
            (Some(4), Some(4))
        );
        bookd = bookd.restart().await;
    }
    bookd.book(founded.booking()).await.unwrap();
    bookd
        .move_class(&first.appointment_id, &left)
        .await
        .unwrap();
    assert_eq!(
        (bookd.seats(&left).await, bookd.seats(&founded).await),
        (Some(3), Some(4))
    );
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_of_an_older_file_stay_and_nobody_joins_either() {
    let mut bookd = Bookd::start_from(FILE, FILE_NOW).await;
    let (first, second) = (
        Class::of_file(&["class/t", "class/r1"]),
        Class::of_file(&["class/t", "class/r2"]),
    );
    for class in [
        &first,
        &second,
        &Class::of_file(&["class/t"]),
        &Class::of_file(&["class/r1"]),
    ] {
        assert_eq!(bookd.seats(class).await, None);
        expect_busy(bookd.book(class.booking()).await);
        expect_busy(bookd.hold_class(class).await);
    }
    for id in SEATS {
        let note = pb::UpdateAppointmentRequest {
            appointment_id: id.to_owned(),
            note: "brings a mat".into(),
            ..Default::default()
        };
        bookd.booking().update_appointment(note).await.unwrap();
    }
    bookd = bookd.restart().await;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: SEATS[1].to_owned(),
        ..Default::default()
    };
    bookd.booking().cancel_appointment(cancel).await.unwrap();
    assert_eq!(
        bookd.seats(&first).await,
        None,
        "the session in the other room still takes the time"
    );
    // When one of the two has moved away, the other can be joined.
    let free = Class {
        start: timestamp("2026-12-10T13:00:00Z"),
        ..second.clone()
    };
    bookd.move_class(SEATS[2], &free).await.unwrap();
    assert_eq!(bookd.seats(&first).await, Some(4));
    bookd.book(first.booking()).await.unwrap();
    expect_busy(bookd.move_class(SEATS[2], &second).await);
    bookd.stop().await;
}

#[test]
fn a_check_names_the_sessions_that_share_a_calendar_and_calls_them_no_damage() {
    let folder = tempfile::TempDir::new().unwrap();
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(FILE);
    std::fs::copy(kept, folder.path().join("bookd.db")).unwrap();
    let output = command("127.0.0.1:1", folder.path(), &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["damaged"].as_bool(), output.status.code()),
        (Some(false), Some(10)),
        "{report:#}"
    );
    let checks = report["checks"].as_array().unwrap();
    let sessions = checks.iter().find(|it| it["check"] == "sessions").unwrap();
    let found = sessions["findings"][0].as_str().unwrap();
    assert!(
        found.contains(SEATS[2]) && (found.contains(SEATS[0]) || found.contains(SEATS[1])),
        "{found}"
    );
    assert!(found.contains("class/t"), "{found}");
}
