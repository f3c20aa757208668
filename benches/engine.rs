//! Bookings per second of the engine without gRPC: of the mailbox, decisions, the store and the
//! bells of the workers, at 16, 64 and 256 commands in flight.
//!
//! Only ratios count: in each of three rounds the same bookings are made on a store in memory, whose
//! commit waits for no disk.
//!
//! `cargo bench --bench engine`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod filled;
mod service;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant as Stopwatch};

use bookd::bell::Bell;
use bookd::cli::bench::{ThreadTimes, fsync_rate, load};
use bookd::clock::SystemClock;
use bookd::engine::{Engine, RunningEngine, Settings, SubmitOptions};
use bookd::open_store::open_sqlite;
use bookd::store::Store;
use bookd::store::memory::Memory;
use bookd::zones::Zones;
use bookd_core::command::Command;
use bookd_core::ids::CalendarId;
use bookd_core::time::{DAY, HOUR, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

use service::{Spread, tomorrow};

/// How often each store is measured.
const ROUNDS: usize = 3;
const SECONDS: f64 = 2.0;
const IN_FLIGHT: [usize; 3] = [16, 64, 256];
const CALENDARS: usize = 1_000;
/// Days that one measurement books at most. All measurements together lie within the year that can
/// be booked.
const DAYS: i64 = 40;
/// Workers, as a service of two cores has.
const WORKERS: usize = 2;

/// The figures of one store.
struct Measured {
    bookings_per_second: f64,
    /// The processor time of each booking. The workers make the commands, too.
    cpu: ThreadTimes,
}

fn calendar(number: usize) -> CalendarId {
    CalendarId::parse(&format!("calendar-{number}")).unwrap()
}

/// The threads that wait for answers, as those of a service.
fn workers() -> Vec<Handle> {
    let start = |number| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let serve = move || runtime.block_on(std::future::pending::<()>());
        // It runs until the process ends: what a thread has used is lost with it.
        let _running = thread::Builder::new()
            .name(format!("bookd-worker-{number}"))
            .spawn(serve)
            .unwrap();
        handle
    };
    (0..WORKERS).map(start).collect()
}

/// An engine, and its handles on the workers.
struct Measurable {
    name: &'static str,
    engines: Vec<(Handle, Engine)>,
    running: RunningEngine,
}

impl Measurable {
    /// Starts an engine on this store, and makes the calendars.
    async fn start(name: &'static str, store: Box<dyn Store>, workers: &[Handle]) -> Self {
        let (engine, running) =
            Engine::start(store, Arc::new(SystemClock), Settings::default()).unwrap();
        let utc = Zones::bundled().zone("UTC").unwrap();
        for number in 0..CALENDARS {
            let opened = filled::opened(&calendar(number), &utc);
            engine
                .submit(opened, SubmitOptions::default())
                .await
                .unwrap();
        }
        let on_worker = |worker: &Handle| {
            let (bell, delivering) = Bell::new();
            worker.spawn(delivering);
            (worker.clone(), engine.on_worker(bell))
        };
        Self {
            name,
            engines: workers.iter().map(on_worker).collect(),
            running,
        }
    }

    /// Books with so many commands in flight for `SECONDS`, from `first` on.
    async fn measure(&self, in_flight: usize, first: Instant) -> Measured {
        let (begun, cpu) = (Stopwatch::now(), ThreadTimes::now().unwrap_or_default());
        let until = begun + Duration::from_secs_f64(SECONDS);
        let (mut callers, each) = (JoinSet::new(), CALENDARS / in_flight);
        for caller in 0..in_flight {
            let (worker, engine) = &self.engines[caller % WORKERS];
            let engine = engine.clone();
            let book = async move {
                let mut done = 0;
                while Stopwatch::now() < until {
                    let start = first.plus((done / each) as i64 * HOUR);
                    let booking = filled::booking(&calendar(caller * each + done % each), start);
                    engine
                        .submit(Command::Book(booking), SubmitOptions::default())
                        .await
                        .unwrap();
                    done += 1;
                }
                done
            };
            callers.spawn_on(book, worker);
        }
        let bookings: usize = callers.join_all().await.into_iter().sum();
        Measured {
            bookings_per_second: bookings as f64 / begun.elapsed().as_secs_f64(),
            cpu: ThreadTimes::now()
                .unwrap_or_default()
                .each_since(&cpu, bookings),
        }
    }

    async fn stop(mut self) {
        let last = self.engines.pop();
        drop(self.engines);
        if let Some((_, engine)) = last {
            engine.end();
        }
        self.running.stopped().await;
    }
}

/// Prints what was measured of both stores, a row for each number in flight and store.
fn print_rounds(stores: [&str; 2], rounds: &[Vec<[Measured; 2]>]) {
    println!(
        "in flight  store {:>28} {:>20} {:>20} {:>7} {:>8}",
        "bookings/s", "of memory", "CPU µs", "writer", "workers"
    );
    for (at, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        for (store, name) in stores.into_iter().enumerate() {
            let of = |what: fn(&Measured) -> f64| {
                Spread::of(rounds.iter().map(|round| what(&round[at][store])))
            };
            let ratio = Spread::of(rounds.iter().map(|round| {
                let [memory, _] = &round[at];
                round[at][store].bookings_per_second / memory.bookings_per_second
            }));
            println!(
                "{in_flight:>9} {name:>6} {:>28.0} {ratio:>20.2} {:>20.1} {:>7.1} {:>8.1}",
                of(|it| it.bookings_per_second),
                of(|it| it.cpu.services()),
                of(|it| it.cpu.writer).median(),
                of(|it| it.cpu.workers).median(),
            );
        }
    }
}

async fn run(folder: &Path) {
    let workers = workers();
    let zones = Arc::new(Zones::bundled());
    let sqlite = Box::new(open_sqlite(&folder.join("bookd.db"), &zones).unwrap());
    let memory = Measurable::start("memory", Box::new(Memory::new(1)), &workers).await;
    let sqlite = Measurable::start("SQLite", sqlite, &workers).await;
    let (mut rounds, mut fsyncs) = (Vec::new(), Vec::new());
    let mut first = Instant::from_seconds(tomorrow());
    for _ in 0..ROUNDS {
        fsyncs.push(fsync_rate(folder).unwrap());
        let mut round = Vec::new();
        for in_flight in IN_FLIGHT {
            let in_memory = memory.measure(in_flight, first).await;
            round.push([in_memory, sqlite.measure(in_flight, first).await]);
            // The next measurement books later days, because these are taken.
            first = first.plus(DAYS * DAY);
        }
        rounds.push(round);
    }
    print_rounds([memory.name, sqlite.name], &rounds);
    println!(
        "fsync {:.0}/s, load {}",
        Spread::of(fsyncs.into_iter()),
        load()
    );
    memory.stop().await;
    sqlite.stop().await;
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(folder.path()));
}
