//! One run: a server, callers, watchers and faults under one seed, until everything has converged
//! and is judged.

use std::rc::Rc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use crate::disk::Machine;
use crate::faults::Faults;
use crate::life::lookup;
use crate::server::{SERVER, serve};
use crate::world::{Phase, World};
use crate::{clients, verify};
use bookd_core::time::Instant;
use bookd_kit::chance::Chance;
use bookd_kit::history;
use bookd_kit::log::{Log, number};
use bookd_kit::panics::{note_panics, r11_nothing_panics};
use bookd_kit::watch_record::Scope;

const CALLERS: usize = 4;
/// The number of watchers of everything; others watch less.
const WATCHERS: usize = 2;
/// Calls of each caller.
const CALLS: usize = 25;
/// The longest virtual time of a run; one that has not converged by then never will.
const LONGEST: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(10);

/// The outcome of a run.
pub struct Report {
    /// Descriptions of everything that is wrong.
    pub found: Vec<String>,
    /// The digest of the trace.
    pub digest: String,
    /// The last lines of the trace.
    pub shown: String,
    pub calls: usize,
    pub acknowledged: usize,
    pub revisions: i64,
    pub faults: usize,
    /// Calls that were refused because they had the request id of another call.
    pub reused: usize,
    /// Changes that watchers were sent in several parts.
    pub in_parts: usize,
}

/// Runs a seed on this thread; the randomness of the thread must come from the seed as well.
pub fn run(seed: u64) -> Report {
    note_panics();
    let mut chance = Chance(seed);
    let world = World::new(CALLERS);
    let machine = Rc::new(Machine::new(&mut chance));
    let mut sim = Builder::new()
        .rng_seed(chance.next_number())
        .tick_duration(STEP)
        .simulation_duration(LONGEST * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(2 + chance.below(120)))
        .tcp_capacity(1_024)
        .build();
    let names = start(&mut sim, &world, &machine, &mut chance);
    let mut faults = Faults::new(chance.fork(), names);
    let mut has_restarted = false;
    loop {
        match sim.step() {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                world.find(format!("a client or the server failed: {error}"));
                break;
            }
        }
        world.pass(sim.elapsed());
        faults.step(&mut sim, &world, &machine);
        if world.phase.get() == Phase::Restarted && !has_restarted {
            has_restarted = true;
            machine.kill();
            sim.crash(SERVER);
            sim.bounce(SERVER);
        }
        if sim.elapsed() > LONGEST {
            world.find(format!(
                "R10 it does not converge: {:?} after {LONGEST:?}",
                world.phase.get()
            ));
            break;
        }
    }
    machine.kill();
    drop(sim);
    judge(&world, &machine);
    report(&world, faults.count)
}

fn start(
    sim: &mut Sim<'_>,
    world: &Rc<World>,
    machine: &Rc<Machine>,
    chance: &mut Chance,
) -> Vec<String> {
    let (of_world, of_machine) = (Rc::clone(world), Rc::clone(machine));
    sim.host(SERVER, move || {
        serve(Rc::clone(&of_world), Rc::clone(&of_machine))
    });
    let mut names = Vec::new();
    for number in 0..CALLERS {
        let name = format!("caller{number}");
        sim.client(
            name.as_str(),
            clients::calls(Rc::clone(world), name.clone(), chance.fork(), CALLS),
        );
        names.push(name);
    }
    let scopes = std::iter::repeat_n(Scope::Everything, WATCHERS - 1).chain(Scope::all());
    for (number, scope) in scopes.enumerate() {
        let name = format!("watcher{number}");
        sim.client(
            name.as_str(),
            clients::watches(Rc::clone(world), name.clone(), scope),
        );
        names.push(name);
    }
    sim.client(
        "owner",
        verify::opens_and_verifies(Rc::clone(world), chance.fork()),
    );
    names
}

/// Judges the store on the disk, and the answers beside it.
fn judge(world: &World, machine: &Machine) {
    machine
        .integrity()
        .into_iter()
        .for_each(|it| world.find(format!("SQLite: {it}")));
    let mut store = match machine.open() {
        Ok(store) => store,
        Err(error) => return world.find(format!("the store cannot be opened at the end: {error}")),
    };
    let oldest = store
        .reader()
        .and_then(|mut it| it.oldest_change())
        .unwrap();
    let now = Instant::from_seconds(world.now());
    let report =
        bookd::admin::check::check(store.as_mut(), oldest, &lookup(), now, |_| ()).unwrap();
    for checked in &report.invariants {
        checked
            .findings
            .iter()
            .for_each(|it| world.find(format!("{}: {it}", checked.name)));
    }
    let log = Log::read(store.as_mut(), &world.ops.borrow());
    let changes = log
        .changes
        .iter()
        .map(|it| (number(it.revision), it.time.seconds()));
    world
        .r16_no_jump_is_believed_at_once(changes)
        .into_iter()
        .for_each(|it| world.find(it));
    r11_nothing_panics()
        .into_iter()
        .for_each(|it| world.find(it));
    let found = history::check(&world.ops.borrow(), &world.watched.borrow(), &log);
    found.into_iter().for_each(|it| world.find(it));
}

fn report(world: &World, faults: usize) -> Report {
    let ops = world.ops.borrow();
    Report {
        found: world.found.take(),
        digest: world.trace.borrow().digest(),
        shown: world.trace.borrow().shown(),
        calls: ops.len(),
        acknowledged: ops.iter().filter(|op| op.done().is_some()).count(),
        revisions: world.last.get(),
        faults,
        reused: ops
            .iter()
            .filter(|op| op.is_refused("REQUEST_ID_REUSED"))
            .count(),
        in_parts: world.watched.borrow().iter().map(|it| it.in_parts).sum(),
    }
}
