//! Series over gRPC: booked whole or not at all, and reported occurrence by occurrence.
//!
//! One series is one change, whatever its length.

use bookd::proto::v1 as pb;
use tonic::{Code, Status};

use crate::harness::{Bookd, minutes};
use crate::words::{Refused, appointment_type, grace, refused, rule};

/// A series on Mondays at nine from the 8th of March 2027 on; the clock change in Paris is on the
/// 28th.
pub fn lessons(count: i32) -> pb::BookSeriesRequest {
    pb::BookSeriesRequest {
        calendar_id: "ada".into(),
        local_start: "2027-03-08T09:00".into(),
        invitee: grace(),
        frequency: pb::Frequency::Weekly.into(),
        count: Some(count),
        ..Default::default()
    }
}

pub async fn book(
    bookd: &Bookd,
    request: pb::BookSeriesRequest,
) -> Result<pb::BookSeriesResponse, Status> {
    Ok(bookd.booking().book_series(request).await?.into_inner())
}

/// The refusal is FIELD_INVALID and names this field alone.
pub fn expect_field(refusal: &Refused, field: &str) {
    assert!(
        refusal.is(Code::InvalidArgument, "FIELD_INVALID"),
        "{field}: {refusal:?}"
    );
    assert_eq!(refusal.fields(), [field]);
}

pub async fn cancel(
    bookd: &Bookd,
    request: pb::CancelSeriesRequest,
) -> Result<pb::CancelSeriesResponse, Status> {
    Ok(bookd.booking().cancel_series(request).await?.into_inner())
}

pub fn all(series_id: &str) -> pb::CancelSeriesRequest {
    let scope = pb::SeriesScope::All.into();
    pb::CancelSeriesRequest {
        series_id: series_id.into(),
        scope,
        ..Default::default()
    }
}

/// The upcoming appointments of a series that are not cancelled.
pub async fn listed(bookd: &Bookd, series_id: &str) -> Vec<pb::Appointment> {
    let request = pb::ListAppointmentsRequest {
        series_id: series_id.into(),
        page_size: 1_000,
        ..Default::default()
    };
    bookd
        .lists()
        .list_appointments(request)
        .await
        .unwrap()
        .into_inner()
        .appointments
}

pub fn made(answer: &pb::BookSeriesResponse) -> Vec<&pb::Appointment> {
    answer
        .occurrences
        .iter()
        .filter_map(|it| it.appointment.as_ref())
        .collect()
}

#[tokio::test]
async fn nine_stays_nine_over_a_clock_change_and_it_is_one_change() {
    let bookd = Bookd::with_ada().await;
    let before = bookd.revision().await;
    let answer = book(&bookd, lessons(24)).await.unwrap();
    assert_eq!(answer.revision, before + 1);
    assert_eq!(answer.occurrences.len(), 24);
    for (index, it) in answer.occurrences.iter().enumerate() {
        let appointment = it.appointment.as_ref().unwrap();
        assert!(it.bookable && it.violations.is_empty());
        assert_eq!(it.index, i32::try_from(index).unwrap());
        assert!(it.local_start.ends_with("T09:00") && appointment.local_start == it.local_start);
        assert_eq!(appointment.series_id, answer.series_id);
        assert_eq!(appointment.state(), pb::AppointmentState::Confirmed);
    }
    let seconds: Vec<i64> = answer
        .occurrences
        .iter()
        .map(|it| it.start_time.unwrap().seconds)
        .collect();
    let week = 7 * 86_400;
    assert_eq!(
        [seconds[2] - seconds[1], seconds[3] - seconds[2]],
        [week, week - 3_600],
        "the week of the 28th of March has an hour less"
    );
    let shown = listed(&bookd, &answer.series_id).await;
    assert_eq!(shown.iter().collect::<Vec<_>>(), made(&answer));
    let bookd = bookd.restart().await;
    assert_eq!(listed(&bookd, &answer.series_id).await, shown);
    let changes = pb::ListChangesRequest {
        appointment_id: shown[7].appointment_id.clone(),
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(changes)
        .await
        .unwrap()
        .into_inner()
        .changes;
    assert_eq!(
        changes
            .iter()
            .map(|it| (it.command.as_str(), it.revision))
            .collect::<Vec<_>>(),
        [("BookSeries", answer.revision)]
    );
    bookd.stop().await;
}

#[tokio::test]
async fn one_conflict_of_24_weeks_refuses_all_and_is_named_with_what_is_near() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-04-12T09:00").await;
    let before = bookd.revision().await;
    let status = book(&bookd, lessons(24)).await.unwrap_err();
    assert!(
        status
            .message()
            .starts_with("1 of 24 occurrences are taken: 2027-04-12T09:00"),
        "{}",
        status.message()
    );
    let refusal = Refused::of(&status);
    assert!(refusal.is(Code::Aborted, "SLOT_TAKEN"), "{refusal:?}");
    assert_eq!(refusal.metadata["occurrences"], "5");
    assert_eq!(
        refusal.metadata["slot"],
        "2027-04-12T07:00:00Z/2027-04-12T08:00:00Z"
    );
    assert_eq!(
        refusal.metadata["nearest_before"],
        "2027-04-11T14:00:00Z/2027-04-11T15:00:00Z"
    );
    assert_eq!(
        refusal.metadata["nearest_after"],
        "2027-04-12T08:00:00Z/2027-04-12T09:00:00Z"
    );
    assert_eq!(refusal.codes(), ["BUSY_BOOKING"]);
    let violation = &refusal.details.precondition_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "ada");
    let named = "occurrence 5 at 2027-04-12T09:00 (free before 2027-04-11T14:00:00Z, after 2027-04-12T08:00:00Z): an ";
    assert!(
        violation.description.starts_with(named),
        "{}",
        violation.description
    );
    assert_eq!(bookd.revision().await, before);
    bookd.stop().await;
}

