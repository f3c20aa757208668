//! The claims that a calendar has in memory: those of the past that it keeps, lets go, and gets back
//! from a store, and those that a change puts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::{
    Appointment, AppointmentState, Assignment, Image, Invitee, PersonPatch,
};
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::calendar::availability::Availability;
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::calendar::{Calendar, LoadedClaims, keep_from};
use bookd_core::change::{AppointmentEvent, Cause, Change, Event};
use bookd_core::command::Command;
use bookd_core::ids::{AppointmentKey, Caller};
use bookd_core::state::{State, claim_on};
use bookd_core::time::{HOUR, Instant, MINUTE};

use crate::decide::{NOW, booking, calendar_id, id, submit, two_calendars};
use crate::world::{calendar, claim_in_state, instant, zone};

/// A confirmed appointment of an hour with a quarter of an hour after it.
fn claim(key: u64, start: &str) -> Claim {
    claim_in_state(key, start, AppointmentState::Confirmed, None)
}

fn with_claims(claims: Vec<Claim>, kept_from: &str) -> Calendar {
    let hours = Availability::default();
    Calendar {
        kept_from: instant(kept_from),
        ..calendar(zone("UTC"), hours, [], Vec::new(), claims)
    }
}

#[test]
fn claims_are_kept_from_the_longest_period_that_is_counted_and_two_days_more() {
    let paris = zone("Europe/Paris");
    let kept = |limits: &[Limits]| keep_from(&paris, limits, instant("2027-06-17T10:00:00Z"));
    let none = Limits::default();
    let week = Limits {
        per_week: Some(1),
        ..none
    };
    let month = Limits {
        per_month: Some(1),
        ..none
    };
    let year = Limits {
        per_year: Some(1),
        ..none
    };
    assert_eq!(kept(&[]), instant("2027-06-14T22:00:00Z"));
    assert_eq!(kept(&[none]), instant("2027-06-14T22:00:00Z"));
    assert_eq!(kept(&[week]), instant("2027-06-11T22:00:00Z"), "a Monday");
    assert_eq!(kept(&[month, week]), instant("2027-05-29T22:00:00Z"));
    assert_eq!(kept(&[none, year, month]), instant("2026-12-29T23:00:00Z"));
}

#[test]
fn where_the_clock_skips_midnight_claims_are_kept_from_the_earlier_reading_of_it() {
    let sao_paulo = zone("America/Sao_Paulo");
    let now = instant("2018-11-04T15:00:00Z");
    assert_eq!(
        keep_from(&sao_paulo, [], now),
        instant("2018-11-02T02:00:00Z")
    );
}

#[test]
fn past_claims_are_let_go_once_there_is_a_day_of_them() {
    let claims = vec![
        claim(1, "2027-06-01T09:00:00Z"),
        // Its buffer ends at the instant from which on claims are kept.
        claim(2, "2027-06-01T22:45:00Z"),
        claim(3, "2027-06-02T09:00:00Z"),
    ];
    let mut ada = Arc::new(with_claims(claims.clone(), "2027-06-01T00:00:00Z"));
    Calendar::let_go(&mut ada, instant("2027-06-03T23:59:59Z"));
    assert_eq!(ada.kept_from, instant("2027-06-01T00:00:00Z"));
    assert_eq!(ada.claims, Claims::from_unordered(claims.clone()));

    Calendar::let_go(&mut ada, instant("2027-06-04T00:00:00Z"));
    assert_eq!(ada.kept_from, instant("2027-06-02T00:00:00Z"));
    assert_eq!(ada.claims, Claims::from_unordered(vec![claims[2]]));

    Calendar::let_go(&mut ada, instant("2027-06-20T00:00:00Z"));
    assert_eq!(ada.kept_from, instant("2027-06-18T00:00:00Z"));
    assert!(ada.claims.is_empty());
}

#[test]
fn claims_and_requests_of_the_past_join_those_in_memory() {
    let (past, present) = (
        claim(1, "2027-06-01T09:00:00Z"),
        claim(2, "2027-06-02T09:00:00Z"),
    );
    let request = claim_in_state(3, "2027-06-01T12:00:00Z", AppointmentState::Pending, None);
    let mut ada = with_claims(vec![present], "2027-06-02T00:00:00Z");
    let loaded = |claims: Vec<Claim>, requests: &[Claim]| LoadedClaims {
        claims,
        requests: requests.iter().map(|it| (it.key(), *it)).collect(),
    };
    ada.reach_back(instant("2027-06-01T10:00:00Z"), loaded(Vec::new(), &[]));
    assert_eq!(ada.kept_from, instant("2027-06-01T10:00:00Z"));
    ada.reach_back(
        instant("2027-06-01T00:00:00Z"),
        loaded(vec![past], &[request]),
    );
    assert_eq!(ada.kept_from, instant("2027-06-01T00:00:00Z"));
    assert_eq!(ada.claims, Claims::from_unordered(vec![present, past]));
    assert_eq!(*ada.requests, BTreeMap::from([(request.key(), request)]));
}

