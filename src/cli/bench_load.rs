//! The calls of `bookd bench`: the calendars of a run, and workers that each book their share of
//! them.
//!
//! No two workers book the same time, so every booking must succeed, and a refusal comes only where
//! a phase provokes it.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::client::{CallError, CallerChannel, Server};
use crate::clock::{Clock, SystemClock};
use crate::proto::v1 as pb;
use crate::proto::v1::availability_service_client::AvailabilityServiceClient;
use crate::proto::v1::booking_service_client::BookingServiceClient;
use crate::proto::v1::calendar_service_client::CalendarServiceClient;
use crate::proto::v1::slots_service_client::SlotsServiceClient;
use bookd_core::time::{DAY, HOUR, MINUTE};

/// The most calls in flight while calendars are made or deleted.
const SET_UP_IN_FLIGHT: u32 = 64;
/// Days that are booked of each calendar, within the default horizon of a year.
const DAYS: i64 = 360;
/// With fewer calendars, bookings of an hour would fill the calendars during a phase, so a booking
/// takes a minute.
const HOURLY_CALENDARS_MIN: u32 = 100;
/// The id of the appointment type of a minute.
const SHORT_TYPE: &str = "short";

/// One kind of call at a time, or all of them mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// The health check: what the transport costs.
    Echo,
    /// The free slots of a day.
    List,
    /// Durable bookings of free slots.
    Book,
    /// Bookings of a slot that is taken.
    Refuse,
    /// Cancellations of what was booked.
    Cancel,
    /// List, book and cancel by the weights of --mix.
    Mix,
    /// Durable bookings, so many times as many in flight: see --overload.
    #[value(skip)]
    Overload,
}

impl Phase {
    pub(super) const ALL: [Self; 6] = [
        Self::Echo,
        Self::List,
        Self::Book,
        Self::Refuse,
        Self::Mix,
        Self::Cancel,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::List => "list",
            Self::Book => "book",
            Self::Refuse => "refuse",
            Self::Cancel => "cancel",
            Self::Mix => "mix",
            Self::Overload => "over",
        }
    }
}

/// How often each call comes in a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// ListSlots.
    pub list: u32,
    /// BookAppointment.
    pub book: u32,
    /// CancelAppointment.
    pub cancel: u32,
}

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<u32> = text
            .split(',')
            .filter_map(|it| it.trim().parse().ok())
            .collect();
        match parts[..] {
            [list, book, cancel]
                if (1..=1_000).contains(&(list.saturating_add(book).saturating_add(cancel))) =>
            {
                Ok(Self { list, book, cancel })
            }
            _ => Err(
                "write three numbers: how often to list, book and cancel, such as 60,30,10"
                    .to_owned(),
            ),
        }
    }
}

/// The calendars of a run, and how workers book them.
pub(super) struct BookingLoad {
    /// The prefix of the ids of the calendars, which no other run has.
    prefix: String,
    calendars: u32,
    mix: Weights,
    /// The start of tomorrow in UTC, in seconds.
    first: i64,
    /// Seconds from one booking of a calendar to the next.
    step: i64,
}

impl BookingLoad {
    pub(super) fn new(calendars: u32, mix: Weights) -> Self {
        let prefix = format!("bench/{}", uuid::Uuid::now_v7());
        let first = (SystemClock.now().seconds() / DAY + 1) * DAY;
        let step = if calendars < HOURLY_CALENDARS_MIN {
            MINUTE
        } else {
            HOUR
        };
        Self {
            prefix,
            calendars,
            mix,
            first,
            step,
        }
    }

