//! Sorts records that need not fit into memory: sorted runs are written to a file, and merged while
//! they are read.
//!
//! ```text
//! push ──▶ memory, up to a limit ──sorted──▶ run 1 │ run 2 │ … in one file ──merged──▶ next
//! ```
//!
//! Records are bytes, and sort as bytes. The file has no name, so nothing of it is left however the
//! process ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The bytes that are sorted in memory at a time.
pub(super) const MEMORY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// The memory that a record takes besides its bytes, for its place in the order.
const ORDER_BYTES: usize = size_of::<Range<usize>>();
/// The bytes that are read of a run at a time.
const WINDOW_BYTES: usize = 64 * 1_024;
/// The bytes of the length before each record in the file.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Takes records in any order.
pub(super) struct Sorter {
    folder: PathBuf,
    bytes_max: usize,
    /// The records that are in no run yet, one after the other.
    bytes: Vec<u8>,
    /// The range of each of these records in `bytes`.
    order: Vec<Range<usize>>,
    file: Option<File>,
    /// The range of each run in the file.
    runs: Vec<Range<u64>>,
}

impl Sorter {
    /// A sorter with at most `bytes_max` bytes in memory, which makes its file, if it needs one, in
    /// `folder`.
    pub(super) fn new(folder: &Path, bytes_max: usize) -> Self {
        let (bytes, order, runs) = Default::default();
        Self {
            folder: folder.to_owned(),
            bytes_max,
            bytes,
            order,
            file: None,
            runs,
        }
    }

    /// Takes a record of less than 4 GiB.
    pub(super) fn push(&mut self, record: &[u8]) -> Result<(), StoreError> {
        let held = self.bytes.len() + self.order.len() * ORDER_BYTES;
        if !self.order.is_empty() && held + record.len() + ORDER_BYTES > self.bytes_max {
            self.write_run()
                .map_err(|error| failed(&self.folder, &error))?;
        }
        let first = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.order.push(first..self.bytes.len());
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.order
            .sort_unstable_by(|one, other| bytes[one.clone()].cmp(&bytes[other.clone()]));
    }

    /// Writes the records in memory as a sorted run.
    fn write_run(&mut self) -> io::Result<()> {
        self.sort();
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.folder)?,
        };
        let first = self.runs.last().map_or(0, |run| run.end);
        let mut length = 0;
        let mut out = BufWriter::with_capacity(WINDOW_BYTES, &file);
        for range in &self.order {
            let record = &self.bytes[range.clone()];
            let prefix = u32::try_from(record.len())
                .map_err(io::Error::other)?
                .to_be_bytes();
            out.write_all(&prefix)?;
            out.write_all(record)?;
            length += (prefix.len() + record.len()) as u64;
        }
        out.flush()?;
        drop(out);
        self.runs.push(first..first + length);
        self.bytes.clear();
        self.order.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Sorts all records; answers a reader of them.
    pub(super) fn finish(mut self) -> Result<Sorted, StoreError> {
        if self.file.is_none() {
            self.sort();
            return Ok(Sorted::Memory {
                bytes: self.bytes,
                order: self.order,
                next: 0,
            });
        }
        let folder = self.folder.clone();
        let merge = self.merge().map_err(|error| failed(&folder, &error))?;
        Ok(Sorted::File { merge, folder })
    }

    /// Writes the last run, and begins the merge of all runs.
    fn merge(mut self) -> io::Result<Merge> {
        self.write_run()?;
        let Self { file, runs, .. } = self;
        let file = file.ok_or_else(|| io::Error::other("the file of the runs is gone"))?;
        let mut runs: Vec<Run> = runs.into_iter().map(Run::new).collect();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            let mut record = Vec::new();
            if run.next(&file, &mut record)? {
                heads.push(Reverse((record, number)));
            }
        }
        Ok(Merge {
            file,
            runs,
            heads,
            current: Vec::new(),
        })
    }
}

/// A reader of the sorted records.
pub(super) enum Sorted {
    /// The records fit into memory.
    Memory {
        bytes: Vec<u8>,
        order: Vec<Range<usize>>,
        next: usize,
    },
    /// The records are in runs.
    File { merge: Merge, folder: PathBuf },
}

