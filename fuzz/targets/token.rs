//! Bytes as the headers with the credentials of a call.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_access::tokens(bytes));
