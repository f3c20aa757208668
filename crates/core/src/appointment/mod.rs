//! An appointment: a claim on the time of one or several calendars, with a state.
//!
//! Its facts have two owners: `person` has the facts that redaction removes, `image` all others
//! that change. The fields of `Appointment` itself are set at its creation and never change.

pub mod confirmation_code;
pub mod image;
pub mod person;
pub mod recurrence;
pub mod series;
pub mod transition;
pub mod zone_drift;

use std::ops::Deref;

use crate::ids::{AppointmentId, AppointmentKey, Etag, SeriesId};
use crate::time::Instant;

pub use image::{IgnoredRules, Image, Place};
pub use person::{Carried, Email, EmailKey, Invitee, Person, PersonDetails, PersonPatch};
pub use transition::{AppointmentState, Target, Transition};

/// The most calendars of one appointment, and of one query.
pub const CALENDARS_MAX: usize = 100;

/// How several calendars share in one appointment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Assignment {
    /// All of them, such as a doctor and a room.
    All,
    /// Any one of them, such as a stylist who is free.
    Any,
}

/// The facts of an occurrence that never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OccurrenceOf {
    /// The id of its series.
    pub series: SeriesId,
    /// Its start by the rule of the series; a move does not change it.
    pub original_start: Instant,
}

/// An appointment with all its facts. It dereferences to its image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appointment {
    /// The appointment's id.
    pub id: AppointmentId,
    /// Its row number.
    pub key: AppointmentKey,
    /// The commit time of the change that created it.
    pub create_time: Instant,
    /// The series of which it is an occurrence, and its start there.
    pub occurrence: Option<OccurrenceOf>,
    /// The personal facts.
    pub person: Person,
    /// All other facts that change.
    pub image: Image,
}

impl Deref for Appointment {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
    }
}

impl Appointment {
    /// The same appointment with another image.
    pub fn with_image(&self, image: Image) -> Self {
        self.with(self.person.clone(), image)
    }

    /// The same appointment with another person.
    pub fn with_person(&self, person: Person) -> Self {
        self.with(person, self.image.clone())
    }

    /// The same appointment with another person and another image.
    pub fn with(&self, person: Person, image: Image) -> Self {
        let Self {
            id,
            key,
            create_time,
            occurrence,
            person: _,
            image: _,
        } = *self;
        Self {
            id,
            key,
            create_time,
            occurrence,
            person,
            image,
        }
    }

    /// The id of its series, if it is an occurrence.
    pub fn series(&self) -> Option<SeriesId> {
        self.occurrence.map(|it| it.series)
    }

    /// The etag of the appointment as it is.
    pub fn etag(&self) -> Etag {
        Etag::of(self.id.0.as_bytes(), self.revision)
    }
}
