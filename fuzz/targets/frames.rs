//! Bytes as what a peer sends on a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed::frames(bytes));
