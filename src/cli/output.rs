//! Output of all commands: results on standard output, errors on standard error, and counts in
//! words.
//!
//! An output that cannot be written is no error of the command.

use std::io::Write;

#[cfg(feature = "server")]
use super::exit::Exit;
#[cfg(feature = "server")]
use crate::admin::AdminError;

/// Prints a result on standard output.
pub(super) fn say(text: &str) {
    // The reader may have closed the pipe.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints an error on standard error.
pub(super) fn complain(text: &str) {
    // Standard error may be closed, and there is no other place for the message.
    let _ = writeln!(std::io::stderr(), "bookd: {text}");
}

/// Prints an error without an exit code of its own.
#[cfg(feature = "server")]
pub(super) fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

/// Prints an error of administration; answers its exit code.
#[cfg(feature = "server")]
pub(super) fn ended(error: &AdminError) -> Exit {
    complain(&error.to_string());
    Exit::from(error)
}

/// A count with its noun, such as `1 hold` or `2 holds or requests`.
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

/// The counts of an import or export, such as `1 calendar with 2 appointments`.
#[cfg(feature = "server")]
pub(super) fn counted_together(calendars: u64, appointments: u64) -> String {
    format!(
        "{} with {}",
        counted(calendars, "calendar"),
        counted(appointments, "appointment")
    )
}
