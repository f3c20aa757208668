//! The search over several calendars, compared with the definition on random calendars.

use std::collections::{BTreeMap, BTreeSet};

use bookd_core::appointment::{Assignment, IgnoredRules};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::availability::{Availability, Rule, Weekdays};
use bookd_core::slots::multi_calendar::{first, nearest};
use bookd_core::slots::search::Search;
use bookd_core::slots::{self, NEAREST_DAYS_MAX, nearest_days};
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, Instant};
use proptest::prelude::*;

use crate::checker::Mates;
use crate::random::{Question, questions};
use crate::slots::checker;
use crate::world::{calendar as calendar_of, instant, minutes, rule, zone};

/// Every minute of the range, with the indices of the calendars that can take it as a start and
/// their seats.
fn taken_by(questions: &[Question], assignment: Assignment) -> Vec<(Instant, Vec<(usize, u32)>)> {
    let is_together = assignment == Assignment::All && questions.len() > 1;
    let mut checkers: Vec<_> = questions.iter().map(checker).collect();
    // Every appointment here is on one calendar alone, so that a claim of several calendars shares
    // no session with it.
    let mates = || {
        if is_together {
            Mates::Keys(BTreeSet::new())
        } else {
            Mates::Alone
        }
    };
    checkers.iter_mut().for_each(|it| it.mates = mates());
    let range = questions[0].range;
    let mut start = range.start.plus((-range.start.seconds()).rem_euclid(60));
    let mut starts = Vec::new();
    while start < range.end {
        let takers = checkers
            .iter_mut()
            .enumerate()
            .filter_map(|(index, checker)| {
                let is_offered = checker.is_offered(start, !is_together || index == 0);
                is_offered.then(|| (index, checker.seats_remaining(start)))
            });
        starts.push((start, takers.collect()));
        start = start.plus(60);
    }
    starts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_lists_the_starts_that_every_calendar_takes_on_the_grid_of_the_first(mut questions in questions()) {
        let duration = questions[0].duration;
        for question in &mut questions {
            question.duration = duration;
            question.present_duration = Some(duration);
        }
        let count = questions.len();
        let taken = taken_by(&questions, Assignment::All).into_iter().filter(|(_, takers)| takers.len() == count);
        let expected: Vec<_> =
            taken.map(|(start, takers)| (start, takers.iter().map(|(_, seats)| *seats).min().unwrap())).collect();

        let searches: Vec<_> = questions.iter().map(Question::search).collect();
        let listed = first(&searches, Assignment::All, usize::MAX);
        prop_assert!(listed.iter().all(|shared| shared.calendars.iter().eq(0..count)));
        prop_assert!(listed.iter().all(|shared| shared.slot.end == shared.slot.start.plus(duration.seconds())));
        let listed: Vec<_> = listed.iter().map(|shared| (shared.slot.start, shared.slot.seats_remaining)).collect();
        prop_assert_eq!(listed, expected);
    }

    #[test]
    fn any_lists_the_starts_that_some_calendar_takes_and_says_which(questions in questions()) {
        let taken = taken_by(&questions, Assignment::Any).into_iter().filter(|(_, takers)| !takers.is_empty());
        let expected: Vec<_> = taken
            .map(|(start, takers)| {
                let end = start.plus(questions[takers[0].0].duration.seconds());
                let seats: u32 = takers.iter().map(|(_, seats)| seats).sum();
                (start, end, seats, takers.into_iter().map(|(index, _)| index).collect::<Vec<_>>())
            })
            .collect();
        let searches: Vec<_> = questions.iter().map(Question::search).collect();
        let listed = first(&searches, Assignment::Any, usize::MAX).into_iter().map(|shared| {
            let slot = shared.slot;
            (slot.start, slot.end, slot.seats_remaining, shared.calendars.iter().collect::<Vec<_>>())
        });
        prop_assert_eq!(listed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn many_days_list_what_each_of_them_lists(mut questions in questions(), days in 5..40_i64) {
        let duration = questions[0].duration;
        for question in &mut questions {
            question.duration = duration;
            question.present_duration = Some(duration);
        }
        let from = questions[0].range.start;
        for assignment in [Assignment::All, Assignment::Any] {
            let listed = |day: i64, days: i64| {
                let range = Interval::new(from.plus(day * DAY), from.plus((day + days) * DAY));
                let searches: Vec<_> =
                    questions.iter().map(|question| Search { range, ..question.search() }).collect();
                first(&searches, assignment, usize::MAX)
            };
            let day_by_day: Vec<_> = (0..days).flat_map(|day| listed(day, 1)).collect();
            prop_assert_eq!(listed(0, days), day_by_day, "{:?}", assignment);
        }
    }

    #[test]
    fn one_calendar_alone_is_all_of_them_and_any_of_them(questions in questions()) {
        let search = questions[0].search();
        let alone = slots::first(&search, usize::MAX);
        for assignment in [Assignment::All, Assignment::Any] {
            let listed = first(&[search], assignment, usize::MAX).into_iter().map(|shared| shared.slot);
            prop_assert_eq!(listed.collect::<Vec<_>>(), alone.clone());
            let around = search.range.start;
            prop_assert_eq!(nearest(&[search], assignment, around), slots::nearest(&search, around));
        }
    }

    #[test]
    fn the_nearest_of_several_are_the_neighbours_in_the_list(questions in questions(), ahead in 0..3_i64) {
        let around = questions[0].range.start.plus(ahead * DAY);
        let far = NEAREST_DAYS_MAX * DAY;
        for assignment in [Assignment::All, Assignment::Any] {
            let within = |range| -> Vec<Search<'_>> {
                questions.iter().map(|question| Search { range, ..question.search() }).collect()
            };
            let listed = |range| first(&within(range), assignment, usize::MAX).into_iter().map(|it| it.slot.interval());
            let last = listed(Interval::new(around.plus(-far), around)).next_back();
            let next = listed(Interval::new(around.plus(1), around.plus(far))).next();
            let searches: Vec<_> = questions.iter().map(Question::search).collect();
            prop_assert_eq!(nearest(&searches, assignment, around), (last, next), "{:?}", assignment);
        }
    }
}

#[test]
fn of_many_calendars_the_nearest_are_looked_for_less_far() {
    assert_eq!(
        [0, 1, 33, 34, 100, 100_000].map(nearest_days),
        [60, 60, 60, 58, 20, 1]
    );
    let now = instant("2027-01-04T00:00:00Z");
    // Open from the thirtieth day on.
    let opens = rule(Weekdays::ALL, "09:00", "17:00");
    let first_date = Some("2027-02-03".parse().unwrap());
    let availability = Availability {
        rules: vec![Rule {
            first_date,
            ..opens
        }],
        overrides: BTreeMap::new(),
    };
    let types = [AppointmentType::default_type(Default::default())];
    let calendar = calendar_of(
        zone("UTC"),
        availability,
        types.clone(),
        Vec::new(),
        Vec::new(),
    );
    let search = Search {
        calendar: &calendar,
        appointment_type: &types[0],
        duration: minutes(60),
        range: Interval::new(now, now),
        now,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    };
    let opening = now.plus(30 * DAY + 9 * HOUR);
    for assignment in [Assignment::All, Assignment::Any] {
        let next = |count| {
            nearest(&vec![search; count], assignment, now)
                .1
                .map(|it| it.start)
        };
        assert_eq!(
            [next(1), next(10), next(100)],
            [Some(opening), Some(opening), None],
            "{assignment:?}"
        );
    }
}

/// The first calendar has looked beyond its own busy time when another one sends it on to a start
/// within that: it must not go back.
#[test]
fn a_calendar_that_is_sent_on_does_not_offer_what_it_has_passed() {
    let two_hours = AppointmentType {
        duration: minutes(120),
        ..AppointmentType::default_type(Default::default())
    };
    let open = || Availability {
        rules: vec![rule(Weekdays::ALL, "00:00", "24:00")],
        ..Availability::default()
    };
    let busy = |from: &str, to: &str| {
        let busy = vec![Interval::new(instant(from), instant(to))];
        calendar_of(zone("UTC"), open(), [two_hours.clone()], busy, Vec::new())
    };
    let calendars = [
        // It ends a second after the hour, so that no appointment begins then.
        busy("2027-03-01T18:47:04Z", "2027-03-01T20:00:01Z"),
        busy("2027-03-01T15:00:00Z", "2027-03-01T19:30:00Z"),
    ];
    let (from, to) = ("2027-03-01T10:00:00Z", "2027-03-02T00:00:00Z");
    let searches: Vec<_> = calendars
        .iter()
        .map(|calendar| Search {
            calendar,
            appointment_type: calendar.types.iter().next().unwrap(),
            duration: minutes(120),
            range: Interval::new(instant(from), instant(to)),
            now: instant("2027-02-01T00:00:00Z"),
            ignore: None,
            present_duration: None,
            ignored_rules: IgnoredRules::default(),
        })
        .collect();
    let listed = first(&searches, Assignment::All, usize::MAX);
    let starts: Vec<_> = listed.iter().map(|it| it.slot.start.to_string()).collect();
    assert_eq!(
        starts,
        [
            "2027-03-01T10:00:00Z",
            "2027-03-01T12:00:00Z",
            "2027-03-01T22:00:00Z"
        ]
    );
}
