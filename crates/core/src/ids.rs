//! Ids and numbers, each a type of its own so that one cannot be used for another.
//!
//! Every id is valid: `parse` is the only way to make one from a client's text.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// The longest `calendar_id`, `appointment_type_id` or busy `source`, in characters.
pub const ID_CHARACTERS_MAX: usize = 128;

/// The text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 128 letters, digits or . _ - @ + : / and begin with a letter or digit")]
pub struct InvalidId;

fn is_id(text: &str) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-@+:/".contains(byte);
    text.len() <= ID_CHARACTERS_MAX
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && text.as_bytes().iter().all(is_allowed)
}

macro_rules! client_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads an id as a client wrote it. Surrounding space is an error, not trimmed.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
            }

            /// The id as the client wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

client_id! {
    /// The client's name of a calendar; `acme/dr-lee` is how tenants share a server.
    CalendarId
}

client_id! {
    /// The client's name of an appointment type within its calendar.
    TypeId
}

impl TypeId {
    /// The type that every new calendar has.
    pub const DEFAULT: &'static str = "default";

    /// The type named `default`.
    pub fn default_type() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// An appointment type's number within its calendar: never reused, and kept when the type is
/// deleted and created again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeNumber(pub u16);

/// The id of an appointment: a UUID, of version 7 when the server made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppointmentId(pub Uuid);

impl fmt::Display for AppointmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AppointmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The id of a series, which all its occurrences share: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId(pub Uuid);

/// An appointment's row number, given in the order of booking and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AppointmentKey(pub u64);

impl AppointmentKey {
    /// The key after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The number of a committed change; 0 is the empty store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The caller of a command. It scopes request ids, and the change log records it. Without
/// authentication all callers are one, with an empty name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Caller(pub Arc<str>);

impl Default for Caller {
    fn default() -> Self {
        Self("".into())
    }
}

/// An opaque token of one version of a resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Etag(u64);

impl Etag {
    /// The etag of the resource called `name` as the change `revision` left it.
    pub fn of(name: &[u8], revision: Revision) -> Self {
        // FNV-1a, 64 bits: an etag must be stable and opaque. It protects against lost updates, not
        // against attackers.
        let bytes = name.iter().copied().chain(revision.0.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl Etag {
    /// Reads an etag from its text; none when the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_etag = text.len() == 16
            && text
                .bytes()
                .all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
        is_etag
            .then(|| u64::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
