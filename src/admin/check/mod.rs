//! What must be true of a store, looked at offline and whole: one function for each promise.
//!
//! It reads the rows and the log side by side, and believes neither. It changes nothing.

mod claimed;
mod conflicts;
pub mod examine;
mod images;
mod lives;
pub mod offline;
mod records;
mod sorter;

use std::path::Path;

use crate::store::log_reader::PART_EVENTS_MAX;
use crate::store::{CalendarFilter, Oldest, Store, StoreError, ZoneLookup};
use bookd_core::appointment::zone_drift::drift;
use bookd_core::appointment::{Appointment, AppointmentState};
use bookd_core::change::Cause;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::{LogEntry, LogPosition, Mark};
use bookd_core::time::Instant;
use images::{Images, Life, Lives};

/// How many appointments are read at a time.
const PAGE: usize = 1_000;
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
        Self {
            name,
            promise,
            ..Self::default()
        }
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

/// Checks everything; `progress` is told of appointments and changes as they are read. What does not fit into memory is
/// sorted in the folder for temporary files.
pub fn check(
    store: &mut dyn Store,
    oldest: Option<Oldest>,
    zones: &ZoneLookup,
    now: Instant,
    progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    check_in(&std::env::temp_dir(), store, oldest, zones, now, progress)
}

/// The same with another folder to sort in.
///
/// What is in memory at a time hardly grows with the store (64 KiB for each 4 MiB that are sorted): the log is walked once, and what is asked of it by
/// appointment or by calendar is sorted that way. Only the claims of one calendar are there together.
pub fn check_in(
    folder: &Path,
    store: &mut dyn Store,
    oldest: Option<Oldest>,
    zones: &ZoneLookup,
    now: Instant,
    mut progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    let mut reader = store.reader()?;
    let (mut lives, mut conflicts) = (Checked::new("lives", "R6"), Checked::new("conflicts", "R1"));
    let sessions_from = store.boot()?.sessions_from;
    let (mut log, mut images) = (LogCheck::new(), Images::new(folder, sessions_from));
    let mut claimed = claimed::ByCalendar::new(folder, sessions_from);
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
            claimed.take(&told.entry)?;
            told.entry
                .appointments()
                .try_for_each(|it| images.take(told.entry.revision, it))?;
        }
        progress(page.changes.iter().filter(|it| it.is_last()).count() as u64);
        from = page.next;
    }
    let (mut claims, last_time) = (
        conflicts::ClaimRecords::new(folder, sessions_from),
        log.last_time(),
    );
    let (mut drifted, mut sessions) = (Checked::new("drift", ""), Checked::new("sessions", ""));
    let is_whole = oldest.is_none_or(|it| it.revision == Revision(1));
    let mut rows = RowsCheck {
        checked: Checked::new("rows", "R9"),
        is_whole,
        logged: images.finish(is_whole)?,
        next: None,
    };
    rows.read_on(&mut log.checked)?;
    let mut key = AppointmentKey::default();
    loop {
        let (page, _) = reader.appointments_after(key, PAGE)?;
        let Some(last) = page.last() else { break };
        key = last.key;
        for appointment in &page {
            let claimed = rows.compare(appointment, &mut log.checked)?;
            claims.take(appointment, claimed, last_time)?;
            note_drift(appointment, zones, now, &mut drifted);
        }
        progress(page.len() as u64);
    }
    rows.missing(None, &mut log.checked)?;
    claimed.check(store, &mut conflicts)?;
    claims.check(store, &mut conflicts, &mut sessions)?;
    let mut derived = Checked::new("derived", "R9");
    derived.examined = store.compare_derived(&mut |what| derived.find(what))?;
    let invariants = vec![log.checked, lives, rows.checked, derived, conflicts];
    Ok(Report {
        invariants,
        drift: drifted,
        sessions,
    })
}

/// The log must have no gap, and go forward in time but for the resets of a clock that was ahead.
struct LogCheck {
    checked: Checked,
    next: Option<Revision>,
    time: Instant,
    /// Behind the marks of restores revisions go on, and what is missing before them was taken back; behind those of
    /// clock resets time does.
    marks: Vec<Mark>,
}

