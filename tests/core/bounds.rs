//! Decisions at the bounds that they state: what is just allowed, and what is just refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::person::METADATA_KEYS_MAX;
use bookd_core::appointment::{Assignment, Carried, PersonDetails};
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps, TYPES_MAX};
use bookd_core::calendar::availability::{InvalidWindow, OVERRIDES_MAX, Window};
use bookd_core::calendar::{BUSY_PERIODS_CALENDAR_MAX, BUSY_SOURCES_MAX, Calendar};
use bookd_core::command::{Booking, Command, Move, Start};
use bookd_core::decide::{Hours, decide};
use bookd_core::ids::TypeId;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, Instant, LocalDate, MINUTE, Seconds};

use crate::decide::{booking, calendar_id, id, now, submit, two_calendars, visit};
use crate::world::minutes;

/// The field of the refusal; none where the command is not refused.
fn wrong_field(state: &State, command: &Command) -> Option<String> {
    match decide(state, command, now()) {
        Ok(_) => None,
        Err(Refusal::FieldInvalid(found)) => Some(found[0].field.clone()),
        Err(other) => panic!("{other:?}"),
    }
}

fn put_type(name: &str) -> Command {
    Command::PutAppointmentType {
        calendar: calendar_id("ada"),
        appointment_type: AppointmentType {
            id: TypeId::parse(name).unwrap(),
            ..AppointmentType::default_type(Stamps::default())
        },
        etag: None,
    }
}

#[test]
fn a_window_begins_before_midnight_and_has_a_minute_to_a_day() {
    assert!(Window::new(1_439, 1_440).is_ok());
    assert!(Window::new(1_439, 2_879).is_ok());
    assert_eq!(Window::new(1_440, 1_500), Err(InvalidWindow::StartTooLate));
    assert_eq!(Window::new(600, 600), Err(InvalidWindow::Empty));
    assert_eq!(Window::new(0, 1_441), Err(InvalidWindow::TooLong));
}

#[test]
fn a_calendar_has_so_many_types_and_no_more() {
    let mut state = two_calendars();
    let present = state.calendars[&calendar_id("ada")].types.iter().count();
    for number in present..TYPES_MAX {
        submit(&mut state, &put_type(&format!("t{number}")), now()).unwrap();
    }
    let field = "appointment_type.appointment_type_id";
    assert_eq!(
        wrong_field(&state, &put_type("more")).as_deref(),
        Some(field)
    );
    assert_eq!(wrong_field(&state, &put_type("visit")), None);
}

#[test]
fn an_etag_of_a_type_that_is_not_there_is_refused() {
    let state = two_calendars();
    let etag = state.calendars[&calendar_id("ada")].etag();
    let Command::PutAppointmentType {
        calendar,
        appointment_type,
        ..
    } = put_type("new")
    else {
        unreachable!("it puts a type")
    };
    let put = Command::PutAppointmentType {
        calendar,
        appointment_type,
        etag: Some(etag),
    };
    assert!(matches!(
        decide(&state, &put, now()),
        Err(Refusal::EtagMismatch { .. })
    ));
}

#[test]
fn a_calendar_has_so_many_overrides_and_no_more() {
    let state = two_calendars();
    let put = |count: usize| Command::PutOverrides {
        calendar: calendar_id("ada"),
        overrides: (0..count)
            .map(|day| {
                (
                    LocalDate::from_days(20_000 + day as i32),
                    Default::default(),
                )
            })
            .collect(),
        etag: None,
    };
    assert_eq!(wrong_field(&state, &put(OVERRIDES_MAX)), None);
    let more = wrong_field(&state, &put(OVERRIDES_MAX + 1));
    assert_eq!(more.as_deref(), Some("overrides"));
}

/// A report of so many busy minutes, every other minute from `NOW` on.
fn report(source: &str, count: usize) -> Command {
    let period = |index: usize| {
        let start = now().plus(2 * index as i64 * MINUTE);
        Interval::new(start, start.plus(MINUTE))
    };
    Command::PutBusy {
        calendar: calendar_id("ada"),
        source: source.to_owned(),
        range: Interval::new(now(), now().plus(1_000 * DAY)),
        periods: (0..count).map(period).collect(),
    }
}

