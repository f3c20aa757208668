//! The log as the judges read it: every change, every image of each appointment, and the request of
//! each change.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bookd::api::context::request_hash;
use bookd::proto::v1 as pb;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::{Reader, Store, WatchFilter};
use bookd_core::appointment::confirmation_code;
use bookd_core::appointment::{
    Appointment, AppointmentState as S, IgnoredRules, Image, OccurrenceOf, Person,
};
use bookd_core::change::Cause;
use bookd_core::ids::{AppointmentId, AppointmentKey, Caller, Etag, Revision};
use bookd_core::log::{LogEntry, LogPosition};
use bookd_core::time::Instant;
use prost_types::{Duration, Timestamp};

use super::calls::Answered;
use super::history::Op;

/// The personal fields of an appointment: no revision has them, and every answer shows them as they
/// are now.
pub const PERSONAL: [&str; 5] = ["invitee", "note", "metadata", "cancel_reason", "location"];

/// The appointment with its personal fields empty.
pub fn impersonal(it: &pb::Appointment) -> pb::Appointment {
    let (note, cancel_reason, location) = Default::default();
    pb::Appointment {
        invitee: None,
        note,
        metadata: BTreeMap::new(),
        cancel_reason,
        location,
        ..it.clone()
    }
}

/// All changes of a store, by revision. None is missing unless the log was compacted.
pub struct Log {
    pub changes: Vec<LogEntry>,
    lives: HashMap<String, Life>,
    code_key: u64,
    /// The revision that each remembered request made.
    made: BTreeMap<String, i64>,
    /// Whether the store still remembers every request; it forgets old ones.
    pub remembers_all: bool,
}

/// One appointment with everything that the log has of it.
struct Life {
    id: AppointmentId,
    key: AppointmentKey,
    create_time: Instant,
    occurrence: Option<OccurrenceOf>,
    /// The personal data that its row has at the end.
    person: Person,
    /// Every image that the log has, by the revision that made it.
    images: BTreeMap<i64, Image>,
}

impl Log {
    /// Reads the whole log, and what the store remembers of the requests of these calls.
    pub fn read(store: &mut dyn Store, ops: &[Op]) -> Self {
        let mut reader = store.reader().unwrap();
        let changes = whole_log(&mut *reader);
        let mut lives: HashMap<String, Life> = HashMap::new();
        for change in &changes {
            for it in change.appointments() {
                let life = lives.entry(it.id.to_string()).or_insert_with(|| {
                    let row: Vec<Appointment> = reader.appointments(&[it.id]).unwrap().0;
                    let (create_time, occurrence) = (change.time, row[0].occurrence);
                    let (person, images) = (row[0].person.clone(), BTreeMap::new());
                    Life {
                        id: it.id,
                        key: it.key,
                        create_time,
                        occurrence,
                        person,
                        images,
                    }
                });
                life.images
                    .insert(number(change.revision), it.after.clone());
            }
        }
        let mut made = BTreeMap::new();
        for id in ops
            .iter()
            .filter_map(|op| op.call.request_id())
            .filter(|id| !id.is_empty())
        {
            let seen = store
                .seen_requests(&[request_hash(&Caller::default(), id)])
                .unwrap();
            made.extend(seen.first().map(|it| (id.to_owned(), number(it.revision))));
        }
        let code_key = store.boot().unwrap().code_key;
        Self {
            changes,
            lives,
            code_key,
            made,
            remembers_all: true,
        }
    }

    /// Reads the log of a store that has forgotten requests: which request made which change is not
    /// judged.
    pub fn read_of_a_long_life(store: &mut dyn Store) -> Self {
        Self {
            remembers_all: false,
            ..Self::read(store, &[])
        }
    }

    pub fn last(&self) -> i64 {
        i64::try_from(self.changes.len()).unwrap()
    }

    pub fn at(&self, revision: i64) -> Option<&LogEntry> {
        let at = usize::try_from(revision).ok()?.checked_sub(1)?;
        self.changes.get(at)
    }

    /// The remembered requests, each with the revision that it made.
    pub fn made(&self) -> impl Iterator<Item = (&str, i64)> {
        self.made
            .iter()
            .map(|(id, revision)| (id.as_str(), *revision))
    }

    /// The revision that this call made, if its request made one and the change is of this kind: a
    /// call of another kind may have had the same request id before.
    pub fn made_by(&self, op: &Op) -> Option<i64> {
        let revision = *self.made.get(op.call.request_id()?)?;
        (self.at(revision)?.cause.name() == op.call.name()).then_some(revision)
    }

    /// Whether the answer's revision changed all appointments of the answer.
    pub fn touches(&self, answered: &Answered) -> bool {
        let Some(change) = self.at(answered.revision) else {
            return false;
        };
        let is_touched = |it: &pb::Appointment| {
            change
                .appointments()
                .any(|of| of.id.to_string() == it.appointment_id)
        };
        answered.appointments.iter().all(is_touched)
    }

