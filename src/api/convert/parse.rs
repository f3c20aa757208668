//! Fields of requests: each reader returns the value or notes a violation, so that one refusal
//! names all violations.
//!
//! After a request is read there is no text in it that could be wrong.

use std::collections::HashSet;
use std::fmt::Display;

use uuid::Uuid;

use crate::proto::v1 as pb;
use bookd_core::appointment::person::NOTE_CHARACTERS_MAX;
use bookd_core::appointment::{Assignment, CALENDARS_MAX, IgnoredRules};
use bookd_core::field_violation::FieldViolation;
use bookd_core::ids::{AppointmentId, CalendarId, Etag, TypeId};
use bookd_core::refusal::Refusal;

/// The longest `request_id`, in characters.
pub const REQUEST_ID_CHARACTERS_MAX: usize = 64;
/// Items of a page whose request names no size.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// The most items of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Characters of an unknown path of a mask that the violation repeats: the caller may send any
/// path.
const QUOTED_PATH_CHARACTERS_MAX: usize = 60;

/// The violations of one request, noted while its fields are read.
///
/// A reader that returns `None` has noted why. A reader of an optional field returns `Some(None)`
/// where the field is empty.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    violations: Vec<FieldViolation>,
    /// A field asks for what only staff may.
    is_for_staff: bool,
}

impl Fields {
    /// Notes a violation; always `None`.
    pub(crate) fn wrong<T>(&mut self, field: &str, description: impl Into<String>) -> Option<T> {
        self.violations
            .push(FieldViolation::new(field, description));
        None
    }

    /// Whether a field that was read asks for what only staff may.
    pub(crate) fn is_for_staff(&self) -> bool {
        self.is_for_staff
    }

    /// Notes violations that the core found while it read a field.
    pub(crate) fn note_all(&mut self, violations: Vec<FieldViolation>) {
        self.violations.extend(violations);
    }

