//! What a file has of a tenant: the calendars whose ids begin with its prefix, and all that hangs on
//! them.
//!
//! An appointment is the tenant's own if it was never on a calendar of another tenant. The others
//! are shared: they stay, for the other tenants see them, and with them the calendars that they
//! name. Which is which is kept in a temporary table, by key.
//!
//! ```text
//! appointments   places now     ──┐
//! log            places of then ──┴─▶ own, or shared with another tenant ──▶ calendars that stay
//! appointments   first seats of sessions that stay are not removed ──────┘
//! ```
//!
//! What an earlier deletion left of another tenant is nobody's: see `remnants`.

mod deleted_calendars;
mod erasure;
mod remnants;
mod requests;
mod rewritten_log;

pub use deleted_calendars::DeletedCalendar;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, params};

use super::copy::count;
use super::segments::{CHANGE_COLUMNS, ChangeRow, WantedEvents};
use super::{Sqlite, rows, tokens};
use crate::store::codec::change::read_head;
use crate::store::codec::place::PlacesRecord;
use crate::store::codec::record::{calendar_id, decode, in_row};
use crate::store::{CalendarFilter, StoreError};
use bookd_core::ids::CalendarId;
use bookd_core::prefixes::Prefixes;

/// How many rows are looked at between two calls of the progress function.
const PROGRESS_ROWS: u64 = 1_000;

const MAKE_TABLE: &str = "create temp table if not exists tenant_appointments \
     (key integer primary key, stays integer not null, is_theirs integer not null) strict";
const EMPTY_TABLE: &str = "delete from temp.tenant_appointments";
const PUT_OWN: &str = "insert into temp.tenant_appointments (key, stays, is_theirs) values (?1, 0, ?2) \
     on conflict (key) do update set is_theirs = max(is_theirs, excluded.is_theirs)";
const PUT_SHARED: &str = "insert into temp.tenant_appointments (key, stays, is_theirs) values (?1, 1, ?2) \
     on conflict (key) do update set stays = 1, is_theirs = max(is_theirs, excluded.is_theirs)";
/// An appointment that is on calendars of other tenants alone stays, whatever the log says.
const KEEP_ELSEWHERE: &str =
    "update temp.tenant_appointments set stays = 1 where key = ?1 and stays = 0";
/// The first seat of a session stays as long as another seat of it does.
const KEEP_FIRST_SEATS: &str = "update temp.tenant_appointments set stays = 1 where stays = 0 and key in \
     (select a.session from appointments a where a.session is not null \
     and a.key not in (select key from temp.tenant_appointments where stays = 0))";
const SELECT_STAYS: &str = "select stays from temp.tenant_appointments where key = ?1";
const COUNT_OWN: &str =
    "select count(*) from temp.tenant_appointments where stays = 0 and is_theirs = 1";
const COUNT_SHARED: &str =
    "select count(*) from temp.tenant_appointments where stays = 1 and is_theirs = 1";
const SELECT_ROWS: &str = "select key, places from appointments order by key";
const SELECT_SHARED_ROWS: &str = "select t.key, a.places from temp.tenant_appointments t \
     join appointments a on a.key = t.key where t.stays = 1 order by t.key";
static SELECT_CHANGES: LazyLock<String> =
    LazyLock::new(|| format!("select {CHANGE_COLUMNS} order by c.revision"));
const SELECT_CALENDARS: &str =
    "select id, delete_time is not null from calendars where substr(id, 1, length(?1)) = ?1";

/// How much a file has of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantSize {
    /// The number of calendars.
    pub calendars: u64,
    /// The number of calendars that were deleted before.
    pub deleted_calendars: u64,
    /// The number of appointments that are the tenant's alone.
    pub appointments: u64,
    /// The number of appointments that are or were on calendars of other tenants as well.
    pub shared_appointments: u64,
    /// The number of changes that touched its calendars or created or revoked its tokens.
    pub changes: u64,
    /// The number of tokens that are limited to its calendars.
    pub tokens: u64,
}

