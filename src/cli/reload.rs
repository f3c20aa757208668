//! The configuration of a running server, read again at SIGHUP: what can be changed is put in force,
//! and the log says what needs a restart.
//!
//! A configuration that cannot be used changes nothing.

use tokio::sync::watch::Receiver;

use crate::auth::{Access, Grants};
use crate::config::ServeConfig;
use crate::engine::TenantQuotas;
use crate::telemetry::{self, LogFilter};
use bookd_core::token::Tokens;

/// Reads the configuration of the server again, from where it came.
pub type ReadAgain = fn() -> Result<ServeConfig, String>;

/// The settings that are put in force without a restart, beside the tables of who may call and the
/// contents of files. Every other one needs a restart.
const RELOADED: [&str; 4] = [
    "BOOKD_CALLER_RATE",
    "BOOKD_CALLER_BURST",
    "BOOKD_BOOTSTRAP_TOKEN_FILE",
    "BOOKD_LOG",
];

/// A running server, as far as it can be changed.
pub(super) struct Reloadable<'a> {
    /// What it was started with.
    pub(super) config: &'a ServeConfig,
    pub(super) access: &'a Access,
    /// The tokens of its store, which may make callers need credentials, whatever the grants are.
    pub(super) tokens: Receiver<Tokens>,
    pub(super) quotas: TenantQuotas,
    pub(super) log: &'a LogFilter,
}

impl Reloadable<'_> {
    /// Reads the configuration again, and puts in force what can be.
    pub(super) fn reload(&self, read_again: ReadAgain) {
        let is_store_guarded = self.tokens.borrow().is_guarded();
        let usable = read_again().and_then(|again| {
            again.check(is_store_guarded)?;
            telemetry::filter(&again.log)?;
            let grants = Grants::load(&again.access, again.bootstrap_token_file.as_deref());
            Ok((grants.map_err(|error| error.to_string())?, again))
        });
        let (grants, again) = match usable {
            Ok(usable) => usable,
            Err(error) => {
                return tracing::error!(%error, "the configuration cannot be used: all stays as it is");
            }
        };
        if !is_store_guarded && grants.is_empty() == self.access.is_guarded() {
            return tracing::error!(
                "the first grant or the last one needs a restart: it changes whether callers need credentials; all stays \
                 as it is"
            );
        }
        if let Err(error) = self.log.replace(&again.log) {
            tracing::error!(%error, "what is logged stays as it is");
        }
        if let Err(error) = self.quotas.replace(again.quotas.clone()) {
            tracing::error!(%error, "no quota is in force");
        }
        self.access.replace(grants);
        self.access.set_call_rate(again.rate());
        self.say_what_changed(&again);
    }

    fn say_what_changed(&self, again: &ServeConfig) {
        let before = self.config.lines();
        for line in again.lines().iter().filter(|line| !before.contains(line)) {
            if is_reloaded(line) {
                tracing::info!(setting = %line, "this setting is in force");
            } else {
                tracing::warn!(setting = %line, "this setting needs a restart");
            }
        }
        tracing::info!(
            "the configuration was read again: grants, tokens, keys of issuers, rates of callers, quotas and \
             what is logged; time zones and all other settings need a restart"
        );
    }
}

/// Whether a setting, written as `VARIABLE=value`, is put in force without a restart.
fn is_reloaded(line: &str) -> bool {
    line.split_once('=')
        .is_some_and(|(name, _)| RELOADED.contains(&name))
}
