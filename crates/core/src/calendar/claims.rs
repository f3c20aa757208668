//! The time that appointments take of one calendar: small records in order, shared between
//! snapshots.
//!
//! Claims are sorted by padded start, and padded ends never decrease: active claims are disjoint,
//! except the seats of one session, which are equal. A copy of the list shares every chunk; a
//! change of one claim copies one chunk.
//!
//! ```text
//! time       [b  A  a)[ B )   [ C, seat 1 )  [b  D )  [ E )   padded by the buffers b and a
//!                             [ C, seat 2 )
//! chunks     ┌ A B C1 ┐ ┌ C2 D ┐ ┌ E ┐                        sorted vectors, each in an `Arc`
//! list       [    ↑        ↑       ↑ ]
//! snapshot   [    ↑        ↑       ↑ ]                        shares every chunk until one changes
//! insert F   [    ↑     ┌C2 D F┐   ↑ ]                        copies the chunk that F belongs to
//! ```
//!
//! Because padded ends never decrease, a binary search over chunks and then within one finds the
//! first claim that ends after an instant.

use std::sync::Arc;

use crate::appointment::{AppointmentState, CALENDARS_MAX};
use crate::ids::{AppointmentKey, TypeNumber};
use crate::time::interval::Interval;
use crate::time::{Instant, MINUTE, Minutes};

/// The least and the most claims of a full chunk. Within these a chunk is split when it has more
/// claims than the list has chunks, because a change copies one chunk and the list of chunks. 254
/// claims are 10 KB.
///
/// The numbers are just below 64 and 256 because of mimalloc's size classes. It adds 7 bytes to a
/// request for an alignment of 8, so the 1,280 bytes of 32 claims would take a block of 1,536. 31,
/// 62, 127 and 254 claims fill blocks of 1,280, 2,560, 5,120 and 10,240 bytes.
const CHUNK_CLAIMS: (usize, usize) = (62, 254);

/// The facts of an active appointment on one of its calendars that decisions need, in 40 bytes.
///
/// ```text
/// key 8 | expire_time 8 | session 8 | start 4 | duration 4
/// before 2 | after 2 | type_number 2 | state 1 | places 1
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    key: AppointmentKey,
    /// `Instant::MAX` = it never expires.
    expire_time: Instant,
    session: AppointmentKey,
    start_minutes: i32,
    duration: Minutes,
    before_minutes: u16,
    after_minutes: u16,
    type_number: TypeNumber,
    state: AppointmentState,
    places: u8,
}

const _: () = assert!(
    size_of::<Claim>() == 40,
    "memory per active appointment is a promise"
);
const _: () = assert!(
    CALENDARS_MAX <= u8::MAX as usize,
    "the places of an appointment are counted in a byte"
);
const _: () = assert!(
    Minutes::ASKED_MAX.minutes() <= u16::MAX as u32,
    "a buffer is kept in 16 bits"
);

/// A session: the seats of one type that have the same start, end and set of calendars, and share
/// their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The key of its first seat, which may have left it.
    pub key: AppointmentKey,
    /// How many calendars each seat takes.
    pub places: u8,
}

impl Session {
    /// The session of an appointment on `places` calendars that joins no other session.
    pub fn own(key: AppointmentKey, places: usize) -> Self {
        Self {
            key,
            places: u8::try_from(places).expect("an appointment has at most CALENDARS_MAX places"),
        }
    }
}

impl Claim {
    /// The first start that can be booked: 0001-01-01T00:00:00Z.
    pub const START_MIN: Instant = Instant::MIN;
    /// The first start that cannot be booked any more: 6000-01-01T00:00:00Z. Starts are minutes of
    /// 32 bits.
    pub const START_END: Instant = Instant::from_seconds(127_174_492_800);

