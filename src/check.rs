//! What must be true of a store, looked at offline and whole: one function for each promise.
//!
//! It reads the rows and the log side by side, and believes neither. It changes nothing.

mod conflicts;
mod lives;

use std::collections::HashMap;

use crate::domain::appointment::{Appointment, AppointmentState, Image};
use crate::domain::change::Cause;
use crate::domain::drift::drift;
use crate::domain::ids::{AppointmentKey, Revision};
use crate::domain::log::{LogEntry, LogPosition, LoggedAppointment, Mark};
use crate::domain::time::Instant;
use crate::store::told::PART_EVENTS_MAX;
use crate::store::{CalendarFilter, Oldest, Store, StoreError, ZoneLookup};

/// How many appointments are read at a time.
const PAGE: usize = 10_000;
/// How many findings of one check are told; the rest is counted.
pub const FINDINGS_MAX: usize = 100;

/// What one check looked at, and what it found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Its name.
    pub name: &'static str,
    /// The promise of docs/RELIABILITY.md that it is about; empty when it is about none.
    pub promise: &'static str,
    /// How many of what it looks at.
    pub examined: u64,
    /// What is wrong, in words; at most `FINDINGS_MAX`.
    pub findings: Vec<String>,
    /// How many findings there are.
    pub found: u64,
    /// What is no damage and should be known.
    pub notes: Vec<String>,
}

impl Checked {
    fn new(name: &'static str, promise: &'static str) -> Self {
        Self { name, promise, ..Self::default() }
    }

    fn find(&mut self, what: String) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// All that was checked of a store.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What must not be: each finding is damage.
    pub invariants: Vec<Checked>,
    /// Upcoming appointments whose wall time is no longer their instant: news for people, and no damage.
    pub drift: Checked,
    /// Sessions of before schema 4 that have a calendar in common at one time: both stay, and nobody joins either.
    pub sessions: Checked,
}

impl Report {
    /// Whether something is in the store that cannot be.
    pub fn is_damaged(&self) -> bool {
        self.invariants.iter().any(|it| it.found > 0)
    }

    /// Whether there is something that people should know of, and that is no damage.
    pub fn has_news(&self) -> bool {
        self.drift.found + self.sessions.found > 0
    }
}

/// Checks everything; `progress` is told of appointments and changes as they are read.
pub fn check(
    store: &mut dyn Store,
    oldest: Option<Oldest>,
    zones: &ZoneLookup,
    now: Instant,
    mut progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    let mut reader = store.reader()?;
    let (mut lives, mut conflicts) = (Checked::new("lives", "R6"), Checked::new("conflicts", "R1"));
    let sessions_from = store.boot()?.sessions_from;
    let mut log = Log::new(oldest, sessions_from);
    let mut walk = conflicts::Walk::new(sessions_from);
    let mut from = LogPosition::of(oldest.map_or(Revision(1), |it| it.revision));
    loop {
        let page = reader.changes_from(from, &CalendarFilter::All, PART_EVENTS_MAX)?;
        if page.next == from {
            break;
        }
        log.marks.extend(&page.marks);
        for told in &page.changes {
            log.take(&told.entry);
            lives::check(&told.entry, &mut lives);
            walk.take(&told.entry, store, &mut conflicts)?;
        }
        progress(page.changes.iter().filter(|it| it.is_last()).count() as u64);
        from = page.next;
    }
    let (mut claims, last_time) = (conflicts::Claims::new(sessions_from), log.last_time());
    let (mut drifted, mut sessions) = (Checked::new("drift", ""), Checked::new("sessions", ""));
    let mut rows = Checked::new("rows", "R9");
    let mut key = AppointmentKey::default();
    loop {
        let (page, _) = reader.appointments_after(key, PAGE)?;
        let Some(last) = page.last() else { break };
        key = last.key;
        for appointment in &page {
            log.compare(appointment, &mut rows);
            claims.take(appointment, log.claimed.get(&appointment.key).copied(), last_time);
            note_drift(appointment, zones, now, &mut drifted);
        }
        progress(page.len() as u64);
    }
    log.missing(&mut rows);
    claims.check(store, now, &mut conflicts, &mut sessions)?;
    let mut derived = Checked::new("derived", "R9");
    derived.examined = store.compare_derived(&mut |what| derived.find(what))?;
    Ok(Report { invariants: vec![log.checked, lives, rows, derived, conflicts], drift: drifted, sessions })
}

