//! Bytes as the page token of every list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bookd_kit::fuzzed_pages::page_tokens(bytes));