    /// The claim of an appointment on this calendar alone, in a session of its own. `start` is a
    /// whole minute within `START_MIN..START_END`, and no buffer is longer than
    /// `Minutes::ASKED_MAX`.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        key: AppointmentKey,
        type_number: TypeNumber,
        start: Instant,
        duration: Minutes,
        before: Minutes,
        after: Minutes,
        state: AppointmentState,
        expire_time: Option<Instant>,
    ) -> Self {
        assert!(
            start.is_whole_minute() && start >= Self::START_MIN && start < Self::START_END,
            "start {start}"
        );
        let start_minutes = i32::try_from(start.seconds() / MINUTE)
            .expect("the year 6000 is within 32 bits of minutes");
        let buffer =
            |it: Minutes| u16::try_from(it.minutes()).expect("a buffer is at most seven days");
        Self {
            key,
            expire_time: expire_time.unwrap_or(Instant::MAX),
            session: key,
            start_minutes,
            duration,
            before_minutes: buffer(before),
            after_minutes: buffer(after),
            type_number,
            state,
            places: 1,
        }
    }

    /// The claim as a seat of this session.
    pub const fn in_session(self, session: Session) -> Self {
        Self {
            session: session.key,
            places: session.places,
            ..self
        }
    }

    /// The appointment's row number.
    pub const fn key(&self) -> AppointmentKey {
        self.key
    }

    /// The number of its type on the calendar.
    pub const fn type_number(&self) -> TypeNumber {
        self.type_number
    }

    /// The start of the appointment, buffers left out.
    pub const fn start(&self) -> Instant {
        Instant::from_seconds(self.start_minutes as i64 * MINUTE)
    }

    /// The duration of the appointment, buffers left out.
    pub const fn duration(&self) -> Minutes {
        self.duration
    }

    /// The buffer before the start.
    pub fn before(&self) -> Minutes {
        Minutes::new(u32::from(self.before_minutes))
            .expect("16 bits of minutes are less than 402 days")
    }

    /// The buffer after the end.
    pub fn after(&self) -> Minutes {
        Minutes::new(u32::from(self.after_minutes))
            .expect("16 bits of minutes are less than 402 days")
    }

    /// The session of the claim, which may have no other seat.
    pub const fn session(&self) -> Session {
        Session {
            key: self.session,
            places: self.places,
        }
    }

    /// The state of the appointment when it was last changed.
    pub const fn state(&self) -> AppointmentState {
        self.state
    }

    /// When it expires, if it does.
    pub fn expire_time(&self) -> Option<Instant> {
        (self.expire_time != Instant::MAX).then_some(self.expire_time)
    }

    /// Whether it takes its time at `now`: not from its expiry on, whether the expiry is recorded
    /// or not.
    pub fn is_alive(&self, now: Instant) -> bool {
        now < self.expire_time
    }

    /// `[start, end)`, buffers left out.
    pub const fn interval(&self) -> Interval {
        Interval {
            start: self.start(),
            end: self.start().plus(self.duration.seconds()),
        }
    }

    /// `[start − before, end + after)`.
    pub const fn padded(&self) -> Interval {
        let (start, end) = self.padded_minutes();
        Interval {
            start: Instant::from_seconds(start * MINUTE),
            end: Instant::from_seconds(end * MINUTE),
        }
    }

    /// Start and end of `padded`, in minutes since 1970.
    pub const fn padded_minutes(&self) -> (i64, i64) {
        // Sums of 32-bit minutes cannot overflow in 64 bits, so that the compiler leaves out the
        // checks: searches call this for every claim.
        let start = self.start_minutes as i64;
        let end = start + self.duration.minutes() as i64 + self.after_minutes as i64;
        (start - self.before_minutes as i64, end)
    }

    /// Whether it has this type, start and duration, as all seats of one session on one calendar
    /// have.
    pub fn is_alike(&self, type_number: TypeNumber, start: Instant, duration: Minutes) -> bool {
        self.type_number == type_number && self.start() == start && self.duration == duration
    }

    /// Whether both claims are seats of one session.
    pub fn shares_session(&self, other: &Self) -> bool {
        self.session() == other.session()
            && self.is_alike(other.type_number, other.start(), other.duration)
    }

    fn order(&self) -> (Instant, AppointmentKey) {
        (self.padded().start, self.key)
    }
}

/// The most claims of a chunk in a list of this many chunks.
fn chunk_max(chunks: usize) -> usize {
    let (least, most) = CHUNK_CLAIMS;
    chunks.clamp(least, most)
}

/// A calendar's claims, in order.
#[derive(Clone, Default, Debug)]
pub struct Claims {
    /// In order; no chunk is empty.
    chunks: Vec<Arc<Vec<Claim>>>,
    len: usize,
}

