//! Reads dates, times and ranges as people type them, for all commands.
//!
//! All words of a command are read in one zone and at one instant, the server's time, so that
//! `today` is one date in all of them. The zone and the time are read from the server once, when a
//! word needs them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::client::CallError;
use super::lookup::Lookup;
use super::words::{instant, weekday};
use crate::zones::Zones;
use bookd_core::time::zone::{LocalInstants, Zone};
use bookd_core::time::{HOUR, Instant, LocalDate, MINUTE, Wall};

/// Days from a day of the week to the next one of the same name.
const WEEK_DAYS: i32 = 7;

/// Reads the words of one command: a word is one argument, such as `tomorrow` or `mondayT09:00`.
pub struct Dates<'a> {
    ask: &'a Lookup<'a>,
    zone: Option<&'a str>,
    calendar: Option<&'a str>,
    clock: OnceCell<ZoneAndToday>,
}

/// The zone in which words are read, and the date of today in it.
struct ZoneAndToday {
    zone: Arc<Zone>,
    today: LocalDate,
}

/// The meaning of a word.
#[derive(Clone, Copy)]
enum TimeWord {
    /// `2027-03-01`, `today`, `monday`.
    Date(LocalDate),
    /// `2027-03-01T09:00`, `mondayT09:00`.
    Wall(Wall),
    /// `2027-03-01T09:00:00Z`.
    Instant(Instant),
}

impl<'a> Dates<'a> {
    /// A reader of words in `zone` if one is named, otherwise in the zone of the calendar,
    /// otherwise in UTC.
    pub fn new(ask: &'a Lookup<'a>, zone: Option<&'a str>, calendar: Option<&'a str>) -> Self {
        Self {
            ask,
            zone,
            calendar,
            clock: OnceCell::new(),
        }
    }

    /// Reads a date; answers `YYYY-MM-DD`.
    pub async fn date(&self, word: &str) -> Result<String, CallError> {
        Ok(self.read_date(word, None).await?.to_string())
    }

    /// Reads the first and the last date of a range. `saturday` to `sunday` is two days, also when
    /// today is a Saturday.
    pub async fn dates(&self, first: &str, last: &str) -> Result<(String, String), CallError> {
        let first = self.read_date(first, None).await?;
        let last = self.read_date(last, Some(first.midnight())).await?;
        Ok((first.to_string(), last.to_string()))
    }

    /// Reads the first and the last date of a series. The last date is one in the calendar's zone,
    /// because a series repeats by the calendar's clock: if the words are read in another zone, it
    /// is the calendar's date of the last start that is not after the last date in that other zone.
    pub async fn series(
        &self,
        first: &str,
        time: &str,
        last: &str,
    ) -> Result<(String, String), CallError> {
        let first = self.read_date(first, None).await?;
        let last = self.read_date(last, Some(first.midnight())).await?;
        let (Some(_), Some(calendar), Some(seconds)) =
            (self.zone, self.calendar, clock_seconds(time))
        else {
            return Ok((first.to_string(), last.to_string()));
        };
        let there = &self.clock().await?.zone;
        let here = known(&self.ask.zone_of(calendar).await?)?;
        let clock = here
            .wall(instant_of(there, first.midnight().plus(seconds)))
            .clock();
        let is_over = |date: &LocalDate| {
            there
                .wall(instant_of(&here, date.midnight().plus(clock)))
                .date()
                > last
        };
        // The dates of two zones are at most two days apart.
        let mut dates = (-2..=2).rev().map(|days| last.plus(days));
        let last = dates.find(|date| !is_over(date)).unwrap_or(last);
        Ok((first.to_string(), last.to_string()))
    }

    /// Reads a date, and joins it with a clock time: `YYYY-MM-DDTHH:MM`.
    pub async fn local_start(&self, date: &str, time: &str) -> Result<String, CallError> {
        Ok(format!("{}T{time}", self.date(date).await?))
    }

