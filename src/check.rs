//! What must be true of a store, looked at offline and whole: one function for each promise.
//!
//! It reads the rows and the log side by side, and believes neither. It changes nothing.

use std::collections::HashMap;

use crate::domain::appointment::{Appointment, AppointmentState};
use crate::domain::change::AppointmentEvent;
use crate::domain::drift::drift;
use crate::domain::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, TypeNumber};
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
    /// How many of what it looks at.
    pub examined: u64,
    /// What is wrong, in words; at most `FINDINGS_MAX`.
    pub findings: Vec<String>,
    /// How many findings there are.
    pub found: u64,
}

impl Checked {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
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
            last_time = last_time.max(Instant::from_seconds(told.record.time));
        }
        progress(page.changes.len() as u64);
        after = page.upto;
    }
    let mut claims = Claims::default();
    let mut rows = Checked::new("rows");
    let mut drifted = Checked::new("drift");
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
    let conflicts = claims.check(store, now)?;
    Ok(Report { invariants: vec![log.checked, rows, conflicts], drift: drifted })
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
        Self { checked: Checked::new("log"), next: None, time: i64::MIN, images, claimed, is_whole, restores }
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
            if CLAIMING.iter().any(|kind| *kind as u32 == event.kind) {
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

/// What claims time; all else leaves it or gives it back.
const CLAIMING: [AppointmentEvent; 5] = [
    AppointmentEvent::Booked,
    AppointmentEvent::Held,
    AppointmentEvent::Approved,
    AppointmentEvent::Moved,
    AppointmentEvent::Imported,
];

/// One claim of a calendar's time.
struct Claim {
    from: Instant,
    to: Instant,
    session: (TypeNumber, Instant, i64),
    /// The revision at which it was made, if that is still in the log.
    claimed: Option<Revision>,
    appointment: AppointmentId,
}

/// No two active appointments of one calendar may overlap, but for the seats of one session.
#[derive(Default)]
struct Claims {
    of: HashMap<(CalendarId, Revision), Vec<Claim>>,
}

impl Claims {
    fn take(&mut self, it: &Appointment, claimed: Option<Revision>, last_time: Instant) {
        use AppointmentState as S;
        let is_active = match it.state_at(last_time) {
            S::Held | S::Confirmed | S::NoShow | S::Completed => true,
            S::Pending => it.blocks,
            S::Cancelled | S::Declined | S::Expired => false,
        };
        for place in it.places.iter().filter(|_| is_active) {
            let claim = Claim {
                from: it.start.plus(-place.before.seconds()),
                to: it.end().plus(place.after.seconds()),
                session: (place.type_number, it.start, it.duration.seconds()),
                claimed,
                appointment: it.id,
            };
            self.of.entry((place.calendar.clone(), place.since)).or_default().push(claim);
        }
    }

    fn check(self, store: &mut dyn Store, now: Instant) -> Result<Checked, StoreError> {
        let mut checked = Checked::new("conflicts");
        for ((calendar, since), mut claims) in self.of {
            checked.examined += claims.len() as u64;
            claims.sort_unstable_by_key(|it| (it.from, it.to, it.session));
            let mut longest: Option<&Claim> = None;
            for claim in &claims {
                if let Some(other) = longest
                    && claim.from < other.to
                    && (claim.session, claim.from, claim.to) != (other.session, other.from, other.to)
                {
                    let (one, two) = (other.appointment, claim.appointment);
                    checked.find(format!("appointments {one} and {two} take the same time of calendar {calendar}"));
                }
                longest = longest.filter(|other| other.to > claim.to).or(Some(claim));
            }
            let shared = claims.chunk_by(|one, next| one.session == next.session).filter(|seats| seats.len() > 1);
            let shared: Vec<&[Claim]> = shared.collect();
            if shared.is_empty() {
                continue;
            }
            let found = store.load_calendars(std::slice::from_ref(&calendar), now)?.pop().flatten();
            // Of a calendar that was deleted nobody knows any more how many seats there were.
            let Some(found) = found.filter(|it| it.since == since) else { continue };
            for seats in shared {
                let Some(of_type) = found.types.numbered(seats[0].session.0) else { continue };
                let newest = seats.iter().filter_map(|seat| seat.claimed).max();
                // A session above a capacity that was lowered later is as it should be.
                let is_by_this_capacity = newest.is_some_and(|newest| newest > of_type.stamps.revision);
                if is_by_this_capacity && seats.len() > of_type.capacity as usize {
                    let (count, capacity) = (seats.len(), of_type.capacity);
                    let (one, two) = (seats[0].appointment, seats[1].appointment);
                    let seats = format!("{count} appointments, {one} and {two} among them, have one time");
                    checked.find(format!("{seats} of calendar {calendar}, where {capacity} may"));
                }
            }
        }
        Ok(checked)
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
