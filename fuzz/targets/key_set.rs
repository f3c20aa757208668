//! Bytes as the key set of an issuer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_access::key_set(bytes));
