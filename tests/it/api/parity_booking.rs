//! Behaviour of the five earlier systems, B32 to B45: fields of a booking, and why it is refused.
//!
//! `parity.rs` says what a row is.

use std::collections::{BTreeMap, BTreeSet};

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, minutes, timestamp};
use crate::parity::calendar;
use crate::words::{NOW, appointment_type, booking, clocks, grace, refused};

const DAY: &str = "2027-03-02";
const PARIS: &str = "Europe/Paris";

#[tokio::test]
async fn b32_booking_needs_no_search_before_and_a_hold_keeps_a_time_meanwhile() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-02T09:00").await;
    let hold = bookd.hold("ada", "2027-03-02T10:00").await;
    assert_eq!(hold.state(), pb::AppointmentState::Held);
    assert_eq!(
        refused(bookd.book(booking("ada", "2027-03-02T10:00")).await).codes(),
        ["BUSY_HOLD"]
    );
    let confirm = pb::BookAppointmentRequest {
        hold_id: hold.appointment_id.clone(),
        invitee: grace(),
        ..Default::default()
    };
    let booked = bookd.book(confirm).await.unwrap();
    assert_eq!(
        (booked.appointment_id, booked.start_time),
        (hold.appointment_id, hold.start_time)
    );
    bookd.stop().await;
}

#[tokio::test]
async fn b33_b34_b35_off_the_grid_outside_hours_and_taken_are_told_apart_with_the_next_free_slots()
{
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-02T10:00").await;
    for (start, code, reason, violation, after) in [
        (
            "11:20",
            Code::FailedPrecondition,
            "SLOT_UNAVAILABLE",
            "MISALIGNED",
            "2027-03-02T11:00:00Z",
        ),
        (
            "18:00",
            Code::FailedPrecondition,
            "SLOT_UNAVAILABLE",
            "OUTSIDE_AVAILABILITY",
            "2027-03-03T08:00:00Z",
        ),
        (
            "10:00",
            Code::Aborted,
            "SLOT_TAKEN",
            "BUSY_BOOKING",
            "2027-03-02T10:00:00Z",
        ),
    ] {
        let answer = refused(bookd.book(booking("ada", &format!("{DAY}T{start}"))).await);
        assert!(answer.is(code, reason), "{start}: {answer:?}");
        assert_eq!(answer.codes(), [violation], "{start}");
        assert!(
            answer.metadata["nearest_after"].starts_with(after),
            "{start}: {answer:?}"
        );
        assert!(
            answer.metadata.contains_key("nearest_before"),
            "{start}: {answer:?}"
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b37_b38_the_past_is_refused_and_the_horizon_rules() {
    let bookd = Bookd::with_ada().await;
    let past = refused(bookd.book(booking("ada", "2027-02-26T09:00")).await);
    assert_eq!(
        (past.code, past.codes()),
        (Code::FailedPrecondition, vec!["IN_THE_PAST"])
    );
    let ten_days = pb::AppointmentType {
        horizon_days: Some(10),
        ..appointment_type("default", 60)
    };
    bookd.put_type("ada", ten_days).await;
    bookd.booked("ada", "2027-03-11T09:00").await;
    let far = refused(bookd.book(booking("ada", "2027-03-12T09:00")).await);
    assert_eq!(
        (far.code, far.codes()),
        (Code::FailedPrecondition, vec!["HORIZON"])
    );
    assert_eq!(bookd.starts("ada", PARIS, "2027-03-12").await, clocks(""));
    bookd.stop().await;
}

#[tokio::test]
async fn b39_b40_b41_b42_a_name_is_required_trimmed_and_bounded_and_an_email_is_checked_when_given()
{
    let bookd = Bookd::with_ada().await;
    let long = "é".repeat(201);
    for (name, email, field) in [
        ("", "", "invitee.name"),
        ("   ", "", "invitee.name"),
        (" Grace", "", "invitee.name"),
        (long.as_str(), "", "invitee.name"),
        ("Grace", "grace", "invitee.email"),
        ("Grace", "grace@", "invitee.email"),
        ("Grace", "@example.com", "invitee.email"),
        ("Grace", "grace@exa mple.com", "invitee.email"),
        ("Grace", "a@b@example.com", "invitee.email"),
    ] {
        let invitee = Some(pb::Invitee {
            name: name.into(),
            email: email.into(),
            ..Default::default()
        });
        let request = pb::BookAppointmentRequest {
            invitee,
            ..booking("ada", "2027-03-02T09:00")
        };
        assert_eq!(
            refused(bookd.book(request).await).fields(),
            [field],
            "{name:?} {email:?}"
        );
    }
    let invitee = Some(pb::Invitee {
        name: "é".repeat(200),
        ..Default::default()
    });
    let request = pb::BookAppointmentRequest {
        invitee: invitee.clone(),
        ..booking("ada", "2027-03-02T09:00")
    };
    assert_eq!(bookd.book(request).await.unwrap().invitee, invitee);
    bookd.stop().await;
}

#[tokio::test]
async fn b43_phone_reason_and_further_fields_are_kept() {
    let bookd = Bookd::with_ada().await;
    let invitee = pb::Invitee {
        phone: "+33 1 23 45 67 89".into(),
        ..grace().unwrap()
    };
    let metadata = BTreeMap::from([("insurance".to_owned(), "public".to_owned())]);
    let request = pb::BookAppointmentRequest {
        invitee: Some(invitee.clone()),
        note: "Headache,\nsince Monday.".into(),
        metadata: metadata.clone(),
        ..booking("ada", "2027-03-02T09:00")
    };
    let booked = bookd.book(request).await.unwrap();
    let read = bookd.appointment(&booked.appointment_id).await;
    assert_eq!(read, booked);
    assert_eq!((read.invitee, read.metadata), (Some(invitee), metadata));
    assert_eq!(read.note, "Headache,\nsince Monday.");
    bookd.stop().await;
}

#[tokio::test]
async fn b44_b45_every_bad_field_is_named_at_once_and_output_only_fields_cannot_be_set() {
    let bookd = Bookd::with_ada().await;
    let request = pb::BookAppointmentRequest {
        calendar_id: " ".into(),
        duration: Some(minutes(0)),
        invitee: Some(pb::Invitee {
            email: "no".into(),
            ..Default::default()
        }),
        appointment_id: "1".into(),
        request_id: "x".repeat(65),
        ..Default::default()
    };
    let answer = refused(bookd.book(request).await);
    let fields: BTreeSet<&str> = answer.fields().into_iter().collect();
    let expected = [
        "appointment_id",
        "calendar_id",
        "duration",
        "invitee.email",
        "invitee.name",
        "request_id",
        "start_time",
    ];
    assert_eq!(fields, BTreeSet::from(expected));

    let mask = prost_types::FieldMask {
        paths: vec!["state".into()],
    };
    let booked = bookd.booked("ada", "2027-03-02T09:00").await;
    let update = pb::UpdateAppointmentRequest {
        appointment_id: booked.appointment_id,
        update_mask: Some(mask),
        ..Default::default()
    };
    assert_eq!(
        refused(bookd.booking().update_appointment(update).await).fields(),
        ["update_mask"]
    );
    let sent = pb::Calendar {
        revision: 99,
        etag: String::new(),
        create_time: Some(timestamp(NOW)),
        ..calendar("lee")
    };
    let create = pb::CreateCalendarRequest {
        calendar: Some(sent),
        ..Default::default()
    };
    let made = bookd
        .calendars()
        .create_calendar(create)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.calendar.unwrap().revision, made.revision);
    bookd.stop().await;
}
