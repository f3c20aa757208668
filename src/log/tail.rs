//! The log tail: the last changes in memory, for watchers that keep up and so need no store.
//!
//! The tail is bounded by changes, events and bytes. A watcher that is behind it reads from the
//! store, without gap or repeat. A change that is delivered in parts is never in the tail: only the
//! store reads a change part by part.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::committed::{Appointments, Committed, TailChange, WholeChange};
use crate::store::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PART_BYTES_MAX};
use crate::store::{ChangePart, WatchFilter};
use bookd_core::appointment::Appointment;
use bookd_core::change::{Change, Event};
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::{LogEvent, LogPosition};
use bookd_core::reach::Reach;

/// The largest number of changes in the tail: some seconds of a busy server.
pub(crate) const TAIL_CHANGES_MAX: usize = 8_192;
/// The largest number of events in the tail.
const TAIL_EVENTS_MAX: usize = 16_384;
/// The largest size of the tail in bytes, by estimate.
const TAIL_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// A page of the tail, and the position after it.
pub(crate) struct TailPage {
    pub(crate) changes: Vec<TailChange>,
    pub(crate) next: LogPosition,
}

/// An appointment of the tail.
struct Latest {
    /// As of the last change of it.
    appointment: Arc<Appointment>,
    /// Counts the changes of its person; every change of it in the tail follows the count.
    version: Arc<AtomicU64>,
    /// The number of events of it in the tail.
    events: usize,
}

/// The last committed changes.
pub(crate) struct Tail {
    /// The largest number of changes; [`TAIL_CHANGES_MAX`] by default.
    changes_max: usize,
    /// A change with more events is delivered in parts, and left to the store.
    part_events_max: usize,
    changes: VecDeque<Arc<Committed>>,
    /// Every appointment of these changes.
    latest: HashMap<AppointmentId, Latest>,
    events: usize,
    bytes: usize,
}

