//! Errors when the process has no file descriptor left for a file or a socket.
//!
//! The message names the limit and how to raise it, and never permissions or addresses, which are
//! not the cause.

use std::fs::File;
use std::io;

/// "Too many open files" in the process; the same number on Linux, the BSDs and macOS.
const EMFILE: i32 = 24;
/// "Too many open files in system"; the same number on Linux, the BSDs and macOS.
const ENFILE: i32 = 23;
/// How many descriptors a library needs at most at a time: SQLite for the database, its journal or
/// WAL, the WAL index and the folder; tokio for two pollers, a waker, and sockets for signals.
const NEEDED: usize = 8;

/// The message when no descriptor is left.
pub const RAN_OUT: &str = "no file descriptor is left; raise the limit on open files (ulimit -n, LimitNOFILE= of a \
     systemd service, --ulimit nofile= of a container) to 1024 or more, and start again";

/// The message of an error of the system. `next`, which says what to do about it, follows unless
/// descriptors ran out.
pub fn message(error: &io::Error, next: &str) -> String {
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => RAN_OUT.to_owned(),
        _ => format!("{error}{next}"),
    }
}

/// Whether descriptors ran out: tries to open as many as a library needs. For libraries that do not
/// report the error of the system.
pub fn ran_out() -> bool {
    let mut opened = Vec::with_capacity(NEEDED);
    (0..NEEDED).any(|_| match File::open("/dev/null") {
        Ok(file) => {
            opened.push(file);
            false
        }
        Err(error) => matches!(error.raw_os_error(), Some(EMFILE | ENFILE)),
    })
}

/// A tokio runtime on this thread with I/O, timers and signals; an error when descriptors ran out,
/// where tokio would panic.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let cannot = |why: &str| format!("the runtime cannot start: {why}");
    if ran_out() {
        return Err(cannot(RAN_OUT));
    }
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.map_err(|error| cannot(&message(&error, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named_only_when_it_is_what_is_wrong() {
        for number in [EMFILE, ENFILE] {
            assert_eq!(
                message(&io::Error::from_raw_os_error(number), "; choose another"),
                RAN_OUT
            );
        }
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        assert_eq!(
            message(&taken, "; choose another"),
            format!("{taken}; choose another")
        );
        assert!(!ran_out());
    }
}
