//! How the store reads and writes files of a disk in memory without SQLite.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bookd::store::sqlite::{DiskSpace, Drive};
use rusqlite::ffi;

use super::disk::{Code, Disk};
use super::disk_space::MemoryDiskSpace;

/// Bytes that are written at a time when a file is rewritten.
const REWRITTEN_AT_A_TIME: usize = 16 * 1_024;

impl Drive for Disk {
    fn vfs(&self) -> &str {
        self.registered.name()
    }

    fn file(&self) -> &Path {
        Path::new("/bookd.db")
    }

    fn length(&self, file: &Path) -> io::Result<u64> {
        let (name, mut state) = (file.to_string_lossy(), self.state());
        let length = if state.exists(&name) {
            state.size(&name).map_err(io_error)?
        } else {
            0
        };
        Ok(length as u64)
    }

    fn read(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        self.state()
            .read(&file.to_string_lossy(), buffer, at)
            .map_err(io_error)
    }

    fn rewrite(&self, file: &Path) -> io::Result<()> {
        let name = file.to_string_lossy();
        let mut state = self.state();
        let mut content = vec![0; state.size(&name).map_err(io_error)?];
        state.read(&name, &mut content, 0).map_err(io_error)?;
        // Several writes, so that the power can go between two of them.
        for (piece, bytes) in content.chunks(REWRITTEN_AT_A_TIME).enumerate() {
            state
                .write(&name, bytes, piece * REWRITTEN_AT_A_TIME)
                .map_err(io_error)?;
        }
        state.sync(&name).map_err(io_error)
    }

    fn space(&self) -> Box<dyn DiskSpace> {
        Box::new(MemoryDiskSpace::new(Arc::clone(&self.state), self.file()))
    }
}

fn io_error(code: Code) -> io::Error {
    io::Error::other(ffi::code_to_str(code))
}
