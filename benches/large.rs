//! The cost of many appointments: memory for each, the start on a file with them, and the processor
//! time of a booking, compared with a file of 10,000.
//!
//! `cargo bench --bench large` takes 100,000 appointments; `BOOKD_LARGE=10000000 cargo bench
//! --bench large` takes minutes and 4 GB of disk. Each measurement has a process of its own, so
//! that none finds memory that another one has left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod filled;
mod service;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant as Stopwatch};

use bookd::cli::bench::{ThreadTimes, fsync_rate, load};
use bookd::engine::Wait;
use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::service::Service;
use bookd::store::Store;
use bookd::zones::Zones;
use bookd_core::command::Command as Asked;
use bookd_core::ids::CalendarId;
use bookd_core::state::State;
use bookd_core::time::{HOUR, Instant};
use bookd_transport::ServerLimits;
use tonic::transport::Channel;

use filled::{booking, commit, opened, take};
use service::{CONNECTIONS, Spread, a_day, connections, tomorrow};

/// Appointments of the large file, unless `BOOKD_LARGE` says otherwise.
const APPOINTMENTS: usize = 100_000;
/// Appointments of the small file.
const SMALL: usize = 10_000;
/// Appointments of each calendar in a file that is not small.
const EACH: usize = 100;
/// The least calendars of a file; bookings are spread over them.
const CALENDARS_MIN: usize = 1_000;
/// Changes of one commit while a file is filled.
const BATCH: usize = 5_000;
/// Bookings of a measurement: enough for the resolution of processor time, and few enough that the
/// small file stays small.
const BOOKINGS: usize = 20_000;
/// The most bookings on one calendar when all calendars are booked; each takes two hours of it.
const ALL_TURNS_MAX: usize = 1_000;
const IN_FLIGHT: usize = 64;
/// Rounds of each comparison.
const ROUNDS: usize = 3;
/// Calendars that are loaded at once when all are brought into memory.
const VIEWED: usize = 100;

fn calendars_of(appointments: usize) -> usize {
    (appointments / EACH).max(CALENDARS_MIN)
}

fn calendar(number: usize) -> CalendarId {
    CalendarId::parse(&format!("tenant/calendar-{number}")).unwrap()
}

/// Fills a file through the core and the store, calendar by calendar, an appointment in every
/// second hour.
fn fill(file: &Path, appointments: usize, first: Instant) {
    let zones = Arc::new(Zones::bundled());
    let mut store = open_sqlite(file, &zones).unwrap();
    let boot = store.boot().unwrap();
    let mut state = State {
        next_key: boot.next_key,
        revision: boot.revision,
        ..State::default()
    };
    let utc = zones.zone("UTC").unwrap();
    let (calendars, mut changes) = (calendars_of(appointments), Vec::with_capacity(BATCH));
    for number in 0..calendars {
        let id = calendar(number);
        take(&mut state, &opened(&id, &utc), &mut changes);
        for hour in 0..(appointments / calendars) as i64 {
            take(
                &mut state,
                &Asked::Book(booking(&id, first.plus(hour * 2 * HOUR))),
                &mut changes,
            );
            if changes.len() >= BATCH {
                commit(&mut store, &mut changes);
                state.appointments.clear();
            }
        }
        state.calendars.remove(&id);
    }
    commit(&mut store, &mut changes);
}

/// Starts the service with the zones that the binary takes by default.
async fn serve(file: &Path) -> Service {
    service::start(file, Zones::load(None).unwrap(), ServerLimits::default()).await
}

fn milliseconds(since: Stopwatch) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// Prints how long the start takes, and the first call after it, of a calendar in the middle.
async fn start(file: &Path, appointments: usize, first: Instant) {
    let begun = Stopwatch::now();
    let service = serve(file).await;
    println!("started {}", milliseconds(begun));
    let called = Stopwatch::now();
    let request = a_day(
        calendar(calendars_of(appointments) / 2).to_string(),
        first.seconds(),
    );
    let channel = connections(service.local_addr(), 1).await.remove(0);
    let slots = SlotsServiceClient::new(channel)
        .list_slots(request)
        .await
        .unwrap()
        .into_inner()
        .slots;
    println!("called {}", milliseconds(called));
    // Every second hour of the first day is taken.
    let taken = (appointments / calendars_of(appointments)).min(12);
    assert_eq!(slots.len(), 24 - taken, "the first call saw what is booked");
    service.stop(Duration::from_secs(1)).await;
}

