//! The exit codes of all commands.
//!
//! Each number has one meaning in all commands, and only this file has the numbers.

use std::fmt::Write;
use std::process::ExitCode;

use tonic::Code;

#[cfg(feature = "server")]
use crate::admin::AdminError;
#[cfg(feature = "server")]
use crate::store::OpenError;

/// The outcome of a command, and the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command is done.
    Done = 0,
    /// A failure without a code of its own: the store is damaged, the server cannot start, the race
    /// of `demo-race` was unfair.
    Failed = 1,
    /// The arguments are wrong. The parser of the command line ends with this code too.
    Usage = 2,
    /// The request or the file is invalid.
    Invalid = 3,
    /// A calendar, an appointment, a type or a file does not exist.
    NotFound = 4,
    /// The time is taken, the resource exists already, or it changed meanwhile.
    Conflict = 5,
    /// A rule or the state of the appointment forbids it.
    NotAllowed = 6,
    /// The command may succeed later, or when it is repeated with the same request id.
    TryAgain = 7,
    /// The server ended because its writer had to stop.
    WriterStopped = 8,
    /// The server did not answer within `--timeout`.
    NoAnswer = 9,
    /// The database is sound, but the report has findings that people should read: see
    /// `admin::check::Report::has_news`.
    Drifted = 10,
    /// The server ended because its file was removed or replaced.
    FileGone = 11,
}

impl Exit {
    /// All exit codes, by number.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::NotAllowed,
        Self::TryAgain,
        Self::WriterStopped,
        Self::NoAnswer,
        Self::Drifted,
        Self::FileGone,
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The meaning, as `--help` and docs/OPERATIONS.md show it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => {
                "failed in another way, such as a damaged store or a server that cannot start"
            }
            Self::Usage => "wrong usage; nothing was done",
            Self::Invalid => "the request or the file is invalid",
            Self::NotFound => "not found",
            Self::Conflict => {
                "conflict: the time is taken, it exists already, or it changed meanwhile"
            }
            Self::NotAllowed => "not allowed now",
            Self::TryAgain => {
                "try again: nobody is there, overloaded, in use, or the outcome is unknown"
            }
            Self::WriterStopped => "the writer of the server had to stop",
            Self::NoAnswer => "no answer within --timeout",
            Self::Drifted => {
                "the database is sound, but appointments lost their wall time, or two sessions share a calendar at one time"
            }
            Self::FileGone => {
                "the file of the server was removed or replaced; look before it is started again"
            }
        }
    }

    /// The exit codes of one command, each with its meaning there, as a paragraph of its help.
    pub fn some(meanings: &[(Self, &str)]) -> String {
        let meanings: Vec<String> = meanings
            .iter()
            .map(|(exit, meaning)| format!("{} {meaning}", exit.code()))
            .collect();
        format!("Exit codes: {}.", meanings.join(", "))
    }

    /// All exit codes, a line each, for `--help`.
    pub fn table() -> String {
        Self::ALL
            .iter()
            .fold("Exit codes:".to_owned(), |mut table, exit| {
                write!(table, "\n  {:>2}  {}", exit.code(), exit.meaning())
                    .expect("a string takes everything");
                table
            })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The exit code of a call that a server refused.
impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok => Self::Done,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::NotFound => Self::NotFound,
            Code::Aborted | Code::AlreadyExists => Self::Conflict,
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                Self::NotAllowed
            }
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Unknown => Self::TryAgain,
            Code::Cancelled | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Failed,
        }
    }
}

/// The exit code when a store cannot be opened.
#[cfg(feature = "server")]
impl From<&OpenError> for Exit {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::InUse { .. } => Self::TryAgain,
            OpenError::Foreign { .. }
            | OpenError::Newer { .. }
            | OpenError::Linked { .. }
            | OpenError::Orphaned { .. }
            | OpenError::Unfinished { .. } => Self::Invalid,
            OpenError::Unreadable { .. } | OpenError::Damaged { .. } => Self::Failed,
        }
    }
}

/// The exit code when a command of administration fails.
#[cfg(feature = "server")]
impl From<&AdminError> for Exit {
    fn from(error: &AdminError) -> Self {
        match error {
            AdminError::Open(error) => Self::from(error),
            AdminError::Invalid(_) => Self::Invalid,
            AdminError::NotFound(_) => Self::NotFound,
            AdminError::Exists(_) => Self::Conflict,
            AdminError::Later(_) => Self::TryAgain,
            AdminError::Store(_) | AdminError::Io(_) | AdminError::Failed(_) => Self::Failed,
        }
    }
}
