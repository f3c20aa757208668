//! Quotas of tenants: how many calendars and upcoming appointments each may have.
//!
//! A tenant is all calendars whose ids share what stands before the first `/`; those without one
//! are a tenant too. Upcoming is an active appointment that ends after `now`; a hold or a request
//! that expires before counts until then. An appointment on calendars of two tenants counts for both.
//!
//! What tenants have is counted in steps: each event says how many more or fewer there are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::appointment::{Appointment, AppointmentState};
use crate::calendar::Calendar;
use crate::change::Event;
use crate::ids::CalendarId;
use crate::state::State;
use crate::time::Instant;

/// The end of a tenant's name in the ids of its calendars.
const END: char = '/';

/// What the ids of a tenant's calendars begin with: `acme/`, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// The text is not what the ids of a tenant begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be empty, or letters, digits or . _ - @ + : that begin with a letter or digit, with one \
     / at the end"
)]
pub struct InvalidTenant;

impl Tenant {
    /// The tenant of a calendar.
    pub fn of(calendar: &CalendarId) -> Self {
        Self(name_of(calendar.as_str()).into())
    }

    /// The tenant with this name: `acme/`; empty for calendars without `/` in their ids.
    ///
    /// # Errors
    ///
    /// The text is not empty, and no tenant has this name.
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        let is_name = text.is_empty() || (name_of(text) == text && CalendarId::parse(text).is_ok());
        is_name.then(|| Self(text.into())).ok_or(InvalidTenant)
    }

    /// What the ids begin with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("without a name")
        } else {
            f.write_str(&self.0)
        }
    }
}

/// What an id has up to its first `/`; nothing without one.
fn name_of(id: &str) -> &str {
    id.split_inclusive(END)
        .next()
        .filter(|first| first.ends_with(END))
        .unwrap_or_default()
}

/// What is counted for a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Countable {
    /// Its calendars that are not deleted.
    Calendars,
    /// Its upcoming appointments.
    UpcomingAppointments,
}

impl Countable {
    /// The setting of the configuration: `calendars` or `upcoming_appointments`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calendars => "calendars",
            Self::UpcomingAppointments => "upcoming_appointments",
        }
    }
}

/// The quota of one tenant; none = as many as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The most calendars.
    pub calendars: Option<u64>,
    /// The most upcoming appointments.
    pub upcoming_appointments: Option<u64>,
}

impl Quota {
    /// This quota, with the bounds of another where it has none.
    fn or(self, others: Self) -> Self {
        Self {
            calendars: self.calendars.or(others.calendars),
            upcoming_appointments: self.upcoming_appointments.or(others.upcoming_appointments),
        }
    }

    const fn limit(self, countable: Countable) -> Option<u64> {
        match countable {
            Countable::Calendars => self.calendars,
            Countable::UpcomingAppointments => self.upcoming_appointments,
        }
    }
}

/// A tenant has as many as its quota allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The tenant.
    pub tenant: Tenant,
    /// What it has enough of.
    pub countable: Countable,
    /// The most that it may have.
    pub limit: u64,
    /// How many it has; more than the limit where that was lowered. None for a caller who may not see
    /// all of the tenant.
    pub has: Option<u64>,
}

/// The quotas of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Those of single tenants.
    pub named: HashMap<Tenant, Quota>,
    /// The bounds of each tenant that has none of its own.
    pub others: Quota,
}

impl Quotas {
    /// Whether no tenant has a quota.
    pub fn is_empty(&self) -> bool {
        let none = Quota::default();
        self.others == none && self.named.values().all(|it| *it == none)
    }

    fn of(&self, tenant: &Tenant) -> Quota {
        let named = self.named.get(tenant).copied().unwrap_or_default();
        named.or(self.others)
    }
}

/// How many more or fewer there are of what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaStep {
    tenant: Tenant,
    /// Until when appointments count; none for calendars.
    until: Option<Instant>,
    by: i64,
}

impl QuotaStep {
    /// One more calendar.
    pub fn calendar(id: &CalendarId) -> Self {
        Self::of_calendar(id, 1)
    }

    fn of_calendar(id: &CalendarId, by: i64) -> Self {
        Self {
            tenant: Tenant::of(id),
            until: None,
            by,
        }
    }

