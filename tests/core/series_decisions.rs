//! Decisions about the occurrences of a series: which ones a cancellation names, and how large a
//! series may be.

use bookd_core::appointment::recurrence::{Ending, Frequency, Recurrence};
use bookd_core::appointment::{AppointmentState, Assignment, Carried, PersonDetails};
use bookd_core::calendar::Profile;
use bookd_core::calendar::availability::Availability;
use bookd_core::command::{
    Booking, Command, Otherwise, ProfilePatch, SeriesBooking, SeriesName, SeriesScope,
};
use bookd_core::decide::{SERIES_CLAIMS_MAX, SERIES_TEXT_BYTES_MAX, decide};
use bookd_core::ids::{AppointmentId, SeriesId};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::{DAY, HOUR, Instant};

use crate::decide::{booking, calendar_id, now, series, submit, two_calendars};
use crate::world::zone;

fn visit(number: u128, calendars: &[&str]) -> Booking {
    booking(
        number,
        calendars,
        Assignment::All,
        "visit",
        now().plus(HOUR),
    )
}

/// Two series of four days each, on calendars of their own, and an appointment of none.
fn two_series() -> (State, Vec<AppointmentId>) {
    let mut state = two_calendars();
    let mut ids = Vec::new();
    for (number, calendar) in [(7, "ada"), (8, "bob")] {
        let booking = visit(number, &[calendar]);
        let daily = series(number, booking, Frequency::Daily, 4, Otherwise::Nothing);
        let daily = Command::BookSeries(Box::new(daily));
        let booked = submit(&mut state, &daily, now()).unwrap();
        ids.extend(booked.iter().map(|it| it.id));
    }
    let single = Booking {
        start: Some(bookd_core::command::Start::At(now().plus(5 * HOUR))),
        ..visit(9, &["ada"])
    };
    submit(&mut state, &Command::Book(single), now()).unwrap();
    ids.truncate(4);
    (state, ids)
}

fn id_of_series(number: u128) -> SeriesId {
    SeriesId(uuid::Uuid::from_u128(number))
}

/// The appointments that the cancellation of the scope answers, in order.
fn cancelled(
    state: &State,
    scope: SeriesScope,
    now: Instant,
) -> Result<Vec<AppointmentId>, Refusal> {
    let reason = String::new();
    let decision = decide(state, &Command::CancelSeries { scope, reason }, now)?;
    let after = decision.outcome.appointments;
    assert!(
        after
            .iter()
            .all(|it| it.state == AppointmentState::Cancelled)
    );
    Ok(after.iter().map(|it| it.id).collect())
}

#[test]
fn a_scope_names_one_occurrence_the_following_or_all_that_have_not_begun() {
    let (state, ids) = two_series();
    let at = |scope, now| cancelled(&state, scope, now).unwrap();
    assert_eq!(at(SeriesScope::One(ids[1]), now()), [ids[1]]);
    assert_eq!(at(SeriesScope::Following(ids[1]), now()), ids[1..]);
    for name in [SeriesName::Id(id_of_series(7)), SeriesName::Of(ids[2])] {
        let all = SeriesScope::All(name);
        assert_eq!(at(all, now()), ids);
        let second = now().plus(HOUR + DAY);
        assert_eq!(at(all, second.plus(-1)), ids[1..]);
        assert_eq!(at(all, second), ids[2..], "the second one begins");
    }
}

#[test]
fn occurrences_that_took_place_are_left_out_unless_they_are_named() {
    let (mut state, ids) = two_series();
    let after_second = now().plus(HOUR + DAY);
    let complete = Command::Complete {
        appointment: ids[1],
        undo: false,
        etag: None,
    };
    submit(&mut state, &complete, after_second).unwrap();
    let at = |scope| cancelled(&state, scope, after_second);
    let following = at(SeriesScope::Following(ids[0])).unwrap();
    assert_eq!(following, [ids[0], ids[2], ids[3]]);
    assert!(matches!(
        at(SeriesScope::Following(ids[1])),
        Err(Refusal::OfSeries { appointment, .. }) if appointment == ids[1]
    ));
    let early = cancelled(&state, SeriesScope::All(SeriesName::Of(ids[0])), now());
    assert_eq!(early.unwrap(), [ids[0], ids[2], ids[3]]);
}

