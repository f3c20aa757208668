//! Random calls, clock moves and restarts over the network, one run a seed, with checks in between.
//!
//! No time is booked twice; a listed slot can be booked and one that is not listed cannot; a
//! restart changes nothing that is shown; a refusal is a documented one.

use std::collections::BTreeMap;

use bookd::proto::v1 as pb;
use prost_types::Timestamp;

use crate::harness::Bookd;
use crate::words::{NOW, grace};

const STEPS: usize = 400;
pub const CALENDARS: [&str; 3] = ["ada", "lee", "room"];
pub const TYPES: [&str; 4] = ["default", "class", "ask", "short"];
pub const MINUTE: i64 = 60;
pub const DAY: i64 = 24 * 60 * MINUTE;

/// SplitMix64: the same seed gives the same calls.
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

/// A run: the service, its source of chance, and the last answer for each acknowledged appointment.
pub struct Run {
    pub bookd: Bookd,
    pub chance: Chance,
    pub known: BTreeMap<String, pb::Appointment>,
    pub accepted: usize,
}

impl Run {
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

    /// All that clients see: the slots of every calendar and type, and every appointment.
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

    /// Listed slots can be booked; quarters of an hour that are not listed cannot.
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

/// No two active appointments of a calendar overlap, buffers included, except seats of one session.
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
            // An appointment shows the buffers of its first calendar alone: where one has several
            // calendars, only the times without buffers are compared.
            let is_plain = one.calendar_ids.len() > 1 || two.calendar_ids.len() > 1;
            let padded = |appointment: &pb::Appointment| {
                let (before, after) = if is_plain {
                    (0, 0)
                } else {
                    (
                        seconds(appointment.buffer_before),
                        seconds(appointment.buffer_after),
                    )
                };
                (
                    appointment.start_time.unwrap().seconds - before,
                    appointment.end_time.unwrap().seconds + after,
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
                "a restart changed what clients see: seed {seed}, step {step}"
            );
        }
    }
    assert!(
        run.accepted > STEPS / 10,
        "seed {seed}: few calls were accepted: {}",
        run.accepted
    );
    run.bookd.stop().await;
}

#[tokio::test]
async fn random_calls_keep_every_invariant() {
    // BOOKD_SEEDS=first..last runs other seeds.
    let seeds = std::env::var("BOOKD_SEEDS").unwrap_or_else(|_| "1..4".to_owned());
    let (first, last) = seeds.split_once("..").unwrap();
    for seed in first.parse().unwrap()..last.parse().unwrap() {
        run(seed).await;
    }
}
