//! Faults that users of other booking systems report, one test for each.
//!
//! The name of a test is the complaint turned into a promise.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, minutes, timestamp};
use crate::words::{appointment_type, booking, clocks, grace, holding, listing, refused, rule};

fn with_type(type_id: &str, request: pb::BookAppointmentRequest) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        appointment_type_id: type_id.into(),
        ..request
    }
}

fn move_to(appointment_id: &str, local_start: &str) -> pb::RescheduleAppointmentRequest {
    pb::RescheduleAppointmentRequest {
        appointment_id: appointment_id.into(),
        local_start: local_start.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn two_that_overlap_without_being_equal_are_not_both_booked() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                slot_step: Some(minutes(15)),
                ..appointment_type("visit", 60)
            },
        )
        .await;
    for day in 2..27 {
        let mut clients = tokio::task::JoinSet::new();
        for clock in ["10:00", "10:45"] {
            let (mut client, start) = (bookd.booking(), format!("2027-03-{day:02}T{clock}"));
            clients.spawn(async move {
                client
                    .book_appointment(with_type("visit", booking("ada", &start)))
                    .await
            });
        }
        let answers = clients.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1));
        let lost = refused(lost.into_iter().next().unwrap());
        assert!(
            lost.is(Code::Aborted, "SLOT_TAKEN") && lost.codes() == ["BUSY_BOOKING"],
            "{lost:?}"
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_of_one_type_blocks_every_type_of_the_calendar() {
    let bookd = Bookd::with_ada().await;
    bookd.put_type("ada", appointment_type("short", 30)).await;
    bookd.hold("ada", "2027-03-02T10:00").await;
    for clock in ["10:00", "10:30"] {
        let short = with_type("short", booking("ada", &format!("2027-03-02T{clock}")));
        let refused = refused(bookd.book(short).await);
        assert!(
            refused.is(Code::Aborted, "SLOT_TAKEN") && refused.codes() == ["BUSY_HOLD"],
            "{refused:?}"
        );
    }
    bookd
        .book(with_type("short", booking("ada", "2027-03-02T11:00")))
        .await
        .unwrap();
    bookd.stop().await;
}

#[tokio::test]
async fn an_appointment_can_be_moved_onto_a_part_of_itself_and_onto_itself() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                slot_step: Some(minutes(15)),
                ..appointment_type("visit", 60)
            },
        )
        .await;
    let booked = bookd
        .book(with_type("visit", booking("ada", "2027-03-02T10:00")))
        .await
        .unwrap();
    let moved = bookd
        .booking()
        .reschedule_appointment(move_to(&booked.appointment_id, "2027-03-02T10:30"))
        .await;
    let moved = moved.unwrap().into_inner();
    assert_eq!(moved.appointment.unwrap().local_start, "2027-03-02T10:30");
    let same = bookd
        .booking()
        .reschedule_appointment(move_to(&booked.appointment_id, "2027-03-02T10:30"))
        .await;
    assert_eq!(
        same.unwrap().into_inner().revision,
        moved.revision,
        "the appointment is already there"
    );
    let for_the_move = pb::ListSlotsRequest {
        appointment_type_id: "visit".into(),
        ignore_appointment_id: booked.appointment_id.clone(),
        time_zone: "Europe/Paris".into(),
        ..listing("ada", "2027-03-02")
    };
    assert!(
        bookd
            .starts_of(for_the_move)
            .await
            .contains(&"11:15".to_owned()),
        "the list shows the slots that the move can take"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_move_to_a_taken_time_leaves_the_original_where_it_is() {
    let bookd = Bookd::with_ada().await;
    let original = bookd.booked("ada", "2027-03-02T10:00").await;
    bookd.booked("ada", "2027-03-02T14:00").await;
    let refused = refused(
        bookd
            .booking()
            .reschedule_appointment(move_to(&original.appointment_id, "2027-03-02T14:00"))
            .await,
    );
    assert!(refused.is(Code::Aborted, "SLOT_TAKEN"), "{refused:?}");
    assert_eq!(bookd.appointment(&original.appointment_id).await, original);
    bookd.stop().await;
}

#[tokio::test]
async fn a_cancelled_time_can_be_booked_again_a_thousand_times() {
    let bookd = Bookd::with_ada().await;
    for _ in 0..1_000 {
        let booked = bookd.booked("ada", "2027-03-02T10:00").await;
        bookd.cancel(&booked.appointment_id).await;
    }
    let kept = bookd.booked("ada", "2027-03-02T10:00").await;
    let request = pb::ListAppointmentsRequest {
        calendar_id: "ada".into(),
        ..Default::default()
    };
    let listed = bookd
        .lists()
        .list_appointments(request)
        .await
        .unwrap()
        .into_inner()
        .appointments;
    assert_eq!(listed, [kept]);
    bookd.stop().await;
}

#[tokio::test]
async fn two_requests_for_one_time_are_one_when_they_block_and_one_is_approved_when_they_do_not() {
    let bookd = Bookd::with_ada().await;
    let wanted = pb::AppointmentType {
        requires_approval: true,
        ..appointment_type("wanted", 60)
    };
    bookd.put_type("ada", wanted.clone()).await;
    let ask = || with_type("wanted", booking("ada", "2027-03-02T10:00"));
    let first = bookd.book(ask()).await.unwrap();
    assert_eq!(first.state(), pb::AppointmentState::Pending);
    assert!(refused(bookd.book(ask()).await).is(Code::Aborted, "SLOT_TAKEN"));
    bookd.cancel(&first.appointment_id).await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                pending_blocks: Some(false),
                ..wanted
            },
        )
        .await;
    let (one, other) = (
        bookd.book(ask()).await.unwrap(),
        bookd.book(ask()).await.unwrap(),
    );
    let approve = |appointment: &pb::Appointment| pb::ApproveAppointmentRequest {
        appointment_id: appointment.appointment_id.clone(),
        ..Default::default()
    };
    bookd
        .booking()
        .approve_appointment(approve(&other))
        .await
        .unwrap();
    assert!(
        refused(bookd.booking().approve_appointment(approve(&one)).await)
            .is(Code::Aborted, "SLOT_TAKEN")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn of_five_seats_one_leaves_and_the_others_stay() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                capacity: Some(5),
                ..appointment_type("class", 60)
            },
        )
        .await;
    let seat = || with_type("class", booking("ada", "2027-03-02T10:00"));
    let mut seats = Vec::new();
    for _ in 0..5 {
        seats.push(bookd.book(seat()).await.unwrap());
    }
    assert_eq!(refused(bookd.book(seat()).await).codes(), ["CAPACITY"]);
    bookd.cancel(&seats[2].appointment_id).await;
    for (number, seat) in seats.iter().enumerate().filter(|(number, _)| *number != 2) {
        assert_eq!(
            bookd.appointment(&seat.appointment_id).await.state(),
            pb::AppointmentState::Confirmed,
            "{number}"
        );
    }
    let class = pb::ListSlotsRequest {
        appointment_type_id: "class".into(),
        ..listing("ada", "2027-03-02")
    };
    let left = bookd
        .list(class)
        .await
        .unwrap()
        .into_iter()
        .find(|it| it.seats_remaining < 5)
        .unwrap();
    assert_eq!(left.seats_remaining, 1);
    bookd.book(seat()).await.unwrap();
    assert_eq!(refused(bookd.book(seat()).await).codes(), ["CAPACITY"]);
    bookd.stop().await;
}

