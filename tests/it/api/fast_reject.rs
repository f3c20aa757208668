//! The fast reject answers as the writer does: same code, message and details for a taken time.
//!
//! A time is free for the next call as soon as the call that gives it back is answered.

use bookd::proto::v1 as pb;
use tonic::{Code, Status};

use crate::harness::Bookd;
use crate::words::{Refused, appointment_type, booking, holding, refused};

const HOURS: [(&str, &str); 1] = [("09:00", "17:00")];
const MONDAY: &str = "2027-03-08";

fn at(time: &str) -> String {
    format!("{MONDAY}T{time}")
}

/// The calendars `ada` and `bob`, and a class of two seats on `ada`.
async fn opened() -> Bookd {
    let bookd = Bookd::start_at("2027-03-01T08:00:00Z").await;
    for calendar in ["ada", "bob"] {
        bookd.hours(calendar, "Europe/Paris", &HOURS).await;
    }
    let class = pb::AppointmentType {
        capacity: Some(2),
        ..appointment_type("class", 60)
    };
    let request = pb::PutAppointmentTypeRequest {
        calendar_id: "ada".into(),
        appointment_type: Some(class),
        ..Default::default()
    };
    bookd
        .calendars()
        .put_appointment_type(request)
        .await
        .unwrap();
    bookd
}

async fn try_booking(bookd: &Bookd, request: pb::BookAppointmentRequest) -> Result<(), Status> {
    bookd.booking().book_appointment(request).await.map(drop)
}

/// The refusal of a booking by the fast reject, compared with that of the writer: a request with a
/// `request_id` always goes to the writer, which alone knows whether it is a repeat.
async fn refused_alike(bookd: &Bookd, request: pb::BookAppointmentRequest) -> Refused {
    let published = try_booking(bookd, request.clone()).await.unwrap_err();
    let named = pb::BookAppointmentRequest {
        request_id: "named".into(),
        ..request
    };
    let writer = try_booking(bookd, named).await.unwrap_err();
    assert_eq!(
        (published.code(), published.message()),
        (writer.code(), writer.message())
    );
    let (published, writer) = (Refused::of(&published), Refused::of(&writer));
    assert_eq!(published.metadata, writer.metadata);
    let violations = |refusal: &Refused| {
        format!(
            "{:?} {:?}",
            refusal.details.precondition_failure(),
            refusal.details.bad_request()
        )
    };
    assert_eq!(violations(&published), violations(&writer));
    published
}

#[tokio::test]
async fn what_is_taken_is_refused_alike_whether_the_writer_is_asked_or_not() {
    let bookd = opened().await;
    bookd.booked("ada", &at("10:00")).await;
    let held = bookd.hold("ada", &at("11:00")).await;
    let class = |calendar_id: &str, time: &str| pb::BookAppointmentRequest {
        appointment_type_id: "class".into(),
        ..booking(calendar_id, &at(time))
    };
    for _ in 0..2 {
        try_booking(&bookd, class("ada", "14:00")).await.unwrap();
    }
    let taken = (Code::Aborted, "SLOT_TAKEN");
    for request in [
        booking("ada", &at("10:00")),
        booking("ada", &at("11:00")),
        class("ada", "14:00"),
    ] {
        let refused = refused_alike(&bookd, request).await;
        assert!(refused.is(taken.0, taken.1), "{refused:?}");
        assert!(
            refused.metadata.contains_key("nearest_after"),
            "{refused:?}"
        );
    }
    // A broken rule outranks a lost race, and an id that exists outranks both.
    assert!(
        refused_alike(&bookd, booking("ada", &at("10:30")))
            .await
            .is(Code::FailedPrecondition, "SLOT_UNAVAILABLE")
    );
    let both = |assignment: pb::Assignment, time: &str| pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["ada".into(), "bob".into()],
        assignment: assignment.into(),
        ..booking("", &at(time))
    };
    assert!(
        refused_alike(&bookd, both(pb::Assignment::All, "10:00"))
            .await
            .is(taken.0, taken.1)
    );
    let chosen = bookd
        .booking()
        .book_appointment(both(pb::Assignment::Any, "10:00"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(chosen.appointment.unwrap().calendar_ids, ["bob"]);
    assert!(
        refused_alike(&bookd, both(pb::Assignment::Any, "10:00"))
            .await
            .is(taken.0, taken.1)
    );
    let again = pb::BookAppointmentRequest {
        appointment_id: held.appointment_id.clone(),
        ..booking("ada", &at("10:00"))
    };
    assert!(
        refused_alike(&bookd, again)
            .await
            .is(Code::AlreadyExists, "APPOINTMENT_EXISTS")
    );
    let hold = bookd
        .booking()
        .hold_appointment(holding("ada", &at("10:00")))
        .await;
    assert!(refused(hold).is(taken.0, taken.1));
    bookd.stop().await;
}

#[tokio::test]
async fn a_time_can_be_had_as_soon_as_somebody_was_told_that_it_was_given_back() {
    let bookd = opened().await;
    for _ in 0..20 {
        let booked = bookd.booked("ada", &at("10:00")).await;
        assert!(
            try_booking(&bookd, booking("ada", &at("10:00")))
                .await
                .is_err()
        );
        bookd.cancel(&booked.appointment_id).await;
        let held = bookd.hold("ada", &at("10:00")).await;
        assert!(
            try_booking(&bookd, booking("ada", &at("10:00")))
                .await
                .is_err()
        );
        // The hold expires by the clock, whether or not its expiry is recorded.
        bookd.advance(3_600).await;
        let booked = bookd.booked("ada", &at("10:00")).await;
        assert_ne!(booked.appointment_id, held.appointment_id);
        bookd.cancel(&booked.appointment_id).await;
    }
    bookd.stop().await;
}