#[test]
fn a_calendar_has_so_many_busy_sources_and_periods_and_no_more() {
    let mut state = two_calendars();
    for number in 0..BUSY_SOURCES_MAX {
        submit(&mut state, &report(&format!("s{number}"), 1), now()).unwrap();
    }
    let field = wrong_field(&state, &report("more", 1));
    assert_eq!(field.as_deref(), Some("source"));
    let rest = BUSY_PERIODS_CALENDAR_MAX - (BUSY_SOURCES_MAX - 1);
    assert_eq!(wrong_field(&state, &report("s0", rest)), None);
    let field = wrong_field(&state, &report("s0", rest + 1));
    assert_eq!(field.as_deref(), Some("periods"));
}

#[test]
fn a_booked_hold_has_so_many_keys_of_metadata_with_its_own_and_no_more() {
    let mut state = two_calendars();
    let with_keys = |keys: std::ops::Range<usize>, booking: Booking| Booking {
        person: PersonDetails {
            carried: Carried {
                metadata: keys.map(|key| (key.to_string(), String::new())).collect(),
                ..Carried::default()
            },
            ..booking.person
        },
        ..booking
    };
    let start = now().plus(HOUR);
    let hold = Command::Hold {
        booking: with_keys(0..20, visit(1, start)),
        ttl: Seconds::new(60).unwrap(),
    };
    submit(&mut state, &hold, now()).unwrap();
    let book = |keys| {
        Command::Book(Booking {
            hold: Some(id(1)),
            ..with_keys(keys, visit(1, start))
        })
    };
    assert_eq!(wrong_field(&state, &book(10..METADATA_KEYS_MAX)), None);
    let more = wrong_field(&state, &book(10..METADATA_KEYS_MAX + 1));
    assert_eq!(more.as_deref(), Some("metadata"));
}

#[test]
fn the_cut_off_itself_is_in_time_and_a_second_later_is_too_late() {
    let mut state = two_calendars();
    let notice = Seconds::new(HOUR);
    let Command::PutAppointmentType {
        calendar,
        appointment_type,
        etag,
    } = put_type("strict")
    else {
        unreachable!("it puts a type")
    };
    let put = Command::PutAppointmentType {
        calendar,
        appointment_type: AppointmentType {
            cancel_notice: notice,
            reschedule_notice: notice,
            ..appointment_type
        },
        etag,
    };
    submit(&mut state, &put, now()).unwrap();
    let start = now().plus(3 * HOUR);
    let strict = booking(1, &["ada"], Assignment::All, "strict", start);
    submit(&mut state, &Command::Book(strict), now()).unwrap();
    let cancel = Command::Cancel {
        appointment: id(1),
        reason: String::new(),
        etag: None,
    };
    let to = Move {
        appointment: id(1),
        start: Some(Start::At(start.plus(HOUR))),
        duration: None,
        calendars: Vec::new(),
        assignment: Assignment::All,
        ignored_rules: Default::default(),
        etag: None,
    };
    let latest = start.plus(-HOUR);
    for (command, asked) in [(cancel, "cancelled"), (Command::Reschedule(to), "moved")] {
        assert!(decide(&state, &command, latest).is_ok(), "{asked}");
        assert_eq!(
            decide(&state, &command, latest.plus(1)),
            Err(Refusal::TooLate { asked, latest })
        );
    }
}

#[test]
fn attendance_can_be_told_from_the_start_on() {
    let mut state = two_calendars();
    let start = now().plus(HOUR);
    submit(&mut state, &Command::Book(visit(1, start)), now()).unwrap();
    let complete = Command::Complete {
        appointment: id(1),
        undo: false,
        etag: None,
    };
    let refused = decide(&state, &complete, start.plus(-1));
    assert!(matches!(refused, Err(Refusal::AppointmentState { .. })));
    assert!(decide(&state, &complete, start).is_ok());
}

