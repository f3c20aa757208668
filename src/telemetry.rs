//! Logs: structured lines on standard error, as text or JSON. No line has personal data.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogConfig, LogFormat};

/// What is logged, which can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Logs by the filter of this configuration from now on.
    ///
    /// # Errors
    ///
    /// The filter is invalid, and that of before stays.
    pub fn replace(&self, config: &LogConfig) -> Result<(), String> {
        let filter = filter(config)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts logging. A second start in one process has no effect.
///
/// # Errors
///
/// The filter is invalid.
pub fn start(config: &LogConfig) -> Result<LogFilter, String> {
    let (filter, handle) = reload::Layer::new(filter(config)?);
    // Colours only on a terminal: in a file they are noise.
    let is_terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer()
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error here means that logging was started before, as in tests.
    let _already_started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    Ok(LogFilter(handle))
}

/// The filter of a configuration.
///
/// # Errors
///
/// What is wrong with it.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&config.log).map_err(|error| format!("--log {}: {error}", config.log))
}
