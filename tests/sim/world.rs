//! What all of a run share: the clock, the order of things, the record, the trace. One thread has it all.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bookd::clock::{Clock, Reading};
use bookd::engine::{CLOCK_JUMP_MAX, CLOCK_STEADY};
use bookd_core::time::Instant;

use bookd_kit::calls::{Call, Outcome};
use bookd_kit::history::{Moment, Op};
use bookd_kit::watch_record::WatchRecord;

/// Monday the 1st of March 2027, 08:00 UTC: two weeks before the clocks change in New York, four before Paris.
pub const BEGINNING: i64 = 1_803_888_000;
/// So many seconds pass on the clock while one passes in the simulation, so that holds run out while others are made.
const PACE: u64 = 20;

/// The clocks of the simulated machine: both run with virtual time, and the wall clock jumps when it is told to. One
/// thread moves and reads them.
#[derive(Clone)]
pub struct SimClock(Arc<Shown>);

/// What they show, in seconds.
struct Shown {
    wall: AtomicI64,
    uptime: AtomicU64,
}

impl Clock for SimClock {
    fn read(&self) -> Reading {
        Reading {
            wall: Instant::from_seconds(self.0.wall.load(Ordering::Relaxed)),
            uptime: Duration::from_secs(self.0.uptime.load(Ordering::Relaxed)),
        }
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
    /// What it showed so when it was moved last.
    moved: Cell<i64>,
    /// The uptime of the last jump since the server started: the clock is not believed for a while after that.
    jumped_at: Cell<Option<u64>>,
    /// What the clock showed whenever it could be believed, from and to: no change may have another time.
    believed: RefCell<Vec<(i64, i64)>>,
    pub phase: Cell<Phase>,
    /// The last revision there is, known when all calls have ended.
    pub last: Cell<i64>,
    pub ops: RefCell<Vec<Op>>,
    pub watched: RefCell<Vec<WatchRecord>>,
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
            clock: SimClock(Arc::new(Shown {
                wall: AtomicI64::new(BEGINNING),
                uptime: AtomicU64::new(0),
            })),
            jumped: Cell::new(0),
            moved: Cell::new(0),
            jumped_at: Cell::new(None),
            believed: RefCell::new(vec![(BEGINNING, BEGINNING)]),
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
            let passed = u64::try_from(elapsed.as_millis()).unwrap() * PACE / 1_000;
            self.clock.0.uptime.store(passed, Ordering::Relaxed);
            let wall = BEGINNING + i64::try_from(passed).unwrap() + self.jumped.get();
            self.clock.0.wall.store(wall, Ordering::Relaxed);
            if (self.jumped.get() - self.moved.replace(self.jumped.get())).abs() > CLOCK_JUMP_MAX {
                self.jumped_at.set(Some(passed));
            }
            if self.is_steady() {
                let mut believed = self.believed.borrow_mut();
                match believed.last_mut() {
                    Some((_, to)) if (*to..=*to + 1).contains(&wall) => *to = wall,
                    _ => believed.push((wall, wall)),
                }
            }
        }
    }

    /// The server starts, and is told that the clock is right.
    pub fn confirm_clock(&self) {
        self.jumped_at.set(None);
        // It may write before time passes.
        self.believed.borrow_mut().push((self.now(), self.now()));
    }

    /// Whether the clock has run steadily for so long that it is believed.
    fn is_steady(&self) -> bool {
        let uptime = self.clock.0.uptime.load(Ordering::Relaxed);
        self.jumped_at
            .get()
            .is_none_or(|at| uptime >= at + CLOCK_STEADY.as_secs())
    }

    /// Whether a server must have seen that it has.
    pub fn is_steady_for_all(&self) -> bool {
        let uptime = self.clock.0.uptime.load(Ordering::Relaxed);
        self.jumped_at
            .get()
            .is_none_or(|at| uptime >= at + 3 * CLOCK_STEADY.as_secs())
    }

    /// R16: every change that did not wait for the clock to catch up was made at a time at which it could be believed.
    pub fn r16_no_jump_is_believed_at_once(
        &self,
        changes: impl Iterator<Item = (i64, i64)>,
    ) -> Vec<String> {
        let believed = self.believed.borrow();
        let mut before = i64::MIN;
        let is_wrong = |(_, time): &(i64, i64)| {
            let stands_still = std::mem::replace(&mut before, *time) == *time;
            !stands_still
                && !believed
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(time))
        };
        let wrong = changes.filter(is_wrong);
        wrong
            .map(|(revision, time)| format!("R16 revision {revision} believes the clock at {time}"))
            .collect()
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
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            text: Vec::new(),
            keeps_all,
        }
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
        let first = if self.keeps_all {
            0
        } else {
            self.text.len().saturating_sub(SHOWN)
        };
        self.text[first..].join("\n")
    }
}
