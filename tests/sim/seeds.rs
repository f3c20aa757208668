//! Runs seeds, each in a process of its own, and shows that a seed makes the same run every time.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::run::{Report, run};
use bookd_kit::chance::budget;

/// The number of seeds in `cargo test`.
const SEEDS: u64 = 100;
/// The longest time of a process that runs a seed; a run takes less than a second.
const LONGEST: Duration = Duration::from_secs(120);
/// The last line of a successful run begins with this; the digest and some numbers follow.
const ENDING: &str = "the trace is ";

/// Runs a seed in another process, and kills it when it hangs.
fn elsewhere(seed: u64) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "seeds::one_seed_keeps_all_promises",
        "--nocapture",
    ]);
    command
        .env("BOOKD_SIM_SEED", seed.to_string())
        .env("RUST_BACKTRACE", "0");
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    let (ended, end) = mpsc::channel();
    let wait = move || {
        let output = child.wait_with_output();
        let _in_time = ended.send(());
        output
    };
    let waiting = std::thread::Builder::new()
        .name(format!("seed {seed}"))
        .spawn(wait)
        .unwrap();
    if end.recv_timeout(LONGEST).is_err() {
        eprintln!("BOOKD_SIM_SEED={seed} does not end");
        let _gone_already = Command::new("kill").args(["-KILL", &id]).status();
    }
    waiting.join().unwrap().unwrap()
}

/// The last line of a run.
fn ending(seed: u64) -> String {
    let output = elsewhere(seed);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let ending = said
        .lines()
        .find_map(|line| Some(line.split_once(ENDING)?.1.to_owned()));
    match ending.filter(|_| output.status.success()) {
        Some(ending) => ending,
        None => panic!(
            "BOOKD_SIM_SEED={seed} fails:\n{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// `BOOKD_SIM_SEED=n` chooses the seed; `BOOKD_SIM_TRACE=1` prints the whole trace.
#[test]
fn one_seed_keeps_all_promises() {
    let seed = budget("BOOKD_SIM_SEED", 1);
    crate::chance::seed(seed);
    let it = run(seed);
    if std::env::var_os("BOOKD_SIM_TRACE").is_some() {
        println!("{}", it.shown);
    }
    assert!(
        it.found.is_empty(),
        "seed {seed}:\n{}\n\n{}",
        it.shown,
        it.found.join("\n")
    );
    let Report {
        digest,
        calls,
        acknowledged,
        revisions,
        faults,
        reused,
        in_parts,
        ..
    } = it;
    println!("{ENDING}{digest}: {calls} {acknowledged} {revisions} {faults} {reused} {in_parts}");
}

#[test]
fn under_every_seed_all_promises_are_kept_and_everything_converges() {
    let first = budget("BOOKD_SIM_FIRST", 1);
    let next = AtomicU64::new(first);
    let end = first + budget("BOOKD_SIM_SEEDS", SEEDS);
    let sums = Mutex::new([0_u64; 6]);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let ending = ending(seed);
                    let counts = ending
                        .rsplit_once(": ")
                        .unwrap()
                        .1
                        .split(' ')
                        .map(|it| it.parse::<u64>().unwrap());
                    sums.lock()
                        .unwrap()
                        .iter_mut()
                        .zip(counts)
                        .for_each(|(sum, it)| *sum += it);
                }
            });
        }
    });
    let [calls, acknowledged, revisions, faults, reused, in_parts] = *sums.lock().unwrap();
    let seeds = end - first;
    eprintln!(
        "{seeds} seeds: {calls} calls, {acknowledged} acknowledged, {revisions} revisions, {faults} faults"
    );
    eprintln!("{reused} calls under the request id of another were refused");
    eprintln!("{in_parts} times a watcher was told a change in parts");
    assert!(
        seeds < SEEDS || in_parts > 0,
        "changes must come in parts, or nothing is shown of them"
    );
    assert!(
        seeds < SEEDS || reused > seeds,
        "request ids must be tried with other requests, or nothing is shown"
    );
    assert!(
        acknowledged * 4 > calls,
        "a quarter of the calls must come to something, or nothing is shown"
    );
}

#[test]
fn a_seed_gives_the_same_trace_in_every_process_and_another_seed_another() {
    for seed in [3, 11, 12, 14] {
        assert_eq!(ending(seed), ending(seed), "seed {seed}");
    }
    assert_ne!(ending(3), ending(11));
}
