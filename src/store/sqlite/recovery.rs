//! Looks at a WAL that nobody has open before SQLite recovers it: SQLite takes the first frame that it cannot believe for
//! the end, and what was acknowledged behind it would be gone without a word.
//!
//! A power loss leaves such a frame too, but only in the last transaction: with `synchronous=FULL` a transaction is on the
//! disk before anybody is told of it and before the next one begins. So a frame is damaged, and not merely unfinished, when
//! a transaction that ended behind it was followed by another, or when the WAL index (`-shm`), which is told of frames
//! once they are on the disk, counts frames behind it. Damage in the last transaction of a WAL without its index cannot
//! be told from a power loss.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::file::{beside, length};
use super::frames::{
    self, FRAME_HEADER_BYTES, HEADER_BYTES, Sum, goes_on, is_big, is_header, kept, number,
};
use super::pages::{PAGE_BYTES, SUM_BYTES};

/// The length of a header of the WAL index, of which there are two (SQLite, "WAL-mode File Format", §2.1).
const INDEX_HEADER_BYTES: usize = 48;
/// What of the WAL index is looked at.
pub(super) const INDEX_BYTES: usize = 2 * INDEX_HEADER_BYTES;
/// The version of WAL and index, which SQLite has never changed.
const VERSION: u32 = 3_007_000;

/// Fills the buffer from this byte on.
type Read<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// A file that is only read.
pub(super) struct Bytes<'a> {
    pub(super) length: u64,
    /// Reads what lies within the length.
    pub(super) read: Box<Read<'a>>,
}

/// What a WAL holds.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct WalContent {
    /// The pages of the database that are in it, as of its last transaction.
    pub(super) pages: HashSet<u32>,
    /// How many of its bytes SQLite believes.
    believed: u64,
    /// What is wrong, in words; none when nothing is that a power loss would not leave.
    pub(super) damage: Option<String>,
}

/// What the WAL index says of frames that are on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Index {
    frames: u32,
    salts: Sum,
}

impl Index {
    /// What either of its headers says that is whole; the later of the two.
    fn of(bytes: &[u8]) -> Option<Self> {
        let headers = bytes.as_chunks::<INDEX_HEADER_BYTES>().0;
        headers
            .iter()
            .filter_map(Self::of_header)
            .max_by_key(|it| it.frames)
    }

    /// Its words are the machine's own, but for the salts, which are as the WAL has them.
    fn of_header(header: &[u8; INDEX_HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            header
                .get(at..at + 4)
                .and_then(|it| it.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        };
        let worked_out = frames::sum(cfg!(target_endian = "big"), [0; 2], &header[..40]);
        let is_whole = word(0) == VERSION && header[12] == 1 && worked_out == [word(40), word(44)];
        is_whole.then(|| Self {
            frames: word(16),
            salts: kept(header, 32),
        })
    }
}

/// Looks at a WAL, at the first bytes of its index where there are some, and at the database where it must.
pub(super) fn look(
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
    match is_header(&header) {
        Ok(first) => behind_header(wal, &header, first, index),
        Err(worked_out) => without_header(wal, &header, worked_out, index, database),
    }
}

/// Looks at the WAL of a database that lies here, and nobody has open.
pub(super) fn look_at_files(path: &Path, database: &File) -> io::Result<WalContent> {
    // The index first: what it counts was in the WAL before.
    let mut index = Vec::with_capacity(INDEX_BYTES);
    if let Ok(file) = File::open(beside(path, "-shm")) {
        io::Read::read_to_end(&mut io::Read::take(file, INDEX_BYTES as u64), &mut index)?;
    }
    let wal = beside(path, "-wal");
    if length(&wal) <= HEADER_BYTES as u64 {
        return Ok(WalContent::default());
    }
    let wal = File::open(wal)?;
    look(&mut Bytes::of(&wal)?, &index, &mut Bytes::of(database)?)
}

impl<'a> Bytes<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        Ok(Self {
            length: file.metadata()?.len(),
            read: Box::new(|at, buffer| file.read_exact_at(buffer, at)),
        })
    }
}

/// The frames of a WAL, one after the other.
struct FrameWalk<'a, 'b> {
    wal: &'a mut Bytes<'b>,
    frame: Vec<u8>,
    /// How many were read.
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

    /// The byte after the frame at hand.
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
        kept(&self.frame, 8)
    }

    fn kept(&self) -> Sum {
        kept(&self.frame, 16)
    }
}

/// What of the frames is behind one that cannot be believed.
struct Behind {
    /// That one.
    bad: u64,
    /// The sums that the next frame may go on from.
    before: [Option<Sum>; 2],
    /// A frame behind it that goes on from the one before and ends a transaction.
    ended: Option<u64>,
    /// Whether another transaction began after that.
    is_followed: bool,
    /// How many are of this WAL.
    count: u64,
}

