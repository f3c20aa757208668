//! R11: no thread of the program panics. The writer and the connections catch panics and the rest
//! goes on, so that answers alone do not show them.

use std::cell::RefCell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Records panics from now on, each by its thread: a service under test runs on a thread of its
/// own.
pub fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            // A failed assertion of a test is no panic of the program.
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

/// The panics on this thread since the last call of this function.
pub fn r11_nothing_panics() -> Vec<String> {
    PANICS
        .take()
        .into_iter()
        .map(|it| format!("R11 {it}"))
        .collect()
}
