//! Lists of slots at their edges: none that are asked for, the first instant of a range, and the
//! neighbours of a start that is offered itself.

use std::sync::Arc;

use bookd_core::appointment::Assignment;
use bookd_core::slots::search::Slot;
use bookd_core::slots::{first, multi_calendar, nearest};
use bookd_core::time::MINUTE;
use bookd_core::time::interval::Interval;

use crate::busy::{any_minute, clock, morning, search};

#[test]
fn as_many_slots_are_listed_as_are_asked_for() {
    let calendar = morning(any_minute(), Vec::new());
    let range = Interval::new(clock("09:00:00"), clock("12:00:00"));
    let one = search(&calendar, range);
    for limit in [0, 1, 2, 121] {
        assert_eq!(first(&one, limit).len(), limit);
        for assignment in [Assignment::All, Assignment::Any] {
            let listed = multi_calendar::first(&[one, one], assignment, limit);
            assert_eq!(listed.len(), limit, "{assignment:?}");
        }
    }
    assert_eq!(first(&one, usize::MAX).len(), 121);
}

#[test]
fn the_neighbours_of_an_offered_start_are_others() {
    let calendar = morning(any_minute(), Vec::new());
    let ten = clock("10:00:00");
    let here = search(&calendar, Interval::new(ten, ten));
    let neighbours = nearest(&here, ten);
    let start = |it: Option<Interval>| it.map(|it| it.start);
    assert_eq!(start(neighbours.0), Some(ten.plus(-MINUTE)));
    assert_eq!(start(neighbours.1), Some(ten.plus(MINUTE)));
}

#[test]
fn a_paused_calendar_among_all_leaves_nothing_not_even_the_first_instant() {
    let open = morning(any_minute(), Vec::new());
    let mut paused = open.clone();
    Arc::make_mut(&mut paused.profile).paused = true;
    let range = Interval::new(clock("09:00:00"), clock("12:00:00"));
    let both = [search(&open, range), search(&paused, range)];
    let listed = multi_calendar::first(&both, Assignment::All, usize::MAX);
    assert_eq!(listed, []);
    let any = multi_calendar::first(&both, Assignment::Any, usize::MAX);
    let slots: Vec<Slot> = any.into_iter().map(|it| it.slot).collect();
    assert_eq!(slots, first(&both[0], usize::MAX));
}
