//! The same randomness in every run: all random bytes that the standard library, tokio and others
//! ask the system for come from the seed.
//!
//! Hash maps take their keys from `getrandom`, and tokio takes its choices between ready branches
//! from the keys of a hash map. The `getrandom` of this program answers from a seed, which makes
//! runs equal without `--cfg tokio_unstable`, the switch that exists to seed tokio's choices. Tokio
//! numbers its tasks over the whole process, so one process runs one seed.
#![allow(unsafe_code, reason = "a symbol of the C library is replaced")]

use std::cell::Cell;

use bookd_kit::chance::Chance;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0x626f_6f6b_6421) };
}

/// From here on all randomness on this thread comes from the seed.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

/// Replaces `getrandom` of the C library.
// SAFETY: the name and types are those of getrandom(2); it writes what the caller says it may, and
// nothing more.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let mut chance = Chance(STATE.get());
    for at in 0..length {
        // SAFETY: the caller gives a buffer of `length` bytes.
        unsafe { buffer.add(at).write(chance.next_number() as u8) };
    }
    STATE.set(chance.0);
    isize::try_from(length).unwrap_or(isize::MAX)
}
