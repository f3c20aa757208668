//! The text of an import file, and the complaints about it, each with its line.
//!
//! A piece is a part of the text that is borrowed from it, so its offset gives its line.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{COMPLAINTS_MAX, json_positions};
use bookd_core::field_violation::FieldViolation;

/// An error in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The line, counted from 1.
    pub line: usize,
    /// The path of the value; empty for the whole file.
    pub field: String,
    /// The reason, such as what the value must be.
    pub why: String,
}

/// The members of a JSON object in the order of the text, each with its unparsed value.
pub(super) struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if !seen.insert(key.to_string()) {
                        return Err(A::Error::custom(format!("{key} stands there twice")));
                    }
                    members.push((key.into_owned(), map.next_value()?));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

/// The text of the file, and the complaints about it.
pub(super) struct Text<'a> {
    pub whole: &'a str,
    pub complaints: Vec<Complaint>,
    /// The members that were passed over and have something.
    pub passed_over: Vec<String>,
    /// The number of complaints above `COMPLAINTS_MAX`.
    pub unreported: usize,
    /// The pieces of calendars and appointments by their path, for violations that the engine
    /// finds.
    origins: HashMap<String, &'a str>,
}

impl<'a> Text<'a> {
    pub(super) fn new(whole: &'a str) -> Self {
        Self {
            whole,
            complaints: Vec::new(),
            passed_over: Vec::new(),
            unreported: 0,
            origins: HashMap::new(),
        }
    }

    /// The offset of a piece in the whole text.
    fn offset(&self, piece: &str) -> usize {
        // Every piece is borrowed from the whole.
        (piece.as_ptr() as usize).saturating_sub(self.whole.as_ptr() as usize)
    }

    /// Adds a complaint about an offset of a piece.
    pub(super) fn wrong_at(
        &mut self,
        (piece, offset): (&str, usize),
        field: String,
        why: impl Into<String>,
    ) {
        if self.complaints.len() < COMPLAINTS_MAX {
            let line = json_positions::line(self.whole, self.offset(piece) + offset);
            self.complaints.push(Complaint {
                line,
                field,
                why: why.into(),
            });
        } else {
            self.unreported += 1;
        }
    }

    /// Adds a complaint about a field of the piece with the path `origin`.
    pub(super) fn wrong(&mut self, piece: &str, origin: &str, field: &str, why: impl Into<String>) {
        let is_reported = self.complaints.len() < COMPLAINTS_MAX;
        let offset = if is_reported {
            json_positions::find(piece, field)
        } else {
            0
        };
        self.wrong_at((piece, offset), joined(origin, field), why);
    }

    /// Adds all violations of the piece with the path `origin`.
    pub(super) fn all_wrong(&mut self, piece: &str, origin: &str, found: Vec<FieldViolation>) {
        found.into_iter().for_each(|violation| {
            self.wrong(piece, origin, &violation.field, violation.description)
        });
    }

    /// Adds the error of a JSON reader about a piece.
    pub(super) fn unreadable(&mut self, piece: &str, origin: &str, error: &serde_json::Error) {
        let offset = json_positions::offset_of(piece, error.line().max(1), error.column());
        let message = error.to_string();
        let why = message
            .split(" at line ")
            .next()
            .unwrap_or(&message)
            .to_owned();
        let path = if self.complaints.len() < COMPLAINTS_MAX {
            json_positions::path_at(piece, offset)
        } else {
            String::new()
        };
        self.wrong_at((piece, offset), joined(origin, &path), why);
    }

    /// Parses a piece, or adds a complaint.
    pub(super) fn read<T: Deserialize<'a>>(&mut self, piece: &'a str, origin: &str) -> Option<T> {
        serde_json::from_str(piece)
            .map_err(|error| self.unreadable(piece, origin, &error))
            .ok()
    }

    /// Adds violations that the engine found, each at the piece whose path its field begins with.
    pub(super) fn refused(&mut self, found: Vec<FieldViolation>) {
        for violation in found {
            let known = self
                .origins
                .iter()
                .filter(|(origin, _)| violation.field.starts_with(origin.as_str()));
            let Some((origin, piece)) = known.max_by_key(|(origin, _)| origin.len()) else {
                self.wrong(self.whole, "", &violation.field, violation.description);
                continue;
            };
            let (origin, piece) = (origin.clone(), *piece);
            let field = violation.field[origin.len()..]
                .trim_start_matches('.')
                .to_owned();
            self.wrong(piece, &origin, &field, violation.description);
        }
    }

    /// Remembers the piece of a path, for violations that the engine finds.
    pub(super) fn remember(&mut self, origin: String, piece: &'a str) {
        self.origins.insert(origin, piece);
    }
}

/// The path of a field below a path; either may be empty.
pub(super) fn joined(origin: &str, field: &str) -> String {
    match (origin, field) {
        ("", field) => field.to_owned(),
        (origin, "") => origin.to_owned(),
        (origin, field) if field.starts_with('[') => format!("{origin}{field}"),
        (origin, field) => format!("{origin}.{field}"),
    }
}
