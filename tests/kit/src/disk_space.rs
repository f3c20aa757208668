//! The free space of a disk in memory, and the reserve file beside its database.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bookd::store::sqlite::DiskSpace;

use super::disk::{State, lock};

/// The free space of a disk in memory.
pub struct MemoryDiskSpace {
    state: Arc<Mutex<State>>,
    /// The name of the reserve.
    reserve: String,
}

impl MemoryDiskSpace {
    /// The space of the disk with this database.
    pub fn new(state: Arc<Mutex<State>>, file: &Path) -> Self {
        Self {
            state,
            reserve: format!("{}-reserve", file.display()),
        }
    }

    fn put(&self, content: Option<Vec<u8>>) -> io::Result<()> {
        let is_put = lock(&self.state).put_beside(&self.reserve, content);
        if is_put {
            Ok(())
        } else {
            Err(io::Error::other("the disk is off"))
        }
    }
}

impl DiskSpace for MemoryDiskSpace {
    fn free_bytes(&self) -> Option<u64> {
        lock(&self.state).free().map(|bytes| bytes as u64)
    }

    fn reserved_bytes(&self) -> u64 {
        lock(&self.state)
            .size(&self.reserve)
            .map_or(0, |bytes| bytes as u64)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.put(Some(vec![
            0;
            usize::try_from(bytes)
                .map_err(io::Error::other)?
        ]))
    }

    fn give_up(&self) -> io::Result<()> {
        self.put(None)
    }
}
