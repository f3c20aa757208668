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

/// What an appointment carries beside its invitee, as its client wrote it. The fields are the messages' own, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Free text, at most 4,000 characters.
    pub note: String,
    /// The client's own keys.
    pub metadata: Metadata,
    /// Where it takes place: a room, a link or, of a house call, somebody's address. At most 500 characters.
    pub location: String,
}

impl Carried {
    /// The name of each field, and the bytes of what it says: 0 where it says nothing.
    pub fn bytes(&self) -> [(&'static str, usize); 3] {
        let Self {
            note,
            metadata,
            location,
        } = self;
        let metadata = metadata
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        [
            ("note", note.len()),
            ("metadata", metadata),
            ("location", location.len()),
        ]
    }

    /// The names of the fields that say something.
    pub fn said(&self) -> Vec<&'static str> {
        self.bytes()
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, _)| name)
            .collect()
    }

    /// These fields of it, and of the others what there was before.
    fn over(self, before: Self, fields: &[&'static str]) -> Self {
        let Self {
            note,
            metadata,
            location,
        } = self;
        let is_of = |name| fields.contains(&name);
        Self {
            note: if is_of("note") { note } else { before.note },
            metadata: if is_of("metadata") {
                metadata
            } else {
                before.metadata
            },
            location: if is_of("location") {
                location
            } else {
                before.location
            },
        }
    }
}

/// Everything that somebody wrote about a person in an appointment. A redacted appointment has the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Person {
    /// Who booked.
    pub invitee: Invitee,
    /// What else was written.
    pub carried: Carried,
    /// Why it was cancelled or declined, at most 4,000 characters.
    pub cancel_reason: String,
}

impl Person {
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let Self {
            invitee,
            carried,
            cancel_reason,
        } = self;
        let Invitee {
            name,
            email,
            phone,
            time_zone,
        } = invitee;
        let Email { written, key } = email;
        let texts = [name, written, phone, time_zone, cancel_reason].map(String::len);
        let carried = carried.bytes().map(|(_, bytes)| bytes);
        texts.iter().chain(&carried).sum::<usize>() + key.as_str().len()
    }
}

/// What a request that claims time says of the person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonDetails {
    /// Who books; none only on holds, and where the hold says it.
    pub invitee: Option<Invitee>,
    /// See `Person`.
    pub carried: Carried,
}

impl PersonDetails {
    /// The person of a new appointment.
    pub fn person(&self) -> Person {
        let Self { invitee, carried } = self.clone();
        Person {
            invitee: invitee.unwrap_or_default(),
            carried,
            cancel_reason: String::new(),
        }
    }

    /// What becomes of a hold's person when it turns into an appointment: what is said here goes before what the hold
    /// says, and the keys of both are kept.
    pub fn over(&self, held: &Person) -> Person {
        let (
            Self {
                invitee,
                carried: mut said,
            },
            held,
        ) = (self.clone(), held.clone());
        let fields = said.said();
        said.metadata = held
            .carried
            .metadata
            .clone()
            .into_iter()
            .chain(said.metadata)
            .collect();
        Person {
            invitee: invitee.unwrap_or(held.invitee),
            carried: said.over(held.carried, &fields),
            cancel_reason: held.cancel_reason,
        }
    }
}

/// What UpdateAppointment changes of a person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonPatch {
    /// None = as it is.
    pub invitee: Option<Invitee>,
    /// See `Person`.
    pub carried: Carried,
    /// The names of those fields of `carried` that are changed.
    pub fields: Vec<&'static str>,
}

impl PersonPatch {
    /// The person after the change.
    pub fn applied_to(self, before: &Person) -> Person {
        let (
            Self {
                invitee,
                carried,
                fields,
            },
            before,
        ) = (self, before.clone());
        Person {
            invitee: invitee.unwrap_or(before.invitee),
            carried: carried.over(before.carried, &fields),
            cancel_reason: before.cancel_reason,
        }
    }
}
