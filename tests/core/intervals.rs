//! Intervals, lengths, dates, ids and zones by themselves: what is one of them, and what is not.

use bookd_core::appointment::recurrence::{Ending, Frequency, Recurrence, expand};
use bookd_core::ids::{CalendarId, Etag, ID_CHARACTERS_MAX, Revision};
use bookd_core::time::interval::{Interval, first_overlap, subtract, union};
use bookd_core::time::zone::{CYCLE_SECONDS, OFFSET_MAX, Segment, TRANSITIONS_MAX, Zone};
use bookd_core::time::{DAY, Instant, LocalDate, Minutes, Seconds, Wall};

use crate::world::{instant, zone};

fn interval(start: i64, end: i64) -> Interval {
    Interval::new(Instant::from_seconds(start), Instant::from_seconds(end))
}

#[test]
fn intervals_that_touch_are_one_in_a_union_and_do_not_overlap() {
    let (one, next) = (interval(0, 10), interval(10, 20));
    assert_eq!(union(vec![next, one]), [interval(0, 20)]);
    assert!(!one.overlaps(next));
    assert_eq!(one.padded(5, 7), interval(-5, 17));
    let all = [one, interval(15, 20)];
    assert_eq!(first_overlap(&all, interval(10, 20)), Some(all[1]));
    assert_eq!(first_overlap(&all, interval(10, 15)), None);
    let left = |hole| subtract(interval(0, 20), hole).collect::<Vec<_>>();
    assert_eq!(left(interval(5, 10)), [interval(0, 5), interval(10, 20)]);
    assert_eq!(left(interval(5, 5)), [interval(0, 20)]);
    assert_eq!(left(interval(20, 30)), [interval(0, 20)]);
    assert_eq!(left(interval(0, 20)), []);
}

#[test]
fn lengths_have_a_longest_one_and_none_is_negative() {
    let longest = Minutes::MAX.minutes();
    assert_eq!(Minutes::new(longest), Some(Minutes::MAX));
    assert_eq!(Minutes::new(longest + 1), None);
    let longest = Seconds::MAX.seconds();
    assert_eq!(Seconds::new(longest), Some(Seconds::MAX));
    assert_eq!(Seconds::new(longest + 1), None);
    assert_eq!(Seconds::new(0), Some(Seconds::ZERO));
    assert_eq!(Seconds::new(-1), None);
}

#[test]
fn a_date_is_written_with_ten_characters_and_nothing_else_is_one() {
    let date: LocalDate = "2027-03-14".parse().unwrap();
    assert_eq!(date.to_string(), "2027-03-14");
    for wrong in ["", "2027-03-1", "2027-3-014", "2027-03-014", "2027-03-1x"] {
        assert!(wrong.parse::<LocalDate>().is_err(), "{wrong}");
    }
    for wrong in ["2027/03/14", "2027-02-30", "0000-01-01"] {
        assert!(wrong.parse::<LocalDate>().is_err(), "{wrong}");
    }
}

#[test]
fn a_local_time_beyond_four_digits_of_the_year_shows_its_seconds_only_where_there_are_any() {
    let new_year = LocalDate::MAX.plus(1).midnight();
    let shown = [0, 30, 3_600].map(|seconds| new_year.plus(seconds).to_string());
    assert_eq!(
        shown,
        [
            "10000-01-01T00:00",
            "10000-01-01T00:00:30",
            "10000-01-01T01:00"
        ]
    );
    assert_eq!(
        format!("{:?}", Instant::from_seconds(0)),
        "1970-01-01T00:00:00Z"
    );
    assert_eq!(Wall::from_seconds(-1).to_string(), "1969-12-31T23:59:59");
}

#[test]
fn a_table_that_cannot_be_a_zone_is_refused() {
    let at = Instant::from_seconds;
    let is_zone = |first, changes: &[(Instant, i32)], end: Option<i64>| {
        Zone::new("Test/Zone", first, changes, end.map(at)).is_ok()
    };
    assert!(is_zone(0, &[(at(0), 60), (at(1), 0)], Some(2)));
    assert!(
        !is_zone(0, &[(at(0), 60), (at(0), 0)], None),
        "not in order"
    );
    assert!(
        !is_zone(0, &[(at(0), 60), (at(1), 0)], Some(1)),
        "beyond its end"
    );
    assert!(is_zone(OFFSET_MAX, &[(at(0), -OFFSET_MAX)], None));
    assert!(!is_zone(OFFSET_MAX + 1, &[], None));
    assert!(!is_zone(0, &[(at(0), -OFFSET_MAX - 1)], None));
    let changes: Vec<(Instant, i32)> = (1..=TRANSITIONS_MAX as i64)
        .map(|second| (at(second), (second % 2) as i32))
        .collect();
    assert!(is_zone(0, &changes[..TRANSITIONS_MAX - 1], None));
    assert!(!is_zone(0, &changes, None));
}

#[test]
fn a_series_ends_before_the_year_6000() {
    let daily = |count| Recurrence {
        frequency: Frequency::Daily,
        interval: 1,
        ending: Ending::Count(count),
    };
    let last = instant("5999-12-31T00:00:00Z");
    let utc = zone("UTC");
    assert_eq!(expand(last.plus(-DAY), &daily(2), &utc).unwrap().len(), 2);
    let refused = expand(last.plus(-DAY), &daily(3), &utc).unwrap_err();
    assert_eq!(refused.field, "count");
}

#[test]
fn an_id_is_of_so_many_allowed_characters_and_begins_with_a_letter_or_digit() {
    let is_id = |text: &str| CalendarId::parse(text).is_ok();
    for text in ["a", "7", "acme/dr-lee", "a.b_c@d+e:f"] {
        assert!(is_id(text), "{text}");
    }
    for text in ["", "-a", "/", "a b", "a\u{e9}", "a,b"] {
        assert!(!is_id(text), "{text}");
    }
    assert!(is_id(&"x".repeat(ID_CHARACTERS_MAX)));
    assert!(!is_id(&"x".repeat(ID_CHARACTERS_MAX + 1)));
}

#[test]
fn an_etag_is_the_same_in_every_release() {
    let etag = Etag::of(b"ada", Revision(3));
    assert_eq!(etag.to_string(), "2e1533203faf3838");
}

#[test]
fn time_after_the_table_begins_where_the_table_ends() {
    let (end, half) = (CYCLE_SECONDS, CYCLE_SECONDS / 2);
    let changes = [(-100, 3_600), (half, 0)].map(|(at, to)| (Instant::from_seconds(at), to));
    let end_of_table = Some(Instant::from_seconds(end));
    let zone = Zone::new("Test/Cycle", 0, &changes, end_of_table).unwrap();
    let at = |second| {
        let Segment { start, end, offset } = zone.segment_at(Instant::from_seconds(second));
        (start, end, offset)
    };
    assert_eq!(at(-101), (i64::MIN, -100, 0));
    assert_eq!(at(0), (-100, half, 3_600));
    assert_eq!(at(end - 1), (half, end, 0));
    assert_eq!(at(end), (end, end + half, 3_600));
    assert_eq!(at(end + half), (end + half, 2 * end, 0));
    assert_eq!(at(2 * end), (2 * end, 2 * end + half, 3_600));
}
