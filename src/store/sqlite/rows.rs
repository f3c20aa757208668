//! Appointments as rows, read and written. A row that cannot be an appointment is damage.
//!
//! `COLUMNS` defines the row: the statements are built from it, and `read` and `write` follow its
//! order.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Row, Statement, params};
use uuid::Uuid;

use crate::store::codec::numbers;
use crate::store::codec::place::PlacesRecord;
use crate::store::codec::record::{self, decode, ignored_bits, ignored_rules, in_row};
use crate::store::codec::row::MetadataRecord;
use crate::store::{Outline, StoreError};
use bookd_core::appointment::{
    Appointment, Carried, Email, EmailKey, Image, Invitee, OccurrenceOf, Person,
};
use bookd_core::ids::{AppointmentId, AppointmentKey, Revision, SeriesId, TypeId};
use bookd_core::time::Instant;

const TABLE: &str = "appointments";

/// The columns of an appointment, in the order of `read` and `write`. The first one is the key, and
/// the first `OUTLINE_COLUMNS` are the columns of `read_outline`.
const COLUMNS: [&str; 28] = [
    "key",
    "id",
    "start",
    "duration",
    "state",
    "expire_time",
    "type_id",
    "create_time",
    "series",
    "original_start",
    "invitee_name",
    "invitee_email",
    "email_key",
    "invitee_phone",
    "invitee_time_zone",
    "note",
    "metadata",
    "location",
    "cancel_reason",
    "places",
    "time_zone",
    "local_start",
    "blocks",
    "session",
    "sequence",
    "ignored_rules",
    "update_time",
    "revision",
];

const OUTLINE_COLUMNS: usize = 7;

/// All columns, for a `select` from the table under the name `a`.
pub(super) static SELECTED: LazyLock<String> =
    LazyLock::new(|| COLUMNS.map(|it| format!("a.{it}")).join(", "));

/// The columns of an outline, for a `select` from the table under the name `a`.
pub(super) static OUTLINED: LazyLock<String> = LazyLock::new(|| {
    COLUMNS[..OUTLINE_COLUMNS]
        .iter()
        .map(|it| format!("a.{it}"))
        .collect::<Vec<_>>()
        .join(", ")
});

/// Inserts a row.
pub(super) static INSERT_APPOINTMENT: LazyLock<String> = LazyLock::new(|| {
    let values: Vec<String> = (1..=COLUMNS.len())
        .map(|number| format!("?{number}"))
        .collect();
    format!(
        "insert into appointments ({}) values ({})",
        COLUMNS.join(", "),
        values.join(", ")
    )
});

/// The columns that never change.
const FIXED: [&str; 5] = ["key", "id", "create_time", "series", "original_start"];
/// The other columns of indexes.
const INDEXED: [&str; 2] = ["start", "email_key"];

/// Updates a row. SQLite takes each column that an update names as changed, and rewrites every
/// index of the column.
pub(super) static UPDATE_APPOINTMENT: LazyLock<String> =
    LazyLock::new(|| update(|it| !FIXED.contains(&it)));

/// Updates a row whose start and address do not change.
pub(super) static UPDATE_IN_PLACE: LazyLock<String> =
    LazyLock::new(|| update(|it| !FIXED.contains(&it) && !INDEXED.contains(&it)));

fn update(is_changed: impl Fn(&str) -> bool) -> String {
    let columns = COLUMNS
        .iter()
        .zip(1..)
        .filter(|(column, _)| is_changed(column));
    let changed: Vec<String> = columns
        .map(|(column, number)| format!("{column} = ?{number}"))
        .collect();
    format!(
        "update appointments set {} where key = ?1",
        changed.join(", ")
    )
}

/// The error of a column that cannot be read.
fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} of an appointment cannot be read"))
}

/// Reads a column with the id of an appointment.
pub(super) fn appointment_id(row: &Row<'_>, column: usize) -> Result<AppointmentId, StoreError> {
    let bytes = row
        .get_ref(column)?
        .as_blob()
        .map_err(|_| damaged("the id"))?;
    Uuid::from_slice(bytes)
        .map(AppointmentId)
        .map_err(|_| damaged("the id"))
}

/// Reads a column with a revision.
pub(super) fn revision(row: &Row<'_>, column: usize) -> Result<Revision, StoreError> {
    record::revision(row.get::<_, i64>(column)?)
}

/// Reads a column with the revision of a change, which is never 0.
pub(super) fn revision_of_change(row: &Row<'_>, column: usize) -> Result<Revision, StoreError> {
    record::revision_of_change(row.get::<_, i64>(column)?)
}

