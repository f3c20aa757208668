//! The order of the reasons of calendars, appointment types and hours.
//!
//! Each call breaks one rule and all that are checked later: the first answers.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::Bookd;
use crate::precedence::{PARIS, STALE, expect};
use crate::words::appointment_type;

#[tokio::test]
async fn the_reasons_of_calendars_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-02T09:00").await;
    let mut client = bookd.calendars();
    let update = |id: &str, etag: &str| pb::UpdateCalendarRequest {
        calendar: Some(pb::Calendar {
            calendar_id: id.into(),
            etag: etag.into(),
            paused: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let call = client.update_calendar(update("eve", STALE));
    expect(&bookd, call, Code::NotFound, "CALENDAR_NOT_FOUND").await;
    let call = client.update_calendar(update("ada", STALE));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let delete = |id: &str, etag: &str| pb::DeleteCalendarRequest {
        calendar_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    };
    let call = client.delete_calendar(delete("eve", STALE));
    expect(&bookd, call, Code::NotFound, "CALENDAR_NOT_FOUND").await;
    let call = client.delete_calendar(delete("ada", STALE));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let call = client.delete_calendar(delete("ada", ""));
    let code = Code::FailedPrecondition;
    expect(&bookd, call, code, "CALENDAR_NOT_EMPTY").await;
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_types_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let mut client = bookd.calendars();
    let put = |id: &str, name: &str| pb::PutAppointmentTypeRequest {
        calendar_id: id.into(),
        appointment_type: Some(pb::AppointmentType {
            etag: STALE.into(),
            ..appointment_type(name, 60)
        }),
        ..Default::default()
    };
    let call = client.put_appointment_type(put("eve", "default"));
    expect(&bookd, call, Code::NotFound, "CALENDAR_NOT_FOUND").await;
    let call = client.put_appointment_type(put("ada", "default"));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let call = client.put_appointment_type(put("ada", "new"));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let drop_type = |id: &str, name: &str| pb::DeleteAppointmentTypeRequest {
        calendar_id: id.into(),
        appointment_type_id: name.into(),
        etag: STALE.into(),
        ..Default::default()
    };
    let call = client.delete_appointment_type(drop_type("eve", "no"));
    expect(&bookd, call, Code::NotFound, "CALENDAR_NOT_FOUND").await;
    let call = client.delete_appointment_type(drop_type("ada", "no"));
    expect(&bookd, call, Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND").await;
    let call = client.delete_appointment_type(drop_type("ada", "default"));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    bookd.stop().await;
}

#[tokio::test]
async fn hours_with_an_old_etag_are_refused_whether_or_not_the_calendar_is_there() {
    let bookd = Bookd::with_ada().await;
    let mut client = bookd.availability();
    for id in ["eve", "ada"] {
        let set = pb::SetAvailabilityRequest {
            calendar_id: id.into(),
            time_zone: PARIS.into(),
            etag: STALE.into(),
            ..Default::default()
        };
        let call = client.set_availability(set);
        expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    }
    bookd.stop().await;
}
