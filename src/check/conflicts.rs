//! R1: no two active appointments of one calendar overlap, but for the seats of one session: at no revision of the
//! log, and not in the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Checked;
use crate::domain::appointment::{Appointment, AppointmentState, Image, Place};
use crate::domain::calendar::Calendar;
use crate::domain::change::AppointmentEvent;
use crate::domain::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use crate::domain::log::{CalendarEvent, LogEntry, LoggedAppointment, What};
use crate::domain::time::{Instant, Minutes};
use crate::store::{Store, StoreError};

/// Whether an event claims time; all else leaves it or gives it back. What is approved claims only the time that it did
/// not take while it waited: of before schema 4 nothing says so, and nothing is asked of it.
pub(super) fn is_claiming(it: &LoggedAppointment) -> bool {
    use AppointmentEvent as E;
    match it.kind {
        E::Booked | E::Held | E::Moved | E::Imported => true,
        E::Approved => it.before.as_ref().is_some_and(|before| !before.blocks),
        _ => false,
    }
}

/// A claim that stands at the revision to which the log has been walked.
struct Standing {
    from: Instant,
    to: Instant,
    alike: Alike,
    set: Arc<Set>,
    /// Whether it certainly takes its time: of a request of before schema 4 nobody knows.
    blocks: bool,
    state: AppointmentState,
    expire_time: Option<Instant>,
    key: AppointmentKey,
    appointment: AppointmentId,
}

/// Type, start and length: what the seats of a session have in common on one calendar.
type Alike = (TypeId, Instant, Minutes);

/// What they have in common besides: their session's first seat, and the calendars that they take.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Set {
    session: AppointmentKey,
    places: BTreeSet<(CalendarId, Instant, Minutes)>,
}

impl Set {
    /// Of an appointment, for all of its claims.
    fn of(image: &Image) -> Arc<Self> {
        let place = |it: &Place| (it.calendar.clone(), it.start, it.duration);
        Arc::new(Self { session: image.session, places: image.places.iter().map(place).collect() })
    }
}

impl Standing {
    /// The claims that a change leaves; none when it takes no time whatever its type says.
    fn of(it: &LoggedAppointment, is_early: bool) -> Vec<(CalendarId, Self)> {
        let image = &it.after;
        if image.state.is_over() {
            return Vec::new();
        }
        let blocks = if is_early { image.state != AppointmentState::Pending } else { image.blocks };
        let set = Set::of(image);
        let claim = |place: &Place| {
            let standing = Self {
                from: place.padded().start,
                to: place.padded().end,
                alike: (image.type_id.clone(), place.start, place.duration),
                set: Arc::clone(&set),
                blocks,
                state: image.state,
                expire_time: image.expire_time,
                key: it.key,
                appointment: it.id,
            };
            (place.calendar.clone(), standing)
        };
        image.places.iter().map(claim).collect()
    }

    /// Whether it takes its time.
    fn is_taking(&self, time: Instant) -> bool {
        self.blocks && self.is_alive(time)
    }

    fn is_alive(&self, time: Instant) -> bool {
        let is_waiting = matches!(self.state, AppointmentState::Held | AppointmentState::Pending);
        !is_waiting || self.expire_time.is_some_and(|it| it > time)
    }

    fn is_seat_of(&self, other: &Self, is_by_set: bool) -> bool {
        (&self.alike, self.from, self.to) == (&other.alike, other.from, other.to)
            && (!is_by_set || self.set == other.set)
    }
}

/// The claims of one calendar while the log is walked.
#[derive(Default)]
struct Taken {
    /// By where they begin, and by appointment.
    claims: BTreeMap<(Instant, AppointmentKey), Standing>,
    /// No claim there ever was is longer, in seconds.
    longest: i64,
}

impl Taken {
    fn overlapping(&self, it: &Standing) -> impl Iterator<Item = &Standing> {
        let (from, to) = (it.from, it.to);
        let least = AppointmentKey::default();
        let near = self.claims.range((from.plus(-self.longest), least)..(to, least));
        near.map(|(_, other)| other).filter(move |other| other.to > from)
    }
}

/// How many seats a type has since which revision.
type Capacities = HashMap<TypeId, (Revision, u32)>;

