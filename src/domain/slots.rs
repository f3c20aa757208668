//! Slot search: the starts that `feasible.rs` would allow, in order, found by walking instead of asking each.
//!
//! Windows are resolved to instants once each, claims and busy periods are walked once; a time zone is never asked
//! about a slot. Memory is bounded by `CHUNK_DAYS`, however long the range.

use std::iter::Peekable;
use std::ops::ControlFlow;

use super::appointment::IgnoredRules;
use super::appointment_type::AppointmentType;
use super::availability::{Hours, Window};
use super::calendar::Calendar;
use super::claims::Claim;
use super::feasible::{self, Ask};
use super::ids::AppointmentKey;
use super::interval::Interval;
use super::time::{DAY, Instant, LocalDate, MINUTE, Minutes, Wall};
use super::zone::{Segment, Zone};

/// So many days are searched at a time.
const CHUNK_DAYS: i64 = 32;
/// How far from a refused start the nearest offered ones are looked for, in days each way.
pub const NEAREST_DAYS: i64 = 35;
/// Two zones' offsets differ by less: beyond it no other segment of a zone can show the same wall time.
const OFFSETS_APART: i64 = 52 * 3_600;

/// A range query.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Of which calendar.
    pub calendar: &'a Calendar,
    /// As which type of it.
    pub appointment_type: &'a AppointmentType,
    /// How long the slots are.
    pub duration: Minutes,
    /// Slots whose start lies in it.
    pub range: Interval,
    /// The moment of asking.
    pub now: Instant,
    /// The appointment that is to be moved.
    pub ignore: Option<AppointmentKey>,
    /// Its present duration, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// What staff override; a list goes by hours and grid whatever they say.
    pub ignored_rules: IgnoredRules,
}

/// A time that could be booked now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// When it begins.
    pub start: Instant,
    /// When it ends.
    pub end: Instant,
    /// How many could book it, at least 1.
    pub seats_remaining: u32,
}

impl<'a> Search<'a> {
    /// The question that booking one start would ask.
    pub fn ask(&self, start: Instant) -> Ask<'a> {
        Ask {
            calendar: self.calendar,
            appointment_type: self.appointment_type,
            start,
            duration: self.duration,
            now: self.now,
            ignore: self.ignore,
            present_duration: self.present_duration,
            ignored_rules: self.ignored_rules,
            is_grid_judged: true,
        }
    }
}

/// The first so many offered slots of the range.
pub fn first(search: &Search<'_>, limit: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    if limit == 0 {
        return slots;
    }
    let _ = visit(search, &mut |slot| {
        slots.push(slot);
        if slots.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    slots
}

/// The last offered slot that begins before the range and the first that begins after its start.
pub fn nearest(search: &Search<'_>) -> (Option<Interval>, Option<Interval>) {
    let around = search.range.start;
    let interval = |slot: &Slot| Interval::new(slot.start, slot.end);
    let within = |from: i64, to: i64| Search { range: Interval::new(around.plus(from), around.plus(to)), ..*search };
    let after = first(&within(1, NEAREST_DAYS * DAY), 1).first().map(interval);
    let mut before = None;
    let mut reach = 0;
    while before.is_none() && reach < NEAREST_DAYS && around.plus(-reach * DAY) > search.now {
        let further = (reach * 4).clamp(1, NEAREST_DAYS);
        let _ = visit(&within(-further * DAY, -reach * DAY), &mut |slot| {
            before = Some(interval(&slot));
            ControlFlow::Continue(())
        });
        reach = further;
    }
    (before, after)
}

/// Calls `found` with every offered slot of the range, in order, each once, until it breaks.
pub fn visit(search: &Search<'_>, found: &mut impl FnMut(Slot) -> ControlFlow<()>) -> ControlFlow<()> {
    let Search { calendar, appointment_type, now, ignored_rules, .. } = *search;
    let is_allowed = feasible::is_duration_allowed(appointment_type, search.duration, search.present_duration);
    if calendar.profile.paused || !is_allowed {
        return ControlFlow::Continue(());
    }
    let earliest = if ignored_rules.notice { now } else { feasible::earliest_start(appointment_type, now).max(now) };
    let start = search.range.start.max(earliest).max(Claim::START_MIN);
    let last_date =
        if ignored_rules.horizon { LocalDate::MAX } else { feasible::last_date(calendar, appointment_type, now) };
    let horizon = last_date.plus(1).midnight();
    // No local date reaches two days beyond its midnight in UTC.
    let end = search.range.end.min(Instant::from_seconds(horizon.seconds()).plus(2 * DAY)).min(Claim::START_END);
    let mut walk = Walk::new(search, start, horizon);
    let mut from = start;
    while from < end {
        let to = from.plus(CHUNK_DAYS * DAY).min(end);
        walk.chunk(Interval::new(from, to), found)?;
        from = to;
    }
    ControlFlow::Continue(())
}

/// A stretch of open time through one window, while the zone's clock runs evenly.
#[derive(Clone, Copy)]
struct Piece {
    start: i64,
    end: i64,
    offset: i64,
    /// The wall second from which the grid counts.
    anchor: i64,
}

/// What moves along as time goes on.
struct Walk<'s, 'a, C: Iterator<Item = &'a Claim>> {
    search: &'s Search<'a>,
    claims: Peekable<C>,
    busy: &'a [Interval],
    horizon: Wall,
    duration: i64,
    before: i64,
    after: i64,
    step: i64,
    /// The local date last asked about limits, and the answer.
    limit: Option<(LocalDate, bool)>,
    is_limited: bool,
    pieces: Vec<Piece>,
    open: Vec<Interval>,
    starts: Vec<i64>,
}

