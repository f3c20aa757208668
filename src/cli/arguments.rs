//! The arguments of `bookd`: all subcommands, and the function that runs each.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::backup::{self, BackupOptions};
use super::bench::{self, BenchConfig};
use super::check::{self, CheckOptions};
use super::clock::{self, ClockCommand};
use super::commands::{ClientCommand, ClientOptions};
use super::config::{self, ConfigCommand};
use super::demo::{self, DemoConfig};
use super::demo_race::{self, RaceConfig};
use super::exit::Exit;
use super::export::{self, ExportConfig};
use super::health::{self, HealthOptions};
use super::import::{self, ImportConfig};
use super::reload::ReadAgain;
use super::restore::{self, RestoreOptions};
use super::tenant::{self, TenantCommand};
use super::{run, serve, store_tokens};
use crate::config::ServeConfig;

/// Everything that bookd does.
#[derive(Subcommand)]
pub enum CliCommand {
    /// Run the service
    Serve(ServeConfig),
    /// Check or print the configuration of the service
    #[command(
        subcommand,
        after_help = "Example:\n  bookd config check --config bookd.toml"
    )]
    Config(ConfigCommand),
    /// Run a service with something in it, to play with; everything is in memory
    Demo(DemoConfig),
    /// Let 64 clients race for overlapping slots, and check who got what; without --server on a
    /// service of its own
    DemoRace(RaceConfig),
    /// Measure calls a second and waits beside a bare echo; without --server of a service of its
    /// own
    Bench(BenchConfig),
    /// Bring calendars and appointments from a file into a store, all or nothing, while no server
    /// runs on it
    Import(ImportConfig),
    /// Write all calendars and appointments of a store as a file that import reads, while no server
    /// runs on it
    Export(ExportConfig),
    /// Copy a store to a file, whole and looked over, while a server goes on
    Backup(BackupOptions),
    /// Make a store from a backup, looked over first; never over another one
    Restore(RestoreOptions),
    /// Check a database that nobody serves, a backup for instance: integrity, log, conflicts, and
    /// appointments whose time zone changed its rules
    Check(CheckOptions),
    /// Write everything of a tenant as a file, or delete a tenant, while no server runs on the store
    #[command(
        subcommand,
        after_help = "Example:\n  bookd tenant delete acme/ --store sqlite:bookd.db --dry-run"
    )]
    Tenant(TenantCommand),
    /// Ask a server whether it serves, for scripts and probes
    Health(HealthOptions),
    /// Repair a store that believed a wrong clock, while no server runs on it
    #[command(
        subcommand,
        after_help = "Example:\n  bookd clock reset --store sqlite:bookd.db --dry-run"
    )]
    Clock(ClockCommand),
    /// Ask a server that runs.
    #[command(flatten)]
    Client(ClientCommand),
}

/// bookd, the booking engine that other services call.
///
/// `bookd serve` runs the service, `bookd demo` one to play with. Most other commands talk to one
/// that runs: set hours, look for slots, book, move, cancel, list. They print tables for people,
/// and JSON with --json.
#[derive(Parser)]
#[command(name = "bookd", version, max_term_width = 100, after_help = Exit::table())]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
    /// Where the server is, and how answers look.
    #[command(flatten)]
    pub options: ClientOptions,
}

impl Arguments {
    /// Parses the arguments of a command line, its name included, without any configuration file.
    pub(super) fn try_parse_from_all(arguments: &[OsString]) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }

    /// Runs the command; answers its exit code. A server reads its configuration by `read_again`
    /// when it is asked to.
    pub fn run(self, read_again: ReadAgain) -> Exit {
        match self.command {
            CliCommand::Serve(config) => serve::run(&config, read_again),
            CliCommand::Config(command) => config::run(&command),
            CliCommand::Demo(config) => demo::run(&config),
            CliCommand::DemoRace(config) => demo_race::run(&config, &self.options),
            CliCommand::Import(config) => import::run(&config),
            CliCommand::Export(config) => export::run(&config),
            CliCommand::Bench(config) => bench::run(&config, &self.options),
            CliCommand::Backup(options) => backup::run(&options, self.options.json),
            CliCommand::Restore(options) => restore::run(&options, self.options.json),
            CliCommand::Check(options) => check::run(&options, self.options.json),
            CliCommand::Health(options) => health::run(&options, &self.options),
            CliCommand::Tenant(command) => tenant::run(&command, self.options.json),
            CliCommand::Clock(command) => clock::run(&command, self.options.json),
            CliCommand::Client(ClientCommand::Token(command)) => match command.store() {
                Some(store) => store_tokens::run(&command, store, self.options.json),
                None => run::run(ClientCommand::Token(command), &self.options),
            },
            CliCommand::Client(command) => run::run(command, &self.options),
        }
    }
}
