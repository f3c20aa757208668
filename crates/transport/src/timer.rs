//! A timer that costs nothing until a task waits for it.
//!
//! Calls that are answered at once never register with the runtime's timer.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

/// Fires at a deadline. Registers with the runtime's timer at the first call of `has_fired`.
pub(crate) struct Timer {
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(crate) fn at(deadline: Instant) -> Timer {
        Timer {
            deadline,
            sleep: None,
        }
    }

    /// Whether the timer has fired; wakes the task when it fires.
    pub(crate) fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        sleep.as_mut().poll(cx).is_ready()
    }

    /// Whether the deadline has passed; never wakes a task.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}
