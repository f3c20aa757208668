//! The check of a whole store, offline: what a file can show of the promises of docs/RELIABILITY.md,
//! which are R1, R4, R6 and R9, and R2 of the file itself.
//!
//! It compares rows, log and derived tables, and trusts none of them. It changes nothing.

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
use crate::store::{ChangePage, Oldest, Store, StoreError, WatchFilter, ZoneLookup};
use bookd_core::appointment::zone_drift::drift;
use bookd_core::appointment::{Appointment, AppointmentState};
use bookd_core::change::Cause;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::{LogEntry, LogPosition, Mark};
use bookd_core::time::Instant;
use images::{Images, Life, Lives};

/// Appointments that are read at a time.
const PAGE: usize = 1_000;
/// The most findings of one check in a report; the others are counted.
pub const FINDINGS_MAX: usize = 100;

// The checks: of each its name, the promise of docs/RELIABILITY.md that it checks, and what it
// examines, as text for people.
const LOG: [&str; 3] = ["log", "R4", "changes without gap, each from what was there"];
const LIVES: [&str; 3] = [
    "lives",
    "R6",
    "what happened to appointments, by what may follow what",
];
const ROWS: [&str; 3] = ["rows", "R9", "appointments as the log made them"];
const DERIVED: [&str; 3] = [
    "derived",
    "R9",
    "what is kept beside rows and log, as it follows from them",
];
const CONFLICTS: [&str; 3] = [
    "conflicts",
    "R1",
    "claims of time, never two of them on one time",
];
const SESSIONS: [&str; 3] = [
    "sessions",
    "",
    "sessions that share a calendar at one time, as files of before schema 4 may have them",
];
const DRIFT: [&str; 3] = [
    "drift",
    "",
    "upcoming appointments with the wall time they were booked for",
];

/// The result of one check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The name of the check.
    pub name: &'static str,
    /// The promise of docs/RELIABILITY.md that it checks; empty if none.
    pub promise: &'static str,
    /// What it examines, as text for people.
    pub about: &'static str,
    /// The number of items that it examined, such as rows or changes.
    pub examined: u64,
    /// The findings as text, at most `FINDINGS_MAX`.
    pub findings: Vec<String>,
    /// The number of findings, also of those that are not in `findings`.
    pub found: u64,
    /// Facts that are no damage and that people should know.
    pub notes: Vec<String>,
}

impl Checked {
    fn new([name, promise, about]: [&'static str; 3]) -> Self {
        Self {
            name,
            promise,
            about,
            ..Self::default()
        }
    }

    /// Adds a finding.
    fn find(&mut self, what: String) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// The results of all checks of a store.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The checks whose findings are damage.
    pub invariants: Vec<Checked>,
    /// Upcoming appointments whose instant no longer has the wall time that was booked. This is no
    /// damage.
    pub drift: Checked,
    /// Sessions of before schema 4 that share a calendar at one time. This is no damage: both stay,
    /// and neither takes further appointments.
    pub sessions: Checked,
}

impl Report {
    /// Whether a check of `invariants` has findings.
    pub fn is_damaged(&self) -> bool {
        self.invariants.iter().any(|it| it.found > 0)
    }

