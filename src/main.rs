//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli::arguments::Arguments;
use clap::Parser;

fn main() -> ExitCode {
    Arguments::parse().run()
}
