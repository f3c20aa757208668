//! The appointments that lie outside open time after a change of hours, compared with the
//! definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::AppointmentState;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays};
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::command::{Command, ProfilePatch};
use bookd_core::decide::{OUTSIDE_MAX, decide};
use bookd_core::ids::{AppointmentKey, Caller, TypeNumber};
use bookd_core::state::State;
use bookd_core::time::zone::Zone;
use bookd_core::time::{DAY, Instant, LocalDate};
use proptest::prelude::*;
use proptest::sample::select;

use crate::checker::Checker;
use crate::random::{Question, overrides, question, rules};
use crate::world::{calendar as calendar_of, instant, minutes, rule, zone, zone_names};

/// The upcoming appointments, of one type or of all, outside open time, evaluated minute by minute.
fn outside(calendar: &Calendar, now: Instant, of_type: Option<TypeNumber>) -> Vec<AppointmentKey> {
    let all = calendar.claims.iter().chain(calendar.requests.values());
    let upcoming = all.filter(|it| it.is_alive(now) && it.start() >= now);
    let mut outside: Vec<_> = upcoming
        .filter(|claim| of_type.is_none_or(|number| claim.type_number() == number))
        .filter(|claim| {
            let of_type = calendar.types.numbered(claim.type_number()).unwrap();
            !Checker::new(calendar, of_type, claim.duration(), now)
                .is_open_throughout(claim.start())
        })
        .map(|claim| (claim.start(), claim.key()))
        .collect();
    outside.sort_unstable();
    outside
        .into_iter()
        .map(|(_, key)| key)
        .take(OUTSIDE_MAX)
        .collect()
}

/// The calendar with some of its appointments as requests that take no time.
fn with_requests(calendar: Calendar, is_request: impl Fn(&Claim) -> bool) -> Calendar {
    let (requests, claims): (Vec<Claim>, Vec<Claim>) =
        calendar.claims.iter().partition(|claim| is_request(claim));
    let request = |claim: Claim| {
        let (before, after, state) = (claim.before(), claim.after(), AppointmentState::Pending);
        let request = Claim::new(
            claim.key(),
            claim.type_number(),
            claim.start(),
            claim.duration(),
            before,
            after,
            state,
            Some(claim.start()),
        );
        (claim.key(), request)
    };
    let requests = Arc::new(requests.into_iter().map(request).collect());
    Calendar {
        claims: Claims::from_unordered(claims),
        requests,
        ..calendar
    }
}

fn state_of(calendar: &Calendar) -> State {
    State {
        calendars: [(calendar.id.clone(), Arc::new(calendar.clone()))].into(),
        ..State::default()
    }
}

/// The new hours of a calendar.
#[derive(Clone, Debug)]
struct Hours {
    rules: Vec<Rule>,
    overrides: BTreeMap<LocalDate, Override>,
    zone: Arc<Zone>,
}

/// A command, the calendar as it leaves it, and the type whose appointments it names; none = those
/// of all types.
type Changed = (Command, Calendar, Option<TypeNumber>);

/// Every command that answers which appointments lie outside open time.
fn changes(question: &Question, hours: &Hours) -> Vec<Changed> {
    let calendar = &question.calendar;
    [
        changes_of_rules(calendar, hours),
        changes_of_overrides(calendar, hours),
        changes_of_profile(calendar, hours),
        changes_of_type(question, hours),
    ]
    .concat()
}

/// The calendar with another profile.
fn profiled(calendar: &Calendar, change: impl FnOnce(&mut Profile)) -> Calendar {
    let mut changed = calendar.clone();
    change(Arc::make_mut(&mut changed.profile));
    changed
}

fn changes_of_rules(calendar: &Calendar, hours: &Hours) -> Vec<Changed> {
    let (rules, zone) = (&calendar.profile.availability.rules, &hours.zone);
    let set = |zone: Option<&Arc<Zone>>, rules: &[Rule]| Command::SetAvailability {
        calendar: calendar.id.clone(),
        zone: zone.cloned(),
        utc: crate::world::zone("UTC"),
        rules: rules.to_vec(),
        etag: None,
    };
    let with_rules = profiled(calendar, |it| {
        it.availability.rules.clone_from(&hours.rules)
    });
    let with_zone = profiled(calendar, |it| it.zone = zone.clone());
    vec![
        (set(None, rules), calendar.clone(), None),
        (set(None, &hours.rules), with_rules, None),
        (set(Some(zone), rules), with_zone, None),
    ]
}

