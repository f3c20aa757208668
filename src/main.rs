//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli;
use clap::{Parser, Subcommand};

/// bookd, the booking engine that other services call.
///
/// `bookd serve` runs the service. The other commands talk to one that runs.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(bookd::config::ServeConfig),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(config) => cli::serve::run(&config),
    }
}
