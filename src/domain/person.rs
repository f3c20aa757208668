//! What of an appointment is personal: everything that redaction removes, and nothing that it keeps.
//!
//! Personal facts lie in the appointment's row alone. The change log has none of them, so that they can be erased; lists,
//! watches and the history of an appointment show them as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest name of a person, calendar or type, in characters.
pub const NAME_CHARACTERS_MAX: usize = 200;
/// The longest note or reason, in characters.
pub const NOTE_CHARACTERS_MAX: usize = 4_000;
/// The longest location, in characters.
pub const LOCATION_CHARACTERS_MAX: usize = 500;
/// The most keys of a `metadata` map.
pub const METADATA_KEYS_MAX: usize = 50;
/// The longest metadata key, in characters.
pub const METADATA_KEY_CHARACTERS_MAX: usize = 100;
/// The longest metadata value, in characters.
pub const METADATA_VALUE_CHARACTERS_MAX: usize = 1_000;

/// The client's own keys and values.
pub type Metadata = BTreeMap<String, String>;

/// An e-mail address in the form by which it is found: two spellings of one address have one key. Made where requests
/// are parsed; empty where there is no address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EmailKey(Option<Arc<str>>);

impl EmailKey {
    /// The key as its maker folded it.
    pub fn from_folded(folded: &str) -> Self {
        Self((!folded.is_empty()).then(|| folded.into()))
    }

    /// The folded address.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it stands for no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// An e-mail address as it was written, with its key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Email {
    /// Empty, or an address with one `@`; given back as it was written.
    pub written: String,
    /// By which it is found.
    pub key: EmailKey,
}

/// The person who books.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Invitee {
    /// At most 200 characters; empty on holds, and once redacted.
    pub name: String,
    /// At most 254 characters.
    pub email: Email,
    /// Free text, at most 200 characters.
    pub phone: String,
    /// Empty, or an IANA name.
    pub time_zone: String,
}

/// Everything that somebody wrote about a person in an appointment. A redacted appointment has the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Person {
    /// Who booked.
    pub invitee: Invitee,
    /// Free text, at most 4,000 characters.
    pub note: String,
    /// The client's own keys.
    pub metadata: Metadata,
    /// Where it takes place: a room, a link or, of a house call, somebody's address. At most 500 characters.
    pub location: String,
    /// Why it was cancelled or declined, at most 4,000 characters.
    pub cancel_reason: String,
}

impl Person {
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let Self { invitee, note, metadata, location, cancel_reason } = self;
        let Invitee { name, email, phone, time_zone } = invitee;
        let Email { written, key } = email;
        let texts = [name, written, phone, time_zone, note, location, cancel_reason].map(String::len);
        texts.iter().sum::<usize>() + key.as_str().len() + metadata_bytes(metadata)
    }
}

/// The bytes of keys and values.
pub fn metadata_bytes(metadata: &Metadata) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// What a request that claims time says of the person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonDetails {
    /// Who books; none only on holds, and where the hold says it.
    pub invitee: Option<Invitee>,
    /// See `Person`.
    pub note: String,
    /// See `Person`.
    pub metadata: Metadata,
    /// See `Person`.
    pub location: String,
}

impl PersonDetails {
    /// The person of a new appointment.
    pub fn person(&self) -> Person {
        let Self { invitee, note, metadata, location } = self.clone();
        Person { invitee: invitee.unwrap_or_default(), note, metadata, location, cancel_reason: String::new() }
    }

    /// What becomes of a hold's person when it turns into an appointment: what is said here goes before what the hold
    /// says, and the keys of both are kept.
    pub fn over(&self, held: &Person) -> Person {
        let Self { invitee, note, metadata, location } = self.clone();
        let said = |said: String, held: &String| if said.is_empty() { held.clone() } else { said };
        Person {
            invitee: invitee.unwrap_or_else(|| held.invitee.clone()),
            note: said(note, &held.note),
            metadata: held.metadata.clone().into_iter().chain(metadata).collect(),
            location: said(location, &held.location),
            cancel_reason: held.cancel_reason.clone(),
        }
    }
}

/// What UpdateAppointment changes of a person; none = as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonPatch {
    /// See `Person`.
    pub invitee: Option<Invitee>,
    /// See `Person`.
    pub note: Option<String>,
    /// See `Person`.
    pub metadata: Option<Metadata>,
    /// See `Person`.
    pub location: Option<String>,
}

impl PersonPatch {
    /// The person after the change.
    pub fn applied_to(self, before: &Person) -> Person {
        let Self { invitee, note, metadata, location } = self;
        let before = before.clone();
        Person {
            invitee: invitee.unwrap_or(before.invitee),
            note: note.unwrap_or(before.note),
            metadata: metadata.unwrap_or(before.metadata),
            location: location.unwrap_or(before.location),
            cancel_reason: before.cancel_reason,
        }
    }
}
