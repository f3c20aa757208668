//! The binary dies again and again under calls of every kind, at moments of its own and at any
//! moment; afterwards the outcome of every call is found out, and every answer is judged beside the
//! log.
//!
//! `BOOKD_KILLS=n` sets the number of deaths.
#![allow(clippy::print_stderr, reason = "the number of trials is for people")]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bookd::clock::{Clock, SystemClock};
use bookd::failpoints::Failpoint;
use bookd::open_store::open_sqlite;
use bookd::store::ZoneLookup;
use bookd::zones::Zones;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::{Process, command};
use bookd_kit::caller::Caller;
use bookd_kit::calls::{Call, Outcome};
use bookd_kit::chance::{Chance, budget};
use bookd_kit::history::{self, Op};
use bookd_kit::log::Log;
use bookd_kit::watch_record::{SharedRecord, follow, from_the_beginning};

/// The number of deaths in `cargo test`.
const KILLS: u64 = 18;
const CALLERS: u64 = 4;
/// The most calls of a caller in one life.
const CALLS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stopped process must not answer.
const FROZEN: Duration = Duration::from_millis(30);
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself, when it has reached this moment so many times.
    At(Failpoint, u64),
    /// By SIGKILL, after so many answers.
    Killed(u64),
    /// By SIGKILL, after so many answers, a SIGSTOP and a SIGCONT.
    Frozen(u64),
    /// By SIGTERM, in order, after so many answers.
    Terminated(u64),
}

fn end(chance: &mut Chance) -> End {
    let times = 1 + chance.below(20);
    match chance.below(9) {
        0 | 1 => End::At(Failpoint::BeforeCommit, times),
        2 | 3 => End::At(Failpoint::AfterCommit, times),
        4 => End::At(Failpoint::BeforeAnswer, times),
        5 => End::Frozen(times),
        6 => End::Terminated(times),
        7 => End::At(Failpoint::Checkpoint, 1 + times / 4),
        _ => End::Killed(times),
    }
}

/// The record of all lives: every call with its outcomes, in order.
#[derive(Clone, Default)]
struct Record {
    ops: Arc<Mutex<Vec<Op>>>,
    moment: Arc<AtomicU64>,
    /// Everything that one watcher was sent.
    watched: SharedRecord,
}