/// Reads a column with the key of an appointment.
pub(super) fn key(row: &Row<'_>, column: usize) -> Result<AppointmentKey, StoreError> {
    record::key(row.get::<_, i64>(column)?)
}

/// Reads a column with an instant.
pub(super) fn instant(row: &Row<'_>, column: usize) -> Result<Instant, StoreError> {
    record::instant(row.get(column)?)
}

/// A key or revision as SQLite's signed integer: neither ever reaches 2^63.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("2^63 rows take centuries")
}

/// A row that is read column by column, in order.
struct Columns<'r, 'stmt> {
    row: &'r Row<'stmt>,
    /// The next column.
    at: usize,
}

impl<'r> Columns<'r, '_> {
    fn next<T: FromSql>(&mut self) -> Result<T, StoreError> {
        let value = self.row.get(self.at)?;
        self.at += 1;
        Ok(value)
    }

    fn raw(&mut self) -> Result<ValueRef<'r>, StoreError> {
        let value = self.row.get_ref(self.at)?;
        self.at += 1;
        Ok(value)
    }

    /// A text, which is null when it is empty.
    fn text(&mut self) -> Result<String, StoreError> {
        Ok(self.next::<Option<String>>()?.unwrap_or_default())
    }

    fn instant(&mut self) -> Result<Instant, StoreError> {
        self.next().and_then(record::instant)
    }

    fn instant_or_null(&mut self) -> Result<Option<Instant>, StoreError> {
        self.next::<Option<i64>>()?.map(record::instant).transpose()
    }

    /// A flag, 0 or 1. rusqlite itself would read other numbers as true.
    fn flag(&mut self, what: &str) -> Result<bool, StoreError> {
        match self.next::<i64>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged(what)),
        }
    }

    fn person(&mut self) -> Result<Person, StoreError> {
        let name = self.text()?;
        let email = Email {
            written: self.text()?,
            key: EmailKey::from_folded(&self.text()?),
        };
        let (phone, time_zone, note) = (self.text()?, self.text()?, self.text()?);
        let metadata = self
            .raw()?
            .as_blob_or_null()
            .map_err(|_| damaged("the metadata"))?;
        let metadata = metadata
            .map(|bytes| decode::<MetadataRecord>(bytes, "metadata"))
            .transpose()?;
        let metadata = metadata.map(|it| it.entries).unwrap_or_default();
        Ok(Person {
            invitee: Invitee {
                name,
                email,
                phone,
                time_zone,
            },
            carried: Carried {
                note,
                metadata,
                location: self.text()?,
            },
            cancel_reason: self.text()?,
        })
    }

    fn image(&mut self, key: AppointmentKey, outline: &Outline<'_>) -> Result<Image, StoreError> {
        let Outline {
            start,
            duration,
            state,
            expire_time,
            type_id,
        } = *outline;
        let places = self
            .raw()?
            .as_blob()
            .map_err(|_| damaged("the calendars"))?;
        Ok(Image {
            places: decode::<PlacesRecord>(places, "the calendars of an appointment")?
                .read(start, duration)?,
            type_id: TypeId::parse(type_id).map_err(|_| damaged("the type"))?,
            start,
            duration,
            time_zone: self.next::<String>()?.into(),
            local_start: self.next().and_then(record::wall)?,
            state,
            blocks: self.flag("whether it takes time")?,
            expire_time,
            session: match self.next::<Option<i64>>()? {
                None => key,
                Some(session) => record::key(session)?,
            },
            sequence: self.next()?,
            ignored_rules: ignored_rules(self.next()?)?,
            update_time: self.instant()?,
            revision: record::revision(self.next::<i64>()?)?,
        })
    }
}

/// Adds the table and the key of a row to an error. The first column of the row is the key, which
/// is a number unless another program changed the file.
pub(super) fn by_key(table: &str, row: &Row<'_>, error: StoreError) -> StoreError {
    let key = row
        .get::<_, i64>(0)
        .map_or_else(|_| "without a key".to_owned(), |key| key.to_string());
    in_row(table, key, error)
}

/// Reads the beginning of a row, for a fraction of the work of `read`.
pub(super) fn read_outline<'r>(
    row: &'r Row<'_>,
) -> Result<(AppointmentKey, AppointmentId, Outline<'r>), StoreError> {
    outline(row).map_err(|error| by_key(TABLE, row, error))
}

