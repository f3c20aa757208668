//! The fuzz target whose bytes are sequences of calls, judged at the end like every other proof.

use std::sync::Arc;

use bookd::api::Routes;
use bookd::api::stack::{self, GrpcStack};
use bookd::clock::{Clock, ManualClock};
use bookd::engine::{CLOCK_STEADY, Engine, REQUEST_MEMORY};
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::memory::Memory;
use bookd::store::{Store, WatchFilter, ZoneLookup};
use bookd_core::log::LogPosition;
use bookd_core::time::Instant;

use super::caller::{CALENDARS, Caller, TYPES};
use super::calls::Outcome;
use super::chance::Chance;
use super::fuzzed::{NOW, is_of_the_contract, runtime, service_on, zones};
use super::history::{self, Op};
use super::log::{Log, is_expiry, number};
use super::panics::{note_panics, r11_nothing_panics};
use super::slot_probe::{ProbedSlots, probe};
use super::watch_record::from_the_beginning;

pub(super) const DAY: i64 = 86_400;
/// The most calls of one input.
const CALLS_MAX: usize = 48;
/// How many calls open the first calendar.
const OPENING: usize = 5;
/// One slot in so many is probed, and one in so many of the other quarters of an hour.
const SAMPLE: usize = 11;
/// Seconds by which the clock is moved: a moment, past a hold, past days, and back.
const MOVES: [i64; 8] = [1, 59, 121, 901, 3_600, DAY, 8 * DAY, -3_600];

/// A service on a store in memory with a manual clock, and every call that was sent to it.
pub(super) struct Life {
    store: Memory,
    clock: Arc<ManualClock>,
    pub(super) engine: Engine,
    pub(super) service: GrpcStack<Routes>,
    caller: Caller,
    pub(super) ops: Vec<Op>,
}

impl Life {
    /// Starts a service and sends so many of the calls that open calendars.
    pub(super) async fn begin(opening: usize) -> Self {
        note_panics();
        let store = Memory::new(7);
        let clock = Arc::new(ManualClock::new(Instant::from_seconds(NOW)));
        let (engine, routes) = service_on(store.clone(), Arc::clone(&clock)).await;
        let caller = Caller::new("fuzz", Chance(7));
        let mut life = Self {
            store,
            clock,
            engine,
            service: stack::alone(routes),
            caller,
            ops: Vec::new(),
        };
        for call in life.caller.opening().into_iter().take(opening) {
            life.ops.push(Op::new("fuzz", call, 0));
            life.send(life.ops.len() - 1).await;
        }
        life
    }

    /// The current moment: the number of outcomes so far.
    pub(super) fn moment(&self) -> u64 {
        self.ops.iter().map(|it| it.outcomes.len() as u64).sum()
    }

    /// Sends the call at this index of `ops`, for the first time or again.
    pub(super) async fn send(&mut self, op: usize) {
        let call = self.ops[op].call.clone();
        let before = self.engine.revision();
        let outcome = match call.send(&self.service).await {
            Ok(answered) => {
                self.caller.learn(&call, &answered);
                self.caller.known.extend(
                    answered
                        .appointments
                        .iter()
                        .map(|it| it.appointment_id.clone()),
                );
                Outcome::Done(answered)
            }
            Err(status) => {
                is_of_the_contract(call.name(), &status);
                // Whichever call comes first records what has expired; an error makes no other
                // change.
                let mut reader = self.store.reader().unwrap();
                let from = LogPosition::after(before);
                let made = reader
                    .changes_from(from, &WatchFilter::ALL, PART_EVENTS_MAX)
                    .unwrap()
                    .changes;
                let is_quiet = made.iter().all(|it| is_expiry(&it.entry));
                assert!(is_quiet, "{}: {status:?} {made:?}", call.name());
                Outcome::of_status(&status)
            }
        };
        let moment = self.moment();
        self.ops[op].note(outcome, moment);
    }

    pub(super) async fn call(&mut self, seed: u64) {
        self.caller.chance = Chance(seed);
        let moment = self.moment();
        let call = self.caller.any(self.clock.now().seconds());
        self.ops.push(Op::new("fuzz", call, moment));
        self.send(self.ops.len() - 1).await;
    }

    /// Asserts R8 for the slots of two days.
    async fn try_slots(&self, calendar: &str, of_type: &str) {
        let wanted = ProbedSlots {
            calendar,
            of_type,
            now: self.engine.now().seconds(),
            days: 2,
        };
        // The calendar may be deleted; then there is nothing to probe.
        let Ok((_, found)) = probe(&self.service, wanted, SAMPLE).await else {
            return;
        };
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// Lets the clock run steadily until the engine believes it.
    async fn settle(&self) {
        self.engine.tick().await.unwrap();
        self.clock
            .advance(i64::try_from(CLOCK_STEADY.as_secs()).unwrap());
        self.engine.tick().await.unwrap();
    }

    async fn judge(mut self) {
        self.settle().await;
        self.try_slots(CALENDARS[0], TYPES[0]).await;
        self.try_slots(CALENDARS[0], TYPES[1]).await;
        let watched = from_the_beginning(&self.service, number(self.engine.revision())).await;
        let zones = zones();
        let lookup: ZoneLookup = Arc::new(move |name| zones.zone(name).ok());
        let report =
            bookd::admin::check::check(&mut self.store, None, &lookup, self.engine.now(), |_| ())
                .unwrap();
        let is_long = self.engine.now().max(self.clock.now()).seconds() - NOW >= REQUEST_MEMORY;
        let store = &mut self.store;
        let log = if is_long {
            Log::read_of_a_long_life(store)
        } else {
            Log::read(store, &self.ops)
        };
        let mut found: Vec<String> = report
            .invariants
            .into_iter()
            .flat_map(|it| it.findings)
            .collect();
        found.extend(r11_nothing_panics());
        found.extend(history::check(&self.ops, &watched, &log));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Bytes as a sequence of steps of three bytes: a call that the bytes choose, an earlier call once
/// more, or a move of the clock.
pub fn commands(bytes: &[u8]) {
    runtime().block_on(async {
        let mut life = Life::begin(OPENING).await;
        for step in bytes.chunks_exact(3).take(CALLS_MAX) {
            let number = u64::from(u16::from_be_bytes([step[1], step[2]]));
            match step[0] {
                0..32 => life
                    .clock
                    .advance(MOVES[usize::from(step[0]) % MOVES.len()]),
                32..64 => {
                    let op = usize::try_from(number).unwrap() % life.ops.len();
                    life.send(op).await;
                }
                // A seed is never zero.
                _ => life.call(number + 1).await,
            }
        }
        life.judge().await;
    });
}

/// An input of `commands`, as a seed for the fuzzer.
pub fn some_commands(seed: u64) -> Vec<u8> {
    let mut chance = Chance(seed + 1);
    (0..3 * CALLS_MAX)
        .map(|_| chance.next_number().to_le_bytes()[3])
        .collect()
}
