//! Bytes as a life of calls, repeats and time, judged at its end.
#![no_main]

#[path = "../../tests/proof/mod.rs"]
mod proof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::fuzzed_calls::commands(bytes));
