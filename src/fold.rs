//! Keys of e-mail addresses: spellings that a person takes for the same address have the same key.
//!
//! The key is NFC(full case fold(NFC(x))), without a locale (The Unicode Standard, §3.13.3,
//! canonical caseless matching, in the form that is stored and indexed). Accents count: `jürgen`
//! and `jurgen` are two people.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

use bookd_core::appointment::{Email, EmailKey};

/// The release of Unicode by which keys are folded. A store keeps it with the keys, which must be
/// folded again when another release folds them otherwise.
pub const UNICODE_VERSION: i64 = {
    let (fold, _, _) = caseless::UNICODE_VERSION;
    let (normalization, minor, update) = unicode_normalization::UNICODE_VERSION;
    // Both releases fit, because each has three numbers below 256.
    (fold as i64) << 32 | (normalization as i64) << 16 | (minor as i64) << 8 | update as i64
};

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;

/// The key of an address; that of an empty address is empty.
pub fn email_key(address: &str) -> EmailKey {
    if address.is_ascii() {
        return EmailKey::from_folded(&address.to_ascii_lowercase());
    }
    EmailKey::from_folded(&address.nfc().default_case_fold().nfc().collect::<String>())
}

/// Whether a text is an address: one `@` between a local part of at most 64 characters and a
/// domain, at most `EMAIL_BYTES_MAX` bytes, and no space.
pub fn is_address(text: &str) -> bool {
    let is_written_so = text.split_once('@').is_some_and(|(local, domain)| {
        let is_label =
            |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        !local.is_empty()
            && local.chars().count() <= 64
            && !domain.contains('@')
            && domain.split('.').all(is_label)
            && text.chars().all(|character| {
                !character.is_whitespace()
                    && !character.is_control()
                    && !"<>()[],;:\\\"".contains(character)
            })
    });
    is_written_so && text.len() <= EMAIL_BYTES_MAX
}

/// An address with its key.
pub fn email(written: impl Into<String>) -> Email {
    let written = written.into();
    let key = email_key(&written);
    Email { written, key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_have_one_key_and_those_of_two_have_two() {
        let same = [
            ("jürgen@example.com", "JÜRGEN@EXAMPLE.COM"),
            ("ju\u{308}rgen@example.com", "JÜRGEN@example.com"),
            ("straße@example.com", "STRASSE@EXAMPLE.COM"),
            ("ΣΊΣΥΦΟΣ@example.gr", "σίσυφος@example.gr"),
            ("İ@example.com", "i\u{307}@example.com"),
            ("Ada@Example.com", "ada@example.com"),
            ("", ""),
        ];
        for (one, other) in same {
            assert_eq!(email_key(one), email_key(other), "{one} and {other}");
            assert_eq!(
                email_key(email_key(one).as_str()),
                email_key(one),
                "a key is its own key"
            );
        }
        let other = [
            ("jürgen@example.com", "jurgen@example.com"),
            ("i@example.com", "ı@example.com"),
            ("a", ""),
        ];
        for (one, other) in other {
            assert_ne!(email_key(one), email_key(other), "{one} and {other}");
        }
    }
}