#[test]
fn a_series_that_is_not_there_and_an_appointment_of_none_are_refused() {
    let (state, _) = two_series();
    let missing = id_of_series(99);
    assert_eq!(
        cancelled(&state, SeriesScope::All(SeriesName::Id(missing)), now()),
        Err(Refusal::SeriesNotFound(missing))
    );
    let single = AppointmentId(uuid::Uuid::from_u128(9));
    assert!(matches!(
        cancelled(&state, SeriesScope::Following(single), now()),
        Err(Refusal::FieldInvalid(_))
    ));
}

/// A report about so many days.
fn daily(booking: Booking, count: u16) -> Command {
    let id = |number: u128| AppointmentId(uuid::Uuid::from_u128(number << 64));
    Command::BookSeries(Box::new(SeriesBooking {
        series: id_of_series(7),
        ids: (1..=u128::from(count)).map(id).collect(),
        booking,
        rule: Recurrence {
            frequency: Frequency::Daily,
            interval: 1,
            ending: Ending::Count(count),
        },
        otherwise: Otherwise::Nothing,
        is_report: true,
    }))
}

#[test]
fn a_series_has_so_many_bytes_of_text_in_all_its_occurrences_and_no_more() {
    let state = two_calendars();
    let with_note = |bytes: usize| Booking {
        person: PersonDetails {
            carried: Carried {
                note: "n".repeat(bytes),
                location: "here".to_owned(),
                ..Carried::default()
            },
            ..PersonDetails::default()
        },
        ..visit(1, &["ada"])
    };
    let most = SERIES_TEXT_BYTES_MAX / 4 - "here".len();
    assert!(decide(&state, &daily(with_note(most), 4), now()).is_ok());
    match decide(&state, &daily(with_note(most + 1), 4), now()) {
        Err(Refusal::FieldInvalid(found)) => assert_eq!(found[0].field, "note"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_series_has_so_many_claims_and_no_more() {
    let mut state = two_calendars();
    let names: Vec<String> = (0..28).map(|number| format!("c{number}")).collect();
    for name in &names {
        let create = Command::CreateCalendar {
            calendar: calendar_id(name),
            profile: Profile::open(zone("UTC"), Availability::default()),
        };
        submit(&mut state, &create, now()).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let on = |count: usize| Booking {
        type_id: None,
        ..visit(1, &names[..count])
    };
    let days = 366;
    let most = SERIES_CLAIMS_MAX / usize::from(days);
    assert!(decide(&state, &daily(on(most), days), now()).is_ok());
    match decide(&state, &daily(on(most + 1), days), now()) {
        Err(Refusal::FieldInvalid(found)) => assert_eq!(found[0].field, "calendar_ids"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nearest_slots_are_looked_for_of_so_many_refused_occurrences_and_no_more() {
    let mut state = two_calendars();
    let pause = Command::UpdateCalendar {
        calendar: calendar_id("ada"),
        patch: ProfilePatch {
            paused: Some(true),
            ..ProfilePatch::default()
        },
        etag: None,
    };
    submit(&mut state, &pause, now()).unwrap();
    let both = daily(visit(1, &["ada", "bob"]), 60);
    let report = decide(&state, &both, now())
        .unwrap()
        .outcome
        .series
        .unwrap();
    assert!(report.is_rule_broken());
    let days = report.refused().map(|(_, refusal)| refusal.nearest_days);
    let days: Vec<i64> = days.collect();
    assert_eq!(days.len(), 60);
    assert!(days[..50].iter().all(|days| *days == 60), "{days:?}");
    assert!(days[50..].iter().all(|days| *days == 0), "{days:?}");
}
