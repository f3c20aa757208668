//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli;
use bookd::cli::commands::{ClientCommand, ClientOptions};
use clap::{Parser, Subcommand};

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(bookd::config::ServeConfig),
    /// Check a database: integrity, log, conflicts, and appointments whose time zone changed its rules
    Check(cli::check::CheckOptions),
    #[command(flatten)]
    Client(ClientCommand),
}

/// bookd, the booking engine that other services call.
///
/// `bookd serve` runs the service. The other commands talk to one that runs: set hours, look for slots, book, move,
/// cancel, list. They print tables for people, and JSON with --json.
///
/// Exit codes: 0 done, 2 usage, 3 invalid, 4 not found, 5 conflict, 6 not allowed now, 7 try again, 1 anything else.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: ClientOptions,
}

fn main() -> ExitCode {
    let Arguments { command, options } = Arguments::parse();
    match command {
        Command::Serve(config) => cli::serve::run(&config),
        Command::Check(asked) => cli::check::run(&asked, options.json),
        Command::Client(command) => cli::run::run(command, &options),
    }
}