    /// One more appointment for each of its tenants; nothing for one that is over.
    pub fn appointment(it: &Appointment) -> impl Iterator<Item = Self> {
        Self::of_appointment(it, 1)
    }

    fn of_appointment(it: &Appointment, by: i64) -> impl Iterator<Item = Self> {
        let mut tenants: Vec<Tenant> = Vec::new();
        if !it.state.is_over() {
            tenants.extend(it.calendars().map(Tenant::of));
            tenants.sort_unstable();
            tenants.dedup();
        }
        let expiry = it.expire_time.filter(|_| it.is_waiting());
        let until = Some(expiry.map_or(it.end(), |expiry| expiry.min(it.end())));
        tenants
            .into_iter()
            .map(move |tenant| Self { tenant, until, by })
    }

    /// What it is about at `now`; none for appointments that count no longer.
    fn countable(&self, now: Instant) -> Option<Countable> {
        match self.until {
            None => Some(Countable::Calendars),
            Some(until) if until > now => Some(Countable::UpcomingAppointments),
            Some(_) => None,
        }
    }
}

/// The steps of the events of one change, which are not applied to this state yet.
pub fn steps(state: &State, events: &[Event]) -> Vec<QuotaStep> {
    let mut steps = Vec::new();
    for event in events {
        match event {
            Event::CalendarCreated { calendar, .. } => steps.push(QuotaStep::calendar(calendar)),
            Event::CalendarDeleted { calendar, staged } => {
                steps.push(QuotaStep::of_calendar(calendar, -1));
                if staged.is_some()
                    && let Some(calendar) = state.calendars.get(calendar)
                {
                    steps.extend(staged_steps(calendar, events));
                }
            }
            Event::Appointment { before, after, .. } => {
                let before = before.iter();
                steps.extend(before.flat_map(|it| QuotaStep::of_appointment(it, -1)));
                steps.extend(QuotaStep::appointment(after));
            }
            Event::ProfileChanged { .. }
            | Event::TypePut { .. }
            | Event::TypeDeleted { .. }
            | Event::BusyPut { .. }
            | Event::TokenCreated { .. }
            | Event::TokenRevoked { .. } => {}
        }
    }
    steps
}

/// The steps of the cancellations of a deleted calendar beside these events, which the store has
/// already: of its confirmed appointments, see `deletion::is_staged`. One step for each end.
fn staged_steps(calendar: &Calendar, events: &[Event]) -> impl Iterator<Item = QuotaStep> {
    let mut named: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Appointment { after, .. } => Some(after.key),
            _ => None,
        })
        .collect();
    named.sort_unstable();
    let mut ends: BTreeMap<Instant, i64> = BTreeMap::new();
    for claim in calendar.claims.iter() {
        let is_confirmed = claim.state() == AppointmentState::Confirmed;
        if is_confirmed && named.binary_search(&claim.key()).is_err() {
            *ends.entry(claim.interval().end).or_default() -= 1;
        }
    }
    let tenant = Tenant::of(&calendar.id);
    ends.into_iter().map(move |(end, by)| QuotaStep {
        tenant: tenant.clone(),
        until: Some(end),
        by,
    })
}

/// How many a tenant has.
#[derive(Clone, Debug, Default)]
struct TenantUsage {
    calendars: u64,
    /// The appointments by the instant until which they count, without some of which it has passed.
    until: BTreeMap<Instant, u64>,
    /// The number of all appointments in `until`.
    appointments: u64,
}

/// What all tenants have.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    of: HashMap<Tenant, TenantUsage>,
}

impl Usage {
    /// Takes a step of a change that was made at `now`.
    pub fn take(&mut self, step: &QuotaStep, now: Instant) {
        let of = self.of.entry(step.tenant.clone()).or_default();
        match step.until {
            None => of.calendars = of.calendars.saturating_add_signed(step.by),
            Some(until) if until > now => {
                let at = of.until.entry(until).or_default();
                let before = *at;
                *at = at.saturating_add_signed(step.by);
                // Where damage has hidden an appointment there may be fewer than are taken away.
                of.appointments = of.appointments - before + *at;
                if *at == 0 {
                    of.until.remove(&until);
                }
            }
            Some(_) => {}
        }
    }

