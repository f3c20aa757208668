//! The latency of small bookings of one client while other clients make the heaviest calls that the
//! contract allows, one kind at a time.
//!
//! `cargo bench --bench neighbours` takes calendars of 50,000 and of 500,000 appointments;
//! `BOOKD_HOT=50000` takes only that size, `BOOKD_CASES=Delete` only the methods with that in their
//! name. The callers and the booker run in this process, each on a thread of their own, and share
//! its processors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark prints, has threads, and stops when it cannot go on"
)]

mod filled;
mod heavy;
mod service;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Stopwatch};

use bookd::cli::bench::{fsync_rate, load};
use bookd::cli::client::{CallError, Client, Server};
use bookd::open_store::open_sqlite;
use bookd::proto::FILE_DESCRIPTOR_SET;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::store::Store;
use bookd::store::sqlite::Sqlite;
use bookd::zones::Zones;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::change::Change;
use bookd_core::command::Command as Asked;
use bookd_core::ids::{CalendarId, TypeId, TypeNumber};
use bookd_core::state::State;
use bookd_core::time::{HOUR, Instant};
use bookd_transport::ServerLimits;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use filled::{booking, commit, opened, take};
use heavy::{Case, Ground, OF_CUSTOMER, TAKEN, cases};
use service::tomorrow;

/// Appointments on the hot calendars.
const HOT: [usize; 2] = [50_000, 500_000];
/// Calendars of the small bookings.
const SMALL: usize = 200;
/// Calendars for each hot one that heavy calls name together.
const MANY: usize = 100;
/// Calendars that are only listed.
const LISTED: usize = 1_000;
/// Callers of the heavy calls.
const CALLERS: usize = 2;
/// How long each case is measured.
const CASE_TIME: Duration = Duration::from_millis(1_500);
/// How long the booker is measured alone before each case.
const ALONE_TIME: Duration = Duration::from_millis(400);
/// Messages of a stream that are read before it is opened again.
const STREAM_MESSAGES: usize = 100;
/// Changes of a commit while the file is filled.
const BATCH: usize = 5_000;
/// The promised limit of the latency, as a multiple of the latency alone.
const RATIO_MAX: f64 = 5.0;
/// The promised limit of the latency, in milliseconds.
const MILLISECONDS_MAX: f64 = 50.0;

fn calendar(name: &str) -> CalendarId {
    CalendarId::parse(name).unwrap()
}

/// Fills a file: the small calendars, and for each size the many calendars, a hot one and a victim.
struct Filling {
    store: Sqlite,
    state: State,
    zones: Arc<Zones>,
    changes: Vec<Change>,
    first: Instant,
}

impl Filling {
    fn command(&mut self, command: &Asked) {
        take(&mut self.state, command, &mut self.changes);
        if self.changes.len() >= BATCH {
            self.commit();
        }
    }

    fn commit(&mut self) {
        commit(&mut self.store, &mut self.changes);
        self.state.appointments.clear();
    }

    fn open(&mut self, id: &CalendarId) {
        let utc = self.zones.zone("UTC").unwrap();
        self.command(&opened(id, &utc));
    }

    /// Makes a calendar with `appointments`; answers the id of one in the middle.
    fn hot(&mut self, id: &CalendarId, appointments: usize, email: &str) -> String {
        self.open(id);
        let default = self.state.calendars[id]
            .types
            .numbered(TypeNumber(0))
            .unwrap()
            .clone();
        let appointment_type = AppointmentType {
            duration: bookd_core::time::Minutes::new((TAKEN / 60) as u32).unwrap(),
            horizon_days: 100_000,
            ..AppointmentType::clone(&default)
        };
        self.command(&Asked::PutAppointmentType {
            calendar: id.clone(),
            appointment_type,
            etag: None,
        });
        let mut middle = String::new();
        for number in 0..appointments {
            let mut wanted = booking(id, self.first.plus(number as i64 * TAKEN));
            if number < OF_CUSTOMER {
                wanted.person.invitee.as_mut().unwrap().email = bookd::fold::email(email);
            }
            if number == appointments / 2 {
                let bookd_core::command::NewId::Made(id) = wanted.id else {
                    panic!("made")
                };
                middle = id.0.to_string();
            }
            self.command(&Asked::Book(wanted));
        }
        self.state.calendars.remove(id);
        middle
    }
}

