//! What the core knows, as messages.

use prost_types::{Duration, Timestamp};

use crate::proto::v1 as pb;
use bookd_core::appointment::confirmation_code;
use bookd_core::appointment::{
    Appointment, AppointmentState, Carried, IgnoredRules, Image, Invitee, Person,
};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Rule, Window};
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::change::AppointmentEvent;
use bookd_core::decide::Candidate;
use bookd_core::ids::{CalendarId, Etag, Revision};
use bookd_core::log::{CalendarEvent, LogEntry, LogEvent, What};
use bookd_core::slots::violation::{Violation, ViolationCode};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, LocalDate, MINUTE, Minutes, Seconds};

/// An instant; before the year 1 or after 9999 as the first or the last that a timestamp can say. The first year that a
/// limit counts may begin there, and what an earlier version stored may end there; and an answer with such a timestamp
/// has no JSON form: nothing of it could be read.
pub(crate) fn timestamp(instant: Instant) -> Timestamp {
    Timestamp {
        seconds: instant.clamp(Instant::MIN, Instant::MAX).seconds(),
        nanos: 0,
    }
}

pub(crate) fn revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(crate) fn period(interval: Interval) -> pb::Period {
    pb::Period {
        start_time: Some(timestamp(interval.start)),
        end_time: Some(timestamp(interval.end)),
    }
}

fn minutes(minutes: Minutes) -> Duration {
    Duration {
        seconds: minutes.seconds(),
        nanos: 0,
    }
}

