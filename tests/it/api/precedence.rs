//! The reasons of sizes, transitions, types and full queues: each call is wrong in its own way and in all later ones.
//!
//! `reasons.rs` has the rows of booking and moving; here a refusal also has the details that a client acts upon.

use std::fmt::Debug;

use bookd::engine::Settings;
use bookd::proto::v1 as pb;
use prost_types::Duration;
use tonic::client::Grpc;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Bookd, minutes, timestamp};
use crate::words::{NOW, Refused, appointment_type, booking, grace, holding, refused};

const NOBODY: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
const STALE: &str = "0123456789abcdef";
const PARIS: &str = "Europe/Paris";

/// The refusal of a call, seen that it is this one and changed nothing.
async fn expect<T: Debug>(
    bookd: &Bookd,
    call: impl Future<Output = Result<Response<T>, Status>>,
    code: Code,
    reason: &str,
) -> Refused {
    let before = bookd.revision().await;
    let answer = refused(call.await);
    assert!(answer.is(code, reason), "{reason} is expected: {answer:?}");
    assert_eq!(bookd.revision().await, before, "a refusal changes nothing");
    answer
}

/// A message whose first field is a number where a text belongs.
#[derive(Clone, PartialEq, prost::Message)]
struct Garbled {
    #[prost(int64, tag = "1")]
    calendar_id: i64,
}

#[tokio::test]
async fn a_size_outranks_a_field_and_bytes_that_are_no_message_are_malformed() {
    let bookd = Bookd::with_ada().await;
    let large = pb::BookAppointmentRequest {
        note: "n".repeat(1_100_000),
        ..booking(" ", "never")
    };
    expect(
        &bookd,
        bookd.booking().book_appointment(large),
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
    )
    .await;

    let garbled = async {
        let mut client = Grpc::new(bookd.channel.clone());
        client.ready().await.unwrap();
        let path = "/bookd.v1.BookingService/BookAppointment".parse().unwrap();
        let codec: ProstCodec<Garbled, pb::BookAppointmentResponse> = ProstCodec::default();
        client
            .unary(Request::new(Garbled { calendar_id: 7 }), path, codec)
            .await
    };
    expect(&bookd, garbled, Code::InvalidArgument, "MALFORMED_REQUEST").await;
    bookd.stop().await;
}

