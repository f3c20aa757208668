//! Appointment types are read as they were put, one by one and page by page.
//!
//! Defaults are filled in where a field was not set.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, minutes};
use crate::words::{appointment_type, refused};

fn one(calendar_id: &str, appointment_type_id: &str) -> pb::GetAppointmentTypeRequest {
    let (calendar_id, appointment_type_id) = (calendar_id.into(), appointment_type_id.into());
    pb::GetAppointmentTypeRequest {
        calendar_id,
        appointment_type_id,
    }
}

fn all(calendar_id: &str) -> pb::ListAppointmentTypesRequest {
    pb::ListAppointmentTypesRequest {
        calendar_id: calendar_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_type_is_read_as_it_was_put_with_its_defaults_filled_in() {
    let bookd = Bookd::with_ada().await;
    let visit = pb::AppointmentType {
        display_name: "Visit".into(),
        duration_options: vec![minutes(45)],
        slot_step: Some(minutes(15)),
        capacity: Some(2),
        limits: Some(pb::Limits {
            per_week: Some(9),
            ..Default::default()
        }),
        ..appointment_type("visit", 30)
    };
    bookd.put_type("ada", visit.clone()).await;
    let answer = bookd
        .calendars()
        .get_appointment_type(one("ada", "visit"))
        .await
        .unwrap()
        .into_inner();
    let read = answer.appointment_type.unwrap();
    assert_eq!(answer.revision, 2);
    let filled = pb::AppointmentType {
        buffer_before: Some(minutes(0)),
        buffer_after: Some(minutes(0)),
        min_notice: Some(minutes(0)),
        horizon_days: Some(365),
        pending_blocks: Some(true),
        etag: read.etag.clone(),
        create_time: read.create_time,
        update_time: read.update_time,
        revision: 2,
        ..visit
    };
    assert_eq!(read, filled);
    assert!(!read.etag.is_empty());
    let unknown = refused(
        bookd
            .calendars()
            .get_appointment_type(one("ada", "massage"))
            .await,
    );
    assert!(unknown.is(Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND"));
    let nobody = refused(
        bookd
            .calendars()
            .get_appointment_type(one("nobody", "visit"))
            .await,
    );
    assert!(nobody.is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    let invalid = refused(
        bookd
            .calendars()
            .get_appointment_type(one("", "no type"))
            .await,
    );
    assert_eq!(invalid.fields(), ["appointment_type_id", "calendar_id"]);
    bookd.stop().await;
}

#[tokio::test]
async fn types_are_listed_by_id_page_by_page_until_they_are_deleted() {
    let bookd = Bookd::with_ada().await;
    for id in ["visit", "check-up", "therapy", "a"] {
        bookd.put_type("ada", appointment_type(id, 30)).await;
    }
    let delete = pb::DeleteAppointmentTypeRequest {
        calendar_id: "ada".into(),
        appointment_type_id: "check-up".into(),
        ..Default::default()
    };
    bookd
        .calendars()
        .delete_appointment_type(delete)
        .await
        .unwrap();
    let (mut request, mut ids, mut pages) = (
        pb::ListAppointmentTypesRequest {
            page_size: 2,
            ..all("ada")
        },
        vec![],
        0,
    );
    loop {
        let page = bookd
            .calendars()
            .list_appointment_types(request.clone())
            .await
            .unwrap()
            .into_inner();
        ids.extend(
            page.appointment_types
                .into_iter()
                .map(|it| it.appointment_type_id),
        );
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(
        (ids, pages),
        (
            ["a", "default", "therapy", "visit"]
                .map(String::from)
                .to_vec(),
            2
        )
    );
    let nobody = refused(
        bookd
            .calendars()
            .list_appointment_types(all("nobody"))
            .await,
    );
    assert!(nobody.is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    let forged = pb::ListAppointmentTypesRequest {
        page_token: "00".into(),
        page_size: -1,
        ..all("ada")
    };
    let forged = refused(bookd.calendars().list_appointment_types(forged).await);
    let mut fields = forged.fields();
    fields.sort_unstable();
    assert_eq!(fields, ["page_size", "page_token"]);
    bookd.stop().await;
}