fn outline<'r>(
    row: &'r Row<'_>,
) -> Result<(AppointmentKey, AppointmentId, Outline<'r>), StoreError> {
    let mut columns = Columns { row, at: 2 };
    let outline = Outline {
        start: columns.instant()?,
        duration: record::duration(columns.next()?)?,
        state: numbers::state(columns.next::<i64>()?)?,
        expire_time: columns.instant_or_null()?,
        type_id: columns.raw()?.as_str().map_err(|_| damaged("the type"))?,
    };
    Ok((key(row, 0)?, appointment_id(row, 1)?, outline))
}

/// Reads a whole row.
pub(super) fn read(row: &Row<'_>) -> Result<Appointment, StoreError> {
    let (key, id, outline) = read_outline(row)?;
    read_rest(row, key, id, &outline)
}

/// Reads the rest of a row whose beginning was read before.
pub(super) fn read_rest(
    row: &Row<'_>,
    key: AppointmentKey,
    id: AppointmentId,
    outline: &Outline<'_>,
) -> Result<Appointment, StoreError> {
    rest(row, key, id, outline).map_err(|error| by_key(TABLE, row, error))
}

fn rest(
    row: &Row<'_>,
    key: AppointmentKey,
    id: AppointmentId,
    outline: &Outline<'_>,
) -> Result<Appointment, StoreError> {
    let mut columns = Columns {
        row,
        at: OUTLINE_COLUMNS,
    };
    let create_time = columns.instant()?;
    let series = columns
        .next::<Option<[u8; 16]>>()?
        .map(|bytes| SeriesId(Uuid::from_bytes(bytes)));
    let original_start = columns.instant_or_null()?;
    let occurrence = match (series, original_start) {
        (None, None) => None,
        (Some(series), Some(original_start)) => Some(OccurrenceOf {
            series,
            original_start,
        }),
        _ => return Err(damaged("the series")),
    };
    let (person, image) = (columns.person()?, columns.image(key, outline)?);
    Ok(Appointment {
        id,
        key,
        create_time,
        occurrence,
        person,
        image,
    })
}

/// A text as a column: null when it is empty, so that partial indexes stay small.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The texts of a person in the order of their columns, without the metadata.
fn texts(person: &Person) -> [Option<&str>; 8] {
    let Person {
        invitee,
        carried,
        cancel_reason,
    } = person;
    let Invitee {
        name,
        email,
        phone,
        time_zone,
    } = invitee;
    let Carried {
        note,
        metadata: _,
        location,
    } = carried;
    let Email { written, key } = email;
    [
        filled(name),
        filled(written),
        filled(key.as_str()),
        filled(phone),
        filled(time_zone),
        filled(note),
        filled(location),
        filled(cancel_reason),
    ]
}

/// The metadata as a blob; null where there is none.
fn metadata_blob(metadata: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let entries = metadata.clone();
    (!entries.is_empty()).then(|| MetadataRecord { entries }.encode_to_vec())
}

/// Runs an insert or update of a row.
pub(super) fn write(
    statement: &mut Statement<'_>,
    appointment: &Appointment,
) -> rusqlite::Result<usize> {
    let Appointment {
        id,
        key,
        create_time,
        occurrence,
        person,
        image,
    } = appointment;
    let Image {
        places: _,
        type_id,
        start,
        duration,
        time_zone,
        local_start,
        state,
        blocks,
        expire_time,
        session,
        sequence,
        ignored_rules,
        update_time,
        revision,
    } = image;
    let [
        name,
        email,
        email_key,
        phone,
        invitee_zone,
        note,
        location,
        cancel_reason,
    ] = texts(person);
    statement.execute(params![
        signed(key.0),
        id.0.as_bytes(),
        start.seconds(),
        duration.minutes(),
        numbers::of_state(*state),
        expire_time.map(Instant::seconds),
        type_id.as_str(),
        create_time.seconds(),
        occurrence.map(|it| it.series.0.into_bytes()),
        occurrence.map(|it| it.original_start.seconds()),
        name,
        email,
        email_key,
        phone,
        invitee_zone,
        note,
        metadata_blob(&person.carried.metadata),
        location,
        cancel_reason,
        PlacesRecord::new(image).encode_to_vec(),
        &**time_zone,
        local_start.seconds(),
        *blocks,
        (session != key).then(|| signed(session.0)),
        *sequence,
        ignored_bits(*ignored_rules),
        update_time.seconds(),
        signed(revision.0),
    ])
}