impl Record {
    fn moment(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    async fn call(&self, channel: &Channel, client: &str, caller: &mut Caller) -> Outcome {
        let call = caller.any(SystemClock.now().seconds());
        self.make(channel, client, caller, call).await
    }

    async fn make(
        &self,
        channel: &Channel,
        client: &str,
        caller: &mut Caller,
        call: Call,
    ) -> Outcome {
        let op = {
            let mut ops = self.ops.lock().unwrap();
            ops.push(Op::new(client, call.clone(), self.moment()));
            ops.len() - 1
        };
        let outcome = send(channel, &call).await;
        self.note(op, outcome.clone());
        if let Outcome::Done(answered) = &outcome {
            caller.learn(&call, answered);
            caller.known.extend(
                answered
                    .appointments
                    .iter()
                    .map(|it| it.appointment_id.clone()),
            );
        }
        outcome
    }

    fn note(&self, op: usize, outcome: Outcome) {
        let at = self.moment();
        self.ops.lock().unwrap()[op].note(outcome, at);
    }
}

async fn send(channel: &Channel, call: &Call) -> Outcome {
    match timeout(PATIENCE, call.send(channel)).await {
        Ok(Ok(answered)) => Outcome::Done(answered),
        Ok(Err(status)) => Outcome::of_status(&status),
        Err(_) => Outcome::Unknown("no answer".to_owned()),
    }
}

/// Makes the calls of a caller in one life, until the process is gone; reports each answer, and
/// answers whether the process was gone.
async fn calls(
    record: Record,
    channel: Channel,
    mut caller: Caller,
    client: String,
    answers: mpsc::Sender<()>,
) -> (Caller, bool) {
    for _ in 0..CALLS {
        let outcome = record.call(&channel, &client, &mut caller).await;
        if matches!(&outcome, Outcome::Unknown(_))
            || outcome == Outcome::Later("SHUTTING_DOWN".to_owned())
        {
            return (caller, true);
        }
        let _nobody_counts_any_more = answers.send(()).await;
    }
    (caller, false)
}

fn signal(process: &Process, name: &str) {
    // The process may be gone already.
    let _status = Command::new("kill")
        .args([name, &process.id().to_string()])
        .status();
}

/// Runs one life of the process with all callers.
async fn life(file: &Path, end: End, record: &Record, callers: Vec<Caller>) -> Vec<Caller> {
    let mut command = command(file);
    if let End::At(moment, times) = end {
        command.env("BOOKD_DIE_AT", format!("{moment:?}:{times}"));
    }
    let process = Process::spawn(command, "with this program");
    let channel = connect(process.address).await;
    let watching = tokio::spawn(follow(
        connect(process.address).await,
        Arc::clone(&record.watched),
        None,
    ));
    let (sender, mut answers) = mpsc::channel(1_024);
    let running: Vec<_> = callers
        .into_iter()
        .enumerate()
        .map(|(number, caller)| {
            let client = format!("caller{number}");
            tokio::spawn(calls(
                record.clone(),
                channel.clone(),
                caller,
                client,
                sender.clone(),
            ))
        })
        .collect();
    drop(sender);
    let (End::At(_, wanted) | End::Killed(wanted) | End::Frozen(wanted) | End::Terminated(wanted)) =
        end;
    for _ in 0..wanted {
        if answers.recv().await.is_none() {
            break;
        }
    }
    match end {
        // The process dies by itself while the calls go on.
        End::At(..) => {}
        End::Killed(_) => signal(&process, "-KILL"),
        End::Frozen(_) => {
            frozen(&process, record, &channel).await;
            signal(&process, "-KILL");
        }
        End::Terminated(_) => signal(&process, "-TERM"),
    }
    while answers.recv().await.is_some() {}
    let (mut back, mut is_gone) = (Vec::new(), false);
    for caller in running {
        let (caller, saw_it_gone) = caller.await.unwrap();
        back.push(caller);
        is_gone |= saw_it_gone;
    }
    drop(channel);
    ends(process, end, is_gone).await;
    watching.abort();
    let _aborted = watching.await;
    back
}

/// Waits for the end of the process, and asserts how it ended; `is_gone` if a caller saw it gone.
async fn ends(process: Process, end: End, is_gone: bool) {
    match end {
        End::At(moment, times) if is_gone => {
            let signal = ended(process, end).await.signal();
            assert_eq!(signal, Some(SIGABRT), "{moment:?} for the {times}. time");
        }
        // One life may write too little for so many copies of the WAL.
        End::At(moment, times) => {
            assert_eq!(
                moment,
                Failpoint::Checkpoint,
                "the moment was reached fewer than {times} times"
            )
        }
        End::Killed(_) | End::Frozen(_) => {
            assert_eq!(ended(process, end).await.signal(), Some(SIGKILL))
        }
        End::Terminated(_) => assert!(
            ended(process, end).await.success(),
            "SIGTERM ends the process in order"
        ),
    }
}

async fn ended(process: Process, end: End) -> ExitStatus {
    timeout(PATIENCE, process.ended())
        .await
        .unwrap_or_else(|_| panic!("the process does not end: {end:?}"))
}

/// Whether every thread has got the signal, which takes a moment.
fn is_stopped(process: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.all(|thread| {
        let status =
            std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which may have any characters.
        status
            .rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('T'))
    })
}

