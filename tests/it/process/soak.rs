//! The soak: the binary under mixed load, killed and started again and again; its memory,
//! descriptors, threads and WAL do not grow with time.
//!
//! By default it makes a few rounds of some thousand calls each. `make soak MINUTES=n`
//! (BOOKD_SOAK_MINUTES) runs for n minutes: nine rounds that end with kill -9 take half of them,
//! and the last one, over which slopes are fitted, takes the other half.

#![allow(clippy::print_stdout, reason = "--nocapture shows the figures")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::besieged::{Held, binary, serve};
use crate::harness::connect;
use crate::kill::Process;
use crate::soak_ledger::{Calls, Ledger};
use crate::soak_load::{WORKERS, Worker, open_calendars};

/// Rounds that end with a kill.
const KILLS: u32 = 9;
/// Calls of a round if no minutes are asked for: enough for many calls of every kind.
const CALLS_OF_A_ROUND: u64 = 1_500;
/// Calls between two samples.
const CALLS_OF_A_SAMPLE: u64 = 100;
/// Calls between two samples of a soak of minutes, which makes thousands of calls a second.
const CALLS_OF_A_LONG_SAMPLE: u64 = 5_000;
/// The fraction of the last round after which memory has settled.
const SETTLED: f64 = 0.5;
/// The most MiB by which the fitted line of the memory may rise from the first sample to the last.
const MEMORY_RISE_MAX: f64 = 12.0;
const DESCRIPTORS_RISE_MAX: f64 = 8.0;
const THREADS_RISE_MAX: f64 = 4.0;
const WAL_RISE_MAX: f64 = 16.0;
/// Seconds until the WAL has reached its bound; before, only the bound is checked.
const WAL_SETTLES_SECONDS: f64 = 60.0;
/// The largest WAL at any time, in MiB: twice 8,000 pages of 4 KiB, and the pages of a batch.
const WAL_MAX: f64 = 80.0;
/// The most MiB by which memory right after a start may rise from the first start to the last.
const START_RISE_MAX: f64 = 24.0;

/// The resources of the server at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    memory: f64,
    descriptors: f64,
    threads: f64,
    /// The size of the WAL in MiB; other sizes are in MiB too.
    wal: f64,
    database: f64,
}

fn mebibytes(file: &Path) -> f64 {
    std::fs::metadata(file).map_or(0.0, |it| it.len() as f64 / 1_048_576.0)
}

impl Sample {
    fn take(process: u32, folder: &Path, since: Instant) -> Sample {
        let held = Held::of(process);
        Sample {
            seconds: since.elapsed().as_secs_f64(),
            memory: held.memory as f64 / 1_024.0,
            descriptors: held.descriptors as f64,
            threads: held.threads as f64,
            wal: mebibytes(&folder.join("bookd.db-wal")),
            database: mebibytes(&folder.join("bookd.db")),
        }
    }
}

/// The rise of the fitted straight line from the first point to the last.
fn rise(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (time, value) = (mean(|it| it.0), mean(|it| it.1));
    let along: f64 = points.iter().map(|it| (it.0 - time) * (it.1 - value)).sum();
    let spread: f64 = points.iter().map(|it| (it.0 - time).powi(2)).sum();
    let length = points.last().map_or(0.0, |last| last.0 - points[0].0);
    if spread > 0.0 {
        along / spread * length
    } else {
        0.0
    }
}

#[test]
fn a_line_is_fitted_and_noise_is_none() {
    let line: Vec<_> = (0..=100)
        .map(|at| (f64::from(at), 3.0 + f64::from(at) * 0.5))
        .collect();
    assert!((rise(&line) - 50.0).abs() < 1e-9);
    let saw: Vec<_> = (0..=100)
        .map(|at| (f64::from(at), f64::from(at % 10)))
        .collect();
    assert!(rise(&saw).abs() < 1.0);
    assert_eq!(rise(&[(1.0, 5.0)]), 0.0);
}

/// The length of a round.
#[derive(Clone, Copy)]
enum Length {
    Calls(u64),
    Time(Duration),
}

/// A running soak.
struct Soak {
    folder: TempDir,
    ledger: Arc<Mutex<Ledger>>,
    started: Instant,
    calls: u64,
    verified: usize,
}

impl Soak {
    /// Puts a server under load for a while; answers the samples, and the workers, which still
    /// call.
    async fn load(
        &mut self,
        process: &Process,
        round: u64,
        length: Length,
    ) -> (Vec<Sample>, JoinSet<()>) {
        let every = match length {
            Length::Calls(_) => CALLS_OF_A_SAMPLE,
            Length::Time(_) => CALLS_OF_A_LONG_SAMPLE,
        };
        let calls = Arc::new(Calls::every(every));
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let worker = Worker::new(
                number,
                round,
                connect(process.address).await,
                Arc::clone(&self.ledger),
            );
            workers.spawn(worker.work(Arc::clone(&calls)));
        }
        let (begun, mut samples) = (Instant::now(), Vec::new());
        loop {
            samples.push(Sample::take(process.id(), self.folder.path(), self.started));
            let is_enough = match length {
                Length::Calls(count) => calls.made() >= count,
                Length::Time(time) => begun.elapsed() >= time,
            };
            if is_enough {
                self.calls += calls.made();
                return (samples, workers);
            }
            tokio::select! {
                () = calls.more() => {}
                ended = workers.join_next() => panic!("a worker ended while the server was running: {ended:?}"),
            }
        }
    }

    /// Asserts that everything acknowledged is there, and that its request ids answer as before.
    async fn verify(&mut self, process: &Process) {
        let channel = connect(process.address).await;
        let acknowledged = self.ledger.lock().await.take();
        assert!(!acknowledged.is_empty());
        for (request, answer) in acknowledged {
            let again = BookingServiceClient::new(channel.clone())
                .book_appointment(request.clone())
                .await;
            let again = again
                .unwrap_or_else(|error| panic!("{request:?}: {error:?}"))
                .into_inner();
            let (now, then) = (again.appointment.unwrap(), answer.appointment.unwrap());
            assert_eq!(
                (&now.appointment_id, again.revision),
                (&then.appointment_id, answer.revision),
                "{request:?}"
            );
            self.verified += 1;
        }
    }

    /// Asserts that `bookd check` finds nothing.
    fn check(&self) {
        let store = format!("sqlite:{}", self.folder.path().join("bookd.db").display());
        let mut command = Command::new(binary());
        let output = command.args(["check", "--store", &store]).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    }
}

