//! An appointment as a row, both ways. A row that cannot be an appointment is damage.

use rusqlite::{Row, Statement, params};

use crate::domain::appointment::{Appointment, AppointmentState, Invitee};
use crate::domain::appointment_type::Stamps;
use crate::domain::ids::{AppointmentId, AppointmentKey, Revision, SeriesId, TypeId};
use crate::domain::time::{Instant, Minutes, Wall};
use crate::store::StoreError;
use crate::store::record::{self, MetadataRecord, PlacesRecord, decode, ignored_bits, ignored_rules};
use prost::Message;
use uuid::Uuid;

/// The columns of an appointment, in the order of `read` and `write`.
pub(super) const COLUMNS: &str = "a.key, a.id, a.type_id, a.start, a.duration, a.state, a.blocks, a.expire_time, \
     a.time_zone, a.local_start, a.places, a.invitee_name, a.invitee_email, a.invitee_phone, a.invitee_time_zone, \
     a.note, a.metadata, a.cancel_reason, a.series, a.sequence, a.ignored_rules, a.create_time, a.update_time, \
     a.revision";

/// Inserts or replaces a row.
pub(super) const PUT_APPOINTMENT: &str = "insert into appointments (key, id, type_id, start, duration, state, blocks, \
     expire_time, time_zone, local_start, places, invitee_name, invitee_email, invitee_phone, invitee_time_zone, note, \
     metadata, cancel_reason, series, sequence, ignored_rules, create_time, update_time, revision) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
     ?24)";

/// Changes what may change of a row.
pub(super) const UPDATE_APPOINTMENT: &str = "update appointments set id = ?2, type_id = ?3, start = ?4, duration = ?5, \
     state = ?6, blocks = ?7, expire_time = ?8, time_zone = ?9, local_start = ?10, places = ?11, invitee_name = ?12, \
     invitee_email = ?13, invitee_phone = ?14, invitee_time_zone = ?15, note = ?16, metadata = ?17, \
     cancel_reason = ?18, series = ?19, sequence = ?20, ignored_rules = ?21, create_time = ?22, update_time = ?23, \
     revision = ?24 where key = ?1";

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} of an appointment cannot be read"))
}

/// A column with a revision.
pub(super) fn revision(row: &Row<'_>, column: usize) -> Result<Revision, StoreError> {
    record::revision(row.get::<_, i64>(column)?)
}

/// A column with the key of an appointment.
pub(super) fn key(row: &Row<'_>, column: usize) -> Result<AppointmentKey, StoreError> {
    record::key(row.get::<_, i64>(column)?)
}

pub(super) fn appointment_id(row: &Row<'_>, column: usize) -> Result<AppointmentId, StoreError> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|_| damaged("the id"))?;
    Uuid::from_slice(bytes).map(AppointmentId).map_err(|_| damaged("the id"))
}

/// The integer as SQLite keeps it: keys and revisions never reach the 64th bit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("2^63 rows take centuries")
}

/// A text column in which nothing is null.
fn text(row: &Row<'_>, column: usize) -> Result<String, StoreError> {
    Ok(row.get::<_, Option<String>>(column)?.unwrap_or_default())
}

pub(super) fn read(row: &Row<'_>) -> Result<Appointment, StoreError> {
    let state = row.get::<_, u8>(5)?;
    let metadata = row.get_ref(16)?.as_blob_or_null().map_err(|_| damaged("the metadata"))?;
    let metadata = metadata.map(|bytes| decode::<MetadataRecord>(bytes, "metadata")).transpose()?;
    let places = row.get_ref(10)?.as_blob().map_err(|_| damaged("the calendars"))?;
    let series = row.get::<_, Option<[u8; 16]>>(18)?;
    Ok(Appointment {
        id: appointment_id(row, 1)?,
        key: key(row, 0)?,
        places: decode::<PlacesRecord>(places, "the calendars of an appointment")?.read()?,
        type_id: TypeId::parse(row.get_ref(2)?.as_str().map_err(|_| damaged("the type"))?)
            .map_err(|_| damaged("the type"))?,
        start: Instant::from_seconds(row.get(3)?),
        duration: Minutes::new(row.get(4)?).ok_or_else(|| damaged("the duration"))?,
        time_zone: row.get::<_, String>(8)?.into(),
        local_start: Wall::from_seconds(row.get(9)?),
        state: AppointmentState::from_number(state).ok_or_else(|| damaged("the state"))?,
        blocks: row.get(6)?,
        expire_time: row.get::<_, Option<i64>>(7)?.map(Instant::from_seconds),
        invitee: Invitee {
            name: text(row, 11)?,
            email: text(row, 12)?,
            phone: text(row, 13)?,
            time_zone: text(row, 14)?,
        },
        note: text(row, 15)?,
        metadata: metadata.map(|it| it.entries).unwrap_or_default(),
        cancel_reason: text(row, 17)?,
        series: series.map(|bytes| SeriesId(Uuid::from_bytes(bytes))),
        sequence: row.get(19)?,
        ignored_rules: ignored_rules(row.get(20)?),
        stamps: Stamps {
            create_time: Instant::from_seconds(row.get(21)?),
            update_time: Instant::from_seconds(row.get(22)?),
            revision: revision(row, 23)?,
        },
    })
}

/// Null for an empty text, so that partial indexes stay small.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn write(statement: &mut Statement<'_>, it: &Appointment) -> rusqlite::Result<usize> {
    let metadata = (!it.metadata.is_empty()).then(|| MetadataRecord { entries: it.metadata.clone() }.encode_to_vec());
    statement.execute(params![
        signed(it.key.0),
        it.id.0.as_bytes(),
        it.type_id.as_str(),
        it.start.seconds(),
        it.duration.minutes(),
        it.state as u8,
        it.blocks,
        it.expire_time.map(Instant::seconds),
        &*it.time_zone,
        it.local_start.seconds(),
        PlacesRecord::new(&it.places).encode_to_vec(),
        filled(&it.invitee.name),
        filled(&it.invitee.email),
        filled(&it.invitee.phone),
        filled(&it.invitee.time_zone),
        filled(&it.note),
        metadata,
        filled(&it.cancel_reason),
        it.series.map(|series| series.0.into_bytes()),
        it.sequence,
        ignored_bits(it.ignored_rules),
        it.stamps.create_time.seconds(),
        it.stamps.update_time.seconds(),
        signed(it.stamps.revision.0),
    ])
}