    /// Forgets the appointments of the tenants of these steps that count no longer at `now`. Nobody
    /// may ask for an earlier time later.
    fn forget_past(&mut self, steps: &[QuotaStep], now: Instant) {
        for steps in steps.chunk_by(|a, b| a.tenant == b.tenant) {
            let of = steps.first().and_then(|step| self.of.get_mut(&step.tenant));
            let Some(of) = of else { continue };
            while let Some(first) = of.until.first_entry().filter(|it| *it.key() <= now) {
                of.appointments -= first.remove();
            }
        }
    }

    /// How many a tenant has at `now`.
    pub fn count(&self, tenant: &Tenant, countable: Countable, now: Instant) -> u64 {
        let Some(of) = self.of.get(tenant) else {
            return 0;
        };
        match countable {
            Countable::Calendars => of.calendars,
            Countable::UpcomingAppointments => {
                let past: u64 = of.until.range(..=now).map(|(_, count)| count).sum();
                of.appointments - past
            }
        }
    }

    /// What there is of all tenants at `now`, sorted: the tenant, its calendars, its upcoming
    /// appointments.
    pub fn all(&self, now: Instant) -> Vec<(Tenant, u64, u64)> {
        let count = |tenant: &Tenant, countable| self.count(tenant, countable, now);
        let mut all: Vec<_> = self
            .of
            .keys()
            .map(|it| {
                let calendars = count(it, Countable::Calendars);
                let upcoming = count(it, Countable::UpcomingAppointments);
                (it.clone(), calendars, upcoming)
            })
            .filter(|(_, calendars, upcoming)| calendars + upcoming > 0)
            .collect();
        all.sort_unstable();
        all
    }
}

/// How many more or fewer of each.
type StepCounts = BTreeMap<(Tenant, Countable), i64>;

/// The steps of a batch of changes that are all made at one time, which are not in the usage yet.
#[derive(Debug)]
pub struct Steps {
    now: Instant,
    steps: Vec<QuotaStep>,
    /// How many more or fewer there are by them.
    counts: StepCounts,
}

impl Steps {
    /// No steps, at `now`.
    pub fn at(now: Instant) -> Self {
        Self {
            now,
            steps: Vec::new(),
            counts: StepCounts::new(),
        }
    }

    /// Adds steps.
    pub fn add(&mut self, steps: Vec<QuotaStep>) {
        add_to(&mut self.counts, &steps, self.now);
        self.steps.extend(steps);
    }

    /// Refuses the steps of a further change that take a tenant beyond its quota. Who has more than
    /// the quota already may change what it has.
    ///
    /// # Errors
    ///
    /// The first of these tenants in the order of their names.
    pub fn expect(
        &self,
        quotas: &Quotas,
        usage: &Usage,
        further: &[QuotaStep],
    ) -> Result<(), QuotaExceeded> {
        // A deletion has a step for each end of an appointment.
        if further.iter().all(|step| step.by <= 0) {
            return Ok(());
        }
        let mut more = StepCounts::new();
        add_to(&mut more, further, self.now);
        for (key, more) in more {
            let limit = quotas.of(&key.0).limit(key.1);
            let Some(limit) = limit.filter(|_| more > 0) else {
                continue;
            };
            let earlier = self.counts.get(&key).copied().unwrap_or_default();
            let (tenant, countable) = key;
            let has = usage.count(&tenant, countable, self.now);
            let has = has.saturating_add_signed(earlier);
            if has.saturating_add_signed(more) > limit {
                return Err(QuotaExceeded {
                    tenant,
                    countable,
                    limit,
                    has: Some(has),
                });
            }
        }
        Ok(())
    }

    /// Puts the steps into the usage, once their changes are made.
    pub fn make(self, usage: &mut Usage) {
        usage.forget_past(&self.steps, self.now);
        for step in &self.steps {
            usage.take(step, self.now);
        }
    }
}

fn add_to(counts: &mut StepCounts, steps: &[QuotaStep], now: Instant) {
    for step in steps {
        if let Some(countable) = step.countable(now) {
            *counts.entry((step.tenant.clone(), countable)).or_default() += step.by;
        }
    }
}
