//! The reasons of calendars, types and hours: each call is wrong in its own way and in all later ones.
//!
//! `precedence.rs` has the reasons of holds and of appointments.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::Bookd;
use crate::precedence::{PARIS, STALE, expect};
use crate::words::appointment_type;

#[tokio::test]
async fn the_reasons_of_calendars_types_and_hours_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-02T09:00").await;
    let mut client = bookd.calendars();
    let calendar = |id: &str, etag: &str| {
        Some(pb::Calendar {
            calendar_id: id.into(),
            etag: etag.into(),
            paused: true,
            ..Default::default()
        })
    };
    let update = |id: &str, etag: &str| pb::UpdateCalendarRequest {
        calendar: calendar(id, etag),
        ..Default::default()
    };
    expect(
        &bookd,
        client.update_calendar(update("eve", STALE)),
        Code::NotFound,
        "CALENDAR_NOT_FOUND",
    )
    .await;
    expect(
        &bookd,
        client.update_calendar(update("ada", STALE)),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    let delete = |id: &str, etag: &str| pb::DeleteCalendarRequest {
        calendar_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    };
    expect(
        &bookd,
        client.delete_calendar(delete("eve", STALE)),
        Code::NotFound,
        "CALENDAR_NOT_FOUND",
    )
    .await;
    expect(
        &bookd,
        client.delete_calendar(delete("ada", STALE)),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    expect(
        &bookd,
        client.delete_calendar(delete("ada", "")),
        Code::FailedPrecondition,
        "CALENDAR_NOT_EMPTY",
    )
    .await;

    let put = |id: &str, name: &str| pb::PutAppointmentTypeRequest {
        calendar_id: id.into(),
        appointment_type: Some(pb::AppointmentType {
            etag: STALE.into(),
            ..appointment_type(name, 60)
        }),
        ..Default::default()
    };
    expect(
        &bookd,
        client.put_appointment_type(put("eve", "default")),
        Code::NotFound,
        "CALENDAR_NOT_FOUND",
    )
    .await;
    expect(
        &bookd,
        client.put_appointment_type(put("ada", "default")),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    expect(
        &bookd,
        client.put_appointment_type(put("ada", "new")),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    let drop_type = |id: &str, name: &str| pb::DeleteAppointmentTypeRequest {
        calendar_id: id.into(),
        appointment_type_id: name.into(),
        etag: STALE.into(),
        ..Default::default()
    };
    let (missing, unknown) = (Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND");
    expect(
        &bookd,
        client.delete_appointment_type(drop_type("eve", "no")),
        missing,
        "CALENDAR_NOT_FOUND",
    )
    .await;
    expect(
        &bookd,
        client.delete_appointment_type(drop_type("ada", "no")),
        missing,
        unknown,
    )
    .await;
    expect(
        &bookd,
        client.delete_appointment_type(drop_type("ada", "default")),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;

    let mut hours = bookd.availability();
    for id in ["eve", "ada"] {
        let set = pb::SetAvailabilityRequest {
            calendar_id: id.into(),
            time_zone: PARIS.into(),
            etag: STALE.into(),
            ..Default::default()
        };
        expect(
            &bookd,
            hours.set_availability(set),
            Code::Aborted,
            "ETAG_MISMATCH",
        )
        .await;
    }
    bookd.stop().await;
}
