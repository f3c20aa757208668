//! Log lines of refused calls: who called what, and why it was refused.
//!
//! The same refusal is logged at once and then once in [`PAUSE`] with how often it was since, so that
//! nobody fills a disk by calling. A line has nothing of the call's contents, and not the name of a
//! customer.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant as Deadline;

use super::access::Principal;
use super::error::AuthError;

/// The least time between two lines of one refusal.
const PAUSE: Duration = Duration::from_secs(10);
/// The most refusals that are told apart; further ones are counted together.
const REFUSALS_MAX: usize = 1_000;
/// The caller of further refusals.
const OTHERS: &str = "others";
/// The caller in place of a customer's name.
const CUSTOMER: &str = "a customer";

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

impl RefusalLog {
    /// Notes a refused call of a principal, none if it is not known.
    pub(super) fn note(
        &self,
        principal: Option<&Principal>,
        method: &'static str,
        error: &AuthError,
    ) {
        let refused = RefusedCall {
            caller: principal.map_or_else(String::new, shown),
            method,
            reason: error.reason(),
        };
        if let Some((refused, times)) = self.due(refused, Deadline::now()) {
            let RefusedCall {
                caller,
                method,
                reason,
            } = refused;
            tracing::info!(caller, method, reason, times, "a call was refused");
        }
    }

    /// The refusal with how often it was since it was logged last, if a line is due.
    fn due(&self, refused: RefusedCall, now: Deadline) -> Option<(RefusedCall, u64)> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= REFUSALS_MAX && !logged.contains_key(&refused) {
            logged.retain(|_, it| now < it.at + PAUSE || it.unlogged > 0);
        }
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
        match logged.get_mut(&refused) {
            None => {
                let first = Logged {
                    at: now,
                    unlogged: 0,
                };
                logged.insert(refused.clone(), first);
                Some((refused, 1))
            }
            Some(it) => {
                it.unlogged += 1;
                let is_due = now >= it.at + PAUSE;
                is_due.then(|| {
                    it.at = now;
                    (refused, take(&mut it.unlogged))
                })
            }
        }
    }
}

/// The caller's name, unless it may be a person's.
fn shown(principal: &Principal) -> String {
    if principal.rights.is_of_customer() {
        CUSTOMER.to_owned()
    } else {
        principal.name.0.to_string()
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
    fn the_same_refusal_is_one_line_at_once_and_then_one_in_ten_seconds_with_its_count() {
        let (log, begun) = (RefusalLog::default(), Deadline::now());
        let times = |caller: &str, seconds: u64| {
            let due = log.due(call(caller), begun + Duration::from_secs(seconds));
            due.map(|(_, times)| times)
        };
        assert_eq!(times("desk", 0), Some(1));
        assert_eq!(times("page", 1), Some(1));
        assert_eq!((times("desk", 1), times("desk", 9)), (None, None));
        assert_eq!(times("desk", 10), Some(3));
        assert_eq!((times("desk", 11), times("desk", 20)), (None, Some(2)));
    }

    #[test]
    fn many_callers_are_counted_together_in_bounded_memory() {
        let (log, begun) = (RefusalLog::default(), Deadline::now());
        let lines = (0..5_000).filter_map(|number| log.due(call(&number.to_string()), begun));
        let (mut told_apart, mut together) = (0, 0);
        for (refused, _) in lines {
            if refused.caller == OTHERS {
                together += 1;
            } else {
                told_apart += 1;
            }
        }
        assert_eq!((told_apart, together), (REFUSALS_MAX, 1));
        assert!(
            log.logged
                .lock()
                .is_ok_and(|it| it.len() == REFUSALS_MAX + 1)
        );
        // Those of before make room.
        let later = begun + PAUSE;
        assert_eq!(
            log.due(call("new"), later).map(|(it, _)| it.caller),
            Some("new".to_owned())
        );
        assert!(log.logged.lock().is_ok_and(|it| it.len() == 2));
    }
}
