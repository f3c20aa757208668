//! The time that appointments take of one calendar: small records in order, shared between snapshots.
//!
//! Sorted by padded start, and padded ends never decrease: active claims are disjoint, but for the seats of one
//! session, which are equal. A copy shares every chunk; changing one claim copies one chunk.

use std::sync::Arc;

use crate::appointment::{AppointmentState, CALENDARS_MAX};
use crate::ids::{AppointmentKey, TypeNumber};
use crate::time::interval::Interval;
use crate::time::{Instant, MINUTE, Minutes};

/// A chunk is split when it would hold more than there are chunks, within these: what one change copies is a chunk, and
/// the list of chunks. 254 claims are 10 KB.
///
/// Just below 64 and 256 because of mimalloc's size classes. It adds 7 bytes to a request for an alignment of 8, so the
/// 1,280 bytes of 32 claims would take a block of 1,536. 31, 62, 127 and 254 claims fill blocks of 1,280, 2,560, 5,120
/// and 10,240 bytes.
const CHUNK_CLAIMS: (usize, usize) = (62, 254);

/// What the writer needs of an active appointment in one of its calendars, in 40 bytes.
///
/// ```text
/// key 8 | expire_time 8 | session 8 | start 4 | duration 4 | before 2 | after 2 | type_number 2 | state 1 | places 1
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    key: AppointmentKey,
    /// `Instant::MAX` when it never expires.
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

/// The seats that may be taken together: those of one type that begin and end alike and take the same set of places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The key of its first seat, whether that still takes part or not.
    pub key: AppointmentKey,
    /// How many calendars each of its seats takes.
    pub places: u8,
}

impl Session {
    /// The session of an appointment that joins none, on so many calendars.
    pub fn own(key: AppointmentKey, places: usize) -> Self {
        Self {
            key,
            places: u8::try_from(places).expect("an appointment has at most CALENDARS_MAX places"),
        }
    }
}

impl Claim {
    /// The first instant that can be booked, 0001-01-01, and the first that cannot, 6000-01-01: minutes of 32 bits.
    pub const START_MIN: Instant = Instant::MIN;
    /// 6000-01-01T00:00:00Z.
    pub const START_END: Instant = Instant::from_seconds(127_174_492_800);

    /// Of an appointment that takes this calendar alone, in a session of its own. `start` is a whole minute within
    /// `START_MIN..START_END`, and neither buffer is longer than `Minutes::ASKED_MAX`.
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

    /// The same as a seat of this session.
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

    /// The calendar's type of it.
    pub const fn type_number(&self) -> TypeNumber {
        self.type_number
    }

    /// When it begins.
    pub const fn start(&self) -> Instant {
        Instant::from_seconds(self.start_minutes as i64 * MINUTE)
    }

    /// How long it is, buffers left out.
    pub const fn duration(&self) -> Minutes {
        self.duration
    }

    /// Kept free before.
    pub fn before(&self) -> Minutes {
        Minutes::new(u32::from(self.before_minutes))
            .expect("16 bits of minutes are less than 402 days")
    }

    /// Kept free after.
    pub fn after(&self) -> Minutes {
        Minutes::new(u32::from(self.after_minutes))
            .expect("16 bits of minutes are less than 402 days")
    }

    /// The session that it is a seat of, be it alone in it.
    pub const fn session(&self) -> Session {
        Session {
            key: self.session,
            places: self.places,
        }
    }

    /// Its state when it was last written.
    pub const fn state(&self) -> AppointmentState {
        self.state
    }

    /// When it frees its time by itself, if it does.
    pub fn expire_time(&self) -> Option<Instant> {
        (self.expire_time != Instant::MAX).then_some(self.expire_time)
    }

    /// Whether it takes its time at `now`: free at its very expiry, recorded or not.
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
        // Minutes of 32 bits and fewer cannot overflow in 64, which the compiler sees: every search does this a lot.
        let start = self.start_minutes as i64 - self.before_minutes as i64;
        let end =
            self.start_minutes as i64 + self.duration.minutes() as i64 + self.after_minutes as i64;
        Interval {
            start: Instant::from_seconds(start * MINUTE),
            end: Instant::from_seconds(end * MINUTE),
        }
    }

    /// Whether it is of this type, and begins and ends like this: what the seats of a session have in common on one
    /// calendar.
    pub fn is_alike(&self, type_number: TypeNumber, start: Instant, duration: Minutes) -> bool {
        self.type_number == type_number && self.start() == start && self.duration == duration
    }

    /// Whether the two are seats of one session.
    pub fn shares_session(&self, other: &Self) -> bool {
        self.session() == other.session()
            && self.is_alike(other.type_number, other.start(), other.duration)
    }

    fn order(&self) -> (Instant, AppointmentKey) {
        (self.padded().start, self.key)
    }
}

/// How many claims a chunk holds at most when there are so many chunks.
fn chunk_max(chunks: usize) -> usize {
    let (least, most) = CHUNK_CLAIMS;
    chunks.clamp(least, most)
}

/// A calendar's claims, in order.
#[derive(Clone, Default, Debug)]
pub struct Claims {
    /// None is empty.
    chunks: Vec<Arc<Vec<Claim>>>,
    len: usize,
}

impl Claims {
    /// The claims in any order, as a store loads them.
    pub fn from_unordered(mut claims: Vec<Claim>) -> Self {
        claims.sort_unstable_by_key(Claim::order);
        // Half full, so that there are as many as one may hold.
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

    /// How many.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// In order, from the first whose padded end lies after `instant`.
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

    /// Those whose padded interval meets `probe`, in order, expired ones included.
    pub fn overlapping(&self, probe: Interval) -> impl Iterator<Item = &Claim> + Clone {
        self.ending_after(probe.start)
            .take_while(move |claim| claim.padded().start < probe.end)
    }

    /// Adds a claim. The caller has seen that it is free.
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
            // Copied in one go, with the room that is needed and no more.
            None => *chunk = Arc::new([&chunk[..position], &[claim], &chunk[position..]].concat()),
        }
        if chunk.len() > chunk_max {
            let chunk = Arc::make_mut(chunk);
            // A list that only grows at its end keeps full chunks behind it.
            let at = if position + 1 == chunk.len() {
                chunk.len() - 1
            } else {
                chunk.len() / 2
            };
            let tail = chunk.split_off(at);
            self.chunks.insert(index + 1, Arc::new(tail));
        }
    }

    /// Adds claims that are not there, in any order; where all lie before the others, these are not copied.
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

    /// Takes a claim out; false when it is not there.
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

/// Claims in order, from one of them on.
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
