//! The service on a disk, from its start to its end, without a network: for what only the disk decides.
//!
//! Callers send a few calls at a time, so that batches are of several; time is virtual, and passes when all wait.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bookd::api::context::Api;
use bookd::api::stack;
use bookd::clock::ManualClock;
use bookd::engine::{DeletionSettings, Engine, RunningEngine, Settings};
use bookd::ids::Ids;
use bookd::layout::Layout;
use bookd::log::WatchSettings;
use bookd::store::ZoneLookup;
use bookd::store::sqlite::Sqlite;
use bookd_core::time::Instant;
use bookd_transport::{ServerLimits, serve_connection};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

use crate::server::zones;
use crate::world::BEGINNING;
use bookd_kit::caller::Caller;
use bookd_kit::calls::{Call, Outcome};
use bookd_kit::chance::Chance;
use bookd_kit::disk::Disk;
use bookd_kit::history::{self, Op};
use bookd_kit::log::Log;
use bookd_kit::panics::{note_panics, r11_nothing_panics};
use bookd_kit::powered::Powered;
use bookd_kit::watched::{Shared, Watched, follow, from_the_beginning};

/// How many calls are sent at a time.
const TOGETHER: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);
const PIPE: usize = 64 * 1_024;
pub const CODE_KEY: u64 = 0x0123_4567_89ab_cdef;

/// All lives of one store: what was asked, and what was answered.
pub struct Story {
    clock: ManualClock,
    ids: Arc<Ids>,
    caller: Caller,
    pub ops: Vec<Op>,
    moment: u64,
    /// What one watcher was told, over all lives.
    watched: Shared,
    /// What others were told from the beginning on, when nothing failed any more.
    watched_again: Vec<Watched>,
    /// What is wrong, in words.
    pub found: Vec<String>,
}

/// The service while it lives.
pub struct Life {
    runtime: Runtime,
    engine: Option<Engine>,
    running: Option<RunningEngine>,
    routes: Routes,
    channel: Channel,
    /// Watches everything on, all along.
    watching: Option<JoinHandle<()>>,
}

/// The zones that come with the program.
pub fn lookup() -> ZoneLookup {
    let zones = zones();
    Arc::new(move |name| zones.zone(name).ok())
}

impl Life {
    /// Starts it, or says why it cannot.
    pub fn start(disk: &Disk, story: &Story) -> Result<Self, String> {
        Self::start_with_reserve(disk, story, 0)
    }

    /// The same with a reserve of so many bytes, as far as there is room for it.
    pub fn start_with_reserve(disk: &Disk, story: &Story, bytes: u64) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut store =
            Sqlite::open_on(disk, lookup(), CODE_KEY).map_err(|error| error.to_string())?;
        store.keep_reserve(bytes);
        let store = Box::new(Powered {
            store,
            power: disk.power(),
        });
        // So that deletions by force are prepared, and series come in parts.
        let deletion_settings = DeletionSettings {
            direct_max: 0,
            slice_size: 1,
        };
        let watch = WatchSettings {
            part_events_max: 2,
            ..WatchSettings::default()
        };
        // The writer decides all: what it has in memory after a failure must show.
        let decides_on_snapshots = false;
        let settings = Settings {
            layout: Layout::Inline,
            is_clock_confirmed: true,
            watch,
            decides_on_snapshots,
            deletion_settings,
            ..Settings::default()
        };
        let (engine, running, routes) = runtime.block_on(async {
            let started = Engine::start(store, Arc::new(story.clock.clone()), settings);
            let (engine, running) = started.map_err(|error| error.to_string())?;
            let api = Api {
                ids: Arc::clone(&story.ids),
                ..Api::new(engine.clone(), zones())
            };
            let (routes, _health) = bookd::api::routes(&api).await.unwrap();
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

    /// Sends these calls at the same time.
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

    /// Watches on until everything has been told that there is; whether it came to that.
    fn catch_up(&mut self, watched: &Shared) -> bool {
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

    /// Watches everything anew.
    fn watch_again(&self) -> Vec<Watched> {
        let last = i64::try_from(self.engine.as_ref().unwrap().revision().0).unwrap();
        let channel = connect(&self.runtime, self.routes.clone());
        self.runtime.block_on(from_the_beginning(&channel, last))
    }

    /// Lets time pass in which nobody asks for anything.
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

    /// Ends it in order, as SIGTERM does.
    pub fn stop(mut self) {
        self.stop_watching();
        self.engine.take();
        let routes = std::mem::take(&mut self.routes);
        let channel =
            std::mem::replace(&mut self.channel, connect(&self.runtime, Routes::default()));
        drop((routes, channel));
        let running = self.running.take().unwrap();
        // Connections hold the engine for as long as they are served.
        let stopped = self
            .runtime
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
            watched: Shared::default(),
            watched_again: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Opens the calendars.
    pub fn open(&mut self, life: &mut Life) {
        for call in self.caller.opening() {
            self.call(life, vec![call]);
        }
    }

    /// So many rounds of calls of any kind, until the disk is gone or the writer has stopped.
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

    /// Learns what became of every call that was not answered.
    pub fn resolve(&mut self, life: &mut Life) {
        let open: Vec<usize> = (0..self.ops.len())
            .filter(|op| self.ops[*op].may_have_happened())
            .collect();
        for op in open {
            let outcome = life.send(&[self.ops[op].call.clone()]).remove(0);
            self.note(op, outcome);
        }
    }

    /// The same, and the watcher learns all that there is: nothing fails any more.
    pub fn settle(&mut self, life: &mut Life) {
        self.resolve(life);
        if !life.catch_up(&self.watched) {
            self.found
                .push("R5 a watcher does not catch up though nothing fails any more".to_owned());
        }
        self.watched_again.extend(life.watch_again());
    }

    /// Everything beside what lies on the disk; nothing is open any more.
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
