//! R1 at every revision of the log: the time that a change claims was free at that revision.
//!
//! The claims of all changes are sorted by calendar and then walked calendar by calendar, so that
//! only the claims of one calendar are in memory together.
//!
//! ```text
//! log, by revision                  sorted by calendar, then by event
//!   r7  a books ada                 ada  r7 a STANDS   r8 a GIVEN_BACK, STANDS   r9 c STANDS
//!   r8  a moves on ada      ──▶     bob  r8 b STANDS
//!       b books bob                        │
//!   r9  c books ada                        ▼ ClaimWalk: the claims that stand, by start
//!                     a claim that meets a standing one of another session is a finding
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::Checked;
use super::conflicts::{calendar_id, is_claiming, load, set_of};
use super::records::{RecordReader, RecordWriter, fingerprint};
use super::sorter::{MEMORY_BYTES_MAX, Sorter};
use crate::store::{Store, StoreError};
use bookd_core::appointment::{AppointmentState, Image};
use bookd_core::change::AppointmentEvent;
use bookd_core::ids::{AppointmentId, CalendarId, Revision, TypeId};
use bookd_core::log::{CalendarEvent, LogEntry, LoggedAppointment, What};
use bookd_core::time::Instant;

/// The effects on the time of a calendar, in the order in which one event has them: an event gives
/// back its earlier time before it claims.
const DELETED: u8 = 0;
const GIVEN_BACK: u8 = 1;
const STANDS: u8 = 2;

/// The flags of a claim: see the fields of `Claiming` and `StandingClaim`.
const IS_CLAIMING: u8 = 1;
const IS_IMPORTED: u8 = 2;
const BLOCKS: u8 = 4;
const WAITS: u8 = 8;

/// Takes the effects of changes on the time of calendars, in the order of the log.
pub(super) struct CalendarClaims {
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    sorter: Sorter,
    record: RecordWriter,
    /// The number of events that were taken.
    events: u64,
}

impl CalendarClaims {
    pub(super) fn new(folder: &Path, sessions_from: Revision) -> Self {
        let sorter = Sorter::new(folder, MEMORY_BYTES_MAX);
        Self {
            sessions_from,
            sorter,
            record: RecordWriter::default(),
            events: 0,
        }
    }

    /// Takes the next change, or the next part of it.
    pub(super) fn take(&mut self, entry: &LogEntry) -> Result<(), StoreError> {
        for event in &entry.events {
            self.events += 1;
            match &event.what {
                What::Calendar(CalendarEvent::Deleted) => {
                    for touched in &event.calendars {
                        self.record
                            .begin()
                            .text(touched.calendar.as_str())
                            .number(self.events)
                            .byte(DELETED);
                        self.sorter.push(self.record.bytes())?;
                    }
                }
                What::Calendar(_) => {}
                What::Appointment(event) => self.take_appointment(entry, event)?,
            }
        }
        Ok(())
    }

    fn take_appointment(
        &mut self,
        entry: &LogEntry,
        event: &LoggedAppointment,
    ) -> Result<(), StoreError> {
        for place in event.before.iter().flat_map(|image| &image.places) {
            let record = self
                .record
                .begin()
                .text(place.calendar.as_str())
                .number(self.events)
                .byte(GIVEN_BACK);
            record.instant(place.padded().start).id(event.id);
            self.sorter.push(self.record.bytes())?;
        }
        let image = &event.after;
        // An appointment that is over takes no time.
        if image.state.is_over() {
            return Ok(());
        }
        let (flags, set) = (self.flags(entry, event), set_of(image));
        let LogEntry { revision, time, .. } = *entry;
        for place in &image.places {
            let alike = fingerprint(&(&image.type_id, place.start, place.duration));
            let record = self
                .record
                .begin()
                .text(place.calendar.as_str())
                .number(self.events)
                .byte(STANDS);
            record
                .instant(place.padded().start)
                .id(event.id)
                .byte(flags)
                .revision(revision)
                .instant(time);
            record.instant(place.padded().end).number(alike).number(set);
            record
                .instant(image.expire_time.unwrap_or(Instant::MIN))
                .text(image.type_id.as_str());
            self.sorter.push(self.record.bytes())?;
        }
        Ok(())
    }

    fn flags(&self, entry: &LogEntry, event: &LoggedAppointment) -> u8 {
        let Image { state, blocks, .. } = event.after;
        // The log of before schema 4 does not say whether a pending request takes its time.
        let is_early = entry.revision < self.sessions_from;
        let blocks = if is_early {
            state != AppointmentState::Pending
        } else {
            blocks
        };
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        flag(is_claiming(event), IS_CLAIMING)
            | flag(event.kind == AppointmentEvent::Imported, IS_IMPORTED)
            | flag(blocks, BLOCKS)
            | flag(event.after.is_waiting(), WAITS)
    }

    /// Walks all effects, calendar by calendar, and reports the claims of time that was not free.
    pub(super) fn check(
        self,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let mut sorted = self.sorter.finish()?;
        let mut walk: Option<ClaimWalk> = None;
        while let Some(record) = sorted.next()? {
            let mut record = RecordReader(record);
            let id = record.text()?;
            let walk = match &mut walk {
                Some(walk) if walk.calendar.as_str() == id => walk,
                other => other.insert(ClaimWalk::new(calendar_id(id)?, self.sessions_from)),
            };
            walk.take(record, store, checked)?;
        }
        Ok(())
    }
}

/// A claim that holds at the revision to which the log has been walked.
#[derive(Clone, Copy)]
struct StandingClaim {
    /// Its end, buffers included.
    to: Instant,
    /// The fingerprint of type, start and length, which the seats of a session have in common on
    /// one calendar.
    alike: u64,
    /// The fingerprint of the session and its calendars: see `set_of`.
    set: u64,
    /// When it expires; `Instant::MIN` if it does not.
    expire_time: Instant,
    /// Whether it certainly takes its time.
    blocks: bool,
    /// Whether it is a hold or a pending request, which expires.
    waits: bool,
}

