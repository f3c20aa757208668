//! What all of a run share: the clock, the order of things, the record, the trace. One thread has it all.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bookd::clock::Clock;
use bookd::domain::time::Instant;

use crate::proof::calls::{Call, Outcome};
use crate::proof::history::{Moment, Op};
use crate::proof::watched::Watched;

/// Monday the 1st of March 2027, 08:00 UTC: two weeks before the clocks change in New York, four before Paris.
pub const BEGINNING: i64 = 1_803_888_000;
/// So many seconds pass on the clock while one passes in the simulation, so that holds run out while others are made.
const PACE: u64 = 20;

/// The wall clock of the simulated machine: runs with virtual time, and jumps when it is told to.
#[derive(Clone)]
pub struct SimClock(Arc<AtomicI64>);

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Calendars are opened; nothing fails yet.
    Opening,
    /// Everything may fail.
    Faults,
    /// Nothing fails any more; everything must converge.
    Healed,
    /// All calls have their outcome; time stands still while everything is looked at.
    Settled,
    /// Looked at once; the server is to start again.
    Restarted,
    /// Watchers have seen all there is.
    Over,
}

pub struct World {
    pub clock: SimClock,
    /// What the clock shows beyond the time that has passed.
    pub jumped: Cell<i64>,
    pub phase: Cell<Phase>,
    /// The last revision there is, known when all calls have ended.
    pub last: Cell<i64>,
    pub ops: RefCell<Vec<Op>>,
    pub watched: RefCell<Vec<Watched>>,
    /// The appointments that anybody was told of.
    pub known: RefCell<Vec<String>>,
    /// What is wrong, in words.
    pub found: RefCell<Vec<String>>,
    pub trace: RefCell<Trace>,
    /// Clients that have not finished their calls.
    pub busy: Cell<usize>,
    moments: Cell<Moment>,
}

impl World {
    pub fn new(clients: usize) -> Rc<Self> {
        Rc::new(Self {
            clock: SimClock(Arc::new(AtomicI64::new(BEGINNING))),
            jumped: Cell::new(0),
            phase: Cell::new(Phase::Opening),
            last: Cell::new(0),
            ops: RefCell::default(),
            watched: RefCell::default(),
            known: RefCell::default(),
            found: RefCell::default(),
            trace: RefCell::default(),
            busy: Cell::new(clients),
            moments: Cell::new(0),
        })
    }

    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Moves the clock to where it is after so much virtual time; it stands still while things are looked at.
    pub fn pass(&self, elapsed: Duration) {
        if self.phase.get() < Phase::Settled {
            let passed = i64::try_from(elapsed.as_millis()).unwrap() * i64::try_from(PACE).unwrap() / 1_000;
            self.clock.0.store(BEGINNING + passed + self.jumped.get(), Ordering::Relaxed);
        }
    }

    fn moment(&self) -> Moment {
        self.moments.set(self.moments.get() + 1);
        self.moments.get()
    }

    /// Notes a call that is about to be sent; answers its place in the record.
    pub fn begin(&self, client: &str, call: Call) -> usize {
        self.tell(format_args!("{client} calls {call:?}"));
        let mut ops = self.ops.borrow_mut();
        ops.push(Op::new(client, call, self.moment()));
        ops.len() - 1
    }

    pub fn note(&self, op: usize, outcome: Outcome) {
        let at = self.moment();
        self.tell(format_args!("call {op} came to {outcome:?}"));
        if let Outcome::Done(answered) = &outcome {
            let mut known = self.known.borrow_mut();
            for it in &answered.appointments {
                if !known.contains(&it.appointment_id) {
                    known.push(it.appointment_id.clone());
                }
            }
        }
        self.ops.borrow_mut()[op].note(outcome, at);
    }

    pub fn find(&self, what: String) {
        self.tell(format_args!("FOUND {what}"));
        self.found.borrow_mut().push(what);
    }

    /// A line of the trace.
    pub fn tell(&self, what: std::fmt::Arguments<'_>) {
        self.trace.borrow_mut().line(turmoil::sim_elapsed(), what);
    }
}

/// Everything that happened, in order: its digest says whether two runs were the same.
pub struct Trace {
    digest: u64,
    lines: u64,
    /// The last lines, or all of them when they are to be read.
    text: Vec<String>,
    keeps_all: bool,
}

impl Default for Trace {
    fn default() -> Self {
        let keeps_all = std::env::var_os("BOOKD_SIM_TRACE").is_some();
        Self { digest: 0xcbf2_9ce4_8422_2325, lines: 0, text: Vec::new(), keeps_all }
    }
}

/// How many of the last lines are shown when a run has failed.
const SHOWN: usize = 60;

impl Trace {
    fn line(&mut self, at: Option<Duration>, what: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        write!(line, "{:>9.3} {what}", at.unwrap_or_default().as_secs_f64()).unwrap();
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if !self.keeps_all && self.text.len() == 2 * SHOWN {
            self.text.drain(..SHOWN);
        }
        self.text.push(line);
    }

    pub fn digest(&self) -> String {
        format!("{:016x} of {} lines", self.digest, self.lines)
    }

    pub fn shown(&self) -> String {
        let first = if self.keeps_all { 0 } else { self.text.len().saturating_sub(SHOWN) };
        self.text[first..].join("\n")
    }
}
