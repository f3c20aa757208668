//! Slot search over several calendars: the starts that ALL of them can take, or that ANY of them
//! can.
//!
//! Starts come in order, each once; each calendar applies its own type, rules, limits and zone.
//! Memory does not grow with the range.
//!
//! ```text
//! ALL  calendar 0  ^    ^    ^    ^    ^    ^    ^    the first calendar leads with some slots of its grid;
//!      calendar 1  [++++++++[..refused..[+++[.....    each other is asked for those that are left, and
//!      calendar 2  [.refused.[++++++++++++++++++++    what one refuses beyond them is skipped
//!      shown                           ^
//!
//! ANY  calendar 0  1    1         1                   each calendar marks its runs of free starts on a board
//!      calendar 1  2              2    2              of four days: its bit and its seats in each minute;
//!      shown       3    1         3    2              the board is shown minute by minute, then cleared
//! ```

use std::ops::ControlFlow;

use crate::appointment::{Assignment, CALENDARS_MAX};
use crate::slots::board::Board;
use crate::slots::candidates::{CANDIDATES_MAX, Candidates};
use crate::slots::cursor::Cursor;
use crate::slots::rules::{Ask, join, session_here};
use crate::slots::search::{Search, Slot};
use crate::slots::{self, nearest_by, nearest_days, nearest_of};
use crate::time::interval::Interval;
use crate::time::{HOUR, Instant};

/// Some of the calendars of a search, by their index in its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CalendarSet(u128);

const _: () = assert!(CALENDARS_MAX <= 128, "a set of calendars is 128 bits");

impl CalendarSet {
    /// The indices in the list, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let first = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(first)
        })
    }

    fn first(count: usize) -> Self {
        Self((0..count).fold(0, |bits, index| bits | 1 << index))
    }
}

/// A start that several calendars can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedSlot {
    /// Start, end and seats. Under ALL the seats are those of the calendar with the fewest. Under
    /// ANY they are the sum, and the end is that of the first calendar, because each may have a
    /// duration of its own.
    pub slot: Slot,
    /// The calendars that can take it; under ALL every one.
    pub calendars: CalendarSet,
}

/// The questions that a claim of one start asks, one a calendar. Under ANY each is a claim of its
/// own. Under ALL they are one claim: only the grid of the first calendar is judged, and the joined
/// session has a seat on every calendar.
pub fn asks<'a>(
    searches: impl IntoIterator<Item = Search<'a>>,
    assignment: Assignment,
    start: Instant,
) -> Vec<Ask<'a>> {
    let mut asks: Vec<Ask<'a>> = searches
        .into_iter()
        .map(|search| search.ask_without_session(start))
        .collect();
    match assignment {
        Assignment::Any => asks
            .iter_mut()
            .for_each(|ask| ask.session = session_here(ask, 1)),
        Assignment::All => {
            join(&mut asks);
            asks.iter_mut()
                .skip(1)
                .for_each(|ask| ask.is_grid_judged = false);
        }
    }
    asks
}

