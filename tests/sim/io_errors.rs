//! Every single access to the disk of one story fails, one at a time: each answer is true, and the
//! service goes on.
//!
//! `BOOKD_IO_ROUNDS=n` makes the story longer, `BOOKD_SEED=n` makes another one.

use bookd::store::sqlite::{Drive, Sqlite};
use bookd::store::{CommitError, Store};
use bookd_core::time::Instant;
use rusqlite::{Connection, OpenFlags};

use crate::life::{CODE_KEY, Life, Story, lookup};
use crate::world::BEGINNING;
use bookd_kit::calls::Outcome;
use bookd_kit::chance::budget;
use bookd_kit::disk::{Access, Disk, Fault};

/// Rounds of three calls in a story.
const ROUNDS: u64 = 4;

/// The outcome of one story with one failure.
struct Ended {
    story: Story,
    failed: Option<Access>,
    accesses: u64,
}

/// Runs the story with a failure at access number `at`; afterwards the machine loses power or only
/// the process dies.
fn story(seed: u64, failure: Option<(u64, Fault)>, loses_power: bool) -> Ended {
    let rounds = usize::try_from(budget("BOOKD_IO_ROUNDS", ROUNDS)).unwrap();
    let mut story = Story::new(seed);
    let disk = Disk::new(seed);
    if let Some((at, fault)) = failure {
        disk.fail_after(at, fault);
    }
    let mut has_stopped = false;
    if let Ok(mut life) = Life::start(&disk, &story) {
        story.open(&mut life);
        story.go_on(&mut life, rounds, &disk);
        has_stopped = life.has_stopped();
        if !has_stopped {
            // The failure does not come again: the rest must be as if it had not been.
            story.resolve(&mut life);
            story.go_on(&mut life, 1, &disk);
            has_stopped = life.has_stopped();
        }
    }
    let (accesses, failed) = (disk.accesses(), disk.failed());
    is_stopped_when_unknown(&mut story, has_stopped);
    // A failed sync may stop the writer, whatever it reports.
    if has_stopped && failed == Some(Access::Write) && matches!(failure, Some((_, Fault::Full))) {
        story
            .found
            .push("the disk was full, and the writer has stopped".to_owned());
    }
    let disk = if loses_power {
        disk.after_power_loss()
    } else {
        disk.after_kill()
    };
    match Life::start(&disk, &story) {
        Ok(mut life) => {
            story.settle(&mut life);
            life.stop();
        }
        Err(error) => story.found.push(format!(
            "the service does not start after the failure: {error}"
        )),
    }
    story.judge(&disk);
    Ended {
        story,
        failed,
        accesses,
    }
}

/// Finds a writer that goes on although it does not know the outcome of a commit.
fn is_stopped_when_unknown(story: &mut Story, has_stopped: bool) {
    let is_unknown =
        |it: &Outcome| matches!(it, Outcome::Unknown(reason) if reason == "COMMIT_UNKNOWN");
    let unknown = story
        .ops
        .iter()
        .position(|op| op.outcomes.iter().any(is_unknown));
    if unknown.is_some() && !has_stopped {
        story
            .found
            .push("the outcome of a commit is not known, and the writer goes on".to_owned());
    }
}

#[test]
fn whichever_access_fails_what_is_answered_is_true_and_it_goes_on() {
    let seed = budget("BOOKD_SEED", 7);
    let whole = story(seed, None, false);
    assert!(
        whole.story.found.is_empty(),
        "without a failure: {}",
        whole.story.found.join("\n")
    );
    let (mut failures, mut syncs, mut stopped) = (0_u64, 0_u64, 0_u64);
    for at in 0..whole.accesses {
        for (fault, loses_power) in [
            (Fault::Io, false),
            (Fault::Io, true),
            (Fault::Full, at % 2 == 0),
        ] {
            let it = story(seed, Some((at, fault)), loses_power);
            let found = it.story.found.join("\n");
            assert!(
                found.is_empty(),
                "{fault:?} at access {at} ({:?}), {loses_power}:\n{found}",
                it.failed
            );
            failures += 1;
            syncs += u64::from(it.failed == Some(Access::Sync));
            let is_unknown = |it: &Outcome| matches!(it, Outcome::Unknown(_));
            stopped += u64::from(
                it.story
                    .ops
                    .iter()
                    .any(|op| op.outcomes.iter().any(is_unknown)),
            );
        }
    }
    eprintln!(
        "{failures} failures at {} accesses, {syncs} of them of a sync; {stopped} stopped the writer",
        whole.accesses
    );
    assert!(syncs > 0 && stopped > 0, "syncs fail, too");
}

