//! A field of a request that is not as it must be.

/// A field that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldViolation {
    /// Its path in the request: `calendar.time_zone`, `rules[2].start_time`.
    pub field: String,
    /// What must be: "must be an IANA time zone …".
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
