//! Bytes as a compiled time zone.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed::zone_file(bytes));
