//! How what is stored lies in blobs: messages by tag, numbers for what has a name, read with every doubt.
//!
//! A tag and a number never change their meaning, so that files of older versions stay readable.

pub(crate) mod calendar;
pub(crate) mod change;
pub(crate) mod image;
pub(crate) mod numbers;
pub(crate) mod place;
pub(crate) mod record;
pub(crate) mod replaced;
pub(crate) mod row;
