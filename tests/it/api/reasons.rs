//! The order of the reasons of booking, moving, calendars and holds.
//!
//! Each request breaks one rule and all that are checked later: the first answers.

use bookd::proto::v1 as pb;
use tonic::{Code, Status};

use crate::harness::{Bookd, at, invalid_fields, minutes, reason, timestamp, violations};

const NOBODY: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

fn named(calendar: &str, type_id: &str, clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        appointment_type_id: type_id.to_owned(),
        ..at(calendar, clock)
    }
}

async fn refused(bookd: &Bookd, request: pb::BookAppointmentRequest) -> Status {
    let before = bookd.revision().await;
    let status = bookd.book(request).await.unwrap_err();
    assert_eq!(bookd.revision().await, before, "a refusal changes nothing");
    status
}

fn expect(status: &Status, code: Code, name: &str) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (code, name),
        "{status:?}"
    );
}

async fn expect_refused(
    bookd: &Bookd,
    request: pb::BookAppointmentRequest,
    code: Code,
    name: &str,
) -> Status {
    let status = refused(bookd, request).await;
    expect(&status, code, name);
    status
}

#[tokio::test]
async fn all_that_is_wrong_with_a_request_is_said_at_once() {
    let bookd = Bookd::start().await;
    let fields = pb::BookAppointmentRequest {
        request_id: "x".repeat(65),
        calendar_id: " ada".to_owned(),
        appointment_type_id: "-".to_owned(),
        start_time: Some(prost_types::Timestamp {
            seconds: 30,
            nanos: 0,
        }),
        local_start: String::new(),
        time_zone: "Mars/Olympus".to_owned(),
        duration: Some(prost_types::Duration {
            seconds: 90,
            nanos: 0,
        }),
        invitee: Some(pb::Invitee {
            name: " ".to_owned(),
            email: "nobody".to_owned(),
            ..Default::default()
        }),
        note: "n".repeat(4_001),
        appointment_id: "7".to_owned(),
        ignore_rules: vec![9],
        ..Default::default()
    };
    let status = refused(&bookd, fields).await;
    expect(&status, Code::InvalidArgument, "FIELD_INVALID");
    let named_fields = invalid_fields(&status);
    for field in [
        "request_id",
        "calendar_id",
        "appointment_type_id",
        "start_time",
        "time_zone",
        "duration",
        "invitee.name",
        "invitee.email",
        "note",
        "appointment_id",
        "ignore_rules[0]",
    ] {
        assert!(
            named_fields.iter().any(|it| it == field),
            "{field} is not among {named_fields:?}"
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_booking_come_in_their_order() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let first = bookd
        .book(pb::BookAppointmentRequest {
            request_id: "used".to_owned(),
            ..at("ada", "10:00")
        })
        .await
        .unwrap();

    let reused = pb::BookAppointmentRequest {
        request_id: "used".to_owned(),
        ..at("nobody", "10:00")
    };
    expect_refused(&bookd, reused, Code::InvalidArgument, "REQUEST_ID_REUSED").await;

    let of_first = |request| pb::BookAppointmentRequest {
        appointment_id: first.appointment_id.clone(),
        ..request
    };
    let nowhere = of_first(named("nobody", "nothing", "07:00"));
    let status = expect_refused(&bookd, nowhere, Code::NotFound, "CALENDAR_NOT_FOUND").await;
    assert_eq!(status.get_details_resource().as_deref(), Some("nobody"));

    let (untyped, missing) = (of_first(named("ada", "nothing", "07:00")), Code::NotFound);
    expect_refused(&bookd, untyped, missing, "APPOINTMENT_TYPE_NOT_FOUND").await;

    let exists = of_first(at("ada", "07:00"));
    expect_refused(&bookd, exists, Code::AlreadyExists, "APPOINTMENT_EXISTS").await;

    let (failed, unavailable) = (Code::FailedPrecondition, "SLOT_UNAVAILABLE");
    let past_closed_and_off_the_grid = at("ada", "07:30");
    let status = expect_refused(&bookd, past_closed_and_off_the_grid, failed, unavailable).await;
    assert_eq!(violations(&status), ["IN_THE_PAST", "OUTSIDE_AVAILABILITY"]);

    let rule_before_race = at("ada", "10:30");
    let status = expect_refused(&bookd, rule_before_race, failed, unavailable).await;
    assert_eq!(violations(&status), ["MISALIGNED", "BUSY_BOOKING"]);

    let race = expect_refused(&bookd, at("ada", "10:00"), Code::Aborted, "SLOT_TAKEN").await;
    assert_eq!(violations(&race), ["BUSY_BOOKING"]);
    assert!(
        race.message()
            .contains("the next free slot is 2027-01-04T11:00:00Z"),
        "{}",
        race.message()
    );
    bookd.stop().await;
}

/// The resource that a ResourceInfo names.
trait Details {
    fn get_details_resource(&self) -> Option<String>;
}

impl Details for Status {
    fn get_details_resource(&self) -> Option<String> {
        use tonic_types::StatusExt;
        self.get_error_details()
            .resource_info()
            .map(|it| it.resource_name.clone())
    }
}

/// An appointment past its cut-off for moves and cancellations, and one without a cut-off.
async fn late_and_free(bookd: &Bookd) -> [pb::Appointment; 2] {
    bookd.open("ada", "09:00", "17:00").await;
    let late = pb::AppointmentType {
        appointment_type_id: "late".to_owned(),
        reschedule_notice: Some(minutes(180)),
        cancel_notice: Some(minutes(180)),
        ..Default::default()
    };
    bookd.put_type("ada", late).await;
    let late = bookd.book(named("ada", "late", "10:00")).await.unwrap();
    let free = bookd.book(at("ada", "12:00")).await.unwrap();
    [late, free]
}

fn to(appointment_id: &str, clock: &str) -> pb::RescheduleAppointmentRequest {
    pb::RescheduleAppointmentRequest {
        appointment_id: appointment_id.to_owned(),
        start_time: Some(timestamp(&format!("2027-01-04T{clock}:00Z"))),
        ..Default::default()
    }
}

async fn moved(
    bookd: &Bookd,
    request: pb::RescheduleAppointmentRequest,
) -> Result<pb::Appointment, Status> {
    let answer = bookd.booking().reschedule_appointment(request).await?;
    Ok(answer.into_inner().appointment.unwrap())
}

#[tokio::test]
async fn the_reasons_of_moving_come_in_their_order() {
    let bookd = Bookd::start().await;
    let [late, free] = late_and_free(&bookd).await;
    let stale = "0123456789abcdef".to_owned();
    let elsewhere = pb::RescheduleAppointmentRequest {
        calendar_ids: vec!["nobody".to_owned()],
        etag: stale.clone(),
        ..to(&late.appointment_id, "07:00")
    };
    let old = pb::RescheduleAppointmentRequest {
        etag: stale,
        ..to(&late.appointment_id, "07:00")
    };
    let failed = Code::FailedPrecondition;
    let (of_late, of_free) = (&late.appointment_id, &free.appointment_id);
    for (request, code, name) in [
        (to(NOBODY, "07:00"), Code::NotFound, "APPOINTMENT_NOT_FOUND"),
        (elsewhere, Code::NotFound, "CALENDAR_NOT_FOUND"),
        (old, Code::Aborted, "ETAG_MISMATCH"),
        (to(of_late, "07:00"), failed, "TOO_LATE"),
        (to(of_free, "07:00"), failed, "SLOT_UNAVAILABLE"),
        (to(of_free, "10:00"), Code::Aborted, "SLOT_TAKEN"),
    ] {
        expect(&moved(&bookd, request).await.unwrap_err(), code, name);
    }
    let unchanged = moved(&bookd, to(of_free, "12:00")).await.unwrap();
    assert_eq!(
        unchanged.revision, free.revision,
        "a move to the same time changes nothing"
    );
    bookd.cancel(of_free).await;
    let of_cancelled = moved(&bookd, to(of_free, "13:00")).await.unwrap_err();
    expect(&of_cancelled, failed, "APPOINTMENT_STATE");
    bookd.stop().await;
}

#[tokio::test]
async fn an_appointment_past_its_cut_off_is_not_cancelled_and_a_cancelled_one_is_cancelled_again() {
    let bookd = Bookd::start().await;
    let [late, free] = late_and_free(&bookd).await;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: late.appointment_id,
        ..Default::default()
    };
    let status = bookd
        .booking()
        .cancel_appointment(cancel)
        .await
        .unwrap_err();
    expect(&status, Code::FailedPrecondition, "TOO_LATE");
    let cancelled = bookd.cancel(&free.appointment_id).await;
    let again = bookd.cancel(&free.appointment_id).await;
    assert_eq!(
        again, cancelled,
        "a second cancellation is OK and changes nothing"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_calendars() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let create = pb::CreateCalendarRequest {
        calendar: Some(pb::Calendar {
            calendar_id: "ada".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    expect(
        &bookd.calendars().create_calendar(create).await.unwrap_err(),
        Code::AlreadyExists,
        "CALENDAR_EXISTS",
    );
    bookd.book(at("ada", "10:00")).await.unwrap();
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    let status = bookd
        .calendars()
        .delete_calendar(delete.clone())
        .await
        .unwrap_err();
    expect(&status, Code::FailedPrecondition, "CALENDAR_NOT_EMPTY");

    let forced = pb::DeleteCalendarRequest {
        force: true,
        ..delete
    };
    bookd.calendars().delete_calendar(forced).await.unwrap();
    expect(
        &refused(&bookd, at("ada", "14:00")).await,
        Code::NotFound,
        "CALENDAR_NOT_FOUND",
    );
    bookd.open("ada", "09:00", "17:00").await;
    bookd.book(at("ada", "10:00")).await.unwrap();
    bookd.stop().await;
}

#[tokio::test]
async fn a_held_time_is_taken_until_the_hold_expires_and_is_not_confirmed_afterwards() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time: at("ada", "11:00").start_time,
        ..Default::default()
    };
    let held = bookd
        .booking()
        .hold_appointment(hold.clone())
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    let status = refused(&bookd, at("ada", "11:00")).await;
    expect(&status, Code::Aborted, "SLOT_TAKEN");
    assert_eq!(violations(&status), ["BUSY_HOLD"]);
    bookd.set_clock("2027-01-04T08:05:00Z").await;
    let confirm = pb::ConfirmAppointmentRequest {
        appointment_id: held.appointment_id.clone(),
        invitee: Some(pb::Invitee {
            name: "Grace".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    expect(
        &bookd
            .booking()
            .confirm_appointment(confirm)
            .await
            .unwrap_err(),
        Code::FailedPrecondition,
        "HOLD_EXPIRED",
    );
    bookd.book(at("ada", "11:00")).await.unwrap();
    bookd.stop().await;
}
