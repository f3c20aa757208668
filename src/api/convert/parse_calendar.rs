//! Reading calendars as messages have them: settings, appointment types, overrides.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::person::NAME_CHARACTERS_MAX;
use bookd_core::calendar::Owner;
use bookd_core::calendar::appointment_type::{
    AppointmentType, CAPACITY_MAX, DURATION_OPTIONS_MAX, HORIZON_DAYS_MAX, Stamps,
};
use bookd_core::calendar::availability::{
    OVERRIDE_WINDOWS_MAX, OVERRIDES_MAX, Override, TYPE_RULES_MAX,
};
use bookd_core::command::ProfilePatch;
use bookd_core::time::zone::Zone;
use bookd_core::time::{LocalDate, Seconds};

use crate::api::convert::parse::Fields;
use crate::proto::v1 as pb;
use crate::zones::Zones;

/// All settings of a message, each as read.
pub(crate) fn patch_of(
    zones: &Zones,
    utc: &Arc<Zone>,
    it: &pb::Calendar,
    fields: &mut Fields,
) -> Option<ProfilePatch> {
    let display_name = fields.text(
        "calendar.display_name",
        &it.display_name,
        NAME_CHARACTERS_MAX,
    );
    let owner = it.owner.clone().unwrap_or_default();
    let owner_name = fields.text("calendar.owner.name", &owner.name, NAME_CHARACTERS_MAX);
    let owner_email = fields.address("calendar.owner.email", &owner.email);
    let zone: Option<Arc<Zone>> = match it.time_zone.as_str() {
        "" => Some(Arc::clone(utc)),
        name => fields.zone(zones, "calendar.time_zone", name),
    };
    let limits = fields.limits("calendar.limits", it.limits.as_ref());
    let metadata = fields.metadata("calendar.metadata", &it.metadata);
    Some(ProfilePatch {
        display_name: Some(display_name?),
        owner: Some(Owner {
            name: owner_name?,
            email: owner_email?,
        }),
        zone: Some(zone?),
        paused: Some(it.paused),
        limits: Some(limits?),
        metadata: Some(metadata?),
    })
}

pub(crate) fn appointment_type(
    it: &pb::AppointmentType,
    fields: &mut Fields,
) -> Option<AppointmentType> {
    let path = |name: &str| format!("appointment_type.{name}");
    let base = AppointmentType::default_type(Stamps::default());
    let id = fields.type_id(&path("appointment_type_id"), &it.appointment_type_id);
    let display_name = fields.text(&path("display_name"), &it.display_name, NAME_CHARACTERS_MAX);
    let duration = fields.minutes(&path("duration"), it.duration.as_ref(), 1);
    if it.duration_options.len() > DURATION_OPTIONS_MAX {
        return fields.wrong(
            &path("duration_options"),
            format!("at most {DURATION_OPTIONS_MAX} options"),
        );
    }
    let options = it.duration_options.iter().enumerate();
    let options: Vec<_> = options
        .map(|(n, it)| fields.minutes(&path(&format!("duration_options[{n}]")), Some(it), 1))
        .collect();
    let slot_step = fields.minutes(&path("slot_step"), it.slot_step.as_ref(), 1);
    let buffer_before = fields.minutes(&path("buffer_before"), it.buffer_before.as_ref(), 0);
    let buffer_after = fields.minutes(&path("buffer_after"), it.buffer_after.as_ref(), 0);
    let min_notice = fields.seconds(&path("min_notice"), it.min_notice.as_ref(), Seconds::MAX);
    let cancel_notice = fields.seconds(
        &path("cancel_notice"),
        it.cancel_notice.as_ref(),
        Seconds::MAX,
    );
    let reschedule_notice = fields.seconds(
        &path("reschedule_notice"),
        it.reschedule_notice.as_ref(),
        Seconds::MAX,
    );
    let mut number =
        |name: &str, value: Option<i32>, least: u32, most: u32, default: u32| match value
            .map(u32::try_from)
        {
            None => Some(default),
            Some(Ok(value)) if (least..=most).contains(&value) => Some(value),
            Some(_) => fields.wrong(&path(name), format!("must be from {least} to {most}")),
        };
    let horizon_days = number(
        "horizon_days",
        it.horizon_days,
        0,
        HORIZON_DAYS_MAX,
        base.horizon_days,
    );
    let capacity = number("capacity", it.capacity, 1, CAPACITY_MAX, base.capacity);
    let limits = fields.limits(&path("limits"), it.limits.as_ref());
    let rules = fields.rules(&path("rules"), &it.rules, TYPE_RULES_MAX);
    Some(AppointmentType {
        id: id?,
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
        horizon_days: horizon_days?,
        capacity: capacity?,
        limits: limits?,
        requires_approval: it.requires_approval,
        pending_blocks: it.pending_blocks.unwrap_or(true),
        cancel_notice: cancel_notice?,
        reschedule_notice: reschedule_notice?,
        rules: rules?,
        ..base
    })
}

/// Adds the hours of each date of one override.
pub(crate) fn put_override(
    field: &str,
    it: &pb::AvailabilityOverride,
    overrides: &mut BTreeMap<LocalDate, Override>,
    fields: &mut Fields,
) -> Option<()> {
    let first = fields.date(&format!("{field}.date"), &it.date);
    let last = fields.optional_date(&format!("{field}.to_date"), &it.to_date);
    let note = fields.text(&format!("{field}.note"), &it.note, NAME_CHARACTERS_MAX);
    if it.windows.len() > OVERRIDE_WINDOWS_MAX {
        return fields.wrong(
            &format!("{field}.windows"),
            format!("at most {OVERRIDE_WINDOWS_MAX} windows"),
        );
    }
    let windows = it.windows.iter().enumerate();
    let windows: Vec<_> = windows
        .map(|(n, it)| {
            fields.window(
                &format!("{field}.windows[{n}]"),
                &it.start_time,
                &it.end_time,
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
