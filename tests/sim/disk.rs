//! The simulated machine: its disk, which outlives the program, and the ids that it has generated.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bookd::ids::Ids;
use bookd::store::sqlite::Sqlite;
use bookd::store::{OpenError, Store};

use crate::life::{CODE_KEY, lookup};
use bookd_kit::chance::Chance;
use bookd_kit::disk::{Disk, Fault};
use bookd_kit::power_loss::PowerLossStore;

pub struct Machine {
    ids: Arc<Ids>,
    disk: RefCell<Disk>,
    /// Earlier disks: connections of a dead program may still be closing on them.
    before: RefCell<Vec<Disk>>,
}

impl Machine {
    pub fn new(chance: &mut Chance) -> Self {
        let ids = Arc::new(Ids::Counted(AtomicU64::new(1)));
        let disk = RefCell::new(Disk::new(chance.next_number()));
        Self {
            ids,
            disk,
            before: RefCell::default(),
        }
    }

    pub fn ids(&self) -> Arc<Ids> {
        Arc::clone(&self.ids)
    }

    pub fn open(&self) -> Result<Box<dyn Store>, OpenError> {
        let disk = self.disk.borrow();
        let store = Sqlite::open_on(&*disk, lookup(), CODE_KEY)?;
        Ok(Box::new(PowerLossStore {
            store,
            power: disk.power(),
        }))
    }

    /// The findings of SQLite's integrity check; nothing may have the file open.
    pub fn integrity(&self) -> Vec<String> {
        let disk = self.disk.borrow();
        let opened = Sqlite::open_on(&*disk, lookup(), CODE_KEY).map_err(|error| error.to_string());
        let found = opened.and_then(|it| it.integrity().map_err(|error| error.to_string()));
        found.unwrap_or_else(|error| vec![error])
    }

    fn replace_disk(&self, next: Disk) {
        self.before.borrow_mut().push(self.disk.replace(next));
    }

    /// Kills the program: nothing of it reaches the disk any more.
    pub fn kill(&self) {
        let next = self.disk.borrow().after_kill();
        self.replace_disk(next);
    }

    pub fn cut_power_after(&self, accesses: u64) {
        self.disk.borrow().cut_after(accesses);
    }

    pub fn fail_after(&self, accesses: u64, chance: &mut Chance) {
        let fault = chance.of(&[Fault::Io, Fault::Full]);
        self.disk.borrow().fail_after(accesses, fault);
    }

    /// Whether the power is gone, so that nothing which the program says from then on counts.
    pub fn lost_power(&self) -> bool {
        self.disk.borrow().is_off()
    }

    pub fn restore_power(&self) {
        let next = self.disk.borrow().after_power_loss();
        self.replace_disk(next);
    }

    /// Cancels the failures and power cuts that have not come yet.
    pub fn heal(&self) {
        self.disk.borrow().heal();
    }
}