/// Asserts that a stopped process does not answer, and answers the waiting call when it goes on.
async fn frozen(process: &Process, record: &Record, channel: &Channel) {
    signal(process, "-STOP");
    let is_stopped = async {
        while !is_stopped(process.id()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, is_stopped).await.expect("it stops");
    let mut caller = Caller::new(
        &format!("frozen{}", process.id()),
        Chance(u64::from(process.id())),
    );
    let call = caller.booking_or_cancelling(SystemClock.now().seconds());
    let (record, channel) = (record.clone(), channel.clone());
    let mut calling =
        tokio::spawn(async move { record.make(&channel, "frozen", &mut caller, call).await });
    let answered = timeout(FROZEN, &mut calling).await;
    assert!(
        answered.is_err(),
        "a process that is stopped answers: {answered:?}"
    );
    signal(process, "-CONT");
    let outcome = calling.await.unwrap();
    assert!(
        matches!(outcome, Outcome::Done(_) | Outcome::Refused(..)),
        "the waiting call is answered: {outcome:?}"
    );
}

/// Repeats every call that may have happened, and judges all answers.
async fn judge(file: &Path, record: &Record) {
    let process = Process::start(file);
    let channel = connect(process.address).await;
    let open: Vec<_> = {
        let ops = record.ops.lock().unwrap();
        ops.iter()
            .enumerate()
            .filter(|(_, op)| op.may_have_happened())
            .map(|(at, op)| (at, op.call.clone()))
            .collect()
    };
    for (op, call) in open {
        record.note(op, send(&channel, &call).await);
    }
    let last = record
        .ops
        .lock()
        .unwrap()
        .iter()
        .filter_map(|op| Some(op.done()?.revision))
        .max()
        .unwrap();
    if record.watched.lock().unwrap().upto < last {
        let following = follow(
            connect(process.address).await,
            Arc::clone(&record.watched),
            Some(last),
        );
        let _in_time = timeout(PATIENCE, following).await;
    }
    assert!(
        record.watched.lock().unwrap().upto >= last,
        "R5 a watcher does not catch up"
    );
    // What watches read from the store, beside what was sent live.
    let mut watched = from_the_beginning(&channel, last).await;
    watched.push(record.watched.lock().unwrap().clone());
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
    let zones = Arc::new(Zones::bundled());
    let mut store = open_sqlite(file, &zones).unwrap();
    let lookup: ZoneLookup = Arc::new(move |name| zones.zone(name).ok());
    let oldest = store.oldest().unwrap();
    let report =
        bookd::admin::check::check(&mut store, oldest, &lookup, SystemClock.now(), |_| ()).unwrap();
    let mut found: Vec<String> = report
        .invariants
        .iter()
        .flat_map(|it| it.findings.clone())
        .collect();
    found.extend(store.integrity().unwrap());
    let ops = record.ops.lock().unwrap();
    let log = Log::read(&mut store, &ops);
    found.extend(history::check(&ops, &watched, &log));
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
    let mut callers: Vec<Caller> = (0..CALLERS)
        .map(|number| Caller::new(&format!("caller{number}"), chance.fork()))
        .collect();
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
    eprintln!(
        "{kills} deaths, {} calls, {acknowledged} acknowledged, none lost",
        ops.len()
    );
    assert!(
        acknowledged * 5 > ops.len(),
        "calls must come to something, or nothing is shown"
    );
}

#[tokio::test]
async fn a_process_that_dies_while_it_makes_its_file_leaves_one_that_opens() {
    for times in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bookd.db");
        let mut dying = command(&file);
        let output = dying
            .env(
                "BOOKD_DIE_AT",
                format!("{:?}:{times}", Failpoint::Migration),
            )
            .output()
            .unwrap();
        assert_eq!(
            output.status.signal(),
            Some(SIGABRT),
            "the process must die at the {times}. time"
        );
        let process = Process::start(&file);
        assert!(process.terminate_beside_clients().await.success());
    }
}

#[test]
fn a_process_that_dies_while_it_brings_an_older_file_up_leaves_all_that_was_in_it() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/schema-1.db");
    let wanted = std::fs::read_to_string(released.with_extension("json")).unwrap();
    for times in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bookd.db");
        std::fs::copy(&released, &file).unwrap();
        let run = |words: &[&str], die_at: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
            command
                .args(words)
                .args(["--store", &format!("sqlite:{}", file.display())])
                .current_dir(folder.path());
            command.env("BOOKD_DIE_AT", die_at).output().unwrap()
        };
        let died = run(&["export"], &format!("{:?}:{times}", Failpoint::Migration));
        assert_eq!(
            died.status.signal(),
            Some(SIGABRT),
            "the process must die at the {times}. time"
        );
        let checked = run(&["check"], "");
        assert_ne!(
            checked.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
        let exported = run(&["export", "all.json", "--codes"], "");
        assert!(
            exported.status.success(),
            "{}",
            String::from_utf8_lossy(&exported.stderr)
        );
        assert_eq!(
            std::fs::read_to_string(folder.path().join("all.json")).unwrap(),
            wanted
        );
    }
}
