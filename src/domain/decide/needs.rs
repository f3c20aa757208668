//! What each command looks at, so that the engine loads it before the decision.

use super::super::command::{Booking, Command, ImportedCalendar, Needs, Redacted};
use super::super::ids::{AppointmentId, CalendarId, SeriesId};
use super::super::series::{SeriesName, SeriesScope};
use super::super::state::State;

impl Command {
    /// Everything that deciding this command may look at. Appointments come with the calendars they claim.
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
            Self::DeleteCalendar { calendar, force, .. } => {
                needs.calendars.push(calendar.clone());
                needs.all_of = force.then(|| calendar.clone());
            }
            Self::Book(booking) | Self::Hold { booking, .. } => needs.add_booking(booking),
            Self::BatchBook(bookings) => needs = Needs::of_bookings(bookings),
            Self::BookSeries(wanted) => needs.calendars.extend_from_slice(&wanted.booking.calendars),
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
            Self::Redact(Redacted::Appointment(appointment)) => needs.appointments.push(*appointment),
            Self::Redact(Redacted::Email(email)) => needs.email = Some(email.clone()),
            Self::Import(calendars) => calendars.iter().for_each(|calendar| needs.add_import(calendar)),
        }
        needs
    }
}

impl Needs {
    /// The series that is looked at, as far as it is known: one that is named by an appointment of it is known once that
    /// is loaded.
    pub fn series_in(&self, state: &State) -> Option<SeriesId> {
        match self.series? {
            SeriesName::Id(series) => Some(series),
            SeriesName::Of(appointment) => state.appointments.get(&appointment)?.series(),
        }
    }

    /// What a batch looks at.
    pub(super) fn of_bookings(bookings: &[Booking]) -> Self {
        let mut needs = Self::default();
        bookings.iter().for_each(|booking| needs.add_booking(booking));
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
        let further: Vec<&CalendarId> = imported.appointments.iter().flat_map(|it| &it.further_calendars).collect();
        let brought: Vec<AppointmentId> = imported.appointments.iter().filter_map(|it| it.id.brought()).collect();
        self.calendars.push(imported.calendar.clone());
        self.calendars.extend(further.into_iter().cloned());
        self.appointments.extend(brought);
    }
}
