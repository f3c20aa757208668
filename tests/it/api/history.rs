//! Reads after the fact: changes, repeated requests, states in lists, reflection and server info.
//!
//! A repeated request has its effect once, and its answer shows the resource as it is now.

use bookd::proto::v1 as pb;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Bookd, timestamp};
use crate::words::{booking, grace, refused};

async fn changes(bookd: &Bookd, request: pb::ListChangesRequest) -> pb::ListChangesResponse {
    bookd
        .lists()
        .list_changes(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn the_changes_of_a_calendar_are_told_newest_first_page_by_page_without_gap_or_repeat() {
    let bookd = Bookd::with_ada().await;
    let first = bookd.booked("ada", "2027-03-02T09:00").await;
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: first.appointment_id.clone(),
        local_start: "2027-03-02T11:00".into(),
        ..Default::default()
    };
    bookd.booking().reschedule_appointment(moved).await.unwrap();
    bookd.cancel(&first.appointment_id).await;
    bookd.hold("ada", "2027-03-02T13:00").await;
    bookd.advance(300).await;
    let newest = bookd.revision().await;
    let mut request = pb::ListChangesRequest {
        calendar_id: "ada".into(),
        page_size: 2,
        ..Default::default()
    };
    let mut listed_changes = Vec::new();
    loop {
        let page = changes(&bookd, request.clone()).await;
        assert!(page.changes.len() <= 2);
        listed_changes.extend(page.changes);
        // A change between two pages is on neither of them.
        bookd
            .booked(
                "ada",
                &format!("2027-03-03T{:02}:00", 9 + listed_changes.len() / 2),
            )
            .await;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let revisions: Vec<i64> = listed_changes.iter().map(|it| it.revision).collect();
    assert_eq!(revisions, (1..=newest).rev().collect::<Vec<_>>());
    let commands: Vec<&str> = listed_changes
        .iter()
        .rev()
        .map(|it| it.command.as_str())
        .collect();
    let expected = [
        "SetAvailability",
        "BookAppointment",
        "RescheduleAppointment",
        "CancelAppointment",
        "HoldAppointment",
        "Expiry",
    ];
    assert_eq!(commands, expected);
    let event = &listed_changes.iter().rev().nth(2).unwrap().events[0];
    assert_eq!(event.kind(), pb::ChangeKind::Moved);
    let starts = [&event.before, &event.after].map(|image| image.as_ref().unwrap().start_time);
    let expected = ["2027-03-02T08:00:00Z", "2027-03-02T10:00:00Z"];
    assert_eq!(starts, expected.map(|text| Some(timestamp(text))));

    let unknown = pb::ListChangesRequest {
        calendar_id: "eve".into(),
        ..Default::default()
    };
    assert!(
        refused(bookd.lists().list_changes(unknown).await).is(Code::NotFound, "CALENDAR_NOT_FOUND")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_request_sent_again_has_its_effect_once_and_answers_with_what_is_there_now_after_a_restart_too()
 {
    let bookd = Bookd::with_ada().await;
    let book = pb::BookAppointmentRequest {
        request_id: "one".into(),
        ..booking("ada", "2027-03-02T09:00")
    };
    let first = bookd
        .booking()
        .book_appointment(book.clone())
        .await
        .unwrap()
        .into_inner();
    let id = first.appointment.clone().unwrap().appointment_id;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: id.clone(),
        request_id: "two".into(),
        ..Default::default()
    };
    let cancelled = bookd
        .booking()
        .cancel_appointment(cancel.clone())
        .await
        .unwrap()
        .into_inner();
    let revision = bookd.revision().await;
    let bookd = bookd.restart().await;
    let again = bookd
        .booking()
        .book_appointment(book.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.revision, first.revision);
    assert_eq!(
        again.appointment, cancelled.appointment,
        "the repeat answers with the current resource"
    );
    assert_eq!(
        bookd
            .booking()
            .cancel_appointment(cancel)
            .await
            .unwrap()
            .into_inner(),
        cancelled
    );
    assert_eq!(bookd.revision().await, revision);

    // The same request id with another request is refused, also by another method.
    let other = pb::BookAppointmentRequest {
        note: "other".into(),
        ..book
    };
    assert!(refused(bookd.book(other).await).is(Code::InvalidArgument, "REQUEST_ID_REUSED"));
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: id,
        request_id: "one".into(),
        ..Default::default()
    };
    let answer = refused(bookd.booking().cancel_appointment(cancel).await);
    assert!(
        answer.is(Code::InvalidArgument, "REQUEST_ID_REUSED"),
        "{answer:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_refusal_is_not_remembered_and_is_decided_anew() {
    let bookd = Bookd::with_ada().await;
    let first = bookd.booked("ada", "2027-03-02T09:00").await;
    let book = pb::BookAppointmentRequest {
        request_id: "late".into(),
        ..booking("ada", "2027-03-02T09:00")
    };
    assert!(refused(bookd.book(book.clone()).await).is(Code::Aborted, "SLOT_TAKEN"));
    bookd.cancel(&first.appointment_id).await;
    bookd.book(book).await.unwrap();
    bookd.stop().await;
}

#[tokio::test]
async fn calendars_types_and_hours_are_made_once_by_one_request_id() {
    let bookd = Bookd::with_ada().await;
    let calendar = pb::Calendar {
        calendar_id: "lee".into(),
        time_zone: "Asia/Tokyo".into(),
        ..Default::default()
    };
    let create = pb::CreateCalendarRequest {
        calendar: Some(calendar),
        request_id: "make".into(),
        ..Default::default()
    };
    let made = bookd
        .calendars()
        .create_calendar(create.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        bookd
            .calendars()
            .create_calendar(create)
            .await
            .unwrap()
            .into_inner(),
        made
    );
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "lee".into(),
        request_id: "gone".into(),
        ..Default::default()
    };
    let gone = bookd
        .calendars()
        .delete_calendar(delete.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        bookd
            .calendars()
            .delete_calendar(delete)
            .await
            .unwrap()
            .into_inner(),
        gone
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_list_shows_the_states_that_are_asked_for_and_else_what_takes_time() {
    let bookd = Bookd::with_ada().await;
    let cancelled = bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.cancel(&cancelled.appointment_id).await;
    bookd.booked("ada", "2027-03-02T10:00").await;
    bookd.hold("ada", "2027-03-02T11:00").await;
    let listed = async |states: &[pb::AppointmentState], order_by: &str| {
        let request = pb::ListAppointmentsRequest {
            calendar_id: "ada".into(),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            order_by: order_by.into(),
            ..Default::default()
        };
        let found = bookd
            .lists()
            .list_appointments(request)
            .await
            .unwrap()
            .into_inner()
            .appointments;
        found
            .iter()
            .map(|it| it.local_start[11..].to_owned())
            .collect::<Vec<_>>()
    };
    use pb::AppointmentState as State;
    assert_eq!(listed(&[], "").await, ["10:00", "11:00"]);
    assert_eq!(listed(&[], "start_time desc").await, ["11:00", "10:00"]);
    assert_eq!(listed(&[State::Cancelled], "").await, ["09:00"]);
    assert_eq!(
        listed(&[State::Held, State::Cancelled], "").await,
        ["09:00", "11:00"]
    );
    // From the second of its expiry on a hold is listed as expired, recorded or not.
    bookd.clock.advance(300);
    assert_eq!(listed(&[], "").await, ["10:00"]);
    assert_eq!(listed(&[State::Held], "").await, [""; 0]);
    assert_eq!(listed(&[State::Expired], "").await, ["11:00"]);
    let unknown = pb::ListAppointmentsRequest {
        states: vec![0, 9],
        order_by: "name".into(),
        page_size: -1,
        ..Default::default()
    };
    let answer = refused(bookd.lists().list_appointments(unknown).await);
    assert_eq!(
        answer.fields(),
        [
            "states[0]",
            "states[1]",
            "order_by",
            "page_size",
            "calendar_id"
        ]
    );
    bookd.stop().await;
}

/// A move, a cancellation, an update and a batch, each as a dry run.
async fn dry_run_on_appointments(bookd: &Bookd, appointment_id: &str) {
    let mut client = bookd.booking();
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: appointment_id.into(),
        local_start: "2027-03-02T09:00".into(),
        time_zone: "Asia/Tokyo".into(),
        ignore_rules: vec![
            pb::IgnorableRule::OutsideAvailability.into(),
            pb::IgnorableRule::Misaligned.into(),
        ],
        validate_only: true,
        ..Default::default()
    };
    let shown = client
        .reschedule_appointment(moved)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(shown.local_start, "2027-03-02T01:00");
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: appointment_id.into(),
        validate_only: true,
        ..Default::default()
    };
    let shown = client
        .cancel_appointment(cancel)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(shown.state(), pb::AppointmentState::Cancelled);
    let update = pb::UpdateAppointmentRequest {
        appointment_id: appointment_id.into(),
        invitee: grace(),
        note: "new".into(),
        validate_only: true,
        ..Default::default()
    };
    let shown = client
        .update_appointment(update)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(shown.note, "new");
    let batch = pb::BatchBookRequest {
        requests: vec![
            booking("ada", "2027-03-02T10:00"),
            booking("ada", "2027-03-02T11:00"),
        ],
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(
        client
            .batch_book(batch)
            .await
            .unwrap()
            .into_inner()
            .appointments
            .len(),
        2
    );
}

#[tokio::test]
async fn no_dry_run_of_any_kind_changes_anything_and_each_answers_what_would_be() {
    let bookd = Bookd::with_ada().await;
    let booked = bookd.booked("ada", "2027-03-02T09:00").await;
    let appointment_id = booked.appointment_id.clone();
    let revision = bookd.revision().await;
    dry_run_on_appointments(&bookd, &appointment_id).await;
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".into(),
        force: true,
        validate_only: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    let hours = pb::SetAvailabilityRequest {
        calendar_id: "eve".into(),
        validate_only: true,
        ..Default::default()
    };
    let shown = bookd
        .availability()
        .set_availability(hours)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.availability.unwrap().time_zone, "UTC");
    let eve = pb::GetCalendarRequest {
        calendar_id: "eve".into(),
    };
    assert!(
        refused(bookd.calendars().get_calendar(eve).await).is(Code::NotFound, "CALENDAR_NOT_FOUND")
    );
    assert_eq!(bookd.revision().await, revision);
    assert_eq!(bookd.appointment(&appointment_id).await, booked);
    bookd.stop().await;
}

#[tokio::test]
async fn both_reflections_list_every_service_and_know_its_messages() {
    let bookd = Bookd::with_ada().await;
    let services = [
        "bookd.v1.AccessService",
        "bookd.v1.AvailabilityService",
        "bookd.v1.BookingService",
        "bookd.v1.CalendarService",
        "bookd.v1.ListService",
        "bookd.v1.ServerInfoService",
        "bookd.v1.SlotsService",
        "grpc.health.v1.Health",
    ];
    macro_rules! reflected {
        ($version:ident) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let ask = |message| $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message),
            };
            let asked = [
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol(
                    "bookd.v1.BookingService.BookAppointment".into(),
                )),
            ];
            let mut client = $version::server_reflection_client::ServerReflectionClient::new(
                bookd.channel.clone(),
            );
            let stream = client
                .server_reflection_info(tokio_stream::iter(asked))
                .await
                .unwrap()
                .into_inner();
            let answers: Vec<_> = stream
                .map(|it| it.unwrap().message_response.unwrap())
                .collect()
                .await;
            let MessageResponse::ListServicesResponse(list) = &answers[0] else {
                panic!("{answers:?}")
            };
            for service in services {
                assert!(
                    list.service.iter().any(|it| it.name == service),
                    "{service}"
                );
            }
            let MessageResponse::FileDescriptorResponse(files) = &answers[1] else {
                panic!("{answers:?}")
            };
            assert!(!files.file_descriptor_proto.is_empty());
        }};
    }
    reflected!(v1);
    reflected!(v1alpha);
    bookd.stop().await;
}

#[tokio::test]
async fn the_server_says_its_version_zones_limits_revision_and_time() {
    let bookd = Bookd::with_ada().await;
    let info = bookd
        .info()
        .get_server_info(pb::GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.time_zone_release, bookd::zones::bundled_release());
    assert_eq!(
        (info.limits["request_bytes"], info.limits["page_size"]),
        (1_048_576, 1_000)
    );
    assert_eq!(
        (info.limits["query_range_days"], info.limits["hold_seconds"]),
        (400, 1_800)
    );
    assert_eq!(
        (info.revision, info.time),
        (1, Some(timestamp(crate::words::NOW)))
    );
    bookd.stop().await;
}
