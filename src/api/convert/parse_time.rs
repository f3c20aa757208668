//! Fields that say when: instants, ranges, starts, dates, clock times, durations and time zones.
//!
//! Instants are whole seconds from here on, and starts are whole minutes.

use std::sync::Arc;

use prost_types::{Duration, Timestamp};

use crate::api::convert::parse::Fields;
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::calendar::claims::Claim;
use bookd_core::command::Start;
use bookd_core::decide::resolve;
use bookd_core::refusal::Refusal;
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{DAY, Instant, LocalDate, MINUTE, Minutes, Seconds, Wall};

/// The longest range of a query, in days.
pub const RANGE_DAYS_MAX: i64 = 400;

impl Fields {
    pub(crate) fn zone(&mut self, zones: &Zones, field: &str, name: &str) -> Option<Arc<Zone>> {
        self.accept(field, zones.zone(name))
    }

    pub(crate) fn optional_zone(
        &mut self,
        zones: &Zones,
        field: &str,
        name: &str,
    ) -> Option<Option<Arc<Zone>>> {
        if name.is_empty() {
            Some(None)
        } else {
            self.zone(zones, field, name).map(Some)
        }
    }

    /// An instant rounded down to the second, and whether it has a fraction of a second.
    fn timestamp(&mut self, field: &str, timestamp: &Timestamp) -> Option<(Instant, bool)> {
        let instant = Instant::from_seconds(timestamp.seconds);
        let is_instant = Instant::MIN <= instant
            && instant <= Instant::MAX
            && (0..1_000_000_000).contains(&timestamp.nanos);
        if is_instant {
            Some((instant, timestamp.nanos > 0))
        } else {
            self.wrong(field, "is not a timestamp between the years 1 and 9999")
        }
    }

    /// A bound, rounded up to the second: every instant that is compared with it is a whole second,
    /// so that the rounded bound compares as the exact one. A fraction of the last second of the
    /// year 9999, by which programs mean for ever, is rounded down.
    pub(crate) fn bound(&mut self, field: &str, timestamp: Option<&Timestamp>) -> Option<Instant> {
        let Some(timestamp) = timestamp else {
            return self.wrong(field, "is required");
        };
        self.timestamp(field, timestamp)
            .map(|(instant, has_fraction)| instant.plus(i64::from(has_fraction)).min(Instant::MAX))
    }

    pub(crate) fn optional_bound(
        &mut self,
        field: &str,
        timestamp: Option<&Timestamp>,
    ) -> Option<Option<Instant>> {
        match timestamp {
            None => Some(None),
            given => self.bound(field, given).map(Some),
        }
    }

    /// A bound rounded down to the second: the beginning of a period.
    fn floor(&mut self, field: &str, timestamp: Option<&Timestamp>) -> Option<Instant> {
        let Some(timestamp) = timestamp else {
            return self.wrong(field, "is required");
        };
        self.timestamp(field, timestamp).map(|(instant, _)| instant)
    }

    /// The range of a query: not empty and at most `days_max` days long.
    pub(crate) fn range(
        &mut self,
        from: Option<&Timestamp>,
        to: Option<&Timestamp>,
        days_max: i64,
    ) -> Option<Interval> {
        let (from, to) = (self.bound("start_time", from), self.bound("end_time", to));
        let (from, to) = (from?, to?);
        if from >= to {
            return self.wrong("end_time", "must be after start_time");
        }
        if to.since(from) > days_max * DAY {
            return self.wrong(
                "end_time",
                format!("must be at most {days_max} days after start_time"),
            );
        }
        Some(Interval::new(from, to))
    }

    /// A period, rounded outward to seconds.
    pub(crate) fn period(&mut self, field: &str, period: &pb::Period) -> Option<Interval> {
        let from = self.floor(&format!("{field}.start_time"), period.start_time.as_ref());
        let to = self.bound(&format!("{field}.end_time"), period.end_time.as_ref());
        let (from, to) = (from?, to?);
        if from < to {
            Some(Interval::new(from, to))
        } else {
            self.wrong(&format!("{field}.end_time"), "must be after start_time")
        }
    }

    /// A start: an instant that is a whole minute.
    fn start_instant(&mut self, timestamp: &Timestamp) -> Option<Instant> {
        let (instant, has_fraction) = self.timestamp("start_time", timestamp)?;
        if has_fraction || !instant.is_whole_minute() {
            return self.wrong("start_time", "must be a whole minute");
        }
        if instant < Claim::START_MIN || instant >= Claim::START_END {
            return self.wrong("start_time", "must lie in the years 1 to 5999");
        }
        Some(instant)
    }

