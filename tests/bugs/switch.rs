//! Switches on the bug of tests/bugs that `BOOKD_BUG` names. It is in the patched copy that `scripts/bugs.sh` makes, and
//! never in the product.

use std::sync::LazyLock;

/// Whether the bug of this name, which is its patch's, is on.
pub fn is_on(name: &str) -> bool {
    static ON: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("BOOKD_BUG").ok());
    ON.as_deref() == Some(name)
}
