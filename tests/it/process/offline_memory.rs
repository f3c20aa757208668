//! The memory of `check`, `backup` and `restore` does not grow with the store.

use std::path::Path;
use std::process::{Command, Stdio};

use bookd::clock::{Clock, SystemClock};
use bookd::store::sqlite::Sqlite;
use bookd::store::{CommitBatch, Store};
use bookd_core::change::Change;
use bookd_core::command::{Booking, Command as Asked};
use bookd_core::decide::decide;
use bookd_core::ids::Caller;
use bookd_core::state::State;
use bookd_core::time::{DAY, HOUR, Instant};
use tempfile::TempDir;

use crate::stored::{CODE_KEY, always_open, booking, id, zones};

const CALENDARS: usize = 20;
/// The number of appointments of the small store; the large one has three times as many.
const APPOINTMENTS: usize = 25_000;
/// Changes of one commit while a store is filled.
const BATCH: usize = 2_000;
/// The most bytes of memory that an appointment may add to a command: with so few appointments,
/// caches and sorts are not full yet. If every appointment were kept, it would be 1,600.
const BYTES_EACH_MAX: u64 = 800;

/// Fills a store, each appointment booked by a change of its own.
fn fill(file: &Path, appointments: usize) {
    let mut store = Sqlite::open(file, zones(), CODE_KEY).unwrap();
    let (mut state, mut changes) = (
        State {
            next_key: store.boot().unwrap().next_key,
            ..State::default()
        },
        Vec::new(),
    );
    let utc = zones()("UTC").unwrap();
    // The clock that a restore reads.
    let now = Instant::from_seconds(SystemClock.now().seconds() / DAY * DAY);
    for calendar in 0..CALENDARS {
        let calendar = format!("calendar-{calendar}");
        let rules = always_open();
        let hours = Asked::SetAvailability {
            calendar: id(&calendar),
            zone: None,
            utc: utc.clone(),
            rules,
            etag: None,
        };
        take(&mut state, &hours, now, &mut changes);
        for hour in 0..appointments / CALENDARS {
            let number = u128::from(state.next_key.0);
            let start = now.plus(2 * DAY + i64::try_from(hour).unwrap() * HOUR);
            let once = Booking {
                occurrence: None,
                ..booking(number, &calendar, start)
            };
            take(&mut state, &Asked::Book(once), now, &mut changes);
            if changes.len() >= BATCH {
                commit(&mut store, &mut changes);
            }
        }
        state.calendars.remove(&id(&calendar));
        state.appointments.clear();
    }
    commit(&mut store, &mut changes);
}

fn take(state: &mut State, command: &Asked, now: Instant, changes: &mut Vec<Change>) {
    let change = decide(state, command, now)
        .unwrap()
        .change(state, now, Caller::default())
        .unwrap();
    state.apply(&change);
    changes.push(change);
}

fn commit(store: &mut Sqlite, changes: &mut Vec<Change>) {
    store
        .commit(&CommitBatch {
            changes,
            requests: &[],
            expected: &[],
        })
        .unwrap();
    store.after_commit().unwrap();
    changes.clear();
}

/// Runs a command to its end, and answers the peak of its memory in bytes.
fn held(arguments: &[&str]) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    let mut child = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        // A process that has ended shows no memory any more.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line
            .and_then(|it| it.split_whitespace().next())
            .map_or(0, |it| it.parse::<u64>().unwrap());
        peak = peak.max(kilobytes * 1_024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::yield_now();
    };
    assert_eq!(ended.code(), Some(0), "{arguments:?}");
    peak
}

#[test]
#[allow(clippy::print_stderr, reason = "the test prints what it measured")]
fn what_a_check_a_backup_and_a_restore_hold_does_not_grow_with_the_store() {
    let folder = TempDir::new().unwrap();
    let peaks = [APPOINTMENTS, 3 * APPOINTMENTS].map(|appointments| {
        let file = |name: &str| {
            folder
                .path()
                .join(format!("{name}-{appointments}.db"))
                .display()
                .to_string()
        };
        let (store, copy, restored) = (file("store"), file("copy"), file("restored"));
        fill(Path::new(&store), appointments);
        let url = |file: &str| format!("sqlite:{file}");
        [
            held(&["check", "--store", &url(&store)]),
            held(&["backup", &copy, "--store", &url(&store)]),
            held(&["restore", &copy, "--store", &url(&restored)]),
        ]
    });
    let [small, large] = peaks;
    for (command, (small, large)) in ["check", "backup", "restore"]
        .into_iter()
        .zip(small.into_iter().zip(large))
    {
        let each = large.saturating_sub(small) / (2 * APPOINTMENTS as u64);
        let megabytes = |bytes: u64| bytes / 1_024 / 1_024;
        eprintln!(
            "{command}: {} and {} MiB, {each} bytes for each",
            megabytes(small),
            megabytes(large)
        );
        assert!(
            small > 0 && each < BYTES_EACH_MAX,
            "{command}: {each} bytes more for each appointment"
        );
    }
}