#[tokio::test]
async fn a_weekly_limit_counts_the_monday_week_over_the_end_of_a_month() {
    let bookd = Bookd::with_ada().await;
    let limits = pb::Limits {
        per_week: Some(2),
        ..Default::default()
    };
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                limits: Some(limits),
                ..appointment_type("few", 60)
            },
        )
        .await;
    let few = |local_start: &str| with_type("few", booking("ada", local_start));
    // Wednesday the 31st of March and Thursday the 1st of April are in one week, which ends on
    // Sunday the 4th.
    bookd.book(few("2027-03-31T10:00")).await.unwrap();
    bookd.book(few("2027-04-01T10:00")).await.unwrap();
    let third = refused(bookd.book(few("2027-04-04T10:00")).await);
    assert!(
        third.is(Code::Aborted, "SLOT_TAKEN") && third.codes() == ["LIMIT"],
        "{third:?}"
    );
    bookd.book(few("2027-04-05T10:00")).await.unwrap();
    bookd.book(few("2027-03-28T10:00")).await.unwrap();
    bookd.stop().await;
}

/// The starts of half-hour slots on a calendar that is open all day, in wall time of its zone.
async fn starts(bookd: &Bookd, zone: &str, date: &str) -> Vec<String> {
    let calendar = zone.to_lowercase();
    bookd
        .set_rules(&calendar, zone, vec![rule("00:00", "24:00")])
        .await;
    bookd
        .put_type(&calendar, appointment_type("half", 30))
        .await;
    let half = pb::ListSlotsRequest {
        appointment_type_id: "half".into(),
        time_zone: zone.into(),
        ..listing(&calendar, date)
    };
    bookd.starts_of(half).await
}

