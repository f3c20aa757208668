//! Appointment types that are deleted: their numbers, and the moves of their appointments.

use bookd_core::appointment::Assignment;
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::command::{Command, Move, Start};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::{DAY, HOUR};

use crate::decide::{booking, calendar_id, now, submit, two_calendars};

fn put(calendar: &str, name: &str) -> Command {
    Command::PutAppointmentType {
        calendar: calendar_id(calendar),
        appointment_type: AppointmentType {
            id: TypeId::parse(name).unwrap(),
            ..AppointmentType::default_type(Stamps::default())
        },
        etag: None,
    }
}

fn delete(calendar: &str, name: &str) -> Command {
    Command::DeleteAppointmentType {
        calendar: calendar_id(calendar),
        type_id: TypeId::parse(name).unwrap(),
        etag: None,
    }
}

fn run(state: &mut State, commands: &[Command]) {
    for command in commands {
        submit(state, command, now()).unwrap();
    }
}

#[test]
fn the_number_of_a_deleted_type_is_its_own_for_ever() {
    let mut state = two_calendars();
    let number = |state: &State, name: &str| {
        let types = &state.calendars[&calendar_id("ada")].types;
        types.number_of(&TypeId::parse(name).unwrap()).unwrap().0
    };
    let (visit, class) = (number(&state, "visit"), number(&state, "class"));
    run(
        &mut state,
        &[delete("ada", "visit"), delete("ada", "class")],
    );
    run(&mut state, &[put("ada", "new"), put("ada", "visit")]);
    assert_eq!(
        (number(&state, "visit"), number(&state, "class")),
        (visit, class)
    );
    assert_eq!(number(&state, "new"), 4, "after the four that there were");
}

/// The refusal of a move by an hour, to this calendar or, without one, where it is.
fn refused(state: &State, to: Option<&str>) -> Option<Refusal> {
    let to = Move {
        appointment: AppointmentId(uuid::Uuid::from_u128(1)),
        start: Some(Start::At(now().plus(3 * HOUR))),
        duration: None,
        calendars: to.into_iter().map(calendar_id).collect(),
        assignment: Assignment::All,
        ignored_rules: Default::default(),
        etag: None,
    };
    decide(state, &Command::Reschedule(to), now()).err()
}

#[test]
fn an_appointment_of_a_deleted_type_moves_on_its_own_calendar_alone() {
    let mut state = two_calendars();
    let visit = booking(1, &["ada"], Assignment::All, "visit", now().plus(HOUR));
    run(&mut state, &[Command::Book(visit)]);
    let not_found = |calendar: &str| {
        let type_id = TypeId::parse("visit").unwrap();
        Some(Refusal::AppointmentTypeNotFound(
            calendar_id(calendar),
            type_id,
        ))
    };
    assert_eq!(refused(&state, Some("bob")), None);
    run(
        &mut state,
        &[delete("ada", "visit"), delete("bob", "visit")],
    );
    assert_eq!(refused(&state, None), None);
    assert_eq!(refused(&state, Some("ada")), None);
    assert_eq!(refused(&state, Some("bob")), not_found("bob"));

    let profile = state.calendars[&calendar_id("ada")]
        .profile
        .as_ref()
        .clone();
    let again = [
        Command::DeleteCalendar {
            calendar: calendar_id("ada"),
            force: false,
            etag: None,
            beforehand: None,
        },
        Command::CreateCalendar {
            calendar: calendar_id("ada"),
            profile,
        },
    ];
    // The appointment stays, as that of a calendar that is there no more.
    let after = now().plus(DAY);
    for command in &again {
        submit(&mut state, command, after).unwrap();
    }
    submit(&mut state, &put("ada", "other"), after).unwrap();
    assert_eq!(
        refused(&state, None),
        not_found("ada"),
        "it is another calendar"
    );
    let cancel = Command::Cancel {
        appointment: AppointmentId(uuid::Uuid::from_u128(1)),
        reason: String::new(),
        etag: None,
    };
    assert_eq!(submit(&mut state, &cancel, after).unwrap().len(), 1);
}
