//! R11: whether the program panicked. Its writer and its connections catch panics and the rest goes on, so that nobody who
//! only looks at answers sees that there was one.

use std::cell::RefCell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are noted, each by the thread that it was on: a service that is tried has one alone.
pub fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            // What a test does not find as it should be is the test's own.
            let is_ours = panic
                .location()
                .is_some_and(|at| at.file().starts_with("tests/"));
            if !is_ours {
                PANICS.with_borrow_mut(|noted| noted.push(panic.to_string()));
            }
            before(panic);
        }));
    });
}

/// What panicked on this thread since this was asked last.
pub fn r11_nothing_panics() -> Vec<String> {
    PANICS
        .take()
        .into_iter()
        .map(|it| format!("R11 {it}"))
        .collect()
}
