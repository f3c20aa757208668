//! The personal facts of an appointment: everything that redaction removes, and nothing that it
//! keeps.
//!
//! They are stored in the appointment's row alone. The change log has none of them, so that they
//! can be erased; lists, watches and the history of an appointment show them as they are now.

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

/// The folded form of an e-mail address, by which it is looked up: all spellings of one address
/// have one key. Requests are folded where they are parsed. Empty = no address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EmailKey(Option<Arc<str>>);

impl EmailKey {
    /// The key of an address that is folded already.
    pub fn from_folded(folded: &str) -> Self {
        Self((!folded.is_empty()).then(|| folded.into()))
    }

    /// The folded address.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// An e-mail address as it was written, with its key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Email {
    /// The address as the client wrote it, with one `@`; or empty.
    pub written: String,
    /// The key of the address.
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

/// The texts of an appointment besides its invitee, as the client wrote them. The fields have the
/// names of the contract.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Free text, at most 4,000 characters.
    pub note: String,
    /// The client's own keys.
    pub metadata: Metadata,
    /// The place: a room, a link or, for a house call, an address. At most 500 characters.
    pub location: String,
}

impl Carried {
    /// The name of each field, and the bytes of its texts: 0 where it is empty.
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

    /// The names of the fields that are not empty.
    pub fn said(&self) -> Vec<&'static str> {
        self.bytes()
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, _)| name)
            .collect()
    }

    /// The named fields of this value, and the other fields of `before`.
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

/// All texts about a person in an appointment. A redacted appointment has the default value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Person {
    /// The person who booked.
    pub invitee: Invitee,
    /// The other texts.
    pub carried: Carried,
    /// The reason of its cancellation or refusal, at most 4,000 characters.
    pub cancel_reason: String,
}

impl Person {
    /// The bytes of all texts together.
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

/// The personal fields of a request that claims time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonDetails {
    /// The person who books; none only for holds, and where a hold has the invitee already.
    pub invitee: Option<Invitee>,
    /// The other texts.
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

    /// The person of a hold that becomes an appointment. Fields of the request replace those of the
    /// hold; metadata has the keys of both.
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

/// The personal fields that UpdateAppointment changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonPatch {
    /// The new invitee; none = as it is.
    pub invitee: Option<Invitee>,
    /// The new values of `fields`.
    pub carried: Carried,
    /// The names of the fields of `carried` that are changed.
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
