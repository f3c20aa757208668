//! Bytes as a file to import.
#![no_main]

#[path = "../../tests/proof/mod.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::fuzzed::import_file(bytes));
