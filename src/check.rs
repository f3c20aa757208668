//! What must be true of a store, looked at offline and whole: one function for each promise.
//!
//! It reads the rows and the log side by side, and believes neither. It changes nothing.

mod conflicts;
mod lives;

use std::collections::HashMap;

use crate::domain::appointment::{Appointment, AppointmentState};
use crate::domain::drift::drift;
use crate::domain::ids::{AppointmentKey, Revision};
use crate::domain::time::Instant;
use crate::store::change_record::{ChangeRecord, ImageRecord};
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
#[derive(Clone, Debug)]
pub struct Report {
    /// What must not be: each finding is damage.
    pub invariants: Vec<Checked>,
    /// Upcoming appointments whose wall time is no longer their instant: news for people, and no damage.
    pub drift: Checked,
}

impl Report {
    /// Whether something is in the store that cannot be.
    pub fn is_damaged(&self) -> bool {
        self.invariants.iter().any(|it| it.found > 0)
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
    let mut log = Log::new(oldest);
    let (mut lives, mut conflicts) = (Checked::new("lives", "R6"), Checked::new("conflicts", "R1"));
    let mut walk = conflicts::Walk::default();
    let mut last_time = Instant::MIN;
    let mut after = oldest.map_or(Revision(0), |it| Revision(it.revision.0 - 1));
    loop {
        let page = reader.changes_after(after, &CalendarFilter::All)?;
        if page.upto == after {
            break;
        }
        log.restores.extend(page.restores.iter().map(|it| it.0));
        for told in &page.changes {
            log.take(&told.record);
            lives::check(&told.record, &mut lives);
            walk.take(&told.record, store, &mut conflicts)?;
            last_time = last_time.max(Instant::from_seconds(told.record.time));
        }
        progress(page.changes.len() as u64);
        after = page.upto;
    }
    let mut claims = conflicts::Claims::default();
    let (mut rows, mut drifted) = (Checked::new("rows", "R9"), Checked::new("drift", ""));
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
    claims.check(store, now, &mut conflicts)?;
    Ok(Report { invariants: vec![log.checked, lives, rows, conflicts], drift: drifted })
}

/// The log must have no gap, go forward in time, and tell each appointment's life without a jump.
struct Log {
    checked: Checked,
    next: Option<u64>,
    time: i64,
    /// Each appointment as the log left it.
    images: HashMap<AppointmentKey, ImageRecord>,
    /// The revision at which each last claimed its time.
    claimed: HashMap<AppointmentKey, Revision>,
    /// What was made before the oldest change that is kept may be missing in it.
    is_whole: bool,
    /// The marks of restores: revisions go on behind them, and what is missing before them was taken back.
    restores: Vec<u64>,
}

impl Log {
    fn new(oldest: Option<Oldest>) -> Self {
        let is_whole = oldest.is_none_or(|it| it.revision == Revision(1));
        let (images, claimed, restores) = Default::default();
        Self { checked: Checked::new("log", "R4"), next: None, time: i64::MIN, images, claimed, is_whole, restores }
    }

    fn take(&mut self, record: &ChangeRecord) {
        let ChangeRecord { revision, time, .. } = *record;
        self.checked.examined += 1;
        let is_restored = self.restores.contains(&revision.saturating_sub(1));
        if self.next.is_some_and(|next| next != revision) && !is_restored {
            self.checked.find(format!("revision {revision} follows {}", self.next.unwrap_or_default() - 1));
        }
        if time < self.time {
            self.checked.find(format!("revision {revision} was made before the one before it"));
        }
        if record.events.is_empty() {
            self.checked.find(format!("revision {revision} changes nothing"));
        }
        (self.next, self.time) = (Some(revision + 1), time);
        for event in &record.events {
            let (Some(id), Some(after)) = (event.appointment_id(), &event.after) else { continue };
            if conflicts::is_claiming(event) {
                self.claimed.insert(AppointmentKey(event.key), Revision(revision));
            }
            let known = self.images.insert(AppointmentKey(event.key), after.clone());
            let is_told = known.is_some() || self.is_whole;
            if is_told && known != event.before {
                self.checked.find(format!("revision {revision} changes appointment {id} from what it was not"));
            }
        }
    }

    /// A row must be what the log made of it.
    fn compare(&self, row: &Appointment, checked: &mut Checked) {
        checked.examined += 1;
        match self.images.get(&row.key) {
            Some(image) if *image != ImageRecord::new(row) => {
                checked.find(format!("appointment {} is not what the log made of it", row.id));
            }
            None if self.is_whole => checked.find(format!("appointment {} is in no change", row.id)),
            _ => {}
        }
    }
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
