//! CancelSeries: one occurrence, the following or all are cancelled in one change, or none.
//!
//! Occurrences that have taken place stay as they are.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, minutes};
use crate::series::{all, book, cancel, expect_field, lessons, listed, made};
use crate::words::{appointment_type, booking, refused};

fn one(scope: pb::SeriesScope, appointment_id: &str) -> pb::CancelSeriesRequest {
    pb::CancelSeriesRequest {
        appointment_id: appointment_id.into(),
        scope: scope.into(),
        ..Default::default()
    }
}

fn ids(appointments: &[pb::Appointment]) -> Vec<&str> {
    appointments
        .iter()
        .map(|it| it.appointment_id.as_str())
        .collect()
}

/// Cancels the fifth of ten occurrences alone, and then the eighth with the following, in one
/// change each.
async fn cancel_one_and_the_last_three(bookd: &Bookd, lessons: &[pb::Appointment], booked: i64) {
    let of = |n: usize| lessons[n].appointment_id.as_str();
    let off = cancel(bookd, one(pb::SeriesScope::One, of(4)))
        .await
        .unwrap();
    assert_eq!(
        (ids(&off.appointments), off.revision),
        (vec![of(4)], booked + 1)
    );
    assert_eq!(off.appointments[0].state(), pb::AppointmentState::Cancelled);
    let again = cancel(bookd, one(pb::SeriesScope::One, of(4)))
        .await
        .unwrap();
    assert_eq!(
        again, off,
        "a second cancellation has the same answer and spends no revision"
    );

    let dry = pb::CancelSeriesRequest {
        validate_only: true,
        ..one(pb::SeriesScope::Following, of(7))
    };
    assert_eq!(cancel(bookd, dry).await.unwrap().appointments.len(), 3);
    let reason = "moved away".to_owned();
    let following = pb::CancelSeriesRequest {
        reason,
        ..one(pb::SeriesScope::Following, of(7))
    };
    let off = cancel(bookd, following).await.unwrap();
    assert_eq!(
        (ids(&off.appointments), off.revision),
        (vec![of(7), of(8), of(9)], booked + 2)
    );
    assert!(
        off.appointments
            .iter()
            .all(|it| it.cancel_reason == "moved away")
    );
}

#[tokio::test]
async fn one_the_following_or_all_are_called_off_in_one_change_each() {
    let bookd = Bookd::with_ada().await;
    let answer = book(&bookd, lessons(10)).await.unwrap();
    let lessons = listed(&bookd, &answer.series_id).await;
    let of = |n: usize| lessons[n].appointment_id.as_str();
    cancel_one_and_the_last_three(&bookd, &lessons, answer.revision).await;
    bookd.booked("ada", "2027-05-10T09:00").await;

    // Two occurrences have begun; the one that was moved comes after those that come before its new
    // start.
    let to = pb::RescheduleAppointmentRequest {
        appointment_id: of(2).into(),
        local_start: "2027-04-20T12:00".into(),
        ..Default::default()
    };
    bookd.booking().reschedule_appointment(to).await.unwrap();
    bookd.set_clock("2027-03-15T08:00:00Z").await;
    let bookd = bookd.restart().await;
    let off = cancel(&bookd, all(&answer.series_id)).await.unwrap();
    let expected = vec![of(3), of(4), of(5), of(6), of(2), of(7), of(8), of(9)];
    assert_eq!(
        ids(&off.appointments),
        expected,
        "occurrences that were cancelled before are in the answer"
    );
    assert!(
        off.appointments
            .iter()
            .all(|it| it.state() == pb::AppointmentState::Cancelled)
    );
    for begun in [of(0), of(1)] {
        assert_eq!(
            bookd.appointment(begun).await.state(),
            pb::AppointmentState::Confirmed
        );
    }
    let again = cancel(&bookd, one(pb::SeriesScope::All, of(0)))
        .await
        .unwrap();
    assert_eq!(
        again, off,
        "any appointment names its series, and a second cancellation changes nothing"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn one_past_its_cut_off_keeps_all_and_what_took_place_stays() {
    let bookd = Bookd::with_ada().await;
    let notice = appointment_type("lesson", 60);
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                cancel_notice: Some(minutes(24 * 60)),
                ..notice
            },
        )
        .await;
    let request = pb::BookSeriesRequest {
        appointment_type_id: "lesson".into(),
        ..lessons(4)
    };
    let answer = book(&bookd, request).await.unwrap();
    let lessons = listed(&bookd, &answer.series_id).await;
    let of = |n: usize| lessons[n].appointment_id.as_str();
    bookd.set_clock("2027-03-14T09:00:00Z").await;
    let before = bookd.revision().await;
    for request in [
        all(&answer.series_id),
        one(pb::SeriesScope::Following, of(1)),
        one(pb::SeriesScope::One, of(1)),
    ] {
        let refusal = refused(cancel(&bookd, request).await);
        assert!(
            refusal.is(Code::FailedPrecondition, "TOO_LATE"),
            "{refusal:?}"
        );
        assert_eq!(refusal.metadata["appointment_id"], of(1));
        assert_eq!(refusal.metadata["latest_time"], "2027-03-14T08:00:00Z");
    }
    assert_eq!(bookd.revision().await, before, "all or nothing");
    let no_show = pb::MarkNoShowRequest {
        appointment_id: of(0).into(),
        ..Default::default()
    };
    bookd.booking().mark_no_show(no_show).await.unwrap();
    let refusal = refused(cancel(&bookd, one(pb::SeriesScope::Following, of(0))).await);
    assert!(
        refusal.is(Code::FailedPrecondition, "APPOINTMENT_STATE"),
        "the state of the named appointment decides: {refusal:?}"
    );
    let off = cancel(&bookd, one(pb::SeriesScope::Following, of(2)))
        .await
        .unwrap();
    assert_eq!(ids(&off.appointments), [of(2), of(3)]);
    bookd.stop().await;
}

