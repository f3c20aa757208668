//! Short forms for tests: common requests, and errors as clients read them.
//!
//! Local times are in the calendar's zone; a request without a type is for `default`.

use std::collections::HashMap;
use std::fmt::Debug;

use bookd::proto::v1 as pb;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::harness::{Bookd, minutes};

/// Monday, 09:00 in Paris, four weeks before the clock change there.
pub const NOW: &str = "2027-03-01T08:00:00Z";

impl Bookd {
    /// A service with the calendar `ada`: in Paris, open every day from 09:00 to 17:00, with the
    /// type `default` of 60 minutes.
    pub async fn with_ada() -> Self {
        let bookd = Self::start_at(NOW).await;
        bookd
            .hours("ada", "Europe/Paris", &[("09:00", "17:00")])
            .await;
        bookd
    }

    /// Sets the same windows for every day.
    pub async fn hours(&self, calendar_id: &str, time_zone: &str, windows: &[(&str, &str)]) {
        self.set_rules(
            calendar_id,
            time_zone,
            windows
                .iter()
                .map(|(start, end)| rule(start, end))
                .collect(),
        )
        .await;
    }

    pub async fn set_rules(
        &self,
        calendar_id: &str,
        time_zone: &str,
        rules: Vec<pb::AvailabilityRule>,
    ) {
        let request = set_availability(calendar_id, time_zone, rules);
        self.availability().set_availability(request).await.unwrap();
    }

    /// Sets the windows of one date; without windows the date is closed.
    pub async fn put_override(&self, calendar_id: &str, date: &str, windows: &[(&str, &str)]) {
        let windows = windows
            .iter()
            .map(|(start, end)| window(start, end))
            .collect();
        let overrides = vec![pb::AvailabilityOverride {
            date: date.into(),
            windows,
            ..Default::default()
        }];
        let request = pb::PutOverridesRequest {
            calendar_id: calendar_id.into(),
            overrides,
            ..Default::default()
        };
        self.availability().put_overrides(request).await.unwrap();
    }

    /// Books the type `default` at a local time, for Grace.
    pub async fn booked(&self, calendar_id: &str, local_start: &str) -> pb::Appointment {
        self.book(booking(calendar_id, local_start)).await.unwrap()
    }

    /// Holds the type `default` at a local time.
    pub async fn hold(&self, calendar_id: &str, local_start: &str) -> pb::Appointment {
        let request = holding(calendar_id, local_start);
        self.booking()
            .hold_appointment(request)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap()
    }

    pub async fn cancel(&self, appointment_id: &str) -> pb::Appointment {
        let request = pb::CancelAppointmentRequest {
            appointment_id: appointment_id.into(),
            ..Default::default()
        };
        self.booking()
            .cancel_appointment(request)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap()
    }

    /// The appointment as it is now.
    pub async fn appointment(&self, appointment_id: &str) -> pb::Appointment {
        let request = pb::GetAppointmentRequest {
            appointment_id: appointment_id.into(),
        };
        self.lists()
            .get_appointment(request)
            .await
            .unwrap()
            .into_inner()
            .appointment
            .unwrap()
    }

    pub async fn list(&self, request: pb::ListSlotsRequest) -> Result<Vec<pb::Slot>, Status> {
        Ok(self.slots().list_slots(request).await?.into_inner().slots)
    }

    /// The starts of the slots of a date as clock times of this zone.
    pub async fn starts(&self, calendar_id: &str, time_zone: &str, date: &str) -> Vec<String> {
        self.starts_of(pb::ListSlotsRequest {
            time_zone: time_zone.into(),
            ..listing(calendar_id, date)
        })
        .await
    }

    /// The starts of the listed slots as clock times of the zone that the request names.
    pub async fn starts_of(&self, request: pb::ListSlotsRequest) -> Vec<String> {
        let slots = self.list(request).await.unwrap();
        slots
            .iter()
            .map(|slot| slot.local_start.split_once('T').unwrap().1.to_owned())
            .collect()
    }
}

