//! What became, or would become, of a series: a report of each of its occurrences.

use std::sync::Arc;

use crate::appointment::Appointment;
use crate::appointment::recurrence::OccurrenceTime;
use crate::ids::{AppointmentId, SeriesId};
use crate::slots::violation::SlotRefusal;

/// What became, or would become, of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeriesReport {
    /// What the occurrences share.
    pub series: SeriesId,
    /// In order.
    pub occurrences: Vec<Occurrence>,
}

/// One occurrence of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// Its place, counted from 0.
    pub index: usize,
    /// The id that it has, or would have had.
    pub id: AppointmentId,
    /// When it is.
    pub moment: OccurrenceTime,
    /// What was made.
    pub appointment: Option<Arc<Appointment>>,
    /// Why it cannot be booked; the nearest slots are those that the rest of the series leaves.
    pub refusal: Option<SlotRefusal>,
}

impl SeriesReport {
    /// The occurrences that cannot be booked.
    pub fn refused(&self) -> impl Iterator<Item = (&Occurrence, &SlotRefusal)> {
        self.occurrences
            .iter()
            .filter_map(|it| it.refusal.as_ref().map(|refusal| (it, refusal)))
    }

    /// Whether one of them breaks a rule; else all that is wrong are lost races.
    pub fn is_rule_broken(&self) -> bool {
        self.refused().any(|(_, refusal)| refusal.is_rule_broken())
    }

    /// The report of a series that was booked before: what was made, as it is now. What was left out then is not told
    /// again, but its place stays empty.
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
