//! What the log says of a failure that comes again and again: a line at once, then one a second with how often, and one
//! when it is over.
//!
//! A full disk refuses hundreds of changes a second. A line for each would bury everything else, and fill the disk where
//! the log lies on it too.

use std::time::Duration;

use tokio::time::Instant as Deadline;

use crate::store::StoreError;
use bookd_core::ids::CalendarId;

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// A failure that lasts.
#[derive(Default)]
pub(super) struct Throttle {
    lasting: Option<Lasting>,
}

struct Lasting {
    since: Deadline,
    told: Deadline,
    /// What failed since the last line.
    untold: u64,
    all: u64,
    why: String,
}

/// A line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// So many failed since the last line.
    Fails { count: u64, why: String },
    /// It is over; so many failed in so many seconds.
    Over { count: u64, seconds: u64 },
}

impl Throttle {
    pub(super) const fn new() -> Self {
        Self { lasting: None }
    }

    /// So many failed at `now`, for this reason.
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
                    told: now,
                    untold: 0,
                    all: count,
                    why: why.clone(),
                });
                Some(Line::Fails { count, why })
            }
            Some(lasting) => {
                lasting.untold += count;
                lasting.all += count;
                lasting.why = why;
                self.due(now)
            }
        }
    }

    /// What is to be said at `now` though nothing new failed.
    pub(super) fn due(&mut self, now: Deadline) -> Option<Line> {
        let lasting = self
            .lasting
            .as_mut()
            .filter(|it| it.untold > 0 && now >= it.told + PAUSE)?;
        lasting.told = now;
        Some(Line::Fails {
            count: std::mem::take(&mut lasting.untold),
            why: lasting.why.clone(),
        })
    }

    /// What failed before went well at `now`.
    pub(super) fn went_well(&mut self, now: Deadline) -> Option<Line> {
        let Lasting { since, all, .. } = self.lasting.take()?;
        Some(Line::Over {
            count: all,
            seconds: now.duration_since(since).as_secs(),
        })
    }
}

/// What the log says of a store that does not do what the writer asks of it.
#[derive(Default)]
pub(super) struct StoreLog {
    refusals: Throttle,
    loads: Throttle,
}

impl StoreLog {
    /// It refused so many changes.
    pub(super) fn refused(&mut self, changes: usize, error: &StoreError) {
        say_refused(self.refusals.failed(changes, error, Deadline::now()));
    }

    /// It took changes.
    pub(super) fn took(&mut self) {
        say_refused(self.refusals.went_well(Deadline::now()));
    }

    /// It could not load this calendar. Others may be there: this is never over.
    pub(super) fn not_loaded(&mut self, calendar: &CalendarId, error: &StoreError) {
        say_not_loaded(
            self.loads
                .failed(1, format!("{calendar}: {error}"), Deadline::now()),
        );
    }

    /// Says what was not said yet and is due.
    pub(super) fn look(&mut self) {
        let now = Deadline::now();
        say_refused(self.refusals.due(now));
        say_not_loaded(self.loads.due(now));
    }
}

fn say_refused(line: Option<Line>) {
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

fn say_not_loaded(line: Option<Line>) {
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
        // Nobody asks for anything any more: what was not told is told once.
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
