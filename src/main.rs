//! `bookd`: one binary, a subcommand for each thing it does.

use std::process::ExitCode;

use bookd::cli::config_file;
use bookd::cli::exit::Exit;

/// Calls allocate and free many small objects on one thread, on which the system's allocator spent
/// a tenth of the processor time.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let exit = match config_file::parse(&arguments) {
        Ok(parsed) => parsed.run(config_file::serve_again),
        Err(error) => {
            // A failure means that standard error is closed: there is no other place for the
            // message.
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
