//! Random calls over the network, clock moves and restarts, from one seed each; the invariants are asked all along.
//!
//! No time is had twice; what is listed can be booked and what is not cannot; a restart changes nothing that shows;
//! no call, however odd, is answered with anything but a documented refusal.

use std::collections::BTreeMap;

use bookd::proto::v1 as pb;
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::harness::{Bookd, minutes};
use crate::words::{NOW, Refused, appointment_type, grace, rule, set_availability};

const STEPS: usize = 400;
const CALENDARS: [&str; 3] = ["ada", "lee", "room"];
const TYPES: [&str; 4] = ["default", "class", "ask", "short"];
const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// SplitMix64: the same seed, the same calls.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }

    pub fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// A run: the service, its chance, and every appointment that was acknowledged, as it was answered last.
struct Run {
    bookd: Bookd,
    chance: Chance,
    known: BTreeMap<String, pb::Appointment>,
    accepted: usize,
}

impl Run {
    fn start_time(&mut self) -> Option<Timestamp> {
        // Quarters of the hour of the next six days, so that many calls meet.
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

    /// Notes what a call was answered. Only documented refusals are allowed.
    fn note(&mut self, answer: Result<Option<pb::Appointment>, Status>) {
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

    async fn claim(&mut self) {
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

    async fn batch(&mut self) {
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

    /// Books a few days or weeks in a row, or calls off some of what was booked so.
    async fn series(&mut self) {
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

    async fn change(&mut self) {
        let (appointment_id, mut client) = (self.some_id(), self.bookd.booking());
        let answer = match self.chance.below(10) {
            0..=2 => {
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
        };
        self.note(answer);
    }

    async fn set_up(&mut self) {
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

    async fn open(&mut self, calendar_id: &str) {
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

    fn listing(&self, calendar_id: &str, kind: &str) -> pb::ListSlotsRequest {
        let now = self.bookd.clock_seconds();
        pb::ListSlotsRequest {
            calendar_id: calendar_id.into(),
            appointment_type_id: kind.into(),
            start_time: Some(Timestamp {
                seconds: now - DAY,
                nanos: 0,
            }),
            end_time: Some(Timestamp {
                seconds: now + 7 * DAY,
                nanos: 0,
            }),
            page_size: 1_000,
            ..Default::default()
        }
    }

    /// Everything that shows: offered slots of every type, and every appointment.
    async fn shown(&self) -> (Vec<Vec<pb::Slot>>, Vec<pb::Appointment>) {
        let mut slots = Vec::new();
        for calendar_id in CALENDARS {
            for kind in TYPES {
                slots.push(
                    self.bookd
                        .list(self.listing(calendar_id, kind))
                        .await
                        .unwrap(),
                );
            }
        }
        let mut appointments = Vec::new();
        for id in self.known.keys() {
            appointments.push(self.bookd.appointment(id).await);
        }
        (slots, appointments)
    }

    /// What is offered can be booked; a quarter of an hour that is not offered cannot.
    async fn expect_offers_are_kept(&mut self) {
        let (calendar_id, kind) = (self.chance.of(&CALENDARS), self.chance.of(&TYPES));
        let slots = self
            .bookd
            .list(self.listing(calendar_id, kind))
            .await
            .unwrap();
        let offered: Vec<i64> = slots
            .iter()
            .map(|slot| slot.start_time.unwrap().seconds)
            .collect();
        let first = self.bookd.clock_seconds().div_euclid(DAY) * DAY;
        let quarter = i64::try_from(self.chance.below(96)).unwrap() * 15 * MINUTE;
        let asked = offered
            .iter()
            .copied()
            .take(12)
            .chain((0..4).map(|day| first + day * DAY + quarter));
        for seconds in asked {
            let request = pb::BookAppointmentRequest {
                calendar_id: calendar_id.into(),
                appointment_type_id: kind.into(),
                start_time: Some(Timestamp { seconds, nanos: 0 }),
                invitee: grace(),
                validate_only: true,
                ..Default::default()
            };
            let answer = self.bookd.book(request).await;
            assert_eq!(
                answer.is_ok(),
                offered.contains(&seconds),
                "{calendar_id} {kind} {seconds}: {answer:?}"
            );
        }
    }
}

fn is_active(appointment: &pb::Appointment) -> bool {
    use pb::AppointmentState as S;
    matches!(
        appointment.state(),
        S::Held | S::Confirmed | S::NoShow | S::Completed
    )
}

/// No two active appointments of a calendar meet, buffers included, but for the seats of one session.
fn expect_no_time_is_had_twice(appointments: &[pb::Appointment]) {
    let seconds = |duration: Option<prost_types::Duration>| duration.unwrap_or_default().seconds;
    let active: Vec<_> = appointments.iter().filter(|it| is_active(it)).collect();
    for (index, one) in active.iter().enumerate() {
        for two in &active[..index] {
            let shares = one
                .calendar_ids
                .iter()
                .any(|id| two.calendar_ids.contains(id));
            let is_session = one.appointment_type_id == "class"
                && two.appointment_type_id == "class"
                && (one.start_time, one.end_time) == (two.start_time, two.end_time);
            // Buffers shown are the first calendar's; of several calendars the plain times must be apart at least.
            let is_plain = one.calendar_ids.len() > 1 || two.calendar_ids.len() > 1;
            let padded = |it: &pb::Appointment| {
                let (before, after) = if is_plain {
                    (0, 0)
                } else {
                    (seconds(it.buffer_before), seconds(it.buffer_after))
                };
                (
                    it.start_time.unwrap().seconds - before,
                    it.end_time.unwrap().seconds + after,
                )
            };
            let ((from, to), (other_from, other_to)) = (padded(one), padded(two));
            assert!(
                !shares || is_session || to <= other_from || other_to <= from,
                "{one:?}\n{two:?}"
            );
        }
    }
}

async fn run(seed: u64) {
    let bookd = Bookd::start_at(NOW).await;
    let mut run = Run {
        bookd,
        chance: Chance(seed),
        known: BTreeMap::new(),
        accepted: 0,
    };
    for calendar_id in CALENDARS {
        run.open(calendar_id).await;
    }
    for step in 1..=STEPS {
        match run.chance.below(20) {
            0..=7 => run.claim().await,
            8 | 9 => run.series().await,
            10 => run.batch().await,
            11..=15 => run.change().await,
            16 | 17 => run.set_up().await,
            18 => run.expect_offers_are_kept().await,
            _ => {
                let seconds = run.chance.of(&[1, 60, 300, 3_600, 40_000]);
                run.bookd.advance(seconds).await;
            }
        }
        if step % 100 == 0 {
            let before = run.shown().await;
            expect_no_time_is_had_twice(&before.1);
            let revision = run.bookd.revision().await;
            run.bookd = run.bookd.restart().await;
            assert_eq!(
                run.bookd.revision().await,
                revision,
                "seed {seed}, step {step}"
            );
            assert!(
                run.shown().await == before,
                "a restart changed what shows: seed {seed}, step {step}"
            );
        }
    }
    assert!(
        run.accepted > STEPS / 10,
        "seed {seed}: hardly anything was accepted: {}",
        run.accepted
    );
    run.bookd.stop().await;
}

#[tokio::test]
async fn random_calls_keep_every_invariant() {
    // BOOKD_SEEDS=first..last tries others.
    let seeds = std::env::var("BOOKD_SEEDS").unwrap_or_else(|_| "1..4".to_owned());
    let (first, last) = seeds.split_once("..").unwrap();
    for seed in first.parse().unwrap()..last.parse().unwrap() {
        run(seed).await;
    }
}