    /// The personal data that the row of each appointment has at the end.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Person)> {
        self.lives
            .iter()
            .map(|(id, life)| (id.as_str(), &life.person))
    }

    /// The id of the series of an appointment; empty if it is of none.
    pub fn series(&self, id: &str) -> String {
        let occurrence = self.lives.get(id).and_then(|life| life.occurrence);
        occurrence
            .map(|it| it.series.0.to_string())
            .unwrap_or_default()
    }

    fn images(&self, id: &str) -> Option<&BTreeMap<i64, Image>> {
        self.lives.get(id).map(|life| &life.images)
    }

    /// The images of an appointment at these revisions, one for each change.
    pub fn between(&self, id: &str, from: i64, upto: i64) -> impl Iterator<Item = &Image> {
        let then = self.latest(id, from).into_iter();
        let later = self
            .images(id)
            .into_iter()
            .flat_map(move |it| it.range(from + 1..=upto.max(from)));
        then.map(|(_, image)| image)
            .chain(later.map(|(_, image)| image))
    }

    /// Every image of every appointment, with the revisions during which it stood.
    pub fn standing(&self) -> impl Iterator<Item = (&str, Range<i64>, &Image)> {
        self.lives.iter().flat_map(|(id, life)| {
            let ends = life.images.keys().copied().skip(1).chain([i64::MAX]);
            life.images
                .iter()
                .zip(ends)
                .map(|((from, image), end)| (id.as_str(), *from..end, image))
        })
    }

    /// The image of an appointment at a revision, with the revision that made it.
    pub fn latest(&self, id: &str, revision: i64) -> Option<(i64, &Image)> {
        let (at, image) = self.images(id)?.range(..=revision).next_back()?;
        Some((*at, image))
    }

    /// Whether an appointment is shown as this image, in every field but the personal ones, which
    /// are shown as they are now. An appointment that has expired may be shown so before the log
    /// has it.
    pub fn is_as(&self, image: &Image, shown: &pb::Appointment, may_have_run_out: bool) -> bool {
        let Some(life) = self.lives.get(&shown.appointment_id) else {
            return false;
        };
        let is_waiting = matches!(image.state, S::Held | S::Pending) && image.expire_time.is_some();
        let expected = |state: S| life.shown_as(image, state, self.code_key, shown);
        *shown == expected(image.state)
            || (may_have_run_out && is_waiting && *shown == expected(S::Expired))
    }
}

impl Life {
    /// A second rendering of an appointment, field by field, so that a new field does not compile
    /// until it is judged.
    fn shown_as(
        &self,
        image: &Image,
        state: S,
        code_key: u64,
        shown: &pb::Appointment,
    ) -> pb::Appointment {
        let timestamp = |it: Instant| Timestamp {
            seconds: it.seconds(),
            nanos: 0,
        };
        let (first, calendars) = (
            &image.places[0],
            image.places.iter().map(|it| it.calendar.to_string()),
        );
        let revision = number(image.revision);
        pb::Appointment {
            appointment_id: self.id.to_string(),
            calendar_ids: calendars.collect(),
            appointment_type_id: image.type_id.to_string(),
            start_time: Some(timestamp(image.start)),
            end_time: Some(timestamp(
                image.start.plus(60 * i64::from(image.duration.minutes())),
            )),
            time_zone: image.time_zone.to_string(),
            local_start: image.local_start.to_string(),
            state: wire_state(state),
            confirmation_code: confirmation_code::encode(self.key, code_key),
            expire_time: image.expire_time.map(timestamp),
            series_id: self
                .occurrence
                .map(|it| it.series.0.to_string())
                .unwrap_or_default(),
            original_start: self.occurrence.map(|it| timestamp(it.original_start)),
            sequence: i32::try_from(image.sequence).unwrap(),
            buffer_before: Some(Duration {
                seconds: first.before.seconds(),
                nanos: 0,
            }),
            buffer_after: Some(Duration {
                seconds: first.after.seconds(),
                nanos: 0,
            }),
            ignored_rules: wire_rules(image.ignored_rules),
            etag: Etag::of(self.id.0.as_bytes(), image.revision).to_string(),
            create_time: Some(timestamp(self.create_time)),
            update_time: Some(timestamp(image.update_time)),
            revision,
            // The personal fields (`PERSONAL`).
            invitee: shown.invitee.clone(),
            note: shown.note.clone(),
            metadata: shown.metadata.clone(),
            location: shown.location.clone(),
            cancel_reason: shown.cancel_reason.clone(),
        }
    }
}

pub fn wire_state(state: S) -> i32 {
    match state {
        S::Held => 1,
        S::Pending => 2,
        S::Confirmed => 3,
        S::Cancelled => 4,
        S::Declined => 5,
        S::Expired => 6,
        S::NoShow => 7,
        S::Completed => 8,
    }
}

fn wire_rules(rules: IgnoredRules) -> Vec<i32> {
    let IgnoredRules {
        outside_availability,
        misaligned,
        notice,
        horizon,
        limit,
    } = rules;
    let ignored = [outside_availability, misaligned, notice, horizon, limit]
        .into_iter()
        .zip(1..);
    ignored
        .filter(|(is_ignored, _)| *is_ignored)
        .map(|(_, number)| number)
        .collect()
}

/// Every change of a store, with the parts of each put together.
pub fn whole_log(reader: &mut dyn Reader) -> Vec<LogEntry> {
    let (mut changes, mut from): (Vec<LogEntry>, _) = (Vec::new(), LogPosition::of(Revision(1)));
    loop {
        let page = reader
            .changes_from(from, &WatchFilter::ALL, PART_EVENTS_MAX)
            .unwrap();
        for part in page.changes {
            match changes
                .last_mut()
                .filter(|it| it.revision == part.entry.revision)
            {
                Some(entry) => entry.events.extend(part.entry.events),
                None => changes.push(part.entry),
            }
        }
        if page.next == from {
            return changes;
        }
        from = page.next;
    }
}

/// Whether a change is the record of expired appointments, which nobody sent.
pub fn is_expiry(change: &LogEntry) -> bool {
    change.cause == Cause::Expiry
}

pub fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap()
}
