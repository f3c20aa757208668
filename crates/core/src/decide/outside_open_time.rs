//! The upcoming appointments that lie outside open time, which the answers to all changes of hours
//! name.
//!
//! The list has every appointment outside after the command, whichever change left it there, so
//! that a dry run, a command that changes nothing and a repeated request have the same answer. A
//! command that leaves the hours as they are may still have some to name, because staff may book
//! outside the hours.

use std::collections::BTreeMap;

use crate::calendar::Calendar;
use crate::calendar::claims::Claim;
use crate::command::Command;
use crate::ids::{AppointmentKey, CalendarId, TypeId, TypeNumber};
use crate::slots::rules::OpenWalk;
use crate::time::interval::Interval;
use crate::time::{DAY, Instant};

/// The most appointments that an answer names as lying outside.
pub const OUTSIDE_MAX: usize = 100;

/// The longest gap between two claims, in seconds, over which the hours are read through; after a
/// longer one reading starts again at the next claim.
const WALKED_MAX: i64 = 60 * DAY;

/// Whose hours a command changes: a calendar's, or those of one type of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hours {
    type_id: Option<TypeId>,
}

impl Hours {
    /// The hours that a command changes; none for a command whose answer names no appointments
    /// outside.
    pub fn of(command: &Command) -> Option<Self> {
        changed_hours(command).map(|(_, type_id)| Self {
            type_id: type_id.cloned(),
        })
    }

    /// The upcoming appointments outside open time on the calendar as the command left it: the
    /// earliest `OUTSIDE_MAX`, in order. The cost grows with the number of upcoming appointments.
    pub fn outside(&self, calendar: &Calendar, now: Instant) -> Vec<AppointmentKey> {
        match &self.type_id {
            None => outside_of(calendar, now, |_| true),
            // A type that never existed has no appointments.
            Some(id) => calendar
                .types
                .number_of(id)
                .map_or_else(Vec::new, |number| {
                    outside_of(calendar, now, |claim| claim.type_number() == number)
                }),
        }
    }
}

/// The calendar whose hours a command changes, and the type if it changes those of one type only.
fn changed_hours(command: &Command) -> Option<(&CalendarId, Option<&TypeId>)> {
    match command {
        Command::UpdateCalendar { calendar, .. }
        | Command::SetAvailability { calendar, .. }
        | Command::PutOverrides { calendar, .. }
        | Command::DeleteOverrides { calendar, .. } => Some((calendar, None)),
        Command::PutAppointmentType {
            calendar,
            appointment_type,
            ..
        } => Some((calendar, Some(&appointment_type.id))),
        // A new calendar has no appointments yet, and a deleted one has none any more.
        Command::CreateCalendar { .. } | Command::Import(_) | Command::DeleteCalendar { .. } => {
            None
        }
        // Appointments of a deleted type are judged by the calendar's hours, which stay as they
        // are.
        Command::DeleteAppointmentType { .. } => None,
        // Busy time does not count as hours.
        Command::PutBusy { .. } => None,
        Command::Book(_)
        | Command::Hold { .. }
        | Command::Reschedule(_)
        | Command::BatchBook(_)
        | Command::BookSeries(_)
        | Command::CancelSeries { .. }
        | Command::ExtendHold { .. }
        | Command::ReleaseHold { .. }
        | Command::Confirm { .. }
        | Command::Approve { .. }
        | Command::Decline { .. }
        | Command::Cancel { .. }
        | Command::UpdateAppointment { .. }
        | Command::MarkNoShow { .. }
        | Command::Complete { .. }
        | Command::Redact(_)
        | Command::CreateToken(_)
        | Command::RevokeToken(_) => None,
    }
}

/// The earliest `OUTSIDE_MAX` upcoming appointments that do not lie in open time, of the claims
/// that `is_asked` selects.
fn outside_of(
    calendar: &Calendar,
    now: Instant,
    is_asked: impl Fn(&Claim) -> bool,
) -> Vec<AppointmentKey> {
    let is_upcoming =
        |claim: &&Claim| claim.is_alive(now) && claim.start() >= now && is_asked(claim);
    let mut of_types: BTreeMap<TypeNumber, Vec<&Claim>> = BTreeMap::new();
    for claim in calendar
        .claims
        .ending_after(now)
        .chain(calendar.requests.values())
        .filter(is_upcoming)
    {
        of_types.entry(claim.type_number()).or_default().push(claim);
    }
    let mut outside = Vec::new();
    for (number, mut claims) in of_types {
        // Appointments of a deleted type are judged by the calendar's own hours.
        let rules = calendar
            .types
            .numbered(number)
            .map_or(&[][..], |it| &it.rules);
        claims.sort_unstable_by_key(|claim| claim.start());
        let end = claims
            .iter()
            .map(|claim| claim.interval().end)
            .max()
            .unwrap_or(now);
        let walk_from = |start| OpenWalk::new(calendar, rules, Interval::new(start, end));
        let mut walk = walk_from(now);
        for claim in claims {
            if claim.start().since(walk.reached().min(claim.start())) > WALKED_MAX {
                walk = walk_from(claim.start());
            }
            if !walk.is_open(claim.interval()) {
                outside.push((claim.start(), claim.key()));
            }
        }
    }
    outside.sort_unstable();
    outside
        .into_iter()
        .map(|(_, key)| key)
        .take(OUTSIDE_MAX)
        .collect()
}
