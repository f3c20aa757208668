//! What many appointments cost: memory for each, the start on a file that holds them, and the processor time of a booking
//! beside the same on a file of 10,000.
//!
//! `cargo bench --bench large` takes 100,000 appointments; `BOOKD_LARGE=10000000 cargo bench --bench large` takes minutes
//! and 4 GB of disk. Each measurement has a process of its own, so that none is told what another one left in memory.

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

use bookd::cli::bench::{fsync_rate, load, used_by_services};
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

/// How many appointments without `BOOKD_LARGE`.
const APPOINTMENTS: usize = 100_000;
/// What is called small.
const SMALL: usize = 10_000;
/// How many appointments a calendar has, of a file that is not small.
const EACH: usize = 100;
/// How many calendars a file has at least: bookings are spread over them.
const CALENDARS_MIN: usize = 1_000;
/// Changes of one commit while a file is filled.
const BATCH: usize = 5_000;
/// How many bookings are made to see what one costs: enough for the ticks of a processor's clock, and not so many that
/// the small file is small no more.
const BOOKINGS: usize = 20_000;
/// On all calendars in turn they take no more turns than this, two hours each.
const ALL_TURNS_MAX: usize = 1_000;
const IN_FLIGHT: usize = 64;
/// How often what is compared is measured in turn.
const ROUNDS: usize = 3;
/// Calendars that are asked for at once when all are brought into memory.
const VIEWED: usize = 100;

fn calendars_of(appointments: usize) -> usize {
    (appointments / EACH).max(CALENDARS_MIN)
}

fn calendar(number: usize) -> CalendarId {
    CalendarId::parse(&format!("tenant/calendar-{number}")).unwrap()
}

/// Makes the file through the core and the store, calendar by calendar, an appointment in every second hour.
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

/// With the zones that the binary takes by default.
async fn serve(file: &Path) -> Service {
    service::start(file, Zones::load(None).unwrap(), ServerLimits::default()).await
}

fn milliseconds(since: Stopwatch) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// Says how long the start takes, and the first call after it, of a calendar in the middle.
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
    // Of the first day every second hour is taken.
    let taken = (appointments / calendars_of(appointments)).min(12);
    assert_eq!(slots.len(), 24 - taken, "the first call saw what is booked");
    service.stop(Duration::from_secs(1)).await;
}

/// Kilobytes of memory that this process has.
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

/// Brings every calendar into memory and says how much that takes; then books on some of them and on all, and says what it
/// costs.
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
        // Of a file that has no more calendars all are some.
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

/// Makes the bookings of a round; answers the processor's microseconds for each, and how many there are in a second.
async fn booked<F>(channels: &[Channel], round: usize, request: F) -> (f64, f64)
where
    F: Fn(usize) -> pb::BookAppointmentRequest + Copy + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(round * BOOKINGS));
    let (begun, cpu) = (Stopwatch::now(), used_by_services().unwrap_or(0));
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
    let cpu = used_by_services().unwrap_or(0) - cpu;
    (
        cpu as f64 / BOOKINGS as f64,
        BOOKINGS as f64 / begun.elapsed().as_secs_f64(),
    )
}

/// The n-th booking on some of the calendars, in an order that is none; where it is not on all, at times that those leave.
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

/// What a measurement said, by name.
type Said = BTreeMap<String, f64>;
/// What was said of the small file, and of the large one.
type Round = (Said, Said);

/// One measurement in a process of its own: what it said, by name.
fn child(words: &[&str]) -> Said {
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
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, it)| (name.to_owned(), it.parse().unwrap()))
        .collect()
}

/// A file that was filled.
#[derive(Clone)]
struct Filled {
    file: String,
    appointments: String,
    first: String,
}

impl Filled {
    fn make(file: &Path, appointments: usize, first: Instant) -> Self {
        let (file, appointments) = (file.display().to_string(), appointments.to_string());
        let (it, begun) = (
            Self {
                file,
                appointments,
                first: first.seconds().to_string(),
            },
            Stopwatch::now(),
        );
        it.child("fill", 0);
        let megabytes = std::fs::metadata(&it.file).unwrap().len() / 1_000_000;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{:>11} appointments: {megabytes} MB, filled in {seconds:.0} s, load {}",
            it.appointments,
            load()
        );
        it
    }

    fn child(&self, what: &str, round: usize) -> Said {
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

    /// Takes the file out of the system's memory, where its tools can.
    fn forget(&self) {
        std::fs::File::open(&self.file).unwrap().sync_all().unwrap();
        let said = Command::new("dd")
            .arg(format!("if={}", self.file))
            .args(["iflag=nocache", "count=0"])
            .output();
        assert!(
            said.is_ok_and(|it| it.status.success()),
            "GNU dd takes a file out of the cache"
        );
    }

    /// Start and first call, with the file on the disk alone and in the system's memory.
    fn tell_start(&self) {
        for (kind, is_cold) in [("from disk", true), ("from memory", false)] {
            let mut measured = Vec::new();
            for _ in 0..ROUNDS {
                if is_cold {
                    self.forget();
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

    fn tell_memory(&self, it: &Said) {
        let each = |kilobytes: f64| kilobytes * 1_024.0 / it["active"];
        println!(
            "{:>11} appointments: {:.0} MB resident with all calendars in memory, {:.0} before; for each {:.1} bytes all in, \
             {:.1} without what the start took; loaded in {:.1} s",
            self.appointments,
            it["loaded"] / 1_000.0,
            it["started"] / 1_000.0,
            each(it["loaded"]),
            each(it["loaded"] - it["started"]),
            it["seconds"]
        );
    }
}

/// Books on both files in turn: on as many calendars as the small one has, and on all of the large one.
fn tell_bookings(small: &Filled, large: &Filled, folder: &Path) {
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
            large.tell_memory(&of_large);
        }
        rounds.push((of_small, of_large));
    }
    println!(
        "{:>34} {:>22} {:>20} {:>24}",
        "BOOKINGS", "CPU µs", "of small", "bookings/s"
    );
    let tell = |it: &Filled, calendars: usize, of: fn(&Round) -> &Said, kind: &str| {
        let spread = |what: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(what));
        let (cpu, rate) = (format!("{kind}_cpu"), format!("{kind}_rate"));
        // Each round is held against itself: the machine was the same for both.
        let ratio = spread(&|round| of(round)[&cpu] / round.0["some_cpu"]);
        let (cpu, rate) = (
            spread(&|round| of(round)[&cpu]),
            spread(&|round| of(round)[&rate]),
        );
        let name = format!("{} on {calendars} calendars", it.appointments);
        println!("{name:>34} {cpu:>22.1} {ratio:>20.2} {rate:>24.0}");
    };
    tell(small, CALENDARS_MIN, |round| &round.0, "some");
    tell(large, CALENDARS_MIN, |round| &round.1, "some");
    if large.calendars() > CALENDARS_MIN {
        tell(large, large.calendars(), |round| &round.1, "all");
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
    small.tell_start();
    large.tell_start();
    tell_bookings(&small, &large, folder.path());
}