impl Claims {
    /// The list of claims that come in any order, as from a store.
    pub fn from_unordered(mut claims: Vec<Claim>) -> Self {
        claims.sort_unstable_by_key(Claim::order);
        // Chunks are half full, so that their number equals the most claims that one may hold.
        let chunk_max = chunk_max((2 * claims.len()).isqrt());
        let chunks = claims
            .chunks(chunk_max / 2)
            .map(|chunk| Arc::new(chunk.to_vec()))
            .collect();
        Self {
            chunks,
            len: claims.len(),
        }
    }

    /// The number of claims.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no claims.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All claims, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The claims in order, from the first whose padded end lies after `instant`.
    pub fn ending_after(&self, instant: Instant) -> Following<'_> {
        let is_over = |claim: &Claim| claim.padded().end <= instant;
        let index = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(is_over));
        let mut rest = self.chunks[index..].iter();
        let first = rest
            .next()
            .map_or(&[][..], |chunk| &chunk[chunk.partition_point(is_over)..]);
        Following {
            first: first.iter(),
            rest,
        }
    }

    /// The claims whose padded interval overlaps `probe`, in order, expired ones included.
    pub fn overlapping(&self, probe: Interval) -> impl Iterator<Item = &Claim> + Clone {
        self.ending_after(probe.start)
            .take_while(move |claim| claim.padded().start < probe.end)
    }

    /// Adds a claim. The caller has checked that its time is free.
    pub fn insert(&mut self, claim: Claim) {
        self.len += 1;
        let order = claim.order();
        let index = self
            .chunk_of(order)
            .min(self.chunks.len().saturating_sub(1));
        let chunk_max = chunk_max(self.chunks.len());
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push(Arc::new(vec![claim]));
            return;
        };
        let position = chunk.partition_point(|other| other.order() < order);
        match Arc::get_mut(chunk) {
            Some(chunk) => chunk.insert(position, claim),
            // One copy, with exactly the capacity that is needed.
            None => *chunk = Arc::new([&chunk[..position], &[claim], &chunk[position..]].concat()),
        }
        if chunk.len() > chunk_max {
            let chunk = Arc::make_mut(chunk);
            // A list that grows at its end only leaves full chunks behind.
            let at = if position + 1 == chunk.len() {
                chunk.len() - 1
            } else {
                chunk.len() / 2
            };
            let tail = chunk.split_off(at);
            self.chunks.insert(index + 1, Arc::new(tail));
        }
    }

    /// Adds new claims, in any order. If all lie before the present claims, the present chunks are
    /// not copied.
    pub fn put_before(&mut self, claims: Vec<Claim>) {
        let earlier = Self::from_unordered(claims);
        let last = earlier
            .chunks
            .last()
            .and_then(|chunk| chunk.last())
            .map(Claim::order);
        let is_before = self
            .iter()
            .next()
            .is_none_or(|first| last.is_none_or(|last| last < first.order()));
        if is_before {
            self.len += earlier.len;
            self.chunks.splice(..0, earlier.chunks);
        } else {
            *self = Self::from_unordered(earlier.iter().chain(self.iter()).copied().collect());
        }
    }

    /// Removes a claim; false when it is not in the list.
    pub fn remove(&mut self, claim: &Claim) -> bool {
        let order = claim.order();
        let index = self.chunk_of(order);
        let Some(chunk) = self.chunks.get_mut(index) else {
            return false;
        };
        let Ok(position) = chunk.binary_search_by_key(&order, Claim::order) else {
            return false;
        };
        Arc::make_mut(chunk).remove(position);
        if chunk.is_empty() {
            self.chunks.remove(index);
        }
        self.len -= 1;
        true
    }

    /// The first chunk whose last claim is not before `order`.
    fn chunk_of(&self, order: (Instant, AppointmentKey)) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last.order() < order))
    }
}

/// An iterator over claims in order, from one of them on.
#[derive(Clone, Debug)]
pub struct Following<'a> {
    first: std::slice::Iter<'a, Claim>,
    rest: std::slice::Iter<'a, Arc<Vec<Claim>>>,
}

impl<'a> Iterator for Following<'a> {
    type Item = &'a Claim;

    #[inline]
    fn next(&mut self) -> Option<&'a Claim> {
        loop {
            if let Some(claim) = self.first.next() {
                return Some(claim);
            }
            self.first = self.rest.next()?.iter();
        }
    }
}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Claims {}
