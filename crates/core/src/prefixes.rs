//! A part of all calendars, by the prefixes of their ids: what a caller may see and change.
//!
//! `acme/` has `acme/ada`, and neither `acme` nor `acmeX/ada`.

use std::fmt;
use std::sync::Arc;

use crate::ids::{CalendarId, ID_CHARACTERS_MAX};

/// The end of every prefix of a grant: so no prefix has calendars of another tenant whose name only
/// begins alike.
const END: char = '/';

/// The text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be empty, or at most 128 letters, digits or . _ - @ + : / that begin with a letter or \
     digit and end in /"
)]
pub struct InvalidPrefix;

/// Calendars by the prefixes of their ids. Copies share the prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefixes {
    /// Sorted, and none the beginning of another; none = all calendars.
    some: Option<Arc<[Arc<str>]>>,
}

impl Prefixes {
    /// All calendars.
    pub const ALL: Self = Self { some: None };

    /// No calendar.
    pub fn nothing() -> Self {
        Self::of([])
    }

    /// The calendars of one grant; an empty prefix has all.
    ///
    /// # Errors
    ///
    /// The text is not empty and does not end in `/`, or no id could begin with it.
    pub fn parse(prefix: &str) -> Result<Self, InvalidPrefix> {
        if prefix.is_empty() {
            return Ok(Self::ALL);
        }
        let is_prefix = prefix.ends_with(END)
            && prefix.len() <= ID_CHARACTERS_MAX
            && CalendarId::parse(prefix).is_ok();
        is_prefix
            .then(|| Self::of([prefix.into()]))
            .ok_or(InvalidPrefix)
    }

    /// The calendars whose ids begin with this text, which need not end in `/`.
    pub fn beginning_with(text: &str) -> Self {
        if text.is_empty() {
            Self::ALL
        } else {
            Self::of([text.into()])
        }
    }

    fn of(prefixes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut sorted: Vec<Arc<str>> = prefixes.into_iter().collect();
        sorted.sort_unstable();
        // A prefix comes before everything that begins with it.
        sorted.dedup_by(|later, earlier| later.starts_with(&**earlier));
        Self {
            some: Some(sorted.into()),
        }
    }

    /// Whether these are all calendars.
    pub const fn is_all(&self) -> bool {
        self.some.is_none()
    }

    /// Whether no calendar can be among them.
    pub fn is_nothing(&self) -> bool {
        self.some.as_ref().is_some_and(|some| some.is_empty())
    }

    /// The prefixes, sorted; one empty prefix for all calendars.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let all = self.is_all().then_some("");
        let some = self.some.iter().flat_map(|some| some.iter());
        all.into_iter().chain(some.map(|prefix| &**prefix))
    }

    /// Whether a calendar with this id is among them.
    pub fn has(&self, calendar: &str) -> bool {
        self.iter().any(|prefix| calendar.starts_with(prefix))
    }

    /// Whether every calendar of `others` is among them.
    pub fn include(&self, others: &Self) -> bool {
        others.iter().all(|prefix| self.has(prefix))
    }

    /// The calendars that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if other.is_all() {
            return self.clone();
        }
        if self.is_all() {
            return other.clone();
        }
        // Of two prefixes with common calendars one begins with the other: the longer one has them.
        let of = |one: &Self, other: &Self| -> Vec<Arc<str>> {
            let some = one.some.iter().flat_map(|some| some.iter());
            some.filter(|prefix| other.has(prefix)).cloned().collect()
        };
        Self::of(of(self, other).into_iter().chain(of(other, self)))
    }

    /// The calendars that are in one of them.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        match (&self.some, &other.some) {
            (Some(these), Some(those)) => Self::of(these.iter().chain(those.iter()).cloned()),
            _ => Self::ALL,
        }
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.some {
            None => f.write_str("all calendars"),
            Some(some) if some.is_empty() => f.write_str("no calendars"),
            Some(some) => f.write_str(&some.join(", ")),
        }
    }
}
