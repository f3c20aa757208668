//! `bookd config`: checks and prints what the flags, the environment and the configuration file of
//! `bookd serve` come to.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{failed, say};
use crate::auth::Grants;
use crate::config::ServeConfig;
use crate::telemetry;

/// What can be done with a configuration.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration, with the files that its grants name; start nothing
    #[command(after_help = "Example:\n  bookd config check --config bookd.toml")]
    Check(ServeConfig),
    /// Print what flags, environment, file and defaults come to
    #[command(after_help = "Example:\n  bookd config print --config bookd.toml")]
    Print(ServeConfig),
}

/// Runs the command; answers its exit code.
pub fn run(command: &ConfigCommand) -> Exit {
    match command {
        ConfigCommand::Check(config) => check(config),
        ConfigCommand::Print(config) => {
            say(&config.lines().join("\n"));
            Exit::Done
        }
    }
}

fn check(config: &ServeConfig) -> Exit {
    if let Err(error) = config.check_before_opening() {
        failed(&error);
        return Exit::Usage;
    }
    if let Err(error) = telemetry::filter(&config.log) {
        failed(&error);
        return Exit::Usage;
    }
    let grants = match Grants::load(&config.access, config.bootstrap_token_file.as_deref()) {
        Ok(grants) => grants,
        Err(error) => {
            failed(&error.to_string());
            return Exit::Invalid;
        }
    };
    let count = config.access.grants.len();
    let who = if !grants.is_empty() {
        match config.bootstrap_token_file {
            None => format!("{count} of [[grant]]"),
            Some(_) => format!("{count} of [[grant]] and the first administrator"),
        }
    } else if config.tls.client_ca.is_some() {
        "no grants: everybody with a certificate may do everything".to_owned()
    } else {
        "no grants: everybody who reaches the server may do everything".to_owned()
    };
    let quotas = match config.quotas.named.len() {
        _ if config.quotas.is_empty() => String::new(),
        0 => "; a quota for each tenant".to_owned(),
        named => format!("; quotas of {named} tenants"),
    };
    say(&format!("the configuration is right; {who}{quotas}"));
    Exit::Done
}