impl<'s, 'a> Walk<'s, 'a, Box<dyn Iterator<Item = &'a Claim> + 'a>> {
    fn new(search: &'s Search<'a>, start: Instant, horizon: Wall) -> Self {
        let appointment_type = search.appointment_type;
        let before = appointment_type.buffer_before.seconds();
        let (now, ignore) = (search.now, search.ignore);
        let claims = search.calendar.claims.ending_after(start.plus(-before));
        let claims: Box<dyn Iterator<Item = &'a Claim> + 'a> =
            Box::new(claims.filter(move |claim| claim.is_alive(now) && Some(claim.key()) != ignore));
        let busy = search.calendar.busy.merged();
        let limits = [&appointment_type.limits, &search.calendar.profile.limits];
        Self {
            search,
            claims: claims.peekable(),
            busy,
            horizon,
            duration: search.duration.seconds(),
            before,
            after: appointment_type.buffer_after.seconds(),
            step: appointment_type.step().seconds(),
            limit: None,
            is_limited: !search.ignored_rules.limit && !limits.iter().all(|it| it.is_unlimited()),
            pieces: Vec::new(),
            open: Vec::new(),
            starts: Vec::new(),
        }
    }
}

impl<'a, C: Iterator<Item = &'a Claim>> Walk<'_, 'a, C> {
    fn chunk(&mut self, range: Interval, found: &mut impl FnMut(Slot) -> ControlFlow<()>) -> ControlFlow<()> {
        self.collect_pieces(range);
        let pieces = std::mem::take(&mut self.pieces);
        let mut open = 0;
        let mut index = 0;
        while index < pieces.len() {
            let mut group_end = pieces[index].end;
            let mut next = index + 1;
            while next < pieces.len() && pieces[next].start < group_end {
                group_end = group_end.max(pieces[next].end);
                next += 1;
            }
            while self.open.get(open).is_some_and(|it| it.end.seconds() <= pieces[index].start) {
                open += 1;
            }
            let fits_until = self.open[open].end.seconds() - self.duration;
            let until = range.end.seconds().min(fits_until + 1);
            if next == index + 1 {
                self.lone_piece(pieces[index], range.start.seconds(), until, found)?;
            } else {
                self.overlapping_pieces(&pieces[index..next], range.start.seconds(), until, found)?;
            }
            index = next;
        }
        self.pieces = pieces;
        ControlFlow::Continue(())
    }

