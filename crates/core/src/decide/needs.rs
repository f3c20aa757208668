//! What each command needs in the state, so that the engine loads it before the decision.
//!
//! A decision reads nothing that is not in `Command::needs`.

use super::redaction::REDACTED_MAX;
use crate::appointment::recurrence::OCCURRENCES_MAX;
use crate::command::{
    Booking, Command, ImportedCalendar, Needs, Redacted, SeriesName, SeriesScope,
};
use crate::ids::{AppointmentId, CalendarId, SeriesId};
use crate::reach::Reach;
use crate::state::State;

impl Command {
    /// Everything that the decision of this command may read for somebody with this reach.
    pub fn needs_within(&self, reach: &Reach) -> Needs {
        Needs {
            reach: reach.clone(),
            ..self.needs()
        }
    }

    /// Everything that the decision of this command may read. Appointments come with the calendars
    /// they claim.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        match self {
            Self::CreateCalendar { calendar, .. }
            | Self::UpdateCalendar { calendar, .. }
            | Self::PutAppointmentType { calendar, .. }
            | Self::DeleteAppointmentType { calendar, .. }
            | Self::SetAvailability { calendar, .. }
            | Self::PutOverrides { calendar, .. }
            | Self::DeleteOverrides { calendar, .. }
            | Self::PutBusy { calendar, .. } => needs.calendars.push(calendar.clone()),
            Self::DeleteCalendar {
                calendar,
                beforehand: Some(beforehand),
                ..
            } => {
                needs.calendars.push(calendar.clone());
                needs.appointments.extend_from_slice(&beforehand.others);
            }
            Self::DeleteCalendar {
                calendar, force, ..
            } => {
                needs.calendars.push(calendar.clone());
                needs.all_of = force.then(|| calendar.clone());
            }
            Self::Book(booking) | Self::Hold { booking, .. } => needs.add_booking(booking),
            Self::BatchBook(bookings) => needs = Needs::of_bookings(bookings),
            Self::BookSeries(wanted) => {
                needs.calendars.extend_from_slice(&wanted.booking.calendars)
            }
            Self::CancelSeries { scope, .. } => needs.add_series(*scope),
            Self::Reschedule(to) => {
                needs.appointments.push(to.appointment);
                needs.calendars.extend_from_slice(&to.calendars);
            }
            Self::ExtendHold { appointment, .. }
            | Self::ReleaseHold { appointment, .. }
            | Self::Confirm { appointment, .. }
            | Self::Approve { appointment, .. }
            | Self::Decline { appointment, .. }
            | Self::Cancel { appointment, .. }
            | Self::UpdateAppointment { appointment, .. }
            | Self::MarkNoShow { appointment, .. }
            | Self::Complete { appointment, .. } => needs.appointments.push(*appointment),
            Self::Redact(Redacted::Appointment(appointment)) => {
                needs.appointments.push(*appointment)
            }
            Self::Redact(Redacted::Email(email)) => needs.email = Some(email.clone()),
            Self::Redact(Redacted::Found(_, ids)) => needs.appointments.extend_from_slice(ids),
            Self::Import(calendars) => calendars
                .iter()
                .for_each(|calendar| needs.add_import(calendar)),
            // The tokens are always in the state.
            Self::CreateToken(_) | Self::RevokeToken(_) => {}
        }
        needs
    }
}

impl Command {
    /// The approximate work of deciding and writing it, in bookings of one calendar: at least 1. A
    /// command without a bound of its own has the largest weight.
    pub fn weight(&self) -> usize {
        const MOST: usize = 1_024;
        // Each further calendar of a booking costs a claim, and no row.
        const CLAIMS_A_ROW: usize = 8;
        let of_one = |booking: &Booking| 1 + booking.calendars.len() / CLAIMS_A_ROW;
        match self {
            Self::Book(booking) | Self::Hold { booking, .. } => of_one(booking),
            Self::BatchBook(bookings) => bookings.iter().map(of_one).sum::<usize>().max(1),
            Self::BookSeries(wanted) => wanted.ids.len().max(1) * of_one(&wanted.booking),
            Self::CancelSeries { .. } => OCCURRENCES_MAX,
            Self::DeleteCalendar {
                beforehand: Some(beforehand),
                ..
            } => 1 + beforehand.others.len(),
            Self::DeleteCalendar { force: true, .. } | Self::Import(_) => MOST,
            Self::Redact(Redacted::Email(_)) => REDACTED_MAX.min(MOST),
            Self::Redact(Redacted::Found(_, ids)) => ids.len().clamp(1, MOST),
            _ => 1,
        }
    }

    /// Whether its refusal may come only after so much work that the writer should not do it.
    pub fn is_refused_dearly(&self) -> bool {
        const DEAR: usize = 16;
        let is_judged_whole = matches!(
            self,
            Self::BatchBook(_)
                | Self::BookSeries(_)
                | Self::CancelSeries { .. }
                | Self::DeleteCalendar { force: true, .. }
        );
        is_judged_whole && self.weight() >= DEAR
    }

    /// The calendars that it names, where one slice has all of them; empty for other commands.
    pub fn calendars(&self) -> &[CalendarId] {
        match self {
            Self::Book(booking) | Self::Hold { booking, .. } => &booking.calendars,
            Self::BookSeries(wanted) => &wanted.booking.calendars,
            Self::Reschedule(to) => &to.calendars,
            Self::UpdateCalendar { calendar, .. }
            | Self::DeleteCalendar { calendar, .. }
            | Self::PutAppointmentType { calendar, .. }
            | Self::DeleteAppointmentType { calendar, .. }
            | Self::SetAvailability { calendar, .. }
            | Self::PutOverrides { calendar, .. }
            | Self::DeleteOverrides { calendar, .. }
            | Self::PutBusy { calendar, .. } => std::slice::from_ref(calendar),
            _ => &[],
        }
    }
}

impl Needs {
    /// The id of the series. A series that is named by one of its appointments has none until that
    /// appointment is loaded.
    pub fn series_in(&self, state: &State) -> Option<SeriesId> {
        match self.series? {
            SeriesName::Id(series) => Some(series),
            SeriesName::Of(appointment) => state.appointments.get(&appointment)?.series(),
        }
    }

    /// The needs of a batch.
    pub(super) fn of_bookings(bookings: &[Booking]) -> Self {
        let mut needs = Self::default();
        bookings
            .iter()
            .for_each(|booking| needs.add_booking(booking));
        needs
    }

    fn add_booking(&mut self, booking: &Booking) {
        self.calendars.extend_from_slice(&booking.calendars);
        self.appointments.extend(booking.hold);
        self.appointments.extend(booking.id.brought());
    }

    fn add_series(&mut self, scope: SeriesScope) {
        let (named, series) = match scope {
            SeriesScope::One(id) => (Some(id), None),
            SeriesScope::Following(id) => (Some(id), Some(SeriesName::Of(id))),
            SeriesScope::All(SeriesName::Of(id)) => (Some(id), Some(SeriesName::Of(id))),
            SeriesScope::All(name) => (None, Some(name)),
        };
        self.appointments.extend(named);
        self.series = series;
    }

    fn add_import(&mut self, imported: &ImportedCalendar) {
        let further: Vec<&CalendarId> = imported
            .appointments
            .iter()
            .flat_map(|it| &it.further_calendars)
            .collect();
        let brought: Vec<AppointmentId> = imported
            .appointments
            .iter()
            .filter_map(|it| it.id.brought())
            .collect();
        self.calendars.push(imported.calendar.clone());
        self.calendars.extend(further.into_iter().cloned());
        self.appointments.extend(brought);
    }
}
