//! Decisions about series: booking all occurrences, and cancelling one of them, the following or
//! all.
//!
//! All occurrences are one change. Each is decided on the state that the ones before it left, so
//! that they count against each other. The nearest slots of an occurrence that cannot be booked are
//! those that the rest of the series leaves free.

use std::sync::Arc;

use super::assignment::Alternatives;
use super::calendars::invalid;
use super::{At, Decision, Outcome};
use crate::appointment::recurrence::{OccurrenceTime, expand};
use crate::appointment::series::{Occurrence, SeriesReport};
use crate::appointment::{Appointment, AppointmentState, CALENDARS_MAX, OccurrenceOf};
use crate::change::{Cause, Event};
use crate::command::{Booking, NewId, Otherwise, SeriesBooking, SeriesName, SeriesScope, Start};
use crate::field_violation::FieldViolation;
use crate::ids::{AppointmentId, SeriesId};
use crate::refusal::Refusal;
use crate::slots::nearest_days;

/// The most claims of one series, occurrences × calendars: as many as in the largest batch, so that
/// no request takes the writer longer than that.
pub const SERIES_CLAIMS_MAX: usize = 10_000;
/// The most bytes of notes and metadata that one series may write, occurrences × text: as many as
/// the largest request has.
pub const SERIES_TEXT_BYTES_MAX: usize = 1_024 * 1_024;
/// The most searches for nearest slots, refused occurrences × calendars: as many as for one refused
/// booking of the most calendars. Refused occurrences after those get no nearest slots.
const NEAREST_SEARCHES_MAX: usize = CALENDARS_MAX;

impl<'a> At<'a> {
    /// The appointments of a series; where an occurrence is refused, as `Otherwise` says.
    pub(super) fn book_series(self, wanted: &SeriesBooking) -> Result<Decision, Refusal> {
        let (start, zone) = self.first_occurrence(&wanted.booking)?;
        let moments =
            expand(start, &wanted.rule, zone).map_err(|it| Refusal::FieldInvalid(vec![it]))?;
        expect_bounded(&wanted.booking, moments.len())?;
        assert!(
            wanted.ids.len() >= moments.len(),
            "a series comes with an id for each occurrence"
        );
        let mut scratch = self.state.scratch(&wanted.booking.calendars);
        let mut events = Vec::with_capacity(moments.len());
        let mut occurrences = Vec::with_capacity(moments.len());
        for (index, (moment, id)) in moments.into_iter().zip(&wanted.ids).enumerate() {
            let booking = occurrence(wanted, moment, *id);
            let at = At {
                state: &scratch,
                ..self
            };
            let (appointment, refusal) =
                match at.book_new(&booking, Cause::BookSeries, Alternatives::Later) {
                    Ok(decision) => {
                        decision
                            .events
                            .iter()
                            .for_each(|event| scratch.apply_event(event, self.revision()));
                        events.extend(decision.events);
                        (decision.outcome.appointments.into_iter().next(), None)
                    }
                    Err(Refusal::Slot(refusal)) => (None, Some(*refusal)),
                    Err(other) => return Err(other),
                };
            occurrences.push(Occurrence {
                index,
                id: *id,
                moment,
                appointment,
                refusal,
            });
        }
        At {
            state: &scratch,
            ..self
        }
        .find_alternatives(wanted, &mut occurrences)?;
        settle(
            wanted,
            events,
            SeriesReport {
                series: wanted.series,
                occurrences,
            },
        )
    }

    /// Finds the nearest slots of the refused occurrences, with the time of the booked ones taken.
    fn find_alternatives(
        self,
        wanted: &SeriesBooking,
        occurrences: &mut [Occurrence],
    ) -> Result<(), Refusal> {
        let most = NEAREST_SEARCHES_MAX / wanted.booking.calendars.len().max(1);
        for it in occurrences
            .iter_mut()
            .filter(|it| it.refusal.is_some())
            .take(most)
        {
            let nearest = self.alternatives(&occurrence(wanted, it.moment, it.id))?;
            if let Some(refusal) = &mut it.refusal {
                (refusal.nearest_before, refusal.nearest_after) = nearest;
                refusal.nearest_days = nearest_days(wanted.booking.calendars.len());
            }
        }
        Ok(())
    }

    /// Cancels the occurrences of the scope, all or none: one that is past its cut-off refuses the
    /// command.
    pub(super) fn cancel_series(
        self,
        scope: SeriesScope,
        reason: &str,
    ) -> Result<Decision, Refusal> {
        let mut all = Decision {
            cause: Cause::CancelSeries,
            events: Vec::new(),
            outcome: Outcome::default(),
        };
        for it in self.named_by(scope)? {
            let of_series = |refusal| Refusal::OfSeries {
                appointment: it.id,
                refusal: Box::new(refusal),
            };
            let decision = self.cancel(it.id, reason, None).map_err(of_series)?;
            all.events.extend(decision.events);
            all.outcome
                .appointments
                .extend(decision.outcome.appointments);
        }
        Ok(all)
    }

