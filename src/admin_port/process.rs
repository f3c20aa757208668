//! Figures of this process, as the system tells them: processor time, memory, descriptors.
//!
//! They are read from `/proc`; on a system without it there are none.

/// The figures of this process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessFigures {
    /// Processor time of user and system since the start, in seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory in bytes.
    pub(super) resident_bytes: u64,
    /// Open descriptors.
    pub(super) open_fds: usize,
    /// The limit on open descriptors; none without one.
    pub(super) max_fds: Option<u64>,
    /// When the process began, in seconds since 1970.
    pub(super) start_seconds: f64,
}

/// What is needed of one line of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// Processor time, in ticks.
    cpu: u64,
    /// The start, in ticks since the boot.
    start: u64,
    /// Resident memory, in pages.
    resident: u64,
}

impl Stat {
    /// Reads a line such as `1234 (name) S …`. The name may contain any character, brackets
    /// included.
    fn read(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(") ")?;
        // The fields are numbered from 1, and the third one is the first behind the name.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(14)?.checked_add(field(15)?)?,
            start: field(22)?,
            resident: field(24)?,
        })
    }
}

/// The time of the boot in `/proc/stat`, in seconds since 1970.
fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::sync::OnceLock;

    use rustix::param::{clock_ticks_per_second, page_size};
    use rustix::process::{Resource, getrlimit};

    use super::{ProcessFigures, Stat, boot_seconds};

    /// The figures now; none where `/proc` cannot be read.
    pub(in super::super) fn figures() -> Option<ProcessFigures> {
        // The file has a line for each processor, and the time of the boot stays the same.
        static BOOT: OnceLock<Option<u64>> = OnceLock::new();
        let boot = (*BOOT.get_or_init(|| boot_seconds(&fs::read_to_string("/proc/stat").ok()?)))?;
        let stat = Stat::read(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        // The listing itself has a descriptor.
        let open_fds = fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1);
        let page = u64::try_from(page_size()).ok()?;
        Some(ProcessFigures {
            cpu_seconds: seconds(stat.cpu),
            resident_bytes: stat.resident.saturating_mul(page),
            open_fds,
            max_fds: getrlimit(Resource::Nofile).current,
            start_seconds: boot as f64 + seconds(stat.start),
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// Nothing is known of the process.
    pub(in super::super) fn figures() -> Option<super::ProcessFigures> {
        None
    }
}

pub(super) use system::figures;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_behind_any_name() {
        let line = "77 (bookd) x) S 1 77 77 0 -1 4194304 100 0 0 0 250 33 0 0 20 0 5 0 900 1000000 321 18446744073709551615 1";
        let expected = Stat {
            cpu: 283,
            start: 900,
            resident: 321,
        };
        assert_eq!(Stat::read(line), Some(expected));
        assert_eq!(Stat::read("77 (bookd) S 1"), None);
        assert_eq!(Stat::read(""), None);
        assert_eq!(
            boot_seconds("cpu 1 2\nbtime 1700000000\nx 1"),
            Some(1_700_000_000)
        );
        assert_eq!(boot_seconds("cpu 1 2"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_descriptors_and_began_after_the_machine() {
        let figures = figures().expect("a Linux has /proc");
        assert!(
            figures.cpu_seconds >= 0.0 && figures.resident_bytes > 100_000,
            "{figures:?}"
        );
        assert!(figures.open_fds >= 3, "{figures:?}");
        assert!(
            figures
                .max_fds
                .is_none_or(|max| max >= figures.open_fds as u64)
        );
        assert!(figures.start_seconds > 1.5e9, "{figures:?}");
    }
}
