//! `bookd bench`: how many calls a second a server takes, and how long each waits, beside a bare echo in the same run.
//!
//! The echo is the server's own health check over the same connections, so a ratio to it says what the work costs on
//! this machine, whatever its neighbours do.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tonic::transport::Channel;

use super::bench_cpu;
use super::bench_load::{BookingLoad, CallEnd, LoadWorker, Phase, Weights};
use super::client::{CallError, Server};
use super::commands::ClientOptions;
use super::exit::Exit;
use super::output::say;
use super::progress::bar;
use super::run::complain;
use crate::open_store::open_sqlite;
use crate::service::{Parts, Service};
use crate::zones::Zones;

/// The most calls in flight: more than that many streams say more about the client than about the server.
const IN_FLIGHT_MAX: i64 = 16_384;
/// The most connections.
const CONNECTIONS_MAX: i64 = 4_096;
/// Calls in flight on one connection at most: a server announces how many it takes, and more would only wait here.
const CALLS_OF_A_CONNECTION: u32 = 200;
/// The longest phase.
const SECONDS_MAX: i64 = 600;
/// The most that a server is overloaded.
const OVERLOAD_MAX: i64 = 100;
/// What lies between two clients of an overload that begin. All at once they would wait for each other, on the processors
/// that they share with the server, and their queue would be measured.
const JOINING: Duration = Duration::from_micros(200);
/// How long the disk's own rate is measured.
const FSYNC_SECONDS: f64 = 1.0;

/// What `bookd bench` needs to know.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  bookd bench\n  bookd bench --in-flight 256 --connections 8 --seconds 10 --json\n  \
                        bookd bench --server 127.0.0.1:50051 --only echo,book\n  bookd bench --only book --in-flight 2048 --connections 100 --overload 10\n\n\
                        Without --server it starts a server of its own, with a database in a folder that it removes \
                        again. On a server that is named it makes calendars bench/… and deletes them at the end."
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
    /// Book with so many times the calls in flight, too: what a full server refuses, and how long the
    /// others wait
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(2..=OVERLOAD_MAX))]
    pub overload: Option<u32>,
    /// The process of the server that is named, if it runs on this machine: to tell its processor time for each call
    #[arg(long, value_name = "PROCESS")]
    pub server_process: Option<u32>,
    /// Where the database of a server of its own lies while it runs: the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
}

/// What one phase came to.
struct Measured {
    phase: Phase,
    calls: usize,
    failed: usize,
    /// Refused with OVERLOADED; not among the calls.
    overloaded: usize,
    seconds: f64,
    /// Of the calls, in microseconds, sorted.
    waits: Vec<u32>,
    /// Microseconds of processor time that the server used.
    cpu: Option<u64>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds of the server's processor time for each call and each refusal alike.
    fn cpu_each(&self) -> Option<f64> {
        let all = self.calls + self.overloaded;
        self.cpu
            .filter(|_| all > 0)
            .map(|cpu| cpu as f64 / all as f64)
    }

    /// The wait that so many in a thousand calls did not exceed, in microseconds.
    fn wait(&self, permille: usize) -> u32 {
        let at = (self.waits.len() * permille / 1_000).min(self.waits.len().saturating_sub(1));
        self.waits.get(at).copied().unwrap_or_default()
    }
}

/// Everything that was measured.
struct BenchReport {
    server: String,
    /// Appends of 4 KiB with fsync a second; none of a server that is elsewhere.
    fsyncs: Option<f64>,
    load: String,
    measured: Vec<Measured>,
}

