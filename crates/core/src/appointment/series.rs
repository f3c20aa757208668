//! The report of a series: for each occurrence the appointment or the refusal that booking it led
//! to, or would lead to.
//!
//! An occurrence has an appointment or a refusal, never both.

use std::sync::Arc;

use crate::appointment::Appointment;
use crate::appointment::recurrence::OccurrenceTime;
use crate::ids::{AppointmentId, SeriesId};
use crate::slots::violation::SlotRefusal;

/// The outcome of booking a series, or of asking for it with a dry run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeriesReport {
    /// The id that all occurrences share.
    pub series: SeriesId,
    /// The occurrences, in order of their starts by the rule.
    pub occurrences: Vec<Occurrence>,
}

/// One occurrence of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// Its index in the series, from 0.
    pub index: usize,
    /// The id that its appointment has or would have.
    pub id: AppointmentId,
    /// Its start.
    pub moment: OccurrenceTime,
    /// The appointment that was made, if any.
    pub appointment: Option<Arc<Appointment>>,
    /// Why it cannot be booked, with the nearest slots that the rest of the series leaves free.
    pub refusal: Option<SlotRefusal>,
}

impl SeriesReport {
    /// The occurrences that cannot be booked.
    pub fn refused(&self) -> impl Iterator<Item = (&Occurrence, &SlotRefusal)> {
        self.occurrences
            .iter()
            .filter_map(|it| it.refusal.as_ref().map(|refusal| (it, refusal)))
    }

    /// Whether an occurrence breaks a rule; otherwise all refusals are lost races.
    pub fn is_rule_broken(&self) -> bool {
        self.refused().any(|(_, refusal)| refusal.is_rule_broken())
    }

    /// The report of a series that was booked before, with its appointments as they are now. An
    /// occurrence that was not booked then has neither an appointment nor a refusal.
    pub fn of_booked<'a>(
        ids: &[AppointmentId],
        find: impl Fn(&AppointmentId) -> Option<&'a Arc<Appointment>>,
    ) -> Option<Self> {
        let made = ids
            .iter()
            .enumerate()
            .filter_map(|(index, id)| Some((index, Arc::clone(find(id)?))));
        let occurrences: Vec<Occurrence> = made
            .map(|(index, it)| Occurrence {
                index,
                id: it.id,
                moment: OccurrenceTime {
                    local_start: it.local_start,
                    start: it.start,
                },
                appointment: Some(it),
                refusal: None,
            })
            .collect();
        let series = occurrences.first()?.appointment.as_ref()?.series()?;
        Some(Self {
            series,
            occurrences,
        })
    }
}
