//! Quotas of tenants: how many calendars and upcoming appointments each may have.
//!
//! A tenant is all calendars whose ids share what stands before the first `/`; those without one
//! are a tenant too. Upcoming is an appointment that is held, pending or confirmed and ends after
//! `now`. An appointment on calendars of two tenants counts for both.
//!
//! What tenants have is counted in steps: each event says how many more or fewer there are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::appointment::{Appointment, AppointmentState};
use crate::calendar::Calendar;
use crate::change::Event;
use crate::deletion::is_cancelled_with_calendar;
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
    const fn limit(self, counted: Countable) -> Option<u64> {
        match counted {
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
    pub counted: Countable,
    /// The most that it may have.
    pub limit: u64,
    /// How many it has; more than the limit where that was lowered.
    pub has: u64,
}

/// The quotas of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Those of single tenants.
    pub named: HashMap<Tenant, Quota>,
    /// That of each tenant without one of its own.
    pub others: Quota,
}

impl Quotas {
    /// Whether no tenant has a quota.
    pub fn is_empty(&self) -> bool {
        let none = Quota::default();
        self.others == none && self.named.values().all(|it| *it == none)
    }

    fn of(&self, tenant: &Tenant) -> Quota {
        self.named.get(tenant).copied().unwrap_or(self.others)
    }
}

/// One more or one fewer of what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaStep {
    tenant: Tenant,
    /// The end of an appointment; none for a calendar.
    end: Option<Instant>,
    is_more: bool,
}

impl QuotaStep {
    /// One more calendar.
    pub fn calendar(id: &CalendarId) -> Self {
        Self {
            tenant: Tenant::of(id),
            end: None,
            is_more: true,
        }
    }

    /// One more appointment for each of its tenants; none for one that is not upcoming before its
    /// end either, such as a cancelled one.
    pub fn appointment(it: &Appointment) -> impl Iterator<Item = Self> {
        Self::of_appointment(it, true)
    }

    fn of_appointment(it: &Appointment, is_more: bool) -> impl Iterator<Item = Self> {
        let mut tenants: Vec<Tenant> = Vec::new();
        if is_cancelled_with_calendar(it.state) {
            tenants.extend(it.calendars().map(Tenant::of));
            tenants.sort_unstable();
            tenants.dedup();
        }
        let end = Some(it.end());
        tenants.into_iter().map(move |tenant| Self {
            tenant,
            end,
            is_more,
        })
    }

    fn by(&self) -> i64 {
        if self.is_more { 1 } else { -1 }
    }

    /// What it is about at `now`; none for an appointment that has ended.
    fn counted(&self, now: Instant) -> Option<Countable> {
        match self.end {
            None => Some(Countable::Calendars),
            Some(end) if end > now => Some(Countable::UpcomingAppointments),
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
                let tenant = Tenant::of(calendar);
                if staged.is_some()
                    && let Some(calendar) = state.calendars.get(calendar)
                {
                    let ends = ends_of_staged(calendar, events);
                    steps.extend(ends.into_iter().map(|end| QuotaStep {
                        tenant: tenant.clone(),
                        end: Some(end),
                        is_more: false,
                    }));
                }
                steps.push(QuotaStep {
                    tenant,
                    end: None,
                    is_more: false,
                });
            }
            Event::Appointment { before, after, .. } => {
                let before = before.iter();
                steps.extend(before.flat_map(|it| QuotaStep::of_appointment(it, false)));
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

/// The ends of the appointments that the deletion of this calendar cancels by events that the store
/// has already: confirmed ones, see `deletion::is_staged`.
fn ends_of_staged(calendar: &Calendar, events: &[Event]) -> Vec<Instant> {
    let mut named: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Appointment { after, .. } => Some(after.key),
            _ => None,
        })
        .collect();
    named.sort_unstable();
    let claims = calendar.claims.iter();
    claims
        .filter(|it| it.state() == AppointmentState::Confirmed)
        .filter(|it| named.binary_search(&it.key()).is_err())
        .map(|it| it.interval().end)
        .collect()
}

/// How many a tenant has.
#[derive(Clone, Debug, Default)]
struct TenantUsage {
    calendars: u64,
    /// The appointments by their ends, without some that have ended.
    ends: BTreeMap<Instant, u64>,
    /// The number of all appointments in `ends`.
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
        let count = match step.end {
            None => &mut of.calendars,
            Some(end) if end > now => {
                let at = of.ends.entry(end).or_default();
                *at = at.saturating_add_signed(step.by());
                if *at == 0 {
                    of.ends.remove(&end);
                }
                &mut of.appointments
            }
            Some(_) => return,
        };
        *count = count.saturating_add_signed(step.by());
    }

    /// Forgets the appointments of the tenants of these steps that have ended at `now`. Nobody may
    /// ask for an earlier time later.
    pub fn forget_ended(&mut self, steps: &[QuotaStep], now: Instant) {
        for step in steps {
            let Some(of) = self.of.get_mut(&step.tenant) else {
                continue;
            };
            while let Some(first) = of.ends.first_entry().filter(|it| *it.key() <= now) {
                of.appointments -= first.remove();
            }
        }
    }

    /// How many a tenant has at `now`.
    pub fn count(&self, tenant: &Tenant, counted: Countable, now: Instant) -> u64 {
        let Some(of) = self.of.get(tenant) else {
            return 0;
        };
        match counted {
            Countable::Calendars => of.calendars,
            Countable::UpcomingAppointments => {
                let ended: u64 = of.ends.range(..=now).map(|(_, count)| count).sum();
                of.appointments - ended
            }
        }
    }

    /// What there is of all tenants at `now`, sorted: the tenant, its calendars, its upcoming
    /// appointments.
    pub fn all(&self, now: Instant) -> Vec<(Tenant, u64, u64)> {
        let count = |tenant: &Tenant, counted| self.count(tenant, counted, now);
        let mut all: Vec<_> = self
            .of
            .keys()
            .map(|it| {
                let calendars = count(it, Countable::Calendars);
                (
                    it.clone(),
                    calendars,
                    count(it, Countable::UpcomingAppointments),
                )
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
        let mut more = BTreeMap::new();
        add_to(&mut more, further, self.now);
        for ((tenant, counted), more) in more {
            let limit = quotas.of(&tenant).limit(counted);
            let Some(limit) = limit.filter(|_| more > 0) else {
                continue;
            };
            let key = (tenant, counted);
            let earlier = self.counts.get(&key).copied().unwrap_or_default();
            let (tenant, counted) = key;
            let has = usage.count(&tenant, counted, self.now);
            let has = has.saturating_add_signed(earlier);
            if has.saturating_add_signed(more) > limit {
                return Err(QuotaExceeded {
                    tenant,
                    counted,
                    limit,
                    has,
                });
            }
        }
        Ok(())
    }

    /// Puts the steps into the usage, once their changes are made.
    pub fn make(self, usage: &mut Usage) {
        usage.forget_ended(&self.steps, self.now);
        for step in &self.steps {
            usage.take(step, self.now);
        }
    }
}

fn add_to(counts: &mut StepCounts, steps: &[QuotaStep], now: Instant) {
    for step in steps {
        if let Some(counted) = step.counted(now) {
            *counts.entry((step.tenant.clone(), counted)).or_default() += step.by();
        }
    }
}
