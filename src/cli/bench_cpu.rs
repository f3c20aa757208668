//! The processor time of a server, read from /proc; unknown on systems without it.

use std::path::Path;

/// Microseconds of a tick of the counters in /proc, which Linux shows in hundredths of a second on
/// every machine.
const TICK_MICROSECONDS: u64 = 10_000;
const NANOSECONDS_PER_MICROSECOND: f64 = 1_000.0;

/// Microseconds of processor time that the threads of this process have used, by what the threads
/// are for. Their names tell: those of a service begin with `bookd-`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThreadTimes {
    /// The writer.
    pub writer: f64,
    /// The workers, which serve connections.
    pub workers: f64,
    /// The other threads of a service: what accepts connections, and what wakes watchers.
    pub others: f64,
    /// All other threads of the process: clients, and reads of the store.
    pub clients: f64,
}

impl ThreadTimes {
    /// What the threads have used up to now; none where the system does not say.
    pub fn now() -> Option<Self> {
        let threads = std::fs::read_dir("/proc/self/task").ok()?;
        let mut times = Self::default();
        for thread in threads.flatten() {
            // A thread that ended meanwhile has no files any more.
            let read = |name| std::fs::read_to_string(thread.path().join(name)).ok();
            if let (Some(name), Some(used)) = (read("comm"), read("schedstat")) {
                *times.of_thread(name.trim_end()) += run_microseconds(&used)?;
            }
        }
        Some(times)
    }

    fn of_thread(&mut self, name: &str) -> &mut f64 {
        if name == "bookd-writer" {
            &mut self.writer
        } else if name.starts_with("bookd-worker") {
            &mut self.workers
        } else if name.starts_with("bookd-") {
            &mut self.others
        } else {
            &mut self.clients
        }
    }

    /// What the threads of services have used.
    pub fn services(&self) -> f64 {
        self.writer + self.workers + self.others
    }

    /// What each of so many calls took of what was used since `before`.
    #[must_use]
    pub fn each_since(&self, before: &Self, calls: usize) -> Self {
        let each = |now: f64, before: f64| (now - before) / calls as f64;
        Self {
            writer: each(self.writer, before.writer),
            workers: each(self.workers, before.workers),
            others: each(self.others, before.others),
            clients: each(self.clients, before.clients),
        }
    }
}

/// The first field of a `schedstat`, the time on a processor in nanoseconds, in microseconds.
fn run_microseconds(schedstat: &str) -> Option<f64> {
    let nanoseconds: u64 = schedstat.split(' ').next()?.parse().ok()?;
    Some(nanoseconds as f64 / NANOSECONDS_PER_MICROSECOND)
}

/// Microseconds of processor time, user and system, that a process has used; without a process,
/// that the threads of services in this process have used.
pub(super) fn used(process: Option<u32>) -> Option<u64> {
    match process {
        Some(process) => {
            let stat = Path::new("/proc").join(process.to_string()).join("stat");
            let ticks = ticks(&std::fs::read_to_string(stat).ok()?)?;
            Some(ticks * TICK_MICROSECONDS)
        }
        None => Some(ThreadTimes::now()?.services() as u64),
    }
}

/// The sum of the 14th and 15th fields of a line such as `1234 (name) S …`. The name may contain
/// any character, brackets included.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest
        .split(' ')
        .skip(11)
        .map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_behind_any_name() {
        let stat =
            "77 (bookd-worker) 0) S 1 77 77 0 -1 4194304 100 0 0 0 250 33 0 0 20 0 5 0 1 2 3";
        assert_eq!(ticks(stat), Some(283));
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn the_times_of_threads_are_told_by_their_names() {
        let mut times = ThreadTimes::default();
        for (name, schedstat) in [
            ("bookd-writer", "1000 9 9"),
            ("bookd-worker-0", "20000 9 9"),
            ("bookd-worker-1", "30000 9 9"),
            ("bookd-accept", "4000 9 9"),
            ("booking", "5000 9 9"),
        ] {
            *times.of_thread(name) += run_microseconds(schedstat).unwrap();
        }
        let expected = ThreadTimes {
            writer: 1.0,
            workers: 50.0,
            others: 4.0,
            clients: 5.0,
        };
        assert_eq!(times, expected);
        assert_eq!(times.services(), 55.0);
        let each = times.each_since(&ThreadTimes::default(), 10);
        assert_eq!((each.writer, each.workers), (0.1, 5.0));
        assert_eq!(run_microseconds(""), None);
    }

    #[test]
    fn this_process_has_used_some_time_if_the_system_tells() {
        if Path::new("/proc/self/schedstat").exists() {
            assert!(used(Some(std::process::id())).is_some());
            assert!(ThreadTimes::now().unwrap().clients > 0.0);
        }
    }
}