/// The resident memory of this process, in kilobytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|it| it.parse().ok())
        .unwrap_or_default()
}

/// Loads all calendars and prints the memory that they take; then books on some of them and on all,
/// and prints the cost.
async fn book(file: &Path, appointments: usize, first: Instant, round: usize) {
    let service = serve(file).await;
    let calendars = calendars_of(appointments);
    println!("started {}", resident());
    let begun = Stopwatch::now();
    let ids: Vec<CalendarId> = (0..calendars).map(calendar).collect();
    let mut claims = 0;
    for some in ids.chunks(VIEWED) {
        let view = service.engine().view(some, &Wait::default()).await.unwrap();
        claims += view
            .calendars
            .iter()
            .map(|it| it.claims.len())
            .sum::<usize>();
    }
    println!("loaded {}", resident());
    println!("seconds {}", begun.elapsed().as_secs_f64());
    println!("active {claims}");
    let channels = connections(service.local_addr(), CONNECTIONS).await;
    for (name, some) in [("some", CALENDARS_MIN), ("all", calendars)] {
        // In a file with the least calendars, all calendars are the same as some.
        if name == "some" || some > CALENDARS_MIN {
            let (cpu, rate) = booked(&channels, round, move |number| {
                free(number, calendars, some, first)
            })
            .await;
            println!("{name}_cpu {cpu}\n{name}_rate {rate}");
        }
    }
    drop(channels);
    service.stop(Duration::from_secs(1)).await;
}

/// Makes the bookings of a round; answers the microseconds of processor time for each, and the
/// bookings per second.
async fn booked<F>(channels: &[Channel], round: usize, request: F) -> (f64, f64)
where
    F: Fn(usize) -> pb::BookAppointmentRequest + Copy + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(round * BOOKINGS));
    let (begun, cpu) = (Stopwatch::now(), ThreadTimes::now().unwrap_or_default());
    let mut running = tokio::task::JoinSet::new();
    for number in 0..IN_FLIGHT {
        let mut client = BookingServiceClient::new(channels[number % CONNECTIONS].clone());
        let next = Arc::clone(&next);
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= (round + 1) * BOOKINGS {
                    return;
                }
                client.book_appointment(request(number)).await.unwrap();
            }
        });
    }
    running.join_all().await;
    let cpu = ThreadTimes::now()
        .unwrap_or_default()
        .each_since(&cpu, BOOKINGS);
    (
        cpu.services(),
        BOOKINGS as f64 / begun.elapsed().as_secs_f64(),
    )
}

/// The n-th booking on `some` of the calendars, in a scattered order; if these are not all
/// calendars, at times that the bookings on all calendars leave free.
fn free(
    number: usize,
    calendars: usize,
    some: usize,
    first: Instant,
) -> pb::BookAppointmentRequest {
    let turn = number / some + if some < calendars { ALL_TURNS_MAX } else { 0 };
    let start = first.plus(turn as i64 * 2 * HOUR + HOUR);
    service::booking(
        calendar(number * 7_919 % some * (calendars / some)).to_string(),
        start.seconds(),
    )
}

/// The figures that a measurement printed, by name.
type Figures = BTreeMap<String, f64>;
/// The figures of the small file, and of the large one.
type Round = (Figures, Figures);

/// Runs one measurement in a process of its own.
fn child(words: &[&str]) -> Figures {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--child")
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, figure)| (name.to_owned(), figure.parse().unwrap()))
        .collect()
}

/// A file that was filled, with the arguments of its measurements.
#[derive(Clone)]
struct Filled {
    file: String,
    appointments: String,
    first: String,
}

