//! The server over real sockets, module by module.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod accidents;
mod as_it_was;
mod backup;
mod bench;
mod besieged;
mod calls;
mod check;
mod check_derived;
mod check_log;
mod check_upgraded;
mod clock;
mod complaints;
mod damage;
mod dates;
mod deadline;
mod deletion;
mod demo;
mod drift;
mod erasure;
mod exit_codes;
mod failures;
mod foreseen;
mod full_disk;
mod fuzzed;
mod gone;
mod harness;
mod history;
mod holds;
mod hostile;
mod hostile_connections;
mod hostile_frames;
mod hostile_many;
mod hostile_memory;
mod http2;
mod judges;
mod kept;
mod kill;
#[cfg(debug_assertions)]
mod kill_points;
mod large_changes;
mod large_headers;
mod letters;
mod listing;
mod memory;
mod offline_memory;
mod one_byte;
mod outside;
mod overload;
mod parity;
mod parity_kept;
mod people;
mod precedence;
mod race;
mod random;
mod readme;
mod reasons;
mod rooms;
mod segments;
mod series;
mod server;
mod several;
mod shown;
mod soak;
mod soak_load;
mod sqlite;
mod store;
mod store_lists;
mod store_log;
mod stored;
mod transfer;
mod types;
mod upgrade;
mod watch;
mod watch_cli;
mod watch_ends;
mod watch_slots;
mod whole_changes;
mod wire;
mod words;
mod zone_folder;
