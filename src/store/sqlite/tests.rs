//! Tests that need the store's own statements and connection: query plans, a full disk, and a
//! read-only file.
//!
//! A plan that scans a growing table is as wrong as a wrong answer.

use std::sync::Arc;

use rusqlite::params_from_iter;
use tempfile::TempDir;

use super::*;
use bookd_core::calendar::Profile;
use bookd_core::calendar::availability::Availability;
use bookd_core::command::Command;
use bookd_core::decide::decide;
use bookd_core::ids::Caller;
use bookd_core::prefixes::Prefixes;
use bookd_core::state::State;
use bookd_core::time::zone::Zone;

fn open(folder: &TempDir) -> Sqlite {
    let zones: ZoneLookup = Arc::new(|_| Some(Arc::new(Zone::utc())));
    Sqlite::open(&folder.path().join("bookd.db"), zones, 1).unwrap()
}

/// Creates a calendar with a display name of this many bytes.
fn create(
    sqlite: &mut Sqlite,
    state: &mut State,
    name: &str,
    bytes: usize,
) -> Result<(), CommitError> {
    let blank = Profile::open(Arc::new(Zone::utc()), Availability::default());
    let profile = Profile {
        display_name: "x".repeat(bytes),
        ..blank
    };
    let command = Command::CreateCalendar {
        calendar: CalendarId::parse(name).unwrap(),
        profile,
    };
    let decision = decide(state, &command, Instant::from_seconds(0)).unwrap();
    let change = decision
        .change(state, Instant::from_seconds(0), Caller::default())
        .unwrap();
    sqlite.commit(&CommitBatch {
        changes: std::slice::from_ref(&change),
        requests: &[],
        expected: &[],
    })?;
    state.apply(&change);
    Ok(())
}

#[test]
fn every_read_goes_by_an_index() {
    let folder = TempDir::new().unwrap();
    let sqlite = open(&folder);
    let derived = derived::STATEMENTS
        .into_iter()
        .chain(deletion::STATEMENTS)
        .map(str::to_owned);
    let reads = read::statements()
        .into_iter()
        .chain(list::statements())
        .chain([walk::select_appointments()]);
    let log = log::statements().into_iter().map(str::to_owned);
    let starts = [SELECT_META.to_owned(), SELECT_EXPIRING.to_owned()];
    for sql in reads.chain(log).chain(starts).chain(derived) {
        let mut statement = sqlite
            .connection
            .prepare(&format!("explain query plan {sql}"))
            .unwrap();
        let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
        let steps = statement
            .query_map(params_from_iter(nulls), |row| row.get::<_, String>(3))
            .unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert!(!steps.is_empty());
        let scans = |step: &&String| step.starts_with("SCAN") && !step.contains("USING INDEX");
        assert_eq!(steps.iter().find(scans), None, "{sql}: {steps:?}");
    }
}

#[test]
fn a_full_disk_refuses_the_batch_and_reads_go_on() {
    let folder = TempDir::new().unwrap();
    let (mut sqlite, mut state) = (open(&folder), State::default());
    create(&mut sqlite, &mut state, "ada", 10).unwrap();
    let pages: i64 = sqlite
        .connection
        .query_row("pragma page_count", [], |row| row.get(0))
        .unwrap();
    sqlite
        .connection
        .query_row(
            &format!("pragma max_page_count = {}", pages + 2),
            [],
            |_| Ok(()),
        )
        .unwrap();
    let refused = create(&mut sqlite, &mut state, "bob", 1 << 20);
    assert_eq!(refused, Err(CommitError::Refused(StoreError::Full)));
    let ids = ["ada", "bob"].map(|name| CalendarId::parse(name).unwrap());
    let loaded = sqlite
        .load_calendars(&ids, Instant::from_seconds(0))
        .unwrap();
    assert_eq!(
        loaded.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        sqlite
            .reader()
            .unwrap()
            .list_calendars(&Prefixes::ALL, None, 10)
            .unwrap()
            .0
            .len(),
        1
    );
    sqlite
        .connection
        .query_row("pragma max_page_count = 100000", [], |_| Ok(()))
        .unwrap();
    create(&mut sqlite, &mut state, "bob", 1 << 20).unwrap();
    assert_eq!(sqlite.boot().unwrap().revision, Revision(2));
}

#[test]
fn a_file_that_cannot_be_written_refuses_the_batch_and_reads_go_on() {
    let folder = TempDir::new().unwrap();
    let (mut sqlite, mut state) = (open(&folder), State::default());
    create(&mut sqlite, &mut state, "ada", 10).unwrap();
    // `query_only` fails writes like a file without write permission, and does so for root, too.
    sqlite
        .connection
        .pragma_update(None, "query_only", true)
        .unwrap();
    let refused = create(&mut sqlite, &mut state, "bob", 10);
    assert_eq!(refused, Err(CommitError::Refused(StoreError::ReadOnly)));
    let ids = ["ada", "bob"].map(|name| CalendarId::parse(name).unwrap());
    let loaded = sqlite
        .load_calendars(&ids, Instant::from_seconds(0))
        .unwrap();
    assert_eq!(
        loaded.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        sqlite
            .reader()
            .unwrap()
            .list_calendars(&Prefixes::ALL, None, 10)
            .unwrap()
            .0
            .len(),
        1
    );
    sqlite
        .connection
        .pragma_update(None, "query_only", false)
        .unwrap();
    create(&mut sqlite, &mut state, "bob", 10).unwrap();
    assert_eq!(sqlite.boot().unwrap().revision, Revision(2));
}
