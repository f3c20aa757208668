//! The load of the soak: every worker has a calendar, makes calls of every kind, and undoes as much
//! as it does.
//!
//! The active appointments stay the same in number, so the server's resources must, too. Refusals
//! are part of the load; an undocumented answer is a failure, unless the server was killed.

use std::collections::VecDeque;
use std::sync::Arc;

use bookd::clock::{Clock, SystemClock};
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use prost_types::{Duration, Timestamp};
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::random::Chance;
use crate::soak_ledger::{Calls, Ledger};
use crate::words::{grace, rule, set_availability};

/// Workers, each with one call in flight.
pub const WORKERS: u64 = 16;
/// The hours of a year that are booked, one after the other and again from the first.
const HOURS: u64 = 8_000;
/// The appointments of a worker that are not cancelled yet.
const ACTIVE: usize = 50;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn calendar(worker: u64) -> String {
    format!("soak/{worker}")
}

/// Opens the calendars of all workers around the clock.
pub async fn open_calendars(channel: Channel) {
    for worker in 0..WORKERS {
        let request = set_availability(&calendar(worker), "UTC", vec![rule("00:00", "24:00")]);
        AvailabilityServiceClient::new(channel.clone())
            .set_availability(request)
            .await
            .unwrap();
    }
}

/// A worker, which makes one call after the other.
pub struct Worker {
    number: u64,
    round: u64,
    turn: u64,
    chance: Chance,
    channel: Channel,
    ledger: Arc<Mutex<Ledger>>,
    /// The appointments that it booked or held and has not cancelled.
    active: VecDeque<String>,
    /// The next midnight UTC, in seconds.
    first: i64,
}

/// The answer, or none in the inner option for a documented refusal; none in the outer option if
/// the server is gone.
fn known<T>(answer: Result<T, Status>) -> Option<Option<T>> {
    match answer {
        Ok(answer) => Some(Some(answer)),
        Err(status) => match status.code() {
            Code::Aborted | Code::FailedPrecondition | Code::NotFound => Some(None),
            // The connection broke, which tonic reports under several codes.
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
                if is_broken(&status) =>
            {
                None
            }
            _ => panic!("{status:?}"),
        },
    }
}

/// Errors of the server have details; those of a broken connection have none.
fn is_broken(status: &Status) -> bool {
    status.details().is_empty()
}

impl Worker {
    pub fn new(number: u64, round: u64, channel: Channel, ledger: Arc<Mutex<Ledger>>) -> Self {
        let first = (SystemClock.now().seconds() / DAY + 1) * DAY;
        let chance = Chance(round * 1_000 + number);
        Self {
            number,
            round,
            turn: 0,
            chance,
            channel,
            ledger,
            active: VecDeque::new(),
            first,
        }
    }

    /// Makes calls until the server is gone.
    pub async fn work(mut self, calls: Arc<Calls>) {
        // The calendar may have appointments of the round before: they are cancelled.
        if self.clear().await.is_none() {
            return;
        }
        while self.call().await.is_some() {
            calls.note();
        }
    }

    fn hour(&self, ahead: u64) -> Option<Timestamp> {
        let hour = i64::try_from((self.turn + ahead) % HOURS).unwrap();
        Some(Timestamp {
            seconds: self.first + hour * HOUR,
            nanos: 0,
        })
    }

    fn booking(&self) -> pb::BookAppointmentRequest {
        pb::BookAppointmentRequest {
            calendar_id: calendar(self.number),
            start_time: self.hour(0),
            invitee: grace(),
            note: "from the soak".to_owned(),
            request_id: format!("{}-{}-{}", self.round, self.number, self.turn),
            ..Default::default()
        }
    }

    async fn clear(&mut self) -> Option<()> {
        loop {
            let request = pb::ListAppointmentsRequest {
                calendar_id: calendar(self.number),
                page_size: 100,
                ..Default::default()
            };
            let page = known(
                ListServiceClient::new(self.channel.clone())
                    .list_appointments(request)
                    .await,
            )?;
            let page = page.unwrap().into_inner().appointments;
            if page.is_empty() {
                return Some(());
            }
            for appointment in page {
                self.cancel(appointment.appointment_id).await?;
            }
        }
    }

    async fn cancel(&mut self, appointment_id: String) -> Option<()> {
        let request = pb::CancelAppointmentRequest {
            appointment_id,
            ..Default::default()
        };
        known(
            BookingServiceClient::new(self.channel.clone())
                .cancel_appointment(request)
                .await,
        )
        .map(drop)
    }