#[tokio::test]
async fn a_half_hour_change_a_quarter_hour_zone_a_missing_midnight_and_a_two_hour_change_are_no_trouble()
 {
    let bookd = Bookd::with_ada().await;
    // Lord Howe sets its clock back by 30 minutes at 02:00 on the 4th of April: 01:30 occurs twice.
    let lord_howe = starts(&bookd, "Australia/Lord_Howe", "2027-04-04").await;
    assert_eq!(lord_howe.len(), 49);
    assert_eq!(lord_howe[2..7], clocks("01:00 01:30 01:30 02:00 02:30"));
    // Kathmandu is 5:45 ahead of UTC: a full hour there is a full hour in no other zone.
    let kathmandu = starts(&bookd, "Asia/Kathmandu", "2027-03-10").await;
    assert_eq!((kathmandu.len(), &kathmandu[0][..]), (48, "00:00"));
    let at_nine = bookd.booked("asia/kathmandu", "2027-03-10T09:00").await;
    assert_eq!(at_nine.start_time, Some(timestamp("2027-03-10T03:15:00Z")));
    // Summer time begins at midnight in Cairo: 00:00 is skipped, and the day starts at 01:00.
    let cairo = starts(&bookd, "Africa/Cairo", "2027-04-30").await;
    assert_eq!((cairo.len(), &cairo[0][..]), (46, "01:00"));
    let midnight = refused(
        bookd
            .book(booking("africa/cairo", "2027-04-30T00:00"))
            .await,
    );
    assert_eq!(midnight.fields(), ["local_start"]);
    // Troll sets its clock ahead by two hours: 01:00 to 03:00 is skipped.
    let troll = starts(&bookd, "Antarctica/Troll", "2027-03-28").await;
    assert_eq!(
        (troll.len(), &troll[..4]),
        (44, &clocks("00:00 00:30 03:00 03:30")[..])
    );
    bookd.stop().await;
}

#[tokio::test]
async fn the_notice_is_kept_to_the_exact_second() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                min_notice: Some(minutes(90)),
                ..appointment_type("visit", 60)
            },
        )
        .await;
    let visit = || pb::BookAppointmentRequest {
        validate_only: true,
        ..with_type("visit", booking("ada", "2027-03-02T10:00"))
    };
    // 10:00 in Paris is 09:00 in UTC.
    bookd.set_clock("2027-03-02T07:30:00Z").await;
    bookd.book(visit()).await.unwrap();
    let list = || pb::ListSlotsRequest {
        appointment_type_id: "visit".into(),
        time_zone: "Europe/Paris".into(),
        ..listing("ada", "2027-03-02")
    };
    assert_eq!(bookd.starts_of(list()).await[0], "10:00");
    bookd.advance(1).await;
    let late = refused(bookd.book(visit()).await);
    assert!(
        late.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE") && late.codes() == ["NOTICE"],
        "{late:?}"
    );
    assert_eq!(bookd.starts_of(list()).await[0], "11:00");
    bookd.stop().await;
}

#[tokio::test]
async fn the_horizon_moves_on_at_local_midnight_and_not_before() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                horizon_days: Some(3),
                ..appointment_type("visit", 60)
            },
        )
        .await;
    let visit = || pb::BookAppointmentRequest {
        validate_only: true,
        ..with_type("visit", booking("ada", "2027-03-05T09:00"))
    };
    // Midnight in Paris is 23:00 in UTC.
    bookd.set_clock("2027-03-01T22:59:59Z").await;
    let far = refused(bookd.book(visit()).await);
    assert!(
        far.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE") && far.codes() == ["HORIZON"],
        "{far:?}"
    );
    bookd.advance(1).await;
    bookd.book(visit()).await.unwrap();
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_counts_in_limits_and_becomes_the_appointment_without_losing_its_time() {
    let bookd = Bookd::with_ada().await;
    let limits = pb::Limits {
        per_day: Some(1),
        ..Default::default()
    };
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                limits: Some(limits),
                ..appointment_type("one", 60)
            },
        )
        .await;
    let hold = pb::HoldAppointmentRequest {
        appointment_type_id: "one".into(),
        ..holding("ada", "2027-03-02T10:00")
    };
    let hold = bookd
        .booking()
        .hold_appointment(hold)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(
        refused(
            bookd
                .book(with_type("one", booking("ada", "2027-03-02T14:00")))
                .await
        )
        .codes(),
        ["LIMIT"]
    );
    let confirm = pb::BookAppointmentRequest {
        hold_id: hold.appointment_id.clone(),
        invitee: grace(),
        ..Default::default()
    };
    let booked = bookd.book(confirm).await.unwrap();
    assert_eq!(
        (booked.appointment_id, booked.start_time),
        (hold.appointment_id, hold.start_time)
    );
    assert_eq!(booked.state, i32::from(pb::AppointmentState::Confirmed));
    bookd.stop().await;
}
