//! A field of a request with an invalid value.
//!
//! The description says what the value must be, so that a developer can correct it without the
//! documentation.

/// A field with an invalid value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldViolation {
    /// Its path in the request: `calendar.time_zone`, `rules[2].start_time`.
    pub field: String,
    /// The requirement that the value does not meet: "must be an IANA time zone …".
    pub description: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}
