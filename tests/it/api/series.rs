//! Series over gRPC: booked whole or not at all, reported occurrence by occurrence, called off one, following or all.

use bookd::proto::v1 as pb;
use tonic::{Code, Status};

use crate::harness::{Bookd, minutes};
use crate::words::{Refused, appointment_type, booking, grace, refused, rule};

/// Every Monday at nine, from the 8th of March 2027 on: three weeks before the clock change in Paris.
fn lessons(count: i32) -> pb::BookSeriesRequest {
    pb::BookSeriesRequest {
        calendar_id: "ada".into(),
        local_start: "2027-03-08T09:00".into(),
        invitee: grace(),
        frequency: pb::Frequency::Weekly.into(),
        count: Some(count),
        ..Default::default()
    }
}

async fn book(
    bookd: &Bookd,
    request: pb::BookSeriesRequest,
) -> Result<pb::BookSeriesResponse, Status> {
    Ok(bookd.booking().book_series(request).await?.into_inner())
}

async fn cancel(
    bookd: &Bookd,
    request: pb::CancelSeriesRequest,
) -> Result<pb::CancelSeriesResponse, Status> {
    Ok(bookd.booking().cancel_series(request).await?.into_inner())
}

fn one(scope: pb::SeriesScope, appointment_id: &str) -> pb::CancelSeriesRequest {
    pb::CancelSeriesRequest {
        appointment_id: appointment_id.into(),
        scope: scope.into(),
        ..Default::default()
    }
}

fn all(series_id: &str) -> pb::CancelSeriesRequest {
    let scope = pb::SeriesScope::All.into();
    pb::CancelSeriesRequest {
        series_id: series_id.into(),
        scope,
        ..Default::default()
    }
}