#[tokio::test]
async fn a_dry_run_reports_the_occurrence_that_is_taken_and_a_partial_series_leaves_it_out() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-04-12T09:00").await;
    let before = bookd.revision().await;
    let dry = book(
        &bookd,
        pb::BookSeriesRequest {
            validate_only: true,
            ..lessons(24)
        },
    )
    .await
    .unwrap();
    assert_eq!(bookd.revision().await, before);
    assert_eq!(
        (dry.occurrences.len(), made(&dry).len()),
        (24, 0),
        "without allow_partial no occurrence would be booked"
    );
    let bookable: Vec<i32> = dry
        .occurrences
        .iter()
        .filter(|it| !it.bookable)
        .map(|it| it.index)
        .collect();
    assert_eq!(bookable, [5]);
    let taken = &dry.occurrences[5];
    assert_eq!(taken.violations[0].code(), pb::ViolationCode::BusyBooking);
    assert!(
        taken.violations[0].appointment_ids.is_empty(),
        "the conflicting appointment is not named"
    );
    assert_eq!(taken.next_slot.as_ref().unwrap().calendar_ids, ["ada"]);
    assert_eq!(
        taken
            .previous_slot
            .as_ref()
            .unwrap()
            .start_time
            .unwrap()
            .seconds,
        1_807_452_000
    );

    let partial = pb::BookSeriesRequest {
        allow_partial: true,
        ..lessons(24)
    };
    let dry = book(
        &bookd,
        pb::BookSeriesRequest {
            validate_only: true,
            ..partial.clone()
        },
    )
    .await
    .unwrap();
    assert_eq!((made(&dry).len(), bookd.revision().await), (23, before));
    let answer = book(&bookd, partial).await.unwrap();
    assert_eq!((made(&answer).len(), answer.revision), (23, before + 1));
    assert_eq!(answer.occurrences.len(), 24);
    assert!(answer.occurrences[5].appointment.is_none() && !answer.occurrences[5].bookable);
    assert_eq!(listed(&bookd, &answer.series_id).await.len(), 23);
    bookd.stop().await;
}

