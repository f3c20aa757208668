//! R1: no two active appointments of one calendar overlap, but for the seats of one session: at no revision of the
//! log, and not in the rows.

use std::collections::{BTreeMap, HashMap};

use super::Checked;
use crate::domain::appointment::{Appointment, AppointmentState};
use crate::domain::calendar::Calendar;
use crate::domain::change::AppointmentEvent;
use crate::domain::ids::{AppointmentId, CalendarId, Revision, TypeNumber};
use crate::domain::time::{Instant, MINUTE};
use crate::store::change_record::{ChangeRecord, EventRecord, ImageRecord, calendar_event};
use crate::store::{Store, StoreError};

/// What claims time; all else leaves it or gives it back.
const CLAIMING: [AppointmentEvent; 5] = [
    AppointmentEvent::Booked,
    AppointmentEvent::Held,
    AppointmentEvent::Approved,
    AppointmentEvent::Moved,
    AppointmentEvent::Imported,
];

/// Whether an event claims time.
pub(super) fn is_claiming(event: &EventRecord) -> bool {
    CLAIMING.iter().any(|kind| *kind as u32 == event.kind)
}

/// A claim that stands at the revision to which the log has been walked.
struct Standing {
    from: i64,
    to: i64,
    /// Type, start and length: what the seats of a session have in common.
    session: (String, i64, u32),
    state: AppointmentState,
    expire_time: Option<i64>,
    key: u64,
    appointment: AppointmentId,
}

impl Standing {
    /// The claims of an image; none when it takes no time whatever its type says.
    fn of(event: &EventRecord, image: &ImageRecord) -> Vec<(String, Self)> {
        let state = u8::try_from(image.state).ok().and_then(AppointmentState::from_number);
        let (Some(state), Some(appointment)) = (state.filter(|it| !it.is_over()), event.appointment_id()) else {
            return Vec::new();
        };
        let buffer = |at: usize| i64::from(image.buffers.get(at).copied().unwrap_or_default()) * MINUTE;
        // What stands in a damaged file may be as large as it likes.
        let end = image.start.saturating_add(i64::from(image.duration) * MINUTE);
        let claim = |(index, calendar): (usize, &String)| {
            let it = Self {
                from: image.start.saturating_sub(buffer(2 * index)),
                to: end.saturating_add(buffer(2 * index + 1)),
                session: (image.type_id.clone(), image.start, image.duration),
                state,
                expire_time: image.expire_time,
                key: event.key,
                appointment,
            };
            (calendar.clone(), it)
        };
        image.calendars.iter().enumerate().map(claim).collect()
    }

    /// Whether it certainly takes its time: a type may say that requests do not, and the log does not tell.
    fn is_taking(&self, time: i64) -> bool {
        self.state != AppointmentState::Pending && self.is_alive(time)
    }

    fn is_alive(&self, time: i64) -> bool {
        let is_waiting = matches!(self.state, AppointmentState::Held | AppointmentState::Pending);
        !is_waiting || self.expire_time.is_some_and(|it| it > time)
    }

    fn is_seat_of(&self, other: &Self) -> bool {
        (&self.session, self.from, self.to) == (&other.session, other.from, other.to)
    }
}

/// The claims of one calendar while the log is walked.
#[derive(Default)]
struct Taken {
    /// By where they begin, and by appointment.
    claims: BTreeMap<(i64, u64), Standing>,
    /// No claim there ever was is longer.
    longest: i64,
}

impl Taken {
    fn overlapping(&self, it: &Standing) -> impl Iterator<Item = &Standing> {
        let (from, to) = (it.from, it.to);
        let near = self.claims.range((from.saturating_sub(self.longest), 0)..(to, 0));
        near.map(|(_, other)| other).filter(move |other| other.to > from)
    }
}

/// How many seats a type has since which revision.
type Capacities = HashMap<String, (Revision, u32)>;

/// What is claimed at the revision to which the log has been walked.
#[derive(Default)]
pub(super) struct Walk {
    taken: HashMap<String, Taken>,
    /// Of the calendars whose sessions were looked at; read when they are needed first.
    capacities: HashMap<String, Capacities>,
}

