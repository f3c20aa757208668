//! Refusals that need no writer: a time that is taken in what is published stays refused, whoever says so.
//!
//! What is published has everything that anybody was answered; so the answer is as true as one that the writer gives
//! now, and costs it nothing. Only races are foreseen: of everything else the order of reasons is the writer's to keep.

use super::snapshots::Snapshots;
use super::{Terms, View};
use bookd_core::appointment::Assignment;
use bookd_core::calendar::Calendar;
use bookd_core::command::{Booking, Command, NewId};
use bookd_core::decide::{decide, resolve};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;
use bookd_core::time::interval::Interval;

/// The refusal of a new claim on time that is taken; nothing when the writer must be asked.
pub(super) fn refusal(
    published: &Snapshots,
    command: &Command,
    terms: &Terms,
    clock: Instant,
) -> Option<Refusal> {
    let (Command::Book(booking) | Command::Hold { booking, .. }) = command else {
        return None;
    };
    // A repeated request gets its first answer, and an id that is there outranks a race.
    let is_new =
        terms.request.is_none() && booking.hold.is_none() && matches!(booking.id, NewId::Made(_));
    if !is_new {
        return None;
    }
    let view = published.view(&booking.calendars, clock)?;
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

/// Whether the wanted time meets one that is taken: cheap, and true of every time that is refused as taken, but for
/// buffers and limits.
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