/// Measures, and tells.
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
    if let Some(server) = options.named_server() {
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

/// Appends of 4 KiB, each followed by fsync, per second.
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

/// Microseconds of processor time that the threads of services in this process have used, where the system tells.
pub fn used_by_services() -> Option<u64> {
    bench_cpu::used(None)
}

/// The load of the machine over the last minute and five, where it tells.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

async fn measure(
    config: &BenchConfig,
    server: &Server,
    fsyncs: Option<f64>,
) -> Result<BenchReport, CallError> {
    let channels = connect(server, config.connections).await?;
    let load_of = BookingLoad::new(config.calendars, config.mix);
    load_of.open(server, &channels[0]).await?;
    let phases: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|it| config.only.is_empty() || config.only.contains(it))
        .collect();
    let phases_all = phases.len() + usize::from(config.overload.is_some());
    let progress = bar(phases_all as u64 * u64::from(config.seconds), "seconds");
    let mut workers: Vec<LoadWorker> = (0..config.in_flight)
        .map(|number| load_of.worker(number, config.in_flight, channel(&channels, number)))
        .collect();
    let mut measured = Vec::new();
    for phase in phases {
        measured.push(run_phase(phase, &mut workers, config, server, &progress).await?);
    }
    drop(workers);
    load_of.close(server, &channels[0]).await?;
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

/// Books with so many times the calls in flight.
async fn overload(
    config: &BenchConfig,
    server: &Server,
    times: u32,
    progress: &indicatif::ProgressBar,
) -> Result<Measured, CallError> {
    let in_flight = config.in_flight * times;
    // No more connections than it takes: calls of few connections are cheaper than those of many.
    let connections = config
        .connections
        .max(in_flight.div_ceil(CALLS_OF_A_CONNECTION));
    let load_of = BookingLoad::new(config.calendars, config.mix);
    let channels = connect(server, connections).await?;
    load_of.open(server, &channels[0]).await?;
    let mut workers: Vec<LoadWorker> = (0..in_flight)
        .map(|number| load_of.worker(number, in_flight, channel(&channels, number)))
        .collect();
    let measured = run_phase(Phase::Overload, &mut workers, config, server, progress).await?;
    drop(workers);
    load_of.close(server, &channels[0]).await?;
    Ok(measured)
}

async fn connect(server: &Server, connections: u32) -> Result<Vec<Channel>, CallError> {
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(server.connect().await?);
    }
    Ok(channels)
}

fn channel(channels: &[Channel], number: u32) -> Channel {
    channels[number as usize % channels.len()].clone()
}

/// What lies between two workers that begin: of an overload, all have begun when half of it is over.
fn joining(phase: Phase, workers: usize, seconds: u32) -> Duration {
    let half = Duration::from_secs(u64::from(seconds)) / 2;
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    if phase == Phase::Overload {
        JOINING.min(half / workers)
    } else {
        Duration::ZERO
    }
}

/// Lets all workers do one kind of call for some seconds.
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
                    CallEnd::Overloaded(again) => {
                        overloaded += 1;
                        tokio::time::sleep_until((asked + again).min(until).into()).await;
                        continue;
                    }
                    CallEnd::Wrongly => failed += 1,
                    CallEnd::Rightly => {}
                }
                waits.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            (worker, waits, failed, overloaded)
        });
    }
    let (mut waits, mut failed, mut overloaded) = (Vec::new(), 0, 0);
    // One timer for all of a phase: one for each call would be measured with it.
    let patience_over = (until + server.patience()).into();
    while let Some(done) = timeout_at(patience_over, running.join_next())
        .await
        .map_err(|_| server.silent("calls of the bench"))?
    {
        let (worker, some, wrong, refused) = done.map_err(|error| error.to_string())?;
        workers.push(worker);
        waits.extend(some);
        failed += wrong;
        overloaded += refused;
    }
    let cpu = bench_cpu::used(config.server_process)
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before));
    let seconds_taken = started.elapsed().as_secs_f64();
    progress.inc(u64::from(config.seconds));
    waits.sort_unstable();
    // Without a process named, only a server of its own can be looked at; one elsewhere uses nothing here.
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
    fn ratio(&self, it: &Measured) -> Option<f64> {
        let echo = self.measured.iter().find(|it| it.phase == Phase::Echo)?;
        Some(it.rate() / echo.rate())
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
        for it in &self.measured {
            let ratio = self
                .ratio(it)
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [p50, p90, p99, p999] = [500, 900, 990, 999].map(|permille| it.wait(permille));
            lines.push(format!(
                " {:<7} {:>10.0} {ratio:>7} {p50:>8} {p90:>8} {p99:>8} {p999:>8} {:>7} {:>10} {:>7}",
                it.phase.name(),
                it.rate(),
                it.failed,
                it.overloaded,
                it.cpu_each().map_or_else(String::new, |each| format!("{each:.1}")),
            ));
        }
        lines.join("\n")
    }

    fn as_json(&self, config: &BenchConfig) -> Value {
        let of = |it: &Measured| {
            let waits: BTreeMap<&str, u32> =
                [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)]
                    .map(|(name, at)| (name, it.wait(at)))
                    .into();
            json!({
                "call": it.phase.name(),
                "calls": it.calls,
                "failed": it.failed,
                "overloaded": it.overloaded,
                "cpu_microseconds": it.cpu_each(),
                "calls_per_second": it.rate(),
                "ratio_to_echo": self.ratio(it),
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
            "calls": self.measured.iter().map(of).collect::<Vec<_>>(),
        })
    }
}
