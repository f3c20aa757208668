//! One changed byte anywhere in a store's files: every answer is right or an error, nothing panics,
//! and `bookd check` finds it.
//!
//! `make damage TRIALS=1000 SEED=7` makes more trials.
#![allow(
    clippy::print_stderr,
    reason = "the outcomes of the trials are for people"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bookd::store::sqlite::{CopySource, Sqlite};
use bookd::store::{CommitBatch, OpenError, RequestRecord, Store, StoreError};
use bookd_core::command::Command;
use bookd_core::ids::Revision;
use bookd_core::time::interval::Interval;
use tempfile::TempDir;

use crate::every_question::{Answer, CALENDARS, HASHES, answers};
use crate::stored::{
    CODE_KEY, MONDAY, World, appointment_id, at_hour, cancel, id, live_a_life, move_to, open, zones,
};
use bookd_kit::chance::{Chance, budget};

const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// The files of a store, and the right answers.
struct Whole {
    _folder: TempDir,
    /// A database that was closed: there is no WAL.
    at_rest: PathBuf,
    /// The files of a killed process, with some hundred transactions in the WAL.
    killed: PathBuf,
    right_at_rest: Vec<String>,
    right_killed: Vec<String>,
    /// Its calendars and upcoming appointments.
    counted: (u64, u64),
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn copy(from: &Path, to: &Path) {
    for ending in ENDINGS {
        let (from, to) = (with_ending(from, ending), with_ending(to, ending));
        let _was_there = fs::remove_file(&to);
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Fills four calendars with rows of every kind.
fn fill(world: &mut World) {
    live_a_life(world);
    for name in &CALENDARS[1..] {
        open(world, name, "Europe/Paris");
    }
    let busy = Command::PutBusy {
        calendar: id("bob"),
        source: "elsewhere".to_owned(),
        range: Interval::new(MONDAY, at_hour(400)),
        periods: (0..60)
            .map(|it| Interval::new(at_hour(3 * it), at_hour(3 * it + 1)))
            .collect(),
    };
    world.run(&busy);
    let request = RequestRecord {
        hash: HASHES[0],
        fingerprint: [9; 16],
        revision: world.state.revision.next(),
        time: MONDAY,
        appointments: vec![appointment_id(1)],
        calendar: Some(id("ada")),
        type_id: None,
        token: None,
    };
    let reason = Command::PutBusy {
        calendar: id("cy"),
        source: "elsewhere".to_owned(),
        range: Interval::new(MONDAY, at_hour(4)),
        periods: vec![Interval::new(at_hour(1), at_hour(2))],
    };
    let decision = bookd_core::decide::decide(&world.state, &reason, world.now).unwrap();
    world.commit(&decision, &[request]).unwrap();
    for number in 0..240 {
        book(world, number);
    }
    for number in 0..20 {
        world.run(&move_to(
            appointment_id(100 + number),
            at_hour(1_000 + 2 * i64::try_from(number).unwrap()),
        ));
        world.run(&cancel(appointment_id(140 + number)));
    }
}

fn book(world: &mut World, number: u128) {
    let calendar = CALENDARS[1 + usize::try_from(number % 3).unwrap()];
    let hour = 200 + 5 * i64::try_from(number / 3).unwrap();
    world.book(100 + number, calendar, at_hour(hour));
}

impl Whole {
    fn new() -> Self {
        let mut world = World::sqlite();
        fill(&mut world);
        let kept = world.folder.clone().unwrap();
        let file = kept.path().join("bookd.db");
        let folder = TempDir::new().unwrap();
        let (at_rest, killed) = (
            folder.path().join("at_rest.db"),
            folder.path().join("killed.db"),
        );
        world.reopen();
        for number in 240..300 {
            book(&mut world, number);
        }
        copy(&file, &killed);
        drop(world);
        copy(&file, &at_rest);
        let (mut one, mut other) = (folder.path().join("one.db"), folder.path().join("other.db"));
        let right = |from: &Path, to: &mut PathBuf| {
            copy(from, to);
            let mut store = opened(to).unwrap();
            answers(&mut store)
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        copy(&at_rest, &one);
        let counted = counted(&mut opened(&one).unwrap()).unwrap();
        assert!(counted.1 > 100, "{counted:?}");
        let (right_at_rest, right_killed) = (right(&at_rest, &mut one), right(&killed, &mut other));
        assert_eq!(
            right_at_rest, right_killed,
            "committed changes are there after a kill"
        );
        assert!(
            !with_ending(&at_rest, "-wal").exists()
                && fs::metadata(with_ending(&killed, "-wal")).unwrap().len() > 1 << 20
        );
        Self {
            _folder: folder,
            at_rest,
            killed,
            right_at_rest,
            right_killed,
            counted,
        }
    }
}

/// How many calendars and upcoming appointments there are.
fn counted(store: &mut Sqlite) -> Result<(u64, u64), StoreError> {
    let all = store.usage(MONDAY)?.all(MONDAY);
    let sum =
        |(calendars, appointments), (_, of, upcoming)| (calendars + of, appointments + upcoming);
    Ok(all.into_iter().fold((0, 0), sum))
}

fn opened(file: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(file, zones(), CODE_KEY)
}

/// Whether `bookd check` finds damage in these files, or fails.
fn is_found(file: &Path) -> bool {
    check_finds(file).unwrap_or(true)
}

fn check_finds(file: &Path) -> Result<bool, StoreError> {
    let Ok(source) = CopySource::open_unwritten(file) else {
        return Ok(true);
    };
    if source.is_older() {
        return Ok(!source.integrity()?.is_empty());
    }
    let mut store = source.into_store(zones())?;
    if !store.look_over()?.findings.is_empty() {
        return Ok(true);
    }
    let oldest = store.oldest()?;
    let report = bookd::admin::check::check(&mut store, oldest, &zones(), MONDAY, |_| ())?;
    Ok(report.is_damaged())
}

/// Changes one byte of a file, and answers which.
fn damage(file: &Path, chance: &mut Chance) -> String {
    let bytes = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let at = chance.below(bytes.metadata().unwrap().len());
    let mut byte = [0];
    bytes.read_exact_at(&mut byte, at).unwrap();
    let other = byte[0] ^ u8::try_from(1 + chance.below(255)).unwrap();
    bytes.write_all_at(&[other], at).unwrap();
    format!("{}: byte {at} from {} to {other}", file.display(), byte[0])
}

/// The wrong answers of a store, and the number of refused ones.
fn wrong(answers: &[Answer], right: &[String]) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        match (answer, right.get(at)) {
            (Ok(answer), Some(right)) if answer == right => {}
            (Err(StoreError::Damaged(_)), _) => {}
            (answer, _) => wrong.push(format!("question {at}: {:.300}", format!("{answer:?}"))),
        }
    }
    let refused = answers.iter().filter(|it| it.is_err()).count();
    if refused == 0 && answers.len() != right.len() {
        wrong.push(format!(
            "{} answers for {} questions",
            answers.len(),
            right.len()
        ));
    }
    (wrong, refused)
}

/// The outcomes of some trials.
#[derive(Default)]
struct Tally {
    trials: u64,
    /// The store was not opened.
    refused: u64,
    /// The store was opened, and some answers were refused.
    partly: u64,
    /// Every answer was right.
    unharmed: u64,
    found: u64,
    wrong: Vec<String>,
}

impl Tally {
    fn print(&self, what: &str) {
        let Self {
            trials,
            refused,
            partly,
            unharmed,
            found,
            wrong,
        } = self;
        eprintln!(
            "{what}: {trials} damaged, {refused} not opened, {partly} opened with answers refused, {unharmed} answered \
             right throughout, {found} found by check, {} wrong",
            wrong.len()
        );
    }
}

fn try_damage(whole: &Whole, ending: &str, trials: u64, seed: u64, must_be_found: bool) -> Tally {
    let (source, right) = if ending.is_empty() {
        (&whole.at_rest, &whole.right_at_rest)
    } else {
        (&whole.killed, &whole.right_killed)
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    let (mut chance, mut tally) = (Chance(seed), Tally::default());
    for _ in 0..trials {
        copy(source, &file);
        let what = damage(&with_ending(&file, ending), &mut chance);
        tally.trials += 1;
        let found = catch_unwind(AssertUnwindSafe(|| is_found(&file)));
        let answered = catch_unwind(AssertUnwindSafe(|| {
            opened(&file).map(|mut it| (answers(&mut it), counted(&mut it)))
        }));
        match found {
            Ok(true) => tally.found += 1,
            Ok(false) if must_be_found => tally.wrong.push(format!("{what}: not found")),
            Ok(false) => {}
            Err(_) => tally.wrong.push(format!("{what}: the check panics")),
        }
        match answered {
            Err(_) => tally.wrong.push(format!("{what}: panics")),
            Ok(Err(_)) => tally.refused += 1,
            Ok(Ok((answers, counted))) => {
                let (mut wrong, refused) = wrong(&answers, right);
                // A start counts what tenants have, and must not fail for damage.
                if counted.is_err()
                    || counted.is_ok_and(|it| it.0 > whole.counted.0 || it.1 > whole.counted.1)
                {
                    wrong.push("what tenants have".to_owned());
                }
                tally.partly += u64::from(refused > 0);
                tally.unharmed += u64::from(refused == 0);
                tally
                    .wrong
                    .extend(wrong.into_iter().map(|it| format!("{what}: {it}")));
            }
        }
    }
    tally
}

fn seed() -> u64 {
    budget("BOOKD_DAMAGE_SEED", 7)
}

fn trials(usual: u64) -> u64 {
    budget("BOOKD_DAMAGES", usual)
}

#[test]
fn one_byte_of_the_database_at_rest_gives_no_wrong_answer_and_is_found() {
    let tally = try_damage(&Whole::new(), "", trials(60), seed(), true);
    tally.print("database");
    assert_eq!(tally.wrong, Vec::<String>::new());
}

#[test]
fn one_byte_of_the_wal_that_a_killed_server_left_gives_no_wrong_answer_and_is_found() {
    let tally = try_damage(&Whole::new(), "-wal", trials(40), seed(), true);
    tally.print("WAL");
    assert_eq!(tally.wrong, Vec::<String>::new());
}

/// Without the index, damage in the last transaction looks like a power loss. Damage anywhere else
/// is found.
#[test]
fn one_byte_of_a_wal_without_its_index_takes_away_the_last_transaction_at_most() {
    let whole = Whole::new();
    fs::remove_file(with_ending(&whole.killed, "-shm")).unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    let (mut chance, mut cut) = (Chance(seed()), 0);
    let last = newest(&whole.killed, &file).unwrap();
    for _ in 0..trials(40) {
        copy(&whole.killed, &file);
        let what = damage(&with_ending(&file, "-wal"), &mut chance);
        match opened(&file) {
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
            Ok(mut store) => {
                // The last transaction is missing, or the one before too if the damaged frame ends
                // that one.
                assert!(store.boot().unwrap().revision.0 + 2 >= last.0, "{what}");
                cut += 1;
            }
        }
    }
    eprintln!("WAL without index: {cut} times taken for cut short");
}

fn newest(from: &Path, file: &Path) -> Result<Revision, OpenError> {
    copy(from, file);
    Ok(opened(file)?.boot().unwrap().revision)
}

/// SQLite builds the index anew when the first process opens the file, so there is nothing to find.
#[test]
fn one_byte_of_the_index_that_a_killed_server_left_changes_nothing() {
    let tally = try_damage(&Whole::new(), "-shm", trials(30), seed(), false);
    tally.print("index");
    assert_eq!(tally.wrong, Vec::<String>::new());
    assert_eq!(tally.unharmed, tally.trials, "nothing is refused either");
}

/// While a store has the files open: what it reads from then on is right or refused, and so is what
/// it has committed.
#[test]
fn one_byte_of_the_files_under_an_open_store_gives_no_wrong_answer() {
    let whole = Whole::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    let (mut chance, mut tally) = (Chance(seed()), Tally::default());
    for trial in 0..trials(40) {
        let ending = if trial % 2 == 0 { "" } else { "-wal" };
        copy(&whole.at_rest, &file);
        let mut store = opened(&file).unwrap();
        if ending == "-wal" {
            // The WAL must have a transaction.
            let request = RequestRecord {
                hash: [77; 16],
                fingerprint: [9; 16],
                revision: Revision(1),
                time: MONDAY,
                appointments: Vec::new(),
                calendar: None,
                type_id: None,
                token: None,
            };
            store
                .commit(&CommitBatch {
                    changes: &[],
                    requests: &[request],
                    expected: &[],
                })
                .unwrap();
        }
        let what = damage(&with_ending(&file, ending), &mut chance);
        tally.trials += 1;
        match catch_unwind(AssertUnwindSafe(|| answers(&mut store))) {
            Err(_) => tally.wrong.push(format!("{what}: panics")),
            Ok(answers) => {
                let (wrong, refused) = wrong(&answers, &whole.right_at_rest);
                tally.partly += u64::from(refused > 0);
                tally.unharmed += u64::from(refused == 0);
                tally
                    .wrong
                    .extend(wrong.into_iter().map(|it| format!("{what}: {it}")));
            }
        }
        let closed = catch_unwind(AssertUnwindSafe(|| drop(store)));
        tally.wrong.extend(
            closed
                .is_err()
                .then(|| format!("{what}: panics at the end")),
        );
    }
    tally.print("under an open store");
    assert_eq!(tally.wrong, Vec::<String>::new());
}
