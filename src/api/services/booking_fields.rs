//! The fields that requests to book, to hold, to book a batch and to book a series share.
//!
//! Each of these requests is a message of its own with fields of the same names; this file alone
//! reads them.

use bookd_core::appointment::{Assignment, Carried, PersonDetails};
use bookd_core::command::{Booking, NewId};
use bookd_core::ids::CalendarId;
use prost_types::{Duration, Timestamp};

use crate::api::context::Api;
use crate::api::convert::parse::Fields;
use crate::api::services::slot_question::type_or_default;
use crate::proto::v1 as pb;

/// The fields of one such request, by reference.
pub(crate) struct BookingFields<'a> {
    pub(crate) calendar_id: &'a str,
    pub(crate) calendar_ids: &'a [String],
    pub(crate) assignment: i32,
    pub(crate) appointment_type_id: &'a str,
    pub(crate) start_time: Option<&'a Timestamp>,
    pub(crate) local_start: &'a str,
    pub(crate) time_zone: &'a str,
    pub(crate) duration: Option<&'a Duration>,
    pub(crate) invitee: Option<&'a pb::Invitee>,
    pub(crate) carried: &'a dyn Fn(&mut Fields) -> Option<Carried>,
    pub(crate) appointment_id: &'a str,
    pub(crate) hold_id: &'a str,
    pub(crate) ignore_rules: &'a [i32],
    pub(crate) is_invitee_required: bool,
}

/// The `BookingFields` of a message; the ids and whether an invitee is required differ by method.
macro_rules! booking_fields {
    ($message:expr, $appointment_id:expr, $hold_id:expr, $is_invitee_required:expr) => {
        $crate::api::services::booking_fields::BookingFields {
            calendar_id: &$message.calendar_id,
            calendar_ids: &$message.calendar_ids,
            assignment: $message.assignment,
            appointment_type_id: &$message.appointment_type_id,
            start_time: $message.start_time.as_ref(),
            local_start: &$message.local_start,
            time_zone: &$message.time_zone,
            duration: $message.duration.as_ref(),
            invitee: $message.invitee.as_ref(),
            carried: &|fields: &mut $crate::api::convert::parse::Fields| {
                $crate::api::convert::parse_person::carried!($message, fields)
            },
            appointment_id: $appointment_id,
            hold_id: $hold_id,
            ignore_rules: &$message.ignore_rules,
            is_invitee_required: $is_invitee_required,
        }
    };
}
pub(crate) use booking_fields;

impl BookingFields<'_> {
    pub(crate) fn read(&self, api: &Api, fields: &mut Fields) -> Option<Booking> {
        let hold = fields.optional_appointment_id("hold_id", self.hold_id);
        let is_of_hold = !self.hold_id.is_empty();
        let names_calendar = !self.calendar_id.is_empty() || !self.calendar_ids.is_empty();
        let calendars: Option<(Vec<CalendarId>, Assignment)> = if is_of_hold && !names_calendar {
            Some((Vec::new(), Assignment::All))
        } else {
            fields.calendars(self.calendar_id, self.calendar_ids, self.assignment)
        };
        let type_id = match self.appointment_type_id {
            "" if is_of_hold => Some(None),
            text => type_or_default(text, fields).map(Some),
        };
        let start = if is_of_hold {
            fields.optional_start(
                &api.zones,
                self.start_time,
                self.local_start,
                self.time_zone,
            )
        } else {
            fields
                .start(
                    &api.zones,
                    self.start_time,
                    self.local_start,
                    self.time_zone,
                )
                .map(Some)
        };
        let duration = fields.minutes("duration", self.duration, 1);
        let is_required = self.is_invitee_required && !is_of_hold;
        let person = self.person(is_required, api, fields);
        let id = fields.optional_appointment_id("appointment_id", self.appointment_id);
        if is_of_hold && !self.appointment_id.is_empty() && self.appointment_id != self.hold_id {
            fields.wrong::<()>("appointment_id", "the hold keeps its own id; leave it out");
        }
        let ignored_rules = fields.ignored_rules(self.ignore_rules);
        if is_of_hold && !self.ignore_rules.is_empty() {
            fields.wrong::<()>(
                "ignore_rules",
                "a hold has its time already; nothing is asked again",
            );
        }
        let (calendars, assignment) = calendars?;
        Some(Booking {
            id: id?.map_or_else(|| NewId::Made(api.ids.appointment_id()), NewId::Brought),
            calendars,
            assignment,
            type_id: type_id?,
            start: start?,
            duration: duration?,
            person: person?,
            hold: hold?,
            ignored_rules: ignored_rules?,
            occurrence: None,
        })
    }

    fn person(&self, is_required: bool, api: &Api, fields: &mut Fields) -> Option<PersonDetails> {
        let invitee = match self.invitee {
            None if is_required => fields.wrong("invitee.name", "is required"),
            None => Some(None),
            Some(invitee) => fields
                .invitee(&api.zones, invitee, self.is_invitee_required)
                .map(Some),
        };
        let carried = (self.carried)(fields);
        Some(PersonDetails {
            invitee: invitee?,
            carried: carried?,
        })
    }
}
