//! The writer's side of the clock: it alone decides when a wall clock is believed, and stamps `now`
//! on changes.
//!
//! A clock that jumped, or is far ahead at the start, must first run steadily; until then changes
//! are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::{CLOCK_AHEAD_MAX, CLOCK_BEHIND_LOGGED, CLOCK_STEADY, EngineClock, is_jump};
use crate::clock::{Reading, whole_seconds};
use bookd_core::time::Instant;

/// The largest drift between both clocks at which a clock that must run steadily counts as steady,
/// in seconds.
const DRIFT_MAX: i64 = 5;
/// While changes are refused because of the clock, a line is logged at most once per pause.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Why the clock is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClockSuspect {
    /// At the start the clock was far ahead of the last commit, and nobody had confirmed it.
    #[error(
        "the clock shows {clock}, more than a day after the last commit at {last}; writing goes on after {} seconds of \
         steady running, or at once with --confirm-clock", CLOCK_STEADY.as_secs()
    )]
    Ahead { clock: Instant, last: Instant },
    /// The clock was set while the process ran.
    #[error(
        "the clock jumped by {step} seconds and shows {clock}; writing goes on after {} seconds of steady running, or \
         at once after a restart with --confirm-clock", CLOCK_STEADY.as_secs()
    )]
    Jumped { step: i64, clock: Instant },
}

/// A period in which the clock is not believed.
struct Doubt {
    why: ClockSuspect,
    /// The uptime at which the period began.
    since: Duration,
    /// The uptime of the last log line about it.
    logged: Duration,
    /// The number of refused changes.
    refused: usize,
    /// The number of jumps, the first one included.
    jumps: u32,
}

/// The writer's side of the clock: it alone decides whether the wall clock is believed.
pub(super) struct WriterClock {
    believed: Arc<EngineClock>,
    /// The reading since which the wall clock has run as the boot clock does.
    run: Reading,
    doubt: Option<Doubt>,
    is_behind: bool,
}

impl WriterClock {
    /// The clock at the start. With an empty store, whose last commit is at the epoch, any clock is
    /// believed.
    pub(super) fn new(believed: Arc<EngineClock>, is_confirmed: bool, last: Instant) -> Self {
        let run = believed.clock.read();
        let mut writer_clock = Self {
            believed,
            run,
            doubt: None,
            is_behind: false,
        };
        let is_first = last == Instant::default();
        if !is_confirmed && !is_first && run.wall.since(last) > CLOCK_AHEAD_MAX {
            writer_clock.doubt(
                ClockSuspect::Ahead {
                    clock: run.wall,
                    last,
                },
                run,
            );
        }
        writer_clock.tell_doubt();
        writer_clock
    }

    /// Reads the clock: `now` for a batch is `max(last, clock)`, if the clock is believed.
    pub(super) fn look(&mut self, last: Instant) -> Result<Instant, ClockSuspect> {
        let reading = self.believed.clock.read();
        self.compare(reading);
        self.tell_doubt();
        if let Some(doubt) = &mut self.doubt {
            doubt.log_again(reading);
            return Err(doubt.why.clone());
        }
        self.note_behind(reading.wall, last);
        Ok(self.believed.time_of(reading).max(last))
    }

    fn tell_doubt(&self) {
        self.believed
            .is_in_doubt
            .store(self.doubt.is_some(), Ordering::Relaxed);
    }

    /// `now` for reads, whether the clock is believed or not.
    pub(super) fn read_now(&self, last: Instant) -> Instant {
        self.believed.now().max(last)
    }

    /// Whether changes are refused because of the clock.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Counts changes that were refused because of the clock.
    pub(super) fn count_refused(&mut self, changes: usize) {
        if let Some(doubt) = &mut self.doubt {
            doubt.refused += changes;
        }
    }

    /// Compares the wall clock with the boot clock, and begins or ends a doubt.
    fn compare(&mut self, reading: Reading) {
        let drift = reading.boot_time().since(self.run.boot_time());
        let is_unsteady = self.doubt.is_some() && drift.saturating_abs() > DRIFT_MAX;
        if is_jump(drift) {
            self.doubt(
                ClockSuspect::Jumped {
                    step: drift,
                    clock: reading.wall,
                },
                reading,
            );
        } else if is_unsteady {
            self.run = reading;
        } else if reading.uptime.saturating_sub(self.run.uptime) >= CLOCK_STEADY {
            // The clock is believed anew each time, so that steps that are no jumps do not add up
            // to one.
            self.believed.believe(reading);
            self.run = reading;
            if let Some(doubt) = self.doubt.take() {
                doubt.log_end(reading);
            }
        }
    }

