//! `bookd bench`: measures calls per second and latencies of a server, and of an echo in the same
//! run.
//!
//! The echo is the health check of the server over the same connections. The ratio of a call to it
//! says what the work of the call costs, independent of other load on the machine.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

pub use super::bench_cpu::ThreadTimes;

use super::bench_cpu;
use super::bench_load::{BookingLoad, CallEnd, LoadWorker, Phase, Weights};
use super::client::{CallError, CallerChannel, Server};
use super::commands::ClientOptions;
use super::exit::Exit;
use super::output::say;
use super::progress::bar;
use super::run::complain;
use crate::open_store::open_sqlite;
use crate::service::{Parts, Service};
use crate::zones::Zones;

/// The most calls in flight: more streams measure the client rather than the server.
const IN_FLIGHT_MAX: i64 = 16_384;
/// The most connections.
const CONNECTIONS_MAX: i64 = 4_096;
/// The most calls in flight on one connection: a server announces its limit of streams, and calls
/// above it would wait in the client.
const CALLS_OF_A_CONNECTION: u32 = 200;
/// The longest phase, in seconds.
const SECONDS_MAX: i64 = 600;
/// The largest factor of `--overload`.
const OVERLOAD_MAX: i64 = 100;
/// The time between the first calls of two workers in an overload. If all workers began at once,
/// they would queue for the processors that they share with the server, and that queue would be
/// measured.
const JOINING: Duration = Duration::from_micros(200);
/// How long the rate of fsync is measured.
const FSYNC_SECONDS: f64 = 1.0;

/// What `bookd bench` needs to know.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  bookd bench\n  bookd bench --in-flight 256 --connections 8 --seconds 10 --json\n  \
                        bookd bench --server 127.0.0.1:50051 --only echo,book\n  bookd bench --only book --in-flight 2048 --connections 100 --overload 10\n  \
                        bookd bench --server https://localhost:50051 --server-ca ca.pem --token-file root.token\n\n\
                        Without --server it starts a server of its own, with a database in a folder that it removes \
                        again. On a server that is named it makes calendars bench/… and deletes them at the end; \
                        a token must have the scopes slots, book and manage on these."
)]
pub struct BenchConfig {
    /// Calls in flight at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX))]
    pub in_flight: u32,
    /// Connections that they share
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub connections: u32,
    /// Seconds for each kind of call
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub seconds: u32,
    /// Calendars to spread the bookings over
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub calendars: u32,
    /// Only these, with commas
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    pub only: Vec<Phase>,
    /// How often to list, book and cancel in the mix
    #[arg(long, value_name = "LIST,BOOK,CANCEL", default_value = "60,30,10")]
    pub mix: Weights,
    /// Book with so many times the calls in flight, too: what a full server refuses, and how long
    /// the others wait
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(2..=OVERLOAD_MAX))]
    pub overload: Option<u32>,
    /// The process of the server that is named, if it runs on this machine: to tell its processor
    /// time for each call
    #[arg(long, value_name = "PROCESS")]
    pub server_process: Option<u32>,
    /// Where the database of a server of its own lies while it runs: the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
}

/// The figures of one phase.
struct Measured {
    phase: Phase,
    calls: usize,
    failed: usize,
    /// Calls that were refused with OVERLOADED; `calls` does not count them.
    overloaded: usize,
    seconds: f64,
    /// The latency of each call in microseconds, sorted.
    waits: Vec<u32>,
    /// Microseconds of processor time that the server used; none where the system does not say.
    cpu: Option<u64>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds of the server's processor time per call, where calls refused with OVERLOADED
    /// count too.
    fn cpu_each(&self) -> Option<f64> {
        let all = self.calls + self.overloaded;
        self.cpu
            .filter(|_| all > 0)
            .map(|cpu| cpu as f64 / all as f64)
    }

    /// The latency that `permille` of a thousand calls did not exceed, in microseconds.
    fn wait(&self, permille: usize) -> u32 {
        let at = (self.waits.len() * permille / 1_000).min(self.waits.len().saturating_sub(1));
        self.waits.get(at).copied().unwrap_or_default()
    }
}

/// All figures of a run.
struct BenchReport {
    server: String,
    /// Appends of 4 KiB with fsync per second; none for a server that is named, whose disk is
    /// unknown.
    fsyncs: Option<f64>,
    /// The load of the machine when the run ended.
    load: String,
    /// The phases in their order.
    measured: Vec<Measured>,
}

/// Measures, and prints the figures; answers the exit code.
pub fn run(config: &BenchConfig, options: &ClientOptions) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let report = match runtime {
        Ok(runtime) => runtime.block_on(bench(config, options)),
        Err(error) => Err(CallError::Failed(format!(
            "the runtime cannot start: {error}"
        ))),
    };
    match report {
        Ok(report) => {
            let shown = if options.json {
                format!("{:#}", report.as_json(config))
            } else {
                report.as_text(config)
            };
            say(&shown);
            Exit::Done
        }
        Err(error) => complain(&error),
    }
}

