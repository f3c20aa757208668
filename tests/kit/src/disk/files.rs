//! The accesses of SQLite to the files of a disk: each is counted, and fails as the test has asked
//! for.
//!
//! A write is read at once, and is safe after the next sync of its file.

use rusqlite::ffi;

use super::{Access, Code, FULL_WRITES, Fault, File, State, Unsynced, put};
use crate::locks::Locks;

impl State {
    pub fn handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    pub fn random(&mut self) -> u64 {
        self.chance.next_number()
    }

    /// Counts an access; an error if it is to fail.
    fn access(&mut self, access: Access) -> Result<(), Code> {
        if self.is_off {
            return Err(ffi::SQLITE_IOERR);
        }
        self.accesses += 1;
        if self.cut_at == Some(self.accesses) {
            self.is_off = true;
            return Err(ffi::SQLITE_IOERR);
        }
        match self.fail_at {
            _ if access == Access::Write && self.full_writes > 0 => {
                self.full_writes -= 1;
                Err(ffi::SQLITE_FULL)
            }
            Some((at, fault)) if at == self.accesses => {
                self.failed = Some((at, access));
                self.full_writes = if (access, fault) == (Access::Write, Fault::Full) {
                    FULL_WRITES
                } else {
                    0
                };
                Err(match (access, fault) {
                    (Access::Write, Fault::Full) => ffi::SQLITE_FULL,
                    (Access::Open, _) => ffi::SQLITE_CANTOPEN,
                    (Access::Read, _) => ffi::SQLITE_IOERR_READ,
                    (Access::Write, Fault::Io) => ffi::SQLITE_IOERR_WRITE,
                    (Access::Truncate, _) => ffi::SQLITE_IOERR_TRUNCATE,
                    (Access::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
                    (Access::Delete, _) => ffi::SQLITE_IOERR_DELETE,
                })
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> Result<&mut File, Code> {
        self.files.get_mut(name).ok_or(ffi::SQLITE_IOERR)
    }

    pub fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    pub fn open(&mut self, name: &str, creates: bool) -> Result<(), Code> {
        self.access(Access::Open)?;
        if !self.exists(name) && !creates {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        self.files.entry(name.to_owned()).or_default();
        Ok(())
    }

    pub fn delete(&mut self, name: &str, syncs_folder: bool) -> Result<(), Code> {
        self.access(Access::Delete)?;
        let removed = self
            .files
            .remove(name)
            .ok_or(ffi::SQLITE_IOERR_DELETE_NOENT)?;
        if syncs_folder && !self.lies {
            self.ghosts.clear();
        } else if let Some(safe) = removed.safe {
            self.ghosts.insert(name.to_owned(), safe);
        }
        Ok(())
    }

    /// Fills the buffer; SQLITE_IOERR_SHORT_READ, and zeros behind, if the file is shorter.
    pub fn read(&mut self, name: &str, buffer: &mut [u8], at: usize) -> Result<(), Code> {
        self.access(Access::Read)?;
        let content = &self.file(name)?.content;
        let there = content.get(at..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        buffer[count..].fill(0);
        if count < buffer.len() {
            Err(ffi::SQLITE_IOERR_SHORT_READ)
        } else {
            Ok(())
        }
    }

    pub fn write(&mut self, name: &str, bytes: &[u8], at: usize) -> Result<(), Code> {
        let accessed = self.access(Access::Write);
        // A write at the access of the power cut may still reach the disk in part.
        if accessed.is_err() && self.accesses != self.cut_at.unwrap_or_default() {
            return accessed;
        }
        let free = self.free().unwrap_or(usize::MAX);
        let file = self.file(name)?;
        // The write stops where the disk is full.
        let end = file
            .content
            .len()
            .saturating_add(free)
            .saturating_sub(at)
            .min(bytes.len());
        let (bytes, is_full) = (&bytes[..end], end < bytes.len());
        put(&mut file.content, at, bytes);
        file.unsynced.push(Unsynced::Write {
            at,
            bytes: bytes.to_owned(),
        });
        if is_full {
            Err(ffi::SQLITE_FULL)
        } else {
            accessed
        }
    }

    /// The bytes of all files together.
    pub(super) fn used(&self) -> usize {
        self.files.values().map(|file| file.content.len()).sum()
    }

    pub fn free(&self) -> Option<usize> {
        self.quota.map(|quota| quota.saturating_sub(self.used()))
    }

    /// Puts or removes a file that SQLite does not know; false if the disk is off.
    pub fn put_beside(&mut self, name: &str, content: Option<Vec<u8>>) -> bool {
        let made = content.map(|it| File {
            content: it.clone(),
            safe: Some(it),
            ..File::default()
        });
        if !self.is_off {
            self.files.remove(name);
            self.files.extend(made.map(|it| (name.to_owned(), it)));
        }
        !self.is_off
    }

    pub fn truncate(&mut self, name: &str, length: usize) -> Result<(), Code> {
        self.access(Access::Truncate)?;
        let file = self.file(name)?;
        file.content.truncate(length);
        file.unsynced.push(Unsynced::Truncate(length));
        Ok(())
    }

    pub fn sync(&mut self, name: &str) -> Result<(), Code> {
        let mut accessed = self.access(Access::Sync);
        if accessed.is_ok() && self.fail_sync_of.as_deref() == Some(name) {
            self.fail_sync_of = None;
            self.failed = Some((self.accesses, Access::Sync));
            accessed = Err(ffi::SQLITE_IOERR_FSYNC);
        }
        let (lies, is_off) = (self.lies, self.is_off);
        let file = self.file(name)?;
        if accessed.is_err() {
            if !is_off {
                // The changes are lost, and the next sync does not report it.
                file.unsynced.clear();
                file.has_failed_sync = true;
            }
            return accessed;
        }
        if lies {
            return Ok(());
        }
        let is_first = file.safe.is_none();
        let safe = file.safe.get_or_insert_default();
        for change in file.unsynced.drain(..) {
            match change {
                Unsynced::Write { at, bytes } => put(safe, at, &bytes),
                Unsynced::Truncate(length) => safe.truncate(length),
            }
        }
        let is_trusted_wrongly = file.has_failed_sync;
        self.trusted_after_failure += u64::from(is_trusted_wrongly);
        if is_first {
            self.ghosts.clear();
        }
        Ok(())
    }

    pub fn size(&mut self, name: &str) -> Result<usize, Code> {
        Ok(self.file(name)?.content.len())
    }

    /// The locks that connections hold on a file.
    pub fn locks(&mut self, name: &str) -> Result<&mut Locks, Code> {
        Ok(&mut self.file(name)?.locks)
    }

    /// Closes a connection: releases its locks, and removes the file if it was to be deleted.
    pub fn close(&mut self, name: &str, handle: u64, deletes: bool) {
        if let Some(file) = self.files.get_mut(name) {
            file.locks.leave(handle);
        }
        if deletes {
            self.files.remove(name);
        }
    }
}
