//! The shared state of a run: clock, phase, record of calls and trace. One thread has all of it.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bookd::clock::{Clock, Reading};
use bookd::engine::{CLOCK_JUMP_MAX, CLOCK_STEADY, Engine, EngineStatus, TenantQuotas};
use bookd_core::time::Instant;

use bookd_kit::calls::{Call, Outcome};
use bookd_kit::history::{Moment, Op};
use bookd_kit::watch_record::WatchRecord;

/// Monday the 1st of March 2027, 08:00 UTC: two weeks before the clocks change in New York, four
/// before Paris.
pub const BEGINNING: i64 = 1_803_888_000;
/// Seconds that pass on the clock in one second of the simulation, so that holds expire while
/// others are made.
const PACE: u64 = 20;

/// The clocks of the simulated machine: both run with virtual time, and faults let the wall clock
/// jump. One thread moves and reads them.
#[derive(Clone)]
pub struct SimClock(Arc<Shown>);

/// The readings of both clocks, in seconds.
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

/// The phases of a run, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Calendars are opened; nothing fails yet.
    Opening,
    /// Everything may fail.
    Faults,
    /// Nothing fails any more; everything must converge.
    Healed,
    /// All calls have their outcome; time stands still while everything is checked.
    Settled,
    /// Everything was checked once; the server is to start again.
    Restarted,
    /// Everything was checked; watchers read to the end.
    Over,
}

/// What the last server counted of tenants, and the revision up to which it did.
struct Counting {
    quotas: TenantQuotas,
    status: EngineStatus,
}

pub struct World {
    counted: RefCell<Option<Counting>>,
    pub clock: SimClock,
    /// Seconds by which the wall clock is ahead of the virtual time.
    pub jumped: Cell<i64>,
    /// The value of `jumped` when the clock was moved last.
    moved: Cell<i64>,
    /// The uptime of the last jump since the server started: the clock is not believed for a while
    /// after that.
    jumped_at: Cell<Option<u64>>,
    /// The times, from and to, at which the clock could be believed: no change may have another
    /// time.
    believed: RefCell<Vec<(i64, i64)>>,
    pub phase: Cell<Phase>,
    /// The newest revision, known when all calls have ended.
    pub last: Cell<i64>,
    pub ops: RefCell<Vec<Op>>,
    pub watched: RefCell<Vec<WatchRecord>>,
    /// The ids of all appointments that an answer has named.
    pub known: RefCell<Vec<String>>,
    /// Descriptions of everything that is wrong.
    pub found: RefCell<Vec<String>>,
    pub trace: RefCell<Trace>,
    /// Clients that have not finished their calls.
    pub busy: Cell<usize>,
    moments: Cell<Moment>,
}

impl World {
    pub fn new(clients: usize) -> Rc<Self> {
        Rc::new(Self {
            counted: RefCell::default(),
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

    /// What a server has counted of tenants change by change must be what the next one counts from
    /// the store, where that has the same last change.
    pub fn hold_to_the_last_count(&self, started: &Engine) {
        let next = Counting {
            quotas: started.quotas(),
            status: started.status(),
        };
        let Some(last) = self.counted.replace(Some(next)) else {
            return;
        };
        if last.status.revision() == started.revision() {
            let now = started.now();
            let (counted, stored) = (last.quotas.usage(now), started.quotas().usage(now));
            if counted != stored {
                self.find(format!(
                    "{counted:?} are counted of tenants, not {stored:?}"
                ));
            }
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Moves the clocks to this virtual time; they stand still from `Settled` on.
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

    /// Notes that the server starts with a confirmed clock.
    pub fn confirm_clock(&self) {
        self.jumped_at.set(None);
        // The server may write before time passes.
        self.believed.borrow_mut().push((self.now(), self.now()));
    }

    /// Whether the clock has run steadily for so long that it is believed.
    fn is_steady(&self) -> bool {
        let uptime = self.clock.0.uptime.load(Ordering::Relaxed);
        self.jumped_at
            .get()
            .is_none_or(|at| uptime >= at + CLOCK_STEADY.as_secs())
    }

    /// Whether every server must have seen by now that the clock is steady.
    pub fn is_steady_for_all(&self) -> bool {
        let uptime = self.clock.0.uptime.load(Ordering::Relaxed);
        self.jumped_at
            .get()
            .is_none_or(|at| uptime >= at + 3 * CLOCK_STEADY.as_secs())
    }

    /// R16: every change was made at a time at which the clock could be believed, or at the time of
    /// the change before it, while the clock caught up.
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

    /// Records a call that is about to be sent, and answers its index.
    pub fn begin(&self, client: &str, call: Call) -> usize {
        self.trace(format_args!("{client} calls {call:?}"));
        let mut ops = self.ops.borrow_mut();
        ops.push(Op::new(client, call, self.moment()));
        ops.len() - 1
    }

    pub fn note(&self, op: usize, outcome: Outcome) {
        let at = self.moment();
        self.trace(format_args!("call {op} came to {outcome:?}"));
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
        self.trace(format_args!("FOUND {what}"));
        self.found.borrow_mut().push(what);
    }

    /// Adds a line to the trace.
    pub fn trace(&self, what: std::fmt::Arguments<'_>) {
        self.trace.borrow_mut().line(turmoil::sim_elapsed(), what);
    }
}

/// Everything that happened, in order. Two runs are the same if their digests are.
pub struct Trace {
    digest: u64,
    lines: u64,
    /// The last lines, or with `BOOKD_SIM_TRACE` all of them.
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

/// The number of lines that are shown of a failed run.
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
