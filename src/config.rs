//! The configuration of the server: flags, `BOOKD_*` variables and defaults; a flag outranks its
//! variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// The largest value of `--keep-changes`, in days; without the flag changes are kept for ever.
const KEEP_DAYS_MAX: i64 = 36_500;

/// The largest value of `--reserve`, in MiB.
const RESERVE_MIB_MAX: i64 = 65_536;

/// The location of the store, as `--store` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            _ => Err("write sqlite:FILE, such as sqlite:bookd.db".to_owned()),
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Logging.
#[derive(Args, Clone, Debug)]
pub struct LogConfig {
    /// What to log: off, error, warn, info, debug, or a filter such as `info,bookd::engine=debug`
    #[arg(long, env = "BOOKD_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How log lines look; they go to standard error
    #[arg(
        long,
        env = "BOOKD_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// Log a line for every call: method, outcome, milliseconds; nothing of its contents, and not
    /// who called
    #[arg(long, env = "BOOKD_LOG_CALLS")]
    pub log_calls: bool,
}

/// What `bookd serve` needs to know.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bookd serve --listen 127.0.0.1:50051 --store sqlite:bookd.db")]
pub struct ServeConfig {
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BOOKD_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// The address of metrics and probes over HTTP (/metrics, /livez, /readyz); default none
    #[arg(long, env = "BOOKD_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// The admin port may be reached from other machines: --admin may name an address that is not
    /// loopback
    #[arg(long, env = "BOOKD_ADMIN_EXPOSED")]
    pub admin_exposed: bool,
    /// Where everything is kept
    #[arg(
        long,
        env = "BOOKD_STORE",
        default_value = "sqlite:bookd.db",
        value_name = "URL"
    )]
    pub store: StoreUrl,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled
    /// release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
    /// Threads that serve connections; default one per core
    #[arg(long, alias = "lanes", env = "BOOKD_WORKERS", value_name = "NUMBER")]
    pub workers: Option<std::num::NonZeroUsize>,
    /// Seconds that calls in flight get to finish when the server stops
    #[arg(long, env = "BOOKD_GRACE", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub grace: Duration,
    /// Days that changes are kept, for watchers that come back and pages that are turned; default
    /// for ever
    #[arg(long, env = "BOOKD_KEEP_CHANGES", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=KEEP_DAYS_MAX))]
    pub keep_changes: Option<u32>,
    /// MiB kept free beside the store for when its disk is full, in a file that is given up then; 0
    /// = none
    #[arg(long, env = "BOOKD_RESERVE", default_value = "16", value_name = "MIB", value_parser = clap::value_parser!(u32).range(..=RESERVE_MIB_MAX))]
    pub reserve: u32,
    /// The clock is right, though it is more than a day after the last commit: write at once
    #[arg(long, env = "BOOKD_CONFIRM_CLOCK")]
    pub confirm_clock: bool,
    /// Logging
    #[command(flatten)]
    pub log: LogConfig,
    /// Print the configuration that all of this comes to, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// Parses whole seconds, at most an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text
        .parse()
        .map_err(|_| "write whole seconds, such as 10".to_owned())?;
    if seconds <= 3_600 {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("at most 3600 seconds".to_owned())
    }
}

impl ServeConfig {
    /// The address of the admin port, if there is to be one; an error if it is not loopback and
    /// nobody has said that it may be.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>, String> {
        match self.admin {
            Some(address) if !self.admin_exposed && !address.ip().to_canonical().is_loopback() => {
                Err(format!(
                    "--admin {address} can be reached from other machines, and whoever reaches it \
                     reads the metrics without being asked who it is; name a loopback address such \
                     as 127.0.0.1:9464, or say --admin-exposed"
                ))
            }
            address => Ok(address),
        }
    }

    /// The settings in the form `VARIABLE=value`, one per line.
    pub fn lines(&self) -> Vec<String> {
        let or_default = |value: Option<String>| value.unwrap_or_else(|| "(default)".to_owned());
        let format = match self.log.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![
            format!("BOOKD_LISTEN={}", self.listen),
            format!(
                "BOOKD_ADMIN={}",
                or_default(self.admin.map(|it| it.to_string()))
            ),
            format!("BOOKD_ADMIN_EXPOSED={}", self.admin_exposed),
            format!("BOOKD_STORE={}", self.store),
            format!(
                "BOOKD_ZONES={}",
                or_default(self.zones.as_ref().map(|it| it.display().to_string()))
            ),
            format!(
                "BOOKD_WORKERS={}",
                or_default(self.workers.map(|it| it.to_string()))
            ),
            format!("BOOKD_GRACE={}", self.grace.as_secs()),
            format!(
                "BOOKD_KEEP_CHANGES={}",
                or_default(self.keep_changes.map(|it| it.to_string()))
            ),
            format!("BOOKD_RESERVE={}", self.reserve),
            format!("BOOKD_CONFIRM_CLOCK={}", self.confirm_clock),
            format!("BOOKD_LOG={}", self.log.log),
            format!("BOOKD_LOG_FORMAT={format}"),
            format!("BOOKD_LOG_CALLS={}", self.log.log_calls),
        ]
    }
}
