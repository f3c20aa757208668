//! What a server's threads have used of the processor, where the system tells.

use std::path::Path;

/// A tick of the counters in /proc: Linux shows them in hundredths of a second on every machine.
const TICK_MICROSECONDS: u64 = 10_000;
/// How the names of the service's own threads begin, where it runs beside its clients.
const OWN_THREADS: &str = "bookd-";

/// Microseconds of processor time that a process has used, user and system; without a process, the threads of the
/// service in this one.
pub(super) fn used(process: Option<u32>) -> Option<u64> {
    match process {
        Some(process) => of(&Path::new("/proc").join(process.to_string()), ""),
        None => {
            let threads = std::fs::read_dir("/proc/self/task").ok()?;
            Some(
                threads
                    .flatten()
                    .filter_map(|thread| of(&thread.path(), OWN_THREADS))
                    .sum(),
            )
        }
    }
}

/// Of one process or thread, if its name begins so.
fn of(folder: &Path, name: &str) -> Option<u64> {
    ticks(&std::fs::read_to_string(folder.join("stat")).ok()?, name)
        .map(|it| it * TICK_MICROSECONDS)
}

/// `1234 (name) S …`: the 14th and 15th fields. A name may hold anything, brackets too.
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
