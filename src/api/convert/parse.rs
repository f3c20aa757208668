//! Reading fields: each reader answers the value or notes a violation, so that all are reported at once.
//!
//! After this file there are no strings that could be wrong.

use std::collections::HashSet;
use std::sync::Arc;

use prost_types::{Duration, Timestamp};
use uuid::Uuid;

use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::appointment::person::NOTE_CHARACTERS_MAX;
use bookd_core::appointment::{Assignment, CALENDARS_MAX, IgnoredRules};
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::calendar::availability::{Rule, Weekdays, Window};
use bookd_core::calendar::claims::Claim;
use bookd_core::command::Start;
use bookd_core::decide::resolve;
use bookd_core::field_violation::FieldViolation;
use bookd_core::ids::{AppointmentId, CalendarId, Etag, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{DAY, Instant, LocalDate, MINUTE, Minutes, Seconds, Wall};

/// The longest range of a query, in days.
pub const RANGE_DAYS_MAX: i64 = 400;
/// The longest `request_id`, in characters.
pub const REQUEST_ID_CHARACTERS_MAX: usize = 64;

/// The fields of one request as they are read.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    violations: Vec<FieldViolation>,
}

impl Fields {
    /// Notes what is wrong with a field.
    pub(crate) fn wrong<T>(&mut self, field: &str, description: impl Into<String>) -> Option<T> {
        self.violations
            .push(FieldViolation::new(field, description));
        None
    }

    /// The refusal of a request that is wrong in this one way.
    pub(crate) fn wrong_only(field: &str, description: impl Into<String>) -> Refusal {
        Refusal::FieldInvalid(vec![FieldViolation::new(field, description)])
    }

    /// Takes over what is wrong with a message inside this one: `from` at the beginning of a path becomes `to`.
    pub(crate) fn take_over(&mut self, inner: Self, from: &str, to: &str) {
        let renamed = |path: &str| format!("{to}{}", path.strip_prefix(from).unwrap_or(path));
        self.violations
            .extend(inner.violations.into_iter().map(|it| FieldViolation {
                field: renamed(&it.field),
                ..it
            }));
    }

    /// What was read, or all that is wrong with it.
    pub(crate) fn finish_with<T>(self, read: Option<T>) -> Result<T, Vec<FieldViolation>> {
        match read {
            Some(read) if self.violations.is_empty() => Ok(read),
            _ => Err(self.violations),
        }
    }

    /// The request, if every field of it could be read.
    pub(crate) fn finish<T>(self, request: Option<T>) -> Result<T, Refusal> {
        self.finish_with(request).map_err(Refusal::FieldInvalid)
    }

    pub(crate) fn calendar_id(
        &mut self,
        field: impl std::fmt::Display,
        text: &str,
    ) -> Option<CalendarId> {
        CalendarId::parse(text)
            .or_else(|error| self.wrong(&field.to_string(), error.to_string()).ok_or(()))
            .ok()
    }

    pub(crate) fn type_id(&mut self, field: &str, text: &str) -> Option<TypeId> {
        TypeId::parse(text)
            .or_else(|error| self.wrong(field, error.to_string()).ok_or(()))
            .ok()
    }

    pub(crate) fn appointment_id(&mut self, field: &str, text: &str) -> Option<AppointmentId> {
        // Only the hyphenated form, so that one appointment has one name.
        let id = (text.len() == 36)
            .then(|| Uuid::try_parse(text).ok())
            .flatten()
            .filter(|id| !id.is_nil());
        match id {
            Some(id) => Some(AppointmentId(id)),
            None => self.wrong(
                field,
                "must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91",
            ),
        }
    }