    /// The id of the type that is booked; empty for the default type, which every calendar has.
    fn type_id(&self) -> &'static str {
        if self.step == HOUR { "" } else { SHORT_TYPE }
    }

    fn calendar(&self, number: u32) -> String {
        format!("{}/{number}", self.prefix)
    }

    /// Makes the calendars, open around the clock.
    pub(super) async fn open(
        &self,
        server: &Server,
        channel: &CallerChannel,
    ) -> Result<(), CallError> {
        self.for_each_calendar(server, "SetAvailability", |calendar_id| {
            let rule = pb::AvailabilityRule {
                start_time: "00:00".to_owned(),
                end_time: "24:00".to_owned(),
                ..Default::default()
            };
            let appointment_type = pb::AppointmentType {
                appointment_type_id: self.type_id().to_owned(),
                duration: Some(prost_types::Duration {
                    seconds: self.step,
                    nanos: 0,
                }),
                ..Default::default()
            };
            let put = (!self.type_id().is_empty()).then(|| pb::PutAppointmentTypeRequest {
                calendar_id: calendar_id.clone(),
                appointment_type: Some(appointment_type),
                ..Default::default()
            });
            let request = pb::SetAvailabilityRequest {
                calendar_id,
                rules: vec![rule],
                ..Default::default()
            };
            let mut client = AvailabilityServiceClient::new(channel.clone());
            let mut types = CalendarServiceClient::new(channel.clone());
            async move {
                client.set_availability(request).await?;
                match put {
                    Some(put) => types.put_appointment_type(put).await.map(drop),
                    None => Ok(()),
                }
            }
        })
        .await
    }

    /// Deletes the calendars with their appointments.
    pub(super) async fn close(
        &self,
        server: &Server,
        channel: &CallerChannel,
    ) -> Result<(), CallError> {
        self.for_each_calendar(server, "DeleteCalendar", |calendar_id| {
            let request = pb::DeleteCalendarRequest {
                calendar_id,
                force: true,
                ..Default::default()
            };
            let mut client = CalendarServiceClient::new(channel.clone());
            async move { client.delete_calendar(request).await.map(drop) }
        })
        .await
    }

    /// Makes a call that changes something for each calendar, a limited number of them in flight.
    async fn for_each_calendar<F>(
        &self,
        server: &Server,
        method: &str,
        call: impl Fn(String) -> F,
    ) -> Result<(), CallError>
    where
        F: Future<Output = Result<(), tonic::Status>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        for number in 0..self.calendars {
            if number >= SET_UP_IN_FLIGHT {
                server.answer(method, false, join(&mut running)).await??;
            }
            running.spawn(call(self.calendar(number)));
        }
        while !running.is_empty() {
            server.answer(method, false, join(&mut running)).await??;
        }
        Ok(())
    }

    /// The worker with this number of `count` workers. It books its share of the calendars, or,
    /// where there are fewer calendars than workers, its share of the times of one calendar.
    pub(super) fn worker(&self, number: u32, count: u32, channel: CallerChannel) -> LoadWorker {
        let own = (number % self.calendars..self.calendars)
            .step_by(count as usize)
            .map(|number| self.calendar(number));
        LoadWorker {
            own: own.collect(),
            first: self.first,
            step: self.step,
            type_id: self.type_id(),
            offset: number / self.calendars,
            stride: count.div_ceil(self.calendars),
            mix: self.mix,
            booked: Vec::new(),
            asked: 0,
            turn: number,
            health: HealthClient::new(channel.clone()),
            slots: SlotsServiceClient::new(channel.clone()),
            booking: BookingServiceClient::new(channel),
        }
    }
}