#[tokio::test]
async fn of_very_many_bad_fields_the_first_are_named_and_the_rest_is_counted_in_6_kib() {
    let bookd = Bookd::with_ada().await;
    let bad = || pb::BookAppointmentRequest {
        calendar_id: "x".repeat(4_000),
        ..Default::default()
    };
    let batch = pb::BatchBookRequest {
        requests: (0..100).map(|_| bad()).collect(),
        ..Default::default()
    };
    let status = bookd.booking().batch_book(batch).await.unwrap_err();
    let answer = Refused::of(&status);
    assert!(
        answer.is(Code::InvalidArgument, "FIELD_INVALID"),
        "{answer:?}"
    );
    let violations = &answer.details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "requests[0].calendar_id");
    assert_eq!(violations.last().unwrap().description, "and 284 more");
    assert!(
        status.details().len() <= 6 * 1_024,
        "{} bytes",
        status.details().len()
    );
    let many = pb::BatchBookRequest {
        requests: (0..101).map(|_| bad()).collect(),
        ..Default::default()
    };
    assert_eq!(
        refused(bookd.booking().batch_book(many).await).fields(),
        ["requests"]
    );
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_extending_releasing_and_confirming_a_hold_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let hold = bookd.hold("ada", "2027-03-02T09:00").await;
    let released = bookd.hold("ada", "2027-03-02T10:00").await;
    let release = |id: &str, etag: &str| pb::ReleaseHoldRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    };
    bookd
        .booking()
        .release_hold(release(&released.appointment_id, ""))
        .await
        .unwrap();
    bookd.advance(300).await;
    let extend = |id: &str, etag: &str, seconds: i64| pb::ExtendHoldRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ttl: Some(Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let confirm = |id: &str, etag: &str| pb::ConfirmAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        invitee: grace(),
        ..Default::default()
    };
    let (mut one, mut two, mut three) = (bookd.booking(), bookd.booking(), bookd.booking());
    let fields = expect(
        &bookd,
        one.extend_hold(extend("7", "?", 1_801)),
        Code::InvalidArgument,
        "FIELD_INVALID",
    )
    .await;
    assert_eq!(fields.fields(), ["appointment_id", "ttl", "etag"]);
    for (id, etag, code, reason) in [
        (NOBODY, STALE, Code::NotFound, "APPOINTMENT_NOT_FOUND"),
        (
            hold.appointment_id.as_str(),
            STALE,
            Code::Aborted,
            "ETAG_MISMATCH",
        ),
        (
            hold.appointment_id.as_str(),
            "",
            Code::FailedPrecondition,
            "HOLD_EXPIRED",
        ),
    ] {
        let answer = expect(&bookd, one.extend_hold(extend(id, etag, 60)), code, reason).await;
        assert_eq!(
            answer.details.resource_info().is_some(),
            code == Code::NotFound
        );
        expect(&bookd, two.release_hold(release(id, etag)), code, reason).await;
        let answer = expect(
            &bookd,
            three.confirm_appointment(confirm(id, etag)),
            code,
            reason,
        )
        .await;
        if reason == "HOLD_EXPIRED" {
            assert_eq!(answer.metadata["expire_time"], "2027-03-01T08:05:00Z");
        }
    }
    let id = &released.appointment_id;
    let state = "APPOINTMENT_STATE";
    let answer = expect(
        &bookd,
        one.extend_hold(extend(id, "", 60)),
        Code::FailedPrecondition,
        state,
    )
    .await;
    assert_eq!(answer.metadata["state"], "CANCELLED");
    expect(
        &bookd,
        three.confirm_appointment(confirm(id, "")),
        Code::FailedPrecondition,
        state,
    )
    .await;
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_booking_a_hold_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let first = bookd.hold("ada", "2027-03-02T09:00").await;
    let of = |id: &str| pb::BookAppointmentRequest {
        hold_id: id.into(),
        invitee: grace(),
        ..Default::default()
    };
    let mut client = bookd.booking();
    let ignoring = pb::BookAppointmentRequest {
        ignore_rules: vec![pb::IgnorableRule::Notice.into()],
        appointment_id: NOBODY.into(),
        ..of(&first.appointment_id)
    };
    let call = client.book_appointment(ignoring);
    let answer = expect(&bookd, call, Code::InvalidArgument, "FIELD_INVALID").await;
    assert_eq!(answer.fields(), ["appointment_id", "ignore_rules"]);
    expect(
        &bookd,
        client.book_appointment(of(NOBODY)),
        Code::NotFound,
        "APPOINTMENT_NOT_FOUND",
    )
    .await;
    bookd.advance(300).await;
    let other = pb::BookAppointmentRequest {
        start_time: Some(timestamp("2027-03-02T12:00:00Z")),
        appointment_type_id: "other".into(),
        duration: Some(minutes(30)),
        ..of(&first.appointment_id)
    };
    // What differs from the hold is a wrong field, even when the hold has run out.
    let answer = expect(
        &bookd,
        client.book_appointment(other),
        Code::InvalidArgument,
        "FIELD_INVALID",
    )
    .await;
    assert_eq!(
        answer.fields(),
        ["appointment_type_id", "start_time", "duration"]
    );
    let call = client.book_appointment(of(&first.appointment_id));
    expect(&bookd, call, Code::FailedPrecondition, "HOLD_EXPIRED").await;
    let declined = bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.cancel(&declined.appointment_id).await;
    let call = client.book_appointment(of(&declined.appointment_id));
    expect(&bookd, call, Code::FailedPrecondition, "APPOINTMENT_STATE").await;
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_approving_declining_and_attending_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let request_only = pb::AppointmentType {
        requires_approval: true,
        pending_blocks: Some(false),
        ..appointment_type("ask", 60)
    };
    bookd.put_type("ada", request_only).await;
    let ask = pb::BookAppointmentRequest {
        appointment_type_id: "ask".into(),
        ..booking("ada", "2027-03-02T09:00")
    };
    let pending = bookd.book(ask.clone()).await.unwrap();
    assert_eq!(pending.state(), pb::AppointmentState::Pending);
    let confirmed = bookd.booked("ada", "2027-03-02T09:00").await;
    let (mut client, failed) = (bookd.booking(), Code::FailedPrecondition);
    let approve = |id: &str, etag: &str| pb::ApproveAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    };
    let decline = |id: &str, etag: &str| pb::DeclineAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    };
    let attend = |id: &str| pb::CompleteAppointmentRequest {
        appointment_id: id.into(),
        ..Default::default()
    };
    let missed = |id: &str, undo| pb::MarkNoShowRequest {
        appointment_id: id.into(),
        undo,
        ..Default::default()
    };
    let id = &pending.appointment_id;
    expect(
        &bookd,
        client.approve_appointment(approve(NOBODY, STALE)),
        Code::NotFound,
        "APPOINTMENT_NOT_FOUND",
    )
    .await;
    expect(
        &bookd,
        client.approve_appointment(approve(id, STALE)),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    let taken = expect(
        &bookd,
        client.approve_appointment(approve(id, "")),
        Code::Aborted,
        "SLOT_TAKEN",
    )
    .await;
    assert_eq!(taken.codes(), ["BUSY_BOOKING"]);
    let other = &confirmed.appointment_id;
    expect(
        &bookd,
        client.decline_appointment(decline(other, STALE)),
        Code::Aborted,
        "ETAG_MISMATCH",
    )
    .await;
    expect(
        &bookd,
        client.decline_appointment(decline(other, "")),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    // Not before it begins.
    expect(
        &bookd,
        client.complete_appointment(attend(other)),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    expect(
        &bookd,
        client.mark_no_show(missed(other, false)),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    bookd.set_clock("2027-03-02T07:59:59Z").await;
    expect(
        &bookd,
        client.complete_appointment(attend(other)),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    bookd.advance(1).await;
    expect(
        &bookd,
        client.approve_appointment(approve(id, "")),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    client.mark_no_show(missed(other, false)).await.unwrap();
    expect(
        &bookd,
        client.complete_appointment(attend(other)),
        failed,
        "APPOINTMENT_STATE",
    )
    .await;
    client.mark_no_show(missed(other, true)).await.unwrap();
    client.complete_appointment(attend(other)).await.unwrap();
    bookd.stop().await;
}

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

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_names_the_one_that_failed() {
    let bookd = Bookd::with_ada().await;
    let of = |starts: &[&str]| pb::BatchBookRequest {
        requests: starts.iter().map(|start| booking("ada", start)).collect(),
        ..Default::default()
    };
    let mut client = bookd.booking();
    // The third meets the first of its own batch.
    let batch = of(&["2027-03-02T09:00", "2027-03-02T10:00", "2027-03-02T09:00"]);
    let answer = expect(
        &bookd,
        client.batch_book(batch),
        Code::Aborted,
        "SLOT_TAKEN",
    )
    .await;
    assert_eq!(answer.metadata["index"], "2");
    let batch = of(&["2027-03-02T09:00", "2027-03-02T18:00"]);
    let answer = expect(
        &bookd,
        client.batch_book(batch),
        Code::FailedPrecondition,
        "SLOT_UNAVAILABLE",
    )
    .await;
    assert_eq!(
        (answer.metadata["index"].as_str(), answer.codes()),
        ("1", vec!["OUTSIDE_AVAILABILITY"])
    );
    let mut batch = of(&["2027-03-02T09:00", "2027-03-02T10:00"]);
    batch.requests[1].calendar_id = "eve".into();
    let answer = expect(
        &bookd,
        client.batch_book(batch),
        Code::NotFound,
        "CALENDAR_NOT_FOUND",
    )
    .await;
    assert_eq!(answer.metadata["index"], "1");
    assert_eq!(answer.details.resource_info().unwrap().resource_name, "eve");
    let both = of(&["2027-03-02T09:00", "2027-03-02T10:00"]);
    let before = bookd.revision().await;
    let booked = client.batch_book(both).await.unwrap().into_inner();
    assert_eq!(
        (booked.appointments.len(), booked.revision),
        (2, before + 1)
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_local_start_that_does_not_exist_once_is_a_field_and_outranks_etag_state_and_id() {
    let bookd = Bookd::with_ada().await;
    let booked = bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.cancel(&booked.appointment_id).await;
    let mut client = bookd.booking();
    for skipped in ["2027-03-28T02:30", "2027-10-31T02:30"] {
        let exists = pb::BookAppointmentRequest {
            appointment_id: booked.appointment_id.clone(),
            ..booking("ada", skipped)
        };
        let call = client.book_appointment(exists);
        let answer = expect(&bookd, call, Code::InvalidArgument, "FIELD_INVALID").await;
        assert_eq!(answer.fields(), ["local_start"]);
        let moved = pb::RescheduleAppointmentRequest {
            appointment_id: booked.appointment_id.clone(),
            local_start: skipped.into(),
            etag: STALE.into(),
            ..Default::default()
        };
        let call = client.reschedule_appointment(moved);
        let answer = expect(&bookd, call, Code::InvalidArgument, "FIELD_INVALID").await;
        assert_eq!(answer.fields(), ["local_start"]);
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_is_not_believed_and_the_caller_is_told_to_come_again() {
    let bookd = Bookd::start_with(NOW, Settings::default()).await;
    bookd.hours("ada", PARIS, &[("09:00", "17:00")]).await;
    let mut client = bookd.booking();
    bookd.jump(366 * 86_400).await;
    let call = client.hold_appointment(holding("ada", "2028-03-02T09:00"));
    let answer = expect(&bookd, call, Code::Unavailable, "STORE_UNAVAILABLE").await;
    assert!(answer.details.retry_info().unwrap().retry_delay.is_some());
    bookd.jump(-366 * 86_400).await;
    bookd.advance(60).await;
    bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_what_it_refused_did_not_happen() {
    let settings = Settings {
        is_clock_confirmed: true,
        mailbox_max: 1,
        ..Settings::default()
    };
    let bookd = Bookd::start_with(NOW, settings).await;
    bookd.hours("ada", PARIS, &[("00:00", "24:00")]).await;
    let (mut booked, mut overloaded) = (0, 0);
    for round in 0..20 {
        let mut clients = tokio::task::JoinSet::new();
        for hour in 0..24 {
            let mut client = bookd.booking();
            let request = booking("ada", &format!("2027-04-{:02}T{hour:02}:00", round + 1));
            clients.spawn(async move { client.book_appointment(request).await });
        }
        for answer in clients.join_all().await {
            match answer {
                Ok(_) => booked += 1,
                lost => {
                    let lost = refused(lost);
                    assert!(lost.is(Code::Unavailable, "OVERLOADED"), "{lost:?}");
                    assert!(lost.details.retry_info().unwrap().retry_delay.is_some());
                    overloaded += 1;
                }
            }
        }
    }
    assert!(overloaded > 0, "a queue of one was never full");
    let all = pb::ListAppointmentsRequest {
        calendar_id: "ada".into(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = bookd
        .lists()
        .list_appointments(all)
        .await
        .unwrap()
        .into_inner()
        .appointments
        .len();
    assert_eq!((listed, booked + overloaded), (booked, 480));
    bookd.stop().await;
}
