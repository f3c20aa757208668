//! Log lines for a failure that repeats: one at once, then one a second with the count, and one
//! when it is over.
//!
//! A full disk refuses hundreds of changes a second. A line for each would bury all others, and
//! would fill a disk that the log is on too.

use std::time::Duration;

use tokio::time::Instant as Deadline;

use crate::store::StoreError;
use bookd_core::ids::CalendarId;

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// The lines of one kind of failure.
#[derive(Default)]
pub(super) struct Throttle {
    lasting: Option<Lasting>,
}

struct Lasting {
    since: Deadline,
    logged: Deadline,
    /// The number of failures since the last line.
    unlogged: u64,
    total: u64,
    why: String,
}

/// A line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// The failures since the last line, and the reason of the last one.
    Fails { count: u64, why: String },
    /// The failure is over; all failures, and the seconds that it lasted.
    Over { count: u64, seconds: u64 },
}

impl Throttle {
    pub(super) const fn new() -> Self {
        Self { lasting: None }
    }

    /// Counts failures at `now`. Returns a line if one is due.
    pub(super) fn failed(
        &mut self,
        count: usize,
        why: impl ToString,
        now: Deadline,
    ) -> Option<Line> {
        let count = count as u64;
        let why = why.to_string();
        match &mut self.lasting {
            None => {
                self.lasting = Some(Lasting {
                    since: now,
                    logged: now,
                    unlogged: 0,
                    total: count,
                    why: why.clone(),
                });
                Some(Line::Fails { count, why })
            }
            Some(lasting) => {
                lasting.unlogged += count;
                lasting.total += count;
                lasting.why = why;
                self.due(now)
            }
        }
    }

    /// The line that is due at `now` though nothing new failed, if any.
    pub(super) fn due(&mut self, now: Deadline) -> Option<Line> {
        let lasting = self
            .lasting
            .as_mut()
            .filter(|it| it.unlogged > 0 && now >= it.logged + PAUSE)?;
        lasting.logged = now;
        Some(Line::Fails {
            count: std::mem::take(&mut lasting.unlogged),
            why: lasting.why.clone(),
        })
    }

    /// Ends the failure, if there was one.
    pub(super) fn went_well(&mut self, now: Deadline) -> Option<Line> {
        let Lasting { since, total, .. } = self.lasting.take()?;
        Some(Line::Over {
            count: total,
            seconds: now.duration_since(since).as_secs(),
        })
    }
}

/// Log lines about a store that refuses changes or cannot load calendars.
#[derive(Default)]
pub(super) struct StoreLog {
    refusals: Throttle,
    loads: Throttle,
}

impl StoreLog {
    /// The store refused changes.
    pub(super) fn refused(&mut self, changes: usize, error: &StoreError) {
        log_refused(self.refusals.failed(changes, error, Deadline::now()));
    }

    /// The store took changes.
    pub(super) fn took(&mut self) {
        log_refused(self.refusals.went_well(Deadline::now()));
    }

    /// The store could not load a calendar. This has no end: other calendars may load well
    /// meanwhile.
    pub(super) fn not_loaded(&mut self, calendar: &CalendarId, error: &StoreError) {
        log_not_loaded(
            self.loads
                .failed(1, format!("{calendar}: {error}"), Deadline::now()),
        );
    }

    /// Writes the lines that are due.
    pub(super) fn flush(&mut self) {
        let now = Deadline::now();
        log_refused(self.refusals.due(now));
        log_not_loaded(self.loads.due(now));
    }
}

fn log_refused(line: Option<Line>) {
    match line {
        Some(Line::Fails { count, why }) => {
            tracing::warn!(error = %why, changes = count, "the store refused changes; nothing of them happened");
        }
        Some(Line::Over { count, seconds }) => {
            tracing::info!(refused = count, seconds, "the store takes changes again");
        }
        None => {}
    }
}

fn log_not_loaded(line: Option<Line>) {
    if let Some(Line::Fails { count, why }) = line {
        tracing::warn!(error = %why, times = count, "a calendar cannot be loaded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(count: u64, why: &str) -> Option<Line> {
        Some(Line::Fails {
            count,
            why: why.to_owned(),
        })
    }

    #[test]
    fn what_fails_hundreds_of_times_a_second_is_one_line_a_second_and_none_is_uncounted() {
        let (mut throttle, begun) = (Throttle::default(), Deadline::now());
        let at = |milliseconds: u64| begun + Duration::from_millis(milliseconds);
        let lines: Vec<Line> = (0..4_000)
            .filter_map(|it| throttle.failed(1, "full", at(it * 5 / 2)))
            .collect();
        assert_eq!(lines.len(), 10, "in ten seconds: {lines:?}");
        let count = |line: &Line| {
            if let Line::Fails { count, .. } = line {
                *count
            } else {
                0
            }
        };
        assert_eq!((count(&lines[0]), count(&lines[1])), (1, 400));
        // After the last failure the rest is logged once.
        assert_eq!(
            throttle.due(at(10_500)),
            fails(4_000 - lines.iter().map(count).sum::<u64>(), "full")
        );
        assert_eq!(throttle.due(at(20_000)), None);
        assert_eq!(
            throttle.went_well(at(21_000)),
            Some(Line::Over {
                count: 4_000,
                seconds: 21
            })
        );
        assert_eq!(throttle.went_well(at(22_000)), None);
    }

    #[test]
    fn what_fails_once_is_said_at_once_and_with_its_own_reason() {
        let (mut throttle, begun) = (Throttle::default(), Deadline::now());
        assert_eq!(throttle.failed(3, "busy", begun), fails(3, "busy"));
        assert_eq!(throttle.failed(2, "full", begun), None);
        assert_eq!(throttle.due(begun + PAUSE), fails(2, "full"));
        assert!(throttle.went_well(begun + PAUSE).is_some());
        assert_eq!(
            throttle.failed(1, "busy", begun + PAUSE),
            fails(1, "busy"),
            "it begins anew"
        );
    }
}