impl TenantSize {
    /// Whether there is no such tenant.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a file has of a tenant. The temporary table has its appointments, and those on remnants.
struct TenantContent {
    prefixes: Prefixes,
    size: TenantSize,
    /// The ids of its calendars that shared appointments name, and whether a calendar has the id
    /// now.
    shared_calendars: BTreeMap<String, bool>,
    /// The ids of the remnants of other tenants, and whether an appointment that stays names one.
    remnants: BTreeMap<String, bool>,
    /// The ids of its tokens.
    tokens: BTreeSet<String>,
    /// The ids of all other tokens that are stored.
    other_tokens: BTreeSet<String>,
}

/// Whether an appointment of the tenant stays; none if it is not of the tenant.
fn stays(connection: &Connection, key: u64) -> Result<Option<bool>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_STAYS)?;
    let stays = select.query_row([rows::signed(key)], |row| row.get(0));
    Ok(stays.optional()?)
}

/// The places of the row of an appointment, whose first two columns are its key and its places.
fn places_of(row: &rusqlite::Row<'_>) -> Result<PlacesRecord, StoreError> {
    let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    let key = || row.get::<_, i64>(0).unwrap_or_default();
    decode(bytes, "the calendars of an appointment")
        .map_err(|error| in_row("appointments", key(), error))
}

impl TenantContent {
    /// Finds everything of a tenant within the open transaction. `progress` is called with the
    /// number of rows and changes that were looked at.
    fn find(
        connection: &Connection,
        prefixes: &Prefixes,
        progress: &dyn Fn(u64),
    ) -> Result<Self, StoreError> {
        connection.execute(MAKE_TABLE, [])?;
        connection.execute(EMPTY_TABLE, [])?;
        let (mut theirs, mut others) = (BTreeSet::new(), BTreeSet::new());
        for token in tokens::load(connection)?.iter() {
            let is_theirs = prefixes.include(&token.prefixes);
            let of = if is_theirs { &mut theirs } else { &mut others };
            of.insert(token.id.as_str().to_owned());
        }
        let mut tenant = Self {
            prefixes: prefixes.clone(),
            size: TenantSize::default(),
            shared_calendars: BTreeMap::new(),
            remnants: remnants::find(connection)?,
            tokens: theirs,
            other_tokens: others,
        };
        let mut seen = 0;
        let mut look = || {
            seen += 1;
            if seen % PROGRESS_ROWS == 0 {
                progress(seen);
            }
        };
        tenant.sort_log(connection, &mut look)?;
        tenant.sort_rows(connection, &mut look)?;
        while connection.execute(KEEP_FIRST_SEATS, [])? > 0 {}
        tenant.find_shared_calendars(connection)?;
        tenant.size.appointments = count(connection, COUNT_OWN)?;
        tenant.size.shared_appointments = count(connection, COUNT_SHARED)?;
        tenant.size.tokens = tenant.tokens.len() as u64;
        tenant.find_calendars(connection)?;
        Ok(tenant)
    }

    /// The only prefix.
    fn prefix(&self) -> &str {
        self.prefixes.iter().next().unwrap_or_default()
    }

    /// The filter of the events that touch its calendars or remnants. It passes more than those: see
    /// `has`.
    fn filter(&self) -> CalendarFilter {
        let remnants = if self.remnants.is_empty() {
            Prefixes::nothing()
        } else {
            Prefixes::beginning_with(remnants::ID_BEGINS)
        };
        CalendarFilter::Prefixes(self.prefixes.or(&remnants))
    }

    /// Whether a calendar is the tenant's, or a remnant: then no other tenant sees it.
    fn has(&self, calendar: &str) -> bool {
        self.prefixes.has(calendar) || self.remnants.contains_key(calendar)
    }

    /// Notes the appointments that are on its calendars or on remnants now.
    fn sort_rows(&self, connection: &Connection, look: &mut dyn FnMut()) -> Result<(), StoreError> {
        let mut statement = connection.prepare(SELECT_ROWS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            look();
            let (key, places) = (row.get(0)?, places_of(row)?);
            if places.calendars().any(|id| self.has(id)) {
                self.note(connection, key, places.calendars())?;
            } else {
                connection.prepare_cached(KEEP_ELSEWHERE)?.execute([key])?;
            }
        }
        Ok(())
    }