#[test]
fn a_sync_that_fails_while_something_old_is_forgotten_is_no_refusal() {
    let (mut unknown, mut at) = (0, 0);
    loop {
        let disk = Disk::new(at);
        let mut story = Story::new(3);
        let mut life = Life::start(&disk, &story).unwrap();
        story.open(&mut life);
        life.stop();
        let mut store = Sqlite::open_on(&disk, lookup(), CODE_KEY).unwrap();
        let later = Instant::from_seconds(BEGINNING + 86_400);
        disk.fail_after(at, Fault::Io);
        let forgotten = store.forget_requests(later, 100).map(|_| ());
        let compacted = store.compact_changes(later, 100).map(|_| ());
        let Some(access) = disk.failed() else { break };
        let failed: Vec<CommitError> = [forgotten, compacted]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        let is_unknown = failed
            .iter()
            .any(|it| matches!(it, CommitError::Unknown(_)));
        assert!(
            access != Access::Sync || is_unknown,
            "access {at}, a sync: {failed:?}"
        );
        unknown += usize::from(is_unknown);
        at += 1;
    }
    assert!(unknown >= 2, "both sync");
}

/// A copy of the WAL that a reader cuts short is not synced. The next copy syncs the writes of
/// both; if that sync fails, a third one would sync only its own writes, and begin the WAL anew.
#[test]
fn a_sync_that_fails_while_the_wal_is_copied_stops_the_writer_and_nothing_is_lost() {
    let mut failures = 0;
    for before in (1..40).step_by(4) {
        for after in [30, 45] {
            let seed = before as u64 * 100 + after as u64;
            let disk = Disk::new(seed);
            let mut story = Story::new(seed);
            let mut life = Life::start(&disk, &story).unwrap();
            story.open(&mut life);
            story.go_on(&mut life, before, &disk);
            let reads = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader =
                Connection::open_with_flags_and_vfs(disk.file(), reads, disk.vfs()).unwrap();
            reader.execute_batch("begin").unwrap();
            let _changes: i64 = reader
                .query_row("select count(*) from changes", [], |row| row.get(0))
                .unwrap();
            story.go_on(&mut life, 12, &disk);
            drop(reader);
            disk.fail_sync_of_database();
            story.go_on(&mut life, after, &disk);
            let has_failed = disk.failed() == Some(Access::Sync);
            failures += u64::from(has_failed);
            assert_eq!(life.has_stopped(), has_failed, "{before} {after}");
            // The last connection that closes must not copy the WAL either.
            if before % 8 == 1 {
                life.stop();
            }
            assert_eq!(disk.trusted_after_failure(), 0, "{before} {after}");
            let disk = disk.after_power_loss();
            let mut life = Life::start(&disk, &story).unwrap();
            story.settle(&mut life);
            life.stop();
            story.judge(&disk);
            assert!(
                story.found.is_empty(),
                "{before} {after}: {}",
                story.found.join("\n")
            );
        }
    }
    assert!(failures > 10, "{failures}");
}

/// After a failed sync the WAL that the system still shows is not on the disk, and no later sync
/// writes it. The WAL must be written anew before it is copied into the database, or a power loss
/// in the middle leaves half of the copy and no WAL.
#[test]
fn a_power_loss_while_a_failed_sync_is_made_good_tears_nothing() {
    let mut cuts = 0;
    let seeds = budget("BOOKD_IO_ROUNDS", ROUNDS);
    for seed in 1..=seeds {
        for at in 0.. {
            let mut story = Story::new(seed);
            let disk = cut_while_it_is_made_good(&mut story, seed, at);
            if !disk.is_off() {
                break;
            }
            cuts += 1;
            let disk = disk.after_power_loss();
            let mut life =
                Life::start(&disk, &story).unwrap_or_else(|error| panic!("{seed} {at}: {error}"));
            story.settle(&mut life);
            life.stop();
            story.judge(&disk);
            let found = story.found.join("\n");
            assert!(
                found.is_empty(),
                "seed {seed}, power cut at access {at}: {found}"
            );
        }
    }
    eprintln!("{cuts} power cuts while a failed sync was made good");
    assert!(cuts > 100, "{cuts}");
}

/// Lets the sync of a commit fail and the process die; then the power goes at an access of the next
/// process.
fn cut_while_it_is_made_good(story: &mut Story, seed: u64, at: u64) -> Disk {
    let disk = Disk::new(seed);
    let mut life = Life::start(&disk, story).unwrap();
    story.open(&mut life);
    story.go_on(&mut life, 12, &disk);
    life.stop();
    // The WAL has just begun, so that its pages are nowhere else.
    let mut life = Life::start(&disk, story).unwrap();
    disk.fail_sync_of_wal();
    story.go_on(&mut life, 4, &disk);
    assert!(
        life.has_stopped() && disk.failed() == Some(Access::Sync),
        "{seed}"
    );
    let next = disk.after_kill();
    drop(life);
    next.cut_after(at);
    if let Ok(life) = Life::start(&next, story) {
        life.stop();
    }
    next
}