impl Filled {
    fn make(file: &Path, appointments: usize, first: Instant) -> Self {
        let (file, appointments) = (file.display().to_string(), appointments.to_string());
        let (filled, begun) = (
            Self {
                file,
                appointments,
                first: first.seconds().to_string(),
            },
            Stopwatch::now(),
        );
        filled.child("fill", 0);
        let megabytes = std::fs::metadata(&filled.file).unwrap().len() / 1_000_000;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{:>11} appointments: {megabytes} MB, filled in {seconds:.0} s, load {}",
            filled.appointments,
            load()
        );
        filled
    }

    fn child(&self, what: &str, round: usize) -> Figures {
        child(&[
            what,
            &self.file,
            &self.appointments,
            &self.first,
            &round.to_string(),
        ])
    }

    fn calendars(&self) -> usize {
        calendars_of(self.appointments.parse().unwrap())
    }

    /// Drops the file from the page cache.
    fn drop_from_cache(&self) {
        std::fs::File::open(&self.file).unwrap().sync_all().unwrap();
        let dropped = Command::new("dd")
            .arg(format!("if={}", self.file))
            .args(["iflag=nocache", "count=0"])
            .output();
        assert!(
            dropped.is_ok_and(|output| output.status.success()),
            "GNU dd takes a file out of the cache"
        );
    }

    /// Measures start and first call, with the file on the disk only and in the page cache.
    fn measure_start(&self) {
        for (kind, is_cold) in [("from disk", true), ("from memory", false)] {
            let mut measured = Vec::new();
            for _ in 0..ROUNDS {
                if is_cold {
                    self.drop_from_cache();
                }
                measured.push(self.child("start", 0));
            }
            let of = |name: &str| Spread::of(measured.iter().map(|it| it[name]));
            let (started, called) = (of("started"), of("called"));
            println!(
                "{:>11} appointments: start {started:.1} ms, first call {called:.1} ms, {kind}",
                self.appointments
            );
        }
    }

    /// Prints the memory of all calendars.
    fn print_memory(&self, figures: &Figures) {
        let each = |kilobytes: f64| kilobytes * 1_024.0 / figures["active"];
        println!(
            "{:>11} appointments: {:.0} MB resident with all calendars in memory, {:.0} before; for each {:.1} bytes all in, \
             {:.1} without what the start took; loaded in {:.1} s",
            self.appointments,
            figures["loaded"] / 1_000.0,
            figures["started"] / 1_000.0,
            each(figures["loaded"]),
            each(figures["loaded"] - figures["started"]),
            figures["seconds"]
        );
    }
}

/// Measures bookings on both files: on as many calendars as the small file has, and on all of the
/// large one.
fn measure_bookings(small: &Filled, large: &Filled, folder: &Path) {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let copy = folder.join(format!("copy-{round}.db"));
        std::fs::copy(&small.file, &copy).unwrap();
        let copied = Filled {
            file: copy.display().to_string(),
            ..small.clone()
        };
        let (of_small, of_large) = (copied.child("book", 0), large.child("book", round));
        if round == 0 {
            large.print_memory(&of_large);
        }
        rounds.push((of_small, of_large));
    }
    println!(
        "{:>34} {:>22} {:>20} {:>24}",
        "BOOKINGS", "CPU µs", "of small", "bookings/s"
    );
    let print = |filled: &Filled, calendars: usize, of: fn(&Round) -> &Figures, kind: &str| {
        let spread = |what: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(what));
        let (cpu, rate) = (format!("{kind}_cpu"), format!("{kind}_rate"));
        // The ratio is of one round, in which the load of the machine was the same for both.
        let ratio = spread(&|round| of(round)[&cpu] / round.0["some_cpu"]);
        let (cpu, rate) = (
            spread(&|round| of(round)[&cpu]),
            spread(&|round| of(round)[&rate]),
        );
        let name = format!("{} on {calendars} calendars", filled.appointments);
        println!("{name:>34} {cpu:>22.1} {ratio:>20.2} {rate:>24.0}");
    };
    print(small, CALENDARS_MIN, |round| &round.0, "some");
    print(large, CALENDARS_MIN, |round| &round.1, "some");
    if large.calendars() > CALENDARS_MIN {
        print(large, large.calendars(), |round| &round.1, "all");
    }
    println!("load {}", load());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|it| it == "--child") {
        let [what, file, appointments, first, round] = &arguments[2..] else {
            panic!("five words")
        };
        let (file, appointments) = (Path::new(file), appointments.parse().unwrap());
        let first = Instant::from_seconds(first.parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        match what.as_str() {
            "fill" => fill(file, appointments, first),
            "start" => runtime.block_on(start(file, appointments, first)),
            _ => runtime.block_on(book(file, appointments, first, round.parse().unwrap())),
        }
        return;
    }
    let appointments = std::env::var("BOOKD_LARGE").map_or(APPOINTMENTS, |it| it.parse().unwrap());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let first = Instant::from_seconds(tomorrow());
    println!(
        "fsync {:.0}/s, load {}",
        fsync_rate(folder.path()).unwrap(),
        load()
    );
    let small = Filled::make(&folder.path().join("small.db"), SMALL, first);
    let large = Filled::make(&folder.path().join("large.db"), appointments, first);
    small.measure_start();
    large.measure_start();
    measure_bookings(&small, &large, folder.path());
}
