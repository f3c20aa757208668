//! Bytes as what a peer sends on a connection.
#![no_main]

#[path = "../../tests/proof/mod.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::fuzzed::frames(bytes));
