//! Decisions about calendars and about appointments as they are: deletion, etags, holds that are
//! booked, personal fields, and the reset of a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::{
    Appointment, AppointmentState, Assignment, Carried, Email, EmailKey, Invitee, Person,
    PersonDetails, PersonPatch,
};
use bookd_core::change::{AppointmentEvent, Event};
use bookd_core::command::{Beforehand, Booking, Command, ProfilePatch, Redacted, Start};
use bookd_core::decide::{HOLD_SECONDS_MAX, decide, reset_clock};
use bookd_core::deletion::{Staged, is_staged};
use bookd_core::ids::Etag;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::{DAY, HOUR, Instant, MINUTE, Seconds};

use crate::decide::{booking, calendar_id, id, now, submit, two_calendars, visit};
use crate::world::{minutes, zone};

fn booked(state: &mut State, booking: Booking) -> Arc<Appointment> {
    submit(state, &Command::Book(booking), now())
        .unwrap()
        .remove(0)
}

fn held(state: &mut State, booking: Booking, ttl: i64) -> Arc<Appointment> {
    let ttl = Seconds::new(ttl).unwrap();
    submit(state, &Command::Hold { booking, ttl }, now())
        .unwrap()
        .remove(0)
}

fn deletion(force: bool, beforehand: Option<Beforehand>) -> Command {
    Command::DeleteCalendar {
        calendar: calendar_id("ada"),
        force,
        etag: None,
        beforehand: beforehand.map(Box::new),
    }
}