    /// A start by `start_time` or by `local_start`. Where `time_zone` is empty, a local start stays
    /// local until its calendar, and so its zone, is known.
    pub(crate) fn optional_start(
        &mut self,
        zones: &Zones,
        start_time: Option<&Timestamp>,
        local_start: &str,
        time_zone: &str,
    ) -> Option<Option<Start>> {
        let zone = self.optional_zone(zones, "time_zone", time_zone);
        match (start_time, local_start) {
            (Some(_), local) if !local.is_empty() => {
                self.wrong("local_start", "cannot stand beside start_time")
            }
            (Some(timestamp), _) => self
                .start_instant(timestamp)
                .map(|instant| Some(Start::At(instant))),
            (None, "") => zone.map(|_| None),
            (None, local) => {
                let wall = self.wall("local_start", local);
                self.local_start(wall?, zone?.as_deref()).map(Some)
            }
        }
    }

    fn local_start(&mut self, wall: Wall, zone: Option<&Zone>) -> Option<Start> {
        let start = Start::Local { wall, zone: None };
        let Some(zone) = zone else {
            return Some(start);
        };
        match resolve(&start, zone) {
            Ok(instant) => Some(Start::At(instant)),
            Err(Refusal::FieldInvalid(violations)) => {
                self.note_all(violations);
                None
            }
            Err(other) => self.wrong("local_start", format!("{other:?}")),
        }
    }

    /// A required start.
    pub(crate) fn start(
        &mut self,
        zones: &Zones,
        start_time: Option<&Timestamp>,
        local_start: &str,
        time_zone: &str,
    ) -> Option<Start> {
        let start = self.optional_start(zones, start_time, local_start, time_zone);
        if start_time.is_none() && local_start.is_empty() {
            return self.wrong("start_time", "is required, or local_start");
        }
        start?
    }

    /// A wall time such as `2027-03-26T09:00`.
    pub(crate) fn wall(&mut self, field: &str, text: &str) -> Option<Wall> {
        read_wall(text)
            .or_else(|| self.wrong(field, "must be YYYY-MM-DDTHH:MM, such as 2027-03-26T09:00"))
    }

    pub(crate) fn date(&mut self, field: &str, text: &str) -> Option<LocalDate> {
        match text.parse() {
            Ok(date) => Some(date),
            Err(_) => self.wrong(field, "must be a date YYYY-MM-DD, such as 2027-03-14"),
        }
    }

    pub(crate) fn optional_date(&mut self, field: &str, text: &str) -> Option<Option<LocalDate>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.date(field, text).map(Some)
        }
    }

    fn seconds_of(&mut self, field: &str, duration: &Duration) -> Option<i64> {
        if duration.nanos != 0 {
            return self.wrong(field, "must be whole seconds");
        }
        Some(duration.seconds)
    }

    /// Whole minutes, from `least` minutes to seven days.
    pub(crate) fn minutes(
        &mut self,
        field: &str,
        duration: Option<&Duration>,
        least: u32,
    ) -> Option<Option<Minutes>> {
        let Some(duration) = duration else {
            return Some(None);
        };
        let seconds = self.seconds_of(field, duration)?;
        let minutes = u32::try_from(seconds / MINUTE).ok().and_then(Minutes::new);
        let minutes = minutes.filter(|it| it.minutes() >= least && *it <= Minutes::ASKED_MAX);
        match minutes {
            Some(minutes) if seconds % MINUTE == 0 && seconds >= 0 => Some(Some(minutes)),
            _ => self.wrong(
                field,
                format!("must be whole minutes, from {least} minutes to 7 days"),
            ),
        }
    }

    /// Whole seconds, from 0 to `most`.
    pub(crate) fn seconds(
        &mut self,
        field: &str,
        duration: Option<&Duration>,
        most: Seconds,
    ) -> Option<Option<Seconds>> {
        let Some(duration) = duration else {
            return Some(None);
        };
        let seconds = self.seconds_of(field, duration)?;
        match Seconds::new(seconds).filter(|it| *it <= most) {
            Some(seconds) => Some(Some(seconds)),
            None => self.wrong(
                field,
                format!("must be from 0 to {} seconds", most.seconds()),
            ),
        }
    }
}

fn read_wall(text: &str) -> Option<Wall> {
    let (date, clock) = text.split_once('T')?;
    let minutes = clock_minutes(clock).filter(|minutes| *minutes < 24 * 60)?;
    let midnight = date.parse::<LocalDate>().ok()?.midnight();
    Some(midnight.plus(i64::from(minutes) * MINUTE))
}

/// A clock time `HH:MM` from `00:00` to `48:00`, in minutes.
pub(crate) fn clock_minutes(text: &str) -> Option<u16> {
    let bytes = text.as_bytes();
    let digit = |index: usize| {
        bytes
            .get(index)
            .filter(|byte| byte.is_ascii_digit())
            .map(|byte| u16::from(*byte - b'0'))
    };
    if bytes.len() != 5 || bytes[2] != b':' {
        return None;
    }
    let hour = digit(0)? * 10 + digit(1)?;
    let minute = digit(3)? * 10 + digit(4)?;
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 48 * 60).then_some(minutes)
}
