//! Each appointment's life in the log, appointment by appointment: each change finds what the one before it left, and
//! the row is what the last one made of it.
//!
//! The log is walked in the order of revisions, and rows lie in the order of keys. What of a change is asked for later
//! is sorted by key, and then goes along with the rows: of images only fingerprints are kept.

use std::path::Path;

use super::Checked;
use super::conflicts::is_claiming;
use super::records::{RecordReader, RecordWriter, fingerprint};
use super::sorter::{MEMORY_BYTES_MAX, Sorted, Sorter};
use crate::store::StoreError;
use bookd_core::appointment::{Appointment, Image};
use bookd_core::ids::{AppointmentId, AppointmentKey, Revision};
use bookd_core::log::LoggedAppointment;

const IS_CLAIMING: u8 = 1;
const HAS_BEFORE: u8 = 2;
/// The image that it leaves is of before schema 4.
const IS_EARLY: u8 = 4;

/// What stands for an image.
#[derive(Clone, Copy)]
struct Print {
    /// For all of it.
    all: u64,
    /// For what the log of before schema 4 kept of it.
    kept: u64,
}

/// Takes what happens to appointments, in the order of the log.
pub(super) struct Images {
    /// The log of before schema 4 lacks some of an image: what is told of that is taken from later rows.
    sessions_from: Revision,
    sorter: Sorter,
    record: RecordWriter,
    /// How many events were taken.
    events: u64,
}

impl Images {
    pub(super) fn new(folder: &Path, sessions_from: Revision) -> Self {
        let sorter = Sorter::new(folder, MEMORY_BYTES_MAX);
        Self {
            sessions_from,
            sorter,
            record: RecordWriter::default(),
            events: 0,
        }
    }

    pub(super) fn take(
        &mut self,
        revision: Revision,
        it: &LoggedAppointment,
    ) -> Result<(), StoreError> {
        self.events += 1;
        let before = it.before.as_ref().map(|image| self.print(image));
        let after = self.print(&it.after);
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        let flags = flag(is_claiming(it), IS_CLAIMING)
            | flag(before.is_some(), HAS_BEFORE)
            | flag(it.after.revision < self.sessions_from, IS_EARLY);
        let record = self.record.begin();
        record
            .number(it.key.0)
            .number(self.events)
            .revision(revision)
            .id(it.id)
            .byte(flags);
        for print in before.into_iter().chain([after]) {
            record.number(print.all).number(print.kept);
        }
        self.sorter.push(self.record.bytes())
    }

    fn print(&self, image: &Image) -> Print {
        // Where no change is of before schema 4, nobody asks for the other.
        let kept = if self.sessions_from > Revision(1) {
            kept(image)
        } else {
            0
        };
        Print {
            all: fingerprint(image),
            kept,
        }
    }

    /// The appointments of the log, by key. What was made before the oldest change that is kept may be missing in it.
    pub(super) fn finish(self, is_whole: bool) -> Result<Lives, StoreError> {
        let mut lives = Lives {
            sorted: self.sorter.finish()?,
            is_whole,
            next: None,
        };
        lives.next = lives.read()?;
        Ok(lives)
    }
}

/// What of an image the log always kept.
fn kept(it: &Image) -> u64 {
    let places: Vec<_> = it
        .places
        .iter()
        .map(|it| (&it.calendar, it.before, it.after))
        .collect();
    let Image {
        start,
        duration,
        local_start,
        state,
        expire_time,
        sequence,
        ignored_rules,
        revision,
        ..
    } = *it;
    let times = (
        start,
        duration,
        local_start,
        state,
        expire_time,
        sequence,
        ignored_rules,
        revision,
    );
    fingerprint(&(places, &it.type_id, times))
}

/// One event.
struct EventImage {
    key: AppointmentKey,
    revision: Revision,
    id: AppointmentId,
    is_claiming: bool,
    /// Whether what it leaves is of before schema 4.
    is_early: bool,
    before: Option<Print>,
    after: Print,
}

/// What the log made of an appointment.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) key: AppointmentKey,
    /// The revision at which it last claimed its time.
    pub(super) claimed: Option<Revision>,
    image: u64,
}

impl Life {
    /// Whether the row is what the log made of it.
    pub(super) fn is(&self, row: &Appointment) -> bool {
        self.image == fingerprint(&row.image)
    }
}

/// The appointments of the log, by key.
pub(super) struct Lives {
    sorted: Sorted,
    is_whole: bool,
    next: Option<EventImage>,
}

impl Lives {
    fn read(&mut self) -> Result<Option<EventImage>, StoreError> {
        let Some(record) = self.sorted.next()? else {
            return Ok(None);
        };
        let mut record = RecordReader(record);
        let key = AppointmentKey(record.number()?);
        let _order = record.number()?;
        let (revision, id, flags) = (record.revision()?, record.id()?, record.byte()?);
        let mut print = || {
            Ok::<_, StoreError>(Print {
                all: record.number()?,
                kept: record.number()?,
            })
        };
        let before = if flags & HAS_BEFORE > 0 {
            Some(print()?)
        } else {
            None
        };
        let (is_claiming, is_early) = (flags & IS_CLAIMING > 0, flags & IS_EARLY > 0);
        Ok(Some(EventImage {
            key,
            revision,
            id,
            is_claiming,
            is_early,
            before,
            after: print()?,
        }))
    }

    /// The next appointment; its changes must each find what the one before it left.
    pub(super) fn next(&mut self, checked: &mut Checked) -> Result<Option<Life>, StoreError> {
        let Some(first) = self.next.take() else {
            return Ok(None);
        };
        let mut life = Life {
            key: first.key,
            claimed: None,
            image: first.after.all,
        };
        let (mut event, mut known) = (first, None);
        loop {
            let is_told = known.is_some() || self.is_whole;
            if is_told && !is_as_it_was(known, event.before) {
                let EventImage { revision, id, .. } = event;
                checked.find(format!(
                    "revision {revision} changes appointment {id} from what it was not"
                ));
            }
            if event.is_claiming {
                life.claimed = Some(event.revision);
            }
            life.image = event.after.all;
            known = Some((event.after, event.is_early));
            match self.read()? {
                Some(next) if next.key == life.key => event = next,
                next => {
                    self.next = next;
                    return Ok(Some(life));
                }
            }
        }
    }
}

fn is_as_it_was(known: Option<(Print, bool)>, before: Option<Print>) -> bool {
    match (known, before) {
        (Some((known, is_early)), Some(before)) if is_early => known.kept == before.kept,
        (Some((known, _)), Some(before)) => known.all == before.all,
        (None, None) => true,
        _ => false,
    }
}