    pub(crate) fn optional_appointment_id(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<Option<AppointmentId>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.appointment_id(field, text).map(Some)
        }
    }

    /// One calendar, or several with their assignment.
    pub(crate) fn calendars(
        &mut self,
        one: &str,
        several: &[String],
        assignment: i32,
    ) -> Option<(Vec<CalendarId>, Assignment)> {
        if several.is_empty() {
            return Some((vec![self.calendar_id("calendar_id", one)?], Assignment::All));
        }
        if !one.is_empty() {
            return self.wrong("calendar_id", "cannot stand beside calendar_ids");
        }
        self.several("calendar_ids", several, assignment)
    }

    pub(crate) fn several(
        &mut self,
        field: &str,
        several: &[String],
        assignment: i32,
    ) -> Option<(Vec<CalendarId>, Assignment)> {
        if several.len() > CALENDARS_MAX {
            return self.wrong(field, format!("at most {CALENDARS_MAX} calendars"));
        }
        let ids: Vec<_> = several
            .iter()
            .enumerate()
            .map(|(n, id)| self.calendar_id(format_args!("{field}[{n}]"), id))
            .collect();
        let ids = ids.into_iter().collect::<Option<Vec<_>>>()?;
        let mut seen = HashSet::with_capacity(ids.len());
        if let Some(n) = ids.iter().position(|id| !seen.insert(id)) {
            return self.wrong(
                &format!("{field}[{n}]"),
                format!("{} is named twice", ids[n]),
            );
        }
        let assignment = match pb::Assignment::try_from(assignment) {
            Ok(pb::Assignment::All) => Assignment::All,
            Ok(pb::Assignment::Any) => Assignment::Any,
            Ok(pb::Assignment::Unspecified) if ids.len() < 2 => Assignment::All,
            _ => {
                return self.wrong(
                    "assignment",
                    "must be ASSIGNMENT_ALL or ASSIGNMENT_ANY with several calendars",
                );
            }
        };
        Some((ids, assignment))
    }

    pub(crate) fn zone(&mut self, zones: &Zones, field: &str, name: &str) -> Option<Arc<Zone>> {
        zones
            .zone(name)
            .or_else(|error| self.wrong(field, error.to_string()).ok_or(()))
            .ok()
    }

    /// None inside when the field is empty.
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

    /// An instant, exactly as sent but for the fraction of its second.
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

    /// A bound, rounded up: everything inside is a whole second, so it compares as its fraction would. A fraction of the
    /// last second there is, by which programs mean for ever, is rounded down.
    pub(crate) fn bound(&mut self, field: &str, timestamp: Option<&Timestamp>) -> Option<Instant> {
        let Some(timestamp) = timestamp else {
            return self.wrong(field, "is required");
        };
        self.timestamp(field, timestamp)
            .map(|(it, has_fraction)| it.plus(i64::from(has_fraction)).min(Instant::MAX))
    }

    /// A bound rounded down: where a period begins.
    fn floor(&mut self, field: &str, timestamp: Option<&Timestamp>) -> Option<Instant> {
        let Some(timestamp) = timestamp else {
            return self.wrong(field, "is required");
        };
        self.timestamp(field, timestamp).map(|(instant, _)| instant)
    }

    /// A range of at most so many days.
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

    /// `start_time` or `local_start`, or neither.
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
            (Some(timestamp), _) => self.start_instant(timestamp).map(|it| Some(Start::At(it))),
            (None, "") => zone.map(|_| None),
            (None, local) => {
                let wall = self.wall("local_start", local);
                let (wall, zone) = (wall?, zone?);
                // In the calendar's own zone it is read once the calendar is at hand.
                let Some(zone) = zone else {
                    return Some(Some(Start::Local { wall, zone: None }));
                };
                match resolve(&Start::Local { wall, zone: None }, &zone) {
                    Ok(instant) => Some(Some(Start::At(instant))),
                    Err(Refusal::FieldInvalid(violations)) => {
                        self.violations.extend(violations);
                        None
                    }
                    Err(other) => self.wrong("local_start", format!("{other:?}")),
                }
            }
        }
    }

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

    /// `2027-03-26T09:00`.
    pub(crate) fn wall(&mut self, field: &str, text: &str) -> Option<Wall> {
        let read = || {
            let (date, clock) = text.split_once('T')?;
            let minutes = clock_minutes(clock).filter(|minutes| *minutes < 24 * 60)?;
            Some(
                date.parse::<LocalDate>()
                    .ok()?
                    .midnight()
                    .plus(i64::from(minutes) * MINUTE),
            )
        };
        read().or_else(|| self.wrong(field, "must be YYYY-MM-DDTHH:MM, such as 2027-03-26T09:00"))
    }

    pub(crate) fn date(&mut self, field: &str, text: &str) -> Option<LocalDate> {
        text.parse()
            .or_else(|_| {
                self.wrong(field, "must be a date YYYY-MM-DD, such as 2027-03-14")
                    .ok_or(())
            })
            .ok()
    }

    /// None inside when the field is empty.
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

    /// Whole minutes, from `least` minutes to seven days; none inside when absent.
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

    /// Whole seconds up to `most`; none inside when absent.
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

    /// At most so many characters, none of them a control character, no space around.
    pub(crate) fn text(
        &mut self,
        field: &str,
        text: &str,
        characters_max: usize,
    ) -> Option<String> {
        if text.trim() != text {
            return self.wrong(field, "must have no space around");
        }
        if text.chars().any(char::is_control) {
            return self.wrong(field, "must be one line without control characters");
        }
        self.note(field, text, characters_max)
    }

    /// Free text of at most so many characters.
    pub(crate) fn note(
        &mut self,
        field: &str,
        text: &str,
        characters_max: usize,
    ) -> Option<String> {
        if text.contains('\0') {
            return self.wrong(field, "must not contain NUL");
        }
        if text.chars().count() > characters_max {
            return self.wrong(
                field,
                format!("must have at most {characters_max} characters"),
            );
        }
        Some(text.to_owned())
    }

    pub(crate) fn reason(&mut self, text: &str) -> Option<String> {
        self.note("reason", text, NOTE_CHARACTERS_MAX)
    }

    pub(crate) fn limits(&mut self, field: &str, limits: Option<&pb::Limits>) -> Option<Limits> {
        let Some(limits) = limits else {
            return Some(Limits::default());
        };
        let mut one = |name: &str, value: Option<i32>| match value.map(u32::try_from) {
            None => Some(None),
            Some(Ok(value)) => Some(Some(value)),
            Some(Err(_)) => self.wrong(&format!("{field}.{name}"), "must not be negative"),
        };
        let (day, week) = (
            one("per_day", limits.per_day),
            one("per_week", limits.per_week),
        );
        let (month, year) = (
            one("per_month", limits.per_month),
            one("per_year", limits.per_year),
        );
        Some(Limits {
            per_day: day?,
            per_week: week?,
            per_month: month?,
            per_year: year?,
        })
    }

    pub(crate) fn window(&mut self, field: &str, start: &str, end: &str) -> Option<Window> {
        let (start_field, end_field) = (format!("{field}.start_time"), format!("{field}.end_time"));
        let mut clock = |path: &str, text: &str| {
            clock_minutes(text)
                .or_else(|| self.wrong(path, "must be a clock time HH:MM, 00:00 to 48:00"))
        };
        let (start, end) = (clock(&start_field, start), clock(&end_field, end));
        let (start, end) = (start?, end?);
        let path = if start >= 24 * 60 {
            &start_field
        } else {
            &end_field
        };
        Window::new(start, end)
            .or_else(|error| self.wrong(path, error.to_string()).ok_or(()))
            .ok()
    }

    pub(crate) fn rules(
        &mut self,
        field: &str,
        rules: &[pb::AvailabilityRule],
        most: usize,
    ) -> Option<Vec<Rule>> {
        if rules.len() > most {
            return self.wrong(field, format!("at most {most} rules"));
        }
        let rules: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(n, it)| self.rule(&format!("{field}[{n}]"), it))
            .collect();
        rules.into_iter().collect()
    }

    fn rule(&mut self, field: &str, rule: &pb::AvailabilityRule) -> Option<Rule> {
        let mut weekdays = Some(if rule.days_of_week.is_empty() {
            Weekdays::ALL
        } else {
            Weekdays::NONE
        });
        for (n, day) in rule.days_of_week.iter().enumerate() {
            let number = u8::try_from(*day).ok().filter(|day| (1..=7).contains(day));
            weekdays = match (weekdays, number) {
                (weekdays, None) => {
                    let _ = weekdays;
                    self.wrong(
                        &format!("{field}.days_of_week[{n}]"),
                        "must be a day of the week",
                    )
                }
                (weekdays, Some(day)) => weekdays.map(|it| it.with(day - 1)),
            };
        }
        let window = self.window(field, &rule.start_time, &rule.end_time);
        let first_date = self.optional_date(&format!("{field}.from_date"), &rule.from_date);
        let last_date = self.optional_date(&format!("{field}.to_date"), &rule.to_date);
        let (first_date, last_date) = (first_date?, last_date?);
        if let (Some(first), Some(last)) = (first_date, last_date)
            && first > last
        {
            return self.wrong(&format!("{field}.to_date"), "must not be before from_date");
        }
        Some(Rule {
            weekdays: weekdays?,
            window: window?,
            first_date,
            last_date,
        })
    }

    pub(crate) fn ignored_rules(&mut self, rules: &[i32]) -> Option<IgnoredRules> {
        let mut ignored = IgnoredRules::default();
        for (n, rule) in rules.iter().enumerate() {
            match pb::IgnorableRule::try_from(*rule) {
                Ok(pb::IgnorableRule::OutsideAvailability) => ignored.outside_availability = true,
                Ok(pb::IgnorableRule::Misaligned) => ignored.misaligned = true,
                Ok(pb::IgnorableRule::Notice) => ignored.notice = true,
                Ok(pb::IgnorableRule::Horizon) => ignored.horizon = true,
                Ok(pb::IgnorableRule::Limit) => ignored.limit = true,
                _ => {
                    return self.wrong(
                        &format!("ignore_rules[{n}]"),
                        "is not a rule that can be ignored",
                    );
                }
            }
        }
        Some(ignored)
    }

    /// None inside when the field is empty.
    pub(crate) fn etag(&mut self, field: &str, text: &str) -> Option<Option<Etag>> {
        if text.is_empty() {
            return Some(None);
        }
        Etag::parse(text)
            .map(Some)
            .or_else(|| self.wrong(field, "is not an etag of this server"))
    }

    /// Between 1 and `most`, `default` for 0.
    pub(crate) fn page_size(&mut self, size: i32) -> Option<usize> {
        match usize::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) => Some(size.min(PAGE_SIZE_MAX)),
            Err(_) => self.wrong("page_size", "must not be negative"),
        }
    }

    pub(crate) fn request_id(&mut self, text: &str) -> Option<()> {
        let is_id = text.chars().count() <= REQUEST_ID_CHARACTERS_MAX
            && !text.chars().any(char::is_control);
        if is_id {
            return Some(());
        }
        self.wrong(
            "request_id",
            format!("must have at most {REQUEST_ID_CHARACTERS_MAX} characters, none of them control characters"),
        )
    }
}