#[tokio::test]
async fn a_broken_rule_of_one_outranks_lost_races_of_others_and_details_stay_small() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-15T09:00").await;
    bookd.put_override("ada", "2027-03-22", &[]).await;
    let refusal = refused(book(&bookd, lessons(4)).await);
    assert!(
        refusal.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE"),
        "{refusal:?}"
    );
    assert_eq!(refusal.metadata["occurrences"], "1,2");
    assert_eq!(refusal.codes(), ["BUSY_BOOKING", "OUTSIDE_AVAILABILITY"]);

    let nightly = pb::BookSeriesRequest {
        local_start: "2027-03-08T03:10".into(),
        frequency: pb::Frequency::Daily.into(),
        allow_partial: true,
        ..lessons(366)
    };
    let status = book(&bookd, nightly.clone()).await.unwrap_err();
    assert!(
        status
            .message()
            .starts_with("366 of 366 occurrences cannot be booked: 2027-03-08T03:10, ")
    );
    assert!(
        status.details().len() <= 6 * 1_024,
        "{} bytes",
        status.details().len()
    );
    let refusal = Refused::of(&status);
    assert_eq!(
        refusal.metadata["occurrences"].split(',').count(),
        366,
        "the metadata names every occurrence"
    );
    let violations = &refusal.details.precondition_failure().unwrap().violations;
    assert!(violations.len() > 5 && violations.last().unwrap().description.ends_with(" more"));
    let report = book(
        &bookd,
        pb::BookSeriesRequest {
            validate_only: true,
            ..nightly
        },
    )
    .await
    .unwrap();
    assert!(
        report
            .occurrences
            .iter()
            .all(|it| !it.bookable && !it.violations.is_empty())
    );
    let has_near =
        |it: &&pb::SeriesOccurrence| it.previous_slot.is_some() && it.next_slot.is_some();
    assert_eq!(
        report.occurrences.iter().take_while(has_near).count(),
        100,
        "a series makes no more searches for nearest slots than one booking may"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn occurrences_count_against_each_other() {
    let bookd = Bookd::with_ada().await;
    let limits = Some(pb::Limits {
        per_week: Some(2),
        ..Default::default()
    });
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                limits,
                ..appointment_type("twice", 60)
            },
        )
        .await;
    let daily = pb::BookSeriesRequest {
        appointment_type_id: "twice".into(),
        frequency: pb::Frequency::Daily.into(),
        ..lessons(10)
    };
    let refusal = refused(book(&bookd, daily.clone()).await);
    assert!(refusal.is(Code::Aborted, "SLOT_TAKEN"));
    assert_eq!(
        refusal.metadata["occurrences"], "2,3,4,5,6,9",
        "Monday and Tuesday of each week are free"
    );
    assert!(refusal.codes().iter().all(|it| *it == "LIMIT"));
    let answer = book(
        &bookd,
        pb::BookSeriesRequest {
            allow_partial: true,
            ..daily
        },
    )
    .await
    .unwrap();
    assert_eq!(made(&answer).len(), 4);

    bookd
        .set_rules("bob", "UTC", vec![rule("00:00", "24:00")])
        .await;
    bookd
        .put_type(
            "bob",
            pb::AppointmentType {
                slot_step: Some(minutes(60)),
                ..appointment_type("long", 26 * 60)
            },
        )
        .await;
    let long = pb::BookSeriesRequest {
        calendar_id: "bob".into(),
        appointment_type_id: "long".into(),
        frequency: pb::Frequency::Daily.into(),
        ..lessons(5)
    };
    let refusal = refused(book(&bookd, long).await);
    assert_eq!(
        (
            refusal.reason.as_str(),
            refusal.metadata["occurrences"].as_str()
        ),
        ("SLOT_TAKEN", "1,3")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_same_ids_and_the_appointments_as_they_are() {
    let bookd = Bookd::with_ada().await;
    bookd.booked("ada", "2027-03-15T09:00").await;
    let request = pb::BookSeriesRequest {
        allow_partial: true,
        request_id: "lessons".into(),
        ..lessons(4)
    };
    let dry = pb::BookSeriesRequest {
        validate_only: true,
        ..request.clone()
    };
    book(&bookd, dry).await.unwrap();
    let first = book(&bookd, request.clone()).await.unwrap();
    assert_eq!(made(&first).len(), 3);
    let last = made(&first)[2].appointment_id.clone();
    bookd.cancel(&last).await;
    let revision = bookd.revision().await;
    let bookd = bookd.restart().await;
    let again = book(&bookd, request.clone()).await.unwrap();
    assert_eq!(
        (again.revision, &again.series_id),
        (first.revision, &first.series_id)
    );
    assert_eq!(
        again
            .occurrences
            .iter()
            .map(|it| it.index)
            .collect::<Vec<_>>(),
        [0, 2, 3],
        "a repeat has the booked occurrences alone"
    );
    let id = |it: &&pb::Appointment| it.appointment_id.clone();
    assert!(made(&again).iter().map(id).eq(made(&first).iter().map(id)));
    assert_eq!(
        made(&again)[2].state(),
        pb::AppointmentState::Cancelled,
        "as it is now"
    );
    assert_eq!(bookd.revision().await, revision);
    let other = pb::BookSeriesRequest {
        count: Some(5),
        ..request
    };
    assert_eq!(
        refused(book(&bookd, other).await).reason,
        "REQUEST_ID_REUSED"
    );

    let cancelling = pb::CancelSeriesRequest {
        request_id: "off".into(),
        ..all(&first.series_id)
    };
    let off = cancel(&bookd, cancelling.clone()).await.unwrap();
    assert_eq!(cancel(&bookd, cancelling).await.unwrap(), off);
    bookd.stop().await;
}

#[tokio::test]
async fn several_calendars_take_each_occurrence_together_or_one_of_them_does() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("lee", "Europe/Paris", &[("09:00", "17:00")])
        .await;
    bookd.booked("ada", "2027-03-15T09:00").await;
    let of_both = |assignment: pb::Assignment| pb::BookSeriesRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["ada".into(), "lee".into()],
        assignment: assignment.into(),
        ..lessons(4)
    };
    assert_eq!(
        refused(book(&bookd, of_both(pb::Assignment::All)).await).metadata["occurrences"],
        "1"
    );
    let any = book(&bookd, of_both(pb::Assignment::Any)).await.unwrap();
    let taken: Vec<&str> = made(&any)
        .iter()
        .map(|it| it.calendar_ids[0].as_str())
        .collect();
    assert_eq!(taken, ["ada", "lee", "ada", "ada"]);
    let at_ten = pb::BookSeriesRequest {
        local_start: "2027-03-08T10:00".into(),
        ..of_both(pb::Assignment::All)
    };
    assert!(
        made(&book(&bookd, at_ten).await.unwrap())
            .iter()
            .all(|it| it.calendar_ids == ["ada", "lee"])
    );
    bookd.stop().await;
}
