//! On a full disk acknowledged changes stay, reads and starts work, and writing goes on with the
//! space that there is.

use std::time::Duration;

use crate::life::{Life, Story};
use bookd_kit::calls::Outcome;
use bookd_kit::disk::Disk;

const MIB: usize = 1_024 * 1_024;
/// Bytes that another program leaves free: so few that the WAL alone would fill them after a few
/// bookings.
const LEFT: usize = 100_000;
/// The size of a disk on which the reserve is one MiB, in bytes.
const ROOM: usize = 9 * MIB;
/// Free bytes of a disk that is not about to be full.
const AMPLE: usize = 200 * MIB;
/// Rounds of calls of a life in which the power goes.
const ROUNDS: usize = 80;
/// The power goes at one access in so many.
const STEP: u64 = 13;
/// The most rounds of calls until the disk is full.
const ROUNDS_MAX: usize = 2_000;

/// The newest answered revision, and the number of calls that were refused because the store could
/// not be written.
fn counted(story: &Story) -> (i64, usize) {
    let is_refusal =
        |it: &Outcome| matches!(it, Outcome::Later(reason) if reason == "STORE_UNAVAILABLE");
    let refused = story
        .ops
        .iter()
        .flat_map(|op| &op.outcomes)
        .filter(|it| is_refusal(it))
        .count();
    let acknowledged = story
        .ops
        .iter()
        .filter_map(|op| op.done())
        .map(|it| it.revision);
    (acknowledged.max().unwrap_or(0), refused)
}

/// Makes rounds of calls until several in a row have a refusal.
fn fill(story: &mut Story, life: &mut Life, disk: &Disk) {
    let mut refused = 0;
    for _ in 0..ROUNDS_MAX {
        let before = counted(story).1;
        story.go_on(life, 1, disk);
        refused = if counted(story).1 > before {
            refused + 1
        } else {
            refused
        };
        if refused > 5 || disk.is_off() {
            return;
        }
        assert!(!life.has_stopped(), "a full disk does not stop the writer");
    }
    panic!("{ROUNDS_MAX} rounds found room");
}

/// A service with a reserve, on whose disk another program then leaves so many bytes.
fn start_on_small_disk(seed: u64, left: usize, reserve: usize) -> (Disk, Story, Life) {
    let disk = Disk::new(seed);
    let mut story = Story::new(seed);
    disk.leave_room(Some(ROOM));
    let mut life = Life::start_with_reserve(&disk, &story, reserve as u64).unwrap();
    story.open(&mut life);
    story.go_on(&mut life, 5, &disk);
    disk.leave_room(Some(left));
    (disk, story, life)
}

fn judge(mut story: Story, mut life: Life, disk: &Disk, what: &str) {
    story.settle(&mut life);
    life.stop();
    story.judge(disk);
    assert!(story.found.is_empty(), "{what}: {}", story.found.join("\n"));
}

#[test]
fn on_a_full_disk_writing_goes_on_with_the_room_of_the_wal_and_of_the_reserve() {
    for reserve in [0, MIB] {
        let (disk, mut story, mut life) = start_on_small_disk(11, LEFT, reserve);
        assert_eq!(disk.length("-reserve"), reserve);
        let (database, changed) = (disk.length(""), counted(&story).0);
        if reserve > 0 {
            while disk.length("-reserve") > 0 {
                story.go_on(&mut life, 1, &disk);
                assert_eq!(
                    counted(&story).1,
                    0,
                    "nothing is refused while there is a reserve"
                );
            }
            // Another program takes most of the space of the reserve.
            disk.leave_room(Some(LEFT));
        }
        fill(&mut story, &mut life, &disk);
        let (grown, more) = (disk.length("") - database, counted(&story).0 - changed);
        eprintln!(
            "{more} changes: the database grew by {grown} bytes, the WAL has {}",
            disk.length("-wal")
        );
        assert!(
            grown > LEFT / 2,
            "most of the room is the database's: {grown}"
        );
        // A little is freed, and nothing is started again.
        disk.leave_room(Some(LEFT));
        let changed = counted(&story).0;
        fill(&mut story, &mut life, &disk);
        let more = counted(&story).0 - changed;
        assert!(more > 30, "{more} changes in {LEFT} bytes more");
        disk.leave_room(Some(AMPLE));
        life.wait(Duration::from_secs(61));
        assert_eq!(
            disk.length("-reserve"),
            reserve,
            "the reserve is made again once there is space"
        );
        story.go_on(&mut life, 5, &disk);
        judge(story, life, &disk, "full");
    }
}

#[test]
fn a_start_on_a_full_disk_reads_and_writes_again_once_there_is_room() {
    for (seed, loses_power) in (20..24).map(|seed| (seed, seed % 2 == 0)) {
        let (disk, mut story, mut life) = start_on_small_disk(seed, 50_000, 0);
        fill(&mut story, &mut life, &disk);
        if seed % 3 == 0 {
            life.stop();
        }
        let disk = if loses_power {
            disk.after_power_loss()
        } else {
            disk.after_kill()
        };
        disk.leave_room(Some(0));
        let what = format!("seed {seed}");
        let mut life = Life::start(&disk, &story).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (asked, refused) = (story.ops.len(), counted(&story).1);
        story.go_on(&mut life, 20, &disk);
        let read = story.ops[asked..]
            .iter()
            .filter(|op| op.done().is_some())
            .count();
        assert!(
            read > 0 && counted(&story).1 > refused && !life.has_stopped(),
            "{what}: {read} were answered"
        );
        // A little is freed; the WAL that was left does not take all of it.
        disk.leave_room(Some(LEFT));
        let changed = counted(&story).0;
        fill(&mut story, &mut life, &disk);
        let more = counted(&story).0 - changed;
        assert!(more > 30, "{what}: {more} changes in {LEFT} bytes more");
        disk.leave_room(None);
        let changed = counted(&story).0;
        story.go_on(&mut life, 10, &disk);
        assert!(counted(&story).0 > changed, "{what}: there is room again");
        judge(story, life, &disk, &what);
    }
}

#[test]
fn wherever_the_power_goes_while_the_disk_is_full_nothing_acknowledged_is_lost() {
    let (mut cuts, mut refused, mut at) = (0, 0, 0);
    loop {
        let reserve = if at % 3 == 0 { MIB } else { 0 };
        let (disk, mut story, mut life) = start_on_small_disk(at, 5_000, reserve);
        disk.cut_after(at);
        story.go_on(&mut life, ROUNDS, &disk);
        refused += usize::from(counted(&story).1 > 0 || disk.length("-reserve") < reserve);
        if !disk.is_off() {
            break;
        }
        cuts += 1;
        let next = disk.after_power_loss();
        next.leave_room(Some(if at % 2 == 0 { 0 } else { 20_000 }));
        let what = format!("power cut at access {at}");
        let mut life = Life::start(&next, &story).unwrap_or_else(|error| panic!("{what}: {error}"));
        story.go_on(&mut life, 2, &next);
        next.leave_room(None);
        judge(story, life, &next, &what);
        at += STEP;
    }
    eprintln!("{cuts} power cuts, {refused} of them after there was no room");
    assert!(cuts > 20 && refused > 10, "{cuts} and {refused}");
}
