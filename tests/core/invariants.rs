//! Random commands against the core: no two active appointments conflict, what is listed is what is
//! booked, memory is what a restart would make of the appointments, and a refusal or a dry run
//! changes nothing.
//!
//! A step is a few numbers, and what they mean depends on the appointments that are there by then,
//! so that steps shrink well.

use bookd_core::appointment::recurrence::Frequency;
use bookd_core::appointment::series::SeriesReport;
use bookd_core::appointment::{Assignment, IgnoredRules, Invitee};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::command::{
    Booking, Command, Move, Otherwise, SeriesBooking, SeriesName, SeriesScope, Start,
};
use bookd_core::decide::{decide, expire};
use bookd_core::ids::{AppointmentId, Caller};
use bookd_core::refusal::Refusal;
use bookd_core::slots::first;
use bookd_core::slots::search::Search;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{HOUR, Instant, Seconds};
use proptest::prelude::*;

use crate::decide::{NOW, booking, calendar_id, check_claims, series, submit, two_calendars};
use crate::world::instant;

fn search<'a>(
    calendar: &'a Calendar,
    of: &'a AppointmentType,
    range: Interval,
    now: Instant,
) -> Search<'a> {
    Search {
        calendar,
        appointment_type: of,
        duration: of.duration,
        range,
        now,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    }
}

#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    pick: u128,
    half_hour: i64,
    which: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..17_u8, 0..40_u128, 0..96_i64, 0..9_usize).prop_map(|(kind, pick, half_hour, which)| {
            Step {
                kind,
                pick,
                half_hour,
                which,
            }
        });
    prop::collection::vec(step, 1..120)
}

fn command(step: &Step, number: u128, base: Instant) -> Command {
    let start = base.plus(step.half_hour * HOUR / 2);
    let calendars: [&[&str]; 3] = [&["ada"], &["bob"], &["ada", "bob"]];
    let calendars = calendars[step.which % 3];
    let type_id = ["visit", "class", "request"][step.which / 3];
    let assignment = if step.pick.is_multiple_of(2) {
        Assignment::All
    } else {
        Assignment::Any
    };
    let appointment = AppointmentId(uuid::Uuid::from_u128(step.pick + 1));
    let booking = || booking(number, calendars, assignment, type_id, start);
    match step.kind {
        0..=3 => Command::Book(booking()),
        4 | 5 => Command::Hold {
            booking: booking(),
            ttl: Seconds::new(600).unwrap(),
        },
        6..=11 => transition(step.kind, appointment),
        14 | 15 => Command::BookSeries(Box::new(a_series(step, number, booking()))),
        16 => Command::CancelSeries {
            scope: match step.which % 3 {
                0 => SeriesScope::One(appointment),
                1 => SeriesScope::Following(appointment),
                _ => SeriesScope::All(SeriesName::Of(appointment)),
            },
            reason: String::new(),
        },
        _ => Command::Reschedule(Move {
            appointment,
            start: Some(Start::At(start)),
            duration: None,
            calendars: if step.kind == 12 {
                Vec::new()
            } else {
                calendars.iter().map(|it| calendar_id(it)).collect()
            },
            assignment,
            ignored_rules: IgnoredRules::default(),
            etag: None,
        }),
    }
}

fn transition(kind: u8, appointment: AppointmentId) -> Command {
    let (etag, reason) = (None, String::new());
    match kind {
        6 => Command::Confirm {
            appointment,
            invitee: Some(Invitee {
                name: "G".to_owned(),
                ..Invitee::default()
            }),
            etag,
        },
        7 => Command::ReleaseHold { appointment, etag },
        8 => Command::Approve { appointment, etag },
        9 => Command::Cancel {
            appointment,
            reason,
            etag,
        },
        10 => Command::ExtendHold {
            appointment,
            ttl: Seconds::new(900).unwrap(),
            etag,
        },
        _ => Command::Decline {
            appointment,
            reason,
            etag,
        },
    }
}

/// Every day, week or month, one to nine times, by the numbers of the step.
fn a_series(step: &Step, number: u128, booking: Booking) -> SeriesBooking {
    let frequency = [Frequency::Daily, Frequency::Weekly, Frequency::Monthly][step.which % 3];
    let count = u16::try_from(1 + step.pick % 9).unwrap();
    let otherwise = if step.half_hour % 2 == 0 {
        Otherwise::Nothing
    } else {
        Otherwise::TheOthers
    };
    series(number, booking, frequency, count, otherwise)
}

/// Checks that booking a series does what its report says: it is refused with the same report, or
/// books its appointments.
fn check_series(state: &State, wanted: &SeriesBooking, now: Instant) {
    let reported = Command::BookSeries(Box::new(SeriesBooking {
        is_report: true,
        ..wanted.clone()
    }));
    let reported = decide(state, &reported, now).unwrap();
    let report = reported.outcome.series.unwrap();
    let made = |report: &SeriesReport| {
        report
            .occurrences
            .iter()
            .filter(|it| it.appointment.is_some())
            .count()
    };
    let is_all = report.refused().next().is_none();
    for it in &report.occurrences {
        assert!(it.appointment.is_none() || it.refusal.is_none());
    }
    match decide(state, &Command::BookSeries(Box::new(wanted.clone())), now) {
        Ok(decision) => {
            assert_eq!(decision.outcome.series.as_ref(), Some(&report));
            assert_eq!(decision.events.len(), made(&report));
            assert!(is_all || wanted.otherwise == Otherwise::TheOthers);
        }
        Err(Refusal::Series(refused)) => {
            assert_eq!(*refused, report);
            assert_eq!(made(&report), 0);
            assert!(reported.events.is_empty() && !is_all);
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether the slot list shows the slot of a booking of one calendar; none for other commands.
fn listed(state: &State, command: &Command, now: Instant) -> Option<bool> {
    let Command::Book(Booking {
        calendars,
        type_id: Some(type_id),
        start: Some(Start::At(start)),
        ..
    }) = command
    else {
        return None;
    };
    let [calendar] = calendars.as_slice() else {
        return None;
    };
    let calendar = &state.calendars[calendar];
    let of = calendar.types.find(type_id).unwrap();
    let range = Interval::new(*start, start.plus(60));
    Some(!first(&search(calendar, of, range, now), 1).is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_no_two_conflict_and_what_is_listed_is_booked(steps in steps()) {
        let mut state = two_calendars();
        let mut now = instant(NOW);
        for (step, number) in steps.iter().zip(1_u128..) {
            now = now.plus(i64::try_from(step.pick).unwrap() * 7);
            let due: Vec<AppointmentId> = state.appointments.keys().copied().collect();
            for id in due {
                if let Some(change) = expire(&state, id, now).and_then(|it| it.change(&state, now, Caller::default())) {
                    state.apply(&change);
                    prop_assert!(expire(&state, id, now).is_none(), "an expiry is recorded once");
                }
            }
            let command = command(step, number, instant(NOW));
            if let Command::BookSeries(wanted) = &command {
                check_series(&state, wanted, now);
            }
            let before = state.revision;
            let offered = listed(&state, &command, now);
            let answer = submit(&mut state, &command, now);
            match &answer {
                Err(_) => prop_assert_eq!(state.revision, before, "a refusal spends no revision"),
                Ok(_) => prop_assert!(state.revision <= before.next()),
            }
            if let Some(offered) = offered {
                prop_assert_eq!(answer.is_ok(), offered, "{:?}: {:?}", command, answer);
            }
            check_claims(&state, now);
        }
    }
}
