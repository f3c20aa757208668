//! Behaviour of the five earlier systems, B1 to B30: calendars, hours and lists.
//!
//! A test is named after the rows of that comparison that it settles, and works over gRPC, as a
//! migrating client does. `parity_booking.rs` has the rows from B32 on, `parity_kept.rs` those from
//! B47 on. Rows B12, B31, B46 and B52 never existed.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, timestamp};
use crate::words::{
    NOW, appointment_type, booking, clocks, holding, listing, refused, rule, rule_on,
    set_availability,
};

const DAY: &str = "2027-03-02";
const PARIS: &str = "Europe/Paris";
const ADAS_STARTS: &str = "09:00 10:00 11:00 12:00 13:00 14:00 15:00 16:00";

/// A calendar in New York whose owner is Lee.
pub fn calendar(calendar_id: &str) -> pb::Calendar {
    pb::Calendar {
        calendar_id: calendar_id.into(),
        display_name: "Dr Lee".into(),
        time_zone: "America/New_York".into(),
        owner: Some(pb::Owner {
            name: "Lee".into(),
            email: "lee@example.com".into(),
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn b1_space_around_an_id_is_an_error_everywhere() {
    let bookd = Bookd::with_ada().await;
    let (mut calendars, mut availability) = (bookd.calendars(), bookd.availability());
    for id in [" ada", "ada ", "ada\n", "a da", ""] {
        let create = pb::CreateCalendarRequest {
            calendar: Some(calendar(id)),
            ..Default::default()
        };
        let get = pb::GetCalendarRequest {
            calendar_id: id.into(),
        };
        let hours = pb::GetAvailabilityRequest {
            calendar_id: id.into(),
        };
        let answers = [
            refused(calendars.create_calendar(create).await),
            refused(calendars.get_calendar(get).await),
            refused(
                availability
                    .set_availability(set_availability(id, PARIS, vec![]))
                    .await,
            ),
            refused(availability.get_availability(hours).await),
            refused(bookd.list(listing(id, DAY)).await),
            refused(bookd.book(booking(id, "2027-03-02T09:00")).await),
            refused(
                bookd
                    .booking()
                    .hold_appointment(holding(id, "2027-03-02T09:00"))
                    .await,
            ),
        ];
        for answer in answers {
            assert!(
                answer.is(Code::InvalidArgument, "FIELD_INVALID"),
                "{id:?}: {answer:?}"
            );
            assert!(
                answer.fields()[0].ends_with("calendar_id"),
                "{id:?}: {answer:?}"
            );
        }
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b2_b3_an_owner_has_name_email_and_zone_and_deleting_asks_for_force_while_appointments_are_upcoming()
 {
    let bookd = Bookd::start_at(NOW).await;
    let mut calendars = bookd.calendars();
    let create = pb::CreateCalendarRequest {
        calendar: Some(calendar("acme/lee")),
        ..Default::default()
    };
    let made = calendars
        .create_calendar(create)
        .await
        .unwrap()
        .into_inner()
        .calendar
        .unwrap();
    let get = pb::GetCalendarRequest {
        calendar_id: "acme/lee".into(),
    };
    let got = calendars
        .get_calendar(get.clone())
        .await
        .unwrap()
        .into_inner()
        .calendar
        .unwrap();
    assert_eq!(got, made);
    assert_eq!(
        (got.owner, got.time_zone.as_str()),
        (calendar("").owner, "America/New_York")
    );

    bookd.hours("acme/lee", "", &[("09:00", "17:00")]).await;
    let appointment = bookd.booked("acme/lee", "2027-03-02T09:00").await;
    assert_eq!(appointment.time_zone, "America/New_York");
    let mut delete = pb::DeleteCalendarRequest {
        calendar_id: "acme/lee".into(),
        ..Default::default()
    };
    let not_empty = refused(calendars.delete_calendar(delete.clone()).await);
    assert!(
        not_empty.is(Code::FailedPrecondition, "CALENDAR_NOT_EMPTY"),
        "{not_empty:?}"
    );
    assert_eq!(not_empty.metadata["upcoming"], "1");

    delete.force = true;
    calendars.delete_calendar(delete).await.unwrap();
    assert!(refused(calendars.get_calendar(get).await).is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    let cancelled = bookd.appointment(&appointment.appointment_id).await;
    assert_eq!(cancelled.state(), pb::AppointmentState::Cancelled);
    bookd.stop().await;
}

#[tokio::test]
async fn b4_b5_b6_b7_b8_hours_go_by_weekday_date_and_date_range_with_several_windows_a_day_all_together()
 {
    let bookd = Bookd::start_at(NOW).await;
    let in_march = pb::AvailabilityRule {
        from_date: "2027-03-08".into(),
        to_date: "2027-03-10".into(),
        ..rule("20:00", "21:00")
    };
    let tuesday = pb::DayOfWeek::Tuesday;
    let rules = vec![
        rule("09:00", "10:00"),
        rule_on(tuesday, "13:00", "15:00"),
        rule_on(tuesday, "17:00", "18:00"),
        in_march,
    ];
    bookd.set_rules("ada", PARIS, rules).await;
    bookd
        .put_override(
            "ada",
            "2027-03-09",
            &[("08:00", "09:00"), ("11:00", "12:00")],
        )
        .await;
    bookd.put_override("ada", "2027-03-11", &[]).await;
    for (date, expected) in [
        ("2027-03-02", "09:00 13:00 14:00 17:00"),
        ("2027-03-03", "09:00"),
        ("2027-03-08", "09:00 20:00"),
        ("2027-03-09", "08:00 11:00"),
        ("2027-03-10", "09:00 20:00"),
        ("2027-03-11", ""),
        ("2027-03-16", "09:00 13:00 14:00 17:00"),
    ] {
        assert_eq!(
            bookd.starts("ada", PARIS, date).await,
            clocks(expected),
            "{date}"
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b9_overlapping_and_identical_rules_offer_each_slot_once() {
    let bookd = Bookd::start_at(NOW).await;
    let hours = [
        ("09:00", "12:00"),
        ("09:00", "12:00"),
        ("11:00", "14:00"),
        ("14:00", "15:00"),
    ];
    bookd.hours("ada", PARIS, &hours).await;
    let expected = clocks("09:00 10:00 11:00 12:00 13:00 14:00");
    assert_eq!(bookd.starts("ada", PARIS, DAY).await, expected);
    bookd.booked("ada", "2027-03-02T11:00").await;
    let again = refused(bookd.book(booking("ada", "2027-03-02T11:00")).await);
    assert!(again.is(Code::Aborted, "SLOT_TAKEN"), "{again:?}");
    bookd.stop().await;
}

#[tokio::test]
async fn b10_b11_windows_and_date_ranges_that_end_before_they_begin_are_invalid_fields() {
    let bookd = Bookd::start_at(NOW).await;
    let backwards = pb::AvailabilityRule {
        from_date: DAY.into(),
        to_date: "2027-03-01".into(),
        ..rule("09:00", "10:00")
    };
    let rules = vec![rule("10:00", "09:00"), rule("09:00", "09:00"), backwards];
    let answer = refused(
        bookd
            .availability()
            .set_availability(set_availability("ada", PARIS, rules))
            .await,
    );
    assert!(
        answer.is(Code::InvalidArgument, "FIELD_INVALID"),
        "{answer:?}"
    );
    assert_eq!(
        answer.fields(),
        ["rules[0].end_time", "rules[1].end_time", "rules[2].to_date"]
    );
    bookd.stop().await;
}

#[tokio::test]
async fn b13_b14_b15_clock_times_are_two_digits_any_minute_and_a_day_ends_at_24_00() {
    let bookd = Bookd::start_at(NOW).await;
    for text in ["9:00", "09:60", "0900", "09:00:00", " 09:00", "nine", ""] {
        let request = set_availability("ada", PARIS, vec![rule(text, "23:00")]);
        let answer = refused(bookd.availability().set_availability(request).await);
        assert_eq!(answer.fields(), ["rules[0].start_time"], "{text:?}");
    }
    bookd
        .hours("ada", PARIS, &[("09:10", "11:15"), ("23:00", "24:00")])
        .await;
    assert_eq!(
        bookd.starts("ada", PARIS, DAY).await,
        clocks("09:10 10:10 23:00")
    );
    let last = bookd.booked("ada", "2027-03-02T23:00").await;
    assert_eq!(last.end_time, Some(timestamp("2027-03-02T23:00:00Z")));
    bookd.stop().await;
}

#[tokio::test]
async fn b16_b17_b18_no_rules_is_never_open_an_unknown_owner_is_made_and_past_dates_do_no_harm() {
    let bookd = Bookd::start_at(NOW).await;
    bookd.hours("ada", PARIS, &[]).await;
    assert_eq!(bookd.starts("ada", PARIS, DAY).await, clocks(""));
    let get = pb::GetCalendarRequest {
        calendar_id: "ada".into(),
    };
    let made = bookd
        .calendars()
        .get_calendar(get)
        .await
        .unwrap()
        .into_inner()
        .calendar
        .unwrap();
    assert_eq!(made.time_zone, PARIS);
    let past = pb::AvailabilityRule {
        from_date: "2020-01-01".into(),
        to_date: "2020-12-31".into(),
        ..rule("06:00", "07:00")
    };
    bookd
        .set_rules("ada", PARIS, vec![past, rule("09:00", "10:00")])
        .await;
    bookd
        .put_override("ada", "2020-01-01", &[("06:00", "07:00")])
        .await;
    assert_eq!(bookd.starts("ada", PARIS, DAY).await, clocks("09:00"));
    bookd.stop().await;
}

#[tokio::test]
async fn b19_b20_b21_the_default_takes_60_minutes_types_their_own_and_a_last_partial_slot_is_dropped()
 {
    let bookd = Bookd::start_at(NOW).await;
    bookd.hours("clinic", PARIS, &[("09:00", "10:45")]).await;
    for (id, duration) in [("consultation", 30), ("follow-up", 15), ("therapy", 60)] {
        bookd
            .put_type("clinic", appointment_type(id, duration))
            .await;
    }
    for (id, expected) in [
        ("", "09:00"),
        ("therapy", "09:00"),
        ("consultation", "09:00 09:30 10:00"),
        ("follow-up", "09:00 09:15 09:30 09:45 10:00 10:15 10:30"),
    ] {
        let request = pb::ListSlotsRequest {
            appointment_type_id: id.into(),
            time_zone: PARIS.into(),
            ..listing("clinic", DAY)
        };
        assert_eq!(bookd.starts_of(request).await, clocks(expected), "{id}");
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b22_b36_booked_time_disappears_from_the_list_of_every_type() {
    let bookd = Bookd::start_at(NOW).await;
    bookd.hours("clinic", PARIS, &[("09:00", "12:00")]).await;
    bookd
        .put_type("clinic", appointment_type("follow-up", 30))
        .await;
    let follow_up = pb::BookAppointmentRequest {
        appointment_type_id: "follow-up".into(),
        ..booking("clinic", "2027-03-02T10:30")
    };
    let booked = bookd.book(follow_up).await.unwrap();
    let of_follow_up = || pb::ListSlotsRequest {
        appointment_type_id: "follow-up".into(),
        time_zone: PARIS.into(),
        ..listing("clinic", DAY)
    };
    assert_eq!(
        bookd.starts("clinic", PARIS, DAY).await,
        clocks("09:00 11:00")
    );
    assert_eq!(
        bookd.starts_of(of_follow_up()).await,
        clocks("09:00 09:30 10:00 11:00 11:30")
    );
    bookd.cancel(&booked.appointment_id).await;
    assert_eq!(
        bookd.starts("clinic", PARIS, DAY).await,
        clocks("09:00 10:00 11:00")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn b23_slots_earlier_today_are_not_offered() {
    let bookd = Bookd::with_ada().await;
    bookd.set_clock("2027-03-01T11:00:00Z").await;
    assert_eq!(
        bookd.starts("ada", PARIS, "2027-03-01").await,
        clocks("12:00 13:00 14:00 15:00 16:00")
    );
    bookd.advance(1).await;
    assert_eq!(
        bookd.starts("ada", PARIS, "2027-03-01").await,
        clocks("13:00 14:00 15:00 16:00")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn b24_b25_b26_b27_b28_past_empty_and_far_dates_are_empty_and_only_a_bad_date_or_owner_is_an_error()
 {
    let bookd = Bookd::with_ada().await;
    bookd.put_override("ada", "2027-03-05", &[]).await;
    // The horizon of 365 days is counted in dates, and includes its last date.
    assert_eq!(
        bookd.starts("ada", PARIS, "2028-02-29").await,
        clocks(ADAS_STARTS)
    );
    for date in [
        "2027-02-28",
        "2020-01-01",
        "2027-03-05",
        "2028-03-01",
        "9000-01-01",
    ] {
        assert_eq!(bookd.starts("ada", PARIS, date).await, clocks(""), "{date}");
    }
    let unknown = refused(bookd.list(listing("nobody", DAY)).await);
    assert!(
        unknown.is(Code::NotFound, "CALENDAR_NOT_FOUND"),
        "{unknown:?}"
    );
    assert_eq!(
        unknown.details.resource_info().unwrap().resource_name,
        "nobody"
    );
    for date in [
        "2027-02-29",
        "2027-13-01",
        "02.03.2027",
        "tomorrow",
        "2027-03-02T00:00",
    ] {
        let answer = refused(bookd.list(listing("ada", date)).await);
        assert!(
            answer.is(Code::InvalidArgument, "FIELD_INVALID"),
            "{date}: {answer:?}"
        );
        assert_eq!(answer.fields(), ["date"], "{date}");
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b29_a_date_has_one_spelling() {
    let bookd = Bookd::with_ada().await;
    for date in [
        "2027-3-2",
        "2027-03-2",
        "27-03-02",
        "2027-03-02 ",
        "20270302",
    ] {
        assert_eq!(
            refused(bookd.list(listing("ada", date)).await).fields(),
            ["date"],
            "{date}"
        );
        let answer = refused(bookd.book(booking("ada", &format!("{date}T09:00"))).await);
        assert_eq!(answer.fields(), ["local_start"], "{date}");
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b30_an_unknown_type_is_not_found() {
    let bookd = Bookd::with_ada().await;
    let list = pb::ListSlotsRequest {
        appointment_type_id: "surgery".into(),
        ..listing("ada", DAY)
    };
    let book = pb::BookAppointmentRequest {
        appointment_type_id: "surgery".into(),
        ..booking("ada", "2027-03-02T09:00")
    };
    for answer in [
        refused(bookd.list(list).await),
        refused(bookd.book(book).await),
    ] {
        assert!(
            answer.is(Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND"),
            "{answer:?}"
        );
        assert_eq!(
            answer.details.resource_info().unwrap().resource_name,
            "surgery"
        );
    }
    bookd.stop().await;
}
