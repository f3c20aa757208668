//! How far a caller may see and change: the appointments on some calendars, or one customer's on
//! them.

use crate::appointment::{Appointment, EmailKey, Person};
use crate::prefixes::Prefixes;

/// The appointments that a caller may see or change. Copies share its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The calendars that they are on.
    pub calendars: Prefixes,
    /// The only customer, whose address is that of the invitee; none = everybody's appointments.
    pub customer: Option<EmailKey>,
}

impl Reach {
    /// All appointments.
    pub const ALL: Self = Self {
        calendars: Prefixes::ALL,
        customer: None,
    };

    /// Everybody's appointments on these calendars.
    pub const fn on(calendars: Prefixes) -> Self {
        Self {
            calendars,
            customer: None,
        }
    }

    /// Whether these are all appointments.
    pub const fn is_all(&self) -> bool {
        self.calendars.is_all() && self.customer.is_none()
    }

    /// Whether every appointment within `other` is within this one.
    pub fn includes(&self, other: &Self) -> bool {
        let is_whose = self.customer.is_none() || self.customer == other.customer;
        is_whose && self.calendars.include(&other.calendars)
    }

    /// What is within both, of which at most one is of a customer alone.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            calendars: self.calendars.and(&other.calendars),
            customer: self.customer.clone().or_else(|| other.customer.clone()),
        }
    }

    /// Whether the invitee may be this one.
    fn is_of(&self, invitee: &EmailKey) -> bool {
        self.customer.as_ref().is_none_or(|it| it == invitee)
    }

    /// Whether an appointment with all of its calendars is within reach.
    pub fn has_all_of(&self, appointment: &Appointment) -> bool {
        let calendars = appointment.calendars().map(|it| it.as_str());
        self.is_all() || self.has(calendars, &appointment.person.invitee.email.key)
    }

    /// Whether an appointment with at least one of its calendars is within reach.
    pub fn has_some_of(&self, appointment: &Appointment) -> bool {
        let mut calendars = appointment.calendars();
        self.is_all()
            || (self.is_of(&appointment.person.invitee.email.key)
                && calendars.any(|it| self.calendars.has(it.as_str())))
    }

    /// Whether all of these calendars are within reach, and the invitee is.
    pub fn has<'a>(
        &self,
        mut calendars: impl Iterator<Item = &'a str>,
        invitee: &EmailKey,
    ) -> bool {
        self.is_of(invitee) && calendars.all(|it| self.calendars.has(it))
    }

    /// The person of an appointment as it is now, as far as somebody with this reach sees it: only
    /// with all of its calendars.
    pub fn person_of(&self, now: &Appointment) -> Person {
        if self.has_all_of(now) {
            now.person.clone()
        } else {
            Person::default()
        }
    }

    /// An appointment as somebody with this reach sees it: without places on other calendars, and
    /// without its person unless all of its calendars are within reach. None when it is not.
    pub fn show(&self, appointment: &Appointment) -> Option<Appointment> {
        if self.has_all_of(appointment) {
            return Some(appointment.clone());
        }
        if !self.has_some_of(appointment) {
            return None;
        }
        let mut image = appointment.image.clone();
        image
            .places
            .retain(|it| self.calendars.has(it.calendar.as_str()));
        Some(appointment.with(Default::default(), image))
    }
}
