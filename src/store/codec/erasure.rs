//! Edits of stored blobs when a tenant is deleted: other ids for its calendars, and its own parts
//! taken out.
//!
//! A blob is edited field by field and not read and written anew, so that records of every schema
//! keep what else they have.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::change::EventRecord;
use super::numbers::calendar_event as kind;
use super::place::PlaceRecord;
use super::record::decode;
use super::replaced::ReplacedRecord;
use crate::store::StoreError;
use bookd_core::prefixes::Prefixes;

/// The ids of the calendars that stay, each with its new id.
pub(crate) type NewIds = HashMap<String, String>;

fn rename(id: &mut String, new_ids: &NewIds) {
    if let Some(new) = new_ids.get(id) {
        new.clone_into(id);
    }
}

fn rename_places(places: &mut [PlaceRecord], new_ids: &NewIds) {
    for place in places {
        rename(&mut place.calendar, new_ids);
    }
}

/// An event with other ids of calendars. `touch` is called with each calendar that has one, and
/// with the revision that touched it before; it answers the revision to write instead.
pub(crate) fn with_new_ids(
    event: &[u8],
    new_ids: &NewIds,
    mut touch: impl FnMut(&str, u64) -> u64,
) -> Result<Bytes, StoreError> {
    let mut event: EventRecord = decode(event, "an event")?;
    for image in event.before.iter_mut().chain(&mut event.after) {
        image
            .calendars
            .iter_mut()
            .for_each(|id| rename(id, new_ids));
        rename_places(&mut image.places, new_ids);
    }
    for touched in &mut event.calendars {
        if let Some(new) = new_ids.get(&touched.calendar) {
            new.clone_into(&mut touched.calendar);
            touched.previous = touch(new, touched.previous);
        }
    }
    event
        .calendars
        .sort_by(|one, other| one.calendar.cmp(&other.calendar));
    Ok(event.encode_to_vec().into())
}

/// Whether an event of a calendar is its creation or its deletion.
pub(crate) fn begins_or_ends_a_calendar(event: &[u8]) -> Result<bool, StoreError> {
    let event: EventRecord = decode(event, "an event")?;
    Ok(matches!(event.kind, kind::CREATED | kind::DELETED))
}

/// What a change replaced, without what it replaced on these calendars; none if nothing is left.
pub(crate) fn replaced_elsewhere(
    replaced: &[u8],
    theirs: &Prefixes,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut record: ReplacedRecord = decode(replaced, "what a change replaced")?;
    record.earlier.retain(|it| !theirs.has(&it.calendar));
    Ok((!record.earlier.is_empty()).then(|| record.encode_to_vec()))
}
