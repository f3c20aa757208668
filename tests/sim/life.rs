//! The service on a disk in memory, from start to stop and without a network: for everything that
//! depends on the disk alone.
//!
//! Callers send a few calls at a time, so that batches have several commands; time is virtual, and
//! passes while everything waits.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bookd::api::Routes;
use bookd::api::context::Api;
use bookd::api::stack;
use bookd::clock::ManualClock;
use bookd::engine::{Engine, RunningEngine};
use bookd::ids::Ids;
use bookd::store::ZoneLookup;
use bookd::store::sqlite::Sqlite;
use bookd_core::time::Instant;
use bookd_transport::{ServerLimits, serve_connection};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::server::{settings, zones};
use crate::world::BEGINNING;
use bookd_kit::caller::Caller;
use bookd_kit::calls::{Call, Outcome};
use bookd_kit::chance::Chance;
use bookd_kit::disk::Disk;
use bookd_kit::history::{self, Op};
use bookd_kit::log::Log;
use bookd_kit::panics::{note_panics, r11_nothing_panics};
use bookd_kit::power_loss::PowerLossStore;
use bookd_kit::watch_record::{SharedRecord, WatchRecord, follow, from_the_beginning};

/// Calls that are sent at the same time.
const TOGETHER: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);
const PIPE: usize = 64 * 1_024;
/// The key of confirmation codes, equal in every run.
pub const CODE_KEY: u64 = 0x0123_4567_89ab_cdef;

/// The record of all lives of one store: the calls and their outcomes.
pub struct Story {
    clock: ManualClock,
    ids: Arc<Ids>,
    caller: Caller,
    pub ops: Vec<Op>,
    moment: u64,
    /// What one watcher was sent, over all lives.
    watched: SharedRecord,
    /// What other watchers were sent from the first revision on, after the last failure.
    watched_again: Vec<WatchRecord>,
    /// Descriptions of everything that is wrong.
    pub found: Vec<String>,
}

/// A running service.
pub struct Life {
    runtime: Runtime,
    engine: Option<Engine>,
    running: Option<RunningEngine>,
    routes: Routes,
    channel: Channel,
    /// The watcher of everything, which runs as long as the service.
    watching: Option<JoinHandle<()>>,
}

/// The bundled time zones.
pub fn lookup() -> ZoneLookup {
    let zones = zones();
    Arc::new(move |name| zones.zone(name).ok())
}

impl Life {
    /// Starts the service, or answers why it cannot start.
    pub fn start(disk: &Disk, story: &Story) -> Result<Self, String> {
        Self::start_with_reserve(disk, story, 0)
    }

    /// Starts the service with a reserve of so many bytes, if the disk has space for it.
    pub fn start_with_reserve(disk: &Disk, story: &Story, bytes: u64) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut store =
            Sqlite::open_on(disk, lookup(), CODE_KEY).map_err(|error| error.to_string())?;
        store.keep_reserve(bytes);
        let store = Box::new(PowerLossStore {
            store,
            power: disk.power(),
        });
        // The writer decides everything, so that its memory after a failure shows in the answers.
        let settings = settings(false);
        let (engine, running, routes) = runtime.block_on(async {
            let started = Engine::start(store, Arc::new(story.clock.clone()), settings);
            let (engine, running) = started.map_err(|error| error.to_string())?;
            let api = Api {
                ids: Arc::clone(&story.ids),
                ..Api::new(engine.clone(), zones())
            };
            let (routes, _health) = bookd::api::routes(api, true).await.unwrap();
            let (routes, delivering) = routes.on_worker();
            tokio::spawn(delivering);
            Ok::<_, String>((engine, running, routes))
        })?;
        let channel = connect(&runtime, routes.clone());
        let watching = follow(
            connect(&runtime, routes.clone()),
            Arc::clone(&story.watched),
            None,
        );
        let watching = Some(runtime.spawn(watching));
        Ok(Self {
            runtime,
            engine: Some(engine),
            running: Some(running),
            routes,
            channel,
            watching,
        })
    }

    /// Sends these calls at the same time, and answers their outcomes in order.
    fn send(&mut self, calls: &[Call]) -> Vec<Outcome> {
        let channel = self.channel.clone();
        let outcomes = self.runtime.block_on(async {
            let sent: Vec<_> = calls
                .iter()
                .cloned()
                .map(|call| {
                    let channel = channel.clone();
                    tokio::spawn(async move {
                        match timeout(PATIENCE, call.send(&channel)).await {
                            Ok(Ok(answered)) => Outcome::Done(answered),
                            Ok(Err(status)) => Outcome::of_status(&status),
                            Err(_) => Outcome::Unknown("no answer".to_owned()),
                        }
                    })
                })
                .collect();
            let mut outcomes = Vec::new();
            for it in sent {
                outcomes.push(it.await.unwrap());
            }
            outcomes
        });
        if outcomes.iter().any(|it| matches!(it, Outcome::Unknown(_))) {
            self.channel = connect(&self.runtime, self.routes.clone());
        }
        outcomes
    }

    fn stop_watching(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
            let _aborted = self.runtime.block_on(watching);
        }
    }

    /// Lets the watcher read up to the newest revision; false if it does not get there.
    fn catch_up(&mut self, watched: &SharedRecord) -> bool {
        self.stop_watching();
        let last = i64::try_from(self.engine.as_ref().unwrap().revision().0).unwrap();
        let upto = || watched.lock().unwrap().upto;
        if upto() < last {
            let following = follow(
                connect(&self.runtime, self.routes.clone()),
                Arc::clone(watched),
                Some(last),
            );
            let _in_time = self
                .runtime
                .block_on(async { timeout(PATIENCE, following).await });
        }
        upto() >= last
    }

    /// Watches everything from the first revision on.
    fn watch_again(&self) -> Vec<WatchRecord> {
        let last = i64::try_from(self.engine.as_ref().unwrap().revision().0).unwrap();
        let channel = connect(&self.runtime, self.routes.clone());
        self.runtime.block_on(from_the_beginning(&channel, last))
    }

    /// Lets time pass without calls.
    pub fn wait(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    /// Whether the writer has stopped by itself.
    pub fn has_stopped(&self) -> bool {
        let engine = self.engine.as_ref().unwrap();
        self.runtime.block_on(async {
            timeout(Duration::from_millis(1), engine.closed())
                .await
                .is_ok()
        })
    }

    /// Stops the service in order, as SIGTERM does.
    pub fn stop(mut self) {
        self.stop_watching();
        let Self {
            runtime,
            engine,
            running,
            routes,
            channel,
            ..
        } = self;
        drop((engine, routes, channel));
        let running = running.unwrap();
        // Connections hold the engine for as long as they are served.
        let stopped = runtime
            .block_on(async { timeout(Duration::from_secs(3_600), running.stopped()).await });
        assert!(stopped.is_ok(), "the service does not stop");
    }
}

