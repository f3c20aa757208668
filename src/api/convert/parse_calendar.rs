//! Calendars as messages have them: settings, appointment types, weekly rules and overrides.
//!
//! An absent field gets the value that the `default` type or a new calendar has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bookd_core::appointment::person::NAME_CHARACTERS_MAX;
use bookd_core::calendar::Owner;
use bookd_core::calendar::appointment_type::{
    AppointmentType, CAPACITY_MAX, DURATION_OPTIONS_MAX, HORIZON_DAYS_MAX, Limits, Stamps,
};
use bookd_core::calendar::availability::{
    OVERRIDE_WINDOWS_MAX, OVERRIDES_MAX, Override, Rule, TYPE_RULES_MAX, Weekdays, Window,
};
use bookd_core::command::ProfilePatch;
use bookd_core::time::zone::Zone;
use bookd_core::time::{LocalDate, Seconds};
use prost_types::Duration;

use crate::api::convert::parse::Fields;
use crate::api::convert::parse_time::clock_minutes;
use crate::proto::v1 as pb;
use crate::zones::Zones;

/// All settings of a message; every one is present in the patch.
pub(crate) fn patch_of(
    zones: &Zones,
    utc: &Arc<Zone>,
    message: &pb::Calendar,
    fields: &mut Fields,
) -> Option<ProfilePatch> {
    let display_name = fields.text(
        "calendar.display_name",
        &message.display_name,
        NAME_CHARACTERS_MAX,
    );
    let owner = message.owner.clone().unwrap_or_default();
    let owner_name = fields.text("calendar.owner.name", &owner.name, NAME_CHARACTERS_MAX);
    let owner_email = fields.address("calendar.owner.email", &owner.email);
    let zone: Option<Arc<Zone>> = match message.time_zone.as_str() {
        "" => Some(Arc::clone(utc)),
        name => fields.zone(zones, "calendar.time_zone", name),
    };
    let limits = fields.limits("calendar.limits", message.limits.as_ref());
    let metadata = fields.metadata("calendar.metadata", &message.metadata);
    Some(ProfilePatch {
        display_name: Some(display_name?),
        owner: Some(Owner {
            name: owner_name?,
            email: owner_email?,
        }),
        zone: Some(zone?),
        paused: Some(message.paused),
        limits: Some(limits?),
        metadata: Some(metadata?),
    })
}

/// The appointment type of a message, its fields named `appointment_type.…` in violations.
pub(crate) fn appointment_type(
    message: &pb::AppointmentType,
    fields: &mut Fields,
) -> Option<AppointmentType> {
    let path = |name: &str| format!("appointment_type.{name}");
    let base = AppointmentType::default_type(Stamps::default());
    let id = fields.type_id(&path("appointment_type_id"), &message.appointment_type_id);
    let display_name = &message.display_name;
    let display_name = fields.text(&path("display_name"), display_name, NAME_CHARACTERS_MAX);
    let duration = fields.minutes(&path("duration"), message.duration.as_ref(), 1);
    if message.duration_options.len() > DURATION_OPTIONS_MAX {
        return fields.wrong(
            &path("duration_options"),
            format!("at most {DURATION_OPTIONS_MAX} options"),
        );
    }
    let options = message.duration_options.iter().enumerate();
    let options: Vec<_> = options
        .map(|(n, option)| {
            fields.minutes(&path(&format!("duration_options[{n}]")), Some(option), 1)
        })
        .collect();
    let slot_step = fields.minutes(&path("slot_step"), message.slot_step.as_ref(), 1);
    let buffer_before = fields.minutes(&path("buffer_before"), message.buffer_before.as_ref(), 0);
    let buffer_after = fields.minutes(&path("buffer_after"), message.buffer_after.as_ref(), 0);
    let mut notice =
        |name: &str, notice: Option<&Duration>| fields.seconds(&path(name), notice, Seconds::MAX);
    let min_notice = notice("min_notice", message.min_notice.as_ref());
    let cancel_notice = notice("cancel_notice", message.cancel_notice.as_ref());
    let reschedule_notice = notice("reschedule_notice", message.reschedule_notice.as_ref());
    let horizon_days = message.horizon_days;
    let horizon_days = fields.count(&path("horizon_days"), horizon_days, 0..=HORIZON_DAYS_MAX);
    let capacity = fields.count(&path("capacity"), message.capacity, 1..=CAPACITY_MAX);
    let limits = fields.limits(&path("limits"), message.limits.as_ref());
    let rules = fields.rules(&path("rules"), &message.rules, TYPE_RULES_MAX);
    Some(AppointmentType {
        id: id?,
        number: base.number,
        display_name: display_name?,
        duration: duration?.unwrap_or(base.duration),
        duration_options: options
            .into_iter()
            .map(Option::flatten)
            .collect::<Option<_>>()?,
        slot_step: slot_step?,
        buffer_before: buffer_before?.unwrap_or_default(),
        buffer_after: buffer_after?.unwrap_or_default(),
        min_notice: min_notice?.unwrap_or_default(),
        horizon_days: horizon_days?.unwrap_or(base.horizon_days),
        capacity: capacity?.unwrap_or(base.capacity),
        limits: limits?,
        requires_approval: message.requires_approval,
        pending_blocks: message.pending_blocks.unwrap_or(true),
        cancel_notice: cancel_notice?,
        reschedule_notice: reschedule_notice?,
        rules: rules?,
        stamps: base.stamps,
    })
}