    /// Reads the range of a slot search: from a first date to a last date, inclusive, or to a time,
    /// exclusive; answers two instants. `saturday` to `sunday` is two days, also when today is a
    /// Saturday.
    pub async fn days(&self, first: &str, last: &str) -> Result<[Value; 2], CallError> {
        let first = self.read_date(first, None).await?;
        let end = match self.read(last, Some(first.midnight())).await? {
            TimeWord::Date(last) => TimeWord::Date(last.plus(1)),
            time => time,
        };
        Ok([
            self.instant(Some(("", TimeWord::Date(first)))).await?,
            self.instant(Some((last, end))).await?,
        ])
    }

    /// Reads a range of time [start, end); answers two instants, null for one that is not given.
    /// The end is exclusive, so `saturday` to `saturday` is a week.
    pub async fn range(
        &self,
        start: Option<&str>,
        end: Option<&str>,
    ) -> Result<[Value; 2], CallError> {
        let start = match start {
            Some(word) => Some((word, self.read(word, None).await?)),
            None => None,
        };
        let Some(end) = end else {
            return Ok([self.instant(start).await?, Value::Null]);
        };
        let after = match start {
            Some((_, TimeWord::Date(date))) => Some(date.midnight()),
            Some((_, TimeWord::Wall(wall))) => Some(wall),
            Some((_, TimeWord::Instant(instant))) if is_weekday(end) => {
                Some(self.clock().await?.zone.wall(instant))
            }
            Some((_, TimeWord::Instant(_))) | None => None,
        };
        let end = (end, self.read(end, after.map(|wall| wall.plus(1))).await?);
        Ok([self.instant(start).await?, self.instant(Some(end)).await?])
    }

    /// The instant of a word that was read, as requests have it. An instant stays as it was typed.
    async fn instant(&self, read: Option<(&str, TimeWord)>) -> Result<Value, CallError> {
        let wall = match read {
            None => return Ok(Value::Null),
            Some((word, TimeWord::Instant(_))) => return Ok(Value::from(word)),
            Some((_, TimeWord::Date(date))) => date.midnight(),
            Some((_, TimeWord::Wall(wall))) => wall,
        };
        Ok(Value::from(
            instant_of(&self.clock().await?.zone, wall).to_string(),
        ))
    }

    async fn read_date(&self, word: &str, from: Option<Wall>) -> Result<LocalDate, CallError> {
        match self.read(word, from).await? {
            TimeWord::Date(date) => Ok(date),
            TimeWord::Wall(_) | TimeWord::Instant(_) => Err(CallError::Usage(format!(
                "{word}: write a date alone, such as 2027-03-01, today or monday"
            ))),
        }
    }

    /// Reads a word; every other function goes through this one. A day of the week means the first
    /// such day from `from` on, which is the start of the range for the end of a range; without
    /// `from`, from tomorrow on.
    async fn read(&self, word: &str, from: Option<Wall>) -> Result<TimeWord, CallError> {
        if let Some(instant) = instant(word) {
            return Ok(TimeWord::Instant(instant));
        }
        let wrong = || {
            CallError::Usage(format!(
                "{word}: write 2027-03-01, 2027-03-01T09:00, 2027-03-01T09:00:00Z, today, tomorrow, or a day's name"
            ))
        };
        let (day, time) = split(word);
        let seconds = match time {
            Some(time) => clock_seconds(time).ok_or_else(wrong)?,
            None => 0,
        };
        let date = match (day.parse::<LocalDate>(), days_ahead(day), weekday(day)) {
            (Ok(date), _, _) => date,
            (_, Some(days), _) => self.clock().await?.today.plus(days),
            (_, _, Some(number)) => {
                let from = match from {
                    Some(from) => from,
                    None => self.clock().await?.today.plus(1).midnight(),
                };
                next(number, seconds, from)
            }
            _ => return Err(wrong()),
        };
        Ok(match time {
            Some(_) => TimeWord::Wall(date.midnight().plus(seconds)),
            None => TimeWord::Date(date),
        })
    }

    /// The zone and today, read from the server at the first use.
    async fn clock(&self) -> Result<&ZoneAndToday, CallError> {
        self.clock.get_or_try_init(|| self.read_clock()).await
    }

