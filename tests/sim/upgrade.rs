//! A file of an older schema is upgraded while the power goes, the process dies or the disk fails,
//! at every single access: it opens the next time, and everything in it is there.

use std::path::Path;

use bookd::store::Store;
use bookd::store::sqlite::Sqlite;
use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::LogEntry;
use bookd_core::prefixes::Prefixes;
use bookd_core::time::Instant;

use crate::life::{CODE_KEY, lookup};
use crate::world::BEGINNING;
use bookd_kit::chance::budget;
use bookd_kit::disk::{Access, Disk, Fault};
use bookd_kit::log::whole_log;

/// Bytes that a start needs beside the file: for tables that an older schema lacks, and for the
/// index of the WAL.
const ROOM_TO_OPEN: usize = 100 * 1_024;

/// Everything in a store.
#[derive(PartialEq, Debug)]
struct Content {
    revision: Revision,
    code_key: u64,
    calendars: Vec<Calendar>,
    appointments: Vec<Appointment>,
    changes: Vec<LogEntry>,
}

/// Opens the file as a starting program does.
fn open(disk: &Disk) -> Result<Sqlite, String> {
    let mut store = Sqlite::open_on(disk, lookup(), CODE_KEY).map_err(|error| error.to_string())?;
    store.boot().map_err(|error| error.to_string())?;
    Ok(store)
}

/// Everything in the file, which must be sound.
fn content(disk: &Disk) -> Content {
    let mut store = open(disk).unwrap();
    assert_eq!(store.integrity().unwrap(), Vec::<String>::new());
    let now = Instant::from_seconds(BEGINNING);
    let oldest = store.oldest().unwrap();
    let report = bookd::admin::check::check(&mut store, oldest, &lookup(), now, |_| ()).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.invariants);
    let boot = store.boot().unwrap();
    let mut reader = store.reader().unwrap();
    let (appointments, revision) = reader
        .appointments_after(AppointmentKey::default(), 10_000)
        .unwrap();
    let ids: Vec<_> = reader
        .list_calendars(&Prefixes::ALL, None, 1_000)
        .unwrap()
        .0
        .into_iter()
        .map(|it| it.id)
        .collect();
    let changes = whole_log(&mut *reader);
    let calendars = store
        .load_calendars(&ids, now)
        .unwrap()
        .into_iter()
        .flatten()
        .collect();
    Content {
        revision,
        code_key: boot.code_key,
        calendars,
        appointments,
        changes,
    }
}

/// The files of every older released schema.
fn released() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path());
    files
        .filter(|it| it.extension().is_some_and(|it| it == "db"))
        .map(|it| std::fs::read(it).unwrap())
        .collect()
}

#[test]
fn wherever_the_power_goes_the_process_dies_or_the_disk_fails_an_older_file_loses_nothing() {
    let released = released();
    assert!(!released.is_empty());
    // By default each access gets one of three kinds of deaths and failures in turn; or all of
    // them.
    let kinds = budget("BOOKD_UPGRADE_KINDS", 1);
    for (file, database) in released.into_iter().enumerate() {
        let untouched = Disk::holding(1, &database);
        drop(open(&untouched).unwrap());
        let (accesses, wanted) = (untouched.accesses(), content(&untouched));
        assert!(
            !wanted.calendars.is_empty()
                && wanted.appointments.len() > 5
                && wanted.changes.len() > 10
        );
        let mut writes = 0;
        for at in 0..accesses {
            for round in at..at + kinds {
                let seed = 1 + round % 3;
                let disk = Disk::holding(seed * 1_000 + at, &database);
                disk.cut_after(at);
                let is_open = open(&disk).is_ok();
                assert!(disk.is_off() || is_open, "file {file}, access {at}");
                let next = if seed == 1 {
                    disk.after_kill()
                } else {
                    disk.after_power_loss()
                };
                assert_eq!(
                    content(&next),
                    wanted,
                    "file {file}, access {at}, seed {seed}"
                );
                let (fault, loses_power) = [
                    (Fault::Io, false),
                    (Fault::Io, true),
                    (Fault::Full, at % 2 == 0),
                ][usize::try_from(round % 3).unwrap()];
                let disk = Disk::holding(at, &database);
                disk.fail_after(at, fault);
                let _opened_or_not = open(&disk).is_ok();
                writes += u64::from(matches!(disk.failed(), Some(Access::Write | Access::Sync)));
                let next = if loses_power {
                    disk.after_power_loss()
                } else {
                    disk.after_kill()
                };
                assert_eq!(
                    content(&next),
                    wanted,
                    "file {file}, {fault:?} at access {at} ({:?})",
                    disk.failed()
                );
            }
        }
        eprintln!(
            "file {file}: {accesses} accesses, each cut off and failed {kinds} times; {writes} were writes"
        );
        assert!(writes > 10, "an upgrade writes");
    }
}

#[test]
fn an_older_file_is_not_written_anew_where_that_would_fill_the_disk() {
    // Files of schema 6 have checksums: byte 20 of a file is the number of bytes of each page that
    // are reserved for them.
    let older: Vec<Vec<u8>> = released().into_iter().filter(|it| it[20] == 0).collect();
    assert!(older.len() > 4, "{}", older.len());
    for database in older {
        let disk = Disk::holding(1, &database);
        // Space for the file once more, and not for the server beside it.
        disk.leave_room(Some(2 * database.len() + ROOM_TO_OPEN));
        let unsummed = |store: &Sqlite| store.look_over().unwrap().unsummed;
        let store = open(&disk).unwrap();
        assert!(unsummed(&store) > 0, "the upgrade waits for space");
        drop(store);
        let (grown, wal) = (
            disk.length("").saturating_sub(database.len()),
            disk.length("-wal"),
        );
        assert!(
            grown + wal < database.len() + ROOM_TO_OPEN,
            "the file grew by {grown} bytes, the WAL has {wal}"
        );
        disk.leave_room(None);
        assert_eq!(
            unsummed(&open(&disk).unwrap()),
            0,
            "every page has its checksum once there is room"
        );
    }
}
