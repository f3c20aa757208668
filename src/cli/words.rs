//! Reads the arguments that people type, and writes them as requests have them: lengths, days,
//! hours, states.
//!
//! Dates and times are read in `dates`, because they need a zone and a clock.

use std::time::Duration;

use serde_json::{Map, Value, json};

use bookd_core::time::Instant;

/// The longest length of time, in seconds: as long as the longest notice of an appointment type.
const SECONDS_MAX: u64 = 100_000 * 24 * 60 * 60;

/// An instant of RFC 3339, in whole seconds. jiff is asked first, because it reads more forms; its
/// range ends a day before that of the contract, and chrono reads the last day.
pub fn instant(text: &str) -> Option<Instant> {
    let by_jiff = || {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|it| it.as_second())
    };
    let by_chrono = || {
        chrono::DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|it| it.timestamp())
    };
    by_jiff().or_else(by_chrono).map(Instant::from_seconds)
}

/// A length such as `30m`, `1h30m`, `2d` or `45s`, in seconds; a number without a unit is minutes.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text}: write a length such as 30m, 1h30m, 2d or 45s");
    if let Ok(minutes) = text.parse::<u64>() {
        return minutes
            .checked_mul(60)
            .filter(|it| *it <= SECONDS_MAX)
            .ok_or_else(wrong);
    }
    let (mut total, mut number) = (0_u64, None::<u64>);
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(
                number
                    .unwrap_or(0)
                    .saturating_mul(10)
                    .saturating_add(u64::from(digit)),
            );
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        total = total.saturating_add(number.take().ok_or_else(wrong)?.saturating_mul(unit));
    }
    match number {
        None if !text.is_empty() && total <= SECONDS_MAX => Ok(total),
        _ => Err(wrong()),
    }
}

/// A length as requests have it, such as `1800s`.
pub fn length(text: &str) -> Result<String, String> {
    seconds(text).map(|seconds| format!("{seconds}s"))
}

