//! The command line: a file for each subcommand.
//!
//! A build without the feature `server` has only the client commands.

#[cfg(feature = "server")]
pub mod arguments;
#[cfg(feature = "server")]
pub mod backup;
#[cfg(feature = "server")]
pub mod bench;
#[cfg(feature = "server")]
mod bench_cpu;
#[cfg(feature = "server")]
mod bench_load;
#[cfg(feature = "server")]
pub mod check;
pub mod client;
pub mod client_tls;
#[cfg(feature = "server")]
pub mod clock;
pub mod commands;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod config_file;
pub mod dates;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(feature = "server")]
pub mod demo_race;
#[cfg(feature = "server")]
mod demo_tenants;
pub mod exit;
#[cfg(feature = "server")]
pub mod export;
#[cfg(feature = "server")]
pub mod health;
#[cfg(feature = "server")]
pub mod import;
pub mod lookup;
mod output;
#[cfg(feature = "server")]
mod progress;
#[cfg(feature = "server")]
mod quota_table;
#[cfg(feature = "server")]
pub mod reload;
#[cfg(feature = "server")]
pub mod restore;
pub mod run;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod store_options;
#[cfg(feature = "server")]
mod store_tokens;
mod table;
#[cfg(feature = "server")]
pub mod tenant;
mod token;
pub mod watch;
pub mod words;
