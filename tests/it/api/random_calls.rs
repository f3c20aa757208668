//! The calls of a random run: bookings, holds, series, batches, changes of state, calendar set-up.
//!
//! Every choice is drawn from the run's source of chance, so that a seed gives the same calls.

use bookd::proto::v1 as pb;
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::harness::minutes;
use crate::random::{CALENDARS, DAY, MINUTE, Run, TYPES};
use crate::words::{Refused, appointment_type, grace, rule, set_availability};

/// The appointment in the answer of a call, or its refusal.
type Answer = Result<Option<pb::Appointment>, Status>;

impl Run {
    fn start_time(&mut self) -> Option<Timestamp> {
        // Quarter hours of six days, so that many calls conflict.
        let now = self.bookd.clock_seconds();
        let quarter = i64::try_from(self.chance.below(6 * 96)).unwrap();
        Some(Timestamp {
            seconds: now.div_euclid(DAY) * DAY + quarter * 15 * MINUTE,
            nanos: 0,
        })
    }

    fn calendars(&mut self) -> (Vec<String>, pb::Assignment) {
        match self.chance.below(6) {
            0 => (CALENDARS.map(str::to_owned).to_vec(), pb::Assignment::Any),
            1 => (vec!["ada".into(), "room".into()], pb::Assignment::All),
            _ => (
                vec![self.chance.of(&CALENDARS).to_owned()],
                pb::Assignment::All,
            ),
        }
    }

    fn booking(&mut self) -> pb::BookAppointmentRequest {
        let (calendar_ids, assignment) = self.calendars();
        let mut request = pb::BookAppointmentRequest {
            calendar_ids,
            assignment: assignment.into(),
            appointment_type_id: self.chance.of(&TYPES).to_owned(),
            start_time: self.start_time(),
            invitee: grace(),
            ..Default::default()
        };
        if self.chance.is(8) {
            request.duration = Some(minutes(self.chance.of(&[15, 30, 60])));
        }
        if self.chance.is(4) {
            request.ignore_rules = (1..=5).filter(|_| self.chance.is(2)).collect();
        }
        request
    }

    fn some_id(&mut self) -> String {
        let recent: Vec<String> = self.known.keys().rev().take(40).cloned().collect();
        if recent.is_empty() {
            uuid::Uuid::from_u128(7).to_string()
        } else {
            self.chance.of(&recent)
        }
    }

    /// Records the answer of a call; a refusal must be a documented one.
    fn note(&mut self, answer: Answer) {
        match answer {
            Ok(appointment) => {
                self.accepted += 1;
                self.known
                    .extend(appointment.map(|it| (it.appointment_id.clone(), it)));
            }
            Err(status) => {
                let refusal = Refused::of(&status);
                let codes = [
                    Code::InvalidArgument,
                    Code::NotFound,
                    Code::AlreadyExists,
                    Code::FailedPrecondition,
                    Code::Aborted,
                ];
                assert!(codes.contains(&refusal.code), "{status:?}");
            }
        }
    }

    pub async fn claim(&mut self) {
        let mut client = self.bookd.booking();
        let request = self.booking();
        let answer = if self.chance.is(3) {
            let request = pb::HoldAppointmentRequest {
                calendar_ids: request.calendar_ids,
                assignment: request.assignment,
                appointment_type_id: request.appointment_type_id,
                start_time: request.start_time,
                duration: request.duration,
                ignore_rules: request.ignore_rules,
                ..Default::default()
            };
            client
                .hold_appointment(request)
                .await
                .map(|it| it.into_inner().appointment)
        } else {
            client
                .book_appointment(request)
                .await
                .map(|it| it.into_inner().appointment)
        };
        self.note(answer);
    }

    pub async fn batch(&mut self) {
        let requests = (0..3).map(|_| self.booking()).collect();
        let answer = self
            .bookd
            .booking()
            .batch_book(pb::BatchBookRequest {
                requests,
                ..Default::default()
            })
            .await;
        match answer {
            Ok(answer) => answer
                .into_inner()
                .appointments
                .into_iter()
                .for_each(|it| self.note(Ok(Some(it)))),
            Err(status) => self.note(Err(status)),
        }
    }

    /// Books a series of days or weeks, or cancels a part of one.
    pub async fn series(&mut self) {
        let mut client = self.bookd.booking();
        if self.chance.is(3) {
            let scope = self.chance.of(&[
                pb::SeriesScope::One,
                pb::SeriesScope::Following,
                pb::SeriesScope::All,
            ]);
            let appointment_id = self.some_id();
            let request = pb::CancelSeriesRequest {
                appointment_id,
                scope: scope.into(),
                ..Default::default()
            };
            match client.cancel_series(request).await {
                Ok(answer) => answer
                    .into_inner()
                    .appointments
                    .into_iter()
                    .for_each(|it| self.note(Ok(Some(it)))),
                Err(status) => self.note(Err(status)),
            }
            return;
        }
        let one = self.booking();
        let request = pb::BookSeriesRequest {
            calendar_ids: one.calendar_ids,
            assignment: one.assignment,
            appointment_type_id: one.appointment_type_id,
            start_time: one.start_time,
            duration: one.duration,
            invitee: one.invitee,
            ignore_rules: one.ignore_rules,
            frequency: self
                .chance
                .of(&[pb::Frequency::Daily, pb::Frequency::Weekly])
                .into(),
            count: Some(self.chance.of(&[1, 2, 5])),
            allow_partial: self.chance.is(2),
            ..Default::default()
        };
        match client.book_series(request).await {
            Ok(answer) => {
                let made = answer
                    .into_inner()
                    .occurrences
                    .into_iter()
                    .filter_map(|it| it.appointment);
                made.for_each(|it| self.note(Ok(Some(it))));
            }
            Err(status) => self.note(Err(status)),
        }
    }