/// Adds the hours of each date of one override to `overrides`.
pub(crate) fn put_override(
    field: &str,
    message: &pb::AvailabilityOverride,
    overrides: &mut BTreeMap<LocalDate, Override>,
    fields: &mut Fields,
) -> Option<()> {
    let first = fields.date(&format!("{field}.date"), &message.date);
    let last = fields.optional_date(&format!("{field}.to_date"), &message.to_date);
    let note = fields.text(&format!("{field}.note"), &message.note, NAME_CHARACTERS_MAX);
    if message.windows.len() > OVERRIDE_WINDOWS_MAX {
        return fields.wrong(
            &format!("{field}.windows"),
            format!("at most {OVERRIDE_WINDOWS_MAX} windows"),
        );
    }
    let windows = message.windows.iter().enumerate();
    let windows: Vec<_> = windows
        .map(|(n, window)| {
            fields.window(
                &format!("{field}.windows[{n}]"),
                &window.start_time,
                &window.end_time,
            )
        })
        .collect();
    let hours = Override {
        windows: windows.into_iter().collect::<Option<_>>()?,
        note: note?,
    };
    let first = first?;
    let last = last?.unwrap_or(first);
    if last < first {
        return fields.wrong(&format!("{field}.to_date"), "must not be before date");
    }
    if last.days() - first.days() >= i32::try_from(OVERRIDES_MAX).unwrap_or(i32::MAX) {
        return fields.wrong(
            &format!("{field}.to_date"),
            format!("a range has at most {OVERRIDES_MAX} dates"),
        );
    }
    for days in 0..=last.days() - first.days() {
        let date = first.plus(days);
        if overrides.insert(date, hours.clone()).is_some() {
            return fields.wrong(&format!("{field}.date"), format!("{date} is named twice"));
        }
        if overrides.len() > OVERRIDES_MAX {
            return fields.wrong("overrides", format!("at most {OVERRIDES_MAX} dates"));
        }
    }
    Some(())
}

impl Fields {
    /// A number within a range.
    fn count(
        &mut self,
        field: &str,
        value: Option<i32>,
        range: RangeInclusive<u32>,
    ) -> Option<Option<u32>> {
        match value.map(u32::try_from) {
            None => Some(None),
            Some(Ok(value)) if range.contains(&value) => Some(Some(value)),
            Some(_) => {
                let (least, most) = range.into_inner();
                self.wrong(field, format!("must be from {least} to {most}"))
            }
        }
    }

    /// How many appointments may be booked per day, week, month and year.
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

    /// A window of clock times, which may end on the next day.
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
        self.accept(path, Window::new(start, end))
    }

    /// At most `most` weekly rules.
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
            .map(|(n, rule)| self.rule(&format!("{field}[{n}]"), rule))
            .collect();
        rules.into_iter().collect()
    }

    fn rule(&mut self, field: &str, rule: &pb::AvailabilityRule) -> Option<Rule> {
        let weekdays = self.weekdays(field, &rule.days_of_week);
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

    /// Days of the week, 1 (Monday) to 7; none named means every day.
    fn weekdays(&mut self, field: &str, days: &[i32]) -> Option<Weekdays> {
        if days.is_empty() {
            return Some(Weekdays::ALL);
        }
        let mut weekdays = Some(Weekdays::NONE);
        for (n, day) in days.iter().enumerate() {
            let number = u8::try_from(*day).ok().filter(|day| (1..=7).contains(day));
            weekdays = match number {
                Some(number) => weekdays.map(|weekdays| weekdays.with(number - 1)),
                None => self.wrong(
                    &format!("{field}.days_of_week[{n}]"),
                    "must be a day of the week",
                ),
            };
        }
        weekdays
    }
}
