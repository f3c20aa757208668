//! The order of the reasons of holds, batches and changes of an appointment's state.
//!
//! Each call breaks one rule and all that are checked later: the first answers. `reasons.rs` has
//! the reasons of booking and moving; here the details that a client acts upon are checked too.

use std::fmt::Debug;

use bookd::proto::v1 as pb;
use prost_types::Duration;
use tonic::{Code, Response, Status};

use crate::harness::{Bookd, minutes, timestamp};
use crate::words::{Refused, appointment_type, booking, grace, refused};

const NOBODY: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
pub const STALE: &str = "0123456789abcdef";
pub const PARIS: &str = "Europe/Paris";

/// The refusal of a call, which has this code and reason and changes nothing.
pub async fn expect<T: Debug>(
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

fn release(id: &str, etag: &str) -> pb::ReleaseHoldRequest {
    pb::ReleaseHoldRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    }
}

fn extend(id: &str, etag: &str, seconds: i64) -> pb::ExtendHoldRequest {
    pb::ExtendHoldRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ttl: Some(Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

fn confirm(id: &str, etag: &str) -> pb::ConfirmAppointmentRequest {
    pb::ConfirmAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        invitee: grace(),
        ..Default::default()
    }
}

fn approve(id: &str, etag: &str) -> pb::ApproveAppointmentRequest {
    pb::ApproveAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    }
}

fn decline(id: &str, etag: &str) -> pb::DeclineAppointmentRequest {
    pb::DeclineAppointmentRequest {
        appointment_id: id.into(),
        etag: etag.into(),
        ..Default::default()
    }
}

fn complete(id: &str) -> pb::CompleteAppointmentRequest {
    pb::CompleteAppointmentRequest {
        appointment_id: id.into(),
        ..Default::default()
    }
}

fn no_show(id: &str, undo: bool) -> pb::MarkNoShowRequest {
    pb::MarkNoShowRequest {
        appointment_id: id.into(),
        undo,
        ..Default::default()
    }
}

#[tokio::test]
async fn the_reasons_of_extending_releasing_and_confirming_a_hold_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let hold = bookd.hold("ada", "2027-03-02T09:00").await;
    let released = bookd.hold("ada", "2027-03-02T10:00").await;
    bookd
        .booking()
        .release_hold(release(&released.appointment_id, ""))
        .await
        .unwrap();
    bookd.advance(300).await;
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
    // A field that differs from the hold is invalid, even when the hold has expired.
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

/// The ids of a request that waits for approval and does not block, and of a booking of its time.
async fn pending_and_confirmed(bookd: &Bookd) -> [String; 2] {
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
    let pending = bookd.book(ask).await.unwrap();
    assert_eq!(pending.state(), pb::AppointmentState::Pending);
    let confirmed = bookd.booked("ada", "2027-03-02T09:00").await;
    [pending, confirmed].map(|appointment| appointment.appointment_id)
}

#[tokio::test]
async fn the_reasons_of_approving_and_declining_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let [pending, confirmed] = pending_and_confirmed(&bookd).await;
    let (mut client, failed) = (bookd.booking(), Code::FailedPrecondition);
    let call = client.approve_appointment(approve(NOBODY, STALE));
    expect(&bookd, call, Code::NotFound, "APPOINTMENT_NOT_FOUND").await;
    let call = client.approve_appointment(approve(&pending, STALE));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let call = client.approve_appointment(approve(&pending, ""));
    let taken = expect(&bookd, call, Code::Aborted, "SLOT_TAKEN").await;
    assert_eq!(taken.codes(), ["BUSY_BOOKING"]);
    let call = client.decline_appointment(decline(&confirmed, STALE));
    expect(&bookd, call, Code::Aborted, "ETAG_MISMATCH").await;
    let call = client.decline_appointment(decline(&confirmed, ""));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    bookd.set_clock("2027-03-02T07:59:59Z").await;
    bookd.advance(1).await;
    let call = client.approve_appointment(approve(&pending, ""));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_attending_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let [_, confirmed] = pending_and_confirmed(&bookd).await;
    let (mut client, failed) = (bookd.booking(), Code::FailedPrecondition);
    // An appointment is neither attended nor missed before it begins.
    let call = client.complete_appointment(complete(&confirmed));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    let call = client.mark_no_show(no_show(&confirmed, false));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    bookd.set_clock("2027-03-02T07:59:59Z").await;
    let call = client.complete_appointment(complete(&confirmed));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    bookd.advance(1).await;
    client
        .mark_no_show(no_show(&confirmed, false))
        .await
        .unwrap();
    let call = client.complete_appointment(complete(&confirmed));
    expect(&bookd, call, failed, "APPOINTMENT_STATE").await;
    client
        .mark_no_show(no_show(&confirmed, true))
        .await
        .unwrap();
    client
        .complete_appointment(complete(&confirmed))
        .await
        .unwrap();
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
    // The third booking conflicts with the first of the same batch.
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
