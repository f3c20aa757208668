//! Bytes as requests of every RPC, one after the other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed::requests(bytes));
