//! A timer that costs nothing until something is waited for.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

/// Fires at a deadline. Registers with the runtime's timer only when asked, which calls answered at once never do.
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

    /// Whether it has fired; wakes the task when it does.
    pub(crate) fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        sleep.as_mut().poll(cx).is_ready()
    }

    /// Whether its deadline has passed; wakes nobody.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}