    /// The appointments of the scope that are to be cancelled or are cancelled already, in order.
    /// The named one is always among them, so that its state is judged as by CancelAppointment.
    /// Others that cannot be cancelled, such as those that took place, are left out.
    fn named_by(self, scope: SeriesScope) -> Result<Vec<&'a Arc<Appointment>>, Refusal> {
        let order = |it: &Appointment| (it.start, it.key);
        let can_be = |appointment: &Appointment| {
            matches!(
                appointment.state_at(self.now),
                AppointmentState::Pending
                    | AppointmentState::Confirmed
                    | AppointmentState::Cancelled
            )
        };
        let (series, first) = match scope {
            SeriesScope::One(id) | SeriesScope::Following(id) => {
                (self.series_of(id)?, Some(self.appointment(id)?))
            }
            SeriesScope::All(SeriesName::Of(id)) => (self.series_of(id)?, None),
            SeriesScope::All(SeriesName::Id(series)) => (series, None),
        };
        if let (SeriesScope::One(_), Some(only)) = (scope, first) {
            return Ok(vec![only]);
        }
        let of_series = self
            .state
            .appointments
            .values()
            .filter(|it| it.series() == Some(series) && self.reach.has_some_of(it));
        let mut named: Vec<&Arc<Appointment>> = of_series.collect();
        if named.is_empty() {
            return Err(Refusal::SeriesNotFound(series));
        }
        named.retain(|it| match first {
            Some(first) => it.id == first.id || (order(it) > order(first) && can_be(it)),
            None => it.start > self.now && can_be(it),
        });
        named.sort_unstable_by_key(|it| order(it));
        Ok(named)
    }

    /// The series of an appointment; refused where it belongs to none.
    fn series_of(self, id: AppointmentId) -> Result<SeriesId, Refusal> {
        let no_series = || {
            invalid(
                "appointment_id",
                "belongs to no series; use CancelAppointment",
            )
        };
        self.appointment(id)?.series().ok_or_else(no_series)
    }
}

/// The booking of one occurrence.
fn occurrence(wanted: &SeriesBooking, moment: OccurrenceTime, id: AppointmentId) -> Booking {
    let start = Some(Start::At(moment.start));
    let occurrence = Some(OccurrenceOf {
        series: wanted.series,
        original_start: moment.start,
    });
    Booking {
        id: NewId::Made(id),
        start,
        occurrence,
        ..wanted.booking.clone()
    }
}

/// The decision about a series whose occurrences are all decided.
fn settle(
    wanted: &SeriesBooking,
    mut events: Vec<Event>,
    mut report: SeriesReport,
) -> Result<Decision, Refusal> {
    let is_complete = report.refused().next().is_none();
    let is_booked = is_complete || (wanted.otherwise == Otherwise::TheOthers && !events.is_empty());
    if !is_booked {
        report
            .occurrences
            .iter_mut()
            .for_each(|it| it.appointment = None);
        if !wanted.is_report {
            return Err(Refusal::Series(Box::new(report)));
        }
        events.clear();
    }
    let appointments = report
        .occurrences
        .iter()
        .filter_map(|it| it.appointment.clone())
        .collect();
    let outcome = Outcome {
        appointments,
        series: Some(report),
        ..Outcome::default()
    };
    Ok(Decision {
        cause: Cause::BookSeries,
        events,
        outcome,
    })
}

/// Refuses a series that is too much work for the writer or too much text for one change.
fn expect_bounded(booking: &Booking, occurrences: usize) -> Result<(), Refusal> {
    let claims_max = SERIES_CLAIMS_MAX / occurrences;
    let bytes_max = SERIES_TEXT_BYTES_MAX / occurrences;
    let texts = booking.person.carried.bytes();
    let bytes: usize = texts.iter().map(|(_, bytes)| bytes).sum();
    let longest = texts
        .iter()
        .max_by_key(|(_, bytes)| bytes)
        .map_or("note", |(field, _)| *field);
    let fields = texts.map(|(field, _)| field).join(", ");
    let calendars = format!("at most {claims_max} calendars with {occurrences} occurrences");
    let text =
        format!("{fields}: at most {bytes_max} bytes together with {occurrences} occurrences");
    let checks = [
        (
            booking.calendars.len() > claims_max,
            "calendar_ids",
            calendars,
        ),
        (bytes > bytes_max, longest, text),
    ];
    let wrong = checks.into_iter().filter(|(is_wrong, ..)| *is_wrong);
    let wrong: Vec<_> = wrong
        .map(|(_, field, description)| FieldViolation::new(field, description))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Refusal::FieldInvalid(wrong))
    }
}
