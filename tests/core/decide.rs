//! Decisions case by case: transitions, ANY, batches, series, requests and repeated commands.
//!
//! Every case begins with two calendars of the same types; the random commands of `invariants`
//! begin with them as well.

use std::collections::HashMap;
use std::sync::Arc;

use bookd_core::appointment::recurrence::{Ending, Frequency, Recurrence};
use bookd_core::appointment::{
    Appointment, AppointmentState, Assignment, IgnoredRules, Invitee, PersonDetails, Target,
    Transition,
};
use bookd_core::calendar::Profile;
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::calendar::availability::{Availability, Rule, Weekdays, Window};
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::command::{Booking, Command, NewId, Otherwise, SeriesBooking, Start};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, CalendarId, Caller, SeriesId, TypeId, TypeNumber};
use bookd_core::refusal::Refusal;
use bookd_core::state::{State, claim_on};
use bookd_core::time::{HOUR, Instant, Seconds};

use crate::world::{instant, minutes, zone};

pub(crate) const NOW: &str = "2027-01-04T08:00:00Z";

fn appointment_type(id: &str, number: u16, duration: u16) -> AppointmentType {
    AppointmentType {
        id: TypeId::parse(id).unwrap(),
        number: TypeNumber(number),
        duration: minutes(duration),
        ..AppointmentType::default_type(Stamps::default())
    }
}

fn profile(name: &str, availability: Availability) -> Profile {
    Profile::open(zone(name), availability)
}

pub(crate) fn calendar_id(name: &str) -> CalendarId {
    CalendarId::parse(name).unwrap()
}

pub(crate) fn submit(
    state: &mut State,
    command: &Command,
    now: Instant,
) -> Result<Vec<Arc<Appointment>>, Refusal> {
    let decision = decide(state, command, now)?;
    if let Some(change) = decision.change(state, now, Caller::default()) {
        state.apply(&change);
    }
    Ok(decision.outcome.appointments)
}

/// Two calendars, open around the clock, each with three types: one seat and a buffer, three seats
/// and a limit, and requests that do not block.
pub(crate) fn two_calendars() -> State {
    let mut state = State {
        next_key: bookd_core::ids::AppointmentKey(1),
        ..State::default()
    };
    let window = Window::new(0, 24 * 60).unwrap();
    let rule = Rule {
        weekdays: Weekdays::ALL,
        window,
        first_date: None,
        last_date: None,
    };
    for name in ["ada", "bob"] {
        let calendar = calendar_id(name);
        let availability = Availability {
            rules: vec![rule.clone()],
            ..Availability::default()
        };
        let profile = profile("Europe/Paris", availability);
        submit(
            &mut state,
            &Command::CreateCalendar {
                calendar: calendar.clone(),
                profile,
            },
            instant(NOW),
        )
        .unwrap();
        let mut visit = appointment_type("visit", 0, 60);
        (visit.slot_step, visit.buffer_after) = (Some(minutes(30)), minutes(10));
        let mut class = appointment_type("class", 0, 90);
        (class.slot_step, class.capacity, class.limits.per_day) = (Some(minutes(30)), 3, Some(4));
        let mut request = appointment_type("request", 0, 30);
        (request.requires_approval, request.pending_blocks) = (true, false);
        for appointment_type in [visit, class, request] {
            let put = Command::PutAppointmentType {
                calendar: calendar.clone(),
                appointment_type,
                etag: None,
            };
            submit(&mut state, &put, instant(NOW)).unwrap();
        }
    }
    state
}

/// The time of the decisions.
pub(crate) fn now() -> Instant {
    instant(NOW)
}

/// The id of the appointment with this number.
pub(crate) fn id(number: u128) -> AppointmentId {
    AppointmentId(uuid::Uuid::from_u128(number))
}

/// A booking of the type `visit` of the calendar `ada`.
pub(crate) fn visit(number: u128, start: Instant) -> Booking {
    booking(number, &["ada"], Assignment::All, "visit", start)
}

pub(crate) fn booking(
    number: u128,
    calendars: &[&str],
    assignment: Assignment,
    type_id: &str,
    start: Instant,
) -> Booking {
    Booking {
        id: NewId::Brought(id(number)),
        calendars: calendars.iter().map(|it| calendar_id(it)).collect(),
        assignment,
        type_id: Some(TypeId::parse(type_id).unwrap()),
        start: Some(Start::At(start)),
        duration: None,
        person: PersonDetails {
            invitee: Some(Invitee {
                name: "Grace".to_owned(),
                ..Invitee::default()
            }),
            ..PersonDetails::default()
        },
        hold: None,
        ignored_rules: IgnoredRules::default(),
        occurrence: None,
    }
}