fn behind_header(
    wal: &mut Bytes<'_>,
    header: &[u8; HEADER_BYTES],
    first: Sum,
    index: Option<Index>,
) -> io::Result<WalContent> {
    let (is_big, salts) = (is_big(header), kept(header, 16));
    let index = index.filter(|it| it.salts == salts);
    let mut walk = FrameWalk::new(
        wal,
        usize::try_from(number(header, 8)).unwrap_or(PAGE_BYTES),
    );
    let (mut from, mut waiting) = (first, Vec::new());
    let (mut pages, mut believed, mut last) = (HashSet::new(), HEADER_BYTES as u64, 0);
    let mut behind: Option<Behind> = None;
    while walk.next()? {
        let is_of_this = walk.salts() == salts;
        let Some(behind) = &mut behind else {
            match goes_on(is_big, from, &walk.frame) {
                Ok(sum) if is_of_this && walk.page() != 0 => {
                    from = sum;
                    waiting.push(walk.page());
                    if walk.ends_transaction() {
                        pages.extend(waiting.drain(..));
                        (believed, last) = (walk.end(), walk.count);
                    }
                }
                Ok(worked_out) | Err(worked_out) => {
                    let before = [Some(worked_out), is_of_this.then(|| walk.kept())];
                    behind = Some(Behind {
                        bad: walk.count,
                        before,
                        ended: None,
                        is_followed: false,
                        count: 0,
                    });
                }
            }
            continue;
        };
        behind.take(&walk, is_big, is_of_this);
    }
    let acknowledged = index.map_or(0, |it| u64::from(it.frames));
    let is_missed = acknowledged > last;
    let damage = match &behind {
        Some(it) if it.is_followed || is_missed => Some((it.bad, it.count)),
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
        believed,
        damage,
    })
}

impl Behind {
    /// The next frame behind it.
    fn take(&mut self, walk: &FrameWalk<'_, '_>, is_big: bool, is_of_this: bool) {
        if !is_of_this {
            self.before = [None; 2];
            return;
        }
        self.count += 1;
        let is_next = |from: &Sum| goes_on(is_big, *from, &walk.frame).is_ok();
        let goes_on = self.before.iter().flatten().any(is_next);
        if goes_on {
            self.is_followed |= self.ended == Some(walk.count - 1);
            self.ended = walk.ends_transaction().then_some(walk.count).or(self.ended);
        }
        self.before = [Some(walk.kept()), None];
    }
}

/// A WAL whose header is none: SQLite takes all of it for nothing. A power loss leaves such a header when the WAL began
/// anew, and then all that was in it is in the database.
fn without_header(
    wal: &mut Bytes<'_>,
    header: &[u8; HEADER_BYTES],
    worked_out: Sum,
    index: Option<Index>,
    database: &mut Bytes<'_>,
) -> io::Result<WalContent> {
    // The magic itself, which tells the order of bytes, may be what is damaged.
    let follows = |from: Sum, frame: &[u8]| {
        [false, true]
            .into_iter()
            .any(|big| goes_on(big, from, frame).is_ok())
    };
    let mut walk = FrameWalk::new(wal, PAGE_BYTES);
    if !walk.next()? {
        return Ok(WalContent::default());
    }
    let salts = walk.salts();
    let of_header = [worked_out, kept(header, 24)]
        .into_iter()
        .any(|from| follows(from, &walk.frame));
    let of_index =
        index.is_some_and(|it| it.frames > 0 && [salts, kept(header, 16)].contains(&it.salts));
    let (mut of_salts, mut count) = (false, 0);
    let (mut latest, mut waiting, mut from, mut is_whole) =
        (HashMap::new(), Vec::new(), None, true);
    loop {
        of_salts |= walk.salts() == kept(header, 16);
        count += u64::from(walk.salts() == salts || walk.salts() == kept(header, 16));
        is_whole =
            is_whole && walk.salts() == salts && from.is_none_or(|from| follows(from, &walk.frame));
        if is_whole {
            from = Some(walk.kept());
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

/// Whether the database has each of these pages as the WAL has it.
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
        // Checksums are in the database alone.
        if in_wal[..PAGE_BYTES - SUM_BYTES] != in_database[..PAGE_BYTES - SUM_BYTES] {
            return Ok(false);
        }
    }
    Ok(!latest.is_empty())
}

impl WalContent {
    /// What is said of a WAL that must not be recovered, and what to do.
    pub(super) fn refusal(&self, wal: &Path, index: &Path) -> Option<String> {
        let (what, wal, index) = (self.damage.as_ref()?, wal.display(), index.display());
        let bytes = if self.believed > HEADER_BYTES as u64 {
            self.believed
        } else {
            0
        };
        Some(format!(
            "{wal}: {what}. Restore a backup; or, to give up what was acknowledged behind it, `truncate -s {bytes} {wal}`, \
             `rm -f {index}`, and look with `bookd check`"
        ))
    }
}
