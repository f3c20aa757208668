//! Log lines of refused calls: who called what, and why it was refused.
//!
//! The same refusal is logged at once and then once in [`PAUSE`] with how often it was since. A line
//! has nothing of the call's contents, and no name that may be a customer's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::mem::take;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::error::AuthError;

/// The least time between two lines of one refusal.
const PAUSE: Duration = Duration::from_secs(10);
/// The most refusals that are told apart; further ones are counted together.
const REFUSALS_MAX: usize = 1_000;
/// The caller of further refusals.
const OTHERS: &str = "others";

/// A refusal, as it is told apart from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RefusedCall {
    /// Empty for a caller who is not known.
    caller: String,
    method: &'static str,
    reason: &'static str,
}

/// When a refusal was logged last, and how often it was since.
#[derive(Debug)]
struct Logged {
    at: Deadline,
    unlogged: u64,
}

/// The refusals that were logged.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    logged: Mutex<HashMap<RefusedCall, Logged>>,
}

/// A line that is due.
#[derive(Debug, PartialEq, Eq)]
struct RefusalLine {
    refused: RefusedCall,
    /// How often, since the line before.
    times: u64,
}

impl RefusalLine {
    fn write(self) {
        let Self { refused, times } = self;
        let RefusedCall {
            caller,
            method,
            reason,
        } = refused;
        tracing::info!(caller, method, reason, times, "a call was refused");
    }
}

impl RefusalLog {
    /// Notes a refused call of a caller; empty if it is not known.
    pub(super) fn note(&self, caller: &str, method: &'static str, error: &AuthError) {
        let refused = RefusedCall {
            caller: caller.to_owned(),
            method,
            reason: error.reason(),
        };
        if let Some(line) = self.noted(refused, Deadline::now()) {
            line.write();
        }
    }

    /// Logs once in [`PAUSE`] what was refused again since its line, for ever.
    pub(super) async fn keep_flushed(&self) -> Infallible {
        loop {
            tokio::time::sleep(PAUSE).await;
            self.flush();
        }
    }

    /// Logs what was refused again since its line.
    pub(super) fn flush(&self) {
        for line in self.due(Deadline::now()) {
            line.write();
        }
    }

    /// Notes a refusal; the line that is due at once.
    fn noted(&self, refused: RefusedCall, now: Deadline) -> Option<RefusalLine> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told_apart = logged.len() < REFUSALS_MAX || logged.contains_key(&refused);
        let refused = if is_told_apart {
            refused
        } else {
            RefusedCall {
                caller: OTHERS.to_owned(),
                method: "",
                ..refused
            }
        };
        if let Some(known) = logged.get_mut(&refused) {
            known.unlogged += 1;
            return None;
        }
        let first = Logged {
            at: now,
            unlogged: 0,
        };
        logged.insert(refused.clone(), first);
        Some(RefusalLine { refused, times: 1 })
    }

    /// The lines of what was refused again since its line of at least [`PAUSE`] ago. What was not is
    /// forgotten, so that its next refusal has a line at once.
    fn due(&self, now: Deadline) -> Vec<RefusalLine> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        logged.retain(|refused, it| {
            if now < it.at + PAUSE {
                return true;
            }
            let times = take(&mut it.unlogged);
            if times > 0 {
                it.at = now;
                let refused = refused.clone();
                lines.push(RefusalLine { refused, times });
            }
            times > 0
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(caller: &str) -> RefusedCall {
        RefusedCall {
            caller: caller.to_owned(),
            method: "BookAppointment",
            reason: "scope",
        }
    }

    #[test]
    fn the_same_refusal_is_one_line_at_once_and_then_one_with_its_count() {
        let (log, begun) = (RefusalLog::default(), Deadline::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let is_said = |caller: &str, seconds| log.noted(call(caller), at(seconds)).is_some();
        let due = |seconds| {
            let mut lines = log.due(at(seconds));
            lines.sort_unstable_by(|a, b| a.refused.caller.cmp(&b.refused.caller));
            let lines = lines.into_iter().map(|it| (it.refused.caller, it.times));
            lines.collect::<Vec<_>>()
        };
        assert!(is_said("desk", 0) && is_said("page", 1));
        assert!(!is_said("desk", 1) && !is_said("desk", 9));
        assert_eq!(due(9), []);
        // Those that were refused and then never again are said too.
        assert_eq!(due(11), [("desk".to_owned(), 2)]);
        assert!(!is_said("desk", 12));
        assert_eq!(due(20), []);
        assert_eq!(due(21), [("desk".to_owned(), 1)]);
        assert_eq!(due(31), []);
        assert!(is_said("desk", 32) && is_said("page", 32));
    }

    #[test]
    fn many_callers_are_counted_together_in_bounded_memory_and_told_apart_again_later() {
        let (log, begun) = (RefusalLog::default(), Deadline::now());
        let (mut told_apart, mut together) = (0, 0);
        for number in (0..5_000).chain(0..5_000) {
            match log.noted(call(&number.to_string()), begun) {
                Some(line) if line.refused.caller == OTHERS => together += 1,
                Some(_) => told_apart += 1,
                None => {}
            }
        }
        assert_eq!((told_apart, together), (REFUSALS_MAX, 1));
        assert!(
            log.logged
                .lock()
                .is_ok_and(|it| it.len() == REFUSALS_MAX + 1)
        );
        let lines = log.due(begun + PAUSE);
        let times: u64 = lines.iter().map(|it| it.times).sum();
        assert_eq!(times + told_apart as u64 + together, 10_000);
        assert_eq!(log.due(begun + 2 * PAUSE), []);
        let new = log.noted(call("new"), begun + 2 * PAUSE);
        assert_eq!(new.map(|it| it.refused.caller), Some("new".to_owned()));
    }
}