    /// Notes the appointments that were on its calendars, and counts the changes. An appointment
    /// that came from another tenant, or went to one, has an event that touches calendars of both.
    fn sort_log(
        &mut self,
        connection: &Connection,
        look: &mut dyn FnMut(),
    ) -> Result<(), StoreError> {
        let filter = self.filter();
        let mut statement = connection.prepare(&SELECT_CHANGES)?;
        let mut changes = statement.query([])?;
        while let Some(row) = changes.next()? {
            look();
            let change = ChangeRow::read(row)?;
            let mut is_theirs = change.tokens().iter().any(|id| self.tokens.contains(id));
            change.walk(
                connection,
                0,
                &WantedEvents::Calendars(&filter),
                |_, event| {
                    let head = read_head(event)?;
                    let touched = head.calendars.iter().map(|it| it.calendar.as_str());
                    is_theirs |= touched.clone().any(|id| self.prefixes.has(id));
                    if head.key > 0 {
                        self.note(connection, rows::signed(head.key), touched)?;
                    }
                    Ok(ControlFlow::Continue(()))
                },
            )?;
            self.size.changes += u64::from(is_theirs);
        }
        Ok(())
    }

    /// Notes an appointment with these calendars, if one is the tenant's or a remnant.
    fn note<'a>(
        &self,
        connection: &Connection,
        key: i64,
        mut calendars: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), StoreError> {
        if calendars.clone().any(|id| self.has(id)) {
            let is_theirs = calendars.clone().any(|id| self.prefixes.has(id));
            let is_shared = !calendars.all(|id| self.has(id));
            let put = if is_shared { PUT_SHARED } else { PUT_OWN };
            let mut put = connection.prepare_cached(put)?;
            put.execute(params![key, is_theirs])?;
        }
        Ok(())
    }

    /// Finds the calendars and remnants that shared appointments name, now or in the log.
    fn find_shared_calendars(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let (filter, mut ids) = (self.filter(), BTreeSet::new());
        let mut statement = connection.prepare(SELECT_SHARED_ROWS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let places = places_of(row)?;
            let theirs = places.calendars().filter(|id| self.has(id));
            ids.extend(theirs.map(str::to_owned));
        }
        let mut statement = connection.prepare(&SELECT_CHANGES)?;
        let mut changes = statement.query([])?;
        while let Some(row) = changes.next()? {
            let wanted = WantedEvents::Calendars(&filter);
            ChangeRow::read(row)?.walk(connection, 0, &wanted, |_, event| {
                let head = read_head(event)?;
                if head.key > 0 && stays(connection, head.key)? == Some(true) {
                    let touched = head.calendars.into_iter().map(|it| it.calendar);
                    ids.extend(touched.filter(|id| self.has(id)));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for id in ids {
            match self.remnants.get_mut(&id) {
                Some(stays) => *stays = true,
                None => {
                    self.shared_calendars.insert(id, false);
                }
            }
        }
        Ok(())
    }

    /// Counts its calendars, and finds which of the shared ones are not deleted.
    fn find_calendars(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare(SELECT_CALENDARS)?;
        let mut calendars = statement.query(params![self.prefix()])?;
        while let Some(row) = calendars.next()? {
            let (id, is_deleted): (String, bool) = (row.get(0)?, row.get(1)?);
            if is_deleted {
                self.size.deleted_calendars += 1;
                continue;
            }
            self.size.calendars += 1;
            if let Some(is_live) = self.shared_calendars.get_mut(&id) {
                *is_live = true;
            }
        }
        Ok(())
    }
}

impl Sqlite {
    /// How much there is of the tenant with these calendars, and those of its calendars that shared
    /// appointments name and that are not deleted. `progress` is called with the number of rows and
    /// changes that were looked at.
    pub fn look_for_tenant(
        &mut self,
        prefixes: &Prefixes,
        progress: &dyn Fn(u64),
    ) -> Result<(TenantSize, Vec<CalendarId>), StoreError> {
        let transaction = self.connection.transaction()?;
        let tenant = TenantContent::find(&transaction, prefixes, progress)?;
        let live = tenant.shared_calendars.iter().filter(|(_, live)| **live);
        let ids = live.map(|(id, _)| calendar_id(id));
        Ok((tenant.size, ids.collect::<Result<_, _>>()?))
    }
}
