//! Calls of a caller that change nothing, and lists that it reads page by page.

use bookd::proto::v1 as pb;
use prost_types::Timestamp;

use super::{ALL_STATES, Caller, DAY, PAGE_SIZES, TYPES};
use crate::calls::Call;

impl Caller {
    /// A call that changes nothing.
    pub(super) fn read(&mut self, now: i64) -> Call {
        let calendar_id = self.calendar();
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let (start_time, end_time) = (at(now), at(now + 3 * DAY));
        let appointment_id = self.some_id();
        let appointment_type_id = self.chance.of(&TYPES).to_owned();
        match self.chance.below(18) {
            0..=2 => Call::ListSlots(pb::ListSlotsRequest {
                calendar_id,
                start_time,
                end_time,
                ..Default::default()
            }),
            3 => {
                let start_time = self.start(now);
                Call::ExplainSlot(pb::ExplainSlotRequest {
                    calendar_id,
                    start_time,
                    ..Default::default()
                })
            }
            4 => Call::QueryFreeBusy(pb::QueryFreeBusyRequest {
                calendar_ids: vec![calendar_id],
                start_time,
                end_time,
            }),
            5 => Call::GetAppointment(pb::GetAppointmentRequest { appointment_id }),
            6 | 7 => Call::ListAppointments(pb::ListAppointmentsRequest {
                calendar_id,
                ..Default::default()
            }),
            8 => Call::ListChanges(pb::ListChangesRequest {
                calendar_id,
                ..Default::default()
            }),
            9 => Call::GetCalendar(pb::GetCalendarRequest { calendar_id }),
            10 => Call::ListCalendars(pb::ListCalendarsRequest::default()),
            11 => Call::GetAvailability(pb::GetAvailabilityRequest { calendar_id }),
            12 => match self.chance.below(4) {
                0 => Call::ListBusy(pb::ListBusyRequest {
                    calendar_id,
                    start_time,
                    end_time,
                    ..Default::default()
                }),
                1 => Call::GetAppointmentType(pb::GetAppointmentTypeRequest {
                    calendar_id,
                    appointment_type_id,
                }),
                2 => Call::ListAppointmentTypes(pb::ListAppointmentTypesRequest {
                    calendar_id,
                    ..Default::default()
                }),
                _ => Call::ListZoneDrift(pb::ListZoneDriftRequest {
                    calendar_id,
                    ..Default::default()
                }),
            },
            13..=16 => Call::ListAppointments(self.begin_list()),
            _ => Call::GetServerInfo(pb::GetServerInfoRequest {}),
        }
    }

    /// The first page of a list that does not depend on the time, so that every page of it follows
    /// from the log.
    fn begin_list(&mut self) -> pb::ListAppointmentsRequest {
        use pb::AppointmentState as S;
        let series = self.series.clone().filter(|_| self.chance.is(4));
        let calendar_id = if series.is_some() {
            String::new()
        } else {
            self.calendar()
        };
        let of_type = self.chance.of(&TYPES).to_owned();
        let states: &[S] = if self.chance.is(4) {
            &[S::Confirmed, S::Cancelled]
        } else {
            &ALL_STATES
        };
        pb::ListAppointmentsRequest {
            calendar_id,
            series_id: series.unwrap_or_default(),
            appointment_type_id: if self.chance.is(4) {
                of_type
            } else {
                String::new()
            },
            states: states.iter().map(|it| i32::from(*it)).collect(),
            start_time: Some(Timestamp::default()),
            order_by: self
                .chance
                .of(&["start_time", "start_time desc"])
                .to_owned(),
            page_size: self.chance.of(&PAGE_SIZES),
            ..Default::default()
        }
    }
}