/// Checks that padded claims are disjoint, except the seats of one session, up to its capacity; and
/// that the claims in memory are those that a restart would load.
pub(crate) fn check_claims(state: &State, now: Instant) {
    for calendar in state.calendars.values() {
        let mut claims: Vec<Claim> = Vec::new();
        for appointment in state.appointments.values() {
            claims.extend(claim_on(calendar, appointment).filter(|_| appointment.blocks));
        }
        assert_eq!(
            calendar.claims,
            Claims::from_unordered(claims.clone()),
            "memory is what a restart would make"
        );
        claims.retain(|claim| claim.is_alive(now));
        let mut sessions: HashMap<(Instant, u16), u32> = HashMap::new();
        for (n, claim) in claims.iter().enumerate() {
            for other in &claims[..n] {
                let is_seat = claim.shares_session(other);
                assert!(
                    is_seat || !claim.padded().overlaps(other.padded()),
                    "{claim:?} and {other:?}"
                );
            }
            *sessions
                .entry((claim.start(), claim.type_number().0))
                .or_default() += 1;
        }
        for ((_, number), seats) in sessions {
            let of = calendar
                .types
                .iter()
                .find(|it| it.number.0 == number)
                .unwrap();
            assert!(seats <= of.capacity);
        }
    }
}

/// An occurrence every day, week or month; the first has the number as its id.
pub(crate) fn series(
    number: u128,
    booking: Booking,
    frequency: Frequency,
    count: u16,
    otherwise: Otherwise,
) -> SeriesBooking {
    let id = |n: u128| {
        AppointmentId(uuid::Uuid::from_u128(if n == 0 {
            number
        } else {
            number << 32 | n
        }))
    };
    SeriesBooking {
        series: SeriesId(uuid::Uuid::from_u128(number)),
        ids: (0..9).map(id).collect(),
        booking,
        rule: Recurrence {
            frequency,
            interval: 1,
            ending: Ending::Count(count),
        },
        otherwise,
        is_report: false,
    }
}

#[test]
fn every_state_and_transition_is_in_the_table_and_nothing_else_is() {
    use AppointmentState as S;
    let allowed = [
        (S::Held, Transition::Confirm, S::Confirmed),
        (S::Held, Transition::Release, S::Cancelled),
        (S::Held, Transition::Cancel, S::Cancelled),
        (S::Held, Transition::Expire, S::Expired),
        (S::Pending, Transition::Approve, S::Confirmed),
        (S::Pending, Transition::Decline, S::Declined),
        (S::Pending, Transition::Cancel, S::Cancelled),
        (S::Pending, Transition::Expire, S::Expired),
        (S::Confirmed, Transition::Cancel, S::Cancelled),
        (S::Confirmed, Transition::MarkNoShow, S::NoShow),
        (S::Confirmed, Transition::Complete, S::Completed),
        (S::NoShow, Transition::UndoNoShow, S::Confirmed),
        (S::Completed, Transition::UndoComplete, S::Confirmed),
    ];
    for from in S::ALL {
        for transition in Transition::ALL {
            let expected = allowed
                .iter()
                .find(|row| (row.0, row.1) == (from, transition))
                .map(|row| row.2);
            let found = match transition.target(from, false) {
                Target::Becomes(state) => Some(state),
                Target::Already | Target::Refused => None,
            };
            assert_eq!(found, expected, "{from} {transition:?}");
        }
    }
    assert_eq!(
        Transition::Confirm.target(S::Held, true),
        Target::Becomes(S::Pending)
    );
}

#[test]
fn any_takes_the_least_loaded_and_says_why() {
    let mut state = two_calendars();
    let start = instant("2027-01-05T09:00:00Z");
    submit(
        &mut state,
        &Command::Book(booking(1, &["ada"], Assignment::All, "visit", start)),
        instant(NOW),
    )
    .unwrap();
    let any = Command::Book(booking(
        2,
        &["ada", "bob"],
        Assignment::Any,
        "visit",
        start.plus(4 * HOUR),
    ));
    let decision = decide(&state, &any, instant(NOW)).unwrap();
    let chosen = decision
        .outcome
        .candidates
        .iter()
        .find(|it| it.is_chosen)
        .unwrap();
    assert_eq!((chosen.calendar.as_str(), chosen.load), ("bob", 0));
    assert_eq!(decision.outcome.candidates.len(), 2);
    let taken = Command::Book(booking(3, &["ada", "bob"], Assignment::All, "visit", start));
    assert!(
        matches!(submit(&mut state, &taken, instant(NOW)), Err(Refusal::Slot(slot)) if !slot.is_rule_broken())
    );
}

#[test]
fn a_batch_books_all_or_none_and_names_the_offending_one() {
    let mut state = two_calendars();
    let start = instant("2027-01-05T09:00:00Z");
    let one = |number, ahead: i64| {
        booking(
            number,
            &["ada"],
            Assignment::All,
            "visit",
            start.plus(ahead * HOUR),
        )
    };
    let clash = Command::BatchBook(vec![one(1, 0), one(2, 4), one(3, 4)]);
    let refusal = submit(&mut state, &clash, instant(NOW)).unwrap_err();
    assert!(
        matches!(refusal, Refusal::InBatch { index: 2, .. }),
        "{refusal:?}"
    );
    assert!(state.appointments.is_empty());
    let fine = Command::BatchBook(vec![one(1, 0), one(2, 4), one(3, 8)]);
    let before = state.revision;
    assert_eq!(submit(&mut state, &fine, instant(NOW)).unwrap().len(), 3);
    assert_eq!(state.revision, before.next(), "one change for all");
}

