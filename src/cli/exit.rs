//! The exit codes of all commands: each number means one thing, whichever command ends with it, and only this file has
//! the numbers.

use std::fmt::Write;
use std::process::ExitCode;

use tonic::Code;

#[cfg(feature = "server")]
use crate::admin::AdminError;
#[cfg(feature = "server")]
use crate::store::OpenError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// None of the others: the store is damaged, the server cannot start, the race was unfair.
    Failed = 1,
    /// The words do not fit; also what the parser of the command line ends with.
    Usage = 2,
    /// The request or the file is refused as it is written.
    Invalid = 3,
    /// What was named is not there.
    NotFound = 4,
    /// Somebody was faster, or it exists already.
    Conflict = 5,
    /// A rule or the state of the appointment forbids it.
    NotAllowed = 6,
    /// Later, or asked again with the same request id, it may go well.
    TryAgain = 7,
    /// A server ended because its writer had to stop.
    WriterStopped = 8,
    /// A server did not answer within `--timeout`.
    NoAnswer = 9,
    /// A database is sound, and people should know of something: see `admin::check::Report::has_news`.
    Drifted = 10,
    /// A server ended because its file was taken away from under it.
    FileGone = 11,
}

impl Exit {
    /// All of them, by number.
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

    /// What it means, as `--help` and docs/OPERATIONS.md have it.
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

    /// Some of them, each with what it means to one command, for the help of that.
    pub fn some(told: &[(Self, &str)]) -> String {
        let told: Vec<String> = told
            .iter()
            .map(|(exit, meaning)| format!("{} {meaning}", exit.code()))
            .collect();
        format!("Exit codes: {}.", told.join(", "))
    }

    /// All of them, a line each, for `--help`.
    pub fn table() -> String {
        Self::ALL
            .iter()
            .fold("Exit codes:".to_owned(), |mut table, it| {
                write!(table, "\n  {:>2}  {}", it.code(), it.meaning())
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

/// What a refusal of a server comes to.
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

/// What a store that cannot be opened comes to.
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

/// What administration that came to nothing comes to.
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
