//! Calls of a caller that change appointments which an answer has named.

use bookd::proto::v1 as pb;
use prost_types::FieldMask;

use super::Caller;
use crate::calls::Call;

impl Caller {
    /// A call that moves, ends or updates an appointment, or a series.
    pub(super) fn change(&mut self, now: i64) -> Call {
        let (appointment_id, request_id) = (self.some_id(), self.request_id());
        match self.chance.below(13) {
            0 | 1 => self.reschedule(now, appointment_id, request_id),
            2 | 3 => Call::CancelAppointment(pb::CancelAppointmentRequest {
                appointment_id,
                reason: self.text("called off"),
                request_id,
                ..Default::default()
            }),
            4 | 5 => Call::ConfirmAppointment(pb::ConfirmAppointmentRequest {
                appointment_id,
                invitee: self.invitee(),
                request_id,
                ..Default::default()
            }),
            6 => Call::ExtendHold(pb::ExtendHoldRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            7 => Call::ReleaseHold(pb::ReleaseHoldRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            8 => Call::ApproveAppointment(pb::ApproveAppointmentRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            9 => Call::DeclineAppointment(pb::DeclineAppointmentRequest {
                appointment_id,
                reason: self.text("declined"),
                request_id,
                ..Default::default()
            }),
            10 => Call::UpdateAppointment(pb::UpdateAppointmentRequest {
                appointment_id,
                note: self.text("note"),
                metadata: [("other".to_owned(), self.text("value"))].into(),
                location: self.text("place"),
                update_mask: Some(FieldMask {
                    paths: self.updated().map(str::to_owned).to_vec(),
                }),
                request_id,
                ..Default::default()
            }),
            11 => self.record_attendance(appointment_id, request_id),
            _ => Call::CancelSeries(pb::CancelSeriesRequest {
                appointment_id,
                reason: self.text("ended"),
                scope: self
                    .chance
                    .of(&[
                        pb::SeriesScope::One,
                        pb::SeriesScope::Following,
                        pb::SeriesScope::All,
                    ])
                    .into(),
                request_id,
                ..Default::default()
            }),
        }
    }

    fn reschedule(&mut self, now: i64, appointment_id: String, request_id: String) -> Call {
        let start_time = self.start(now);
        let (calendar_ids, assignment) = if self.chance.is(3) {
            self.calendars()
        } else {
            Default::default()
        };
        Call::RescheduleAppointment(pb::RescheduleAppointmentRequest {
            appointment_id,
            start_time,
            calendar_ids,
            assignment,
            request_id,
            ..Default::default()
        })
    }

    fn record_attendance(&mut self, appointment_id: String, request_id: String) -> Call {
        let undo = self.chance.is(2);
        if self.chance.is(2) {
            Call::MarkNoShow(pb::MarkNoShowRequest {
                appointment_id,
                undo,
                request_id,
                ..Default::default()
            })
        } else {
            let request = pb::CompleteAppointmentRequest {
                appointment_id,
                undo,
                request_id,
                ..Default::default()
            };
            Call::CompleteAppointment(request)
        }
    }
}
