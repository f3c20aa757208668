//! Lists of appointments: the rows of one page, in order, by an index, without those that changed
//! since its revision.
//!
//! A page scans a bounded number of rows and returns where the next page begins. Of a row that
//! cannot be on the page only the outline is read: state, type and time.

use std::collections::HashSet;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Rows, Transaction, params};

use super::KnownCalendar;
use super::read::{BEARERS_MAX, appointments_by_key, bearers, select_by};
use super::rows::{OUTLINED, SELECTED, read, read_outline, read_rest, signed};
use super::unsettled::Deletions;
use crate::store::{ListPage, ListQuery, StoreError};
use bookd_core::appointment::{Appointment, AppointmentState};
use bookd_core::ids::{AppointmentId, AppointmentKey, Revision};
use bookd_core::time::{Instant, MINUTE, Minutes};

/// The result of a scan, to which the caller adds the appointments that changed since the revision
/// of the page.
pub(super) struct Scan {
    pub(super) appointments: Vec<Appointment>,
    /// The last row of a scan that ended because it reached the limit on scanned rows.
    stopped_at: Option<(Instant, AppointmentId)>,
}

impl Scan {
    /// Sorts and cuts the page.
    pub(super) fn finish(mut self, query: &ListQuery, revision: Revision) -> ListPage {
        let order = |it: &Appointment| (it.start, it.id);
        self.appointments.sort_unstable_by_key(order);
        if query.is_descending {
            self.appointments.reverse();
        }
        if let Some(stop) = self.stopped_at {
            let is_reached = |it: &Appointment| {
                if query.is_descending {
                    order(it) >= stop
                } else {
                    order(it) <= stop
                }
            };
            self.appointments.retain(is_reached);
        }
        let is_cut = self.appointments.len() > query.limit;
        self.appointments.truncate(query.limit);
        let next = if is_cut {
            self.appointments.last().map(order)
        } else {
            self.stopped_at
        };
        ListPage {
            appointments: self.appointments,
            next,
            revision,
        }
    }
}

/// The conditions by which lists select rows. Each is the beginning of an index whose next column
/// is the start.
const BY_CALENDAR: &str = "c.is_over = 0 and c.calendar";
const BY_CALENDAR_OVER: &str = "c.is_over = 1 and c.calendar";
const BY_EMAIL: &str = "a.email_key";
pub(super) const BY_SERIES: &str = "a.series";

/// The statement for the rows of a list, in its order.
fn list_sql(columns: &str, column: &str, is_descending: bool) -> String {
    let (from, table) = match column {
        BY_CALENDAR | BY_CALENDAR_OVER => ("claims c join appointments a on a.key = c.key", "c"),
        _ => ("appointments a", "a"),
    };
    let (compare, direction) = if is_descending {
        ("<", "desc")
    } else {
        (">", "asc")
    };
    format!(
        "select {columns} from {from} where {column} = ?1 and {table}.start >= ?2 and {table}.start < ?3 \
         and ({table}.start, {table}.id) {compare} (?4, ?5) order by {table}.start {direction}, {table}.id {direction}"
    )
}

/// Whether most rows are expected not to match, because most appointments are CONFIRMED. Then a
/// scan selects outlines and reads the matching rows by key: that costs a quarter for a row that
/// does not match, and half as much again for one that does.
fn is_selective(query: &ListQuery) -> bool {
    query.type_id.is_some() || !query.states.contains(&AppointmentState::Confirmed)
}

/// Whether rows of a list may be out of reach.
fn may_be_of_others(query: &ListQuery) -> bool {
    let is_of_one_calendar =
        query.calendar.is_some() && query.email.is_none() && query.series.is_none();
    !query.reach.is_all() && !is_of_one_calendar
}

/// A scanned row.
struct Head {
    key: AppointmentKey,
    order: (Instant, AppointmentId),
    /// None when the outline shows already that the row is not on the page.
    appointment: Option<Appointment>,
    /// Whether the query may find it at all.
    is_seen: bool,
}

/// The next row, read as a whole only if it may be on the page: by the statement `whole`, which
/// takes the key, where `rows` are outlines.
fn next_of(
    rows: &mut Rows<'_>,
    query: &ListQuery,
    deletions: &Deletions,
    whole: Option<&mut CachedStatement<'_>>,
) -> Result<Option<Head>, StoreError> {
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (key, id, outline) = read_outline(row)?;
    // An unsettled deletion may show the appointment otherwise than the outline of its row, and its
    // calendars are in the rest of the row.
    let is_read = query.may_match(&outline) || !deletions.is_empty() || may_be_of_others(query);
    let appointment = match (is_read, whole) {
        (false, _) => None,
        (true, None) => Some(read_rest(row, key, id, &outline)?),
        (true, Some(whole)) => Some(whole.query_row([signed(key.0)], |row| Ok(read(row)))??),
    };
    Ok(Some(Head {
        key,
        order: (outline.start, id),
        is_seen: appointment.as_ref().is_none_or(|it| query.shows(it)),
        appointment: appointment.map(|it| deletions.show(it)),
    }))
}