#[test]
fn an_appointment_that_starts_now_is_named_as_outside_and_one_that_has_begun_is_not() {
    let mut state = two_calendars();
    let start = now().plus(HOUR);
    submit(&mut state, &Command::Book(visit(1, start)), now()).unwrap();
    let date = "2027-01-04".parse().unwrap();
    let close = Command::PutOverrides {
        calendar: calendar_id("ada"),
        overrides: BTreeMap::from([(date, Default::default())]),
        etag: None,
    };
    submit(&mut state, &close, now()).unwrap();
    let hours = Hours::of(&close).unwrap();
    let ada = &state.calendars[&calendar_id("ada")];
    assert_eq!(hours.outside(ada, start).len(), 1);
    assert_eq!(hours.outside(ada, start.plus(1)).len(), 0);
}

#[test]
fn each_candidate_says_why_it_was_chosen_or_not() {
    let mut state = two_calendars();
    let start = now().plus(3 * HOUR);
    let reasons = |state: &State, start: Instant| {
        let any = booking(9, &["ada", "bob"], Assignment::Any, "visit", start);
        let decision = decide(state, &Command::Book(any), now()).unwrap();
        let candidates = decision.outcome.candidates.into_iter();
        candidates.map(|it| it.reason).collect::<Vec<_>>()
    };
    submit(&mut state, &Command::Book(visit(1, start)), now()).unwrap();
    assert_eq!(
        reasons(&state, start.plus(2 * HOUR)),
        [
            "free, with 1 appointments that day",
            "free, and 0 appointments that day are the fewest"
        ]
    );
    assert_eq!(
        reasons(&state, start),
        [
            "BUSY_BOOKING",
            "free, and 0 appointments that day are the fewest"
        ]
    );
}

#[test]
fn a_refusal_names_the_nearest_slots_of_any_or_of_all_calendars() {
    let mut state = two_calendars();
    let start = now().plus(3 * HOUR);
    for (number, calendar, start) in [
        (1, "ada", start),
        (2, "bob", start),
        // Without a gap for a visit of 60 minutes and 10 after it.
        (3, "bob", start.plus(90 * MINUTE)),
    ] {
        let visit = booking(number, &[calendar], Assignment::All, "visit", start);
        submit(&mut state, &Command::Book(visit), now()).unwrap();
    }
    let nearest = |assignment| {
        let visit = booking(9, &["ada", "bob"], assignment, "visit", start);
        match decide(&state, &Command::Book(visit), now()) {
            Err(Refusal::Slot(refusal)) => {
                let start = |it: Option<Interval>| it.map(|it| it.start.since(start) / MINUTE);
                let days = refusal.nearest_days;
                (
                    start(refusal.nearest_before),
                    start(refusal.nearest_after),
                    days,
                )
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(nearest(Assignment::Any), (Some(-90), Some(90), 60));
    assert_eq!(nearest(Assignment::All), (Some(-90), Some(180), 60));
    let long = minutes(120);
    let longer = Booking {
        duration: Some(long),
        ..visit(9, start)
    };
    assert!(decide(&state, &Command::Book(longer), now()).is_err());
}

#[test]
fn an_id_that_another_appointment_has_is_refused() {
    let mut state = two_calendars();
    let book = |hour| Command::Book(visit(1, now().plus(hour * HOUR)));
    assert_eq!(book(1).needs().appointments, [id(1)]);
    submit(&mut state, &book(1), now()).unwrap();
    assert_eq!(
        decide(&state, &book(3), now()),
        Err(Refusal::AppointmentExists(id(1)))
    );
}

#[test]
fn a_session_is_joined_only_by_seats_on_the_same_calendars() {
    let mut state = two_calendars();
    let cem = Calendar {
        id: calendar_id("cem"),
        ..Calendar::clone(&state.calendars[&calendar_id("bob")])
    };
    state.calendars.insert(cem.id.clone(), Arc::new(cem));
    let start = now().plus(3 * HOUR);
    let class = |number, calendars: &[&str]| {
        Command::Book(booking(number, calendars, Assignment::All, "class", start))
    };
    let first = submit(&mut state, &class(1, &["ada", "bob"]), now()).unwrap();
    let second = submit(&mut state, &class(2, &["bob", "ada"]), now()).unwrap();
    assert_eq!(second[0].session, first[0].session);
    for others in [&["ada", "cem"][..], &["cem", "ada"], &["ada"]] {
        let refused = decide(&state, &class(3, others), now());
        assert!(matches!(refused, Err(Refusal::Slot(_))), "{others:?}");
    }
}
