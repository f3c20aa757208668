//! Examines a WAL that no process has open, before SQLite recovers it: SQLite takes the first
//! invalid frame for the end, and would drop acknowledged changes after it without a word.
//!
//! A power loss leaves an invalid frame too, but only in the last transaction: with
//! `synchronous=FULL` a transaction is on the disk before it is acknowledged and before the next
//! one begins. So a frame is damaged, and not merely unfinished, when a transaction that ended
//! after it was followed by another, or when the WAL index (`-shm`), which counts frames once they
//! are on the disk, counts frames after it. Damage in the last transaction of a WAL without its
//! index cannot be distinguished from a power loss.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::file::{beside, length};
use super::frames::{
    self, FRAME_HEADER_BYTES, HEADER_BYTES, Sum, check_frame, check_header, is_big, number, pair,
};
use super::pages::{PAGE_BYTES, SUM_BYTES};

/// The length of a header of the WAL index, of which there are two (SQLite, "WAL-mode File Format",
/// §2.1).
const INDEX_HEADER_BYTES: usize = 48;
/// How many bytes of the WAL index are read: both headers.
pub(super) const INDEX_BYTES: usize = 2 * INDEX_HEADER_BYTES;
/// The version of WAL and index, which SQLite has never changed.
const VERSION: u32 = 3_007_000;

/// Fills the buffer from a byte on.
type Read<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// A file that is only read.
pub(super) struct Bytes<'a> {
    pub(super) length: u64,
    /// Reads within the length.
    pub(super) read: Box<Read<'a>>,
}

/// The content of a WAL, and its damage.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct WalContent {
    /// The pages of the database that the WAL holds, as of its last transaction.
    pub(super) pages: HashSet<u32>,
    /// How many bytes of the WAL SQLite recovers.
    valid_bytes: u64,
    /// The damage in words; none when a power loss explains everything that is invalid.
    pub(super) damage: Option<String>,
}

/// The frames that are on the disk by the WAL index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Index {
    frames: u32,
    salts: Sum,
}

impl Index {
    /// Reads the index from its valid headers; of two, the one with more frames.
    fn of(bytes: &[u8]) -> Option<Self> {
        let headers = bytes.as_chunks::<INDEX_HEADER_BYTES>().0;
        headers
            .iter()
            .filter_map(Self::of_header)
            .max_by_key(|it| it.frames)
    }

    /// Reads one header. Its words are in the machine's byte order, the salts in that of the WAL.
    fn of_header(header: &[u8; INDEX_HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            header
                .get(at..at + 4)
                .and_then(|it| it.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        };
        let computed = frames::sum(cfg!(target_endian = "big"), [0; 2], &header[..40]);
        let is_whole = word(0) == VERSION && header[12] == 1 && computed == [word(40), word(44)];
        is_whole.then(|| Self {
            frames: word(16),
            salts: pair(header, 32),
        })
    }
}

/// Examines a WAL with the first bytes of its index, which may be empty. The database is read only
/// if the header of the WAL is invalid.
pub(super) fn examine(
    wal: &mut Bytes<'_>,
    index: &[u8],
    database: &mut Bytes<'_>,
) -> io::Result<WalContent> {
    if wal.length <= HEADER_BYTES as u64 {
        return Ok(WalContent::default());
    }
    let mut header = [0; HEADER_BYTES];
    (wal.read)(0, &mut header)?;
    let index = Index::of(index);
    match check_header(&header) {
        Ok(first) => examine_frames(wal, &header, first, index),
        Err(computed) => examine_without_header(wal, &header, computed, index, database),
    }
}

/// Examines the WAL of the database at this path.
pub(super) fn examine_files(path: &Path, database: &File) -> io::Result<WalContent> {
    // The index first: the frames that it counts were in the WAL before.
    let mut index = Vec::with_capacity(INDEX_BYTES);
    if let Ok(file) = File::open(beside(path, "-shm")) {
        io::Read::read_to_end(&mut io::Read::take(file, INDEX_BYTES as u64), &mut index)?;
    }
    let wal = beside(path, "-wal");
    if length(&wal) <= HEADER_BYTES as u64 {
        return Ok(WalContent::default());
    }
    let wal = File::open(wal)?;
    examine(&mut Bytes::of(&wal)?, &index, &mut Bytes::of(database)?)
}

impl<'a> Bytes<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        Ok(Self {
            length: file.metadata()?.len(),
            read: Box::new(|at, buffer| file.read_exact_at(buffer, at)),
        })
    }
}

