//! What a client says of its deadline, and a timer that costs nothing until something is waited for.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The longest deadline of a stream. A client that says more means "no deadline".
const STREAM_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Digits of `grpc-timeout`, as the protocol limits them.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// In the extensions of every request: when its answer must have begun. Work that leaves a queue after it is not
/// begun any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Whether it has passed.
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.0
    }
}

/// Fires at a deadline. Registers with the runtime's timer only when asked, which calls answered at once never do.
pub struct Timer {
    /// When it fires.
    pub deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Fires then.
    pub fn at(deadline: Instant) -> Timer {
        Timer { deadline, sleep: None }
    }

    /// Whether it has fired; wakes the task when it does.
    pub fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// The value of `grpc-timeout`, a day at most; none if it is not one.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout.min(Duration::from_secs(STREAM_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_a_unit_and_a_day() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(24 * 3_600))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("12", None),
            ("+1S", None),
            ("-1S", None),
            ("1s", None),
            ("1.5S", None),
            ("100000000n", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text:?}");
        }
    }
}