impl LogCheck {
    fn new() -> Self {
        Self {
            checked: Checked::new("log", "R4"),
            next: None,
            time: Instant::MIN,
            marks: Vec::new(),
        }
    }

    fn take(&mut self, entry: &LogEntry) {
        let LogEntry { revision, time, .. } = *entry;
        // A large change comes in parts.
        if self.next != Some(revision.next()) {
            self.begin(revision, time);
        }
    }

    /// The next change.
    fn begin(&mut self, revision: Revision, time: Instant) {
        self.checked.examined += 1;
        let is_restored = self.marks.iter().any(|it| it.revision.next() == revision);
        if let Some(next) = self.next.filter(|next| *next != revision && !is_restored) {
            self.checked.find(format!(
                "revision {revision} stands where {next} must follow"
            ));
        }
        let is_behind = |it: &&Mark| {
            it.revision <= revision && self.next.is_none_or(|next| it.revision >= next)
        };
        let reset = self
            .marks
            .iter()
            .rfind(|it| it.cause == Cause::ClockReset && is_behind(it));
        if time < reset.map_or(self.time, |it| it.time) {
            self.checked.find(format!(
                "revision {revision} was made before the one before it"
            ));
        }
        (self.next, self.time) = (Some(revision.next()), time);
    }

    /// The time of the last entry, a mark or a change.
    fn last_time(&self) -> Instant {
        let after = self.next.unwrap_or_default();
        self.marks
            .last()
            .filter(|it| it.revision >= after)
            .map_or(self.time, |it| it.time)
    }
}

/// The rows beside what the log made of them, both by key.
struct RowsCheck {
    checked: Checked,
    /// What was made before the oldest change that is kept may be missing in the log.
    is_whole: bool,
    logged: Lives,
    /// The next appointment of the log that no row was held against.
    next: Option<Life>,
}

impl RowsCheck {
    fn read_on(&mut self, log: &mut Checked) -> Result<(), StoreError> {
        self.next = self.logged.next(log)?;
        Ok(())
    }

    /// What the log made before this key, and no row is: nothing is ever removed.
    fn missing(
        &mut self,
        before: Option<AppointmentKey>,
        log: &mut Checked,
    ) -> Result<(), StoreError> {
        while let Some(life) = self.next.filter(|it| before.is_none_or(|key| it.key < key)) {
            let key = life.key.0;
            self.checked.find(format!(
                "the appointment with key {key}, which the log made, is not there"
            ));
            self.read_on(log)?;
        }
        Ok(())
    }

    /// A row must be what the log made of it. Answers the revision at which it last claimed its time, as far as that is
    /// still in the log.
    fn compare(
        &mut self,
        row: &Appointment,
        log: &mut Checked,
    ) -> Result<Option<Revision>, StoreError> {
        self.checked.examined += 1;
        self.missing(Some(row.key), log)?;
        let Some(life) = self.next.filter(|it| it.key == row.key) else {
            if self.is_whole {
                self.checked
                    .find(format!("appointment {} is in no change", row.id));
            }
            return Ok(None);
        };
        if !life.is(row) {
            self.checked.find(format!(
                "appointment {} is not what the log made of it",
                row.id
            ));
        }
        self.read_on(log)?;
        Ok(life.claimed)
    }
}

fn note_drift(it: &Appointment, zones: &ZoneLookup, now: Instant, checked: &mut Checked) {
    use AppointmentState as S;
    if it.end() <= now || !matches!(it.state_at(now), S::Held | S::Pending | S::Confirmed) {
        return;
    }
    checked.examined += 1;
    let Some(drift) = drift(it, zones(&it.time_zone).as_deref()) else {
        return;
    };
    let now_shown = match drift.local_start {
        Some(wall) => format!("now shows {wall} at its start"),
        None => "is not in the release in use".to_owned(),
    };
    checked.find(format!(
        "appointment {} was booked for {}; {} {now_shown}",
        it.id, it.local_start, it.time_zone
    ));
}