    /// Makes one call, mostly a booking; cancels the oldest appointment if there are enough.
    async fn call(&mut self) -> Option<()> {
        self.turn += 1;
        if self.active.len() > ACTIVE
            && let Some(oldest) = self.active.pop_front()
        {
            self.cancel(oldest).await?;
        }
        match self.chance.below(20) {
            0..8 => self.book().await,
            8 => self.hold().await,
            9 => self.reschedule().await,
            10 => self.series().await,
            11 => self.batch().await,
            12 => self.watch().await,
            13 => self.watch_slots().await,
            14 => self.pages().await,
            15 => self.change_calendar().await,
            16 => self.busy().await,
            _ => self.read().await,
        }
    }

    async fn book(&mut self) -> Option<()> {
        let request = self.booking();
        let answer = known(
            BookingServiceClient::new(self.channel.clone())
                .book_appointment(request.clone())
                .await,
        )?;
        if let Some(answer) = answer {
            let answer = answer.into_inner();
            self.active
                .extend(answer.appointment.clone().map(|it| it.appointment_id));
            self.ledger.lock().await.note(request, answer);
        }
        Some(())
    }

    /// Holds a time; some holds are confirmed, some released, and some expire.
    async fn hold(&mut self) -> Option<()> {
        let mut client = BookingServiceClient::new(self.channel.clone());
        let request = pb::HoldAppointmentRequest {
            calendar_id: calendar(self.number),
            start_time: self.hour(0),
            ttl: Some(Duration {
                seconds: 1 + i64::try_from(self.chance.below(5)).unwrap(),
                nanos: 0,
            }),
            ..Default::default()
        };
        let Some(held) = known(client.hold_appointment(request).await)? else {
            return Some(());
        };
        let appointment_id = held.into_inner().appointment.unwrap().appointment_id;
        match self.chance.below(3) {
            0 => {
                let request = pb::ConfirmAppointmentRequest {
                    appointment_id: appointment_id.clone(),
                    invitee: grace(),
                    ..Default::default()
                };
                self.active.push_back(appointment_id);
                known(client.confirm_appointment(request).await).map(drop)
            }
            1 => {
                let request = pb::ReleaseHoldRequest {
                    appointment_id,
                    ..Default::default()
                };
                known(client.release_hold(request).await).map(drop)
            }
            _ => Some(()),
        }
    }

    async fn reschedule(&mut self) -> Option<()> {
        let Some(appointment_id) = self.active.back().cloned() else {
            return Some(());
        };
        let start_time = self.hour(HOURS / 2);
        let request = pb::RescheduleAppointmentRequest {
            appointment_id,
            start_time,
            ..Default::default()
        };
        known(
            BookingServiceClient::new(self.channel.clone())
                .reschedule_appointment(request)
                .await,
        )
        .map(drop)
    }

    async fn series(&mut self) -> Option<()> {
        let mut client = BookingServiceClient::new(self.channel.clone());
        let request = pb::BookSeriesRequest {
            calendar_id: calendar(self.number),
            start_time: self.hour(HOURS / 4),
            invitee: grace(),
            frequency: pb::Frequency::Daily.into(),
            count: Some(5),
            allow_partial: true,
            ..Default::default()
        };
        let Some(booked) = known(client.book_series(request).await)? else {
            return Some(());
        };
        let series_id = booked.into_inner().series_id;
        let request = pb::CancelSeriesRequest {
            series_id,
            scope: pb::SeriesScope::All.into(),
            ..Default::default()
        };
        known(client.cancel_series(request).await).map(drop)
    }

    async fn batch(&mut self) -> Option<()> {
        let one = |ahead: u64| pb::BookAppointmentRequest {
            request_id: String::new(),
            start_time: self.hour(HOURS / 3 + ahead),
            ..self.booking()
        };
        let request = pb::BatchBookRequest {
            requests: vec![one(0), one(1), one(2)],
            ..Default::default()
        };
        let answer = known(
            BookingServiceClient::new(self.channel.clone())
                .batch_book(request)
                .await,
        )?;
        let booked = answer
            .into_iter()
            .flat_map(|it| it.into_inner().appointments);
        for appointment in booked.collect::<Vec<_>>() {
            self.cancel(appointment.appointment_id).await?;
        }
        Some(())
    }

