//! Bytes as a configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_access::configuration(bytes));
