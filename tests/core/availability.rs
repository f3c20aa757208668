//! The windows of each date by rules and overrides.

use std::collections::BTreeMap;

use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays, Window};
use bookd_core::time::LocalDate;
use proptest::prelude::*;

use crate::world::{rule, window};

/// A Monday.
const MONDAY: LocalDate = LocalDate::from_days(20_457);

fn hours(windows: &[Window]) -> Vec<(u16, u16)> {
    windows
        .iter()
        .map(|window| (window.start_minutes(), window.end_minutes()))
        .collect()
}

fn weekly(rules: Vec<Rule>) -> Availability {
    Availability {
        rules,
        overrides: BTreeMap::new(),
    }
}

#[test]
fn windows_of_one_date_that_overlap_or_touch_are_one() {
    let every_day = |start, end| rule(Weekdays::ALL, start, end);
    let rules = vec![
        every_day("13:00", "17:00"),
        every_day("09:00", "12:00"),
        every_day("12:00", "12:30"),
    ];
    assert_eq!(
        hours(&weekly(rules).windows(&[], MONDAY)),
        [(540, 750), (780, 1020)]
    );
}

#[test]
fn windows_of_one_date_may_together_be_longer_than_a_day() {
    let rules = vec![
        rule(Weekdays::ALL, "06:00", "30:00"),
        rule(Weekdays::ALL, "23:00", "47:00"),
    ];
    assert_eq!(hours(&weekly(rules).windows(&[], MONDAY)), [(360, 2_820)]);
}

#[test]
fn windows_of_different_dates_are_never_merged() {
    let days = weekly(vec![rule(Weekdays::ALL, "00:00", "24:00")]);
    assert_eq!(hours(&days.windows(&[], MONDAY)), [(0, 1_440)]);
}

#[test]
fn a_type_with_rules_of_its_own_keeps_the_overrides_of_the_calendar() {
    let closed = BTreeMap::from([(MONDAY, Override::default())]);
    let availability = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "17:00")],
        overrides: closed,
    };
    let own = [rule(Weekdays::ALL, "20:00", "26:00")];
    assert_eq!(hours(&availability.windows(&own, MONDAY)), []);
    assert_eq!(
        hours(&availability.windows(&own, MONDAY.plus(1))),
        [(1_200, 1_560)]
    );
    assert_eq!(
        hours(&availability.windows(&[], MONDAY.plus(1))),
        [(540, 1_020)]
    );
}

#[test]
fn the_first_and_the_last_date_of_a_rule_are_part_of_it() {
    let nine_to_five = rule(Weekdays::ALL, "09:00", "17:00");
    let rule = Rule {
        first_date: Some(MONDAY),
        last_date: Some(MONDAY.plus(1)),
        ..nine_to_five
    };
    let days = weekly(vec![rule]);
    let is_open = |days_later| !days.windows(&[], MONDAY.plus(days_later)).is_empty();
    assert_eq!([-1, 0, 1, 2].map(is_open), [false, true, true, false]);
}

#[test]
fn an_override_without_windows_closes_its_date_alone() {
    let overrides = BTreeMap::from([(MONDAY, Override::default())]);
    let availability = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "17:00")],
        overrides,
    };
    let is_open = |days_later| {
        !availability
            .windows(&[], MONDAY.plus(days_later))
            .is_empty()
    };
    assert_eq!([-1, 0, 1].map(is_open), [true, false, true]);
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let date = || proptest::option::of((0i32..20).prop_map(LocalDate::from_days));
    let parts = (1u8..128, 0u16..1_440, 1u16..=1_440, date(), date());
    let rule = parts.prop_map(|(weekdays, start, length, first_date, last_date)| Rule {
        weekdays: Weekdays::from_bits(weekdays),
        window: Window::new(start, start + length).unwrap(),
        first_date,
        last_date,
    });
    proptest::collection::vec(rule, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of questions, forward and back, exactly the minutes that a window of the date
    /// covers are open.
    #[test]
    fn dates_asked_in_any_order_have_the_minutes_of_their_windows(
        rules in rules(),
        overridden in proptest::collection::btree_set(0i32..20, 0..4),
        dates in proptest::collection::vec(-2i32..22, 1..30),
    ) {
        let of_date = Override { windows: vec![window("10:00", "11:00"), window("09:00", "10:30")], note: String::new() };
        let overrides: BTreeMap<_, _> =
            overridden.iter().map(|days| (LocalDate::from_days(*days), of_date.clone())).collect();
        let availability = Availability { rules: rules.clone(), overrides };
        let mut asked = availability.days(&[]);
        for date in dates.into_iter().map(LocalDate::from_days) {
            prop_assert_eq!(asked.is_overridden(date), overridden.contains(&date.days()));
            let windows = asked.windows(date).to_vec();
            prop_assert!(windows.windows(2).all(|pair| pair[0].end_minutes() < pair[1].start_minutes()));
            let applying = rules.iter().filter(|rule| rule.applies_on(date)).map(|rule| rule.window);
            let given: Vec<Window> =
                if overridden.contains(&date.days()) { of_date.windows.clone() } else { applying.collect() };
            let covers = |windows: &[Window], minute| {
                windows.iter().any(|window| window.start_minutes() <= minute && minute < window.end_minutes())
            };
            for minute in (0..2_880).step_by(7) {
                prop_assert_eq!(covers(&windows, minute), covers(&given, minute));
            }
            prop_assert_eq!(windows, availability.windows(&[], date));
        }
    }
}
