//! The format of stored blobs: messages by tag, and numbers for enumerations.
//!
//! The meaning of a tag or a number never changes, so that files of older versions stay readable. A
//! blob that cannot be read back is damage, and never a panic.

pub(crate) mod calendar;
pub(crate) mod change;
pub(crate) mod erasure;
pub(crate) mod image;
pub(crate) mod numbers;
pub(crate) mod place;
pub(crate) mod record;
pub(crate) mod replaced;
pub(crate) mod row;
