//! A board of four days, on which calendars mark the starts that they can take, minute by minute.
//!
//! ```text
//! minute                 0900 0901 …  0930 …  1000 …
//! calendar 0, 1 seat      1            1                a run of two free starts
//! calendar 1, 4 seats                  1       1
//! cells, set and seats   1, 1         3, 5    2, 4      32 bytes each: one access marks both
//! marked                  1    0       1       1        a bit each, so that empty minutes cost nothing
//! ```
//!
//! Marking minutes costs less than merging sorted slots by comparison.

use std::ops::ControlFlow;

use crate::slots::span::FreeRun;
use crate::time::{Instant, MINUTE};

/// How many minutes are merged at a time: four days, so that going from calendar to calendar costs
/// little compared with the slots.
const BOARD_MINUTES: usize = 4 * 24 * 60;

/// Which calendars can take each minute as a start.
pub(crate) struct Board {
    /// The first minute, since 1970.
    start: i64,
    cells: Vec<Cell>,
    /// One bit for each minute that at least one calendar can take.
    marked: [u64; BOARD_MINUTES / 64],
}

/// A minute of the board, in half a cache line.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// The set of the calendars that can take it.
    calendars: u128,
    /// The sum of their seats.
    seats: u64,
}

const _: () = assert!(BOARD_MINUTES.is_multiple_of(64), "every minute has its bit");

impl Board {
    /// A board for starts in a range of so many seconds.
    pub(crate) fn new(range_seconds: i64) -> Self {
        // The first minute may begin before the range.
        let minutes = (range_seconds / MINUTE + 2).clamp(1, BOARD_MINUTES as i64);
        Self {
            start: 0,
            cells: vec![Cell::default(); minutes as usize],
            marked: [0; BOARD_MINUTES / 64],
        }
    }

    /// Moves the board, which is clear, so that it begins with the minute of `first`. Answers its
    /// end.
    pub(crate) fn begin(&mut self, first: Instant) -> Instant {
        self.start = first.seconds().div_euclid(MINUTE);
        Instant::from_seconds((self.start + self.cells.len() as i64) * MINUTE)
    }

    /// Marks the starts of a run, which lie on the board, for the calendar with this bit, which has
    /// so many seats. Answers the first start of the grid after them.
    #[inline]
    pub(crate) fn mark(&mut self, calendar: u128, run: FreeRun, seats: u32) -> i64 {
        let mut start = run.first;
        loop {
            let minute = start.wrapping_sub(self.start) as usize;
            let cell = &mut self.cells[minute];
            if cell.seats == 0 {
                self.marked[minute / 64] |= 1 << (minute % 64);
            }
            cell.calendars |= calendar;
            // 128 numbers of 32 bits cannot exceed 64 bits.
            cell.seats = cell.seats.wrapping_add(u64::from(seats));
            start += run.step;
            if run.end <= start {
                return start;
            }
        }
    }

    /// Shows the marked minutes in order, each with the set of its calendars and the sum of their
    /// seats, and clears them.
    pub(crate) fn show(
        &mut self,
        visitor: &mut impl FnMut(Instant, u128, u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for word in 0..self.marked.len() {
            let mut marked = std::mem::take(&mut self.marked[word]);
            while marked != 0 {
                let minute = word * 64 + marked.trailing_zeros() as usize;
                marked &= marked - 1;
                let Cell { calendars, seats } = std::mem::take(&mut self.cells[minute]);
                let start = Instant::from_seconds((self.start + minute as i64) * MINUTE);
                visitor(start, calendars, u32::try_from(seats).unwrap_or(u32::MAX))?;
            }
        }
        ControlFlow::Continue(())
    }
}