    /// Begins or continues a doubt: from this reading on the clock must run steadily.
    fn doubt(&mut self, why: ClockSuspect, reading: Reading) {
        self.run = reading;
        let jumps = u32::from(matches!(why, ClockSuspect::Jumped { .. }));
        match &mut self.doubt {
            Some(doubt) => (doubt.why, doubt.jumps) = (why, doubt.jumps.saturating_add(jumps)),
            None => {
                let expected = self.believed.expected(reading);
                let (since, logged) = (reading.uptime, reading.uptime);
                match why {
                    ClockSuspect::Ahead { clock, last } => tracing::warn!(
                        %clock, %last,
                        "the clock is more than a day after the last commit; changes are refused until it has run \
                         steadily for 60 seconds; if it is wrong, set it right now; --confirm-clock believes it at once"
                    ),
                    ClockSuspect::Jumped { step, clock } => tracing::warn!(
                        jumped_seconds = step, %clock, %expected,
                        "the clock jumped; changes are refused until it has run steadily for 60 seconds; if it is \
                         wrong, set it right now; a restart with --confirm-clock believes it at once"
                    ),
                }
                self.doubt = Some(Doubt {
                    why,
                    since,
                    logged,
                    refused: 0,
                    jumps,
                });
            }
        }
    }

    fn note_behind(&mut self, clock: Instant, last: Instant) {
        let behind_seconds = last.since(clock);
        let is_behind = behind_seconds > CLOCK_BEHIND_LOGGED;
        if is_behind && !self.is_behind {
            tracing::warn!(
                %clock, %last, behind_seconds,
                "the clock is behind the last commit; time stands still until it catches up; if the last commit was \
                 stamped by a wrong clock, stop the server and run `bookd clock reset`"
            );
        }
        self.is_behind = is_behind;
    }
}

impl Doubt {
    fn log_again(&mut self, reading: Reading) {
        if reading.uptime.saturating_sub(self.logged) < LOG_PAUSE {
            return;
        }
        self.logged = reading.uptime;
        let (refused, jumps, seconds) = (self.refused, self.jumps, self.seconds(reading));
        tracing::warn!(
            clock = %reading.wall, refused, jumps, seconds,
            "the clock is not believed yet, for it has not run steadily for 60 seconds; changes are refused"
        );
    }

    fn log_end(&self, reading: Reading) {
        let (refused, jumps, seconds) = (self.refused, self.jumps, self.seconds(reading));
        tracing::info!(
            clock = %reading.wall, refused, jumps, seconds,
            "the clock has run steadily and is believed; changes are taken again"
        );
    }

    /// How long the doubt has lasted, in whole seconds.
    fn seconds(&self, reading: Reading) -> i64 {
        whole_seconds(reading.uptime.saturating_sub(self.since))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::CLOCK_JUMP_MAX;
    use bookd_core::time::{DAY, HOUR};

    const LAST: Instant = Instant::from_seconds(1_800_000_000);

    /// A machine whose last commit was at `LAST`, and the lines that it logs.
    struct Machine {
        clock: ManualClock,
        believed: Arc<EngineClock>,
        writer_clock: WriterClock,
        log: Arc<Mutex<Vec<u8>>>,
    }

    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logging<T>(log: &Arc<Mutex<Vec<u8>>>, act: impl FnOnce() -> T) -> T {
        let writer = Arc::clone(log);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Log(Arc::clone(&writer)))
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(subscriber, act)
    }

    impl Machine {
        fn starting(now: Instant, is_confirmed: bool, last: Instant) -> Self {
            let (clock, log) = (ManualClock::new(now), Arc::default());
            let believed = Arc::new(EngineClock::new(Arc::new(clock.clone())));
            let writer_clock = logging(&log, || {
                WriterClock::new(Arc::clone(&believed), is_confirmed, last)
            });
            Self {
                clock,
                believed,
                writer_clock,
                log,
            }
        }

        /// A machine that starts right after the last commit.
        fn running() -> Self {
            let mut machine = Self::starting(LAST, false, LAST);
            assert_eq!(machine.look(), Ok(LAST));
            machine
        }

        fn look(&mut self) -> Result<Instant, ClockSuspect> {
            logging(&self.log, || self.writer_clock.look(LAST))
        }

        /// Lets seconds pass, with a reading after each.
        fn pass(&mut self, seconds: i64) -> Result<Instant, ClockSuspect> {
            (0..seconds)
                .map(|_| (self.clock.advance(1), self.look()).1)
                .last()
                .unwrap()
        }

        fn is_believed(&mut self) -> bool {
            self.look().is_ok()
        }

        /// The lines that were logged since the last call.
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(std::mem::take(&mut *self.log.lock().unwrap())).unwrap();
            text.lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    #[test]
    fn now_never_runs_backwards_and_the_log_says_when_it_stands_still_and_what_to_do() {
        let mut machine = Machine::starting(LAST.plus(-3_600), false, LAST);
        assert_eq!(machine.look(), Ok(LAST));
        assert_eq!(machine.pass(10), Ok(LAST));
        let lines = machine.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("WARN the clock is behind"),
            "{lines:?}"
        );
        assert!(
            lines[0].contains("bookd clock reset") && lines[0].contains("behind_seconds=3600"),
            "{lines:?}"
        );
        machine.clock.advance(3_600);
        assert_eq!(machine.look(), Ok(LAST.plus(10)));
    }