    /// Opens a watch, reads a change, and closes it.
    async fn watch(&mut self) -> Option<()> {
        let request = pb::WatchAppointmentsRequest {
            calendar_id: calendar(self.number),
            ..Default::default()
        };
        let opened = ListServiceClient::new(self.channel.clone())
            .watch_appointments(request)
            .await;
        let Some(stream) = known(opened)? else {
            return Some(());
        };
        let mut stream = stream.into_inner();
        known(stream.message().await)?;
        self.book().await?;
        known(stream.message().await).map(drop)
    }

    async fn watch_slots(&mut self) -> Option<()> {
        let request = pb::WatchSlotsRequest {
            calendar_id: calendar(self.number),
            start_time: self.hour(0),
            end_time: self.hour(24).map(|it| Timestamp {
                seconds: it.seconds.max(self.first + DAY),
                ..it
            }),
            ..Default::default()
        };
        if request.end_time.as_ref()?.seconds <= request.start_time.as_ref()?.seconds {
            return Some(());
        }
        let opened = SlotsServiceClient::new(self.channel.clone())
            .watch_slots(request)
            .await;
        let Some(stream) = known(opened)? else {
            return Some(());
        };
        known(stream.into_inner().message().await).map(drop)
    }

    async fn pages(&mut self) -> Option<()> {
        let mut client = ListServiceClient::new(self.channel.clone());
        let mut request = pb::ListAppointmentsRequest {
            calendar_id: calendar(self.number),
            page_size: 20,
            ..Default::default()
        };
        for _ in 0..5 {
            let page = known(client.list_appointments(request.clone()).await)?
                .unwrap()
                .into_inner();
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let changes = pb::ListChangesRequest {
            calendar_id: calendar(self.number),
            page_size: 50,
            ..Default::default()
        };
        known(client.list_changes(changes).await).map(drop)
    }

    async fn change_calendar(&mut self) -> Option<()> {
        let mut client = CalendarServiceClient::new(self.channel.clone());
        let calendar_id = format!("soak/{}/own", self.number);
        let create = pb::CreateCalendarRequest {
            calendar: Some(pb::Calendar {
                calendar_id: calendar_id.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        // The calendar may be there since before the kill.
        match client.create_calendar(create).await {
            Err(status) if status.code() == Code::AlreadyExists => {}
            other => drop(known(other)?),
        }
        let delete = pb::DeleteCalendarRequest {
            calendar_id,
            force: true,
            ..Default::default()
        };
        known(client.delete_calendar(delete).await).map(drop)
    }

    async fn busy(&mut self) -> Option<()> {
        let second = |at: i64| {
            Some(Timestamp {
                seconds: self.first + at,
                nanos: 0,
            })
        };
        let from = 9_000 * HOUR;
        let periods = (0..10).map(|at| {
            let start = from + at * HOUR;
            pb::Period {
                start_time: second(start),
                end_time: second(start + HOUR / 2),
            }
        });
        let request = pb::PutBusyRequest {
            calendar_id: calendar(self.number),
            source: "soak".to_owned(),
            start_time: second(from),
            end_time: second(from + DAY),
            periods: periods.collect(),
            ..Default::default()
        };
        known(
            AvailabilityServiceClient::new(self.channel.clone())
                .put_busy(request)
                .await,
        )
        .map(drop)
    }

    async fn read(&mut self) -> Option<()> {
        let (start_time, calendar_id) = (self.hour(0), calendar(self.number));
        let end_time = start_time.map(|it| Timestamp {
            seconds: it.seconds + DAY,
            ..it
        });
        let mut slots = SlotsServiceClient::new(self.channel.clone());
        match self.chance.below(4) {
            0 => {
                let request = pb::ListSlotsRequest {
                    calendar_id,
                    start_time,
                    end_time,
                    ..Default::default()
                };
                known(slots.list_slots(request).await).map(drop)
            }
            1 => {
                let request = pb::ExplainSlotRequest {
                    calendar_id,
                    start_time,
                    ..Default::default()
                };
                known(slots.explain_slot(request).await).map(drop)
            }
            2 => {
                let calendar_ids = (0..WORKERS).map(calendar).collect();
                let request = pb::QueryFreeBusyRequest {
                    calendar_ids,
                    start_time,
                    end_time,
                };
                known(slots.query_free_busy(request).await).map(drop)
            }
            _ => {
                let mut info = ServerInfoServiceClient::new(self.channel.clone());
                known(info.get_server_info(pb::GetServerInfoRequest {}).await).map(drop)
            }
        }
    }
}