    /// Every piece through which a slot that starts in the range may be open, and their union.
    fn collect_pieces(&mut self, range: Interval) {
        let Search { calendar, appointment_type, .. } = *self.search;
        let zone = calendar.zone();
        let hours = Hours::new(&calendar.profile.availability, Some(appointment_type));
        self.pieces.clear();
        let mut windows: Vec<Window> = Vec::new();
        let mut segment = zone.segment_at(range.start);
        // The window of the date before may reach in; a zone that once repeated or skipped a date, one more.
        let mut date = zone.wall(range.start).date().plus(-2);
        let last = zone.wall(range.end.plus(self.duration)).date().plus(1);
        while date <= last {
            hours.windows(date, &mut windows);
            for window in &windows {
                let (from, to) = hours.stretch(date, *window);
                push_pieces(zone, &mut segment, from.seconds(), to.seconds(), &mut self.pieces);
            }
            date = date.plus(1);
        }
        if !self.pieces.is_sorted_by_key(|piece| piece.start) {
            self.pieces.sort_by_key(|piece| piece.start);
        }
        self.open.clear();
        for piece in &self.pieces {
            let (start, end) = (Instant::from_seconds(piece.start), Instant::from_seconds(piece.end));
            match self.open.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => self.open.push(Interval { start, end }),
            }
        }
    }

    fn lone_piece(
        &mut self,
        piece: Piece,
        from: i64,
        until: i64,
        found: &mut impl FnMut(Slot) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let end = piece.end.min(until).min(self.horizon.seconds() - piece.offset);
        let mut start = self.on_grid(piece, piece.start.max(from));
        while start < end {
            match self.judge(start, piece.offset) {
                Ok(slot) => {
                    found(slot)?;
                    start += self.step;
                }
                Err(free_from) => start = self.on_grid(piece, free_from.max(start + 1)),
            }
        }
        ControlFlow::Continue(())
    }

    fn overlapping_pieces(
        &mut self,
        pieces: &[Piece],
        from: i64,
        until: i64,
        found: &mut impl FnMut(Slot) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut starts = std::mem::take(&mut self.starts);
        starts.clear();
        for piece in pieces {
            let end = piece.end.min(until).min(self.horizon.seconds() - piece.offset);
            let first = self.on_grid(*piece, piece.start.max(from));
            let step = usize::try_from(self.step).expect("a step is at least a minute");
            starts.extend((first..end.max(first)).step_by(step));
        }
        starts.sort_unstable();
        starts.dedup();
        for start in &starts {
            let offset = i64::from(self.search.calendar.zone().offset_at(Instant::from_seconds(*start)));
            if let Ok(slot) = self.judge(*start, offset) {
                found(slot)?;
            }
        }
        self.starts = starts;
        ControlFlow::Continue(())
    }

    /// The first candidate start of a piece that is not before `from`.
    fn on_grid(&self, piece: Piece, from: i64) -> i64 {
        let past = (from + piece.offset - piece.anchor).rem_euclid(self.step);
        if past == 0 { from } else { from + self.step - past }
    }

    /// The slot at a candidate start, or the instant before which no later one can be free either.
    fn judge(&mut self, start: i64, offset: i64) -> Result<Slot, i64> {
        let (first, end) = (start - self.before, start + self.duration + self.after);
        if start.rem_euclid(MINUTE) != 0 {
            return Err(start + 1);
        }
        while self.claims.next_if(|claim| claim.padded().end.seconds() <= first).is_some() {}
        let capacity = self.search.appointment_type.capacity;
        if let Some(claim) = self.claims.peek().filter(|claim| claim.padded().start.seconds() < end) {
            if capacity == 1 {
                return Err(claim.padded().end.seconds() + self.before);
            }
            return self.judge_session(start);
        }
        let passed = self.busy.iter().take_while(|period| period.end.seconds() <= first).count();
        self.busy = &self.busy[passed..];
        if let Some(period) = self.busy.first().filter(|period| period.start.seconds() < end) {
            // A session that exists keeps its own buffers, but it would have been met above.
            return Err(if capacity == 1 { period.end.seconds() + self.before } else { start + 1 });
        }
        if self.is_limited && self.is_limit_reached(start, offset) {
            return Err(start + 1);
        }
        Ok(self.slot(start, capacity))
    }

    /// Where claims are in the way of a type with seats, the predicate itself decides.
    fn judge_session(&self, start: i64) -> Result<Slot, i64> {
        let ask = self.search.ask(Instant::from_seconds(start));
        if feasible::race_violations(&ask).is_empty() {
            Ok(self.slot(start, feasible::seats_remaining(&ask)))
        } else {
            Err(start + 1)
        }
    }

    fn is_limit_reached(&mut self, start: i64, offset: i64) -> bool {
        let date = Wall::from_seconds(start + offset).date();
        match self.limit {
            Some((known, answer)) if known == date => answer,
            _ => {
                let answer = feasible::is_limit_reached(&self.search.ask(Instant::from_seconds(start)));
                self.limit = Some((date, answer));
                answer
            }
        }
    }

    fn slot(&self, start: i64, seats_remaining: u32) -> Slot {
        Slot { start: Instant::from_seconds(start), end: Instant::from_seconds(start + self.duration), seats_remaining }
    }
}

/// The instants whose wall time lies in `[from, to)`, each with the offset that shows it. `segment` is where the last
/// window lay: nearly always this one lies there too, far from any clock change.
fn push_pieces(zone: &Zone, segment: &mut Segment, from: i64, to: i64, pieces: &mut Vec<Piece>) {
    let offset = i64::from(segment.offset);
    let is_far_inside = segment.start.saturating_add(OFFSETS_APART) <= from - offset
        && to - offset <= segment.end.saturating_sub(OFFSETS_APART);
    if is_far_inside {
        pieces.push(Piece { start: from - offset, end: to - offset, offset, anchor: from });
        return;
    }
    *segment = zone.segment_at(Instant::from_seconds(from - OFFSETS_APART / 2));
    loop {
        let offset = i64::from(segment.offset);
        let (start, end) = ((from - offset).max(segment.start), (to - offset).min(segment.end));
        if start < end {
            pieces.push(Piece { start, end, offset, anchor: from });
        }
        if segment.end >= to + OFFSETS_APART / 2 {
            return;
        }
        *segment = zone.segment_at(Instant::from_seconds(segment.end));
    }
}
