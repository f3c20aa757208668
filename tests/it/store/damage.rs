//! An impossible value in a file is damage wherever it is read: no row is left out, and none is
//! made up.
//!
//! Each case changes a file without the store, as a bad disk or another program might, and reads it
//! through the store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bookd::fold::email_key;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::sqlite::Sqlite;
use bookd::store::{ListQuery, RequestRecord, Store, StoreError, WatchFilter};
use bookd_core::command::Command;
use bookd_core::ids::{AppointmentKey, Revision, TypeId};
use bookd_core::log::LogPosition;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;
use bookd_core::time::interval::Interval;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::stored::{
    CODE_KEY, MONDAY, World, appointment_id, at_hour, id, live_a_life, of_appointment, of_calendar,
    query, raw, zones,
};

const HASH: [u8; 16] = [7; 16];

/// A closed file with rows in every table.
struct Whole {
    folder: TempDir,
    file: PathBuf,
}

impl Whole {
    fn new() -> Self {
        let mut world = World::sqlite();
        live_a_life(&mut world);
        let busy = Interval::new(at_hour(30), at_hour(31));
        let put_busy = Command::PutBusy {
            calendar: id("ada"),
            source: "elsewhere".to_owned(),
            range: Interval::new(MONDAY, at_hour(48)),
            periods: vec![busy],
        };
        let request = RequestRecord {
            hash: HASH,
            fingerprint: [8; 16],
            revision: world.state.revision.next(),
            time: MONDAY,
            appointments: vec![appointment_id(1)],
            calendar: Some(id("ada")),
            type_id: Some(TypeId::default_type()),
            token: None,
        };
        let decision = bookd_core::decide::decide(&world.state, &put_busy, world.now).unwrap();
        world.commit(&decision, &[request]).unwrap();
        let kept = world.folder.clone().unwrap();
        drop(world);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("whole.db");
        std::fs::copy(kept.path().join("bookd.db"), &file).unwrap();
        Self { folder, file }
    }

    /// A copy of the file, damaged and opened.
    fn damaged(&self, damage: impl FnOnce(&Connection)) -> Sqlite {
        let file = self.folder.path().join("damaged.db");
        std::fs::copy(&self.file, &file).unwrap();
        damage(&raw(&file));
        open(&file)
    }
}

fn open(file: &Path) -> Sqlite {
    Sqlite::open(file, zones(), CODE_KEY).unwrap()
}

/// A read of which the test needs only the error.
type Read = fn(&mut Sqlite) -> Result<(), StoreError>;

const BOOT: Read = |store| store.boot().map(drop);
const CALENDAR: Read = |store| store.load_calendars(&[id("ada")], MONDAY).map(drop);
const APPOINTMENT: Read = |store| store.load_appointments(&[appointment_id(1)]).map(drop);
const BY_EMAIL: Read = |store| {
    store
        .keys_of_email(&email_key("grace@example.com"), &Reach::ALL, 10)
        .map(drop)
};
const REQUEST: Read = |store| store.seen_requests(&[HASH]).map(drop);
const WALK: Read = |store| {
    store
        .reader()?
        .appointments_after(AppointmentKey(0), 10)
        .map(drop)
};
const CALENDARS: Read = |store| {
    store
        .reader()?
        .list_calendars(&Prefixes::ALL, None, 10)
        .map(drop)
};
const LIST: Read = |store| store.reader()?.list_appointments(&query()).map(drop);
const LIST_OF_THEN: Read = |store| {
    store
        .reader()?
        .list_appointments(&ListQuery {
            at: Some(Revision(5)),
            ..query()
        })
        .map(drop)
};
const OF_APPOINTMENT: Read = |store| {
    store
        .reader()?
        .history(&of_appointment(appointment_id(1), None, 10))
        .map(drop)
};
const OF_CALENDAR: Read = |store| {
    store
        .reader()?
        .history(&of_calendar(&id("ada"), None, 100))
        .map(drop)
};
const REPLACED: Read = |store| store.reader()?.replaced(Revision(2)).map(drop);
const WATCH: Read = |store| {
    store
        .reader()?
        .changes_from(
            LogPosition::of(Revision(1)),
            &WatchFilter::ALL,
            PART_EVENTS_MAX,
        )
        .map(drop)
};