/// The numbers of the appointments that the events cancel.
fn cancelled(events: &[Event]) -> Vec<u128> {
    let of = |event: &Event| match event {
        Event::Appointment {
            kind: AppointmentEvent::Cancelled,
            after,
            ..
        } => Some(after.id.0.as_u128()),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn a_calendar_with_upcoming_appointments_is_deleted_only_by_force_which_cancels_them() {
    let mut state = two_calendars();
    assert!(decide(&state, &deletion(false, None), now()).is_ok());
    booked(&mut state, visit(1, now().plus(HOUR)));
    held(&mut state, visit(2, now().plus(3 * HOUR)), MINUTE);
    assert_eq!(
        decide(&state, &deletion(false, None), now()),
        Err(Refusal::CalendarNotEmpty { upcoming: 2 })
    );
    let later = now().plus(MINUTE);
    assert_eq!(
        decide(&state, &deletion(false, None), later),
        Err(Refusal::CalendarNotEmpty { upcoming: 1 }),
        "the hold has expired"
    );
    let forced = decide(&state, &deletion(true, None), now()).unwrap();
    assert_eq!(cancelled(&forced.events), [1, 2]);
    assert!(matches!(forced.events[2], Event::CalendarDeleted { .. }));
}

#[test]
fn what_did_not_take_place_in_the_end_keeps_its_state_when_its_calendar_is_deleted() {
    let mut state = two_calendars();
    booked(&mut state, visit(1, now().plus(HOUR)));
    let during = now().plus(HOUR + MINUTE);
    let no_show = Command::MarkNoShow {
        appointment: id(1),
        undo: false,
        etag: None,
    };
    submit(&mut state, &no_show, during).unwrap();
    let forced = decide(&state, &deletion(true, None), during).unwrap();
    assert_eq!(cancelled(&forced.events), []);
}

#[test]
fn of_the_appointments_found_before_a_deletion_those_over_and_those_expired_are_not_cancelled() {
    let mut state = two_calendars();
    booked(&mut state, visit(1, now().plus(HOUR)));
    held(&mut state, visit(2, now().plus(3 * HOUR)), 30 * MINUTE);
    booked(&mut state, visit(3, now().plus(5 * HOUR)));
    let staged = Staged {
        number: 1,
        events: 1,
        began: now(),
    };
    let command = deletion(
        true,
        Some(Beforehand {
            staged,
            others: vec![id(1), id(2), id(3)],
        }),
    );
    assert_eq!(command.weight(), 4);
    let at = |now: Instant| cancelled(&decide(&state, &command, now).unwrap().events);
    assert_eq!(at(now()), [1, 2, 3]);
    let end_of_first = now().plus(2 * HOUR);
    assert_eq!(at(end_of_first.plus(-1)), [1, 3]);
    assert_eq!(at(end_of_first), [3]);
    let mut change = decide(&state, &command, now())
        .unwrap()
        .change(&state, now(), Default::default())
        .unwrap();
    assert_eq!(change.staged(), Some((&calendar_id("ada"), staged)));
    change.events.pop();
    assert_eq!(change.staged(), None);
}

#[test]
fn a_deletion_stages_confirmed_appointments_of_its_calendar_alone_that_are_not_over() {
    let mut state = two_calendars();
    let confirmed = booked(&mut state, visit(1, now().plus(HOUR)));
    let end = confirmed.end();
    assert!(is_staged(&confirmed, end.plus(-1)));
    assert!(!is_staged(&confirmed, end));
    let hold = held(&mut state, visit(2, now().plus(3 * HOUR)), MINUTE);
    assert!(!is_staged(&hold, now()));
    let shared = booking(
        3,
        &["ada", "bob"],
        Assignment::All,
        "visit",
        now().plus(5 * HOUR),
    );
    assert!(!is_staged(&booked(&mut state, shared), now()));
}

#[test]
fn another_etag_than_that_of_the_resource_is_refused() {
    let mut state = two_calendars();
    let of_calendar = state.calendars[&calendar_id("ada")].etag();
    let of_appointment = booked(&mut state, visit(1, now().plus(HOUR))).etag();
    let update = |etag| Command::UpdateCalendar {
        calendar: calendar_id("ada"),
        patch: ProfilePatch::default(),
        etag,
    };
    let cancel = |etag| Command::Cancel {
        appointment: id(1),
        reason: String::new(),
        etag,
    };
    let etag_of = |command: &Command| decide(&state, command, now()).map(|_| ());
    for etag in [None, Some(of_calendar)] {
        assert_eq!(etag_of(&update(etag)), Ok(()));
    }
    for etag in [None, Some(of_appointment)] {
        assert_eq!(etag_of(&cancel(etag)), Ok(()));
    }
    let mismatch = |resource: String| Err(Refusal::EtagMismatch { resource });
    assert_eq!(
        etag_of(&update(Some(of_appointment))),
        mismatch("calendar ada".to_owned())
    );
    assert_eq!(
        etag_of(&cancel(Some(of_calendar))),
        mismatch(format!("appointment {}", id(1)))
    );
}

#[test]
fn availability_creates_a_calendar_unless_an_etag_says_that_there_is_one() {
    let state = two_calendars();
    let set = |calendar: &str, etag| Command::SetAvailability {
        calendar: calendar_id(calendar),
        zone: None,
        utc: zone("UTC"),
        rules: Vec::new(),
        etag,
    };
    let etag = state.calendars[&calendar_id("ada")].etag();
    let created = decide(&state, &set("cem", None), now()).unwrap();
    assert!(matches!(
        created.events[..],
        [Event::CalendarCreated { .. }]
    ));
    assert!(matches!(
        decide(&state, &set("cem", Some(etag)), now()),
        Err(Refusal::EtagMismatch { .. })
    ));
    assert!(decide(&state, &set("ada", Some(etag)), now()).is_ok());
}

#[test]
fn a_hold_is_booked_by_its_own_fields_and_each_other_value_is_named() {
    let mut state = two_calendars();
    let start = now().plus(HOUR);
    held(&mut state, visit(1, start), MINUTE);
    let plain = Booking {
        hold: Some(id(1)),
        ..visit(9, start)
    };
    let bare = Booking {
        calendars: Vec::new(),
        type_id: None,
        start: None,
        ..plain.clone()
    };
    let differing = |booking: Booking| match decide(&state, &Command::Book(booking), now()) {
        Ok(decision) => {
            let after = &decision.outcome.appointments[0];
            assert_eq!(after.state, AppointmentState::Confirmed);
            assert_eq!(decision.outcome.remembered(), [id(1)]);
            Vec::new()
        }
        Err(Refusal::FieldInvalid(found)) => found.into_iter().map(|it| it.field).collect(),
        Err(refusal) => panic!("{refusal:?}"),
    };
    assert_eq!(differing(plain.clone()), [""; 0]);
    assert_eq!(differing(bare.clone()), [""; 0]);
    let calendars = |names: &[&str], assignment| Booking {
        calendars: names.iter().map(|name| calendar_id(name)).collect(),
        assignment,
        ..bare.clone()
    };
    let (all, any) = (Assignment::All, Assignment::Any);
    assert_eq!(differing(calendars(&["ada", "bob"], any)), [""; 0]);
    assert_eq!(differing(calendars(&["bob"], any)), ["calendar_id"]);
    assert_eq!(differing(calendars(&["ada", "bob"], all)), ["calendar_id"]);
    let other = booking(9, &["ada"], all, "class", start.plus(HOUR));
    let other = Booking {
        hold: Some(id(1)),
        duration: Some(minutes(30)),
        ..other
    };
    assert_eq!(
        differing(other),
        ["appointment_type_id", "start_time", "duration"]
    );
    let same_length = Booking {
        duration: Some(minutes(60)),
        start: Some(Start::At(start)),
        ..bare
    };
    assert_eq!(differing(same_length), [""; 0]);
}

/// A person with this address and every text.
fn person(address: &str) -> PersonDetails {
    PersonDetails {
        invitee: Some(Invitee {
            name: "Grace".to_owned(),
            email: Email {
                written: address.to_uppercase(),
                key: EmailKey::from_folded(address),
            },
            ..Invitee::default()
        }),
        carried: Carried {
            note: "on foot".to_owned(),
            metadata: BTreeMap::from([("crm".to_owned(), "17".to_owned())]),
            location: "Room 3".to_owned(),
        },
    }
}

#[test]
fn the_data_of_an_address_are_removed_from_its_appointments_alone_and_once() {
    let mut state = two_calendars();
    for (number, address) in [(2, "grace@example.org"), (1, "grace@example.org"), (3, "")] {
        let start = now().plus(number as i64 * 2 * HOUR);
        let booking = Booking {
            person: person(address),
            ..visit(number, start)
        };
        booked(&mut state, booking);
    }
    let of = |address| Command::Redact(Redacted::Email(EmailKey::from_folded(address)));
    let redacted = submit(&mut state, &of("grace@example.org"), now()).unwrap();
    assert_eq!(
        redacted.iter().map(|it| it.id).collect::<Vec<_>>(),
        [id(1), id(2)],
        "in the order of their starts"
    );
    assert!(redacted.iter().all(|it| it.person == Person::default()));
    let one = Command::Redact(Redacted::Appointment(id(1)));
    assert_eq!(decide(&state, &one, now()).unwrap().events, []);
}

#[test]
fn an_update_to_the_same_fields_changes_nothing() {
    let mut state = two_calendars();
    let booking = Booking {
        person: person("grace@example.org"),
        ..visit(1, now().plus(HOUR))
    };
    booked(&mut state, booking);
    let update = |note: &str| Command::UpdateAppointment {
        appointment: id(1),
        patch: PersonPatch {
            carried: Carried {
                note: note.to_owned(),
                ..Carried::default()
            },
            fields: vec!["note"],
            ..PersonPatch::default()
        },
        etag: None,
    };
    assert_eq!(
        decide(&state, &update("on foot"), now()).unwrap().events,
        []
    );
    let changed = decide(&state, &update("by bus"), now()).unwrap();
    let after = &changed.outcome.appointments[0].person;
    assert_eq!(changed.events.len(), 1);
    assert_eq!(after.carried.note, "by bus");
    assert_eq!(after.carried.location, "Room 3", "what is not named stays");
}

#[test]
fn a_reset_clock_shortens_the_holds_that_outlive_the_longest_one_made_now() {
    let mut state = two_calendars();
    let hold = |state: &mut State, number, ttl| {
        held(
            state,
            visit(number, now().plus(number as i64 * 2 * HOUR)),
            ttl,
        )
    };
    let short = hold(&mut state, 1, MINUTE);
    let long = hold(&mut state, 2, HOLD_SECONDS_MAX);
    let request = booked(
        &mut state,
        booking(3, &["ada"], Assignment::All, "request", now().plus(DAY)),
    );
    assert!(request.is_waiting() && long.is_waiting());
    let confirmed = booked(&mut state, visit(4, now().plus(2 * DAY)));
    assert!(!confirmed.is_waiting());
    let waiting = [short, long, request];
    assert_eq!(reset_clock(&state, &waiting, now()).events, []);
    let right = now().plus(-1);
    let reset = reset_clock(&state, &waiting, right);
    let [Event::Appointment { kind, after, .. }] = &reset.events[..] else {
        panic!("{:?}", reset.events)
    };
    assert_eq!(*kind, AppointmentEvent::Shortened);
    assert_eq!(after.id, id(2));
    assert_eq!(after.expire_time, Some(right.plus(HOLD_SECONDS_MAX)));
}

#[test]
fn an_etag_is_read_from_the_text_that_it_is_written_as_and_from_nothing_else() {
    let state = two_calendars();
    let etag = state.calendars[&calendar_id("ada")].etag();
    let text = etag.to_string();
    assert_eq!(text.len(), 16);
    assert_eq!(Etag::parse(&text), Some(etag));
    assert_eq!(
        Etag::parse("0123456789abcdef").unwrap().to_string(),
        "0123456789abcdef"
    );
    for wrong in ["", "0", "0123456789abcde", "0123456789abcdef0"] {
        assert_eq!(Etag::parse(wrong), None, "{wrong}");
    }
    for wrong in ["0123456789ABCDEF", "+123456789abcdef", "0123456789abcdeg"] {
        assert_eq!(Etag::parse(wrong), None, "{wrong}");
    }
}