async fn bench(config: &BenchConfig, options: &ClientOptions) -> Result<BenchReport, CallError> {
    if let Some(server) = options.named_server()? {
        return measure(config, &server, None).await;
    }
    let cannot = |error: std::io::Error| format!("{}: {error}", config.folder.display());
    std::fs::create_dir_all(&config.folder).map_err(cannot)?;
    let folder = tempfile::Builder::new()
        .prefix("bookd-bench-")
        .tempdir_in(&config.folder)
        .map_err(cannot)?;
    let fsyncs = fsync_rate(folder.path()).map_err(cannot)?;
    let zones = Arc::new(Zones::bundled());
    let store =
        open_sqlite(&folder.path().join("bookd.db"), &zones).map_err(|error| error.to_string())?;
    let started = Service::start(Parts::local(zones), Box::new(store)).await;
    let service = started.map_err(|error| error.to_string())?;
    let server = Server::new(service.local_addr().to_string(), options.timeout);
    let measured = measure(config, &server, Some(fsyncs)).await;
    service.stop(Duration::from_secs(1)).await;
    measured
}

/// Measures appends of 4 KiB, each followed by fsync, per second.
pub fn fsync_rate(folder: &Path) -> std::io::Result<f64> {
    let mut file = std::fs::File::create(folder.join("fsync"))?;
    let (started, mut done) = (Instant::now(), 0_u32);
    while started.elapsed().as_secs_f64() < FSYNC_SECONDS {
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        done += 1;
    }
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

/// The load of the machine over the last minute and the last five minutes; empty where the system
/// does not say.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Measures all phases on calendars of its own, which it deletes.
async fn measure(
    config: &BenchConfig,
    server: &Server,
    fsyncs: Option<f64>,
) -> Result<BenchReport, CallError> {
    let channels = connect(server, config.connections).await?;
    let bookings = BookingLoad::new(config.calendars, config.mix);
    bookings.open(server, &channels[0]).await?;
    let phases: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|phase| config.only.is_empty() || config.only.contains(phase))
        .collect();
    let phases_all = phases.len() + usize::from(config.overload.is_some());
    let progress = bar(phases_all as u64 * u64::from(config.seconds), "seconds");
    let mut workers: Vec<LoadWorker> = (0..config.in_flight)
        .map(|number| bookings.worker(number, config.in_flight, channel(&channels, number)))
        .collect();
    let mut measured = Vec::new();
    for phase in phases {
        measured.push(run_phase(phase, &mut workers, config, server, &progress).await?);
    }
    drop(workers);
    bookings.close(server, &channels[0]).await?;
    if let Some(times) = config.overload {
        measured.push(overload(config, server, times, &progress).await?);
    }
    progress.finish_and_clear();
    Ok(BenchReport {
        server: server.address().to_owned(),
        fsyncs,
        load: load(),
        measured,
    })
}

/// Books with `times` as many calls in flight.
async fn overload(
    config: &BenchConfig,
    server: &Server,
    times: u32,
    progress: &indicatif::ProgressBar,
) -> Result<Measured, CallError> {
    let in_flight = config.in_flight * times;
    // As few connections as possible, because calls on few connections are cheaper than on many.
    let connections = config
        .connections
        .max(in_flight.div_ceil(CALLS_OF_A_CONNECTION));
    let bookings = BookingLoad::new(config.calendars, config.mix);
    let channels = connect(server, connections).await?;
    bookings.open(server, &channels[0]).await?;
    let mut workers: Vec<LoadWorker> = (0..in_flight)
        .map(|number| bookings.worker(number, in_flight, channel(&channels, number)))
        .collect();
    let measured = run_phase(Phase::Overload, &mut workers, config, server, progress).await?;
    drop(workers);
    bookings.close(server, &channels[0]).await?;
    Ok(measured)
}

async fn connect(server: &Server, connections: u32) -> Result<Vec<CallerChannel>, CallError> {
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(server.as_caller(server.connect().await?));
    }
    Ok(channels)
}

/// The channel of a worker: the workers share the channels evenly.
fn channel(channels: &[CallerChannel], number: u32) -> CallerChannel {
    channels[number as usize % channels.len()].clone()
}

/// The time between the first calls of two workers. In an overload all workers have begun after
/// half of the phase; in other phases they begin at once.
fn joining(phase: Phase, workers: usize, seconds: u32) -> Duration {
    let half = Duration::from_secs(u64::from(seconds)) / 2;
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    if phase == Phase::Overload {
        JOINING.min(half / workers)
    } else {
        Duration::ZERO
    }
}