/// The log must have no gap, go forward in time but for the resets of a clock that was ahead, and tell each appointment's
/// life without a jump.
struct Log {
    checked: Checked,
    /// The log of before schema 4 lacks some of an image: what is told of that is taken from later rows.
    sessions_from: Revision,
    next: Option<Revision>,
    time: Instant,
    /// Each appointment as the log left it.
    images: HashMap<AppointmentKey, Image>,
    /// The revision at which each last claimed its time.
    claimed: HashMap<AppointmentKey, Revision>,
    /// What was made before the oldest change that is kept may be missing in it.
    is_whole: bool,
    /// Behind the marks of restores revisions go on, and what is missing before them was taken back; behind those of
    /// clock resets time does.
    marks: Vec<Mark>,
}

impl Log {
    fn new(oldest: Option<Oldest>, sessions_from: Revision) -> Self {
        let is_whole = oldest.is_none_or(|it| it.revision == Revision(1));
        let (images, claimed, marks) = Default::default();
        let checked = Checked::new("log", "R4");
        Self { checked, sessions_from, next: None, time: Instant::MIN, images, claimed, is_whole, marks }
    }

    fn take(&mut self, entry: &LogEntry) {
        let LogEntry { revision, time, .. } = *entry;
        // A large change comes in parts.
        if self.next != Some(revision.next()) {
            self.begin(revision, time);
        }
        for it in entry.appointments() {
            self.take_appointment(revision, it);
        }
    }

    /// The next change.
    fn begin(&mut self, revision: Revision, time: Instant) {
        self.checked.examined += 1;
        let is_restored = self.marks.iter().any(|it| it.revision.next() == revision);
        if let Some(next) = self.next.filter(|next| *next != revision && !is_restored) {
            self.checked.find(format!("revision {revision} stands where {next} must follow"));
        }
        let is_behind = |it: &&Mark| it.revision <= revision && self.next.is_none_or(|next| it.revision >= next);
        let reset = self.marks.iter().rfind(|it| it.cause == Cause::ClockReset && is_behind(it));
        if time < reset.map_or(self.time, |it| it.time) {
            self.checked.find(format!("revision {revision} was made before the one before it"));
        }
        (self.next, self.time) = (Some(revision.next()), time);
    }

    fn take_appointment(&mut self, revision: Revision, it: &LoggedAppointment) {
        if conflicts::is_claiming(it) {
            self.claimed.insert(it.key, revision);
        }
        let known = self.images.insert(it.key, it.after.clone());
        let is_told = known.is_some() || self.is_whole;
        let is_as_it_was = match (&known, &it.before) {
            (Some(known), Some(before)) if known.revision < self.sessions_from => kept(known) == kept(before),
            _ => known == it.before,
        };
        if is_told && !is_as_it_was {
            let id = it.id;
            self.checked.find(format!("revision {revision} changes appointment {id} from what it was not"));
        }
    }

    /// The time of the last entry, a mark or a change.
    fn last_time(&self) -> Instant {
        let after = self.next.unwrap_or_default();
        self.marks.last().filter(|it| it.revision >= after).map_or(self.time, |it| it.time)
    }

    /// What the log made and no row is: nothing is ever removed.
    fn missing(&self, checked: &mut Checked) {
        let mut keys: Vec<_> = self.images.keys().collect();
        keys.sort_unstable();
        for key in keys {
            checked.find(format!("the appointment with key {}, which the log made, is not there", key.0));
        }
    }

    /// A row must be what the log made of it; it is asked for each row once.
    fn compare(&mut self, row: &Appointment, checked: &mut Checked) {
        checked.examined += 1;
        match self.images.remove(&row.key) {
            Some(image) if image != row.image => {
                checked.find(format!("appointment {} is not what the log made of it", row.id));
            }
            None if self.is_whole => checked.find(format!("appointment {} is in no change", row.id)),
            _ => {}
        }
    }
}

/// What of an image the log always kept.
fn kept(it: &Image) -> impl PartialEq + use<> {
    let places: Vec<_> = it.places.iter().map(|it| (it.calendar.clone(), it.before, it.after)).collect();
    let Image { start, duration, local_start, state, expire_time, sequence, ignored_rules, revision, .. } = *it;
    (places, it.type_id.clone(), start, duration, local_start, state, (expire_time, sequence, ignored_rules, revision))
}

fn note_drift(it: &Appointment, zones: &ZoneLookup, now: Instant, checked: &mut Checked) {
    use AppointmentState as S;
    if it.end() <= now || !matches!(it.state_at(now), S::Held | S::Pending | S::Confirmed) {
        return;
    }
    checked.examined += 1;
    let Some(drift) = drift(it, zones(&it.time_zone).as_deref()) else { return };
    let now_shown = match drift.local_start {
        Some(wall) => format!("now shows {wall} at its start"),
        None => "is not in the release in use".to_owned(),
    };
    checked.find(format!("appointment {} was booked for {}; {} {now_shown}", it.id, it.local_start, it.time_zone));
}