    /// The value, or `None` after noting the error.
    pub(crate) fn accept<T, E: Display>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => self.wrong(field, error.to_string()),
        }
    }

    /// The refusal of a request for one violation that is found after its fields are read.
    pub(crate) fn wrong_only(field: &str, description: impl Into<String>) -> Refusal {
        Refusal::FieldInvalid(vec![FieldViolation::new(field, description)])
    }

    /// Takes over the violations of a message inside this one: `from` at the beginning of a path
    /// becomes `to`.
    pub(crate) fn take_over(&mut self, inner: Self, from: &str, to: &str) {
        self.is_for_staff |= inner.is_for_staff;
        let renamed = |path: &str| format!("{to}{}", path.strip_prefix(from).unwrap_or(path));
        let violations = inner.violations.into_iter();
        self.violations
            .extend(violations.map(|violation| FieldViolation {
                field: renamed(&violation.field),
                ..violation
            }));
    }

    /// The value that was read, or all violations.
    pub(crate) fn finish_with<T>(self, read: Option<T>) -> Result<T, Vec<FieldViolation>> {
        match read {
            Some(read) if self.violations.is_empty() => Ok(read),
            _ => Err(self.violations),
        }
    }

    /// The request, or a refusal with all violations.
    pub(crate) fn finish<T>(self, request: Option<T>) -> Result<T, Refusal> {
        self.finish_with(request).map_err(Refusal::FieldInvalid)
    }

    pub(crate) fn calendar_id(&mut self, field: impl Display, text: &str) -> Option<CalendarId> {
        match CalendarId::parse(text) {
            Ok(id) => Some(id),
            Err(error) => self.wrong(&field.to_string(), error.to_string()),
        }
    }

    pub(crate) fn optional_calendar_id(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<Option<CalendarId>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.calendar_id(field, text).map(Some)
        }
    }

    pub(crate) fn type_id(&mut self, field: &str, text: &str) -> Option<TypeId> {
        self.accept(field, TypeId::parse(text))
    }

    pub(crate) fn appointment_id(&mut self, field: &str, text: &str) -> Option<AppointmentId> {
        // Only the hyphenated form is taken, so that one appointment has one name.
        let id = (text.len() == 36)
            .then(|| Uuid::try_parse(text).ok())
            .flatten()
            .filter(|id| !id.is_nil());
        match id {
            Some(id) => Some(AppointmentId(id)),
            None => self.wrong(
                field,
                "must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91",
            ),
        }
    }

    pub(crate) fn optional_appointment_id(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<Option<AppointmentId>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.appointment_id(field, text).map(Some)
        }
    }

    /// `calendar_id`, or `calendar_ids` with their assignment.
    pub(crate) fn calendars(
        &mut self,
        one: &str,
        several: &[String],
        assignment: i32,
    ) -> Option<(Vec<CalendarId>, Assignment)> {
        if several.is_empty() {
            return Some((vec![self.calendar_id("calendar_id", one)?], Assignment::All));
        }
        if !one.is_empty() {
            return self.wrong("calendar_id", "cannot stand beside calendar_ids");
        }
        self.several("calendar_ids", several, assignment)
    }

    /// Distinct calendars, and whether an appointment takes all of them or any.
    pub(crate) fn several(
        &mut self,
        field: &str,
        several: &[String],
        assignment: i32,
    ) -> Option<(Vec<CalendarId>, Assignment)> {
        if several.len() > CALENDARS_MAX {
            return self.wrong(field, format!("at most {CALENDARS_MAX} calendars"));
        }
        let ids: Vec<_> = several
            .iter()
            .enumerate()
            .map(|(n, id)| self.calendar_id(format_args!("{field}[{n}]"), id))
            .collect();
        let ids = ids.into_iter().collect::<Option<Vec<_>>>()?;
        let mut seen = HashSet::with_capacity(ids.len());
        if let Some(n) = ids.iter().position(|id| !seen.insert(id)) {
            return self.wrong(
                &format!("{field}[{n}]"),
                format!("{} is named twice", ids[n]),
            );
        }
        let assignment = match pb::Assignment::try_from(assignment) {
            Ok(pb::Assignment::All) => Assignment::All,
            Ok(pb::Assignment::Any) => Assignment::Any,
            Ok(pb::Assignment::Unspecified) if ids.len() < 2 => Assignment::All,
            _ => {
                return self.wrong(
                    "assignment",
                    "must be ASSIGNMENT_ALL or ASSIGNMENT_ANY with several calendars",
                );
            }
        };
        Some((ids, assignment))
    }

    /// One line of at most `characters_max` characters, without control characters and space
    /// around.
    pub(crate) fn text(
        &mut self,
        field: &str,
        text: &str,
        characters_max: usize,
    ) -> Option<String> {
        if text.trim() != text {
            return self.wrong(field, "must have no space around");
        }
        if text.chars().any(char::is_control) {
            return self.wrong(field, "must be one line without control characters");
        }
        self.note(field, text, characters_max)
    }

    /// Free text of at most `characters_max` characters.
    pub(crate) fn note(
        &mut self,
        field: &str,
        text: &str,
        characters_max: usize,
    ) -> Option<String> {
        if text.contains('\0') {
            return self.wrong(field, "must not contain NUL");
        }
        if text.chars().count() > characters_max {
            return self.wrong(
                field,
                format!("must have at most {characters_max} characters"),
            );
        }
        Some(text.to_owned())
    }

    pub(crate) fn reason(&mut self, text: &str) -> Option<String> {
        self.note("reason", text, NOTE_CHARACTERS_MAX)
    }

    pub(crate) fn ignored_rules(&mut self, rules: &[i32]) -> Option<IgnoredRules> {
        self.is_for_staff |= !rules.is_empty();
        let mut ignored = IgnoredRules::default();
        for (n, rule) in rules.iter().enumerate() {
            match pb::IgnorableRule::try_from(*rule) {
                Ok(pb::IgnorableRule::OutsideAvailability) => ignored.outside_availability = true,
                Ok(pb::IgnorableRule::Misaligned) => ignored.misaligned = true,
                Ok(pb::IgnorableRule::Notice) => ignored.notice = true,
                Ok(pb::IgnorableRule::Horizon) => ignored.horizon = true,
                Ok(pb::IgnorableRule::Limit) => ignored.limit = true,
                _ => {
                    return self.wrong(
                        &format!("ignore_rules[{n}]"),
                        "is not a rule that can be ignored",
                    );
                }
            }
        }
        Some(ignored)
    }

    pub(crate) fn etag(&mut self, field: &str, text: &str) -> Option<Option<Etag>> {
        if text.is_empty() {
            return Some(None);
        }
        Etag::parse(text)
            .map(Some)
            .or_else(|| self.wrong(field, "is not an etag of this server"))
    }

    /// From 1 to `PAGE_SIZE_MAX`; larger sizes count as the maximum, 0 as `PAGE_SIZE_DEFAULT`.
    pub(crate) fn page_size(&mut self, size: i32) -> Option<usize> {
        match usize::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) => Some(size.min(PAGE_SIZE_MAX)),
            Err(_) => self.wrong("page_size", "must not be negative"),
        }
    }

    pub(crate) fn request_id(&mut self, text: &str) -> Option<()> {
        let is_id = text.chars().count() <= REQUEST_ID_CHARACTERS_MAX
            && !text.chars().any(char::is_control);
        if is_id {
            return Some(());
        }
        self.wrong(
            "request_id",
            format!(
                "must have at most {REQUEST_ID_CHARACTERS_MAX} characters, none of them control \
                 characters"
            ),
        )
    }
}

/// The fields that a mask names, each one of `known`; `*` means all of them.
pub(crate) fn fields_of_mask(
    mask: &prost_types::FieldMask,
    known: &[&'static str],
    fields: &mut Fields,
) -> Option<Vec<&'static str>> {
    let mut named = Vec::new();
    for path in &mask.paths {
        match known.iter().find(|name| *name == path) {
            Some(name) => named.push(*name),
            None if path == "*" && mask.paths.len() == 1 => return Some(known.to_vec()),
            None => {
                let known = known.join(", ");
                let shown: String = path.chars().take(QUOTED_PATH_CHARACTERS_MAX).collect();
                return fields.wrong(
                    "update_mask",
                    format!("{shown:?} cannot be changed; name some of {known}, or *"),
                );
            }
        }
    }
    Some(named)
}
