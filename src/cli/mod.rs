//! The command line.

#[cfg(feature = "server")]
pub mod serve;
