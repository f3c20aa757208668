//! Refusals without the writer: a booking of a time that is taken in the published snapshot.
//!
//! The snapshot shows every change that was acknowledged, so that its refusal is as true as one of
//! the writer now, and costs the writer nothing. Only lost races are refused here: for all other
//! reasons the writer keeps their precedence.

use super::snapshots::Snapshots;
use super::{SubmitOptions, View};
use bookd_core::appointment::Assignment;
use bookd_core::calendar::Calendar;
use bookd_core::command::{Booking, Command, NewId};
use bookd_core::decide::{decide, resolve};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;
use bookd_core::time::interval::Interval;

/// The refusal of a new claim on time that is taken; none when the writer must decide.
pub(super) fn refusal(
    snapshots: &Snapshots,
    command: &Command,
    options: &SubmitOptions,
    clock: Instant,
) -> Option<Refusal> {
    let (Command::Book(booking) | Command::Hold { booking, .. }) = command else {
        return None;
    };
    // A repeated request gets its first answer, and the refusal of an id that exists precedes that
    // of a race.
    let is_new =
        options.request.is_none() && booking.hold.is_none() && matches!(booking.id, NewId::Made(_));
    if !is_new {
        return None;
    }
    let view = snapshots.view(&booking.calendars, clock)?;
    let is_met = |calendar: &Calendar| meets_a_claim(calendar, booking);
    let mut calendars = view.calendars.iter();
    let may_be_taken = match booking.assignment {
        Assignment::All => calendars.any(|it| is_met(it)),
        Assignment::Any => calendars.all(|it| is_met(it)),
    };
    if !may_be_taken {
        return None;
    }
    let View {
        revision,
        now,
        calendars,
    } = view;
    let calendars = calendars
        .into_iter()
        .map(|it| (it.id.clone(), it))
        .collect();
    let state = State {
        revision,
        calendars,
        ..State::default()
    };
    match decide(&state, command, now) {
        Err(Refusal::Slot(slot)) if !slot.is_rule_broken() => Some(Refusal::Slot(slot)),
        _ => None,
    }
}

/// Whether the start of the wanted time lies in a claim. This check is cheap, and true of every
/// booking that is refused as taken, except because of buffers and limits.
fn meets_a_claim(calendar: &Calendar, booking: &Booking) -> bool {
    let Some(start) = booking
        .start
        .as_ref()
        .and_then(|it| resolve(it, calendar.zone()).ok())
    else {
        return false;
    };
    let probe = Interval::new(start, start.plus(1));
    calendar.claims.overlapping(probe).next().is_some()
}
