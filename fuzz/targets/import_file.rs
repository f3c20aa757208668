//! Bytes as a file to import.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed::import_file(bytes));