/// A walk over the frames of a WAL.
struct FrameWalk<'a, 'b> {
    wal: &'a mut Bytes<'b>,
    frame: Vec<u8>,
    /// How many frames were read.
    count: u64,
}

impl<'a, 'b> FrameWalk<'a, 'b> {
    fn new(wal: &'a mut Bytes<'b>, page_bytes: usize) -> Self {
        Self {
            wal,
            frame: vec![0; FRAME_HEADER_BYTES + page_bytes],
            count: 0,
        }
    }

    /// Reads the next frame; false when there is no whole one.
    fn next(&mut self) -> io::Result<bool> {
        let at = self.end();
        if at + self.frame.len() as u64 > self.wal.length {
            return Ok(false);
        }
        (self.wal.read)(at, &mut self.frame)?;
        self.count += 1;
        Ok(true)
    }

    /// The byte after the current frame.
    fn end(&self) -> u64 {
        HEADER_BYTES as u64 + self.count * self.frame.len() as u64
    }

    fn page(&self) -> u32 {
        number(&self.frame, 0)
    }

    fn ends_transaction(&self) -> bool {
        number(&self.frame, 4) != 0
    }

    fn salts(&self) -> Sum {
        pair(&self.frame, 8)
    }

    fn sum(&self) -> Sum {
        pair(&self.frame, 16)
    }
}

/// The frames after the first invalid one.
struct FramesAfterInvalid {
    /// The number of the invalid frame.
    invalid: u64,
    /// The checksums that the next frame may continue.
    before: [Option<Sum>; 2],
    /// The last valid frame that ends a transaction.
    ended: Option<u64>,
    /// Whether another transaction began after that frame.
    is_followed: bool,
    /// How many frames have the salts of this WAL.
    count: u64,
}

/// Examines the frames of a WAL whose header is valid.
fn examine_frames(
    wal: &mut Bytes<'_>,
    header: &[u8; HEADER_BYTES],
    first: Sum,
    index: Option<Index>,
) -> io::Result<WalContent> {
    let (is_big, salts) = (is_big(header), pair(header, 16));
    let index = index.filter(|it| it.salts == salts);
    let mut walk = FrameWalk::new(
        wal,
        usize::try_from(number(header, 8)).unwrap_or(PAGE_BYTES),
    );
    let (mut from, mut waiting) = (first, Vec::new());
    let (mut pages, mut valid_bytes, mut last) = (HashSet::new(), HEADER_BYTES as u64, 0);
    let mut after_invalid: Option<FramesAfterInvalid> = None;
    while walk.next()? {
        let is_of_this = walk.salts() == salts;
        let Some(after) = &mut after_invalid else {
            match check_frame(is_big, from, &walk.frame) {
                Ok(sum) if is_of_this && walk.page() != 0 => {
                    from = sum;
                    waiting.push(walk.page());
                    if walk.ends_transaction() {
                        pages.extend(waiting.drain(..));
                        (valid_bytes, last) = (walk.end(), walk.count);
                    }
                }
                Ok(computed) | Err(computed) => {
                    let before = [Some(computed), is_of_this.then(|| walk.sum())];
                    after_invalid = Some(FramesAfterInvalid {
                        invalid: walk.count,
                        before,
                        ended: None,
                        is_followed: false,
                        count: 0,
                    });
                }
            }
            continue;
        };
        after.add(&walk, is_big, is_of_this);
    }
    let acknowledged = index.map_or(0, |it| u64::from(it.frames));
    let is_missed = acknowledged > last;
    let damage = match &after_invalid {
        Some(after) if after.is_followed || is_missed => Some((after.invalid, after.count)),
        None if is_missed => Some((walk.count + 1, 0)),
        _ => None,
    };
    let damage = damage.map(|(bad, count)| {
        let at = HEADER_BYTES as u64 + (bad - 1) * walk.frame.len() as u64;
        let count = count.max(acknowledged.saturating_sub(bad));
        format!(
            "frame {bad} (from byte {at} on) is not as it was written, and {count} frames behind it were acknowledged"
        )
    });
    Ok(WalContent {
        pages,
        valid_bytes,
        damage,
    })
}

