//! R1 at every revision of the log: whatever a change claims was free just then.
//!
//! What changes do to the time of calendars is sorted by calendar, and walked calendar by calendar: only the claims that
//! stand on one of them are in memory together.

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

/// What happens to the time of a calendar. Of one event what is given back comes first.
const DELETED: u8 = 0;
const GIVEN_BACK: u8 = 1;
const STANDS: u8 = 2;

const IS_CLAIMING: u8 = 1;
const IS_IMPORTED: u8 = 2;
const BLOCKS: u8 = 4;
const WAITS: u8 = 8;

/// Takes what changes do to the time of calendars, in the order of the log.
pub(super) struct ByCalendar {
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    sorter: Sorter,
    record: RecordWriter,
    /// How many events were taken.
    events: u64,
}

impl ByCalendar {
    pub(super) fn new(folder: &Path, sessions_from: Revision) -> Self {
        let sorter = Sorter::new(folder, MEMORY_BYTES_MAX);
        Self {
            sessions_from,
            sorter,
            record: RecordWriter::default(),
            events: 0,
        }
    }

    /// The next change, or the next part of it.
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
                What::Appointment(it) => self.take_appointment(entry, it)?,
            }
        }
        Ok(())
    }

    fn take_appointment(
        &mut self,
        entry: &LogEntry,
        it: &LoggedAppointment,
    ) -> Result<(), StoreError> {
        for place in it.before.iter().flat_map(|image| &image.places) {
            let record = self
                .record
                .begin()
                .text(place.calendar.as_str())
                .number(self.events)
                .byte(GIVEN_BACK);
            record.instant(place.padded().start).id(it.id);
            self.sorter.push(self.record.bytes())?;
        }
        let image = &it.after;
        // It takes no time whatever its type says.
        if image.state.is_over() {
            return Ok(());
        }
        let (flags, set) = (self.flags(entry, it), set_of(image));
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
                .id(it.id)
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

    fn flags(&self, entry: &LogEntry, it: &LoggedAppointment) -> u8 {
        let Image { state, blocks, .. } = it.after;
        // Of a request of before schema 4 nobody knows whether it takes its time.
        let is_early = entry.revision < self.sessions_from;
        let blocks = if is_early {
            state != AppointmentState::Pending
        } else {
            blocks
        };
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        flag(is_claiming(it), IS_CLAIMING)
            | flag(it.kind == AppointmentEvent::Imported, IS_IMPORTED)
            | flag(blocks, BLOCKS)
            | flag(it.after.is_waiting(), WAITS)
    }

    /// Walks all of it.
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

/// A claim that stands at the revision to which the log has been walked.
#[derive(Clone, Copy)]
struct Standing {
    to: Instant,
    /// For type, start and length: what the seats of a session have in common on one calendar.
    alike: u64,
    /// See `set_of`.
    set: u64,
    /// The earliest instant where it has none.
    expire_time: Instant,
    /// Whether it certainly takes its time.
    blocks: bool,
    waits: bool,
}

impl Standing {
    /// Whether it takes its time.
    fn is_taking(&self, time: Instant) -> bool {
        self.blocks && self.is_alive(time)
    }

    fn is_alive(&self, time: Instant) -> bool {
        !self.waits || self.expire_time > time
    }
}

/// An event that claims time.
struct Claiming<'a> {
    from: Instant,
    appointment: AppointmentId,
    is_imported: bool,
    revision: Revision,
    time: Instant,
    claim: Standing,
    type_id: &'a str,
}

/// How many seats a type has since which revision.
type Capacities = HashMap<TypeId, (Revision, u32)>;

/// What is claimed of one calendar at the revision to which the log has been walked.
struct ClaimWalk {
    calendar: CalendarId,
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    /// By where they begin, and by appointment.
    claims: BTreeMap<(Instant, AppointmentId), Standing>,
    /// No claim there ever was is longer, in seconds.
    longest: i64,
    /// Read when sessions are looked at first.
    capacities: Option<Capacities>,
    /// The last event that gave back what stood here.
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
        let claim = Standing {
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
            self.ask(&claiming, store, checked)?;
        } else if self.given_back != event {
            // Of a calendar that was deleted, or claimed before the oldest change that is kept.
            return Ok(());
        }
        self.longest = self.longest.max(to.since(from));
        self.claims.insert(at, claim);
        Ok(())
    }

    /// Whether what is claimed was free at this very revision.
    fn ask(
        &mut self,
        it: &Claiming<'_>,
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
        } = *it;
        if !(if is_imported {
            claim.is_taking(time)
        } else {
            claim.is_alive(time)
        }) {
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
        if let Some(capacity) = capacity.filter(|it| seats > *it) {
            let calendar = &self.calendar;
            checked.find(format!(
                "revision {revision} gives {one} seat {seats} of calendar {calendar}, of {capacity}"
            ));
        }
        Ok(())
    }

    /// How many seats the type had at that revision; none when it was another type then.
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
                let types = found.iter().flat_map(|it| it.types.iter());
                types
                    .map(|it| (it.id.clone(), (it.stamps.revision, it.capacity)))
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
