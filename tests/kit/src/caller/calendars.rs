//! Calls of a caller about calendars: their hours, types, overrides and busy times.

use bookd::proto::v1 as pb;
use prost_types::{Duration, FieldMask, Timestamp};

use super::{Caller, DAY, MINUTE, TYPES, ZONES};
use crate::calls::Call;

impl Caller {
    /// A call that changes a calendar, or redacts an invitee.
    pub(super) fn set_up(&mut self, now: i64) -> Call {
        let (calendar_id, request_id) = (self.calendar(), self.request_id());
        let date = |days: i64| {
            chrono::DateTime::from_timestamp(now + days * DAY, 0)
                .unwrap()
                .date_naive()
                .to_string()
        };
        match self.chance.below(40) {
            0..=9 => {
                let zone = self.chance.of(&ZONES);
                self.hours(&calendar_id, zone)
            }
            10..=16 => {
                let name = self.chance.of(&TYPES);
                self.put_type(&calendar_id, name)
            }
            17..=24 => self.put_busy(now, calendar_id, request_id),
            25..=28 => {
                let overrides = vec![pb::AvailabilityOverride {
                    date: date(1),
                    ..Default::default()
                }];
                Call::PutOverrides(pb::PutOverridesRequest {
                    calendar_id,
                    overrides,
                    request_id,
                    ..Default::default()
                })
            }
            29..=31 => {
                let dates = vec![date(1)];
                Call::DeleteOverrides(pb::DeleteOverridesRequest {
                    calendar_id,
                    dates,
                    request_id,
                    ..Default::default()
                })
            }
            32..=34 => {
                let display_name = format!("name {}", self.count);
                let calendar = pb::Calendar {
                    display_name,
                    ..Default::default()
                };
                Call::UpdateCalendar(pb::UpdateCalendarRequest {
                    calendar_id,
                    calendar: Some(calendar),
                    update_mask: Some(FieldMask {
                        paths: vec!["display_name".to_owned()],
                    }),
                    request_id,
                    ..Default::default()
                })
            }
            35 => self.rare(calendar_id, request_id),
            _ => Call::RedactInvitee(pb::RedactInviteeRequest {
                appointment_id: self.some_id(),
                request_id,
                ..Default::default()
            }),
        }
    }

    pub(super) fn hours(&mut self, calendar: &str, zone: &str) -> Call {
        let (start, end) =
            self.chance
                .of(&[("09:00", "17:00"), ("00:00", "24:00"), ("22:00", "30:00")]);
        let rule = pb::AvailabilityRule {
            start_time: start.to_owned(),
            end_time: end.to_owned(),
            ..Default::default()
        };
        Call::SetAvailability(pb::SetAvailabilityRequest {
            calendar_id: calendar.to_owned(),
            time_zone: zone.to_owned(),
            rules: vec![rule],
            request_id: self.request_id(),
            ..Default::default()
        })
    }

    pub(super) fn put_type(&mut self, calendar: &str, name: &str) -> Call {
        let minutes = |minutes: i64| {
            Some(Duration {
                seconds: minutes * MINUTE,
                nanos: 0,
            })
        };
        let limits = pb::Limits {
            per_day: self.chance.is(4).then_some(6),
            ..Default::default()
        };
        let appointment_type = pb::AppointmentType {
            appointment_type_id: name.to_owned(),
            duration: minutes(if name == "short" {
                15
            } else {
                self.chance.of(&[30, 60])
            }),
            slot_step: minutes(15),
            buffer_before: minutes(self.chance.of(&[0, 0, 5, 20])),
            buffer_after: minutes(self.chance.of(&[0, 0, 10, 45])),
            capacity: Some(if name == "class" {
                self.chance.of(&[2, 3])
            } else {
                1
            }),
            requires_approval: name == "ask",
            pending_blocks: Some(self.chance.is(2)),
            limits: Some(limits),
            ..Default::default()
        };
        Call::PutAppointmentType(pb::PutAppointmentTypeRequest {
            calendar_id: calendar.to_owned(),
            appointment_type: Some(appointment_type),
            request_id: self.request_id(),
            ..Default::default()
        })
    }

    fn put_busy(&mut self, now: i64, calendar_id: String, request_id: String) -> Call {
        let start = self.start(now).unwrap().seconds;
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let period = pb::Period {
            start_time: at(start),
            end_time: at(start + 20 * MINUTE),
        };
        Call::PutBusy(pb::PutBusyRequest {
            calendar_id,
            source: self.chance.of(&["work", "home"]).to_owned(),
            start_time: at(start - DAY / 2),
            end_time: at(start + DAY / 2),
            periods: if self.chance.is(2) {
                vec![period]
            } else {
                Vec::new()
            },
            request_id,
            ..Default::default()
        })
    }

    fn rare(&mut self, calendar_id: String, request_id: String) -> Call {
        match self.chance.below(3) {
            0 => Call::DeleteCalendar(pb::DeleteCalendarRequest {
                calendar_id,
                force: true,
                request_id,
                ..Default::default()
            }),
            1 => Call::CreateCalendar(pb::CreateCalendarRequest {
                calendar_id,
                calendar: Some(pb::Calendar::default()),
                request_id,
                ..Default::default()
            }),
            _ => Call::DeleteAppointmentType(pb::DeleteAppointmentTypeRequest {
                calendar_id,
                appointment_type_id: self.chance.of(&TYPES).to_owned(),
                request_id,
                ..Default::default()
            }),
        }
    }
}