/// A timeout: longer than zero, and with a unit, because `--timeout 30` means seconds in other
/// programs and would be half an hour here.
pub fn timeout(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text}: write a length with its unit, such as 30s or 2m");
    let is_unitless = text.chars().all(|it| it.is_ascii_digit());
    let seconds = seconds(text)
        .ok()
        .filter(|it| *it > 0 && !is_unitless)
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// A pair such as `key=value`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text}: write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The name of an enum value: the prefix and a word in any case, with `-` for `_`, such as
/// `APPOINTMENT_STATE` and `no-show`.
pub fn enumerated(prefix: &str, word: &str) -> String {
    format!("{prefix}_{}", word.to_ascii_uppercase().replace('-', "_"))
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_NAMES: [&str; 7] = [
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
];

/// The number of a day by its first three letters or its name, 0 = Monday.
pub fn weekday(word: &str) -> Option<usize> {
    let word = word.to_ascii_lowercase();
    let is_day = |(day, name): &(&&str, &&str)| **day == word || name.to_ascii_lowercase() == word;
    DAYS.iter().zip(&DAY_NAMES).position(|pair| is_day(&pair))
}

/// The word for no hours. It must be typed: hours that are left out close nothing.
pub const CLOSED: &str = "closed";
/// The word for no busy time.
pub const NONE: &str = "none";

/// The rules of words such as `mon-fri 09:00-12:00 13:00-17:00 sat 10:00-13:00`; at least one.
pub fn rules(words: &[String]) -> Result<Value, String> {
    let mut days: Option<(&str, Vec<String>)> = None;
    // The days that have no hours yet.
    let mut bare = None;
    let mut rules = Vec::new();
    for word in words.iter().flat_map(|it| it.split_whitespace()) {
        if word.contains(':') {
            let (start, end) = window(word)?;
            let (_, days) = days.as_ref().ok_or_else(|| {
                format!("{word}: say first on which days, such as mon-fri or daily")
            })?;
            rules.push(json!({ "days_of_week": days, "start_time": start, "end_time": end }));
            bare = None;
        } else {
            refuse_without_hours(bare)?;
            days = Some((word, days_of(word)?));
            bare = Some(word);
        }
    }
    refuse_without_hours(bare)?;
    if rules.is_empty() {
        return Err("say days and hours, such as mon-fri 09:00-17:00".to_owned());
    }
    Ok(Value::Array(rules))
}

/// Refuses days without hours, because hours that are left out close nothing.
fn refuse_without_hours(bare: Option<&str>) -> Result<(), String> {
    match bare {
        Some(days) => Err(format!("{days}: say its hours, such as {days} 09:00-17:00")),
        None => Ok(()),
    }
}

/// The rules of a calendar; none if `closed` is the only word.
pub fn weekly(words: &[String]) -> Result<Value, String> {
    if is_alone(words, CLOSED) {
        Ok(json!([]))
    } else {
        rules(words)
    }
}

/// The windows of a date; none if `closed` is the only word.
pub fn windows(words: &[String]) -> Result<Value, String> {
    if is_alone(words, CLOSED) {
        return Ok(json!([]));
    }
    let windows = words.iter().map(|word| window(word));
    windows
        .map(|it| it.map(|(start, end)| json!({ "start_time": start, "end_time": end })))
        .collect()
}

/// Whether this word, in any case, is the only one.
pub fn is_alone(words: &[String], word: &str) -> bool {
    words.len() == 1 && words[0].trim().eq_ignore_ascii_case(word)
}

/// The start and the end of a window such as `09:00-12:00`.
pub fn window(word: &str) -> Result<(&str, &str), String> {
    word.split_once('-')
        .ok_or_else(|| format!("{word}: write HH:MM-HH:MM"))
}

/// The days of a word such as `mon-fri`, `sat,sun` or `daily`, as requests have them; none for
/// `daily`.
fn days_of(word: &str) -> Result<Vec<String>, String> {
    if word.eq_ignore_ascii_case("daily") {
        return Ok(Vec::new());
    }
    if word.eq_ignore_ascii_case(CLOSED) {
        return Err(format!(
            "{word}: stands alone, and for the hours of a calendar or a date"
        ));
    }
    let mut named = Vec::new();
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let unknown = || format!("{word}: write days as mon-fri, sat,sun or daily");
        let (first, last) = (
            weekday(first).ok_or_else(unknown)?,
            weekday(last).ok_or_else(unknown)?,
        );
        let length = (last + 7 - first) % 7;
        named.extend(
            (0..=length).map(|ahead| format!("DAY_OF_WEEK_{}", DAY_NAMES[(first + ahead) % 7])),
        );
    }
    Ok(named)
}

/// A value without the nulls in its objects: a request has only the fields that are given.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_with_its_units_and_nothing_else() {
        let read = |text| seconds(text).ok();
        assert_eq!(
            ["30", "30m", "1h30m", "2d", "45s"].map(read),
            [1_800, 1_800, 5_400, 172_800, 45].map(Some)
        );
        assert_eq!(
            ["", "m", "1x", "1h30", "-5", "99999999999999999999d"].map(read),
            [None; 6]
        );
    }

    #[test]
    fn an_instant_is_read_up_to_the_last_of_the_contract() {
        let second = |text| instant(text).map(Instant::seconds);
        assert_eq!(second("9999-12-31T23:59:59Z"), Some(253_402_300_799));
        assert_eq!(
            [
                second("2027-03-01T09:00Z"),
                second("2027-03-01T10:00:00+01:00")
            ],
            [Some(1_803_891_600); 2]
        );
        assert_eq!([second("2027-03-01"), second("monday")], [None; 2]);
    }

    #[test]
    fn days_go_round_the_week() {
        assert_eq!(
            days_of("sat-mon").unwrap(),
            ["SATURDAY", "SUNDAY", "MONDAY"].map(|it| format!("DAY_OF_WEEK_{it}"))
        );
        assert!(
            rules(&["09:00-10:00".to_owned()]).is_err(),
            "hours without days"
        );
        assert!(rules(&["mon".to_owned()]).is_err(), "days without hours");
        assert!(
            rules(&["mon 09:00-10:00 tue".to_owned()]).is_err(),
            "the last days without hours"
        );
        assert!(
            rules(&[String::new()]).is_err() && rules(&[]).is_err(),
            "nothing"
        );
        assert!(days_of("someday").is_err());
    }
}