impl FramesAfterInvalid {
    /// Adds the next frame.
    fn add(&mut self, walk: &FrameWalk<'_, '_>, is_big: bool, is_of_this: bool) {
        if !is_of_this {
            self.before = [None; 2];
            return;
        }
        self.count += 1;
        let is_next = |from: &Sum| check_frame(is_big, *from, &walk.frame).is_ok();
        let goes_on = self.before.iter().flatten().any(is_next);
        if goes_on {
            self.is_followed |= self.ended == Some(walk.count - 1);
            self.ended = walk.ends_transaction().then_some(walk.count).or(self.ended);
        }
        self.before = [Some(walk.sum()), None];
    }
}

/// Examines a WAL whose header is invalid, of which SQLite recovers nothing. A power loss leaves
/// such a header when the WAL was restarted, and then the database has every page that was in the
/// WAL.
fn examine_without_header(
    wal: &mut Bytes<'_>,
    header: &[u8; HEADER_BYTES],
    computed: Sum,
    index: Option<Index>,
    database: &mut Bytes<'_>,
) -> io::Result<WalContent> {
    // The damage may be in the magic number, which tells the byte order: both are tried.
    let follows = |from: Sum, frame: &[u8]| {
        [false, true]
            .into_iter()
            .any(|big| check_frame(big, from, frame).is_ok())
    };
    let mut walk = FrameWalk::new(wal, PAGE_BYTES);
    if !walk.next()? {
        return Ok(WalContent::default());
    }
    let salts = walk.salts();
    let of_header = [computed, pair(header, 24)]
        .into_iter()
        .any(|from| follows(from, &walk.frame));
    let of_index =
        index.is_some_and(|it| it.frames > 0 && [salts, pair(header, 16)].contains(&it.salts));
    let (mut of_salts, mut count) = (false, 0);
    let (mut latest, mut waiting, mut from, mut is_whole) =
        (HashMap::new(), Vec::new(), None, true);
    loop {
        of_salts |= walk.salts() == pair(header, 16);
        count += u64::from(walk.salts() == salts || walk.salts() == pair(header, 16));
        is_whole =
            is_whole && walk.salts() == salts && from.is_none_or(|from| follows(from, &walk.frame));
        if is_whole {
            from = Some(walk.sum());
            waiting.push((walk.page(), walk.count));
            if walk.ends_transaction() {
                latest.extend(waiting.drain(..));
            }
        }
        if !walk.next()? {
            break;
        }
    }
    let is_lost = (of_header || of_index || of_salts) && !is_copied(wal, &latest, database)?;
    let damage = is_lost.then(|| {
        format!("its header (bytes 0 to {HEADER_BYTES}) is not as it was written, and {count} frames behind it were acknowledged")
    });
    Ok(WalContent {
        damage,
        ..WalContent::default()
    })
}

/// Whether the database has each of these pages as in the WAL, which has at least one.
fn is_copied(
    wal: &mut Bytes<'_>,
    latest: &HashMap<u32, u64>,
    database: &mut Bytes<'_>,
) -> io::Result<bool> {
    let (mut in_wal, mut in_database) = (vec![0; PAGE_BYTES], vec![0; PAGE_BYTES]);
    for (page, frame) in latest {
        let at = HEADER_BYTES as u64
            + frame.saturating_mul((FRAME_HEADER_BYTES + PAGE_BYTES) as u64)
            - PAGE_BYTES as u64;
        let from = (u64::from(*page).max(1) - 1) * PAGE_BYTES as u64;
        if from + PAGE_BYTES as u64 > database.length {
            return Ok(false);
        }
        (wal.read)(at, &mut in_wal)?;
        (database.read)(from, &mut in_database)?;
        // Only pages in the database have checksums.
        if in_wal[..PAGE_BYTES - SUM_BYTES] != in_database[..PAGE_BYTES - SUM_BYTES] {
            return Ok(false);
        }
    }
    Ok(!latest.is_empty())
}

impl WalContent {
    /// The message about a WAL that must not be recovered, and how to proceed; none for a sound
    /// WAL.
    pub(super) fn refusal(&self, wal: &Path, index: &Path) -> Option<String> {
        let (what, wal, index) = (self.damage.as_ref()?, wal.display(), index.display());
        let bytes = if self.valid_bytes > HEADER_BYTES as u64 {
            self.valid_bytes
        } else {
            0
        };
        Some(format!(
            "{wal}: {what}. Restore a backup; or, to give up what was acknowledged behind it, `truncate -s {bytes} {wal}`, \
             `rm -f {index}`, and look with `bookd check`"
        ))
    }
}
