//! Converters between the contract's messages and the core: requests are read, answers and errors
//! rendered.
//!
//! No converter asks the engine. After a request is read there is no text in it that could be
//! wrong.

pub mod file;
pub(crate) mod page_token;
pub mod parse;
pub(crate) mod parse_calendar;
pub(crate) mod parse_person;
pub mod parse_time;
pub mod rejections;
pub(crate) mod render;
pub(crate) mod status;
