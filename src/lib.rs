//! bookd.