fn fill(file: &Path, sizes: &[usize], first: Instant) -> Vec<Ground> {
    let zones = Arc::new(Zones::bundled());
    let mut store = open_sqlite(file, &zones).unwrap();
    let boot = store.boot().unwrap();
    let state = State {
        next_key: boot.next_key,
        revision: boot.revision,
        ..State::default()
    };
    let mut filling = Filling {
        store,
        state,
        zones,
        changes: Vec::new(),
        first,
    };
    for number in 0..SMALL {
        filling.open(&calendar(&format!("small/{number}")));
    }
    for number in 0..LISTED {
        filling.open(&calendar(&format!("listed/{number}")));
    }
    let typed = calendar("typed");
    filling.open(&typed);
    let default = filling.state.calendars[&typed]
        .types
        .numbered(TypeNumber(0))
        .unwrap()
        .clone();
    for number in 1..1_000 {
        let id = TypeId::parse(&format!("type-{number}")).unwrap();
        let appointment_type = AppointmentType {
            id,
            ..AppointmentType::clone(&default)
        };
        filling.command(&Asked::PutAppointmentType {
            calendar: typed.clone(),
            appointment_type,
            etag: None,
        });
    }
    let mut grounds = Vec::new();
    for &appointments in sizes {
        for number in 0..MANY {
            filling.open(&calendar(&format!("many/{appointments}/{number}")));
        }
        let (hot, victim) = (
            format!("hot/{appointments}"),
            format!("victim/{appointments}"),
        );
        let email = format!("grace-{appointments}@example.com");
        let appointment = filling.hot(&calendar(&hot), appointments, &email);
        filling.hot(&calendar(&victim), appointments, "");
        let (first, token) = (first.seconds(), String::new());
        grounds.push(Ground {
            hot,
            victim,
            appointments,
            appointment,
            email,
            first,
            token,
        });
    }
    filling.commit();
    grounds
}

/// The client that makes small bookings, one after the other.
struct Booker {
    client: BookingServiceClient<Channel>,
    next: usize,
    first: i64,
}

impl Booker {
    /// Books until `is_over`; answers the milliseconds of each booking.
    async fn book(&mut self, is_over: impl Fn() -> bool) -> Vec<f64> {
        let mut took = Vec::new();
        while !is_over() {
            let start = self.first + (self.next / SMALL) as i64 * HOUR;
            let request = service::booking(format!("small/{}", self.next % SMALL), start);
            self.next += 1;
            let begun = Stopwatch::now();
            self.client.book_appointment(request).await.unwrap();
            took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        took
    }

    async fn alone(&mut self) -> Vec<f64> {
        let begun = Stopwatch::now();
        self.book(|| begun.elapsed() > ALONE_TIME).await
    }
}

/// The n-th percentile of latencies.
fn percentile(took: &mut [f64], percent: usize) -> f64 {
    took.sort_unstable_by(f64::total_cmp);
    took[(took.len() * percent / 100).min(took.len() - 1)]
}

/// Makes the calls of a case once; fails if the last one is refused.
async fn make_calls(
    client: &Client,
    case: &Case,
    ground: &Ground,
    number: usize,
) -> Result<(), CallError> {
    let mut answer = Value::Null;
    for (at, (method, request)) in case.calls.iter().enumerate() {
        let request = request(ground, number, &answer);
        if at + 1 < case.calls.len() {
            answer = client.call(method, request).await?;
        } else if method.starts_with("Watch") {
            let mut stream = client.stream(method, request).await?;
            let messages = if *method == "WatchSlots" {
                1
            } else {
                STREAM_MESSAGES
            };
            for _ in 0..messages {
                stream.next_bytes().await?;
            }
        } else {
            client.send(&client.prepare(method, request)?).await?;
        }
    }
    Ok(())
}

/// The state that the callers of a case share.
#[derive(Default)]
struct Calling {
    next: AtomicUsize,
    is_over: AtomicBool,
}

/// A caller, which makes the calls of a case until `is_over`. Its calls must be refused exactly if
/// the case says so.
async fn call(
    server: Server,
    case: Arc<Case>,
    ground: Ground,
    calling: Arc<Calling>,
) -> Result<(), String> {
    let client = Client::connect(&server).await.unwrap();
    loop {
        let number = calling.next.fetch_add(1, Ordering::Relaxed);
        let done = make_calls(&client, &case, &ground, number).await;
        if done.is_err() != case.what.contains("refused") {
            return Err(format!("turn {number}: {done:?}"));
        }
        if calling.is_over.load(Ordering::Relaxed) || case.is_once {
            return Ok(());
        }
    }
}

/// The figures of a case.
struct Measured {
    /// How often the calls of the case were made.
    turns: usize,
    seconds: f64,
    /// The latency of each small booking, in milliseconds.
    took: Vec<f64>,
    /// An answer that the case does not expect.
    fault: Option<String>,
}

/// Measures small bookings while callers make the calls of a case.
async fn measure(
    booker: &mut Booker,
    server: &Server,
    case: &Arc<Case>,
    ground: &Ground,
) -> Measured {
    let (calling, begun) = (Arc::new(Calling::default()), Stopwatch::now());
    let calls: Vec<_> = (0..if case.is_once { 1 } else { CALLERS })
        .map(|_| {
            call(
                server.clone(),
                Arc::clone(case),
                ground.clone(),
                Arc::clone(&calling),
            )
        })
        .collect();
    // The callers have a thread of their own, so that the booker waits for the server only.
    let callers = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            JoinSet::from_iter(calls)
                .join_all()
                .await
                .into_iter()
                .find_map(Result::err)
        })
    });
    let is_over = || {
        calling
            .is_over
            .store(begun.elapsed() > CASE_TIME, Ordering::Relaxed);
        callers.is_finished()
    };
    let took = booker.book(is_over).await;
    let fault = callers.join().unwrap();
    let turns = calling.next.load(Ordering::Relaxed);
    Measured {
        turns,
        seconds: begun.elapsed().as_secs_f64(),
        took,
        fault,
    }
}

