//! The calls of `bookd bench`: calendars to book, and workers that each have some of them to themselves.
//!
//! Two workers never want the same time, so every booking is to succeed and every refusal is asked for.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::client::{CallError, Server};
use crate::clock::{Clock, SystemClock};
use crate::proto::v1 as pb;
use crate::proto::v1::availability_service_client::AvailabilityServiceClient;
use crate::proto::v1::booking_service_client::BookingServiceClient;
use crate::proto::v1::calendar_service_client::CalendarServiceClient;
use crate::proto::v1::slots_service_client::SlotsServiceClient;
use bookd_core::time::{DAY, HOUR, MINUTE};

/// How many calendars are made or deleted at a time.
const SET_UP_IN_FLIGHT: u32 = 64;
/// Days that are booked of each calendar: within the default horizon of a year.
const DAYS: i64 = 360;
/// Of fewer calendars than this the hours would not last for a phase: then a booking takes a minute.
const HOURLY_CALENDARS_MIN: u32 = 100;
/// The appointment type of a minute.
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

/// What a benchmark books.
pub(super) struct BookingLoad {
    /// Nobody else's calendars begin so.
    prefix: String,
    calendars: u32,
    mix: Weights,
    /// Midnight after today, in UTC.
    first: i64,
    /// From one booking of a calendar to the next, in seconds.
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

    /// Empty for the type that every calendar has.
    fn type_id(&self) -> &'static str {
        if self.step == HOUR { "" } else { SHORT_TYPE }
    }

    fn calendar(&self, number: u32) -> String {
        format!("{}/{number}", self.prefix)
    }

    /// Makes the calendars, open around the clock.
    pub(super) async fn open(&self, server: &Server, channel: &Channel) -> Result<(), CallError> {
        self.of_each(server, "SetAvailability", |calendar_id| {
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

    /// Deletes them, with all that was booked.
    pub(super) async fn close(&self, server: &Server, channel: &Channel) -> Result<(), CallError> {
        self.of_each(server, "DeleteCalendar", |calendar_id| {
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

    async fn of_each<F>(
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
                server.answer(method, join(&mut running)).await??;
            }
            running.spawn(call(self.calendar(number)));
        }
        while !running.is_empty() {
            server.answer(method, join(&mut running)).await??;
        }
        Ok(())
    }

    /// One of so many workers, with its share of the calendars; where there are fewer calendars than workers, with its
    /// share of the times of one.
    pub(super) fn worker(&self, number: u32, of: u32, channel: Channel) -> LoadWorker {
        let own = (number % self.calendars..self.calendars)
            .step_by(of as usize)
            .map(|it| self.calendar(it));
        LoadWorker {
            own: own.collect(),
            first: self.first,
            step: self.step,
            type_id: self.type_id(),
            offset: number / self.calendars,
            stride: of.div_ceil(self.calendars),
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

async fn join(running: &mut JoinSet<Result<(), tonic::Status>>) -> Result<(), CallError> {
    match running.join_next().await {
        Some(Ok(Err(status))) => Err(CallError::Refused(Box::new(status))),
        Some(Err(error)) => Err(error.to_string().into()),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}

/// One call in flight, again and again.
pub(super) struct LoadWorker {
    own: Vec<String>,
    first: i64,
    step: i64,
    type_id: &'static str,
    /// Of its calendars it books the time of this step and of every `stride` after it.
    offset: u32,
    stride: u32,
    mix: Weights,
    /// What it booked and has not cancelled.
    booked: Vec<String>,
    /// Bookings that it asked for.
    asked: u32,
    turn: u32,
    health: HealthClient<Channel>,
    slots: SlotsServiceClient<Channel>,
    booking: BookingServiceClient<Channel>,
}

/// How a call was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// As it must be.
    Rightly,
    /// Otherwise, or not at all.
    Wrongly,
    /// The server has too much to do, and says after what time to come again.
    Overloaded(Duration),
}

impl CallEnd {
    /// That a call is answered at all is right.
    fn of<T>(answer: &Result<T, tonic::Status>) -> Self {
        match answer {
            Ok(_) => Self::Rightly,
            Err(status) => Self::of_error(status),
        }
    }

    fn of_error(status: &tonic::Status) -> Self {
        let is_overload = status
            .get_details_error_info()
            .is_some_and(|it| it.reason == "OVERLOADED");
        let again = status
            .get_details_retry_info()
            .and_then(|it| it.retry_delay);
        again
            .filter(|_| is_overload)
            .map_or(Self::Wrongly, Self::Overloaded)
    }
}

impl LoadWorker {
    /// Whether there is something left for it to do.
    pub(super) fn can(&self, phase: Phase) -> bool {
        let steps = usize::try_from(DAYS * DAY / self.step).unwrap_or(usize::MAX);
        let has_room = (self.asked as usize) < self.own.len() * (steps / self.stride as usize);
        match phase {
            Phase::Echo | Phase::List => true,
            Phase::Book | Phase::Overload | Phase::Mix => has_room,
            Phase::Refuse => self.asked > 0 || has_room,
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
                // A stride that shares no divisor with most sums spreads the kinds evenly.
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

    /// A slot that it has itself: the answer must be a refusal.
    async fn refuse(&mut self) -> CallEnd {
        if self.booked.is_empty() {
            return self.book().await;
        }
        let request = self.booking_of(self.asked - 1);
        match self.booking.book_appointment(request).await {
            Ok(_) => CallEnd::Wrongly,
            Err(status) if status.code() == tonic::Code::Aborted => CallEnd::Rightly,
            Err(status) => CallEnd::of_error(&status),
        }
    }

    async fn cancel(&mut self) -> CallEnd {
        let Some(appointment_id) = self.booked.pop() else {
            return CallEnd::Wrongly;
        };
        let request = pb::CancelAppointmentRequest {
            appointment_id,
            ..Default::default()
        };
        CallEnd::of(&self.booking.cancel_appointment(request).await)
    }
}
