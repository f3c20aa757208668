//! The binary dies again and again, at moments of its own choice and of ours, under calls of every kind; afterwards
//! every call is asked after, and all that was answered is judged beside the log.
//!
//! `BOOKD_KILLS=n` kills as often as asked.
#![allow(clippy::print_stderr, reason = "how much was tried is for people")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bookd::clock::{Clock, SystemClock};
use bookd::sabotage::Moment;
use bookd::service::open_sqlite;
use bookd::store::ZoneLookup;
use bookd::zones::Zones;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::{Process, command};
use crate::proof::caller::Caller;
use crate::proof::calls::Outcome;
use crate::proof::chance::{Chance, budget};
use crate::proof::history::{self, Log, Op};

/// How often it dies in `cargo test`.
const KILLS: u64 = 18;
const CALLERS: u64 = 4;
/// How many calls a caller makes in one life at most.
const CALLS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(20);

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself, when it has come to a moment so many times.
    At(Moment, u64),
    /// By SIGKILL, after so many answers.
    Killed(u64),
    /// By SIGKILL, after it was stopped and went on.
    Frozen(u64),
    /// By SIGTERM: in order.
    Terminated(u64),
}

fn end(chance: &mut Chance) -> End {
    let times = 1 + chance.below(20);
    match chance.below(9) {
        0 | 1 => End::At(Moment::BeforeCommit, times),
        2 | 3 => End::At(Moment::AfterCommit, times),
        4 => End::At(Moment::BeforeAnswer, times),
        5 => End::Frozen(times),
        6 => End::Terminated(times),
        7 => End::At(Moment::Checkpoint, 1 + times / 4),
        _ => End::Killed(times),
    }
}

/// What all lives have in common: every call and what came of it, in order.
#[derive(Clone, Default)]
struct Record {
    ops: Arc<Mutex<Vec<Op>>>,
    moment: Arc<AtomicU64>,
}