/// Checks that all methods of the contract have a case.
fn expect_complete(cases: &[Arc<Case>]) {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let services = files
        .iter()
        .filter(|file| file.package() == "bookd.v1")
        .flat_map(|file| &file.service);
    let methods: BTreeSet<&str> = services
        .flat_map(|service| service.method.iter().map(|method| method.name()))
        .collect();
    let covered: BTreeSet<&str> = cases.iter().map(|case| case.method).collect();
    assert_eq!(covered, methods, "every method has a case here");
}

async fn run(file: &Path, grounds: Vec<Ground>, first: i64) {
    let wanted = std::env::var("BOOKD_CASES").unwrap_or_default();
    let cases: Vec<Arc<Case>> = cases().into_iter().map(Arc::new).collect();
    expect_complete(&cases);
    let service = service::start(file, Zones::load(None).unwrap(), ServerLimits::default()).await;
    let server = Server::new(service.local_addr().to_string(), Duration::from_secs(300));
    let channel = service::connections(service.local_addr(), 1)
        .await
        .remove(0);
    let mut booker = Booker {
        client: BookingServiceClient::new(channel),
        next: 0,
        first,
    };
    // This loads all small calendars.
    booker.alone().await;
    let (mut alone, mut faults) = (booker.alone().await, 0);
    println!("| hot | beside | of | a second | p50 ms | p99 ms | of alone | worst ms | |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for mut ground in grounds {
        for case in cases.iter().filter(|case| case.method.contains(&wanted)) {
            if ground.token.is_empty() && case.method == "ListAppointments" {
                let request = json!({"calendar_id": ground.hot, "page_size": 1_000});
                let page = Client::connect(&server)
                    .await
                    .unwrap()
                    .call("ListAppointments", request)
                    .await
                    .unwrap();
                ground.token = page["next_page_token"].as_str().unwrap().to_owned();
            }
            alone.append(&mut booker.alone().await);
            let measured = measure(&mut booker, &server, case, &ground).await;
            faults += usize::from(measured.fault.is_some());
            print(&ground, case, measured, percentile(&mut alone, 99));
        }
    }
    let (p50, p99, worst) = (
        percentile(&mut alone, 50),
        percentile(&mut alone, 99),
        percentile(&mut alone, 100),
    );
    println!(
        "alone: {} bookings, p50 {p50:.2} ms, p99 {p99:.2} ms, worst {worst:.1} ms; load {}",
        alone.len(),
        load()
    );
    service.stop(Duration::from_secs(1)).await;
    assert_eq!(faults, 0, "calls went otherwise than they should");
}

/// Prints the row of a case.
fn print(ground: &Ground, case: &Case, measured: Measured, alone: f64) {
    let Measured {
        turns,
        seconds,
        mut took,
        fault,
    } = measured;
    let (p50, p99, worst) = (
        percentile(&mut took, 50),
        percentile(&mut took, 99),
        percentile(&mut took, 100),
    );
    let (hot, method, what) = (ground.appointments, case.method, case.what);
    // A case that is made once delays at most one booking, so the worst latency counts.
    let judged = if case.is_once { worst } else { p99 };
    let (rate, ratio) = (turns as f64 / seconds, judged / alone);
    let note = match fault {
        Some(fault) => fault,
        None if ratio <= RATIO_MAX && judged <= MILLISECONDS_MAX => String::new(),
        None => "missed".to_owned(),
    };
    println!(
        "| {hot} | {method} | {what} | {rate:.1} | {p50:.2} | {p99:.2} | {ratio:.1} | {worst:.1} | {note} |"
    );
}

fn main() {
    let sizes = std::env::var("BOOKD_HOT").map_or(HOT.to_vec(), |it| vec![it.parse().unwrap()]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (file, first) = (folder.path().join("bookd.db"), tomorrow());
    println!(
        "fsync {:.0}/s, load {}",
        fsync_rate(folder.path()).unwrap(),
        load()
    );
    let begun = Stopwatch::now();
    let grounds = fill(&file, &sizes, Instant::from_seconds(first));
    let megabytes = std::fs::metadata(&file).unwrap().len() / 1_000_000;
    println!(
        "{megabytes} MB, filled in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&file, grounds, first));
}
