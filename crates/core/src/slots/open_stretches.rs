//! The stretches of open time that a search passes, each with the last start whose slot stays open.
//!
//! Questions go forward in time. Stretches are read one local date at a time, and no more of them
//! than a slot needs that begins in the asked one.

use std::collections::VecDeque;

use crate::calendar::open_time::{OpenTime, Stretch};
use crate::time::Instant;

/// The stretches of open time around the last question, and the last start in them whose slot stays
/// open.
pub(crate) struct OpenStretches<'a> {
    time: OpenTime<'a>,
    /// The stretch of the last question and those read after it.
    stretches: VecDeque<Stretch>,
    /// How many of the stretches after the first follow each other without a gap.
    joined: usize,
    /// The end of the open time without a gap, as far as stretches were read.
    run_end: Instant,
    duration_seconds: i64,
}

impl<'a> OpenStretches<'a> {
    /// The open time of a search for slots of this duration.
    pub(crate) fn new(time: OpenTime<'a>, duration_seconds: i64) -> Self {
        Self {
            time,
            stretches: VecDeque::new(),
            joined: 0,
            run_end: Instant::MIN,
            duration_seconds,
        }
    }

    /// The stretch of the last question.
    pub(crate) fn front(&self) -> Option<&Stretch> {
        self.stretches.front()
    }

    /// The stretch that contains `at`, or else the next one, and the last start whose slot is open
    /// to its end.
    pub(crate) fn at(&mut self, at: Instant) -> Option<(&Stretch, Instant)> {
        loop {
            match self.stretches.front() {
                Some(stretch) if stretch.interval.end > at => break,
                Some(_) => {
                    self.stretches.pop_front();
                    self.joined = self.joined.saturating_sub(1);
                }
                None => {
                    self.joined = 0;
                    if !self.time.fill(&mut self.stretches) {
                        return None;
                    }
                }
            }
        }
        let stretch = self.stretches.front()?.interval;
        if stretch.start > self.run_end {
            self.joined = 0;
            self.run_end = stretch.end;
        }
        self.run_end = self.run_end.max(stretch.end);
        let wanted = stretch.end.plus(self.duration_seconds);
        while self.run_end < wanted {
            if let Some(next) = self.stretches.get(self.joined + 1) {
                if next.interval.start > self.run_end {
                    break;
                }
                self.run_end = next.interval.end;
                self.joined += 1;
                continue;
            }
            // A stretch that begins before the time that is read ends is there already.
            if self.run_end < self.time.reached() || !self.time.fill(&mut self.stretches) {
                break;
            }
        }
        let last_start = self.run_end.plus(-self.duration_seconds);
        Some((self.stretches.front()?, last_start))
    }
}