    async fn read_clock(&self) -> Result<ZoneAndToday, CallError> {
        let name = match (self.zone, self.calendar) {
            (Some(zone), _) => zone.to_owned(),
            (None, Some(calendar)) => self
                .ask
                .zone_of(calendar)
                .await
                .map_err(CallError::about_zone)?,
            (None, None) => "UTC".to_owned(),
        };
        let zone = known(&name)?;
        let today = zone.wall(self.ask.now().await?).date();
        Ok(ZoneAndToday { zone, today })
    }
}

/// The zone of this name.
fn known(name: &str) -> Result<Arc<Zone>, CallError> {
    let unknown = |_| {
        CallError::Usage(format!(
            "zone {name} is unknown here; write a date as 2027-03-01, and a time with Z"
        ))
    };
    Zones::bundled().zone(name).map_err(unknown)
}

/// The instant at which a clock shows this wall time: the earlier one in a fold, the first instant
/// after the gap in a gap.
fn instant_of(zone: &Zone, wall: Wall) -> Instant {
    match zone.instants(wall) {
        LocalInstants::One(instant) | LocalInstants::Two(instant, _) => instant,
        LocalInstants::None { before, after } => before.max(after),
    }
}

/// The first date from `from` on that is this day of the week and on which this clock time is not
/// before `from`.
fn next(weekday: usize, seconds: i64, from: Wall) -> LocalDate {
    let days = (i32::try_from(weekday).unwrap_or_default() - i32::from(from.date().weekday()))
        .rem_euclid(WEEK_DAYS);
    let date = from.date().plus(days);
    if date.midnight().plus(seconds) < from {
        date.plus(WEEK_DAYS)
    } else {
        date
    }
}

/// The date of a word and its clock time, if it has one. The T of `Tuesday` separates nothing.
fn split(word: &str) -> (&str, Option<&str>) {
    match word
        .rsplit_once(['T', 't'])
        .filter(|(_, time)| time.contains(':'))
    {
        Some((day, time)) => (day, Some(time)),
        None => (word, None),
    }
}

/// Whether the date of a word is the name of a day.
fn is_weekday(word: &str) -> bool {
    weekday(split(word).0).is_some()
}

/// How many days after today a word is; none for other words.
fn days_ahead(word: &str) -> Option<i32> {
    match word.to_ascii_lowercase().as_str() {
        "today" => Some(0),
        "tomorrow" => Some(1),
        _ => None,
    }
}

/// A clock time `HH:MM` as seconds after midnight.
fn clock_seconds(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes))
        .then_some(hours * HOUR + minutes * MINUTE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_the_week_is_the_first_one_from_a_time_on() {
        let date = |text: &str| text.parse::<LocalDate>().unwrap();
        // A Saturday.
        let saturday = date("2027-03-06").midnight();
        let from =
            |wall: Wall, number: usize, seconds: i64| next(number, seconds, wall).to_string();
        assert_eq!(from(saturday, 5, 0), "2027-03-06");
        assert_eq!(from(saturday, 6, 0), "2027-03-07");
        assert_eq!(from(saturday, 4, 0), "2027-03-12");
        assert_eq!(
            from(saturday.plus(1), 5, 0),
            "2027-03-13",
            "midnight is over"
        );
        assert_eq!(from(saturday.plus(1), 5, HOUR), "2027-03-06");
        assert_eq!(from(saturday.plus(2 * HOUR), 5, HOUR), "2027-03-13");
    }

    #[test]
    fn a_word_is_split_at_its_clock_time_and_not_at_another_t() {
        assert_eq!(split("tuesday"), ("tuesday", None));
        assert_eq!(split("Tuesday"), ("Tuesday", None));
        assert_eq!(split("tuesdayT09:00"), ("tuesday", Some("09:00")));
        assert_eq!(split("satT09:00"), ("sat", Some("09:00")));
        assert_eq!(split("2027-03-01t09:00"), ("2027-03-01", Some("09:00")));
    }
}
