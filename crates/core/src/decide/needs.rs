//! What each command looks at, so that the engine loads it before the decision.

use super::redaction::REDACTED_MAX;
use crate::appointment::recurrence::OCCURRENCES_MAX;
use crate::command::{
    Booking, Command, ImportedCalendar, Needs, Redacted, SeriesName, SeriesScope,
};
use crate::ids::{AppointmentId, CalendarId, SeriesId};
use crate::state::State;

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
            Self::Import(calendars) => calendars
                .iter()
                .for_each(|calendar| needs.add_import(calendar)),
        }
        needs
    }
}

impl Command {
    /// How much work it is to decide and to write, about, in bookings of one calendar: at least 1. What has no bound of
    /// its own weighs as much as anything does.
    pub fn weight(&self) -> usize {
        const MOST: usize = 1_024;
        // A further calendar of a booking is a claim more, and no row.
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
            _ => 1,
        }
    }

    /// Whether it may be refused after more work than a refusal is worth.
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

    /// The calendars that it names, as far as they are in one place.
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
