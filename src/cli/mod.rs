//! The command line: one subcommand for each thing a person does.

pub mod client;
pub mod commands;
pub mod run;
#[cfg(feature = "server")]
pub mod serve;
mod table;
pub mod watch;