/// The reads that read rows of appointments.
const ROW: &[Read] = &[CALENDAR, APPOINTMENT, WALK, LIST];

/// Descriptions of the reads that do not answer that the file is damaged; a panic counts as such a
/// read.
fn unnoticed(what: &str, store: &mut Sqlite, reads: &[Read]) -> Vec<String> {
    let mut answer = |read: &Read| catch_unwind(AssertUnwindSafe(|| read(store)));
    let answers: Vec<_> = reads.iter().map(&mut answer).collect();
    let is_damage = |it: &std::thread::Result<_>| matches!(it, Ok(Err(StoreError::Damaged(_))));
    let wrong = answers.iter().enumerate().filter(|(_, it)| !is_damage(it));
    wrong
        .map(|(at, it)| format!("{what}: read {at} answers {it:?}"))
        .collect()
}

/// The name and the type of each column of a table.
fn columns(file: &Connection, table: &str) -> Vec<(String, String)> {
    let mut statement = file
        .prepare(&format!("pragma table_info({table})"))
        .unwrap();
    let column = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
    statement
        .query_map([], column)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Values that no column of this type can hold: numbers outside every range, a byte that is no
/// text, and bytes that are neither a message nor an id.
fn impossible(kind: &str) -> &'static [&'static str] {
    match kind {
        "INTEGER" => &["9223372036854775807", "-9223372036854775808"],
        "TEXT" => &["cast(x'ff' as text)"],
        "BLOB" => &["x'ff'"],
        other => panic!("a column of type {other}"),
    }
}

