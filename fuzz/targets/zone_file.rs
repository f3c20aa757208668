//! Bytes as a compiled time zone.
#![no_main]

#[path = "../../tests/proof/mod.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::fuzzed::zone_file(bytes));