/// What is claimed at the revision to which the log has been walked.
pub(super) struct Walk {
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    taken: HashMap<CalendarId, Taken>,
    /// Of the calendars whose sessions were looked at; read when they are needed first.
    capacities: HashMap<CalendarId, Capacities>,
}

impl Walk {
    pub(super) fn new(sessions_from: Revision) -> Self {
        Self { sessions_from, taken: HashMap::new(), capacities: HashMap::new() }
    }

    /// The next change: whatever it claims was free just then.
    pub(super) fn take(
        &mut self,
        entry: &LogEntry,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        for event in &entry.events {
            let it = match &event.what {
                What::Calendar(CalendarEvent::Deleted) => {
                    event.calendars.iter().for_each(|it| drop(self.taken.remove(&it.calendar)));
                    continue;
                }
                What::Calendar(_) => continue,
                What::Appointment(it) => it,
            };
            let given_back = it.before.iter().flat_map(|image| &image.places);
            let had: BTreeSet<&CalendarId> =
                given_back.filter(|place| self.remove(place, it.key)).map(|place| &place.calendar).collect();
            for (calendar, claim) in Standing::of(it, entry.revision < self.sessions_from) {
                if is_claiming(it) {
                    checked.examined += 1;
                    self.ask(entry, it.kind, &calendar, &claim, store, checked)?;
                } else if !had.contains(&calendar) {
                    // Of a calendar that was deleted, or claimed before the oldest change that is kept.
                    continue;
                }
                let taken = self.taken.entry(calendar).or_default();
                taken.longest = taken.longest.max(claim.to.since(claim.from));
                taken.claims.insert((claim.from, claim.key), claim);
            }
        }
        Ok(())
    }

    fn remove(&mut self, place: &Place, key: AppointmentKey) -> bool {
        let taken = self.taken.get_mut(&place.calendar);
        taken.is_some_and(|taken| taken.claims.remove(&(place.padded().start, key)).is_some())
    }

    /// Whether what is claimed was free at this very revision.
    fn ask(
        &mut self,
        entry: &LogEntry,
        kind: AppointmentEvent,
        calendar: &CalendarId,
        claim: &Standing,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let LogEntry { revision, time, .. } = *entry;
        let is_imported = kind == AppointmentEvent::Imported;
        let is_asked = if is_imported { claim.is_taking(time) } else { claim.is_alive(time) };
        let Some(taken) = self.taken.get(calendar).filter(|_| is_asked) else { return Ok(()) };
        let (one, is_by_set) = (claim.appointment, revision >= self.sessions_from);
        let mut seats = 1;
        for other in taken.overlapping(claim).filter(|it| it.is_taking(time)) {
            if other.is_seat_of(claim, is_by_set) {
                seats += 1;
            } else {
                let two = other.appointment;
                checked.find(format!("revision {revision} gives {one} time of calendar {calendar} that {two} had"));
            }
        }
        let capacity = if seats > 1 { self.capacity(revision, calendar, &claim.alike.0, store)? } else { None };
        if let Some(capacity) = capacity.filter(|it| seats > *it) {
            checked.find(format!("revision {revision} gives {one} seat {seats} of calendar {calendar}, of {capacity}"));
        }
        Ok(())
    }

    /// How many seats the type had at that revision; none when it was another type then.
    fn capacity(
        &mut self,
        revision: Revision,
        calendar: &CalendarId,
        type_id: &TypeId,
        store: &mut dyn Store,
    ) -> Result<Option<u32>, StoreError> {
        if !self.capacities.contains_key(calendar) {
            let found = load(store, calendar, Instant::MAX)?;
            let types = found.iter().flat_map(|it| it.types.iter());
            let types = types.map(|it| (it.id.clone(), (it.stamps.revision, it.capacity))).collect();
            self.capacities.insert(calendar.clone(), types);
        }
        let known = self.capacities.get(calendar).and_then(|types| types.get(type_id));
        Ok(known.filter(|(since, _)| revision > *since).map(|(_, capacity)| *capacity))
    }
}