#[test]
fn no_column_of_an_appointment_or_of_a_change_holds_what_it_cannot() {
    const LOG: &[Read] = &[LIST_OF_THEN, OF_APPOINTMENT, OF_CALENDAR, WATCH];
    let whole = Whole::new();
    let file = raw(&whole.file);
    let mut wrong = Vec::new();
    for (table, key, reads) in [("appointments", "key", ROW), ("changes", "revision", LOG)] {
        for (column, kind) in columns(&file, table) {
            let (rows, reads): (_, &[Read]) = match (table, column.as_str()) {
                // No code reads or writes this column yet.
                ("appointments", "customer_id") => continue,
                ("appointments", "key") => ("where key = 1", &[APPOINTMENT, WALK]),
                ("appointments", "id") => ("where key = 1", &[WALK, LIST]),
                ("changes", "revision") => (
                    "where revision = (select max(revision) from changes)",
                    &[WATCH],
                ),
                ("changes", "replaced") => ("", &[REPLACED]),
                _ => ("", reads),
            };
            for value in impossible(&kind) {
                let damage = format!("update {table} set {column} = {value} {rows}");
                let mut store = whole.damaged(|file| {
                    assert!(file.execute(&damage, []).unwrap() > 0, "{key}: {damage}")
                });
                wrong.extend(unnoticed(&damage, &mut store, reads));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// SQL that puts an impossible value into rows, with the reads that meet it.
const IMPOSSIBLE_ROWS: [(&str, &[Read]); 27] = [
    // A remembered request with an appointment id of one byte; then with a calendar, and a type,
    // whose name is a space.
    ("update requests set subject = x'0a0101'", &[REQUEST]),
    ("update requests set subject = x'120120'", &[REQUEST]),
    ("update requests set subject = x'1a0120'", &[REQUEST]),
    ("update requests set revision = -revision", &[REQUEST]),
    // A busy period without an end; then one that ends before it begins, and one that ends as it
    // begins.
    ("update busy set periods = x'0a0102'", &[CALENDAR]),
    ("update busy set periods = x'0a020402'", &[CALENDAR]),
    ("update busy set periods = x'0a020202'", &[CALENDAR]),
    (
        "update appointments set revision = -revision",
        &[APPOINTMENT, WALK, LIST],
    ),
    (
        "update appointments set key = -key",
        &[BOOT, APPOINTMENT, BY_EMAIL],
    ),
    // A place on the calendar that was created at revision 2^63.
    (
        "update appointments set places = x'0a100a036164612880808080808080808001'",
        &[APPOINTMENT, WALK],
    ),
    // Places on 101 calendars, and on none; below, a start in the middle of a minute, and one after
    // the last possible start.
    (
        "update appointments set places = (select cast(group_concat(x'0a050a03616461', '') as blob) from \
          (with recursive n(i) as (select 1 union all select i + 1 from n where i < 101) select i from n))",
        ROW,
    ),
    ("update appointments set places = x''", ROW),
    // Two places on one calendar.
    (
        "update appointments set places = x'0a050a036164610a050a03616461'",
        ROW,
    ),
    ("update appointments set duration = 0", ROW),
    ("update appointments set blocks = 2", ROW),
    ("update appointments set ignored_rules = 32", ROW),
    // No appointment can be booked after the last key, and no key is 0.
    (
        "update appointments set key = 9223372036854775807 where key = 1",
        &[BOOT],
    ),
    (
        "update appointments set key = 0 where key = 1",
        &[APPOINTMENT, WALK],
    ),
    (
        "update changes set revision = 0 where revision = 1",
        &[LIST_OF_THEN, WATCH],
    ),
    (
        "update changes set revision = 9223372036854775807 where revision = 9",
        &[BOOT, LIST, CALENDARS],
    ),
    ("update appointments set start = start + 1", ROW),
    ("update appointments set start = start + 1000000000000", ROW),
    ("update calendars set since = -since", &[CALENDAR]),
    (
        "update calendars set revision = -revision",
        &[CALENDAR, CALENDARS],
    ),
    (
        "update versions set version = -version",
        &[CALENDAR, OF_CALENDAR],
    ),
    (
        "update changes set revision = -revision",
        &[BOOT, LIST, CALENDARS],
    ),
    (
        "insert into meta (name, value) values ('first_key', -1)",
        &[BOOT],
    ),
];

#[test]
fn what_cannot_be_in_a_row_is_damage_wherever_it_is_read() {
    let whole = Whole::new();
    let all = [
        BOOT,
        CALENDAR,
        APPOINTMENT,
        BY_EMAIL,
        REQUEST,
        WALK,
        CALENDARS,
        LIST,
        LIST_OF_THEN,
        OF_APPOINTMENT,
        OF_CALENDAR,
        WATCH,
    ];
    let mut sound = whole.damaged(|_| {});
    assert_eq!(all.map(|read| read(&mut sound)), [const { Ok(()) }; 12]);
    drop(sound);
    let mut wrong = Vec::new();
    for (damage, reads) in IMPOSSIBLE_ROWS {
        let mut store =
            whole.damaged(|file| assert!(file.execute(damage, []).unwrap() > 0, "{damage}"));
        wrong.extend(unnoticed(damage, &mut store, reads));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The unit tests of `src/store/change_record.rs` have the impossible values within a record.
#[test]
fn a_change_that_cannot_be_read_is_damage_wherever_it_is_read() {
    let whole = Whole::new();
    let reads = [LIST_OF_THEN, OF_APPOINTMENT, OF_CALENDAR, WATCH];
    // A record that is no message; then an event of an appointment whose id has three bytes.
    for record in ["x'ff'", "x'2a0708011203010203'"] {
        let damage = format!("update changes set record = {record}");
        let mut store = whole.damaged(|file| assert!(file.execute(&damage, []).unwrap() > 0));
        assert_eq!(unnoticed(&damage, &mut store, &reads), Vec::<String>::new());
    }
}

/// An earlier version rounded the end up to the second after the last one.
#[test]
fn a_busy_period_that_ends_after_the_year_9999_is_read_as_one_that_lasts_until_its_end() {
    let whole = Whole::new();
    let last = Instant::MAX.seconds();
    let periods = [[last - 3_600, last + 1], [last, last + 1]];
    let read = periods.map(|bounds| {
        let zigzag = bounds
            .iter()
            .flat_map(|it| varint(2 * it.unsigned_abs()))
            .collect::<Vec<u8>>();
        let record = [vec![0x0a, u8::try_from(zigzag.len()).unwrap()], zigzag].concat();
        let mut store = whole.damaged(|file| {
            assert!(
                file.execute("update busy set periods = ?1", [&record])
                    .unwrap()
                    > 0
            )
        });
        let calendar = store
            .load_calendars(&[id("ada")], MONDAY)
            .unwrap()
            .remove(0)
            .unwrap();
        calendar.busy.of_source("elsewhere").to_vec()
    });
    let until_the_end = Interval::new(Instant::MAX.plus(-3_600), Instant::MAX);
    assert_eq!(read, [vec![until_the_end], Vec::new()]);
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
