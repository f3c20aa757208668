//! A timer that costs nothing until something is waited for.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

/// Fires at a deadline. Registers with the runtime's timer only when asked, which calls answered at once never do.
pub(super) struct Timer {
    pub(super) deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(super) fn at(deadline: Instant) -> Timer {
        Timer { deadline, sleep: None }
    }

    pub(super) fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        sleep.as_mut().poll(cx).is_ready()
    }
}
