//! The text of a file that is imported, and what is found wrong with it: every piece with its line.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{COMPLAINTS_MAX, json_positions};
use bookd_core::field_violation::FieldViolation;

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// From 1.
    pub line: usize,
    /// Its path; empty for the whole.
    pub field: String,
    /// What must be.
    pub why: String,
}

/// The members of a JSON object in their order, as they stand in the text.
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

/// A text that is read, and what is found wrong with it.
pub(super) struct Text<'a> {
    pub whole: &'a str,
    pub complaints: Vec<Complaint>,
    /// How many more there were than are told.
    pub untold: usize,
    /// Where the calendars and appointments begin, for what the engine finds wrong with them.
    origins: HashMap<String, &'a str>,
}

impl<'a> Text<'a> {
    pub(super) fn new(whole: &'a str) -> Self {
        Self {
            whole,
            complaints: Vec::new(),
            untold: 0,
            origins: HashMap::new(),
        }
    }

    fn offset(&self, piece: &str) -> usize {
        // Every piece is borrowed from the whole.
        (piece.as_ptr() as usize).saturating_sub(self.whole.as_ptr() as usize)
    }

    /// Notes what is wrong at an offset of a piece.
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
            self.untold += 1;
        }
    }

    /// Notes what is wrong with a field of a piece that stands at `origin`.
    pub(super) fn wrong(&mut self, piece: &str, origin: &str, field: &str, why: impl Into<String>) {
        let is_told = self.complaints.len() < COMPLAINTS_MAX;
        let offset = if is_told {
            json_positions::find(piece, field)
        } else {
            0
        };
        self.wrong_at((piece, offset), joined(origin, field), why);
    }

    pub(super) fn all_wrong(&mut self, piece: &str, origin: &str, found: Vec<FieldViolation>) {
        found
            .into_iter()
            .for_each(|it| self.wrong(piece, origin, &it.field, it.description));
    }

    /// Notes what a reader of JSON said of a piece.
    pub(super) fn unreadable(&mut self, piece: &str, origin: &str, error: &serde_json::Error) {
        let offset = json_positions::offset_of(piece, error.line().max(1), error.column());
        let said = error.to_string();
        let why = said.split(" at line ").next().unwrap_or(&said).to_owned();
        let path = if self.complaints.len() < COMPLAINTS_MAX {
            json_positions::path_at(piece, offset)
        } else {
            String::new()
        };
        self.wrong_at((piece, offset), joined(origin, &path), why);
    }

    /// Reads a piece, or notes why it cannot be.
    pub(super) fn read<T: Deserialize<'a>>(&mut self, piece: &'a str, origin: &str) -> Option<T> {
        serde_json::from_str(piece)
            .map_err(|error| self.unreadable(piece, origin, &error))
            .ok()
    }

    /// Notes what the engine found wrong, by the paths that it was given.
    pub(super) fn refused(&mut self, found: Vec<FieldViolation>) {
        for it in found {
            let known = self
                .origins
                .iter()
                .filter(|(origin, _)| it.field.starts_with(origin.as_str()));
            let Some((origin, piece)) = known.max_by_key(|(origin, _)| origin.len()) else {
                self.wrong(self.whole, "", &it.field, it.description);
                continue;
            };
            let (origin, piece) = (origin.clone(), *piece);
            let field = it.field[origin.len()..].trim_start_matches('.').to_owned();
            self.wrong(piece, &origin, &field, it.description);
        }
    }

    /// Where something stands that the engine may find wrong.
    pub(super) fn stands(&mut self, origin: String, piece: &'a str) {
        self.origins.insert(origin, piece);
    }
}

pub(super) fn joined(origin: &str, field: &str) -> String {
    match (origin, field) {
        ("", field) => field.to_owned(),
        (origin, "") => origin.to_owned(),
        (origin, field) if field.starts_with('[') => format!("{origin}{field}"),
        (origin, field) => format!("{origin}.{field}"),
    }
}