#[test]
fn a_series_counts_against_itself_and_leaves_the_nearest_slots_to_itself() {
    let mut state = two_calendars();
    let start = instant("2027-01-05T08:00:00Z");
    // Every day, for 26 hours.
    let mut long = appointment_type("long", 0, 26 * 60);
    long.slot_step = Some(minutes(60));
    let put = Command::PutAppointmentType {
        calendar: calendar_id("bob"),
        appointment_type: long,
        etag: None,
    };
    submit(&mut state, &put, instant(NOW)).unwrap();
    let long = booking(2, &["bob"], Assignment::All, "long", start);
    let long = series(2, long, Frequency::Daily, 4, Otherwise::Nothing);
    let refusal = submit(
        &mut state,
        &Command::BookSeries(Box::new(long.clone())),
        instant(NOW),
    )
    .unwrap_err();
    let Refusal::Series(report) = refusal else {
        panic!("{refusal:?}")
    };
    let refused: Vec<usize> = report.refused().map(|(it, _)| it.index).collect();
    assert_eq!(
        refused,
        [1, 3],
        "the second meets the first, the third follows a day later, and so on"
    );
    assert!(!report.is_rule_broken());
    // There are no 26 free hours between the first and the third occurrence, but after them.
    let (_, second) = report.refused().next().unwrap();
    assert_eq!(
        second.nearest_after.unwrap().start,
        instant("2027-01-08T10:00:00Z")
    );
    let others = SeriesBooking {
        otherwise: Otherwise::TheOthers,
        ..long
    };
    let booked = submit(
        &mut state,
        &Command::BookSeries(Box::new(others)),
        instant(NOW),
    )
    .unwrap();
    assert_eq!(
        booked.iter().map(|it| it.start).collect::<Vec<_>>(),
        [start, start.plus(48 * HOUR)]
    );
    check_claims(&state, instant(NOW));
}

#[test]
fn of_two_requests_for_one_time_one_can_be_approved() {
    let mut state = two_calendars();
    let start = instant("2027-01-05T09:00:00Z");
    for number in [1, 2] {
        let request = booking(number, &["ada"], Assignment::All, "request", start);
        let booked = submit(&mut state, &Command::Book(request), instant(NOW)).unwrap();
        assert_eq!(booked[0].state, AppointmentState::Pending);
    }
    let approve = |number| Command::Approve {
        appointment: AppointmentId(uuid::Uuid::from_u128(number)),
        etag: None,
    };
    submit(&mut state, &approve(2), instant(NOW)).unwrap();
    assert!(matches!(
        submit(&mut state, &approve(1), instant(NOW)),
        Err(Refusal::Slot(_))
    ));
}

#[test]
fn a_request_for_this_very_moment_takes_its_time_until_the_next_one() {
    let mut state = two_calendars();
    let mut blocking = appointment_type("blocking", 0, 60);
    blocking.requires_approval = true;
    let put = Command::PutAppointmentType {
        calendar: calendar_id("ada"),
        appointment_type: blocking,
        etag: None,
    };
    submit(&mut state, &put, instant(NOW)).unwrap();
    let now = |number| booking(number, &["ada"], Assignment::All, "blocking", instant(NOW));
    let twice = Command::BatchBook(vec![now(1), now(2)]);
    let refusal = submit(&mut state, &twice, instant(NOW)).unwrap_err();
    assert!(
        matches!(refusal, Refusal::InBatch { index: 1, .. }),
        "{refusal:?}"
    );
    submit(&mut state, &Command::Book(now(1)), instant(NOW)).unwrap();
    assert!(submit(&mut state, &Command::Book(now(2)), instant(NOW)).is_err());
}

#[test]
fn turning_somebody_elses_appointment_is_refused_and_repeating_ones_own_is_not() {
    let mut state = two_calendars();
    let start = instant("2027-01-05T09:00:00Z");
    let hold = Command::Hold {
        booking: booking(1, &["ada"], Assignment::All, "visit", start),
        ttl: Seconds::new(60).unwrap(),
    };
    submit(&mut state, &hold, instant(NOW)).unwrap();
    let confirm = |name: &str| Command::Confirm {
        appointment: AppointmentId(uuid::Uuid::from_u128(1)),
        invitee: Some(Invitee {
            name: name.to_owned(),
            ..Invitee::default()
        }),
        etag: None,
    };
    let first = submit(&mut state, &confirm("Ada"), instant(NOW)).unwrap();
    assert_eq!(
        submit(&mut state, &confirm("Ada"), instant(NOW)).unwrap(),
        first
    );
    assert!(matches!(
        submit(&mut state, &confirm("Bob"), instant(NOW)),
        Err(Refusal::AppointmentState { .. })
    ));
}
