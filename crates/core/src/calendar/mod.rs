//! A calendar: settings, availability, types, busy time and the claims of its active appointments.
//!
//! Copies are cheap, because every field is shared: the writer changes its copy while readers keep
//! theirs. `claims` holds every claim that ends after `kept_from`, so that limits and conflicts are
//! always judged on all claims.

pub mod appointment_type;
pub mod availability;
pub mod claims;
pub mod limits;
pub mod open_time;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::appointment::image::{Image, Place};
use crate::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use crate::calendar::availability::Availability;
use crate::calendar::claims::{Claim, Claims};
use crate::ids::{AppointmentKey, CalendarId, Etag, Revision, TypeId, TypeNumber};
use crate::time::interval::{Interval, union};
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{DAY, Instant};

/// The most periods of one PutBusy.
pub const BUSY_PERIODS_MAX: usize = 10_000;
/// The most busy periods of one calendar, all sources together.
pub const BUSY_PERIODS_CALENDAR_MAX: usize = 100_000;
/// The most sources of busy time of one calendar.
pub const BUSY_SOURCES_MAX: usize = 100;

/// The settings of a calendar. The calendar's etag covers all of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// For people; at most 200 characters.
    pub display_name: String,
    /// The owner.
    pub owner: Owner,
    /// The zone that its clock times are in.
    pub zone: Arc<Zone>,
    /// Whether it accepts no bookings for now.
    pub paused: bool,
    /// Sessions of all types together.
    pub limits: Limits,
    /// The client's own keys.
    pub metadata: BTreeMap<String, String>,
    /// Its weekly rules and overrides.
    pub availability: Availability,
}

impl Profile {
    /// The profile with this zone and availability, and defaults for everything else.
    pub fn open(zone: Arc<Zone>, availability: Availability) -> Self {
        Self {
            display_name: String::new(),
            owner: Owner::default(),
            zone,
            paused: false,
            limits: Limits::default(),
            metadata: BTreeMap::new(),
            availability,
        }
    }
}

/// The owner of a calendar.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// At most 200 characters.
    pub name: String,
    /// Empty, or an address with one `@`.
    pub email: String,
}

/// Time that is taken outside this service, by the source that reported it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Busy {
    /// The periods of each source, sorted and disjoint; no source is without periods.
    sources: BTreeMap<String, Vec<Interval>>,
    /// All sources as one set of instants.
    merged: Vec<Interval>,
}

impl Busy {
    /// The busy time of these sources.
    pub fn new(sources: impl IntoIterator<Item = (String, Vec<Interval>)>) -> Self {
        let sources: BTreeMap<_, _> = sources
            .into_iter()
            .map(|(source, periods)| (source, union(periods)))
            .filter(|(_, periods)| !periods.is_empty())
            .collect();
        let merged = union(sources.values().flatten().copied().collect());
        Self { sources, merged }
    }

    /// The periods of all sources together, sorted and disjoint.
    pub fn merged(&self) -> &[Interval] {
        &self.merged
    }

    /// The periods of each source, sorted and disjoint.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &[Interval])> {
        self.sources
            .iter()
            .map(|(source, periods)| (source.as_str(), periods.as_slice()))
    }

    /// The periods of one source.
    pub fn of_source(&self, source: &str) -> &[Interval] {
        self.sources.get(source).map_or(&[], Vec::as_slice)
    }

    /// A copy with other periods of one source.
    pub fn with_source(&self, source: &str, periods: Vec<Interval>) -> Self {
        let others = self.sources.iter().filter(|(name, _)| *name != source);
        Self::new(
            others
                .map(|(name, periods)| (name.clone(), periods.clone()))
                .chain([(source.to_owned(), periods)]),
        )
    }
}

/// The claims and requests of a calendar in a range of time, as a store returns them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadedClaims {
    /// The claims that take time, in any order.
    pub claims: Vec<Claim>,
    /// The PENDING appointments that do not block, by key.
    pub requests: BTreeMap<AppointmentKey, Claim>,
}

/// The appointment types of a calendar, deleted ones included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Types {
    /// Sorted by id. Not a map: most calendars have one type, and a map's node for it takes 320
    /// bytes.
    by_id: Vec<Arc<AppointmentType>>,
    /// The numbers and last definitions of deleted types, so that their appointments can still be
    /// moved.
    deleted: BTreeMap<TypeId, DeletedType>,
}