pub fn grace() -> Option<pb::Invitee> {
    Some(pb::Invitee {
        name: "Grace Hopper".into(),
        email: "grace@example.com".into(),
        ..Default::default()
    })
}

pub fn window(start_time: &str, end_time: &str) -> pb::Window {
    pb::Window {
        start_time: start_time.into(),
        end_time: end_time.into(),
    }
}

/// A window on every day.
pub fn rule(start_time: &str, end_time: &str) -> pb::AvailabilityRule {
    pb::AvailabilityRule {
        start_time: start_time.into(),
        end_time: end_time.into(),
        ..Default::default()
    }
}

/// A window on one day of the week.
pub fn rule_on(day: pb::DayOfWeek, start_time: &str, end_time: &str) -> pb::AvailabilityRule {
    pb::AvailabilityRule {
        days_of_week: vec![day.into()],
        ..rule(start_time, end_time)
    }
}

pub fn set_availability(
    calendar_id: &str,
    time_zone: &str,
    rules: Vec<pb::AvailabilityRule>,
) -> pb::SetAvailabilityRequest {
    let (calendar_id, time_zone) = (calendar_id.into(), time_zone.into());
    pb::SetAvailabilityRequest {
        calendar_id,
        time_zone,
        rules,
        ..Default::default()
    }
}

pub fn booking(calendar_id: &str, local_start: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: calendar_id.into(),
        local_start: local_start.into(),
        invitee: grace(),
        ..Default::default()
    }
}

pub fn holding(calendar_id: &str, local_start: &str) -> pb::HoldAppointmentRequest {
    let (calendar_id, local_start) = (calendar_id.into(), local_start.into());
    pb::HoldAppointmentRequest {
        calendar_id,
        local_start,
        ..Default::default()
    }
}

pub fn listing(calendar_id: &str, date: &str) -> pb::ListSlotsRequest {
    pb::ListSlotsRequest {
        calendar_id: calendar_id.into(),
        date: date.into(),
        ..Default::default()
    }
}

pub fn appointment_type(appointment_type_id: &str, duration_minutes: i64) -> pb::AppointmentType {
    pb::AppointmentType {
        appointment_type_id: appointment_type_id.into(),
        duration: Some(minutes(duration_minutes)),
        ..Default::default()
    }
}

/// The clock times in a text, which are separated by spaces.
pub fn clocks(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// An error as a client reads it.
#[derive(Debug)]
pub struct Refused {
    pub code: Code,
    pub reason: String,
    pub metadata: HashMap<String, String>,
    pub details: ErrorDetails,
}

impl Refused {
    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details
            .error_info()
            .unwrap_or_else(|| panic!("an error names its reason: {status:?}"));
        assert_eq!(info.domain, "bookd");
        let (reason, metadata) = (info.reason.clone(), info.metadata.clone());
        Self {
            code: status.code(),
            reason,
            metadata,
            details,
        }
    }

    pub fn is(&self, code: Code, reason: &str) -> bool {
        self.code == code && self.reason == reason
    }

    /// The fields that a BadRequest names.
    pub fn fields(&self) -> Vec<&str> {
        let violations = self
            .details
            .bad_request()
            .map(|it| it.field_violations.as_slice())
            .unwrap_or_default();
        violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect()
    }

    /// The codes that a PreconditionFailure names.
    pub fn codes(&self) -> Vec<&str> {
        let violations = self
            .details
            .precondition_failure()
            .map(|it| it.violations.as_slice())
            .unwrap_or_default();
        violations
            .iter()
            .map(|violation| violation.r#type.as_str())
            .collect()
    }
}

/// The refusal of a call, which must be refused.
pub fn refused<T: Debug>(answer: Result<T, Status>) -> Refused {
    Refused::of(&answer.expect_err("the call must be refused"))
}
