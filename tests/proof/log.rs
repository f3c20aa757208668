//! The log as the judges read it: every change, what each appointment was made by it, and which request made it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bookd::domain::appointment::AppointmentState as S;
use bookd::domain::change::Cause;
use bookd::domain::ids::{Caller, Revision};
use bookd::grpc::api::request_hash;
use bookd::proto::v1 as pb;
use bookd::store::change_record::{ChangeRecord, ImageRecord};
use bookd::store::{CalendarFilter, Store};

use super::calls::Answered;
use super::history::Op;

/// All changes in the store, by revision. None is ever missing where nothing is compacted.
pub struct Log {
    pub changes: Vec<ChangeRecord>,
    /// Of each appointment every image that the log has, by the revision that made it.
    images: HashMap<String, BTreeMap<i64, ImageRecord>>,
    /// Of each request that was remembered its change.
    made: BTreeMap<String, i64>,
    /// Whether the store remembers every request there was; it forgets those of long ago.
    pub remembers_all: bool,
}

impl Log {
    /// Reads all of it, and what the store remembers of the requests of these calls.
    pub fn read(store: &mut dyn Store, ops: &[Op]) -> Self {
        let mut reader = store.reader().unwrap();
        let (mut changes, mut after) = (Vec::new(), Revision(0));
        loop {
            let page = reader.changes_after(after, &CalendarFilter::All).unwrap();
            changes.extend(page.changes.into_iter().map(|told| told.record));
            if page.upto == after {
                break;
            }
            after = page.upto;
        }
        let mut images: HashMap<String, BTreeMap<i64, ImageRecord>> = HashMap::new();
        for change in &changes {
            for event in &change.events {
                let (Some(id), Some(after)) = (event.appointment_id(), &event.after) else { continue };
                images.entry(id.to_string()).or_default().insert(number(change.revision), after.clone());
            }
        }
        let mut made = BTreeMap::new();
        for id in ops.iter().filter_map(|op| op.call.request_id()).filter(|id| !id.is_empty()) {
            let seen = store.seen_requests(&[request_hash(&Caller::default(), id)]).unwrap();
            made.extend(seen.first().map(|it| (id.to_owned(), number(it.revision.0))));
        }
        Self { changes, images, made, remembers_all: true }
    }

    /// The same of a life so long that requests were forgotten: which of them made what is not judged.
    pub fn read_of_a_long_life(store: &mut dyn Store) -> Self {
        Self { remembers_all: false, ..Self::read(store, &[]) }
    }

    pub fn last(&self) -> i64 {
        i64::try_from(self.changes.len()).unwrap()
    }

    pub fn at(&self, revision: i64) -> Option<&ChangeRecord> {
        let at = usize::try_from(revision).ok()?.checked_sub(1)?;
        self.changes.get(at)
    }

    /// The requests that are remembered, each with the change that it made.
    pub fn made(&self) -> impl Iterator<Item = (&str, i64)> {
        self.made.iter().map(|(id, revision)| (id.as_str(), *revision))
    }

    /// The change that this call made, if its request made one and it is of this kind: under one request id a call
    /// of another kind may have been first.
    pub fn made_by(&self, op: &Op) -> Option<i64> {
        let revision = *self.made.get(op.call.request_id()?)?;
        (cause(self.at(revision)?).name() == op.call.name()).then_some(revision)
    }

    /// Whether this revision is a change of all of these appointments.
    pub fn touches(&self, answered: &Answered) -> bool {
        let Some(change) = self.at(answered.revision) else { return false };
        answered.appointments.iter().all(|it| {
            change
                .events
                .iter()
                .any(|event| event.appointment_id().is_some_and(|id| id.to_string() == it.appointment_id))
        })
    }

    /// What an appointment was at these revisions, one image for each change of it.
    pub fn between(&self, id: &str, from: i64, upto: i64) -> impl Iterator<Item = &ImageRecord> {
        let then = self.latest(id, from).into_iter();
        let later = self.images.get(id).into_iter().flat_map(move |it| it.range(from + 1..=upto.max(from)));
        then.map(|(_, image)| image).chain(later.map(|(_, image)| image))
    }

    /// Every image of every appointment, with the revisions at which it was how things stood.
    pub fn standing(&self) -> impl Iterator<Item = (&str, Range<i64>, &ImageRecord)> {
        self.images.iter().flat_map(|(id, images)| {
            let ends = images.keys().copied().skip(1).chain([i64::MAX]);
            images.iter().zip(ends).map(|((from, image), end)| (id.as_str(), *from..end, image))
        })
    }

    /// What an appointment was made by its last change at or before a revision.
    pub fn latest(&self, id: &str, revision: i64) -> Option<(i64, &ImageRecord)> {
        let (at, image) = self.images.get(id)?.range(..=revision).next_back()?;
        Some((*at, image))
    }
}

/// The command behind a change.
pub fn cause(change: &ChangeRecord) -> Cause {
    Cause::from_number(u8::try_from(change.cause).unwrap()).unwrap()
}

pub fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap()
}

/// Whether an appointment was shown as this image has it. What has run out may show so before the log says it.
pub fn is_as(image: &ImageRecord, it: &pb::Appointment, may_have_run_out: bool) -> bool {
    let seconds = |it: &Option<prost_types::Timestamp>| it.as_ref().map(|it| it.seconds);
    let state = u32::try_from(it.state).unwrap_or_default();
    let has_run_out = may_have_run_out
        && state == S::Expired as u32
        && [S::Held as u32, S::Pending as u32].contains(&image.state)
        && image.expire_time.is_some();
    let buffers = [&it.buffer_before, &it.buffer_after].map(|it| it.as_ref().map_or(0, |it| it.seconds / 60));
    let first = |at: usize| image.buffers.get(at).copied().map_or(0, i64::from);
    (state == image.state || has_run_out)
        && seconds(&it.start_time) == Some(image.start)
        && seconds(&it.end_time) == Some(image.start + 60 * i64::from(image.duration))
        && seconds(&it.expire_time) == image.expire_time
        && it.calendar_ids == image.calendars
        && it.appointment_type_id == image.type_id
        && u32::try_from(it.sequence).ok() == Some(image.sequence)
        && it.revision == number(image.revision)
        && buffers == [first(0), first(1)]
}