/// Prints by how much each resource rose, and fails if it is too much.
fn flat(samples: &[Sample]) {
    let settled = &samples[(samples.len() as f64 * SETTLED) as usize..];
    let of = |what: fn(&Sample) -> f64| {
        settled
            .iter()
            .map(|it| (it.seconds, what(it)))
            .collect::<Vec<_>>()
    };
    let seconds = settled
        .last()
        .map_or(0.0, |last| last.seconds - settled[0].seconds);
    println!(
        "slopes over the last {seconds:.0} s, {} samples:",
        settled.len()
    );
    for (name, points, rise_max) in [
        ("memory MiB", of(|it| it.memory), MEMORY_RISE_MAX),
        ("descriptors", of(|it| it.descriptors), DESCRIPTORS_RISE_MAX),
        ("threads", of(|it| it.threads), THREADS_RISE_MAX),
        ("WAL MiB", of(|it| it.wal), WAL_RISE_MAX),
    ] {
        let least = points.iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|it| it.1).fold(0.0, f64::max);
        let rise = rise(&points);
        println!(
            "  {name:<12} {least:>8.1} to {most:>8.1}, rise {rise:>6.2} of at most {rise_max}"
        );
        // The WAL begins empty with each start, and grows to its bound before it begins anew.
        let is_growing = name == "WAL MiB" && seconds < WAL_SETTLES_SECONDS;
        assert!(
            is_growing || rise <= rise_max,
            "{name} rises by {rise:.2} in {seconds:.0} seconds"
        );
    }
    let wal = samples.iter().map(|it| it.wal).fold(0.0, f64::max);
    assert!(wal <= WAL_MAX, "the WAL had {wal:.0} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_mixed_load_and_kills_nothing_acknowledged_is_lost_and_what_is_held_stays_flat() {
    let minutes = std::env::var("BOOKD_SOAK_MINUTES")
        .ok()
        .map(|it| it.parse::<u32>().expect("minutes"));
    let (kills, short, long) =
        match minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))) {
            None => (
                2,
                Length::Calls(CALLS_OF_A_ROUND),
                Length::Calls(2 * CALLS_OF_A_ROUND),
            ),
            Some(all) => (
                KILLS,
                Length::Time(all / (2 * KILLS)),
                Length::Time(all / 2),
            ),
        };
    let mut soak = Soak {
        folder: tempfile::tempdir().unwrap(),
        ledger: Arc::default(),
        started: Instant::now(),
        calls: 0,
        verified: 0,
    };
    let mut process = serve(&soak.folder, &[]);
    open_calendars(connect(process.address).await).await;
    let mut starts = Vec::new();
    for round in 0..kills {
        starts.push(Sample::take(process.id(), soak.folder.path(), soak.started).memory);
        let (samples, workers) = soak.load(&process, u64::from(round), short).await;
        let last = samples[samples.len() - 1];
        println!(
            "round {round}: {} calls so far, {:.0} MiB, {} descriptors, {} threads, WAL {:.0} MiB, database {:.0} MiB",
            soak.calls, last.memory, last.descriptors, last.threads, last.wal, last.database
        );
        process.kill();
        workers.join_all().await;
        process = serve(&soak.folder, &[]);
        soak.verify(&process).await;
    }
    let (samples, workers) = soak.load(&process, u64::from(kills), long).await;
    process.kill();
    workers.join_all().await;
    process = serve(&soak.folder, &[]);
    starts.push(Sample::take(process.id(), soak.folder.path(), soak.started).memory);
    soak.verify(&process).await;
    assert!(process.terminate_beside_clients().await.success());
    let errors = std::fs::read_to_string(soak.folder.path().join("errors")).unwrap();
    assert!(
        !errors.contains("panicked") && !errors.contains("ERROR"),
        "{errors}"
    );
    println!(
        "{} calls, {} acknowledged bookings verified after kills",
        soak.calls, soak.verified
    );
    println!("memory after a start, MiB: {starts:.0?}");
    let start_rise = starts[starts.len() - 1] - starts[0];
    assert!(
        start_rise <= START_RISE_MAX,
        "a start takes {start_rise:.0} MiB more than the first"
    );
    soak.check();
    flat(&samples);
}

/// `make soak MINUTES=n` sets the variable that the soak reads, so that the README's command does
/// not take minutes by chance.
#[test]
fn a_soak_is_asked_for_its_minutes_by_the_name_that_it_reads() {
    let makefile =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    assert!(makefile.contains("BOOKD_SOAK_MINUTES=$(MINUTES)"));
}