/// A calendar, for its types; none when it is gone, or when the zone that it is in is not in the release in use.
fn load(store: &mut dyn Store, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError> {
    match store.load_calendars(std::slice::from_ref(id), now) {
        Ok(mut found) => Ok(found.pop().flatten()),
        Err(StoreError::UnknownZone(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One claim of a calendar's time.
struct Claim {
    from: Instant,
    to: Instant,
    alike: (TypeNumber, Instant, Minutes),
    set: Arc<Set>,
    /// The revision at which it was made, if that is still in the log.
    claimed: Option<Revision>,
    appointment: AppointmentId,
}

impl Claim {
    fn order(&self) -> impl Ord {
        (self.from, self.to, self.alike, Arc::clone(&self.set))
    }

    fn is_seat_of(&self, other: &Self) -> bool {
        (self.alike, self.from, self.to, &self.set) == (other.alike, other.from, other.to, &other.set)
    }
}

/// The claims of the rows, as they are in the end.
pub(super) struct Claims {
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    of: HashMap<(CalendarId, Revision), Vec<Claim>>,
}

impl Claims {
    pub(super) fn new(sessions_from: Revision) -> Self {
        Self { sessions_from, of: HashMap::new() }
    }

    /// The next row.
    pub(super) fn take(&mut self, it: &Appointment, claimed: Option<Revision>, last_time: Instant) {
        use AppointmentState as S;
        let is_active = match it.state_at(last_time) {
            S::Held | S::Confirmed | S::NoShow | S::Completed => true,
            S::Pending => it.blocks,
            S::Cancelled | S::Declined | S::Expired => false,
        };
        if !is_active {
            return;
        }
        let set = Set::of(&it.image);
        for place in &it.places {
            let claim = Claim {
                from: place.padded().start,
                to: place.padded().end,
                alike: (place.type_number, place.start, place.duration),
                set: Arc::clone(&set),
                claimed,
                appointment: it.id,
            };
            self.of.entry((place.calendar.clone(), place.since)).or_default().push(claim);
        }
    }

    /// What of all of them cannot be; and which sessions of before schema 4 have a calendar in common, which could.
    pub(super) fn check(
        self,
        store: &mut dyn Store,
        now: Instant,
        checked: &mut Checked,
        shared: &mut Checked,
    ) -> Result<(), StoreError> {
        // A change that is no longer kept may be of any revision: of before schema 4 only where there is such a time.
        let is_early = |it: &Claim| it.claimed.unwrap_or(Revision(1)) < self.sessions_from;
        for ((calendar, since), mut claims) in self.of {
            checked.examined += claims.len() as u64;
            claims.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
            let mut longest: Option<&Claim> = None;
            for claim in &claims {
                if let Some(other) = longest.filter(|other| claim.from < other.to && !claim.is_seat_of(other)) {
                    let (one, two) = (other.appointment, claim.appointment);
                    let is_alike = (claim.alike, claim.from, claim.to) == (other.alike, other.from, other.to);
                    if is_alike && is_early(claim) && is_early(other) {
                        shared.find(format!(
                            "appointments {one} and {two} have one time of calendar {calendar} as two sessions; \
                             move one of them"
                        ));
                    } else {
                        checked.find(format!("appointments {one} and {two} take the same time of calendar {calendar}"));
                    }
                }
                longest = longest.filter(|other| other.to > claim.to).or(Some(claim));
            }
            shared.examined += claims.len() as u64;
            let sessions = claims.chunk_by(|one, next| one.is_seat_of(next)).filter(|seats| seats.len() > 1);
            let sessions: Vec<&[Claim]> = sessions.collect();
            if sessions.is_empty() {
                continue;
            }
            let found = load(store, &calendar, now)?;
            // Of a calendar that was deleted nobody knows any more how many seats there were.
            let Some(found) = found.filter(|it| it.since == since) else { continue };
            for seats in sessions {
                let Some(of_type) = found.types.numbered(seats[0].alike.0) else { continue };
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_of_one_appointment_share_one_set() {
        let appointment = Appointment::on_calendars(100);
        let mut claims = Claims::new(Revision(1));
        claims.take(&appointment, None, Instant::from_seconds(0));
        let of_rows: Vec<_> = claims.of.values().flatten().map(|it| &it.set).collect();
        assert_eq!((of_rows.len(), Arc::strong_count(of_rows[0])), (100, 100));

        let (kind, id, key, after) = (AppointmentEvent::Booked, appointment.id, appointment.key, appointment.image);
        let logged = LoggedAppointment { kind, id, key, previous: Revision(0), before: None, after };
        let of_log = Standing::of(&logged, false);
        assert_eq!((of_log.len(), Arc::strong_count(&of_log[0].1.set)), (100, 100));
    }
}