/// The index ranges of a list.
struct Ranges {
    /// Conditions with their values.
    ranges: Vec<(&'static str, Value)>,
    /// How long before its end the longest appointment begins at most, in seconds.
    reach: i64,
}

fn ranges(transaction: &Transaction<'_>, query: &ListQuery) -> Result<Ranges, StoreError> {
    let longest = Minutes::MAX.seconds();
    let (ranges, reach) = match query {
        ListQuery {
            email: Some(email), ..
        } => (
            vec![(BY_EMAIL, Value::from(email.as_str().to_owned()))],
            longest,
        ),
        ListQuery {
            series: Some(series),
            ..
        } => (
            vec![(BY_SERIES, Value::from(series.0.as_bytes().to_vec()))],
            longest,
        ),
        ListQuery {
            calendar: Some(id), ..
        } => {
            let bearers = bearers(transaction, id, BEARERS_MAX)?;
            // An appointment that is over only by the clock, not by its state, lies with the
            // others.
            let is_over_asked = query.states.iter().any(|it| it.is_over());
            let columns: &[&'static str] = if is_over_asked {
                &[BY_CALENDAR, BY_CALENDAR_OVER]
            } else {
                &[BY_CALENDAR]
            };
            let of = |it: &KnownCalendar| {
                columns
                    .iter()
                    .map(|column| (*column, Value::from(it.key)))
                    .collect::<Vec<_>>()
            };
            let reach = bearers
                .iter()
                .map(|it| i64::from(it.reach_minutes) * MINUTE)
                .max()
                .unwrap_or_default();
            (bearers.iter().flat_map(of).collect(), reach)
        }
        _ => {
            return Err(StoreError::Other(
                "a list goes by calendar, invitee, series or code".to_owned(),
            ));
        }
    };
    Ok(Ranges { ranges, reach })
}

/// Scans the rows of the page and one more, without the appointments that changed after its
/// revision.
pub(super) fn scan(
    transaction: &Transaction<'_>,
    query: &ListQuery,
    changed: &HashSet<AppointmentKey>,
) -> Result<Scan, StoreError> {
    if let Some(key) = query.key {
        let found = appointments_by_key(transaction, &[key])?;
        let found = found
            .into_iter()
            .filter(|it| !changed.contains(&it.key) && query.matches(it));
        return Ok(Scan {
            appointments: found.collect(),
            stopped_at: None,
        });
    }
    let Ranges { ranges, reach } = ranges(transaction, query)?;
    let first = query.from.seconds().saturating_sub(reach);
    let end = query.to.map_or(i64::MAX, Instant::seconds);
    let (start, id) = match (query.after, query.is_descending) {
        (Some((start, id)), _) => (start.seconds(), id.0.as_bytes().to_vec()),
        (None, false) => (i64::MIN, Vec::new()),
        (None, true) => (i64::MAX, Vec::new()),
    };
    let (columns, whole) = if is_selective(query) {
        (
            &*OUTLINED,
            Some(transaction.prepare_cached(&select_by("key"))?),
        )
    } else {
        (&*SELECTED, None)
    };
    let statement = |(column, _): &(&str, Value)| {
        transaction.prepare_cached(&list_sql(columns, column, query.is_descending))
    };
    let mut statements = ranges
        .iter()
        .map(statement)
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut rows = Vec::with_capacity(statements.len());
    for (statement, (_, by)) in statements.iter_mut().zip(&ranges) {
        rows.push(statement.query(params![by, first, end, start, id])?);
    }
    merge(
        rows,
        whole,
        query,
        &Deletions::unsettled(transaction)?,
        changed,
    )
}

/// Merges the rows of all ranges in the order of the list, until the page is full or `scanned_max`
/// rows were scanned.
fn merge(
    mut rows: Vec<Rows<'_>>,
    mut whole: Option<CachedStatement<'_>>,
    query: &ListQuery,
    deletions: &Deletions,
    changed: &HashSet<AppointmentKey>,
) -> Result<Scan, StoreError> {
    let mut next = |rows: &mut Rows<'_>| next_of(rows, query, deletions, whole.as_mut());
    let mut heads = rows
        .iter_mut()
        .map(&mut next)
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Scan {
        appointments: Vec::new(),
        stopped_at: None,
    };
    let mut scanned = 0;
    loop {
        let order = |at: &usize| heads[*at].as_ref().map(|head| head.order);
        let waiting = (0..heads.len()).filter(|at| heads[*at].is_some());
        let first = if query.is_descending {
            waiting.max_by_key(order)
        } else {
            waiting.min_by_key(order)
        };
        let Some(at) = first else { break };
        let Some(head) = std::mem::replace(&mut heads[at], next(&mut rows[at])?) else {
            break;
        };
        scanned += usize::from(head.is_seen);
        found.appointments.extend(
            head.appointment
                .filter(|it| !changed.contains(&head.key) && query.matches(it)),
        );
        if found.appointments.len() > query.limit {
            break;
        }
        if scanned >= query.scanned_max {
            found.stopped_at = Some(head.order);
            break;
        }
    }
    Ok(found)
}

/// Every read of tables that grow, for the test of their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let columns = [BY_CALENDAR, BY_CALENDAR_OVER, BY_EMAIL, BY_SERIES];
    let both = |column| {
        [&*OUTLINED, &*SELECTED]
            .map(|columns| [false, true].map(|it| list_sql(columns, column, it)))
    };
    columns.into_iter().flat_map(both).flatten().collect()
}