/// A deleted type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedType {
    /// Its number, which a new type of the same id gets again.
    pub number: TypeNumber,
    /// Its definition when it was deleted; none for a deletion before the store kept definitions
    /// (schema 4).
    pub last: Option<Arc<AppointmentType>>,
}

impl Types {
    /// The set of these types and these deleted ones.
    pub fn new(
        types: impl IntoIterator<Item = AppointmentType>,
        deleted: impl IntoIterator<Item = (TypeId, DeletedType)>,
    ) -> Self {
        let mut all = Self {
            by_id: Vec::new(),
            deleted: deleted.into_iter().collect(),
        };
        for appointment_type in types {
            all.put(Arc::new(appointment_type));
        }
        all.by_id.shrink_to_fit();
        all
    }

    fn position(&self, id: &TypeId) -> Result<usize, usize> {
        self.by_id
            .binary_search_by(|candidate| candidate.id.cmp(id))
    }

    /// The type of that id, unless it was deleted.
    pub fn find(&self, id: &TypeId) -> Option<&Arc<AppointmentType>> {
        self.position(id).ok().map(|position| &self.by_id[position])
    }

    /// The type of that number, unless it was deleted.
    pub fn numbered(&self, number: TypeNumber) -> Option<&Arc<AppointmentType>> {
        self.by_id
            .iter()
            .find(|candidate| candidate.number == number)
    }

    /// The type of that number; of a deleted one the last definition, if that is known.
    pub fn last_of(&self, number: TypeNumber) -> Option<&Arc<AppointmentType>> {
        let deleted = || {
            self.deleted
                .values()
                .find(|candidate| candidate.number == number)?
                .last
                .as_ref()
        };
        self.numbered(number).or_else(deleted)
    }

    /// The types that are not deleted, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AppointmentType>> {
        self.by_id.iter()
    }

    /// The limits of all types, including deleted ones, whose appointments are moved by them.
    pub fn limits(&self) -> impl Iterator<Item = &Limits> {
        let deleted = self.deleted.values().filter_map(|it| it.last.as_ref());
        self.by_id.iter().chain(deleted).map(|it| &it.limits)
    }

    /// The number of the type of this id, which may be deleted.
    pub fn number_of(&self, id: &TypeId) -> Option<TypeNumber> {
        let deleted = || self.deleted.get(id).map(|it| it.number);
        self.find(id).map(|it| it.number).or_else(deleted)
    }

    /// The deleted types, by id.
    pub fn deleted(&self) -> impl Iterator<Item = (&TypeId, &DeletedType)> {
        self.deleted.iter()
    }

    /// The number that a type of this id has or would get.
    pub fn number_for(&self, id: &TypeId) -> TypeNumber {
        let count = self.by_id.len() + self.deleted.len();
        let next =
            || TypeNumber(u16::try_from(count).expect("a calendar has at most TYPES_MAX types"));
        self.number_of(id).unwrap_or_else(next)
    }

    /// Adds or replaces a type.
    pub fn put(&mut self, appointment_type: Arc<AppointmentType>) {
        self.deleted.remove(&appointment_type.id);
        match self.position(&appointment_type.id) {
            Ok(position) => self.by_id[position] = appointment_type,
            Err(position) => self.by_id.insert(position, appointment_type),
        }
    }

    /// Deletes a type, but keeps its number and this last definition.
    pub fn remove(&mut self, id: &TypeId, last: Option<Arc<AppointmentType>>) {
        if let Ok(position) = self.position(id) {
            let number = self.by_id.remove(position).number;
            self.deleted
                .insert(id.clone(), DeletedType { number, last });
        }
    }
}

