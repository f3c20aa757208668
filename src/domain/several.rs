//! Slots of several calendars: ALL of them at one time, or ANY one of them.
//!
//! Both go by the search and the predicate of each calendar; nothing is decided here about one calendar.

use std::ops::ControlFlow;

use super::appointment::Assignment;
use super::feasible::{seats_remaining, violations};
use super::interval::Interval;
use super::slots::{Search, Slot, first, visit as visit_one};
use super::time::Instant;

/// How many slots of each calendar are looked at ahead under ANY.
const AHEAD: usize = 64;

/// Calls `found` with every slot of the range, in order of start, and the calendars that could take it, by index.
/// Under ALL the seats are the fewest of any calendar, under ANY those of all together.
pub fn visit(
    searches: &[Search<'_>],
    assignment: Assignment,
    found: &mut impl FnMut(Slot, &[usize]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match (searches, assignment) {
        ([], _) => ControlFlow::Continue(()),
        ([only], _) => visit_one(only, &mut |slot| found(slot, &[0])),
        (several, Assignment::All) => visit_all(several, found),
        (several, Assignment::Any) => visit_any(several, found),
    }
}

fn visit_all(searches: &[Search<'_>], found: &mut impl FnMut(Slot, &[usize]) -> ControlFlow<()>) -> ControlFlow<()> {
    let everyone: Vec<usize> = (0..searches.len()).collect();
    // The grid is judged on the first calendar alone; the others are asked about its slots.
    visit_one(&searches[0], &mut |mut slot| {
        for search in &searches[1..] {
            let mut ask = search.ask(slot.start);
            ask.is_grid_judged = false;
            if !violations(&ask).is_empty() {
                return ControlFlow::Continue(());
            }
            slot.seats_remaining = slot.seats_remaining.min(seats_remaining(&ask));
        }
        found(slot, &everyone)
    })
}

/// One calendar's slots, some at a time.
struct Ahead<'s, 'a> {
    search: &'s Search<'a>,
    slots: std::vec::IntoIter<Slot>,
    next: Option<Slot>,
    from: Instant,
}

impl<'s, 'a> Ahead<'s, 'a> {
    fn new(search: &'s Search<'a>) -> Self {
        let mut ahead = Self { search, slots: Vec::new().into_iter(), next: None, from: search.range.start };
        ahead.advance();
        ahead
    }

    fn advance(&mut self) {
        self.next = self.slots.next();
        if self.next.is_none() && self.from < self.search.range.end {
            let range = Interval::new(self.from, self.search.range.end);
            let slots = first(&Search { range, ..*self.search }, AHEAD);
            self.from = if slots.len() < AHEAD { range.end } else { slots[AHEAD - 1].start.plus(1) };
            self.slots = slots.into_iter();
            self.next = self.slots.next();
        }
    }
}

fn visit_any(searches: &[Search<'_>], found: &mut impl FnMut(Slot, &[usize]) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut ahead: Vec<Ahead<'_, '_>> = searches.iter().map(Ahead::new).collect();
    let mut takers = Vec::with_capacity(searches.len());
    // The same start with another duration is another slot.
    while let Some((start, end)) = ahead.iter().filter_map(|it| it.next).map(|it| (it.start, it.end)).min() {
        takers.clear();
        let mut seats = 0_u32;
        for (index, calendar) in ahead.iter_mut().enumerate() {
            if let Some(slot) = calendar.next.filter(|slot| (slot.start, slot.end) == (start, end)) {
                takers.push(index);
                seats = seats.saturating_add(slot.seats_remaining);
                calendar.advance();
            }
        }
        found(Slot { start, end, seats_remaining: seats }, &takers)?;
    }
    ControlFlow::Continue(())
}
