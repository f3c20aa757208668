//! The configuration of the server: flags, `BOOKD_*` variables, the configuration file and
//! defaults, each of which outranks those after it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bookd_transport::TlsFiles;
use clap::{ArgAction, Args, ValueEnum};

use crate::auth::{GrantConfig, Rate};
use crate::exposure::{self, Assurances, Credentials};
use bookd_core::quota::Quotas;

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

/// TLS, and the credentials that are asked for.
#[derive(Args, Clone, Debug)]
pub struct TlsConfig {
    /// The certificate of the server for TLS, and its chain, in PEM; read again when it changes
    #[arg(
        long,
        env = "BOOKD_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM, not encrypted; read again when it changes
    #[arg(
        long,
        env = "BOOKD_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// The authorities of clients, in PEM: every client must show a certificate of one of them
    #[arg(
        long,
        env = "BOOKD_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub client_ca: Option<PathBuf>,
    /// Listen beyond this machine without asking for credentials: something else keeps strangers
    /// away
    #[arg(long, env = "BOOKD_INSECURE")]
    pub insecure: bool,
    /// Take tokens from other machines without TLS: a proxy or a mesh ends it
    #[arg(long, env = "BOOKD_PLAINTEXT_BEHIND_PROXY")]
    pub plaintext_behind_proxy: bool,
}

impl TlsConfig {
    /// Whether the files belong together. The parser says so of flags, and not of a configuration
    /// file.
    ///
    /// # Errors
    ///
    /// A file without the one that it needs, by the names of the settings.
    pub fn check(&self) -> Result<(), String> {
        match (&self.tls_cert, &self.tls_key, &self.client_ca) {
            (Some(_), None, _) => Err("`tls_cert` needs `tls_key`".to_owned()),
            (None, Some(_), _) => Err("`tls_key` needs `tls_cert`".to_owned()),
            (None, None, Some(_)) => Err("`client_ca` needs `tls_cert` and `tls_key`".to_owned()),
            (None, None, None) | (Some(_), Some(_), _) => Ok(()),
        }
    }

    /// What the operator says that something else takes care of.
    pub const fn assurances(&self) -> Assurances {
        Assurances {
            insecure: self.insecure,
            plaintext_behind_proxy: self.plaintext_behind_proxy,
        }
    }

    /// The files of TLS, if it is on.
    pub fn files(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        let client_ca = self.client_ca.clone();
        Some(TlsFiles {
            certificate,
            key,
            client_ca,
        })
    }
}

/// Traces of calls.
#[derive(Args, Clone, Debug)]
pub struct TraceConfig {
    /// Send traces of calls by OTLP to the collector at this address, such as http://127.0.0.1:4317;
    /// default none
    #[arg(long, env = "BOOKD_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub otlp_endpoint: Option<String>,
    /// The fraction of the calls that are traced, from 0 to 1, where the caller sends no trace of
    /// its own; one that is sampled is always followed
    #[arg(long, env = "BOOKD_TRACE_RATIO", default_value = "0.01", value_name = "FRACTION", value_parser = fraction)]
    pub trace_ratio: f64,
}

/// Parses the address of a collector.
fn collector(text: &str) -> Result<String, String> {
    let is_plain = text.parse().is_ok_and(|it: http::Uri| {
        it.scheme_str() == Some("http")
            && it.authority().is_some_and(|it| !it.as_str().contains('@'))
    });
    is_plain.then(|| text.to_owned()).ok_or_else(|| {
        "write http://HOST:PORT, such as http://127.0.0.1:4317: a collector on this machine passes traces on by TLS"
            .to_owned()
    })
}

/// Parses a fraction.
fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|it| (0.0..=1.0).contains(it));
    fraction.ok_or_else(|| "write a number from 0 to 1, such as 0.01".to_owned())
}

