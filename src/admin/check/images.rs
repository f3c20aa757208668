//! The images of each appointment in the log: each change starts from the image that the one before
//! it left, and the row is the image that the last one left.
//!
//! The log is in the order of revisions and the rows in the order of keys. Fingerprints of the
//! images are therefore sorted by key, and then walked together with the rows.

use std::path::Path;

use super::Checked;
use super::conflicts::is_claiming;
use super::records::{RecordReader, RecordWriter, fingerprint};
use super::sorter::{MEMORY_BYTES_MAX, Sorted, Sorter};
use crate::store::StoreError;
use bookd_core::appointment::{Appointment, Image};
use bookd_core::ids::{AppointmentId, AppointmentKey, Revision};
use bookd_core::log::LoggedAppointment;

/// The flags of an event in a record.
const IS_CLAIMING: u8 = 1;
const HAS_BEFORE: u8 = 2;
/// The image that the event leaves is of before schema 4.
const IS_EARLY: u8 = 4;

/// The fingerprints of an image.
#[derive(Clone, Copy)]
struct Print {
    /// The fingerprint of the whole image.
    all: u64,
    /// The fingerprint of the fields that the log of before schema 4 kept.
    kept: u64,
}

/// Takes the events of appointments, in the order of the log.
pub(super) struct Images {
    /// The first revision of schema 4. The log before it lacks some fields of an image, which a
    /// reader takes from later rows.
    sessions_from: Revision,
    sorter: Sorter,
    record: RecordWriter,
    /// The number of events that were taken.
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
        event: &LoggedAppointment,
    ) -> Result<(), StoreError> {
        self.events += 1;
        let before = event.before.as_ref().map(|image| self.print(image));
        let after = self.print(&event.after);
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        let flags = flag(is_claiming(event), IS_CLAIMING)
            | flag(before.is_some(), HAS_BEFORE)
            | flag(event.after.revision < self.sessions_from, IS_EARLY);
        let record = self.record.begin();
        record
            .number(event.key.0)
            .number(self.events)
            .revision(revision)
            .id(event.id)
            .byte(flags);
        for print in before.into_iter().chain([after]) {
            record.number(print.all).number(print.kept);
        }
        self.sorter.push(self.record.bytes())
    }

    fn print(&self, image: &Image) -> Print {
        // Without changes of before schema 4, this fingerprint is never compared.
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

    /// The appointments of the log, by key. `is_whole` says that the log is kept from the first
    /// change on; otherwise appointments may be missing in it.
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

/// The fingerprint of the fields of an image that every schema of the log kept.
fn kept(image: &Image) -> u64 {
    let places: Vec<_> = image
        .places
        .iter()
        .map(|place| (&place.calendar, place.before, place.after))
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
    } = *image;
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
    fingerprint(&(places, &image.type_id, times))
}

/// One event of an appointment, with the images before and after it.
struct EventImage {
    key: AppointmentKey,
    revision: Revision,
    id: AppointmentId,
    is_claiming: bool,
    /// Whether the image that it leaves is of before schema 4.
    is_early: bool,
    before: Option<Print>,
    after: Print,
}

/// The state of an appointment after its last change in the log.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) key: AppointmentKey,
    /// The revision at which it last claimed its time.
    pub(super) claimed: Option<Revision>,
    /// The fingerprint of its last image.
    image: u64,
}

impl Life {
    /// Whether the row is the last image in the log.
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

    /// Reads all events of the next appointment, and reports those that do not start from the image
    /// that the one before left.
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
            let is_comparable = known.is_some() || self.is_whole;
            if is_comparable && !is_as_it_was(known, event.before) {
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

/// Whether an event starts from the image that the one before it left; `known` also says whether
/// that image is of before schema 4.
fn is_as_it_was(known: Option<(Print, bool)>, before: Option<Print>) -> bool {
    match (known, before) {
        (Some((known, is_early)), Some(before)) if is_early => known.kept == before.kept,
        (Some((known, _)), Some(before)) => known.all == before.all,
        (None, None) => true,
        _ => false,
    }
}