/// How many items a page has unless asked otherwise.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// How many items a page has at most.
pub const PAGE_SIZE_MAX: usize = 1_000;

/// `HH:MM` from `00:00` to `48:00` as minutes.
pub(crate) fn clock_minutes(text: &str) -> Option<u16> {
    let bytes = text.as_bytes();
    let digit = |index: usize| {
        bytes
            .get(index)
            .filter(|it| it.is_ascii_digit())
            .map(|it| u16::from(*it - b'0'))
    };
    if bytes.len() != 5 || bytes[2] != b':' {
        return None;
    }
    let hour = digit(0)? * 10 + digit(1)?;
    let minute = digit(3)? * 10 + digit(4)?;
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 48 * 60).then_some(minutes)
}

/// The fields that a mask names, of those that may be changed; `*` = all of them.
pub(crate) fn fields_of_mask(
    mask: &prost_types::FieldMask,
    known: &[&'static str],
    fields: &mut Fields,
) -> Option<Vec<&'static str>> {
    let mut named = Vec::new();
    for path in &mask.paths {
        match known.iter().find(|name| *name == path) {
            Some(name) => named.push(*name),
            None if path == "*" && mask.paths.len() == 1 => return Some(known.to_vec()),
            None => {
                let known = known.join(", ");
                let shown: String = path.chars().take(60).collect();
                return fields.wrong(
                    "update_mask",
                    format!("{shown:?} cannot be changed; name some of {known}, or *"),
                );
            }
        }
    }
    Some(named)
}
