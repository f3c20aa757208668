//! The simulation: the real service under one seed, with virtual time, a simulated network and
//! disk, and faults.
//!
//! `make sim SEEDS=n` runs so many seeds; `BOOKD_SIM_FIRST=n` begins with another one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "a test, some of whose modules other tests share"
)]

mod chance;
mod clients;
mod disk;
mod faults;
mod full_disk;
mod io_errors;
mod life;
mod power;
mod read_back;
mod run;
mod seeds;
mod server;
mod tenants;
mod upgrade;
mod verify;
mod world;
