//! The faults of a run and their times: chosen by the seed, applied between two steps of the
//! simulation.

use std::time::Duration;

use bookd::failpoints::set_disk_delay;
use turmoil::Sim;

use crate::disk::Machine;
use crate::server::SERVER;
use crate::world::{Phase, World};
use bookd_kit::chance::Chance;

/// How long faults begin, in virtual time.
const LASTS: Duration = Duration::from_secs(20);
/// One step in so many begins a fault.
const RARITY: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The program is killed.
    Kill,
    /// The machine loses power, at once or at one of the next accesses to its disk.
    PowerCut,
    /// One access to the disk fails.
    DiskError,
    /// Nothing passes between a client and the server.
    Partition,
    /// Packets between a client and the server wait.
    Hold,
    /// The machine's clock is set.
    ClockJump,
    /// Each batch waits for the disk.
    SlowDisk,
}

const ALL: [Fault; 7] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::DiskError,
    Fault::Partition,
    Fault::Hold,
    Fault::ClockJump,
    Fault::SlowDisk,
];

pub struct Faults {
    chance: Chance,
    /// The kinds of faults of this seed. Seeds differ, because one fault may hide what a run
    /// without it shows.
    kinds: Vec<Fault>,
    clients: Vec<String>,
    began: Option<Duration>,
    /// When the server that is down starts again.
    up_at: Option<Duration>,
    /// When each link that is cut or held is mended.
    mends: Vec<(Duration, String, Fault)>,
    /// When the slow disk is fast again.
    fast_at: Option<Duration>,
    pub count: usize,
}

impl Faults {
    pub fn new(mut chance: Chance, clients: Vec<String>) -> Self {
        let kinds = ALL.into_iter().filter(|_| chance.is(2)).collect();
        Self {
            chance,
            kinds,
            clients,
            began: None,
            up_at: None,
            mends: Vec::new(),
            fast_at: None,
            count: 0,
        }
    }

    /// Begins and ends faults, between two steps of the simulation.
    pub fn step(&mut self, sim: &mut Sim<'_>, world: &World, machine: &Machine) {
        let now = sim.elapsed();
        match world.phase.get() {
            Phase::Opening => return,
            Phase::Faults => {
                let began = *self.began.get_or_insert(now);
                if now > began + LASTS {
                    self.heal(sim, world, machine);
                } else if !self.kinds.is_empty() && self.chance.is(RARITY) {
                    let fault = self.chance.of(&self.kinds.clone());
                    self.begin(fault, sim, world, machine);
                }
            }
            _ => {}
        }
        self.go_on(sim, world, machine);
    }

    fn begin(&mut self, fault: Fault, sim: &mut Sim<'_>, world: &World, machine: &Machine) {
        self.count += 1;
        let for_a_while = Duration::from_millis(50 + self.chance.below(4_000));
        world.trace(format_args!("{fault:?}"));
        match fault {
            Fault::Kill => {
                machine.kill();
                self.down(sim, for_a_while);
            }
            Fault::PowerCut => {
                let accesses = if self.chance.is(2) {
                    0
                } else {
                    self.chance.below(60)
                };
                machine.cut_power_after(accesses);
            }
            Fault::DiskError => machine.fail_after(self.chance.below(40), &mut self.chance),
            Fault::Partition | Fault::Hold => {
                let client = self.chance.of(&self.clients);
                if self.mends.iter().any(|(_, other, _)| *other == client) {
                    return;
                }
                match fault {
                    Fault::Hold => sim.hold(client.as_str(), SERVER),
                    _ => sim.partition(client.as_str(), SERVER),
                }
                self.mends
                    .push((sim.elapsed() + for_a_while, client, fault));
            }
            Fault::ClockJump => {
                let hours = i64::try_from(self.chance.below(30)).unwrap() - 18;
                let jump = hours * 3_600 + i64::try_from(self.chance.below(3_600)).unwrap();
                world
                    .jumped
                    .set((world.jumped.get() + jump).clamp(-2 * 86_400, 2 * 86_400));
            }
            Fault::SlowDisk => {
                set_disk_delay(Duration::from_millis(1 + self.chance.below(1_500)));
                self.fast_at = Some(sim.elapsed() + for_a_while);
            }
        }
    }

    fn down(&mut self, sim: &mut Sim<'_>, for_a_while: Duration) {
        if sim.is_host_running(SERVER) {
            sim.crash(SERVER);
        }
        self.up_at = Some(sim.elapsed() + for_a_while);
    }

    fn go_on(&mut self, sim: &mut Sim<'_>, world: &World, machine: &Machine) {
        let now = sim.elapsed();
        if machine.lost_power() {
            world.trace(format_args!("the power is gone"));
            self.down(sim, Duration::from_millis(500));
            machine.restore_power();
        }
        if self.up_at.is_none() && !sim.is_host_running(SERVER) {
            // The server has stopped by itself; it is started again, as a supervisor would.
            machine.kill();
            self.up_at = Some(now + Duration::from_millis(300));
        }
        if self.up_at.is_some_and(|at| at <= now) {
            self.up_at = None;
            sim.bounce(SERVER);
        }
        if self.fast_at.is_some_and(|at| at <= now) {
            self.fast_at = None;
            set_disk_delay(Duration::ZERO);
        }
        for (_, client, fault) in self.mends.extract_if(.., |(at, ..)| *at <= now) {
            mend(sim, &client, fault);
        }
    }

    /// Ends all faults; from now on nothing fails.
    fn heal(&mut self, sim: &mut Sim<'_>, world: &World, machine: &Machine) {
        world.trace(format_args!("nothing fails any more"));
        machine.heal();
        self.fast_at = None;
        set_disk_delay(Duration::ZERO);
        for (_, client, fault) in self.mends.drain(..) {
            mend(sim, &client, fault);
        }
        world.jumped.set(world.jumped.get().max(0));
        world.phase.set(Phase::Healed);
    }
}

fn mend(sim: &Sim<'_>, client: &str, fault: Fault) {
    match fault {
        Fault::Hold => sim.release(client, SERVER),
        _ => sim.repair(client, SERVER),
    }
}
