//! Fields about a person: invitee, e-mail address, location, and metadata of the client.
//!
//! Limits are those of the core's `person`, so that everything that is read here can be stored.

use std::collections::BTreeMap;

use crate::fold;
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::appointment::person::{
    METADATA_KEY_CHARACTERS_MAX, METADATA_KEYS_MAX, METADATA_VALUE_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
};
use bookd_core::appointment::{Email, Invitee};

use crate::api::convert::parse::Fields;

/// Reads the `Carried` of any message that has it: the fields have the same names in each of them.
macro_rules! carried {
    ($message:expr, $fields:expr) => {{
        use bookd_core::appointment::person::{
            Carried, LOCATION_CHARACTERS_MAX, NOTE_CHARACTERS_MAX,
        };
        let note = $fields.note("note", &$message.note, NOTE_CHARACTERS_MAX);
        let metadata = $fields.metadata("metadata", &$message.metadata);
        let location = $fields.text("location", &$message.location, LOCATION_CHARACTERS_MAX);
        note.zip(metadata)
            .zip(location)
            .map(|((note, metadata), location)| Carried {
                note,
                metadata,
                location,
            })
    }};
}
pub(crate) use carried;

impl Fields {
    /// An address with the key by which it is found; empty if the field is.
    pub(crate) fn email(&mut self, field: &str, text: &str) -> Option<Email> {
        self.address(field, text).map(fold::email)
    }

    /// Empty, or an address: one `@` between a local part of at most 64 characters and a domain,
    /// and no space.
    pub(crate) fn address(&mut self, field: &str, text: &str) -> Option<String> {
        if text.is_empty() || fold::is_address(text) {
            return Some(text.to_owned());
        }
        self.wrong(field, "must be an e-mail address such as ada@example.com")
    }

    pub(crate) fn metadata(
        &mut self,
        field: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Option<BTreeMap<String, String>> {
        if metadata.len() > METADATA_KEYS_MAX {
            return self.wrong(field, format!("must have at most {METADATA_KEYS_MAX} keys"));
        }
        let mut is_valid = true;
        for (key, value) in metadata {
            let path = format!("{field}[{}]", key.chars().take(40).collect::<String>());
            is_valid &= self
                .text(&path, key, METADATA_KEY_CHARACTERS_MAX)
                .is_some_and(|key| {
                    !key.is_empty() || {
                        self.wrong::<()>(&path, "a key must not be empty").is_some()
                    }
                });
            is_valid &= self
                .note(&path, value, METADATA_VALUE_CHARACTERS_MAX)
                .is_some();
        }
        is_valid.then(|| metadata.clone())
    }

    /// The invitee; the name must not be empty if `is_required`.
    pub(crate) fn invitee(
        &mut self,
        zones: &Zones,
        invitee: &pb::Invitee,
        is_required: bool,
    ) -> Option<Invitee> {
        let name = self.text("invitee.name", &invitee.name, NAME_CHARACTERS_MAX);
        let name = match name {
            Some(name) if name.is_empty() && is_required => {
                self.wrong("invitee.name", "is required")
            }
            name => name,
        };
        let email = self.email("invitee.email", &invitee.email);
        let phone = self.text("invitee.phone", &invitee.phone, NAME_CHARACTERS_MAX);
        let zone = self.optional_zone(zones, "invitee.time_zone", &invitee.time_zone);
        Some(Invitee {
            name: name?,
            email: email?,
            phone: phone?,
            time_zone: zone.map(|_| invitee.time_zone.clone())?,
        })
    }
}