impl Walk {
    /// The next change: whatever it claims was free just then.
    pub(super) fn take(
        &mut self,
        record: &ChangeRecord,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        for event in &record.events {
            if event.kind == calendar_event::DELETED {
                event.calendars.iter().for_each(|it| drop(self.taken.remove(&it.calendar)));
            }
            let given_back = event.before.as_ref().map(|it| Standing::of(event, it)).unwrap_or_default();
            let had: Vec<String> =
                given_back.into_iter().filter(|(id, it)| self.remove(id, it)).map(|(id, _)| id).collect();
            let claims = event.after.as_ref().map(|it| Standing::of(event, it)).unwrap_or_default();
            for (calendar, claim) in claims {
                if is_claiming(event) {
                    checked.examined += 1;
                    self.ask(record, event, &calendar, &claim, store, checked)?;
                } else if !had.contains(&calendar) {
                    // Of a calendar that was deleted, or claimed before the oldest change that is kept.
                    continue;
                }
                let taken = self.taken.entry(calendar).or_default();
                taken.longest = taken.longest.max(claim.to.saturating_sub(claim.from));
                taken.claims.insert((claim.from, claim.key), claim);
            }
        }
        Ok(())
    }

    fn remove(&mut self, calendar: &str, it: &Standing) -> bool {
        self.taken.get_mut(calendar).is_some_and(|taken| taken.claims.remove(&(it.from, it.key)).is_some())
    }

    /// Whether what is claimed was free at this very revision.
    fn ask(
        &mut self,
        record: &ChangeRecord,
        event: &EventRecord,
        calendar: &str,
        claim: &Standing,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let is_imported = event.kind == AppointmentEvent::Imported as u32;
        let asked = if is_imported { claim.is_taking(record.time) } else { claim.is_alive(record.time) };
        let Some(taken) = self.taken.get(calendar).filter(|_| asked) else { return Ok(()) };
        let (revision, one) = (record.revision, claim.appointment);
        let mut seats = 1;
        for other in taken.overlapping(claim).filter(|it| it.is_taking(record.time)) {
            if other.is_seat_of(claim) {
                seats += 1;
            } else {
                let two = other.appointment;
                checked.find(format!("revision {revision} gives {one} time of calendar {calendar} that {two} had"));
            }
        }
        let capacity = if seats > 1 { self.capacity(revision, calendar, &claim.session.0, store)? } else { None };
        if let Some(capacity) = capacity.filter(|it| seats > *it) {
            checked.find(format!("revision {revision} gives {one} seat {seats} of calendar {calendar}, of {capacity}"));
        }
        Ok(())
    }

    /// How many seats the type had at that revision; none when it was another type then.
    fn capacity(
        &mut self,
        revision: u64,
        calendar: &str,
        type_id: &str,
        store: &mut dyn Store,
    ) -> Result<Option<u32>, StoreError> {
        if !self.capacities.contains_key(calendar) {
            let Ok(id) = CalendarId::parse(calendar) else { return Ok(None) };
            let found = load(store, &id, Instant::MAX)?;
            let types = found.iter().flat_map(|it| it.types.iter());
            let types = types.map(|it| (it.id.as_str().to_owned(), (it.stamps.revision, it.capacity))).collect();
            self.capacities.insert(calendar.to_owned(), types);
        }
        let known = self.capacities.get(calendar).and_then(|types| types.get(type_id));
        Ok(known.filter(|(since, _)| revision > since.0).map(|(_, capacity)| *capacity))
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
    session: (TypeNumber, Instant, i64),
    /// The revision at which it was made, if that is still in the log.
    claimed: Option<Revision>,
    appointment: AppointmentId,
}

/// The claims of the rows, as they are in the end.
#[derive(Default)]
pub(super) struct Claims {
    of: HashMap<(CalendarId, Revision), Vec<Claim>>,
}

impl Claims {
    /// The next row.
    pub(super) fn take(&mut self, it: &Appointment, claimed: Option<Revision>, last_time: Instant) {
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

    /// What of all of them cannot be.
    pub(super) fn check(self, store: &mut dyn Store, now: Instant, checked: &mut Checked) -> Result<(), StoreError> {
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
            let found = load(store, &calendar, now)?;
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
        Ok(())
    }
}
