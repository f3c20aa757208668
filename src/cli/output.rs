//! What commands say besides answers of servers: results, why they came to nothing, and how many there are of something.

use std::io::Write;

#[cfg(feature = "server")]
use super::exit::Exit;
#[cfg(feature = "server")]
use crate::admin::AdminError;

/// A result, on standard output.
pub(super) fn say(text: &str) {
    // A closed pipe is the reader's way to say that it has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What is wrong, on standard error.
pub(super) fn complain(text: &str) {
    // Standard error may be gone; then there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "bookd: {text}");
}

/// Says what went wrong in a way that has no exit code of its own.
#[cfg(feature = "server")]
pub(super) fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

/// Says why administration came to nothing.
#[cfg(feature = "server")]
pub(super) fn ended(error: &AdminError) -> Exit {
    complain(&error.to_string());
    Exit::from(error)
}

/// `1 hold`, `2 holds or requests`.
#[cfg(feature = "server")]
pub(super) fn counted(count: u64, one: &str) -> String {
    let several = one.split(' ').map(|word| {
        if word == "or" {
            word.to_owned()
        } else {
            format!("{word}s")
        }
    });
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {}", several.collect::<Vec<_>>().join(" "))
    }
}

/// `1 calendar with 2 appointments`.
#[cfg(feature = "server")]
pub(super) fn counted_together(calendars: u64, appointments: u64) -> String {
    format!(
        "{} with {}",
        counted(calendars, "calendar"),
        counted(appointments, "appointment")
    )
}