impl Sorted {
    /// The next record; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, StoreError> {
        match self {
            Self::Memory { bytes, order, next } => {
                let record = order.get(*next).map(|range| &bytes[range.clone()]);
                *next += 1;
                Ok(record)
            }
            Self::File { merge, folder } => merge.next().map_err(|error| failed(folder, &error)),
        }
    }
}

/// Merges runs while they are read.
pub(super) struct Merge {
    file: File,
    runs: Vec<Run>,
    /// The next record of each run that has one, with the number of the run.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    current: Vec<u8>,
}

impl Merge {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(Reverse((record, number))) = self.heads.pop() else {
            return Ok(None);
        };
        let mut following = std::mem::replace(&mut self.current, record);
        if self.runs[number].next(&self.file, &mut following)? {
            self.heads.push(Reverse((following, number)));
        }
        Ok(Some(&self.current))
    }
}

/// A reader of one run.
struct Run {
    /// The range of the file that is not in the window yet.
    unread: Range<u64>,
    window: Vec<u8>,
    /// The bytes of the window that were taken.
    taken: usize,
}

impl Run {
    fn new(unread: Range<u64>) -> Self {
        Self {
            unread,
            window: Vec::new(),
            taken: 0,
        }
    }

    /// Reads the next record into `record`; false at the end.
    fn next(&mut self, file: &File, record: &mut Vec<u8>) -> io::Result<bool> {
        if self.taken == self.window.len() && self.unread.is_empty() {
            return Ok(false);
        }
        let mut length = [0; LENGTH_BYTES];
        length.copy_from_slice(self.take(file, LENGTH_BYTES)?);
        let length = u32::from_be_bytes(length) as usize;
        record.clear();
        record.extend_from_slice(self.take(file, length)?);
        Ok(true)
    }

    /// Takes the next bytes; reads them into the window if they are not in it.
    fn take(&mut self, file: &File, count: usize) -> io::Result<&[u8]> {
        let held = self.window.len() - self.taken;
        if held < count {
            self.window.drain(..self.taken);
            self.taken = 0;
            let unread = usize::try_from(self.unread.end - self.unread.start).unwrap_or(usize::MAX);
            let more = WINDOW_BYTES.max(count - held).min(unread);
            self.window.resize(held + more, 0);
            file.read_exact_at(&mut self.window[held..], self.unread.start)?;
            self.unread.start += more as u64;
        }
        let taken = self.taken..self.taken + count;
        self.taken = taken.end;
        self.window
            .get(taken)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// The error of a folder that cannot be sorted in.
fn failed(folder: &Path, error: &io::Error) -> StoreError {
    let folder = folder.display();
    StoreError::Io(match error.kind() {
        ErrorKind::StorageFull => {
            format!(
                "there is no room for what is sorted in {folder}; free some, or name another folder by TMPDIR"
            )
        }
        _ => format!("what is sorted in {folder} cannot be written or read there: {error}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    /// Numbers in no order, each as a record of another length.
    fn records(count: u64) -> Vec<Vec<u8>> {
        let scattered = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let record = |number: u64| {
            [
                &scattered(number).to_be_bytes()[..],
                &vec![7; (number % 50) as usize],
            ]
            .concat()
        };
        (0..count).map(record).collect()
    }

    fn sorted(folder: &Path, bytes_max: usize, records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut sorter = Sorter::new(folder, bytes_max);
        records.iter().for_each(|it| sorter.push(it).unwrap());
        let (mut sorted, mut all) = (sorter.finish().unwrap(), Vec::new());
        while let Some(record) = sorted.next().unwrap() {
            all.push(record.to_owned());
        }
        all
    }

    #[test]
    fn records_come_in_order_whether_they_fit_into_memory_or_not() {
        let folder = tempfile::TempDir::new().unwrap();
        // With the least memory each record is a run of its own.
        for (count, bytes_max) in [
            (0, 0),
            (300, 0),
            (20_000, 10_000),
            (20_000, 500_000),
            (20_000, MEMORY_BYTES_MAX),
        ] {
            let records = records(count);
            let mut expected = records.clone();
            expected.sort();
            assert!(
                sorted(folder.path(), bytes_max, &records) == expected,
                "{count} records in {bytes_max} bytes"
            );
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_when_it_is_needed() {
        let mut sorter = Sorter::new(Path::new("/nowhere/at/all"), 10);
        sorter.push(b"one that fits").unwrap();
        let error = sorter.push(b"one that does not").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