    /// Whether there are findings that are no damage: drift or shared sessions.
    pub fn has_news(&self) -> bool {
        self.drift.found + self.sessions.found > 0
    }
}

/// Checks a store. `progress` is called with the number of appointments and changes that were just
/// read. Records that do not fit into memory are sorted in the folder for temporary files.
pub fn check(
    store: &mut dyn Store,
    oldest: Option<Oldest>,
    zones: &ZoneLookup,
    now: Instant,
    progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    check_in(&std::env::temp_dir(), store, oldest, zones, now, progress)
}

/// Checks a store as `check` does, and sorts in `folder`.
///
/// ```text
/// log ──▶ log, lives                             in the order of revisions
///   ├───▶ images  ──sorted by appointment──┐
///   └───▶ claimed ──sorted by calendar─────┼──▶ conflicts at every revision
/// rows ───────────────────────────────────▶├──▶ rows: each row is what its images say
///   └───▶ claims  ──sorted by calendar─────┴──▶ conflicts and sessions at the end
/// ```
///
/// The log is walked once. Memory hardly grows with the store: 64 KiB for each 4 MiB that are sorted,
/// and the claims of one calendar.
pub fn check_in(
    folder: &Path,
    store: &mut dyn Store,
    oldest: Option<Oldest>,
    zones: &ZoneLookup,
    now: Instant,
    mut progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    let mut reader = store.reader()?;
    let (mut lives, mut conflicts) = (Checked::new(LIVES), Checked::new(CONFLICTS));
    let sessions_from = store.boot()?.sessions_from;
    let (mut log, mut images) = (LogCheck::new(), Images::new(folder, sessions_from));
    let mut claimed = claimed::CalendarClaims::new(folder, sessions_from);
    let mut from = LogPosition::of(oldest.map_or(Revision(1), |oldest| oldest.revision));
    loop {
        let page = reader.changes_from(from, &WatchFilter::ALL, PART_EVENTS_MAX)?;
        if page.next == from {
            break;
        }
        log.take(&page);
        for part in &page.changes {
            lives::check(&part.entry, &mut lives);
            claimed.take(&part.entry)?;
            part.entry
                .appointments()
                .try_for_each(|event| images.take(part.entry.revision, event))?;
        }
        progress(page.changes.iter().filter(|part| part.is_last()).count() as u64);
        from = page.next;
    }
    let (mut claims, last_time) = (
        conflicts::ClaimRecords::new(folder, sessions_from),
        log.last_time,
    );
    let (mut drifted, mut sessions) = (Checked::new(DRIFT), Checked::new(SESSIONS));
    let is_whole = oldest.is_none_or(|oldest| oldest.revision == Revision(1));
    let mut rows = RowsCheck {
        checked: Checked::new(ROWS),
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
    let mut derived = Checked::new(DERIVED);
    derived.examined = store.compare_derived(&mut |what| derived.find(what))?;
    let invariants = vec![log.checked, lives, rows.checked, derived, conflicts];
    Ok(Report {
        invariants,
        drift: drifted,
        sessions,
    })
}

/// The check `log`: the log has no gap, and its time never runs back except at the reset of a
/// clock.
struct LogCheck {
    checked: Checked,
    /// The revision that must follow; none before the first change.
    next: Option<Revision>,
    /// The time of the last change or mark.
    last_time: Instant,
}

impl LogCheck {
    fn new() -> Self {
        Self {
            checked: Checked::new(LOG),
            next: None,
            last_time: Instant::MIN,
        }
    }

    /// Checks the next page of the log.
    fn take(&mut self, page: &ChangePage) {
        let mut marks = page.marks.iter().peekable();
        for part in &page.changes {
            let LogEntry { revision, time, .. } = part.entry;
            while let Some(mark) = marks.next_if(|mark| mark.revision <= revision) {
                self.take_mark(mark);
            }
            self.follow(revision, time, None);
        }
        marks.for_each(|mark| self.take_mark(mark));
    }

    fn take_mark(&mut self, mark: &Mark) {
        self.follow(mark.revision, mark.time, Some(mark.cause));
    }

    /// Checks that a change follows the one before it. Before the mark of a restore the revisions
    /// skip some, because the changes before it were taken back; the mark of a clock reset may have
    /// an earlier time.
    fn follow(&mut self, revision: Revision, time: Instant, mark: Option<Cause>) {
        // A further part of the same change, or its events after its mark.
        if self.next == Some(revision.next()) {
            return;
        }
        self.checked.examined += 1;
        let may_skip = |next: Revision| mark == Some(Cause::Restore) && next < revision;
        if let Some(next) = self.next
            && next != revision
            && !may_skip(next)
        {
            self.checked.find(format!(
                "revision {revision} stands where {next} must follow"
            ));
        }
        if time < self.last_time && mark != Some(Cause::ClockReset) {
            self.checked.find(format!(
                "revision {revision} was made before the one before it"
            ));
        }
        (self.next, self.last_time) = (Some(revision.next()), time);
    }
}

/// The check `rows`: walks the rows and the appointments of the log together, both in the order of
/// keys.
struct RowsCheck {
    checked: Checked,
    /// Whether the log is kept from the first change on; otherwise appointments may be missing in
    /// it.
    is_whole: bool,
    logged: Lives,
    /// The next appointment of the log that was not compared with a row yet.
    next: Option<Life>,
}

impl RowsCheck {
    /// Reads the next appointment of the log.
    fn read_on(&mut self, log: &mut Checked) -> Result<(), StoreError> {
        self.next = self.logged.next(log)?;
        Ok(())
    }

    /// Reports the appointments of the log before this key, which have no row. No row is ever
    /// removed but with all events that made it.
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

    /// Checks that a row is what its last change left. Answers the revision at which the
    /// appointment last claimed its time, if that change is still in the log.
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

/// Reports an upcoming appointment whose instant no longer has the wall time that was booked.
fn note_drift(appointment: &Appointment, zones: &ZoneLookup, now: Instant, checked: &mut Checked) {
    use AppointmentState as S;
    if appointment.end() <= now
        || !matches!(
            appointment.state_at(now),
            S::Held | S::Pending | S::Confirmed
        )
    {
        return;
    }
    checked.examined += 1;
    let Some(drift) = drift(appointment, zones(&appointment.time_zone).as_deref()) else {
        return;
    };
    let now_shown = match drift.local_start {
        Some(wall) => format!("now shows {wall} at its start"),
        None => "is not in the release in use".to_owned(),
    };
    checked.find(format!(
        "appointment {} was booked for {}; {} {now_shown}",
        appointment.id, appointment.local_start, appointment.time_zone
    ));
}
