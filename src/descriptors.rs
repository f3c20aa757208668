//! File descriptors that ran out: what is said wherever a file or a socket cannot be opened for want of one.
//!
//! The limit is named, and how to raise it; permissions and addresses never, for nothing is wrong with those.

use std::fs::File;
use std::io;

/// "Too many open files", of the process: the same number on Linux, the BSDs and macOS.
const EMFILE: i32 = 24;
/// "Too many open files in system", likewise.
const ENFILE: i32 = 23;
/// What a library needs at a time, at most: SQLite the database, its journal or WAL, the index and the folder; tokio what
/// it waits on, twice, what wakes it, and sockets for signals.
const NEEDED: usize = 8;

/// What to say when there is none left.
pub const RAN_OUT: &str = "no file descriptor is left; raise the limit on open files (ulimit -n, LimitNOFILE= of a \
     systemd service, --ulimit nofile= of a container) to 1024 or more, and start again";

/// An error of the system in words; `next` is what to do about it, unless descriptors ran out.
pub fn told(error: &io::Error, next: &str) -> String {
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => RAN_OUT.to_owned(),
        _ => format!("{error}{next}"),
    }
}

/// Whether descriptors ran out, for libraries that do not say which error of the system it was: as many are opened as
/// such a library needs.
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

/// A runtime on this thread that reads, writes, and takes signals. tokio panics where there is no descriptor for those.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let cannot = |why: &str| format!("the runtime cannot start: {why}");
    if ran_out() {
        return Err(cannot(RAN_OUT));
    }
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.map_err(|error| cannot(&told(&error, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named_only_when_it_is_what_is_wrong() {
        for number in [EMFILE, ENFILE] {
            assert_eq!(
                told(&io::Error::from_raw_os_error(number), "; choose another"),
                RAN_OUT
            );
        }
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        assert_eq!(
            told(&taken, "; choose another"),
            format!("{taken}; choose another")
        );
        assert!(!ran_out());
    }
}
