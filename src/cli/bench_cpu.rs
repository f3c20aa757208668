//! The processor time of a server, read from /proc; unknown on systems without it.

use std::path::Path;

/// Microseconds of a tick of the counters in /proc, which Linux shows in hundredths of a second on
/// every machine.
const TICK_MICROSECONDS: u64 = 10_000;
/// The prefix of the names of the service's threads, which tells them from those of clients in the
/// same process.
const OWN_THREADS: &str = "bookd-";

/// Microseconds of processor time, user and system, that a process has used; without a process,
/// that the threads of services in this process have used.
pub(super) fn used(process: Option<u32>) -> Option<u64> {
    match process {
        Some(process) => microseconds(&Path::new("/proc").join(process.to_string()), ""),
        None => {
            let threads = std::fs::read_dir("/proc/self/task").ok()?;
            Some(
                threads
                    .flatten()
                    .filter_map(|thread| microseconds(&thread.path(), OWN_THREADS))
                    .sum(),
            )
        }
    }
}

/// The microseconds of one process or thread, if its name begins with `name`.
fn microseconds(folder: &Path, name: &str) -> Option<u64> {
    ticks(&std::fs::read_to_string(folder.join("stat")).ok()?, name)
        .map(|ticks| ticks * TICK_MICROSECONDS)
}

/// The sum of the 14th and 15th fields of a line such as `1234 (name) S …`. The name may contain
/// any character, brackets included.
fn ticks(stat: &str, name: &str) -> Option<u64> {
    let (begin, rest) = stat.rsplit_once(") ")?;
    let (_, its_name) = begin.split_once(" (")?;
    if !its_name.starts_with(name) {
        return None;
    }
    let mut fields = rest
        .split(' ')
        .skip(11)
        .map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_behind_any_name() {
        let stat =
            "77 (bookd-worker) 0) S 1 77 77 0 -1 4194304 100 0 0 0 250 33 0 0 20 0 5 0 1 2 3";
        assert_eq!(ticks(stat, "bookd-"), Some(283));
        assert_eq!(ticks(stat, ""), Some(283));
        assert_eq!(ticks(stat, "tokio"), None);
        assert_eq!(ticks("", ""), None);
    }

    #[test]
    fn this_process_has_used_some_time_if_the_system_tells() {
        if Path::new("/proc/self/stat").exists() {
            assert!(used(Some(std::process::id())).is_some());
            assert_eq!(used(None), Some(0), "no service runs here");
        }
    }
}
