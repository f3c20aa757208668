//! Which upcoming appointments lie outside open time: what the answers to all changes of hours name.
//!
//! The list is what lies outside once the command is done, whichever change left it there, so that the same question
//! gets the same answer from a dry run, from a command that changes nothing, and from a repeated request. No answer is
//! empty by definition because hours stay as they are: staff may have booked outside of them.

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

/// From one claim to the next the hours are walked; over a longer gap they are looked up anew.
const WALKED_MAX: i64 = 60 * DAY;

/// Whose hours a command changes: a calendar's, or those of one type of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hours {
    type_id: Option<TypeId>,
}

impl Hours {
    /// Of a command whose answer names what lies outside; none of one that changes no hours.
    pub fn of(command: &Command) -> Option<Self> {
        judged(command).map(|(_, type_id)| Self {
            type_id: type_id.cloned(),
        })
    }

    /// The upcoming appointments that lie outside open time on the calendar as the command left it, as far as its answer
    /// names them: the earliest first, at most `OUTSIDE_MAX`. It goes over all that is upcoming.
    pub fn outside(&self, calendar: &Calendar, now: Instant) -> Vec<AppointmentKey> {
        match &self.type_id {
            None => closed(calendar, now, |_| true),
            // A type that never was has no appointments.
            Some(id) => calendar
                .types
                .number_of(id)
                .map_or_else(Vec::new, |number| {
                    closed(calendar, now, |claim| claim.type_number() == number)
                }),
        }
    }
}

/// Whose hours a command changes: a calendar's, and of one type if it is no more than that.
fn judged(command: &Command) -> Option<(&CalendarId, Option<&TypeId>)> {
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
        // Nothing was booked of a calendar that is made, and nothing stays booked of one that is deleted.
        Command::CreateCalendar { .. } | Command::Import(_) | Command::DeleteCalendar { .. } => {
            None
        }
        // What was booked with a deleted type is judged by the calendar's hours, which stay as they are.
        Command::DeleteAppointmentType { .. } => None,
        // Busy time is no part of the hours.
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
        | Command::Redact(_) => None,
    }
}

/// Of the upcoming appointments that are asked for those that do not lie in open time.
fn closed(
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
        // What was booked with a type that is gone is judged by the calendar's own hours.
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