impl Record {
    fn moment(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    async fn call(&self, channel: &Channel, client: &str, caller: &mut Caller) -> Outcome {
        let call = caller.any(SystemClock.now().seconds());
        let op = {
            let mut ops = self.ops.lock().unwrap();
            ops.push(Op::new(client, call.clone(), self.moment()));
            ops.len() - 1
        };
        let outcome = send(channel, &call).await;
        self.note(op, outcome.clone());
        if let Outcome::Done(answered) = &outcome {
            caller.known.extend(answered.appointments.iter().map(|it| it.appointment_id.clone()));
        }
        outcome
    }

    fn note(&self, op: usize, outcome: Outcome) {
        let at = self.moment();
        self.ops.lock().unwrap()[op].note(outcome, at);
    }
}

async fn send(channel: &Channel, call: &crate::proof::calls::Call) -> Outcome {
    match timeout(PATIENCE, call.send(channel)).await {
        Ok(Ok(answered)) => Outcome::Done(answered),
        Ok(Err(status)) => Outcome::of_status(&status),
        Err(_) => Outcome::Unknown("no answer".to_owned()),
    }
}

/// A caller's calls in one life: until the process is gone. Tells of each answer.
async fn calls(
    record: Record,
    channel: Channel,
    mut caller: Caller,
    client: String,
    answers: mpsc::Sender<()>,
) -> Caller {
    for _ in 0..CALLS {
        let outcome = record.call(&channel, &client, &mut caller).await;
        if matches!(&outcome, Outcome::Unknown(_)) || outcome == Outcome::Later("SHUTTING_DOWN".to_owned()) {
            break;
        }
        let _nobody_counts_any_more = answers.send(()).await;
    }
    caller
}

fn signal(process: &Process, name: &str) {
    // It may be gone already.
    let _status = Command::new("kill").args([name, &process.id().to_string()]).status();
}

/// One life of the process, with all callers.
async fn life(file: &Path, end: End, record: &Record, callers: Vec<Caller>) -> Vec<Caller> {
    let mut command = command(file);
    if let End::At(moment, times) = end {
        command.env("BOOKD_DIE_AT", format!("{moment:?}:{times}"));
    }
    let process = Process::spawn(command, "or with this program");
    let channel = connect(process.address).await;
    let (sender, mut answers) = mpsc::channel(1_024);
    let running: Vec<_> = callers
        .into_iter()
        .enumerate()
        .map(|(number, caller)| {
            let client = format!("caller{number}");
            tokio::spawn(calls(record.clone(), channel.clone(), caller, client, sender.clone()))
        })
        .collect();
    drop(sender);
    let (End::At(_, wanted) | End::Killed(wanted) | End::Frozen(wanted) | End::Terminated(wanted)) = end;
    for _ in 0..wanted {
        if answers.recv().await.is_none() {
            break;
        }
    }
    match end {
        // It does so while the calls go on.
        End::At(..) => {}
        End::Killed(_) => signal(&process, "-KILL"),
        End::Frozen(_) => {
            signal(&process, "-STOP");
            signal(&process, "-CONT");
            signal(&process, "-KILL");
        }
        End::Terminated(_) => signal(&process, "-TERM"),
    }
    while answers.recv().await.is_some() {}
    let mut back = Vec::new();
    for caller in running {
        back.push(caller.await.unwrap());
    }
    back
}

/// Opens the calendars, asks after every call that may have happened, and judges all of it.
async fn judge(file: &Path, record: &Record) {
    let process = Process::start(file);
    let channel = connect(process.address).await;
    let open: Vec<_> = {
        let ops = record.ops.lock().unwrap();
        ops.iter().enumerate().filter(|(_, op)| op.may_have_happened()).map(|(at, op)| (at, op.call.clone())).collect()
    };
    for (op, call) in open {
        record.note(op, send(&channel, &call).await);
    }
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
    let zones = Arc::new(Zones::bundled());
    let mut store = open_sqlite(file, &zones).unwrap();
    let lookup: ZoneLookup = Arc::new(move |name| zones.zone(name).ok());
    let oldest = store.oldest().unwrap();
    let report = bookd::check::check(&mut store, oldest, &lookup, SystemClock.now(), |_| ()).unwrap();
    let mut found: Vec<String> = report.invariants.iter().flat_map(|it| it.findings.clone()).collect();
    found.extend(store.integrity().unwrap());
    let log = Log::read(&mut store);
    found.extend(history::check(&record.ops.lock().unwrap(), &[], &log));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_process_dies_what_was_answered_is_there_and_what_was_not_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let record = Record::default();
    let seed = budget("BOOKD_SEED", SystemClock.now().seconds().unsigned_abs());
    let mut chance = Chance(seed);
    eprintln!("BOOKD_SEED={seed}");
    let mut callers: Vec<Caller> =
        (0..CALLERS).map(|number| Caller::new(&format!("caller{number}"), chance.fork())).collect();
    let first = Process::start(&file);
    let channel = connect(first.address).await;
    for call in callers[0].opening() {
        let op = Op::new("caller0", call.clone(), record.moment());
        record.ops.lock().unwrap().push(op);
        let last = record.ops.lock().unwrap().len() - 1;
        record.note(last, send(&channel, &call).await);
    }
    drop(channel);
    assert!(first.terminate_beside_clients().await.success());
    let kills = budget("BOOKD_KILLS", KILLS);
    for _ in 0..kills {
        callers = life(&file, end(&mut chance), &record, callers).await;
    }
    judge(&file, &record).await;
    let ops = record.ops.lock().unwrap();
    let acknowledged = ops.iter().filter(|op| op.done().is_some()).count();
    eprintln!("{kills} deaths, {} calls, {acknowledged} acknowledged, none lost", ops.len());
    assert!(acknowledged * 5 > ops.len(), "calls must come to something, or nothing is shown");
}

#[tokio::test]
async fn a_process_that_dies_while_it_makes_its_file_leaves_one_that_opens() {
    for times in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bookd.db");
        let mut dying = command(&file);
        let output = dying.env("BOOKD_DIE_AT", format!("{:?}:{times}", Moment::Migration)).output().unwrap();
        assert!(!output.status.success(), "it was to die for the {times}. time");
        let process = Process::start(&file);
        assert!(process.terminate_beside_clients().await.success());
    }
}
