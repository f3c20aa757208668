//! Lists, later pages and watches show an appointment as it was at their revision, in every field.
//!
//! The answer of each change is the reference: a reader shows the same message, before and after a
//! restart.

use bookd::proto::v1 as pb;
use bookd::proto::v1::watch_appointments_response::Message;

use crate::harness::{Bookd, MONDAY, at, minutes, timestamp};

const ID: &str = "01900001-0000-7000-8000-000000000001";

impl Bookd {
    async fn open_in(&self, calendar: &str, zone: &str) {
        let rule = pb::AvailabilityRule {
            start_time: "00:00".into(),
            end_time: "24:00".into(),
            ..Default::default()
        };
        let request = pb::SetAvailabilityRequest {
            calendar_id: calendar.into(),
            time_zone: zone.into(),
            rules: vec![rule],
            ..Default::default()
        };
        self.availability().set_availability(request).await.unwrap();
    }

    async fn move_to(&self, calendar: &str, clock: &str) -> pb::Appointment {
        let request = pb::RescheduleAppointmentRequest {
            appointment_id: ID.into(),
            calendar_ids: vec![calendar.into()],
            start_time: Some(timestamp(&format!("{MONDAY}T{clock}:00Z"))),
            ..Default::default()
        };
        self.booking()
            .reschedule_appointment(request)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap()
    }

    /// The appointments of the next `count` changes in a watch that starts at this revision.
    async fn watched(&self, start_revision: i64, count: usize) -> Vec<pb::Appointment> {
        let request = pb::WatchAppointmentsRequest {
            start_revision,
            ..Default::default()
        };
        let mut stream = self
            .lists()
            .watch_appointments(request)
            .await
            .unwrap()
            .into_inner();
        let mut seen = Vec::new();
        while seen.len() < count {
            if let Some(Message::Change(change)) = stream.message().await.unwrap().unwrap().message
            {
                seen.extend(change.events.into_iter().filter_map(|it| it.appointment));
            }
        }
        seen
    }

    async fn page(&self, calendar: &str, token: &str) -> pb::ListAppointmentsResponse {
        let request = pb::ListAppointmentsRequest {
            calendar_id: calendar.into(),
            page_size: 1,
            page_token: token.into(),
            ..Default::default()
        };
        self.lists()
            .list_appointments(request)
            .await
            .unwrap()
            .into_inner()
    }
}

/// Books in Paris, moves to New York and cancels: the appointment as each step answered it.
async fn book_move_and_cancel(bookd: &Bookd) -> Vec<pb::Appointment> {
    bookd.open_in("paris", "Europe/Paris").await;
    bookd.open_in("york", "America/New_York").await;
    for calendar in ["paris", "york"] {
        let visit = pb::AppointmentType {
            appointment_type_id: "visit".into(),
            duration: Some(minutes(30)),
            buffer_before: Some(minutes(if calendar == "paris" { 10 } else { 0 })),
            ..Default::default()
        };
        bookd.put_type(calendar, visit).await;
    }
    let booking = pb::BookAppointmentRequest {
        appointment_id: ID.into(),
        appointment_type_id: "visit".into(),
        ..at("paris", "12:00")
    };
    let mut lived = vec![bookd.book(booking).await.unwrap()];
    bookd.advance(60).await;
    lived.push(bookd.move_to("york", "15:00").await);
    bookd.advance(60).await;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: ID.into(),
        ..Default::default()
    };
    lived.push(
        bookd
            .booking()
            .cancel_appointment(cancel)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap(),
    );
    lived
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_shows_an_appointment_as_each_change_left_it_from_memory_and_from_the_store_alike()
{
    let mut bookd = Bookd::start().await;
    let lived = book_move_and_cancel(&bookd).await;
    assert_eq!(
        lived
            .iter()
            .map(|it| (&*it.time_zone, &*it.local_start))
            .collect::<Vec<_>>(),
        [
            ("Europe/Paris", "2027-01-04T13:00"),
            ("America/New_York", "2027-01-04T10:00"),
            ("America/New_York", "2027-01-04T10:00"),
        ]
    );
    for _ in 0..2 {
        assert_eq!(bookd.watched(lived[0].revision, 3).await, lived);
        bookd = bookd.restart().await;
    }
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_page_shows_an_appointment_as_it_was_when_the_first_one_was_read() {
    for is_restarted in [false, true] {
        let mut bookd = Bookd::start().await;
        bookd.open_in("paris", "Europe/Paris").await;
        bookd.open_in("york", "America/New_York").await;
        bookd.book(at("paris", "09:00")).await.unwrap();
        let then = bookd
            .book(pb::BookAppointmentRequest {
                appointment_id: ID.into(),
                ..at("paris", "12:00")
            })
            .await;
        let then = then.unwrap();
        let first = bookd.page("paris", "").await;
        bookd.advance(60).await;
        bookd.move_to("york", "15:00").await;
        if is_restarted {
            bookd = bookd.restart().await;
        }
        assert_eq!(
            bookd
                .page("paris", &first.next_page_token)
                .await
                .appointments,
            [then]
        );
        bookd.stop().await;
    }
}

async fn hold_by_phone(bookd: &Bookd) -> pb::Appointment {
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".into(),
        start_time: at("ada", "10:00").start_time,
        location: "by phone".into(),
        ..Default::default()
    };
    bookd
        .booking()
        .hold_appointment(hold)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap()
}

