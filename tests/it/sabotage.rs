//! The proofs see: each bug that is switched on makes the proof fail that is there for it.
//!
//! Debug builds alone have the bugs. The proofs run as `cargo test` runs them, in processes of their own.
#![cfg(debug_assertions)]
#![allow(clippy::print_stderr, reason = "how long each took is for people")]

use std::process::{Command, Stdio};
use std::time::Instant;

use bookd::sabotage::Bug;

/// The layer of proof that catches a bug: the test binary, and its test.
fn catcher(bug: Bug) -> (&'static str, &'static str) {
    const MODEL: (&str, &str) = ("core", "model::every_command_leads_to_what_the_reference_says_in_every_zone");
    const POWER: (&str, &str) =
        ("sim", "power::nothing_acknowledged_is_lost_and_nothing_is_half_done_wherever_the_power_goes");
    const ERRORS: (&str, &str) = ("sim", "io_errors::whichever_access_fails_what_is_answered_is_true_and_it_goes_on");
    const SIMULATION: (&str, &str) = ("sim", "seeds::under_every_seed_all_promises_are_kept_and_everything_converges");
    match bug {
        Bug::BufferForgotten | Bug::SeatTooMany | Bug::HoldOutlivesItself | Bug::HoldSettledTwice => MODEL,
        Bug::AnswerBeforeCommit | Bug::NormalForFull | Bug::HalfABatch | Bug::RevisionReused => POWER,
        Bug::UndoForgotten | Bug::UnknownTakenForRefused => ERRORS,
        Bug::ClockRunsBack | Bug::JumpBelieved | Bug::WatchSkips | Bug::RequestForgotten | Bug::ForeseenStale => {
            SIMULATION
        }
    }
}

/// Runs one test of this package with a bug; whether it passed, and what it said.
fn run((binary, test): (&str, &str), bug: Bug) -> (bool, String) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--locked", "--test", binary, "--", "--exact", test]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.env("BOOKD_BUG", format!("{bug:?}"));
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("running 1 test"), "{test} is not in {binary}: {said}");
    (output.status.success(), said)
}

#[test]
fn every_bug_that_is_switched_on_is_caught_by_the_layer_that_is_there_for_it() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let (binary, test) = catcher(bug);
        let started = Instant::now();
        let (has_passed, said) = run((binary, test), bug);
        eprintln!("{bug:?} is caught by {binary}: {test} in {:.1} s", started.elapsed().as_secs_f64());
        if has_passed || !said.contains("FAILED") {
            missed.push(format!("{bug:?} is not caught by {binary}: {test}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
