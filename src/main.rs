//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli::arguments::Arguments;
use clap::Parser;

/// Calls make and drop many small things on one thread: a tenth of the processor time went to the system's allocator.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Arguments::parse().run()
}
