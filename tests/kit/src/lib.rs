//! What every proof shares: chance from a seed, random calls, the record of what was answered, and
//! its checkers.
//!
//! Compiled once for integration tests, the simulation and fuzzing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a proof that cannot go on has failed"
)]

pub mod caller;
pub mod calls;
pub mod chance;
pub mod disk;
pub mod disk_space;
pub mod drive;
pub mod fuzzed;
pub mod fuzzed_access;
pub mod fuzzed_calls;
pub mod fuzzed_pages;
pub mod history;
pub mod locks;
pub mod log;
pub mod pages;
pub mod panics;
pub mod personal_data;
pub mod power_loss;
pub mod readable;
pub mod refusals;
pub mod slot_probe;
pub mod tenants;
pub mod timeline;
pub mod vfs;
pub mod watch_record;