impl Tail {
    /// An empty tail with these limits.
    pub(crate) fn new(changes_max: usize, part_events_max: usize) -> Self {
        Self {
            changes_max,
            part_events_max,
            changes: VecDeque::new(),
            latest: HashMap::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Drops all changes, so that the next one begins the tail anew.
    fn clear(&mut self) {
        self.changes.iter().for_each(|it| it.leave());
        *self = Self::new(self.changes_max, self.part_events_max);
    }

    /// Adds committed changes. A change that does not follow the last one begins the tail anew.
    pub(crate) fn absorb(&mut self, changes: &[Change]) {
        for change in changes {
            if self.end().is_some_and(|end| end.next() != change.revision) {
                self.clear();
            }
            let committed = Some(change)
                .filter(|it| it.events.len() <= self.part_events_max && it.staged().is_none())
                .map(Committed::new);
            let Some(mut committed) = committed.filter(|it| it.message_bytes < PART_BYTES_MAX)
            else {
                self.clear();
                continue;
            };
            self.events += committed.appointments.len();
            self.bytes += committed.bytes;
            for event in &change.events {
                if let Event::Appointment { after, .. } = event {
                    committed.follow(self.note(after));
                }
            }
            self.changes.push_back(Arc::new(committed));
            while self.is_over_limits() {
                self.drop_first();
            }
        }
    }

    /// Notes an appointment as of a new change, and returns the count of the changes of its person.
    /// Earlier changes show the person as it is now, so that their messages are out of date if the
    /// person is another.
    fn note(&mut self, appointment: &Arc<Appointment>) -> Arc<AtomicU64> {
        let latest = self.latest.entry(appointment.id).or_insert_with(|| Latest {
            appointment: Arc::clone(appointment),
            version: Arc::default(),
            events: 0,
        });
        latest.events += 1;
        if latest.appointment.person != appointment.person {
            latest.version.fetch_add(1, Ordering::SeqCst);
        }
        latest.appointment = Arc::clone(appointment);
        Arc::clone(&latest.version)
    }

    fn is_over_limits(&self) -> bool {
        self.changes.len() > self.changes_max
            || self.events > TAIL_EVENTS_MAX
            || self.bytes > TAIL_BYTES_MAX
    }

    fn drop_first(&mut self) {
        let Some(first) = self.changes.pop_front() else {
            return;
        };
        self.events -= first.appointments.len();
        self.bytes -= first.bytes;
        first.leave();
        for appointment in first.appointments.iter().flatten() {
            if let Entry::Occupied(mut latest) = self.latest.entry(appointment.id) {
                latest.get_mut().events -= 1;
                if latest.get().events == 0 {
                    latest.remove();
                }
            }
        }
    }

    /// The revision of the last change in the tail.
    pub(crate) fn end(&self) -> Option<Revision> {
        self.changes.back().map(|it| it.revision())
    }

    /// All changes after a revision; none when some of them are no longer in the tail.
    pub(crate) fn after(&self, after: Revision) -> Option<impl Iterator<Item = &Arc<Committed>>> {
        let first = self.changes.front()?.revision();
        let skipped = after.next().0.checked_sub(first.0)?;
        Some(
            self.changes
                .iter()
                .skip(usize::try_from(skipped).unwrap_or(usize::MAX)),
        )
    }

    /// A page of the changes after a revision; none when some of them are not in the tail and must
    /// be read from the store.
    pub(crate) fn page(
        &self,
        after: Revision,
        newest: Revision,
        filter: &WatchFilter,
    ) -> Option<TailPage> {
        if self.end()? < newest {
            return None;
        }
        let mut page = TailPage {
            changes: Vec::new(),
            next: LogPosition::after(after),
        };
        let mut events = 0;
        for committed in self.after(after)?.take(PAGE_CHANGES_MAX) {
            let revision = committed.revision();
            page.next = LogPosition::after(revision);
            let latest = || self.latest_of(committed);
            let all = &committed.entry.events;
            let passes = |event: &&LogEvent| filter.calendars.passes(event);
            let passing = all.iter().filter(passes).count();
            let taken = if passing == all.len() && self.is_seen_whole(committed, filter) {
                Some(TailChange::Whole(committed.take_whole(latest)))
            } else if passing > 0 {
                let latest = latest();
                let is_seen = committed.shows_any(filter, &latest);
                is_seen.then(|| TailChange::InPart(Arc::clone(committed), latest))
            } else {
                None
            };
            if let Some(taken) = taken {
                events += all.len();
                page.changes.push(taken);
            }
            if events >= PAGE_EVENTS_MAX {
                break;
            }
        }
        Some(page)
    }

    /// Whether a watcher sees everything of a change whose events all pass its filter.
    fn is_seen_whole(&self, committed: &Committed, filter: &WatchFilter) -> bool {
        let Reach {
            calendars,
            customer,
        } = &filter.reach;
        let is_person_seen = || {
            let mut latest = self.latest_of(committed).into_iter().flatten();
            latest.all(|it| filter.reach.has_all_of(&it))
        };
        filter.reach.is_all()
            || (customer.is_none() && committed.is_within(calendars) && is_person_seen())
    }

    /// The appointments of a change as they are now.
    fn latest_of(&self, committed: &Committed) -> Appointments {
        let latest = |appointment: &Option<Arc<Appointment>>| {
            let latest = self.latest.get(&appointment.as_ref()?.id);
            latest.map(|it| Arc::clone(&it.appointment))
        };
        committed.appointments.iter().map(latest).collect()
    }

    /// Takes a change anew if it shows a person not as at `newest`. Returns false when the tail does
    /// not reach there, or does not have the change any more.
    pub(crate) fn renew(
        &self,
        change: &mut WholeChange,
        newest: Revision,
        filter: &WatchFilter,
    ) -> bool {
        if self.end().is_none_or(|end| end < newest) {
            return false;
        }
        if change.is_current() {
            return true;
        }
        let first = self.changes.front().map(|it| it.revision().0);
        let index = first.and_then(|first| change.revision().0.checked_sub(first));
        let index = index.and_then(|index| usize::try_from(index).ok());
        let Some(committed) = index.and_then(|index| self.changes.get(index)) else {
            return false;
        };
        // Its appointment may have gone where the watcher does not see its person.
        if !self.is_seen_whole(committed, filter) {
            return false;
        }
        *change = committed.take_whole(|| self.latest_of(committed));
        true
    }

    /// Brings the personal data of a part that was read at `read_at` up to date. Returns false when
    /// the tail does not have all changes since then.
    pub(crate) fn refresh(
        &self,
        part: &mut ChangePart,
        (read_at, newest): (Revision, Revision),
        filter: &WatchFilter,
    ) -> bool {
        let is_known = self.end().is_some_and(|end| end >= newest) && self.after(read_at).is_some();
        for then in part.appointments.iter_mut().flatten().filter(|_| is_known) {
            if let Some(latest) = self.latest.get(&then.id) {
                then.person = filter.reach.person_of(&latest.appointment);
            }
        }
        is_known
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::store::CalendarFilter;
    use crate::store::log_reader::PART_EVENTS_MAX;
    use bookd_core::appointment::Place;
    use bookd_core::change::{AppointmentEvent, Cause};
    use bookd_core::ids::{CalendarId, Caller};
    use bookd_core::log::Touched;
    use bookd_core::time::Instant;

    fn change(revision: u64, calendar: &str) -> Change {
        let calendar = CalendarId::parse(calendar).unwrap();
        let events = vec![Event::CalendarDeleted {
            calendar,
            staged: None,
        }];
        let (cause, caller, time) = (
            Cause::DeleteCalendar,
            Caller::default(),
            Instant::from_seconds(0),
        );
        Change {
            revision: Revision(revision),
            time,
            cause,
            caller,
            events,
        }
    }

    fn page(tail: &Tail, after: u64, newest: u64, filter: &WatchFilter) -> Option<(Vec<u64>, u64)> {
        let page = tail.page(Revision(after), Revision(newest), filter)?;
        Some((
            page.changes
                .iter()
                .map(|it| match it {
                    TailChange::Whole(whole) => whole.revision().0,
                    TailChange::InPart(committed, _) => committed.revision().0,
                })
                .collect(),
            page.next.revision.0 - 1,
        ))
    }

    #[test]
    fn a_ring_weighs_every_place_of_an_image() {
        let before = Arc::new(crate::sample::appointment_on(100));
        let moved = |revision: u64| {
            let (kind, before, after) = (
                AppointmentEvent::Moved,
                Some(Arc::clone(&before)),
                Arc::clone(&before),
            );
            let events = vec![Event::Appointment {
                kind,
                before,
                after,
            }];
            Change {
                events,
                ..change(revision, "x")
            }
        };
        let mut tail = Tail::new(TAIL_CHANGES_MAX, PART_EVENTS_MAX);
        tail.absorb(&(1..=4_000).map(moved).collect::<Vec<_>>());
        let kept: usize = tail.changes.iter().map(|it| it.appointments.len()).sum();
        let least = 100 * (3 * size_of::<Place>() + size_of::<Touched>());
        assert!(
            kept > 0 && kept * least <= TAIL_BYTES_MAX,
            "{kept} of {least} bytes and more"
        );
    }

    #[test]
    fn a_ring_answers_only_when_nothing_is_missing() {
        let mut tail = Tail::new(3, 2);
        let all = &WatchFilter::ALL;
        assert_eq!(page(&tail, 0, 0, all), None);
        let changes: Vec<Change> = (5..=9)
            .map(|it| change(it, if it % 2 == 0 { "even" } else { "odd" }))
            .collect();
        tail.absorb(&changes);
        assert_eq!(page(&tail, 5, 9, all), None, "6 has fallen out");
        assert_eq!(page(&tail, 6, 9, all), Some((vec![7, 8, 9], 9)));
        assert_eq!(page(&tail, 6, 10, all), None, "10 is not here yet");
        assert_eq!(page(&tail, 9, 9, all), Some((vec![], 9)));
        let even = CalendarFilter::Among(vec![CalendarId::parse("even").unwrap()]);
        let even = WatchFilter::of(even);
        assert_eq!(page(&tail, 6, 9, &even), Some((vec![8], 9)));
        assert_eq!(
            page(
                &tail,
                6,
                9,
                &WatchFilter::of(CalendarFilter::beginning_with("x"))
            ),
            Some((vec![], 9))
        );
        tail.absorb(&[change(11, "odd")]);
        assert_eq!(
            page(&tail, 8, 11, all),
            None,
            "what does not follow begins it anew"
        );
        assert_eq!(page(&tail, 10, 11, all), Some((vec![11], 11)));
        let large = change(12, "odd");
        let events = large.events.iter().cycle().take(3).cloned().collect();
        tail.absorb(&[Change { events, ..large }]);
        assert_eq!(
            page(&tail, 11, 12, all),
            None,
            "what comes in parts is left to the store"
        );
        tail.absorb(&[change(13, "odd")]);
        assert_eq!(page(&tail, 11, 13, all), None);
        assert_eq!(page(&tail, 12, 13, all), Some((vec![13], 13)));
    }
}
