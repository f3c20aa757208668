//! A calendar: settings, availability, types, busy time and the claims of its active appointments.
//!
//! Copies are cheap, for every part is shared: the writer changes its copy while readers keep theirs. `claims` holds
//! everything that ends after `kept_from`, so no limit is counted and no conflict judged on less than the truth.

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

/// What a calendar is, apart from what is booked of it. Its etag covers all of this.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// For people; at most 200 characters.
    pub display_name: String,
    /// Whose it is.
    pub owner: Owner,
    /// The zone that its clock times are in.
    pub zone: Arc<Zone>,
    /// Whether it accepts no bookings for now.
    pub paused: bool,
    /// Sessions of all types together.
    pub limits: Limits,
    /// The client's own keys.
    pub metadata: BTreeMap<String, String>,
    /// When it is open.
    pub availability: Availability,
}

impl Profile {
    /// Of which nothing is said but where it is, and when it is open.
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

/// Whose calendar it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// At most 200 characters.
    pub name: String,
    /// Empty, or an address with one `@`.
    pub email: String,
}

/// Time taken by something outside this service, by the source that said so.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Busy {
    /// Each sorted and disjoint; none is empty.
    sources: BTreeMap<String, Vec<Interval>>,
    /// All sources as one set of instants.
    merged: Vec<Interval>,
}

impl Busy {
    /// What the sources said.
    pub fn new(sources: impl IntoIterator<Item = (String, Vec<Interval>)>) -> Self {
        let sources: BTreeMap<_, _> = sources
            .into_iter()
            .map(|(source, periods)| (source, union(periods)))
            .filter(|(_, periods)| !periods.is_empty())
            .collect();
        let merged = union(sources.values().flatten().copied().collect());
        Self { sources, merged }
    }

    /// Sorted and disjoint, whoever said so.
    pub fn merged(&self) -> &[Interval] {
        &self.merged
    }

    /// What each source said, sorted and disjoint.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &[Interval])> {
        self.sources
            .iter()
            .map(|(source, periods)| (source.as_str(), periods.as_slice()))
    }

    /// What one source said.
    pub fn of_source(&self, source: &str) -> &[Interval] {
        self.sources.get(source).map_or(&[], Vec::as_slice)
    }

    /// The same, but for what one source says now.
    pub fn with_source(&self, source: &str, periods: Vec<Interval>) -> Self {
        let others = self.sources.iter().filter(|(name, _)| *name != source);
        Self::new(
            others
                .map(|(name, periods)| (name.clone(), periods.clone()))
                .chain([(source.to_owned(), periods)]),
        )
    }
}

/// What appointments take of a calendar in some stretch of time, as a store has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadedClaims {
    /// What takes time, in any order.
    pub claims: Vec<Claim>,
    /// What waits to take some.
    pub requests: BTreeMap<AppointmentKey, Claim>,
}

/// The appointment types of a calendar, those that were deleted among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Types {
    /// Sorted by id. Not a map: most calendars have one type, and a map's node for it takes 320 bytes.
    by_id: Vec<Arc<AppointmentType>>,
    /// Whose numbers are kept, and whose last definition, so that what was booked of them can still be moved.
    deleted: BTreeMap<TypeId, DeletedType>,
}

/// A type that is no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedType {
    /// Its number, which it gets again when it is made again.
    pub number: TypeNumber,
    /// What it was when it was deleted; none where that was before the store kept it (schema 4).
    pub last: Option<Arc<AppointmentType>>,
}

impl Types {
    /// The types that there are, and those that were deleted.
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

    /// The type of that name.
    pub fn find(&self, id: &TypeId) -> Option<&Arc<AppointmentType>> {
        self.position(id).ok().map(|position| &self.by_id[position])
    }

    /// The type of that number, unless it was deleted.
    pub fn numbered(&self, number: TypeNumber) -> Option<&Arc<AppointmentType>> {
        self.by_id
            .iter()
            .find(|candidate| candidate.number == number)
    }

    /// The type of that number, as it is or was when it was deleted.
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

    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AppointmentType>> {
        self.by_id.iter()
    }

    /// The limits of all types, deleted ones among them, for by these is moved what was booked of them.
    pub fn limits(&self) -> impl Iterator<Item = &Limits> {
        let deleted = self.deleted.values().filter_map(|it| it.last.as_ref());
        self.by_id.iter().chain(deleted).map(|it| &it.limits)
    }

    /// The number of the type of this name, which may be deleted.
    pub fn number_of(&self, id: &TypeId) -> Option<TypeNumber> {
        let deleted = || self.deleted.get(id).map(|it| it.number);
        self.find(id).map(|it| it.number).or_else(deleted)
    }

    /// The types that were deleted, by id.
    pub fn deleted(&self) -> impl Iterator<Item = (&TypeId, &DeletedType)> {
        self.deleted.iter()
    }

    /// The number that a type of this name has or would get.
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

    /// Removes a type; its number is kept, and this as its last definition.
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
    /// Its name.
    pub id: CalendarId,
    /// The revision at which it came to be: one that is deleted and made again is another.
    pub since: Revision,
    /// What it is.
    pub profile: Arc<Profile>,
    /// When the profile changed.
    pub stamps: Stamps,
    /// What can be booked.
    pub types: Arc<Types>,
    /// Time taken elsewhere.
    pub busy: Arc<Busy>,
    /// Active appointments, by time.
    pub claims: Claims,
    /// PENDING appointments that do not block, by key.
    pub requests: Arc<BTreeMap<AppointmentKey, Claim>>,
    /// Everything whose padded end lies after this instant is in `claims`.
    pub kept_from: Instant,
    /// The revision of the last change that touched the calendar or anything of it.
    pub version: Revision,
}

impl Calendar {
    /// The zone of its clock times.
    pub fn zone(&self) -> &Zone {
        &self.profile.zone
    }

    /// The type of that name, to book it or, where it is given, to move an appointment of it: what this calendar has of that
    /// goes by its type's last definition, though the type was deleted since.
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

    /// From when on its claims must be in memory at `now`, see `keep_from`.
    pub fn keep_from(&self, now: Instant) -> Instant {
        keep_from(
            self.zone(),
            self.types.limits().chain([&self.profile.limits]),
            now,
        )
    }

    /// The appointments that take time of it, or wait to, and are not over at `now`: each once.
    pub fn upcoming(&self, now: Instant) -> impl Iterator<Item = AppointmentKey> {
        let claims = self.claims.ending_after(now).chain(self.requests.values());
        claims
            .filter(move |claim| claim.is_alive(now) && claim.interval().end > now)
            .map(|claim| claim.key())
    }

    /// Lets go of what is over, once a day of it has gathered: limits and conflicts need no more than `keep_from` says.
    pub fn let_go(calendar: &mut Arc<Self>, now: Instant) {
        // Two days are always to spare: most calendars are told at a glance.
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

    /// Takes up what it lacks of the time from `from` on, which is before its `kept_from`.
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

/// From when on a calendar's claims must be in memory at `now`: the start of the local date, or of the longest period
/// that a limit counts, with two days to spare for a zone that is changed.
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
