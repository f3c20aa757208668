//! The power goes at random accesses to the disk: nothing acknowledged is lost, and nothing is half
//! done.
//!
//! `BOOKD_CUTS=n` sets the number of power cuts, `BOOKD_SEED=n` begins with another story.

use crate::life::{Life, Story};
use bookd_kit::chance::{Chance, budget};
use bookd_kit::disk::Disk;

/// The number of power cuts in `cargo test`.
const CUTS: u64 = 300;
/// Power cuts in one story.
const LIVES: u64 = 4;
/// Rounds of three calls in a life.
const ROUNDS: usize = 12;
/// More accesses than the longest life makes.
const LATEST: u64 = 900;

/// Runs a story with power cuts, and answers how many there were.
fn story(seed: u64, lies: bool) -> (Story, u64) {
    let mut story = Story::new(seed);
    let mut chance = Chance(!seed);
    let mut disk = Disk::new(chance.next_number());
    let (mut cuts, mut is_open) = (0, false);
    for _ in 0..LIVES {
        // Half of the cuts come early: while the file is made, opened again, or repaired after the
        // last life.
        let access = if chance.is(2) {
            chance.below(80)
        } else {
            chance.below(LATEST)
        };
        disk.cut_after(access);
        if lies {
            disk.lie();
        }
        if let Ok(mut life) = Life::start(&disk, &story) {
            if !is_open {
                story.open(&mut life);
                is_open = true;
            }
            story.go_on(&mut life, ROUNDS, &disk);
            if !disk.is_off() && chance.is(2) {
                // Some lives are stopped in order before; the power goes while the store closes, or
                // later.
                life.stop();
            }
        }
        cuts += 1;
        disk = disk.after_power_loss();
    }
    match Life::start(&disk, &story) {
        Ok(mut life) => {
            story.settle(&mut life);
            life.stop();
        }
        Err(error) => story.found.push(format!(
            "the service does not start after {cuts} cuts: {error}"
        )),
    }
    story.judge(&disk);
    (story, cuts)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_done_wherever_the_power_goes() {
    let first = budget("BOOKD_SEED", 1);
    let (mut cuts, mut acknowledged) = (0, 0);
    let wanted = budget("BOOKD_CUTS", CUTS);
    for seed in first.. {
        let (story, cut) = story(seed, false);
        assert!(
            story.found.is_empty(),
            "BOOKD_SEED={seed} BOOKD_CUTS=1:\n{}",
            story.found.join("\n")
        );
        cuts += cut;
        acknowledged += story.acknowledged();
        if cuts >= wanted {
            break;
        }
    }
    eprintln!("{cuts} power cuts, {acknowledged} calls acknowledged, none lost");
    assert!(
        acknowledged as u64 > cuts,
        "calls must come to something, or nothing is shown"
    );
}

#[test]
fn a_disk_that_only_says_that_it_syncs_is_found_out() {
    let found = (1..=8)
        .filter(|seed| !story(*seed, true).0.found.is_empty())
        .count();
    assert!(
        found >= 4,
        "a proof that sees no loss where there is loss proves nothing; {found} of 8 were seen"
    );
}
