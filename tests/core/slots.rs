//! The search and the predicate, compared with the definition on random calendars.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bookd_core::slots::rules::{Ask, is_race_lost, race_violations, seats_remaining, violations};
use bookd_core::slots::search::Search;
use bookd_core::slots::violation::ViolationCode;
use bookd_core::slots::{NEAREST_DAYS_MAX, first, nearest, visit};
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, Instant};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::checker::Checker;
use crate::random::{Question, question};

pub(crate) fn checker(question: &Question) -> Checker<'_> {
    let mut checker = Checker::new(
        &question.calendar,
        question.appointment_type(),
        question.duration,
        question.now,
    );
    checker.ignore = question.ignore;
    checker.present_duration = question.present_duration;
    checker.ignored_rules = question.ignored_rules;
    checker
}

fn ask(question: &Question, start: Instant) -> Ask<'_> {
    question.search().ask(start)
}

fn minutes_of(range: Interval) -> impl Iterator<Item = Instant> {
    let first = range.start.plus((-range.start.seconds()).rem_euclid(60));
    (0..)
        .map(move |minute| first.plus(minute * 60))
        .take_while(move |start| *start < range.end)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A property holds vacuously on calendars that are always closed: enough of the random questions
/// must meet each rule.
#[test]
fn the_random_questions_meet_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut alone: BTreeMap<ViolationCode, u32> = BTreeMap::new();
    let (mut with_slots, mut with_seats) = (0, 0);
    for _ in 0..200 {
        let question = question()
            .new_tree(&mut runner)
            .expect("a question")
            .current();
        let listed = first(&question.search(), usize::MAX);
        with_slots += u32::from(!listed.is_empty());
        let capacity = question.appointment_type().capacity;
        with_seats += u32::from(listed.iter().any(|slot| slot.seats_remaining < capacity));
        let mut seen = BTreeSet::new();
        let claimed = question.calendar.claims.iter().map(|claim| claim.start());
        for start in minutes_of(question.range).step_by(5).chain(claimed) {
            if let [only] = violations(&ask(&question, start)).as_slice() {
                seen.insert(only.code);
            }
        }
        seen.into_iter()
            .for_each(|code| *alone.entry(code).or_default() += 1);
    }
    assert!(
        with_slots >= 60 && with_seats >= 4,
        "{with_slots} with slots, {with_seats} with seats taken, {alone:?}"
    );
    use ViolationCode as Code;
    for code in [
        Code::InThePast,
        Code::Notice,
        Code::Horizon,
        Code::OutsideAvailability,
        Code::Misaligned,
    ] {
        assert!(alone.contains_key(&code), "{code} alone: {alone:?}");
    }
    for code in [
        Code::BusyBooking,
        Code::BusyHold,
        Code::BusyExternal,
        Code::Capacity,
        Code::Limit,
    ] {
        assert!(alone.contains_key(&code), "{code} alone: {alone:?}");
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn what_the_definition_offers_is_listed_in_order_and_once(question in question()) {
        let listed: Vec<_> = first(&question.search(), usize::MAX)
            .into_iter()
            .map(|slot| {
                assert_eq!(slot.end, slot.start.plus(question.duration.seconds()));
                (slot.start, slot.seats_remaining)
            })
            .collect();
        prop_assert_eq!(listed, checker(&question).offered(question.range));
    }

}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn a_start_is_listed_exactly_when_the_predicate_has_nothing_against_it(question in question()) {
        let mut listed = first(&question.search(), usize::MAX).into_iter().peekable();
        for start in minutes_of(question.range) {
            let ask = ask(&question, start);
            let against = violations(&ask);
            let slot = listed.next_if(|slot| slot.start == start);
            prop_assert_eq!(slot.is_some(), against.is_empty(), "{}: {:?}", start, against);
            prop_assert!(slot.is_none_or(|slot| slot.seats_remaining == seats_remaining(&ask)));

            let races: Vec<_> = against.iter().filter(|violation| !violation.code.is_rule()).cloned().collect();
            prop_assert_eq!(&races, &race_violations(&ask));
            prop_assert_eq!(races.is_empty(), !is_race_lost(&ask));
            prop_assert!(against.is_sorted_by(|a, b| a.code < b.code), "in the order of the table, each once");
            let has = |code| against.iter().any(|violation| violation.code == code);
            prop_assert!(!(has(ViolationCode::InThePast) && has(ViolationCode::Notice)));
        }
        prop_assert_eq!(listed.next(), None);
    }

    #[test]
    fn the_nearest_slots_are_the_neighbours_in_the_list(question in question()) {
        let search = question.search();
        let around = search.range.start;
        let (before, after) = nearest(&search, around);
        let far = NEAREST_DAYS_MAX * DAY;
        let range = Interval::new(around.plus(-far), around);
        let mut last = None;
        visit(&Search { range, ..search }, &mut |slot| {
            last = Some(slot.interval());
            ControlFlow::Continue(())
        });
        prop_assert_eq!(before, last);
        let range = Interval::new(around.plus(1), around.plus(far));
        prop_assert_eq!(after, first(&Search { range, ..search }, 1).first().map(|slot| slot.interval()));
    }

    #[test]
    fn a_part_of_the_range_lists_that_part(question in question(), from in 0..DAY, length in 0..2 * DAY) {
        let search = question.search();
        let part = Interval::new(search.range.start.plus(from), search.range.start.plus(from + length));
        let part = part.intersection(search.range);
        let whole = first(&search, usize::MAX).into_iter().filter(|slot| part.contains(slot.start));
        prop_assert_eq!(first(&Search { range: part, ..search }, usize::MAX), whole.collect::<Vec<_>>());
    }
}