fn connect(runtime: &Runtime, routes: Routes) -> Channel {
    let connector = tower::service_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        tokio::spawn(serve_connection(
            theirs,
            peer,
            1,
            ServerLimits::default(),
            stack::alone(routes.clone()),
        ));
        std::future::ready(Ok::<_, std::io::Error>(TokioIo::new(ours)))
    });
    let _entered = runtime.enter();
    Endpoint::from_static("http://pipe").connect_with_connector_lazy(connector)
}

impl Story {
    pub fn new(seed: u64) -> Self {
        note_panics();
        Self {
            clock: ManualClock::new(Instant::from_seconds(BEGINNING)),
            ids: Arc::new(Ids::Counted(AtomicU64::new(1))),
            caller: Caller::new("caller", Chance(seed)),
            ops: Vec::new(),
            moment: 0,
            watched: SharedRecord::default(),
            watched_again: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Makes the calls that open the calendars.
    pub fn open(&mut self, life: &mut Life) {
        for call in self.caller.opening() {
            self.call(life, vec![call]);
        }
    }

    /// Makes so many rounds of calls of any kind, until the disk is off or the writer has stopped.
    pub fn go_on(&mut self, life: &mut Life, rounds: usize, disk: &Disk) {
        for _ in 0..rounds {
            self.clock.advance(40);
            let now = bookd::clock::Clock::now(&self.clock).seconds();
            let calls = (0..TOGETHER).map(|_| self.caller.any(now)).collect();
            self.call(life, calls);
            if disk.is_off() || life.has_stopped() {
                return;
            }
        }
    }

    fn call(&mut self, life: &mut Life, calls: Vec<Call>) {
        let first = self.ops.len();
        for call in &calls {
            self.moment += 1;
            self.ops.push(Op::new("caller", call.clone(), self.moment));
        }
        for (place, outcome) in life.send(&calls).into_iter().enumerate() {
            self.note(first + place, outcome);
        }
    }

    fn note(&mut self, op: usize, outcome: Outcome) {
        self.moment += 1;
        if let Outcome::Done(answered) = &outcome {
            self.caller.learn(&self.ops[op].call, answered);
            for it in &answered.appointments {
                if !self.caller.known.contains(&it.appointment_id) {
                    self.caller.known.push(it.appointment_id.clone());
                }
            }
        }
        self.ops[op].note(outcome, self.moment);
    }

    /// Repeats every call whose outcome is unknown.
    pub fn resolve(&mut self, life: &mut Life) {
        let open: Vec<usize> = (0..self.ops.len())
            .filter(|op| self.ops[*op].may_have_happened())
            .collect();
        for op in open {
            let outcome = life.send(&[self.ops[op].call.clone()]).remove(0);
            self.note(op, outcome);
        }
    }

    /// Repeats every call whose outcome is unknown, and lets the watcher read everything; nothing
    /// fails any more.
    pub fn settle(&mut self, life: &mut Life) {
        self.resolve(life);
        if !life.catch_up(&self.watched) {
            self.found
                .push("R5 a watcher does not catch up though nothing fails any more".to_owned());
        }
        self.watched_again.extend(life.watch_again());
    }

    /// Judges everything that was answered beside what is on the disk; nothing has the store open.
    pub fn judge(&mut self, disk: &Disk) {
        self.found.extend(r11_nothing_panics());
        let mut store = match Sqlite::open_on(disk, lookup(), CODE_KEY) {
            Ok(store) => store,
            Err(error) => {
                return self
                    .found
                    .push(format!("the store cannot be opened at the end: {error}"));
            }
        };
        let sound = store
            .integrity()
            .unwrap_or_else(|error| vec![error.to_string()]);
        self.found
            .extend(sound.into_iter().map(|it| format!("SQLite: {it}")));
        let now = bookd::clock::Clock::now(&self.clock);
        let checked = store
            .oldest()
            .and_then(|it| bookd::admin::check::check(&mut store, it, &lookup(), now, |_| ()));
        match checked {
            Ok(report) => self
                .found
                .extend(report.invariants.iter().flat_map(|it| it.findings.clone())),
            Err(error) => {
                return self
                    .found
                    .push(format!("the store cannot be read at the end: {error}"));
            }
        }
        let log = Log::read(&mut store, &self.ops);
        self.watched_again
            .push(self.watched.lock().unwrap().clone());
        self.found
            .extend(history::check(&self.ops, &self.watched_again, &log));
    }

    /// How many calls were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.ops.iter().filter(|op| op.done().is_some()).count()
    }
}