/// What `bookd serve` needs to know.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  bookd serve --listen 127.0.0.1:50051 --store sqlite:bookd.db\n\n\
                        A configuration file has the same settings, such as `keep_changes = 90`. A flag \
                        outranks its variable, and that the file."
)]
pub struct ServeConfig {
    /// A configuration file, in TOML: the settings below by their names, and who may call
    #[arg(long, env = "BOOKD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BOOKD_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// TLS
    #[command(flatten)]
    pub tls: TlsConfig,
    /// Serve no reflection, by which strangers may read the contract
    #[arg(long = "no-reflection", env = "BOOKD_REFLECTION", action = ArgAction::SetFalse)]
    pub reflection: bool,
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
    /// Calls a second that each caller may make, in the long run: each principal, and without
    /// credentials each address; default as many as they will
    #[arg(long, env = "BOOKD_CALLER_RATE", value_name = "CALLS")]
    pub caller_rate: Option<NonZeroU32>,
    /// Calls that a caller may make at once after a pause, with --caller-rate; default as many as
    /// in a second
    #[arg(long, env = "BOOKD_CALLER_BURST", value_name = "CALLS")]
    pub caller_burst: Option<NonZeroU32>,
    /// A file with a token whose bearer may do everything: for the first administrator
    #[arg(long, env = "BOOKD_BOOTSTRAP_TOKEN_FILE", value_name = "FILE")]
    pub bootstrap_token_file: Option<PathBuf>,
    /// Traces
    #[command(flatten)]
    pub traces: TraceConfig,
    /// Logging
    #[command(flatten)]
    pub log: LogConfig,
    /// Who may call: each `[[grant]]` and `[[issuer]]` of the configuration file.
    #[arg(skip)]
    pub access: GrantConfig,
    /// How much each tenant may have; only in the configuration file
    #[arg(skip)]
    pub quotas: Quotas,
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
    /// The credentials that clients are asked for; `is_store_guarded` if the store has, or had, tokens.
    pub fn credentials(&self, is_store_guarded: bool) -> Credentials {
        Credentials {
            client_certificates: self.tls.client_ca.is_some(),
            grants: self.access != GrantConfig::default()
                || self.bootstrap_token_file.is_some()
                || is_store_guarded,
            is_encrypted: self.tls.tls_cert.is_some(),
        }
    }

    /// Whether the settings belong together, and do not show more than the operator says;
    /// `is_store_guarded` if the store has, or had, tokens.
    ///
    /// # Errors
    ///
    /// What is wrong, with the ways out.
    pub fn check(&self, is_store_guarded: bool) -> Result<(), String> {
        self.tls.check()?;
        let credentials = self.credentials(is_store_guarded);
        exposure::allow(self.listen, credentials, self.tls.assurances())?;
        self.admin_address().map(drop)
    }

    /// As [`ServeConfig::check`] before the store is opened: what the settings lack of credentials
    /// may be tokens of a store that is there.
    ///
    /// # Errors
    ///
    /// As [`ServeConfig::check`].
    pub fn check_before_opening(&self) -> Result<(), String> {
        let StoreUrl::Sqlite(file) = &self.store;
        let refusal = match self.check(false) {
            Err(refusal) if file.exists() => refusal,
            checked => return checked,
        };
        match self.check(true) {
            Err(guarded) if guarded != refusal => {
                Err(format!("{refusal}. If the store has tokens: {guarded}"))
            }
            checked => checked,
        }
    }

    /// How often each caller may call; none = as often as they will.
    pub fn rate(&self) -> Option<Rate> {
        self.caller_rate.map(|per_second| Rate {
            per_second,
            burst: self.caller_burst.unwrap_or(per_second),
        })
    }

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
        let file = |file: &Option<PathBuf>| {
            or_default(file.as_ref().map(|file| file.display().to_string()))
        };
        let format = match self.log.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let or_none = |file: &Option<PathBuf>| {
            let named = file.as_ref().map(|file| file.display().to_string());
            named.unwrap_or_else(|| "(none)".to_owned())
        };
        vec![
            format!("BOOKD_CONFIG={}", or_none(&self.config)),
            format!("BOOKD_LISTEN={}", self.listen),
            format!("BOOKD_TLS_CERT={}", file(&self.tls.tls_cert)),
            format!("BOOKD_TLS_KEY={}", file(&self.tls.tls_key)),
            format!("BOOKD_CLIENT_CA={}", file(&self.tls.client_ca)),
            format!("BOOKD_INSECURE={}", self.tls.insecure),
            format!(
                "BOOKD_PLAINTEXT_BEHIND_PROXY={}",
                self.tls.plaintext_behind_proxy
            ),
            format!("BOOKD_REFLECTION={}", self.reflection),
            format!(
                "BOOKD_ADMIN={}",
                or_default(self.admin.map(|it| it.to_string()))
            ),
            format!("BOOKD_ADMIN_EXPOSED={}", self.admin_exposed),
            format!("BOOKD_STORE={}", self.store),
            format!("BOOKD_ZONES={}", file(&self.zones)),
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
            format!(
                "BOOKD_CALLER_RATE={}",
                or_default(self.caller_rate.map(|it| it.to_string()))
            ),
            format!(
                "BOOKD_CALLER_BURST={}",
                or_default(self.caller_burst.map(|it| it.to_string()))
            ),
            format!(
                "BOOKD_BOOTSTRAP_TOKEN_FILE={}",
                or_none(&self.bootstrap_token_file)
            ),
            format!(
                "BOOKD_OTLP_ENDPOINT={}",
                self.traces.otlp_endpoint.as_deref().unwrap_or("(none)")
            ),
            format!("BOOKD_TRACE_RATIO={}", self.traces.trace_ratio),
            format!("BOOKD_LOG={}", self.log.log),
            format!("BOOKD_LOG_FORMAT={format}"),
            format!("BOOKD_LOG_CALLS={}", self.log.log_calls),
        ]
    }
}