fn changes_of_overrides(calendar: &Calendar, hours: &Hours) -> Vec<Changed> {
    let put = Command::PutOverrides {
        calendar: calendar.id.clone(),
        overrides: hours.overrides.clone(),
        etag: None,
    };
    let more = profiled(calendar, |it| {
        it.availability.overrides.extend(hours.overrides.clone())
    });
    let overrides = &calendar.profile.availability.overrides;
    let delete = Command::DeleteOverrides {
        calendar: calendar.id.clone(),
        dates: overrides.keys().copied().collect(),
        etag: None,
    };
    let none = profiled(calendar, |it| it.availability.overrides.clear());
    vec![(put, more, None), (delete, none, None)]
}

fn changes_of_profile(calendar: &Calendar, hours: &Hours) -> Vec<Changed> {
    let update = |patch: ProfilePatch| Command::UpdateCalendar {
        calendar: calendar.id.clone(),
        patch,
        etag: None,
    };
    let zone = ProfilePatch {
        zone: Some(hours.zone.clone()),
        ..ProfilePatch::default()
    };
    let with_zone = profiled(calendar, |it| it.zone = hours.zone.clone());
    vec![
        (update(ProfilePatch::default()), calendar.clone(), None),
        (update(zone), with_zone, None),
    ]
}

fn changes_of_type(question: &Question, hours: &Hours) -> Vec<Changed> {
    let of_type = question.appointment_type();
    let put = |rules: &[Rule]| {
        let appointment_type = AppointmentType {
            rules: rules.to_vec(),
            ..of_type.clone()
        };
        let mut changed = question.calendar.clone();
        Arc::make_mut(&mut changed.types).put(Arc::new(appointment_type.clone()));
        let command = Command::PutAppointmentType {
            calendar: changed.id.clone(),
            appointment_type,
            etag: None,
        };
        (command, changed, Some(of_type.number))
    };
    vec![put(&of_type.rules), put(&hours.rules), put(&[])]
}

/// The appointments outside open time after a command.
fn left_outside(state: &State, command: &Command, now: Instant) -> Vec<AppointmentKey> {
    let decision = decide(state, command, now).unwrap();
    let mut after = state.clone();
    decision
        .change(state, now, Caller::default())
        .iter()
        .for_each(|change| after.apply(change));
    let calendar = &after.calendars[decision.outcome.calendar.as_ref().unwrap()];
    bookd_core::decide::Hours::of(command)
        .unwrap()
        .outside(calendar, now)
}

/// A calendar, and other hours about the same days.
fn question_and_hours() -> impl Strategy<Value = (Question, Hours)> {
    let question = (question(), 0u64..4).prop_map(|(question, requests)| {
        let calendar = with_requests(question.calendar, |claim| {
            requests > 0 && claim.key().0 % 4 == requests
        });
        Question {
            calendar,
            ..question
        }
    });
    question.prop_flat_map(|question| {
        let around = question.range.start;
        let hours = (rules(around), overrides(around), select(zone_names()));
        let hours = hours.prop_map(|(rules, overrides, name)| Hours {
            rules,
            overrides,
            zone: zone(&name),
        });
        (Just(question), hours)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_change_of_hours_names_the_appointments_that_the_definition_calls_closed(
        (question, hours) in question_and_hours(),
    ) {
        let state = state_of(&question.calendar);
        for (command, changed, of_type) in changes(&question, &hours) {
            let expected = outside(&changed, question.now, of_type);
            prop_assert_eq!(left_outside(&state, &command, question.now), expected, "{:?}", command);
        }
    }
}

#[test]
fn the_earliest_hundred_are_named_of_more() {
    let now = instant("2027-01-04T00:00:00Z");
    let availability = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "17:00")],
        overrides: BTreeMap::new(),
    };
    let types = [AppointmentType::default_type(Default::default())];
    let claim = |day: u64| {
        let start = now.plus(i64::try_from(day).unwrap() * DAY);
        // Later appointments have smaller keys, so that the order is not that of the keys.
        let key = AppointmentKey(1_000 - day);
        let (length, none) = (minutes(60), minutes(0));
        Claim::new(
            key,
            types[0].number,
            start,
            length,
            none,
            none,
            AppointmentState::Confirmed,
            None,
        )
    };
    let claims = (1..=150).map(claim).collect();
    let calendar = calendar_of(zone("UTC"), availability, types.clone(), Vec::new(), claims);
    let (id, patch) = (calendar.id.clone(), ProfilePatch::default());
    let update = Command::UpdateCalendar {
        calendar: id.clone(),
        patch,
        etag: None,
    };
    let put = Command::PutAppointmentType {
        calendar: id,
        appointment_type: types[0].clone(),
        etag: None,
    };
    for command in [update, put] {
        let expected: Vec<_> = (1..=100).map(|day| AppointmentKey(1_000 - day)).collect();
        assert_eq!(
            left_outside(&state_of(&calendar), &command, now),
            expected,
            "{command:?}"
        );
    }
}
