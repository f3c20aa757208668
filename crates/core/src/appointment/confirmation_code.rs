//! Confirmation codes: eight characters for the telephone, one to one with the appointment's row
//! number.
//!
//! A code is a permutation of 40 bits under the store's secret, so that codes are unique without a
//! column or an index, and the next code cannot be guessed from one. Codes identify; they do not
//! authorise.

use crate::ids::AppointmentKey;

/// Crockford's base 32: no I, L, O or U to be misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 8;
const HALF_BITS: u32 = 20;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u64 = 6;

/// The code of an appointment: `7K3M-Q9XT`.
pub fn encode(key: AppointmentKey, secret: u64) -> String {
    let value = mixed(key.0 & ((1 << (2 * HALF_BITS)) - 1), secret);
    let mut code = String::with_capacity(CHARACTERS + 1);
    for place in (0..CHARACTERS).rev() {
        if place + 1 == CHARACTERS / 2 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[(value >> (5 * place) & 31) as usize]));
    }
    code
}

/// The appointment that a code stands for, as a person may write it: any case, with or without the
/// dash, `O` for `0`, `I` and `L` for `1`. None when it cannot be a code.
pub fn decode(text: &str, secret: u64) -> Option<AppointmentKey> {
    let mut value = 0_u64;
    let mut count = 0;
    for byte in text.bytes().filter(|byte| *byte != b'-' && *byte != b' ') {
        let plain = match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        let digit = ALPHABET.iter().position(|known| *known == plain)?;
        value = value << 5 | u64::try_from(digit).ok()?;
        count += 1;
        if count > CHARACTERS {
            return None;
        }
    }
    (count == CHARACTERS).then(|| AppointmentKey(unmixed(value, secret)))
}

/// A Feistel network, which `unmixed` runs backwards.
fn mixed(value: u64, secret: u64) -> u64 {
    let (mut left, mut right) = (value >> HALF_BITS & HALF_MASK, value & HALF_MASK);
    for round in 0..ROUNDS {
        (left, right) = (right, left ^ mix(right, round, secret));
    }
    left << HALF_BITS | right
}

fn unmixed(value: u64, secret: u64) -> u64 {
    let (mut left, mut right) = (value >> HALF_BITS & HALF_MASK, value & HALF_MASK);
    for round in (0..ROUNDS).rev() {
        (left, right) = (right ^ mix(left, round, secret), left);
    }
    left << HALF_BITS | right
}

fn mix(half: u64, round: u64, secret: u64) -> u64 {
    // SplitMix64's finisher: every bit of half, round and secret reaches every bit of the result.
    let mut mixed = half
        .wrapping_add(secret)
        .wrapping_add((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) & HALF_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_was_told_once_stays_that_code() {
        let given = [
            (0, 42, "JQX8-MWJ3"),
            (1, 42, "Y3GZ-AYDB"),
            (12_345_678_901, 7, "B8JK-D7AA"),
        ];
        for (key, secret, code) in given {
            assert_eq!(encode(AppointmentKey(key), secret), code);
        }
    }

    #[test]
    fn a_code_stands_for_one_appointment_however_it_is_written() {
        for key in (0..2_000)
            .chain([1 << 39, (1 << 40) - 1])
            .map(AppointmentKey)
        {
            let code = encode(key, 42);
            assert_eq!(decode(&code, 42), Some(key));
            assert_eq!(
                decode(
                    &code
                        .to_lowercase()
                        .replace('-', "")
                        .replace('0', "o")
                        .replace('1', "l"),
                    42
                ),
                Some(key)
            );
            assert_ne!(decode(&code, 43), Some(key));
        }
        assert_eq!(decode("7K3M-Q9X", 42), None);
        assert_eq!(decode("7K3M-Q9XTT", 42), None);
        assert_eq!(decode("7K3M-Q9XU", 42), None);
    }
}
