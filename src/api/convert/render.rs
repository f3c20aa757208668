//! Values of the core as messages of the contract.
//!
//! Every match is exhaustive, so that a new variant or field of the core does not compile without
//! its message.

use std::fmt::Write;

use prost_types::{Duration, Timestamp};

use crate::auth::named_by;
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
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::slots::violation::{Violation, ViolationCode};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, LocalDate, MINUTE, Minutes, Seconds};
use bookd_core::token::Token;

/// An instant as a timestamp, clamped to the years 1 to 9999. The first year that a limit counts
/// may begin before them, and an appointment that an earlier version stored may end after them. An
/// answer with such a timestamp would have no JSON form, so that nothing of it could be read.
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

pub(crate) fn calendar(calendar: &Calendar) -> pb::Calendar {
    profile(&calendar.id, &calendar.profile, calendar.stamps)
}

pub(crate) fn profile(id: &CalendarId, profile: &Profile, stamps: Stamps) -> pb::Calendar {
    let has_owner = !profile.owner.name.is_empty() || !profile.owner.email.is_empty();
    pb::Calendar {
        calendar_id: id.to_string(),
        display_name: profile.display_name.clone(),
        time_zone: profile.zone.name().to_owned(),
        owner: has_owner.then(|| pb::Owner {
            name: profile.owner.name.clone(),
            email: profile.owner.email.clone(),
        }),
        paused: profile.paused,
        limits: limits(&profile.limits),
        metadata: profile.metadata.clone(),
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

fn rule(rule: &Rule) -> pb::AvailabilityRule {
    let is_every_day = rule.weekdays == bookd_core::calendar::availability::Weekdays::ALL;
    let days = rule
        .weekdays
        .iter()
        .filter(|_| !is_every_day)
        .map(|day| i32::from(day) + 1);
    pb::AvailabilityRule {
        days_of_week: days.collect(),
        start_time: clock(rule.window.start_minutes()),
        end_time: clock(rule.window.end_minutes()),
        from_date: date(rule.first_date),
        to_date: date(rule.last_date),
    }
}

fn window(window: &Window) -> pb::Window {
    pb::Window {
        start_time: clock(window.start_minutes()),
        end_time: clock(window.end_minutes()),
    }
}

pub(crate) fn availability(calendar: &Calendar) -> pb::Availability {
    let overrides = calendar
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
        calendar_id: calendar.id.to_string(),
        time_zone: calendar.profile.zone.name().to_owned(),
        rules: calendar
            .profile
            .availability
            .rules
            .iter()
            .map(rule)
            .collect(),
        overrides: overrides.collect(),
        etag: calendar.etag().to_string(),
    }
}

pub(crate) fn appointment_type(appointment_type: &AppointmentType) -> pb::AppointmentType {
    pb::AppointmentType {
        appointment_type_id: appointment_type.id.to_string(),
        display_name: appointment_type.display_name.clone(),
        duration: Some(minutes(appointment_type.duration)),
        duration_options: appointment_type
            .duration_options
            .iter()
            .copied()
            .map(minutes)
            .collect(),
        slot_step: appointment_type.slot_step.map(minutes),
        buffer_before: Some(minutes(appointment_type.buffer_before)),
        buffer_after: Some(minutes(appointment_type.buffer_after)),
        min_notice: Some(seconds(appointment_type.min_notice)),
        horizon_days: Some(number(appointment_type.horizon_days)),
        capacity: Some(number(appointment_type.capacity)),
        limits: limits(&appointment_type.limits),
        requires_approval: appointment_type.requires_approval,
        pending_blocks: Some(appointment_type.pending_blocks),
        cancel_notice: appointment_type.cancel_notice.map(seconds),
        reschedule_notice: appointment_type.reschedule_notice.map(seconds),
        rules: appointment_type.rules.iter().map(rule).collect(),
        etag: appointment_type.etag().to_string(),
        create_time: Some(timestamp(appointment_type.stamps.create_time)),
        update_time: Some(timestamp(appointment_type.stamps.update_time)),
        revision: revision(appointment_type.stamps.revision),
    }
}

pub(crate) fn ignored_rules(rules: IgnoredRules) -> Vec<i32> {
    let flags = [
        (
            rules.outside_availability,
            pb::IgnorableRule::OutsideAvailability,
        ),
        (rules.misaligned, pb::IgnorableRule::Misaligned),
        (rules.notice, pb::IgnorableRule::Notice),
        (rules.horizon, pb::IgnorableRule::Horizon),
        (rules.limit, pb::IgnorableRule::Limit),
    ];
    flags
        .into_iter()
        .filter(|(is_ignored, _)| *is_ignored)
        .map(|(_, rule)| rule.into())
        .collect()
}

/// An appointment as it is at `now`.
pub(crate) fn appointment(
    appointment: &Appointment,
    now: Instant,
    code_key: u64,
) -> pb::Appointment {
    let first = appointment.places.first();
    let Person {
        invitee: who,
        carried,
        cancel_reason,
    } = &appointment.person;
    let Carried {
        note,
        metadata,
        location,
    } = carried;
    pb::Appointment {
        appointment_id: appointment.id.to_string(),
        calendar_ids: appointment
            .calendars()
            .map(|id| id.as_str().to_owned())
            .collect(),
        appointment_type_id: appointment.type_id.as_str().to_owned(),
        start_time: Some(timestamp(appointment.start)),
        end_time: Some(timestamp(appointment.end())),
        time_zone: appointment.time_zone.to_string(),
        local_start: appointment.local_start.to_string(),
        state: state(appointment.state_at(now)).into(),
        invitee: invitee(who),
        note: note.clone(),
        metadata: metadata.clone(),
        confirmation_code: confirmation_code::encode(appointment.key, code_key),
        expire_time: appointment.expire_time.map(timestamp),
        series_id: appointment
            .series()
            .map(|series| series.0.to_string())
            .unwrap_or_default(),
        sequence: number(appointment.sequence),
        cancel_reason: cancel_reason.clone(),
        buffer_before: first.map(|place| minutes(place.before)),
        buffer_after: first.map(|place| minutes(place.after)),
        ignored_rules: ignored_rules(appointment.ignored_rules),
        etag: appointment.etag().to_string(),
        create_time: Some(timestamp(appointment.create_time)),
        update_time: Some(timestamp(appointment.update_time)),
        revision: revision(appointment.revision),
        location: location.clone(),
        original_start: appointment
            .occurrence
            .map(|occurrence| timestamp(occurrence.original_start)),
    }
}

/// The message of an invitee; none where no person is known.
fn invitee(invitee: &Invitee) -> Option<pb::Invitee> {
    let Invitee {
        name,
        email,
        phone,
        time_zone,
    } = invitee;
    (*invitee != Invitee::default()).then(|| pb::Invitee {
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

/// The state with this number on the wire; none if no state has it.
pub(crate) fn read_state(number: i32) -> Option<AppointmentState> {
    AppointmentState::ALL
        .into_iter()
        .find(|it| i32::from(state(*it)) == number)
}

/// A change as somebody sees it who sees these calendars, without the appointments that only
/// watchers see. A customer is not told who made it.
pub(crate) fn change(entry: &LogEntry, reach: &Reach) -> pb::Change {
    let seen = &reach.calendars;
    pb::Change {
        revision: revision(entry.revision),
        commit_time: Some(timestamp(entry.time)),
        command: entry.cause.name().to_owned(),
        caller: match reach.customer {
            None => entry.caller.0.to_string(),
            Some(_) => String::new(),
        },
        events: entry.events.iter().map(|it| event(it, seen)).collect(),
    }
}

fn event(entry: &LogEvent, seen: &Prefixes) -> pb::ChangeEvent {
    let calendar_ids = entry.calendars.iter().map(|it| it.calendar.as_str());
    let calendar_ids = calendar_ids
        .filter(|id| seen.has(id))
        .map(str::to_owned)
        .collect();
    let event = pb::ChangeEvent {
        calendar_ids,
        ..pb::ChangeEvent::default()
    };
    match &entry.what {
        What::Calendar(change) => {
            let (kind, detail) = calendar_event(change);
            pb::ChangeEvent {
                kind: kind.into(),
                detail: detail.to_owned(),
                ..event
            }
        }
        What::Appointment(change) => pb::ChangeEvent {
            kind: appointment_event(change.kind).into(),
            appointment_id: change.id.to_string(),
            before: change.before.as_ref().and_then(|it| image(it, seen)),
            after: image(&change.after, seen),
            ignored_rules: ignored_rules(change.after.ignored_rules),
            ..event
        },
    }
}

/// What is kept of a token, without when it was last used.
pub(crate) fn token_record(token: &Token) -> pb::TokenRecord {
    pb::TokenRecord {
        token_id: token.id.to_string(),
        name: token.name.0.to_string(),
        scopes: named_by(token.scopes).into_iter().map(i32::from).collect(),
        prefix: token.prefixes.iter().next().unwrap_or_default().to_owned(),
        create_time: Some(timestamp(token.create_time)),
        expire_time: token.expire_time.map(timestamp),
        creator: token.creator.0.to_string(),
        last_use_time: None,
    }
}

/// An image with the calendars of it that are seen; none when no calendar of it is.
fn image(image: &Image, seen: &Prefixes) -> Option<pb::AppointmentImage> {
    let calendars = image.calendars().map(|id| id.as_str());
    let calendar_ids: Vec<String> = calendars
        .filter(|id| seen.has(id))
        .map(str::to_owned)
        .collect();
    let is_seen = !calendar_ids.is_empty();
    is_seen.then(|| pb::AppointmentImage {
        calendar_ids,
        appointment_type_id: image.type_id.as_str().to_owned(),
        start_time: Some(timestamp(image.start)),
        end_time: Some(timestamp(image.end())),
        state: state(image.state).into(),
    })
}

fn calendar_event(event: &CalendarEvent) -> (pb::ChangeKind, &str) {
    match event {
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

pub(crate) fn candidate(candidate: &Candidate) -> pb::AssignmentCandidate {
    pb::AssignmentCandidate {
        calendar_id: candidate.calendar.as_str().to_owned(),
        load: number(candidate.load),
        chosen: candidate.is_chosen,
        reason: candidate.reason.clone(),
    }
}

/// A slot, with its local times if a zone is given.
pub(crate) fn slot(
    interval: Interval,
    seats: u32,
    calendars: Vec<String>,
    zone: Option<&Zone>,
) -> pb::Slot {
    let mut slot = pb::Slot {
        calendar_ids: calendars,
        ..pb::Slot::default()
    };
    set_slot(&mut slot, interval, seats, zone);
    slot
}

/// Writes time and seats into a slot, whose texts are used again.
pub(crate) fn set_slot(slot: &mut pb::Slot, interval: Interval, seats: u32, zone: Option<&Zone>) {
    slot.start_time = Some(timestamp(interval.start));
    slot.end_time = Some(timestamp(interval.end));
    slot.seats_remaining = number(seats);
    let texts = [
        (&mut slot.local_start, interval.start),
        (&mut slot.local_end, interval.end),
    ];
    for (text, instant) in texts {
        text.clear();
        if let Some(zone) = zone {
            // Some zones had offsets with seconds in the past; local times are shown to the minute.
            let wall = zone.wall(instant);
            let wall = wall.plus(-wall.clock().rem_euclid(MINUTE));
            write!(text, "{wall}").expect("a text takes what is written");
        }
    }
}

pub(crate) fn violation(violation: &Violation, appointment_ids: Vec<String>) -> pb::Violation {
    pb::Violation {
        code: violation_code(violation.code).into(),
        calendar_id: violation.calendar.as_str().to_owned(),
        message: violation.rule.clone(),
        conflict: violation.interval.map(period),
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