#[test]
fn claims_put_before_others_are_in_order_wherever_they_lie() {
    let [one, two, three, four] = [
        "2027-06-01T09:00:00Z",
        "2027-06-02T09:00:00Z",
        "2027-06-03T09:00:00Z",
        "2027-06-04T09:00:00Z",
    ]
    .map(|start| claim(1, start));
    let expect_all = |claims: &Claims, all: &[Claim]| {
        assert_eq!(claims.iter().copied().collect::<Vec<_>>(), all);
        assert_eq!(claims.len(), all.len());
    };
    let mut claims = Claims::default();
    claims.put_before(vec![three]);
    expect_all(&claims, &[three]);
    claims.put_before(vec![one]);
    expect_all(&claims, &[one, three]);
    claims.put_before(vec![four, two]);
    expect_all(&claims, &[one, two, three, four]);
    claims.put_before(Vec::new());
    expect_all(&claims, &[one, two, three, four]);
}

#[test]
fn an_appointment_is_upcoming_until_it_ends_and_a_hold_until_it_expires() {
    let now = instant("2027-06-01T10:00:00Z");
    let hold = |key, start, expires| {
        claim_in_state(key, start, AppointmentState::Held, Some(instant(expires)))
    };
    let mut ada = with_claims(
        vec![
            // It is over at `now`; its buffer is not.
            claim(1, "2027-06-01T09:00:00Z"),
            hold(2, "2027-06-01T10:15:00Z", "2027-06-01T10:00:00Z"),
            hold(3, "2027-06-01T11:30:00Z", "2027-06-01T10:00:01Z"),
            claim(4, "2027-06-01T13:00:00Z"),
        ],
        "2027-06-01T00:00:00Z",
    );
    let request = |key, start: &str| {
        let expires = Some(instant(start));
        let request = claim_in_state(key, start, AppointmentState::Pending, expires);
        (AppointmentKey(key), request)
    };
    ada.requests = Arc::new(BTreeMap::from([
        request(5, "2027-06-01T09:30:00Z"),
        request(6, "2027-06-01T13:00:00Z"),
    ]));
    let upcoming = |now: Instant| ada.upcoming(now).map(|key| key.0).collect::<Vec<_>>();
    assert_eq!(upcoming(now), [3, 4, 6]);
    assert_eq!(upcoming(now.plus(-MINUTE)), [1, 2, 3, 4, 6]);
}

/// Two appointments with one time and a session of their own each, as files from before schema 4
/// may have them, and a third one that ends before them.
fn two_at_one_time() -> State {
    let mut state = two_calendars();
    let start = instant(NOW).plus(4 * HOUR);
    for (number, start) in [(1, start), (3, start.plus(-3 * HOUR))] {
        let visit = booking(number, &["ada"], Assignment::All, "visit", start);
        submit(&mut state, &Command::Book(visit), instant(NOW)).unwrap();
    }
    let first = &state.appointments[&id(1)];
    let second = Appointment {
        id: id(2),
        key: state.next_key,
        image: Image {
            session: state.next_key,
            ..first.image.clone()
        },
        ..Appointment::clone(first)
    };
    let ada = state.calendars.get_mut(&calendar_id("ada")).unwrap();
    let ada = Arc::make_mut(ada);
    let claim = claim_on(ada, &second).unwrap();
    ada.claims.insert(claim);
    state.next_key = state.next_key.next();
    state.appointments.insert(second.id, Arc::new(second));
    state
}

#[test]
fn appointments_that_had_one_time_before_stay_where_they_are() {
    let mut state = two_at_one_time();
    let rename = Command::UpdateAppointment {
        appointment: id(2),
        patch: PersonPatch {
            invitee: Some(Invitee::default()),
            ..PersonPatch::default()
        },
        etag: None,
    };
    let claims = state.calendars[&calendar_id("ada")].claims.clone();
    submit(&mut state, &rename, instant(NOW)).unwrap();
    assert_eq!(state.calendars[&calendar_id("ada")].claims, claims);
}

#[test]
#[should_panic(expected = "two appointments of calendar ada at one time")]
fn no_change_moves_an_appointment_into_the_time_of_another() {
    let mut state = two_at_one_time();
    let (before, there) = (
        state.appointments[&id(3)].clone(),
        &state.appointments[&id(1)],
    );
    let after = before.with_image(Image {
        places: there.places.clone(),
        start: there.start,
        ..before.image.clone()
    });
    state.apply(&Change {
        revision: state.revision.next(),
        time: instant(NOW),
        cause: Cause::RescheduleAppointment,
        caller: Caller::default(),
        events: vec![Event::Appointment {
            kind: AppointmentEvent::Moved,
            before: Some(before),
            after: Arc::new(after),
        }],
    });
}
