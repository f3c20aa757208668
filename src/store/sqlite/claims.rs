//! Claims as rows: one for each place of an appointment, written many at a time in the order of
//! their table.
//!
//! The rows that concern one claim are written in the order in which the events of the batch made
//! them.

use std::sync::LazyLock;

use rusqlite::{Connection, ToSql, params};

use crate::store::StoreError;
use bookd_core::appointment::Place;
use bookd_core::time::{Instant, MINUTE};

pub(super) const INSERT_CLAIM: &str =
    "insert into claims (calendar, is_over, start, id, key) values (?1, ?2, ?3, ?4, ?5)";
/// One statement for many rows takes half the time of a statement for each. `or fail` needs no
/// statement journal: the transaction is rolled back when there is a conflict.
static INSERT_CLAIMS: LazyLock<String> = LazyLock::new(|| {
    let rows = vec!["(?, ?, ?, ?, ?)"; CLAIMS_AT_ONCE].join(", ");
    format!("insert or fail into claims (calendar, is_over, start, id, key) values {rows}")
});
const CLAIM_COLUMNS: usize = 5;
const CLAIMS_AT_ONCE: usize = 16;
pub(super) const DELETE_CLAIM: &str =
    "delete from claims where calendar = ?1 and is_over = ?2 and start = ?3 and id = ?4";
/// How many claims are collected before they are written, 64 bytes each; those of one event may
/// exceed it.
pub(super) const CLAIMS_MAX: usize = 16_384;

/// A claim to be inserted or deleted.
pub(super) struct ClaimRow {
    pub(super) calendar: i64,
    pub(super) is_over: bool,
    pub(super) start: i64,
    pub(super) id: [u8; 16],
    /// The key of the appointment; none deletes the claim.
    pub(super) key: Option<i64>,
}

/// Writes the claims in the order of the table and clears them. The table's tree is walked along
/// once then, and not from one calendar to another for each appointment. The sort is stable, so
/// writes to one row keep their order.
pub(super) fn write(connection: &Connection, claims: &mut Vec<ClaimRow>) -> Result<(), StoreError> {
    claims.sort_by_key(|it| (it.calendar, it.is_over, it.start));
    let mut delete = connection.prepare_cached(DELETE_CLAIM)?;
    let mut insert = connection.prepare_cached(INSERT_CLAIM)?;
    let mut rest = &claims[..];
    while let Some((
        ClaimRow {
            calendar,
            is_over,
            start,
            id,
            key,
        },
        others,
    )) = rest.split_first()
    {
        let Some(key) = key else {
            delete.execute(params![calendar, is_over, start, id])?;
            rest = others;
            continue;
        };
        match rest
            .split_at_checked(CLAIMS_AT_ONCE)
            .filter(|(some, _)| some.iter().all(|it| it.key.is_some()))
        {
            Some((some, others)) => {
                insert_some(connection, some)?;
                rest = others;
            }
            None => {
                insert.execute(params![calendar, is_over, start, id, key])?;
                rest = others;
            }
        }
    }
    claims.clear();
    Ok(())
}

/// Inserts exactly `CLAIMS_AT_ONCE` claims with one statement.
fn insert_some(connection: &Connection, claims: &[ClaimRow]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(&INSERT_CLAIMS)?;
    for (
        ClaimRow {
            calendar,
            is_over,
            start,
            id,
            key,
        },
        row,
    ) in claims.iter().zip(0..)
    {
        let values: [&dyn ToSql; CLAIM_COLUMNS] = [calendar, is_over, start, id, key];
        for (value, column) in values.into_iter().zip(1..) {
            insert.raw_bind_parameter(row * CLAIM_COLUMNS + column, value)?;
        }
    }
    insert.raw_execute()?;
    Ok(())
}

/// How far a claim reaches beyond the start by which it is found, in minutes; 0 for a claim that
/// ends before it.
pub(super) fn reach_minutes(place: &Place, start: Instant) -> u32 {
    let seconds = place.padded().end.since(start).max(0);
    u32::try_from(seconds / MINUTE).expect("a claim is shorter than 32 bits of minutes")
}