/// Waits for one of the calls.
async fn join(running: &mut JoinSet<Result<(), tonic::Status>>) -> Result<(), CallError> {
    match running.join_next().await {
        Some(Ok(Err(status))) => Err(CallError::Refused(Box::new(status))),
        Some(Err(error)) => Err(error.to_string().into()),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}

/// A worker: it makes one call after the other.
pub(super) struct LoadWorker {
    /// The calendars that it books.
    own: Vec<String>,
    first: i64,
    step: i64,
    type_id: &'static str,
    /// The first step of its calendars that it books; it books every `stride`-th step from there.
    offset: u32,
    stride: u32,
    mix: Weights,
    /// The ids of appointments that it booked and has not cancelled.
    booked: Vec<String>,
    /// The number of bookings that it requested.
    asked: u32,
    /// The number of its calls, from its own number on, so that workers differ in the order of a
    /// mix.
    turn: u32,
    health: HealthClient<CallerChannel>,
    slots: SlotsServiceClient<CallerChannel>,
    booking: BookingServiceClient<CallerChannel>,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// The answer that the phase expects.
    Expected,
    /// Another answer, or none.
    Unexpected,
    /// The server refused with OVERLOADED, and asks to retry after this delay.
    Overloaded(Duration),
}

impl CallEnd {
    /// The outcome of a call that must succeed.
    fn of<T>(answer: &Result<T, tonic::Status>) -> Self {
        match answer {
            Ok(_) => Self::Expected,
            Err(status) => Self::of_error(status),
        }
    }

    /// The outcome of a call that failed.
    fn of_error(status: &tonic::Status) -> Self {
        let is_overload = status
            .get_details_error_info()
            .is_some_and(|info| info.reason == "OVERLOADED");
        let delay = status
            .get_details_retry_info()
            .and_then(|it| it.retry_delay);
        delay
            .filter(|_| is_overload)
            .map_or(Self::Unexpected, Self::Overloaded)
    }
}

impl LoadWorker {
    /// Whether the worker has a call left in this phase.
    pub(super) fn can(&self, phase: Phase) -> bool {
        let steps = usize::try_from(DAYS * DAY / self.step).unwrap_or(usize::MAX);
        let has_free_time = (self.asked as usize) < self.own.len() * (steps / self.stride as usize);
        match phase {
            Phase::Echo | Phase::List => true,
            Phase::Book | Phase::Overload | Phase::Mix => has_free_time,
            Phase::Refuse => self.asked > 0 || has_free_time,
            Phase::Cancel => !self.booked.is_empty(),
        }
    }

    /// Makes one call.
    pub(super) async fn call(&mut self, phase: Phase) -> CallEnd {
        self.turn = self.turn.wrapping_add(1);
        match phase {
            Phase::Echo => CallEnd::of(
                &self
                    .health
                    .check(HealthCheckRequest {
                        service: String::new(),
                    })
                    .await,
            ),
            Phase::List => self.list().await,
            Phase::Book | Phase::Overload => self.book().await,
            Phase::Refuse => self.refuse().await,
            Phase::Cancel => self.cancel().await,
            Phase::Mix => {
                let Weights { list, book, cancel } = self.mix;
                // A prime factor spreads the kinds evenly, because it shares no divisor with most
                // sums.
                let at = self.turn.wrapping_mul(7_919) % (list + book + cancel);
                if at < list {
                    self.list().await
                } else if at < list + book || self.booked.is_empty() {
                    self.book().await
                } else {
                    self.cancel().await
                }
            }
        }
    }

    fn calendar(&self, number: u32) -> String {
        self.own[number as usize % self.own.len()].clone()
    }

    /// The request of its n-th booking.
    fn booking_of(&self, number: u32) -> pb::BookAppointmentRequest {
        let turn = i64::from(number) / i64::try_from(self.own.len()).unwrap_or(i64::MAX);
        let step = i64::from(self.offset) + turn * i64::from(self.stride);
        pb::BookAppointmentRequest {
            calendar_id: self.calendar(number),
            appointment_type_id: self.type_id.to_owned(),
            start_time: Some(Timestamp {
                seconds: self.first + step * self.step,
                nanos: 0,
            }),
            invitee: Some(pb::Invitee {
                name: "Grace Hopper".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    async fn list(&mut self) -> CallEnd {
        let day = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let request = pb::ListSlotsRequest {
            calendar_id: self.calendar(self.turn),
            start_time: day(self.first),
            end_time: day(self.first + DAY),
            ..Default::default()
        };
        CallEnd::of(&self.slots.list_slots(request).await)
    }

    async fn book(&mut self) -> CallEnd {
        let request = self.booking_of(self.asked);
        self.asked += 1;
        let answer = self.booking.book_appointment(request).await;
        let answered = CallEnd::of(&answer);
        self.booked.extend(
            answer
                .ok()
                .and_then(|it| it.into_inner().appointment)
                .map(|it| it.appointment_id),
        );
        answered
    }

    /// Books a slot that the worker has booked already; the answer must be a refusal.
    async fn refuse(&mut self) -> CallEnd {
        if self.booked.is_empty() {
            return self.book().await;
        }
        let request = self.booking_of(self.asked - 1);
        match self.booking.book_appointment(request).await {
            Ok(_) => CallEnd::Unexpected,
            Err(status) if status.code() == tonic::Code::Aborted => CallEnd::Expected,
            Err(status) => CallEnd::of_error(&status),
        }
    }

    async fn cancel(&mut self) -> CallEnd {
        let Some(appointment_id) = self.booked.pop() else {
            return CallEnd::Unexpected;
        };
        let request = pb::CancelAppointmentRequest {
            appointment_id,
            ..Default::default()
        };
        CallEnd::of(&self.booking.cancel_appointment(request).await)
    }
}