/// Every appointment of a series that is to come and stands.
async fn listed(bookd: &Bookd, series_id: &str) -> Vec<pb::Appointment> {
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

fn made(answer: &pb::BookSeriesResponse) -> Vec<&pb::Appointment> {
    answer
        .occurrences
        .iter()
        .filter_map(|it| it.appointment.as_ref())
        .collect()
}

fn ids(appointments: &[pb::Appointment]) -> Vec<&str> {
    appointments
        .iter()
        .map(|it| it.appointment_id.as_str())
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
        "the 28th of March is short"
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
        "all or nothing would make nothing"
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
        "whose it is stays unsaid"
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
        "every one is named"
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
        "no more than one booking may look for"
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
        "Monday and Tuesday, and again a week later"
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
        "what was left out is not"
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
async fn one_the_following_or_all_are_called_off_in_one_change_each() {
    let bookd = Bookd::with_ada().await;
    let answer = book(&bookd, lessons(10)).await.unwrap();
    let lessons = listed(&bookd, &answer.series_id).await;
    let of = |n: usize| lessons[n].appointment_id.as_str();
    let off = cancel(&bookd, one(pb::SeriesScope::One, of(4)))
        .await
        .unwrap();
    assert_eq!(
        (ids(&off.appointments), off.revision),
        (vec![of(4)], answer.revision + 1)
    );
    assert_eq!(off.appointments[0].state(), pb::AppointmentState::Cancelled);
    let again = cancel(&bookd, one(pb::SeriesScope::One, of(4)))
        .await
        .unwrap();
    assert_eq!(
        again, off,
        "what is cancelled is cancelled, and no revision is spent"
    );

    let dry = pb::CancelSeriesRequest {
        validate_only: true,
        ..one(pb::SeriesScope::Following, of(7))
    };
    assert_eq!(cancel(&bookd, dry).await.unwrap().appointments.len(), 3);
    let reason = "moved away".to_owned();
    let following = pb::CancelSeriesRequest {
        reason,
        ..one(pb::SeriesScope::Following, of(7))
    };
    let off = cancel(&bookd, following).await.unwrap();
    assert_eq!(
        (ids(&off.appointments), off.revision),
        (vec![of(7), of(8), of(9)], answer.revision + 2)
    );
    assert!(
        off.appointments
            .iter()
            .all(|it| it.cancel_reason == "moved away")
    );
    bookd.booked("ada", "2027-05-10T09:00").await;

    // Two have begun; the one that was moved to the end follows all others.
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
        "those that were cancelled before are among them"
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
        "a series is named by any of its appointments, and nothing changes twice"
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
        "the one that is named is judged: {refusal:?}"
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
    // The first runs out at its start, and is left as it is.
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

#[tokio::test]
async fn the_reasons_of_series_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let nothing = pb::BookSeriesRequest {
        interval: Some(0),
        count: Some(367),
        until: "2027-3-1".into(),
        time_zone: "Mars/Olympus".into(),
        request_id: "x".repeat(65),
        ..Default::default()
    };
    let refusal = refused(book(&bookd, nothing).await);
    assert!(refusal.is(Code::InvalidArgument, "FIELD_INVALID"));
    let fields = [
        "request_id",
        "calendar_id",
        "time_zone",
        "start_time",
        "invitee.name",
        "frequency",
        "interval",
        "until",
    ];
    for field in fields {
        assert!(
            refusal.fields().contains(&field),
            "{field} is not among {:?}",
            refusal.fields()
        );
    }
    let metadata = |bytes: usize| [("k".to_owned(), "v".repeat(bytes - 1))].into();
    for (request, field) in [
        (
            pb::BookSeriesRequest {
                count: Some(0),
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                count: Some(i32::MIN),
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                interval: Some(-1),
                ..lessons(1)
            },
            "interval",
        ),
        (
            pb::BookSeriesRequest {
                frequency: 9,
                ..lessons(1)
            },
            "frequency",
        ),
        (
            pb::BookSeriesRequest {
                interval: Some(367),
                ..lessons(1)
            },
            "interval",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2027-02-30".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2027-03-07".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2050-01-01".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                local_start: "2027-03-28T02:30".into(),
                ..lessons(1)
            },
            "local_start",
        ),
        (
            pb::BookSeriesRequest {
                local_start: "2027-10-31T02:30".into(),
                ..lessons(1)
            },
            "local_start",
        ),
        (
            pb::BookSeriesRequest {
                note: "n".repeat(3_000),
                ..lessons(366)
            },
            "note",
        ),
        (
            pb::BookSeriesRequest {
                metadata: metadata(1_000),
                note: "n".repeat(2_000),
                ..lessons(366)
            },
            "note",
        ),
        (
            pb::BookSeriesRequest {
                calendar_id: "nobody/".into(),
                count: Some(0),
                ..lessons(1)
            },
            "count",
        ),
    ] {
        let refusal = refused(book(&bookd, request).await);
        assert!(
            refusal.is(Code::InvalidArgument, "FIELD_INVALID"),
            "{field}: {refusal:?}"
        );
        assert_eq!(refusal.fields(), [field]);
    }
    let nobody = pb::BookSeriesRequest {
        calendar_id: "nobody".into(),
        ..lessons(2)
    };
    assert!(refused(book(&bookd, nobody).await).is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    let untyped = pb::BookSeriesRequest {
        appointment_type_id: "nothing".into(),
        local_start: "2027-10-31T02:30".into(),
        ..lessons(2)
    };
    assert!(refused(book(&bookd, untyped).await).is(Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND"));
    bookd.stop().await;
}

#[tokio::test]
async fn a_series_is_bounded_in_calendars_and_by_the_end_of_time() {
    let bookd = Bookd::with_ada().await;
    let names: Vec<String> = (0..28).map(|n| format!("room-{n}")).collect();
    for name in &names {
        bookd.hours(name, "UTC", &[("00:00", "24:00")]).await;
    }
    let of = |count: usize, occurrences: i32| pb::BookSeriesRequest {
        calendar_id: String::new(),
        calendar_ids: names[..count].to_vec(),
        assignment: pb::Assignment::All.into(),
        frequency: pb::Frequency::Daily.into(),
        ignore_rules: vec![pb::IgnorableRule::Horizon.into()],
        validate_only: true,
        ..lessons(occurrences)
    };
    let refusal = refused(
        book(
            &bookd,
            pb::BookSeriesRequest {
                note: "n".repeat(3_000),
                ..of(28, 366)
            },
        )
        .await,
    );
    assert_eq!(
        (refusal.reason.as_str(), refusal.fields()),
        ("FIELD_INVALID", vec!["calendar_ids", "note"])
    );
    assert_eq!(made(&book(&bookd, of(28, 357)).await.unwrap()).len(), 357);
    assert_eq!(made(&book(&bookd, of(27, 366)).await.unwrap()).len(), 366);
    let last = pb::BookSeriesRequest {
        local_start: "5999-12-30T12:00".into(),
        ..of(1, 2)
    };
    assert_eq!(made(&book(&bookd, last.clone()).await.unwrap()).len(), 2);
    for ending in [(Some(3), ""), (None, "9999-12-31")] {
        let (count, until) = (ending.0, ending.1.to_owned());
        let refusal = refused(
            book(
                &bookd,
                pb::BookSeriesRequest {
                    count,
                    until,
                    ..last.clone()
                },
            )
            .await,
        );
        assert_eq!(refusal.reason, "FIELD_INVALID", "{refusal:?}");
    }
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
        let refusal = refused(cancel(&bookd, request).await);
        assert!(
            refusal.is(Code::InvalidArgument, "FIELD_INVALID"),
            "{field}: {refusal:?}"
        );
        assert_eq!(refusal.fields(), [field]);
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