#[tokio::test]
async fn where_approval_is_wanted_every_occurrence_is_a_request() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                requires_approval: true,
                ..appointment_type("ask", 60)
            },
        )
        .await;
    let request = pb::BookSeriesRequest {
        appointment_type_id: "ask".into(),
        ..lessons(3)
    };
    let answer = book(&bookd, request).await.unwrap();
    assert!(
        made(&answer)
            .iter()
            .all(|it| it.state() == pb::AppointmentState::Pending)
    );
    // The request of the first occurrence expires at its start, and stays expired.
    bookd.set_clock("2027-03-08T08:00:00Z").await;
    let off = cancel(&bookd, all(&answer.series_id)).await.unwrap();
    assert_eq!(off.appointments.len(), 2);
    assert_eq!(
        bookd
            .appointment(&made(&answer)[0].appointment_id)
            .await
            .state(),
        pb::AppointmentState::Expired
    );
    bookd.stop().await;
}

#[tokio::test]
async fn the_reasons_of_calling_off_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let alone = bookd
        .book(booking("ada", "2027-03-09T09:00"))
        .await
        .unwrap();
    let nobody = "0190163d-8694-739b-aea5-966c26f8ad91";
    for (request, field) in [
        (
            pb::CancelSeriesRequest {
                scope: 9,
                ..all(nobody)
            },
            "scope",
        ),
        (
            pb::CancelSeriesRequest {
                scope: 0,
                ..all(nobody)
            },
            "scope",
        ),
        (
            pb::CancelSeriesRequest {
                reason: "r".repeat(4_001),
                ..all(nobody)
            },
            "reason",
        ),
        (
            pb::CancelSeriesRequest {
                appointment_id: nobody.into(),
                ..all(nobody)
            },
            "series_id",
        ),
        (all("7"), "series_id"),
        (all(""), "series_id"),
        (one(pb::SeriesScope::One, ""), "appointment_id"),
        (
            pb::CancelSeriesRequest {
                scope: pb::SeriesScope::Following.into(),
                ..all(nobody)
            },
            "appointment_id",
        ),
        (one(pb::SeriesScope::Following, "7"), "appointment_id"),
        (
            one(pb::SeriesScope::One, &alone.appointment_id),
            "appointment_id",
        ),
        (
            one(pb::SeriesScope::All, &alone.appointment_id),
            "appointment_id",
        ),
    ] {
        expect_field(&refused(cancel(&bookd, request).await), field);
    }
    for request in [
        all(nobody),
        one(pb::SeriesScope::One, nobody),
        one(pb::SeriesScope::All, nobody),
    ] {
        assert!(refused(cancel(&bookd, request).await).is(Code::NotFound, "APPOINTMENT_NOT_FOUND"));
    }
    bookd.stop().await;
}
