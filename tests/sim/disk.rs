//! The simulated machine: its disk, which outlives the program, and the ids that it has made.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bookd::ids::Ids;
use bookd::store::sqlite::Sqlite;
use bookd::store::{OpenError, Store};
use tempfile::TempDir;

use crate::proof::chance::Chance;
use crate::server::zones;

pub struct Machine {
    ids: Arc<Ids>,
    folder: RefCell<TempDir>,
}

/// The secret behind confirmation codes: the same in every run.
const CODE_KEY: u64 = 0x0123_4567_89ab_cdef;

impl Machine {
    pub fn new(_chance: &mut Chance) -> Self {
        let ids = Arc::new(Ids::Counted(AtomicU64::new(1)));
        Self { ids, folder: RefCell::new(tempfile::tempdir().unwrap()) }
    }

    pub fn ids(&self) -> Arc<Ids> {
        Arc::clone(&self.ids)
    }

    pub fn open(&self) -> Result<Box<dyn Store>, OpenError> {
        let zones = zones();
        let lookup = Arc::new(move |name: &str| zones.zone(name).ok());
        Ok(Box::new(Sqlite::open(&self.folder.borrow().path().join("bookd.db"), lookup, CODE_KEY)?))
    }

    pub fn kill(&self) {}
    pub fn cut_power_after(&self, _accesses: u64) {}
    pub fn fail_after(&self, _accesses: u64, _chance: &mut Chance) {}
    pub fn lost_power(&self) -> bool {
        false
    }
    pub fn restore_power(&self) {}
    pub fn heal(&self) {}
}