/// A calendar as the writer and its readers hold it.
#[derive(Clone, PartialEq, Debug)]
pub struct Calendar {
    /// The client's name of it.
    pub id: CalendarId,
    /// The revision of its creation. A calendar that is deleted and created again is another one.
    pub since: Revision,
    /// Its settings.
    pub profile: Arc<Profile>,
    /// When the profile was created and last changed.
    pub stamps: Stamps,
    /// Its appointment types.
    pub types: Arc<Types>,
    /// The busy time of external calendars.
    pub busy: Arc<Busy>,
    /// The claims of its active appointments, by time.
    pub claims: Claims,
    /// PENDING appointments that do not block, by key.
    pub requests: Arc<BTreeMap<AppointmentKey, Claim>>,
    /// Every claim whose padded end lies after this instant is in `claims`.
    pub kept_from: Instant,
    /// The revision of the last change that touched the calendar, its types, busy time or
    /// appointments.
    pub version: Revision,
}

impl Calendar {
    /// The zone of its clock times.
    pub fn zone(&self) -> &Zone {
        &self.profile.zone
    }

    /// The type of that id, to book it or to move the given appointment. An appointment that is on
    /// this calendar already keeps its type's last definition, even if the type was deleted since.
    pub fn type_to_book(
        &self,
        id: &TypeId,
        moved: Option<&Image>,
    ) -> Option<&Arc<AppointmentType>> {
        let is_here = |place: &&Place| place.calendar == self.id && place.since == self.since;
        match moved.and_then(|image| image.places.iter().find(is_here)) {
            Some(place) => self.types.last_of(place.type_number),
            None => self.types.find(id),
        }
    }

    /// The instant from which on its claims must be in memory at `now`, see `keep_from`.
    pub fn keep_from(&self, now: Instant) -> Instant {
        keep_from(
            self.zone(),
            self.types.limits().chain([&self.profile.limits]),
            now,
        )
    }

    /// The keys of the appointments that take time, or are open requests, and are not over at
    /// `now`; each once.
    pub fn upcoming(&self, now: Instant) -> impl Iterator<Item = AppointmentKey> {
        let claims = self.claims.ending_after(now).chain(self.requests.values());
        claims
            .filter(move |claim| claim.is_alive(now) && claim.interval().end > now)
            .map(|claim| claim.key())
    }

    /// Drops past claims from memory, once there is a day of them; limits and conflicts need the
    /// claims after `keep_from`.
    pub fn let_go(calendar: &mut Arc<Self>, now: Instant) {
        // `keep_from` always leaves two days to spare, so that most calendars need no closer look.
        if now.since(calendar.kept_from) < 3 * DAY {
            return;
        }
        let kept_from = calendar.keep_from(now);
        if kept_from.since(calendar.kept_from) >= DAY {
            let calendar = Arc::make_mut(calendar);
            let claims = calendar
                .claims
                .iter()
                .filter(|claim| claim.padded().end > kept_from);
            calendar.claims = Claims::from_unordered(claims.copied().collect());
            calendar.kept_from = kept_from;
        }
    }

    /// Adds the claims between `from` and `kept_from`, which is later.
    pub fn reach_back(&mut self, from: Instant, past: LoadedClaims) {
        self.claims.put_before(past.claims);
        if !past.requests.is_empty() {
            Arc::make_mut(&mut self.requests).extend(past.requests);
        }
        self.kept_from = from;
    }

    /// The etag of settings, weekly rules and overrides.
    pub fn etag(&self) -> Etag {
        Etag::of(self.id.as_str().as_bytes(), self.stamps.revision)
    }
}

/// The instant from which on a calendar's claims must be in memory at `now`: the start of the local
/// date, or of the longest period that a limit counts, with two days to spare for a change of the
/// zone.
pub fn keep_from<'a>(
    zone: &Zone,
    limits: impl IntoIterator<Item = &'a Limits>,
    now: Instant,
) -> Instant {
    let today = zone.wall(now).date();
    let mut first = today;
    for limit in limits {
        first = first.min(if limit.per_week.is_some() {
            today.first_of_week()
        } else {
            today
        });
        first = first.min(if limit.per_month.is_some() {
            today.first_of_month()
        } else {
            today
        });
        first = first.min(if limit.per_year.is_some() {
            today.first_of_year()
        } else {
            today
        });
    }
    let midnight = match zone.instants(first.midnight()) {
        LocalInstants::One(instant) | LocalInstants::Two(instant, _) => instant,
        LocalInstants::None { before, after } => before.min(after),
    };
    midnight.plus(-2 * DAY)
}
