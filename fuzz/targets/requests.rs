//! Bytes as requests of every RPC, one after the other.
#![no_main]

#[path = "../../tests/proof/mod.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::fuzzed::requests(bytes));