fn seconds(seconds: Seconds) -> Duration {
    Duration {
        seconds: seconds.seconds(),
        nanos: 0,
    }
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn limits(limits: &Limits) -> Option<pb::Limits> {
    (!limits.is_unlimited()).then(|| pb::Limits {
        per_day: limits.per_day.map(number),
        per_week: limits.per_week.map(number),
        per_month: limits.per_month.map(number),
        per_year: limits.per_year.map(number),
    })
}

pub(crate) fn calendar(it: &Calendar) -> pb::Calendar {
    profile(&it.id, &it.profile, it.stamps)
}

pub(crate) fn profile(id: &CalendarId, it: &Profile, stamps: Stamps) -> pb::Calendar {
    let has_owner = !it.owner.name.is_empty() || !it.owner.email.is_empty();
    pb::Calendar {
        calendar_id: id.to_string(),
        display_name: it.display_name.clone(),
        time_zone: it.zone.name().to_owned(),
        owner: has_owner.then(|| pb::Owner {
            name: it.owner.name.clone(),
            email: it.owner.email.clone(),
        }),
        paused: it.paused,
        limits: limits(&it.limits),
        metadata: it.metadata.clone(),
        etag: Etag::of(id.as_str().as_bytes(), stamps.revision).to_string(),
        create_time: Some(timestamp(stamps.create_time)),
        update_time: Some(timestamp(stamps.update_time)),
        revision: revision(stamps.revision),
    }
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn date(date: Option<LocalDate>) -> String {
    date.map(|it| it.to_string()).unwrap_or_default()
}

fn rule(it: &Rule) -> pb::AvailabilityRule {
    let is_every_day = it.weekdays == bookd_core::calendar::availability::Weekdays::ALL;
    let days = it
        .weekdays
        .iter()
        .filter(|_| !is_every_day)
        .map(|day| i32::from(day) + 1);
    pb::AvailabilityRule {
        days_of_week: days.collect(),
        start_time: clock(it.window.start_minutes()),
        end_time: clock(it.window.end_minutes()),
        from_date: date(it.first_date),
        to_date: date(it.last_date),
    }
}

fn window(it: &Window) -> pb::Window {
    pb::Window {
        start_time: clock(it.start_minutes()),
        end_time: clock(it.end_minutes()),
    }
}

pub(crate) fn availability(it: &Calendar) -> pb::Availability {
    let overrides = it
        .profile
        .availability
        .overrides
        .iter()
        .map(|(date, hours)| pb::AvailabilityOverride {
            date: date.to_string(),
            to_date: String::new(),
            windows: hours.windows.iter().map(window).collect(),
            note: hours.note.clone(),
        });
    pb::Availability {
        calendar_id: it.id.to_string(),
        time_zone: it.profile.zone.name().to_owned(),
        rules: it.profile.availability.rules.iter().map(rule).collect(),
        overrides: overrides.collect(),
        etag: it.etag().to_string(),
    }
}

pub(crate) fn appointment_type(it: &AppointmentType) -> pb::AppointmentType {
    pb::AppointmentType {
        appointment_type_id: it.id.to_string(),
        display_name: it.display_name.clone(),
        duration: Some(minutes(it.duration)),
        duration_options: it.duration_options.iter().copied().map(minutes).collect(),
        slot_step: it.slot_step.map(minutes),
        buffer_before: Some(minutes(it.buffer_before)),
        buffer_after: Some(minutes(it.buffer_after)),
        min_notice: Some(seconds(it.min_notice)),
        horizon_days: Some(number(it.horizon_days)),
        capacity: Some(number(it.capacity)),
        limits: limits(&it.limits),
        requires_approval: it.requires_approval,
        pending_blocks: Some(it.pending_blocks),
        cancel_notice: it.cancel_notice.map(seconds),
        reschedule_notice: it.reschedule_notice.map(seconds),
        rules: it.rules.iter().map(rule).collect(),
        etag: it.etag().to_string(),
        create_time: Some(timestamp(it.stamps.create_time)),
        update_time: Some(timestamp(it.stamps.update_time)),
        revision: revision(it.stamps.revision),
    }
}

pub(crate) fn ignored_rules(it: IgnoredRules) -> Vec<i32> {
    let flags = [
        (
            it.outside_availability,
            pb::IgnorableRule::OutsideAvailability,
        ),
        (it.misaligned, pb::IgnorableRule::Misaligned),
        (it.notice, pb::IgnorableRule::Notice),
        (it.horizon, pb::IgnorableRule::Horizon),
        (it.limit, pb::IgnorableRule::Limit),
    ];
    flags
        .into_iter()
        .filter(|(is_ignored, _)| *is_ignored)
        .map(|(_, rule)| rule.into())
        .collect()
}

/// An appointment as it shows at `now`.
pub(crate) fn appointment(it: &Appointment, now: Instant, code_key: u64) -> pb::Appointment {
    let first = it.places.first();
    let Person {
        invitee: who,
        carried,
        cancel_reason,
    } = &it.person;
    let Carried {
        note,
        metadata,
        location,
    } = carried;
    pb::Appointment {
        appointment_id: it.id.to_string(),
        calendar_ids: it.calendars().map(|id| id.as_str().to_owned()).collect(),
        appointment_type_id: it.type_id.as_str().to_owned(),
        start_time: Some(timestamp(it.start)),
        end_time: Some(timestamp(it.end())),
        time_zone: it.time_zone.to_string(),
        local_start: it.local_start.to_string(),
        state: state(it.state_at(now)).into(),
        invitee: invitee(who),
        note: note.clone(),
        metadata: metadata.clone(),
        confirmation_code: confirmation_code::encode(it.key, code_key),
        expire_time: it.expire_time.map(timestamp),
        series_id: it
            .series()
            .map(|series| series.0.to_string())
            .unwrap_or_default(),
        sequence: number(it.sequence),
        cancel_reason: cancel_reason.clone(),
        buffer_before: first.map(|place| minutes(place.before)),
        buffer_after: first.map(|place| minutes(place.after)),
        ignored_rules: ignored_rules(it.ignored_rules),
        etag: it.etag().to_string(),
        create_time: Some(timestamp(it.create_time)),
        update_time: Some(timestamp(it.update_time)),
        revision: revision(it.revision),
        location: location.clone(),
        original_start: it
            .occurrence
            .map(|occurrence| timestamp(occurrence.original_start)),
    }
}

/// None of nobody.
fn invitee(it: &Invitee) -> Option<pb::Invitee> {
    let Invitee {
        name,
        email,
        phone,
        time_zone,
    } = it;
    (*it != Invitee::default()).then(|| pb::Invitee {
        name: name.clone(),
        email: email.written.clone(),
        phone: phone.clone(),
        time_zone: time_zone.clone(),
    })
}

pub(crate) fn state(state: AppointmentState) -> pb::AppointmentState {
    match state {
        AppointmentState::Held => pb::AppointmentState::Held,
        AppointmentState::Pending => pb::AppointmentState::Pending,
        AppointmentState::Confirmed => pb::AppointmentState::Confirmed,
        AppointmentState::Cancelled => pb::AppointmentState::Cancelled,
        AppointmentState::Declined => pb::AppointmentState::Declined,
        AppointmentState::Expired => pb::AppointmentState::Expired,
        AppointmentState::NoShow => pb::AppointmentState::NoShow,
        AppointmentState::Completed => pb::AppointmentState::Completed,
    }
}

/// The state of that number on the wire; none where it is none.
pub(crate) fn read_state(number: i32) -> Option<AppointmentState> {
    AppointmentState::ALL
        .into_iter()
        .find(|it| i32::from(state(*it)) == number)
}

/// A change, without the appointments that only watchers are shown.
pub(crate) fn change(entry: &LogEntry) -> pb::Change {
    pb::Change {
        revision: revision(entry.revision),
        commit_time: Some(timestamp(entry.time)),
        command: entry.cause.name().to_owned(),
        caller: entry.caller.0.to_string(),
        events: entry.events.iter().map(event).collect(),
    }
}

fn event(it: &LogEvent) -> pb::ChangeEvent {
    let calendar_ids = it
        .calendars
        .iter()
        .map(|it| it.calendar.as_str().to_owned())
        .collect();
    let event = pb::ChangeEvent {
        calendar_ids,
        ..pb::ChangeEvent::default()
    };
    match &it.what {
        What::Calendar(it) => {
            let (kind, detail) = calendar_event(it);
            pb::ChangeEvent {
                kind: kind.into(),
                detail: detail.to_owned(),
                ..event
            }
        }
        What::Appointment(it) => pb::ChangeEvent {
            kind: appointment_event(it.kind).into(),
            appointment_id: it.id.to_string(),
            before: it.before.as_ref().map(image),
            after: Some(image(&it.after)),
            ignored_rules: ignored_rules(it.after.ignored_rules),
            ..event
        },
    }
}

fn image(it: &Image) -> pb::AppointmentImage {
    pb::AppointmentImage {
        calendar_ids: it.calendars().map(|id| id.as_str().to_owned()).collect(),
        appointment_type_id: it.type_id.as_str().to_owned(),
        start_time: Some(timestamp(it.start)),
        end_time: Some(timestamp(it.end())),
        state: state(it.state).into(),
    }
}

fn calendar_event(it: &CalendarEvent) -> (pb::ChangeKind, &str) {
    match it {
        CalendarEvent::Created => (pb::ChangeKind::CalendarCreated, ""),
        CalendarEvent::ProfileChanged => (pb::ChangeKind::CalendarUpdated, ""),
        CalendarEvent::Deleted => (pb::ChangeKind::CalendarDeleted, ""),
        CalendarEvent::TypePut(id) => (pb::ChangeKind::TypePut, id.as_str()),
        CalendarEvent::TypeDeleted(id) => (pb::ChangeKind::TypeDeleted, id.as_str()),
        CalendarEvent::BusyPut(source) => (pb::ChangeKind::BusyPut, source),
    }
}

fn appointment_event(kind: AppointmentEvent) -> pb::ChangeKind {
    match kind {
        AppointmentEvent::Booked => pb::ChangeKind::Booked,
        AppointmentEvent::Held => pb::ChangeKind::Held,
        AppointmentEvent::Extended => pb::ChangeKind::Extended,
        AppointmentEvent::Released => pb::ChangeKind::Released,
        AppointmentEvent::Confirmed => pb::ChangeKind::Confirmed,
        AppointmentEvent::Approved => pb::ChangeKind::Approved,
        AppointmentEvent::Declined => pb::ChangeKind::Declined,
        AppointmentEvent::Moved => pb::ChangeKind::Moved,
        AppointmentEvent::Cancelled => pb::ChangeKind::Cancelled,
        AppointmentEvent::Updated => pb::ChangeKind::Updated,
        AppointmentEvent::MarkedNoShow => pb::ChangeKind::MarkedNoShow,
        AppointmentEvent::Completed => pb::ChangeKind::Completed,
        AppointmentEvent::Undone => pb::ChangeKind::Undone,
        AppointmentEvent::Expired => pb::ChangeKind::Expired,
        AppointmentEvent::Redacted => pb::ChangeKind::Redacted,
        AppointmentEvent::Imported => pb::ChangeKind::Imported,
        AppointmentEvent::Shortened => pb::ChangeKind::Shortened,
    }
}

pub(crate) fn candidate(it: &Candidate) -> pb::AssignmentCandidate {
    pb::AssignmentCandidate {
        calendar_id: it.calendar.as_str().to_owned(),
        load: number(it.load),
        chosen: it.is_chosen,
        reason: it.reason.clone(),
    }
}

/// A slot; with a zone, what clocks there show.
pub(crate) fn slot(
    interval: Interval,
    seats: u32,
    calendars: Vec<String>,
    zone: Option<&Zone>,
) -> pb::Slot {
    // The wall time of a zone that counted seconds once is shown to the minute.
    let shown = |instant: Instant| {
        zone.map(|zone| {
            let wall = zone.wall(instant);
            wall.plus(-wall.clock().rem_euclid(MINUTE)).to_string()
        })
    };
    pb::Slot {
        start_time: Some(timestamp(interval.start)),
        end_time: Some(timestamp(interval.end)),
        seats_remaining: number(seats),
        calendar_ids: calendars,
        local_start: shown(interval.start).unwrap_or_default(),
        local_end: shown(interval.end).unwrap_or_default(),
    }
}

pub(crate) fn violation(it: &Violation, appointment_ids: Vec<String>) -> pb::Violation {
    pb::Violation {
        code: violation_code(it.code).into(),
        calendar_id: it.calendar.as_str().to_owned(),
        message: it.rule.clone(),
        conflict: it.interval.map(period),
        appointment_ids,
    }
}

fn violation_code(code: ViolationCode) -> pb::ViolationCode {
    match code {
        ViolationCode::CalendarPaused => pb::ViolationCode::CalendarPaused,
        ViolationCode::Duration => pb::ViolationCode::Duration,
        ViolationCode::InThePast => pb::ViolationCode::InThePast,
        ViolationCode::Notice => pb::ViolationCode::Notice,
        ViolationCode::Horizon => pb::ViolationCode::Horizon,
        ViolationCode::OutsideAvailability => pb::ViolationCode::OutsideAvailability,
        ViolationCode::Misaligned => pb::ViolationCode::Misaligned,
        ViolationCode::BusyBooking => pb::ViolationCode::BusyBooking,
        ViolationCode::BusyHold => pb::ViolationCode::BusyHold,
        ViolationCode::BusyExternal => pb::ViolationCode::BusyExternal,
        ViolationCode::Capacity => pb::ViolationCode::Capacity,
        ViolationCode::Limit => pb::ViolationCode::Limit,
    }
}
