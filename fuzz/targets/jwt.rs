//! Bytes as a JSON Web Token.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_access::jwt(bytes));
