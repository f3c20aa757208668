//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli::arguments::Arguments;
use bookd::cli::exit::Exit;
use clap::Parser;

/// Calls make and drop many small things on one thread: a tenth of the processor time went to the system's allocator.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(arguments) => arguments.run(),
        Err(error) => {
            // Standard error may be gone; then there is nobody to tell.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
        }
    };
    exit.into()
}