/// Lets all workers make one kind of call for the seconds of a phase.
async fn run_phase(
    phase: Phase,
    workers: &mut Vec<LoadWorker>,
    config: &BenchConfig,
    server: &Server,
    progress: &indicatif::ProgressBar,
) -> Result<Measured, CallError> {
    let (started, cpu_before) = (Instant::now(), bench_cpu::used(config.server_process));
    let until = started + Duration::from_secs(u64::from(config.seconds));
    let mut running = JoinSet::new();
    let apart = joining(phase, workers.len(), config.seconds);
    for (number, mut worker) in (0_u32..).zip(workers.drain(..)) {
        running.spawn(async move {
            tokio::time::sleep_until((started + apart * number).into()).await;
            let (mut waits, mut failed, mut overloaded) = (Vec::new(), 0, 0);
            while Instant::now() < until && worker.can(phase) {
                let asked = Instant::now();
                match worker.call(phase).await {
                    CallEnd::Overloaded(delay) => {
                        overloaded += 1;
                        tokio::time::sleep_until((asked + delay).min(until).into()).await;
                        continue;
                    }
                    CallEnd::Unexpected => failed += 1,
                    CallEnd::Expected => {}
                }
                waits.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            (worker, waits, failed, overloaded)
        });
    }
    let (mut waits, mut failed, mut overloaded) = (Vec::new(), 0, 0);
    // One timer for the whole phase: a timer for each call would be measured with the call.
    let deadline = (until + server.timeout()).into();
    while let Some(done) = timeout_at(deadline, running.join_next())
        .await
        .map_err(|_| server.silent("calls of the bench"))?
    {
        let (worker, latencies, wrong, refused) = done.map_err(|error| error.to_string())?;
        workers.push(worker);
        waits.extend(latencies);
        failed += wrong;
        overloaded += refused;
    }
    let cpu = bench_cpu::used(config.server_process)
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before));
    let seconds_taken = started.elapsed().as_secs_f64();
    progress.inc(u64::from(config.seconds));
    waits.sort_unstable();
    // Zero means that no service runs in this process: the server is another process, which is not
    // named.
    let cpu = cpu.filter(|it| *it > 0);
    Ok(Measured {
        phase,
        calls: waits.len(),
        failed,
        overloaded,
        seconds: seconds_taken,
        waits,
        cpu,
    })
}

impl BenchReport {
    /// The rate of a phase as a multiple of the rate of the echo.
    fn ratio(&self, measured: &Measured) -> Option<f64> {
        let echo = self
            .measured
            .iter()
            .find(|other| other.phase == Phase::Echo)?;
        Some(measured.rate() / echo.rate())
    }

    fn as_text(&self, config: &BenchConfig) -> String {
        let fsyncs = self
            .fsyncs
            .map_or_else(|| "unknown".to_owned(), |it| format!("{it:.0}/s"));
        let mut lines = vec![
            format!(
                "{}: {} in flight over {} connections, {} calendars; fsync {fsyncs}, load {}",
                self.server, config.in_flight, config.connections, config.calendars, self.load
            ),
            format!(
                " {:<7} {:>10} {:>7} {:>8} {:>8} {:>8} {:>8} {:>7} {:>10} {:>7}",
                "CALL",
                "CALLS/S",
                "RATIO",
                "P50 µs",
                "P90 µs",
                "P99 µs",
                "P99.9 µs",
                "FAILED",
                "OVERLOADED",
                "CPU µs"
            ),
        ];
        for measured in &self.measured {
            let ratio = self
                .ratio(measured)
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [p50, p90, p99, p999] =
                [500, 900, 990, 999].map(|permille| measured.wait(permille));
            lines.push(format!(
                " {:<7} {:>10.0} {ratio:>7} {p50:>8} {p90:>8} {p99:>8} {p999:>8} {:>7} {:>10} {:>7}",
                measured.phase.name(),
                measured.rate(),
                measured.failed,
                measured.overloaded,
                measured.cpu_each().map_or_else(String::new, |each| format!("{each:.1}")),
            ));
        }
        lines.join("\n")
    }

    fn as_json(&self, config: &BenchConfig) -> Value {
        let figures = |measured: &Measured| {
            let waits: BTreeMap<&str, u32> =
                [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)]
                    .map(|(name, at)| (name, measured.wait(at)))
                    .into();
            json!({
                "call": measured.phase.name(),
                "calls": measured.calls,
                "failed": measured.failed,
                "overloaded": measured.overloaded,
                "cpu_microseconds": measured.cpu_each(),
                "calls_per_second": measured.rate(),
                "ratio_to_echo": self.ratio(measured),
                "wait_microseconds": waits,
            })
        };
        json!({
            "server": self.server,
            "in_flight": config.in_flight,
            "connections": config.connections,
            "calendars": config.calendars,
            "seconds": config.seconds,
            "fsyncs_per_second": self.fsyncs,
            "load": self.load,
            "calls": self.measured.iter().map(figures).collect::<Vec<_>>(),
        })
    }
}
