//! The promises that only a store in a file can keep: no personal data in its log, and no change to
//! a newer file.
//!
//! The tests read the file themselves, beside the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bookd::store::memory::Memory;
use bookd::store::sqlite::Sqlite;
use bookd::store::{CommitBatch, CommitError, ListQuery, OpenError, Store, StoreError};
use bookd_core::appointment::AppointmentState;

use bookd::proto::v1 as pb;

use crate::harness::{Bookd, at, reason};
use crate::stored::{World, live_a_life, query, raw, zones};

const PERSONAL: [&str; 9] = [
    "Grace",
    "grace@",
    "Example.com",
    "555 0100",
    "New_York",
    "secret-note",
    "secret-key",
    "secret-value",
    "secret-reason",
];

#[test]
fn nothing_personal_is_in_the_bytes_of_the_log() {
    let mut world = World::sqlite();
    live_a_life(&mut world);
    let file = world.folder.as_ref().unwrap().path().join("bookd.db");
    let connection = raw(file);
    let mut statement = connection.prepare("select record from changes").unwrap();
    let records = statement
        .query_map([], |row| row.get::<_, Vec<u8>>(0))
        .unwrap();
    let records: Vec<String> = records
        .map(|it| String::from_utf8_lossy(&it.unwrap()).into_owned())
        .collect();
    assert_eq!(records.len() as u64, world.state.revision.0);
    assert!(
        records.iter().any(|it| it.contains("special")),
        "the log is read as it was written"
    );
    for personal in PERSONAL {
        assert!(
            !records.iter().any(|it| it.contains(personal)),
            "{personal} is in the log"
        );
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    drop(Sqlite::open(&file, zones(), 1).unwrap());
    let connection = raw(&file);
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    let refused = Sqlite::open(&file, zones(), 1).err().unwrap();
    assert!(
        matches!(refused, OpenError::Newer { found: 99, .. }),
        "{refused}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_list_of_what_takes_place_reads_nothing_that_is_over() {
    let mut world = World::sqlite();
    live_a_life(&mut world);
    let mut reader = world.store().reader().unwrap();
    let mut lists = |states| {
        let page = reader.list_appointments(&ListQuery { states, ..query() });
        page.map(|it| it.appointments.len())
    };
    let is_over = |it: &AppointmentState| it.is_over();
    let (over, not_over): (Vec<_>, Vec<_>) = AppointmentState::ALL.into_iter().partition(is_over);
    let count = lists(not_over.clone()).unwrap();
    assert!(count > 0 && lists(AppointmentState::ALL.to_vec()).unwrap() > count);
    // From now on a read of cancelled appointments finds the row damaged.
    let file = world.folder.as_ref().unwrap().path().join("bookd.db");
    let damage = "update appointments set places = x'ff' where state in (4, 5, 6)";
    assert!(raw(file).execute(damage, []).unwrap() > 0);
    assert_eq!(lists(not_over), Ok(count));
    assert!(matches!(lists(over), Err(StoreError::Damaged(_))));
}

#[test]
fn a_second_store_of_one_file_is_refused_until_the_first_and_its_readers_are_dropped() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    let first = Sqlite::open(&file, zones(), 1).unwrap();
    assert!(matches!(
        Sqlite::open(&file, zones(), 1),
        Err(OpenError::InUse { .. })
    ));
    let reader = first.reader().unwrap();
    drop(first);
    // SQLite has the file open with locks of its own, which closing any descriptor of the file
    // would release.
    assert!(matches!(
        Sqlite::open(&file, zones(), 1),
        Err(OpenError::InUse { .. })
    ));
    drop(reader);
    assert_eq!(
        Sqlite::open(&file, zones(), 2)
            .unwrap()
            .boot()
            .unwrap()
            .code_key,
        1,
        "the secret stays"
    );
}

/// The store's own tests show that SQLite reports a file without the right to write.
#[tokio::test]
async fn a_store_that_cannot_be_written_is_unavailable_for_writes_and_read_meanwhile() {
    let memory = Memory::new(1);
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.open("ada", "09:00", "17:00").await;
    memory.fail_next_commit(CommitError::Refused(StoreError::ReadOnly));
    let refused = bookd
        .booking()
        .book_appointment(at("ada", "10:00"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::Unavailable, "STORE_UNAVAILABLE")
    );
    assert!(refused.message().contains("permissions"), "{refused:?}");
    let list = pb::ListAppointmentsRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    let listed = bookd
        .lists()
        .list_appointments(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.appointments, [], "nothing happened");
    bookd
        .booking()
        .book_appointment(at("ada", "10:00"))
        .await
        .unwrap();
    bookd.stop().await;
}

/// There are two readers, of which one is always reading: SQLite by itself would never begin the
/// WAL anew.
#[tokio::test]
async fn the_wal_is_bounded_however_reads_overlap() {
    /// The WAL is copied at 8,000 pages of 4 KiB, and after as many more the writer waits for
    /// readers.
    const WAL_BYTES_MAX: u64 = 3 * 8_000 * 4_120;
    let bookd = Bookd::start().await;
    bookd.open("ada", "00:00", "24:00").await;
    let file = bookd.file();
    let is_over = Arc::new(AtomicBool::new(false));
    let (to_left, from_right) = std::sync::mpsc::channel();
    let (to_right, from_left) = std::sync::mpsc::channel();
    // Each reader ends its read after the other has begun one.
    let readers = [(to_left, from_left), (to_right, from_right)].map(|(begun, other_has_begun)| {
        let (file, is_over) = (file.clone(), Arc::clone(&is_over));
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let run = move || {
            let mut reads = 0_u64;
            let mut connection = raw(file);
            while !is_over.load(Relaxed) {
                let transaction = connection.transaction().unwrap();
                let _newest: i64 = transaction
                    .query_row("select max(revision) from changes", [], |row| row.get(0))
                    .unwrap();
                reads += 1;
                if begun.send(()).is_err() || other_has_begun.recv().is_err() {
                    break;
                }
            }
            reads
        };
        thread.spawn(run).unwrap()
    });
    let mut written = 0;
    for round in 0..160 {
        book_many(&bookd, round).await;
        let bytes = wal_bytes(&bookd);
        assert!(bytes <= WAL_BYTES_MAX, "{bytes} bytes after {round} rounds");
        written = written.max(bytes);
    }
    assert!(
        written > 8_000 * 4_096,
        "the WAL was never long enough to be copied"
    );
    is_over.store(true, Relaxed);
    assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    bookd.stop().await;
}

/// During a long read, such as a backup, the WAL cannot begin anew; it does after the read.
#[tokio::test]
async fn what_a_long_read_made_of_the_wal_is_given_back() {
    const KEPT_BYTES: u64 = 64 * 1_024 * 1_024;
    let bookd = Bookd::start().await;
    bookd.open("ada", "00:00", "24:00").await;
    let mut reader = raw(bookd.file());
    let transaction = reader.transaction().unwrap();
    let _newest: i64 = transaction
        .query_row("select max(revision) from changes", [], |row| row.get(0))
        .unwrap();
    let mut rounds = 0..300;
    let mut until = async |is_so: fn(u64) -> bool| {
        while !is_so(wal_bytes(&bookd)) {
            book_many(&bookd, rounds.next().expect("fewer rounds are needed")).await;
        }
    };
    until(|bytes| bytes > KEPT_BYTES + KEPT_BYTES / 2).await;
    drop(transaction);
    until(|bytes| bytes <= KEPT_BYTES).await;
    bookd.stop().await;
}

fn wal_bytes(bookd: &Bookd) -> u64 {
    let mut wal = bookd.file().into_os_string();
    wal.push("-wal");
    std::fs::metadata(&wal).unwrap().len()
}

/// Books 20 appointments of 44 KB, at other times in each round.
async fn book_many(bookd: &Bookd, round: i64) {
    let requests = (0..20).map(|one| {
        let mut request = at("ada", "10:00");
        request.start_time.as_mut().unwrap().seconds += (round * 20 + one) * 3_600;
        pb::BookAppointmentRequest {
            note: "n".repeat(4_000),
            metadata: long_metadata(),
            ..request
        }
    });
    let request = pb::BatchBookRequest {
        requests: requests.collect(),
        ..Default::default()
    };
    bookd.booking().batch_book(request).await.unwrap();
}

/// Metadata of 40 KB, so that an appointment takes many pages.
fn long_metadata() -> BTreeMap<String, String> {
    (0..40)
        .map(|key| (format!("key-{key}"), "v".repeat(1_000)))
        .collect()
}

#[test]
fn the_reference_fails_as_the_script_says() {
    let empty = CommitBatch {
        changes: &[],
        requests: &[],
        expected: &[],
    };
    let mut memory = Memory::new(1);
    let full = CommitError::Refused(StoreError::Full);
    let lost = StoreError::Io("gone".to_owned());
    memory.fail_next_commit(full.clone());
    memory.lose_next_commit(lost.clone());
    assert_eq!(memory.commit(&empty), Err(full));
    assert_eq!(memory.commit(&empty), Err(CommitError::Unknown(lost)));
    assert_eq!(memory.commit(&empty), Ok(()));
}

/// SQLite copies the WAL when the last connection closes; two that close at the same time each take
/// the other for one that stays. Hence the rounds.
#[tokio::test]
async fn a_stop_copies_the_wal_and_removes_it() {
    for round in 0..60 {
        let bookd = Bookd::with_ada().await;
        let folder = bookd.stop_and_keep().await;
        let is_left = folder.path().join("bookd.db-wal").exists();
        assert!(!is_left, "the WAL is left after stop {round}");
    }
}