    /// Moves a recent appointment or changes its state.
    pub async fn change(&mut self) {
        let appointment_id = self.some_id();
        let answer = match self.chance.below(10) {
            0..=2 => self.reschedule(appointment_id).await,
            drawn => self.settle(appointment_id, drawn).await,
        };
        self.note(answer);
    }

    async fn reschedule(&mut self, appointment_id: String) -> Answer {
        let mut client = self.bookd.booking();
        let (calendar_ids, assignment) = if self.chance.is(3) {
            self.calendars()
        } else {
            Default::default()
        };
        let request = pb::RescheduleAppointmentRequest {
            appointment_id,
            start_time: self.start_time(),
            calendar_ids,
            assignment: assignment.into(),
            ..Default::default()
        };
        client
            .reschedule_appointment(request)
            .await
            .map(|it| it.into_inner().appointment)
    }

    /// Changes the state of an appointment; `drawn`, from 3 to 9, says how.
    async fn settle(&mut self, appointment_id: String, drawn: u64) -> Answer {
        let mut client = self.bookd.booking();
        match drawn {
            3 | 4 => {
                let request = pb::CancelAppointmentRequest {
                    appointment_id,
                    ..Default::default()
                };
                client
                    .cancel_appointment(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
            5 => {
                let request = pb::ConfirmAppointmentRequest {
                    appointment_id,
                    invitee: grace(),
                    ..Default::default()
                };
                client
                    .confirm_appointment(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
            6 => {
                let request = pb::ApproveAppointmentRequest {
                    appointment_id,
                    ..Default::default()
                };
                client
                    .approve_appointment(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
            7 => {
                let request = pb::DeclineAppointmentRequest {
                    appointment_id,
                    ..Default::default()
                };
                client
                    .decline_appointment(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
            8 => {
                let request = pb::MarkNoShowRequest {
                    appointment_id,
                    undo: self.chance.is(2),
                    ..Default::default()
                };
                client
                    .mark_no_show(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
            _ => {
                let request = pb::ReleaseHoldRequest {
                    appointment_id,
                    ..Default::default()
                };
                client
                    .release_hold(request)
                    .await
                    .map(|it| it.into_inner().appointment)
            }
        }
    }

    pub async fn set_up(&mut self) {
        let calendar_id = self.chance.of(&CALENDARS).to_owned();
        match self.chance.below(4) {
            0 => {
                let kind = self.random_type();
                self.bookd.put_type(&calendar_id, kind).await;
            }
            1 => {
                let (start, end) =
                    self.chance
                        .of(&[("09:00", "17:00"), ("00:00", "24:00"), ("22:00", "30:00")]);
                let request = set_availability(&calendar_id, "", vec![rule(start, end)]);
                self.bookd
                    .availability()
                    .set_availability(request)
                    .await
                    .unwrap();
            }
            2 => {
                let start = self.start_time().unwrap().seconds;
                let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
                let periods = vec![pb::Period {
                    start_time: at(start),
                    end_time: at(start + 20 * MINUTE),
                }];
                let request = pb::PutBusyRequest {
                    calendar_id,
                    source: self.chance.of(&["work", "home"]).to_owned(),
                    start_time: at(start - DAY / 2),
                    end_time: at(start + DAY / 2),
                    periods: if self.chance.is(3) {
                        Vec::new()
                    } else {
                        periods
                    },
                    ..Default::default()
                };
                self.bookd.availability().put_busy(request).await.unwrap();
            }
            _ if self.chance.is(8) => {
                let request = pb::DeleteCalendarRequest {
                    calendar_id: calendar_id.clone(),
                    force: true,
                    ..Default::default()
                };
                self.bookd
                    .calendars()
                    .delete_calendar(request)
                    .await
                    .unwrap();
                self.open(&calendar_id).await;
            }
            _ => {}
        }
    }

    fn random_type(&mut self) -> pb::AppointmentType {
        let name = self.chance.of(&TYPES);
        let limits = pb::Limits {
            per_day: self
                .chance
                .is(3)
                .then(|| i32::try_from(1 + self.chance.below(4)).unwrap()),
            per_year: self.chance.is(6).then_some(30),
            ..Default::default()
        };
        pb::AppointmentType {
            slot_step: self.chance.is(2).then(|| minutes(15)),
            buffer_before: Some(minutes(self.chance.of(&[0, 0, 5, 20]))),
            buffer_after: Some(minutes(self.chance.of(&[0, 0, 10, 45]))),
            capacity: Some(if name == "class" {
                self.chance.of(&[1, 2, 3])
            } else {
                1
            }),
            requires_approval: name == "ask",
            pending_blocks: Some(self.chance.is(2)),
            limits: Some(limits),
            ..appointment_type(
                name,
                if name == "short" {
                    15
                } else {
                    self.chance.of(&[30, 60])
                },
            )
        }
    }

    pub async fn open(&mut self, calendar_id: &str) {
        let zone = self
            .chance
            .of(&["Europe/Paris", "America/New_York", "Asia/Kathmandu"]);
        self.bookd
            .hours(calendar_id, zone, &[("09:00", "17:00")])
            .await;
        for name in TYPES {
            let kind = pb::AppointmentType {
                requires_approval: name == "ask",
                ..appointment_type(name, 60)
            };
            self.bookd.put_type(calendar_id, kind).await;
        }
    }
}