async fn book_series_in_the_gym(bookd: &Bookd) -> pb::BookSeriesResponse {
    let series = pb::BookSeriesRequest {
        calendar_id: "ada".into(),
        start_time: at("ada", "11:00").start_time,
        invitee: at("ada", "11:00").invitee,
        frequency: pb::Frequency::Weekly.into(),
        count: Some(2),
        location: "Gym".into(),
        ..Default::default()
    };
    bookd
        .booking()
        .book_series(series)
        .await
        .unwrap()
        .into_inner()
}

/// An update of the location; without paths every field that is set is updated.
fn update(location: &str, paths: &[&str]) -> pb::UpdateAppointmentRequest {
    pb::UpdateAppointmentRequest {
        appointment_id: ID.into(),
        location: location.into(),
        update_mask: (!paths.is_empty()).then(|| prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_is_kept_shown_changed_watched_and_carried_over() {
    let mut bookd = Bookd::start().await;
    bookd.open("ada", "08:00", "18:00").await;
    let booked = bookd.book(pb::BookAppointmentRequest {
        appointment_id: ID.into(),
        location: "Room 2".into(),
        ..at("ada", "09:00")
    });
    assert_eq!(booked.await.unwrap().location, "Room 2");
    let held = hold_by_phone(&bookd).await;
    assert_eq!(held.location, "by phone");
    for (said, expected) in [("", "by phone"), ("at the door", "at the door")] {
        let from_hold = pb::BookAppointmentRequest {
            hold_id: held.appointment_id.clone(),
            location: said.into(),
            validate_only: said.is_empty(),
            ..at("ada", "10:00")
        };
        assert_eq!(bookd.book(from_hold).await.unwrap().location, expected);
    }
    let series = book_series_in_the_gym(&bookd).await;
    assert!(
        series
            .occurrences
            .iter()
            .all(|it| it.appointment.as_ref().unwrap().location == "Gym")
    );
    let starts = series
        .occurrences
        .iter()
        .map(|it| it.appointment.as_ref().unwrap().original_start);
    assert!(starts.eq(series.occurrences.iter().map(|it| it.start_time)));
    for (request, expected) in [
        (update("Room 3", &[]), "Room 3"),
        (update("", &["note"]), "Room 3"),
        (update("", &["location"]), ""),
    ] {
        let updated = bookd
            .booking()
            .update_appointment(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(updated.appointment.unwrap().location, expected);
    }
    bookd
        .booking()
        .update_appointment(update("Rue de la Paix 2", &[]))
        .await
        .unwrap();
    bookd = bookd.restart().await;
    let shown = bookd.page("ada", "").await.appointments;
    assert_eq!(shown[0].location, "Rue de la Paix 2");
    let watched = bookd.watched(shown[0].revision, 1).await;
    assert_eq!(watched, shown[..1]);
    let too_long = bookd
        .booking()
        .update_appointment(update(&"x".repeat(501), &[]))
        .await
        .unwrap_err();
    assert_eq!(crate::harness::invalid_fields(&too_long), ["location"]);
    bookd
        .booking()
        .update_appointment(update(&"é".repeat(500), &[]))
        .await
        .unwrap();
    bookd.stop().await;
}