/// Shows the visitor every slot in order, until it breaks. The searches have one range and one
/// `now`; under ALL also one duration, and only the first one's grid counts. Searches after the
/// first `CALENDARS_MAX` are left out.
pub fn visit(
    searches: &[Search<'_>],
    assignment: Assignment,
    visitor: &mut impl FnMut(SharedSlot) -> ControlFlow<()>,
) {
    let searches = &searches[..searches.len().min(CALENDARS_MAX)];
    if let [only] = searches {
        let calendars = CalendarSet::first(1);
        return slots::visit(only, &mut |slot| visitor(SharedSlot { slot, calendars }));
    }
    // Whether the visitor broke or the range ended makes no difference.
    let _ = match assignment {
        Assignment::All => visit_all(searches, visitor),
        Assignment::Any => visit_any(searches, visitor),
    };
}

/// The first slots, at most `limit`.
pub fn first(searches: &[Search<'_>], assignment: Assignment, limit: usize) -> Vec<SharedSlot> {
    let mut slots = Vec::new();
    if limit > 0 {
        visit(searches, assignment, &mut |slot| {
            slots.push(slot);
            if slots.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
    slots
}

/// The last slot that starts before `around` and the first that starts after it, within
/// `slots::nearest_days`.
pub fn nearest(
    searches: &[Search<'_>],
    assignment: Assignment,
    around: Instant,
) -> (Option<Interval>, Option<Interval>) {
    let searches = &searches[..searches.len().min(CALENDARS_MAX)];
    if assignment == Assignment::Any || searches.len() < 2 {
        return nearest_of(searches, around);
    }
    nearest_by(
        around,
        searches[0].now,
        nearest_days(searches.len()),
        |range, nearest| {
            let searches: Vec<_> = searches
                .iter()
                .map(|search| Search { range, ..*search })
                .collect();
            visit(&searches, assignment, &mut |shared| {
                nearest.see(shared.slot.interval())
            });
        },
    )
}

/// For how many slots of the first calendar the others are asked at first, and within how many
/// seconds. Both double while some of them are left: many callers want few slots, and each day
/// costs every calendar its hours.
const ASKED_FIRST: (usize, i64) = (8, 12 * HOUR);

/// Shows the slots of the first calendar that every other calendar can take as well. What one of
/// them refuses beyond the candidates moves the first calendar on.
fn visit_all(
    searches: &[Search<'_>],
    visitor: &mut impl FnMut(SharedSlot) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some((first, others)) = searches.split_first() else {
        return ControlFlow::Continue(());
    };
    let calendars = CalendarSet::first(searches.len());
    let places = searches.len();
    let mut leader = Cursor::among(first, places);
    let mut others: Vec<_> = others
        .iter()
        .map(|search| Cursor::among(search, places))
        .collect();
    let mut candidates = Candidates::new();
    let (mut limit, mut reach_seconds) = ASKED_FIRST;
    loop {
        candidates.clear();
        let mut end = first.range.end;
        while candidates.count() < limit
            && let Some(slot) = leader.next_before(end)
        {
            if candidates.count() == 0 {
                end = end.min(slot.start.plus(reach_seconds));
            }
            candidates.push(slot, leader.span().seat);
        }
        let Some(last) = candidates.last_start() else {
            return ControlFlow::Continue(());
        };
        let mut refused_until = Instant::MIN;
        for index in 0..others.len() {
            refused_until = refused_until.max(others[index].judge(&mut candidates));
            if candidates.left() == 0 {
                // It is asked first from now on: it may refuse the next ones too.
                others.swap(0, index);
                break;
            }
        }
        (limit, reach_seconds) = if candidates.left() == 0 {
            ASKED_FIRST
        } else {
            (
                (2 * limit).min(CANDIDATES_MAX),
                reach_seconds.saturating_mul(2),
            )
        };
        for (start, seats_remaining) in candidates.iter() {
            let end = start.plus(first.duration.seconds());
            let slot = Slot {
                start,
                end,
                seats_remaining,
            };
            visitor(SharedSlot { slot, calendars })?;
        }
        if refused_until > last && leader.skip_to(refused_until).is_none() {
            return ControlFlow::Continue(());
        }
    }
}

/// Shows the slots of all calendars, merged by their starts.
fn visit_any(
    searches: &[Search<'_>],
    visitor: &mut impl FnMut(SharedSlot) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(range) = searches.first().map(|search| search.range) else {
        return ControlFlow::Continue(());
    };
    let mut cursors: Vec<_> = searches.iter().map(Cursor::new).collect();
    let mut board = Board::new(range.length());
    // No calendar has a slot before the earliest cursor, so the board skips time without slots in
    // one step.
    while let Some(next) = cursors
        .iter()
        .map(Cursor::not_before)
        .min()
        .filter(|next| *next < range.end)
    {
        let end = board.begin(next).min(range.end);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            // This visitor never breaks, so the cursor goes on to `end`.
            let calendar = 1 << index;
            let _ = cursor.visit_runs(end, &mut |run, seats| {
                ControlFlow::Continue(board.mark(calendar, run, seats))
            });
        }
        board.show(&mut |start, calendars, seats_remaining| {
            let first = calendars.trailing_zeros() as usize;
            let end = start.plus(searches[first].duration.seconds());
            visitor(SharedSlot {
                slot: Slot {
                    start,
                    end,
                    seats_remaining,
                },
                calendars: CalendarSet(calendars),
            })
        })?;
    }
    ControlFlow::Continue(())
}
