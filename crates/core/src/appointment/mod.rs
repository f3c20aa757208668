//! An appointment: a claim on the time of one or several calendars, with a state.
//!
//! Its facts have two owners: `person` has what redaction removes, `image` everything else that changes. What stands
//! beside them is said once, when it comes to be.

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

/// How several calendars take part in one appointment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Assignment {
    /// Every one of them: a doctor and a room.
    All,
    /// One of them: any stylist who is free.
    Any,
}

/// What of an occurrence never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OccurrenceOf {
    /// Which series it belongs to.
    pub series: SeriesId,
    /// When the series said that it begins; a move does not change it.
    pub original_start: Instant,
}

/// A claim on time, whole: what a person sees of it and what the writer needs of it. It reads as its image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appointment {
    /// Its name.
    pub id: AppointmentId,
    /// Its row number.
    pub key: AppointmentKey,
    /// The commit time of the change that made it.
    pub create_time: Instant,
    /// Of which series it is an occurrence.
    pub occurrence: Option<OccurrenceOf>,
    /// What is personal.
    pub person: Person,
    /// Everything else.
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

    /// The series that it belongs to.
    pub fn series(&self) -> Option<SeriesId> {
        self.occurrence.map(|it| it.series)
    }

    /// The etag of the appointment as it is.
    pub fn etag(&self) -> Etag {
        Etag::of(self.id.0.as_bytes(), self.revision)
    }
}
