//! Bytes as a life of calls, repeats and time, judged at its end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_calls::commands(bytes));