    #[test]
    fn a_jump_of_more_than_a_minute_either_way_is_logged_at_once_and_believed_after_a_minute_of_steady_running()
     {
        for jump in [
            23 * HOUR,
            -23 * HOUR,
            CLOCK_JUMP_MAX + 1,
            -CLOCK_JUMP_MAX - 1,
            3_650 * DAY,
        ] {
            let mut machine = Machine::running();
            machine.pass(100).unwrap();
            machine.clock.jump(jump);
            assert!(!machine.is_believed(), "{jump}");
            let lines = machine.lines();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with("WARN the clock jumped"), "{lines:?}");
            assert!(
                lines[0].contains(&format!("jumped_seconds={jump} ")),
                "{lines:?}"
            );
            assert!(
                lines[0].contains(&format!("expected={}", LAST.plus(100))),
                "{lines:?}"
            );
            assert!(machine.pass(59).is_err(), "{jump}");
            assert_eq!(machine.lines(), Vec::<String>::new());
            assert_eq!(machine.pass(1), Ok(LAST.max(LAST.plus(160 + jump))));
            let lines = machine.lines();
            assert!(
                lines[0].starts_with("INFO the clock has run steadily"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_step_of_a_minute_is_no_jump_and_many_small_steps_do_not_add_up_to_one() {
        for step in [CLOCK_JUMP_MAX, -CLOCK_JUMP_MAX] {
            let mut machine = Machine::running();
            for _ in 0..10 {
                machine.pass(60).unwrap();
                machine.clock.jump(step);
                assert!(machine.is_believed());
            }
        }
    }

    #[test]
    fn a_clock_that_runs_at_three_times_its_pace_is_a_jump_too() {
        let mut machine = Machine::running();
        let believed = (0..60)
            .take_while(|_| (machine.clock.jump(2), machine.pass(1)).1.is_ok())
            .count();
        assert_eq!(believed, 30);
    }

    #[test]
    fn while_the_clock_is_not_believed_reads_go_by_the_clock_of_the_boot() {
        for jump in [23 * HOUR, -23 * HOUR] {
            let mut machine = Machine::running();
            machine.clock.jump(jump);
            assert_eq!(machine.believed.now(), LAST, "before the writer has looked");
            assert!(machine.pass(30).is_err());
            assert_eq!(machine.believed.now(), LAST.plus(30));
            machine.pass(31).unwrap();
            assert_eq!(machine.believed.now(), LAST.plus(61 + jump));
        }
    }

    #[test]
    fn a_clock_that_comes_back_or_wavers_must_run_steadily_again_and_is_logged_once_a_minute() {
        let mut machine = Machine::running();
        machine.clock.jump(HOUR);
        assert!(machine.pass(50).is_err());
        machine.clock.jump(-HOUR);
        assert!(machine.pass(9).is_err());
        machine.writer_clock.count_refused(7);
        assert_eq!(machine.lines().len(), 1);
        assert!(machine.pass(40).is_err());
        machine.clock.jump(DRIFT_MAX + 1);
        assert!(machine.pass(60).is_err());
        let lines = machine.lines();
        assert_eq!(lines.len(), 2, "one a minute: {lines:?}");
        assert!(
            lines
                .iter()
                .all(|it| it.starts_with("WARN the clock is not believed yet")),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .all(|it| it.contains("refused=7") && it.contains("jumps=2")),
            "{lines:?}"
        );
        assert!(machine.pass(1).is_ok());
        let lines = machine.lines();
        assert!(
            lines[0].starts_with("INFO") && lines[0].contains("refused=7"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_start_more_than_a_day_ahead_is_logged_and_believed_after_a_minute_of_steady_running_and_not_before()
     {
        let mut machine = Machine::starting(LAST.plus(CLOCK_AHEAD_MAX + 1), false, LAST);
        let lines = machine.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("WARN the clock is more than a day after"),
            "{lines:?}"
        );
        assert!(!machine.is_believed());
        assert!(machine.pass(59).is_err());
        assert_eq!(machine.pass(1), Ok(LAST.plus(CLOCK_AHEAD_MAX + 61)));
        assert!(machine.lines()[0].starts_with("INFO"));
    }

    #[test]
    fn a_confirmed_start_an_empty_store_and_an_idle_or_suspended_weekend_are_believed_at_once() {
        assert!(Machine::starting(LAST.plus(9 * DAY), true, LAST).is_believed());
        assert!(Machine::starting(LAST, false, Instant::default()).is_believed());
        let mut idle = Machine::running();
        idle.clock.advance(3 * DAY);
        assert_eq!(idle.look(), Ok(LAST.plus(3 * DAY)));
        assert_eq!(idle.lines(), Vec::<String>::new());
    }

    #[test]
    fn a_jump_after_a_confirmed_start_is_not_confirmed_by_that() {
        let mut machine = Machine::starting(LAST, true, LAST);
        machine.clock.jump(2 * DAY);
        assert!(!machine.is_believed());
    }
}