impl StandingClaim {
    /// Whether it takes its time at this instant.
    fn is_taking(&self, time: Instant) -> bool {
        self.blocks && self.is_alive(time)
    }

    /// Whether it has not expired at this instant.
    fn is_alive(&self, time: Instant) -> bool {
        !self.waits || self.expire_time > time
    }
}

/// An event that claims time of the calendar.
struct Claiming<'a> {
    from: Instant,
    appointment: AppointmentId,
    is_imported: bool,
    revision: Revision,
    time: Instant,
    claim: StandingClaim,
    type_id: &'a str,
}

/// For each type the revision of its definition and its seats.
type Capacities = HashMap<TypeId, (Revision, u32)>;

/// The claims of one calendar at the revision to which the log has been walked.
struct ClaimWalk {
    calendar: CalendarId,
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    /// The claims by start, buffers included, and by appointment.
    claims: BTreeMap<(Instant, AppointmentId), StandingClaim>,
    /// The length of the longest claim so far, in seconds: no claim that starts earlier than that
    /// before a time reaches it.
    longest: i64,
    /// The seats of the types of the calendar, read when the first session is met.
    capacities: Option<Capacities>,
    /// The last event that gave back a claim that stood.
    given_back: u64,
}

impl ClaimWalk {
    fn new(calendar: CalendarId, sessions_from: Revision) -> Self {
        Self {
            calendar,
            sessions_from,
            claims: BTreeMap::new(),
            longest: 0,
            capacities: None,
            given_back: 0,
        }
    }

    fn take(
        &mut self,
        mut record: RecordReader<'_>,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let (event, what) = (record.number()?, record.byte()?);
        if what == DELETED {
            self.claims.clear();
            self.longest = 0;
            return Ok(());
        }
        let at = (record.instant()?, record.id()?);
        if what == GIVEN_BACK {
            if self.claims.remove(&at).is_some() {
                self.given_back = event;
            }
            return Ok(());
        }
        let (flags, revision, time) = (record.byte()?, record.revision()?, record.instant()?);
        let (to, alike, set) = (record.instant()?, record.number()?, record.number()?);
        let (expire_time, type_id) = (record.instant()?, record.text()?);
        let is = |flag: u8| flags & flag > 0;
        let claim = StandingClaim {
            to,
            alike,
            set,
            expire_time,
            blocks: is(BLOCKS),
            waits: is(WAITS),
        };
        let (from, appointment) = at;
        if is(IS_CLAIMING) {
            checked.examined += 1;
            let is_imported = is(IS_IMPORTED);
            let claiming = Claiming {
                from,
                appointment,
                is_imported,
                revision,
                time,
                claim,
                type_id,
            };
            self.judge(&claiming, store, checked)?;
        } else if self.given_back != event {
            // The appointment claimed its time on an earlier calendar of this id, which was
            // deleted, or before the oldest change that is kept.
            return Ok(());
        }
        self.longest = self.longest.max(to.since(from));
        self.claims.insert(at, claim);
        Ok(())
    }

    /// Reports a claim whose time was not free at this revision.
    fn judge(
        &mut self,
        claiming: &Claiming<'_>,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let Claiming {
            from,
            appointment: one,
            is_imported,
            revision,
            time,
            claim,
            type_id,
        } = *claiming;
        let needs_free_time = if is_imported {
            claim.is_taking(time)
        } else {
            claim.is_alive(time)
        };
        if !needs_free_time {
            return Ok(());
        }
        let (is_by_set, least) = (
            revision >= self.sessions_from,
            AppointmentId(uuid::Uuid::nil()),
        );
        let calendar = &self.calendar;
        let mut seats = 1;
        for ((other_from, two), other) in self
            .claims
            .range((from.plus(-self.longest), least)..(claim.to, least))
        {
            if other.to <= from || !other.is_taking(time) {
                continue;
            }
            let is_alike = (other.alike, *other_from, other.to) == (claim.alike, from, claim.to);
            if is_alike && (!is_by_set || other.set == claim.set) {
                seats += 1;
            } else {
                checked.find(format!(
                    "revision {revision} gives {one} time of calendar {calendar} that {two} had"
                ));
            }
        }
        let capacity = if seats > 1 {
            self.capacity(revision, type_id, store)?
        } else {
            None
        };
        if let Some(capacity) = capacity.filter(|capacity| seats > *capacity) {
            let calendar = &self.calendar;
            checked.find(format!(
                "revision {revision} gives {one} seat {seats} of calendar {calendar}, of {capacity}"
            ));
        }
        Ok(())
    }

    /// The seats of the type at that revision; none if the definition of the type is a later one.
    fn capacity(
        &mut self,
        revision: Revision,
        type_id: &str,
        store: &mut dyn Store,
    ) -> Result<Option<u32>, StoreError> {
        let capacities = match self.capacities.take() {
            Some(known) => known,
            None => {
                let found = load(store, &self.calendar)?;
                let types = found.iter().flat_map(|calendar| calendar.types.iter());
                types
                    .map(|of_type| {
                        let since = of_type.stamps.revision;
                        (of_type.id.clone(), (since, of_type.capacity))
                    })
                    .collect()
            }
        };
        let known = TypeId::parse(type_id)
            .ok()
            .and_then(|id| capacities.get(&id).copied());
        self.capacities = Some(capacities);
        Ok(known
            .filter(|(since, _)| revision > *since)
            .map(|(_, capacity)| capacity))
    }
}
