//! The chunked list of claims, compared with a plain sorted one.

use bookd_core::appointment::AppointmentState;
use bookd_core::calendar::Calendar;
use bookd_core::calendar::availability::Availability;
use bookd_core::calendar::claims::{Claim, Claims, Session};
use bookd_core::calendar::limits::{Limit, Period, PeriodKind};
use bookd_core::ids::{AppointmentKey, TypeNumber};
use bookd_core::time::interval::Interval;
use bookd_core::time::{HOUR, Instant};
use proptest::prelude::*;

use crate::world::{calendar, minutes, zone};

/// A claim in the hour `place`, so that claims of different places never overlap. Seats of one
/// place have different keys.
fn claim(place: u16, key: u64, buffer: u16) -> Claim {
    let start = Instant::from_seconds(i64::from(place) * HOUR);
    // The buffer depends on the place, because all seats of a session have the same one.
    let buffer = minutes(buffer % 15);
    Claim::new(
        AppointmentKey(key),
        TypeNumber(1),
        start,
        minutes(30),
        buffer,
        buffer,
        AppointmentState::Confirmed,
        None,
    )
}

fn buffer_of(place: u16) -> u16 {
    place.wrapping_mul(7)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u64),
    Remove(proptest::sample::Index),
    RemoveMissing(u16),
    InsertAtEnd(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u16..2_000, 0u64..4).prop_map(|(place, seat)| Step::Insert(place, seat)),
        2 => any::<proptest::sample::Index>().prop_map(Step::Remove),
        1 => (0u16..2_000).prop_map(Step::RemoveMissing),
        1 => (1u16..400).prop_map(Step::InsertAtEnd),
    ]
}

fn insert(claims: &mut Claims, model: &mut Vec<Claim>, claim: Claim) {
    if !model.contains(&claim) {
        claims.insert(claim);
        model.push(claim);
        model.sort_by_key(|claim| (claim.padded().start, claim.key()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn claims_are_a_sorted_list(
        steps in proptest::collection::vec(step(), 1..120),
        probes in proptest::collection::vec((0i64..2_400 * HOUR, 0..20 * HOUR), 20),
    ) {
        let mut claims = Claims::default();
        let mut model: Vec<Claim> = Vec::new();
        let mut end = 2_000u16;
        for step in steps {
            match step {
                Step::Insert(place, seat) => {
                    let key = u64::from(place) * 10 + seat;
                    insert(&mut claims, &mut model, claim(place, key, buffer_of(place)));
                }
                Step::InsertAtEnd(count) => {
                    for place in end..end.saturating_add(count).min(40_000) {
                        insert(&mut claims, &mut model, claim(place, u64::from(place) * 10, buffer_of(place)));
                    }
                    end = end.saturating_add(count).min(40_000);
                }
                Step::Remove(index) if !model.is_empty() => {
                    let claim = model.remove(index.index(model.len()));
                    prop_assert!(claims.remove(&claim));
                }
                Step::Remove(_) => {}
                Step::RemoveMissing(place) => {
                    prop_assert!(!claims.remove(&claim(place, u64::from(place) * 10 + 9, buffer_of(place))));
                }
            }
        }
        prop_assert_eq!(claims.len(), model.len());
        prop_assert_eq!(claims.is_empty(), model.is_empty());
        prop_assert!(claims.iter().eq(&model));
        prop_assert_eq!(&claims, &Claims::from_unordered(model.iter().rev().copied().collect()));
        for (start, length) in probes {
            let probe = Interval::new(Instant::from_seconds(start), Instant::from_seconds(start + length));
            prop_assert!(claims.ending_after(probe.start).eq(model.iter().filter(|claim| claim.padded().end > probe.start)));
            let meets = |claim: &&Claim| claim.padded().start < probe.end && probe.start < claim.padded().end;
            prop_assert!(claims.overlapping(probe).eq(model.iter().filter(meets)));
        }
    }

    #[test]
    fn a_copy_does_not_see_what_changes_after_it(places in proptest::collection::btree_set(0u16..5_000, 2..600)) {
        let all: Vec<Claim> = places.iter().map(|place| claim(*place, u64::from(*place), 0)).collect();
        let mut claims = Claims::from_unordered(all.clone());
        let copy = claims.clone();
        claims.insert(claim(9_999, 99_999, 0));
        prop_assert!(claims.remove(&all[all.len() / 2]));
        prop_assert!(copy.iter().eq(&all));
        prop_assert_eq!(copy.len(), all.len());
    }
}

/// Two sessions at one time on one calendar, as in files from before schema 4: their seats
/// alternate.
#[test]
fn a_limit_counts_two_sessions_at_one_time_as_two_however_their_seats_lie() {
    let seat = |key: u64, of: u64| {
        claim(10, key, 0).in_session(Session {
            key: AppointmentKey(of),
            places: 2,
        })
    };
    let claims = vec![seat(1, 1), seat(2, 2), seat(3, 1), seat(4, 2)];
    let calendar: Calendar = calendar(zone("UTC"), Availability::default(), [], Vec::new(), claims);
    let limit = Limit {
        of_type: None,
        kind: PeriodKind::Day,
        sessions_max: 3,
    };
    let now = Instant::from_seconds(0);
    let day = Period::around(PeriodKind::Day, calendar.zone().wall(now).date());
    assert_eq!(limit.sessions(&calendar, day, now, None), 2);
    assert_eq!(
        limit.sessions(&calendar, day, now, Some(AppointmentKey(1))),
        2,
        "a seat of it is left"
    );
}

#[test]
fn lists_of_other_claims_or_of_fewer_are_not_equal() {
    let of = |places: &[u16]| {
        let claims = places.iter().map(|place| claim(*place, 1, 0)).collect();
        Claims::from_unordered(claims)
    };
    assert_eq!(of(&[1, 2]), of(&[2, 1]));
    assert_ne!(of(&[1, 2]), of(&[1, 3]));
    assert_ne!(of(&[1, 2]), of(&[1]));
    assert_ne!(of(&[1]), of(&[1, 2]));
}
