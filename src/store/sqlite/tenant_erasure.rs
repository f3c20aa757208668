//! The deletion of a tenant: everything that only it had goes, in one transaction.
//!
//! ```text
//! log                own events become empty, so that the others keep their numbers; a change that is
//!                    left without any becomes a mark without a caller, so that no revision is missing
//! own                appointments, claims, calendars, types, busy time, tokens, remembered requests
//! shared             appointments stay without a person; their calendars of the tenant stay as
//!                    deleted ones that are called `deleted-1`, `deleted-2`, …
//! principals         names that no change and no token has any more
//! ```
//!
//! What was overwritten is still in free pages and in the WAL: only a VACUUM after it removes the
//! bytes.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::copy::{PUT_FIRST_KEY, count};
use super::read::bearers;
use super::rows::signed;
use super::segments::{CHANGE_COLUMNS, ChangeRow, Segments, WantedEvents};
use super::tenant::{Tenant, TenantSize, places_of, stays};
use super::{Sqlite, last, log, sweep};
use crate::store::codec::calendar::ProfileRecord;
use crate::store::codec::change::{ChangeRecord, read_head};
use crate::store::codec::erasure::{
    NewIds, begins_or_ends_a_calendar, places_with_new_ids, replaced_elsewhere, with_new_ids,
};
use crate::store::codec::record::{self, calendar_id, decode};
use crate::store::codec::row::SubjectRecord;
use crate::store::{CalendarFilter, CommitError, StoreError};
use bookd_core::change::Cause;
use bookd_core::prefixes::Prefixes;

/// How many rows are in memory at a time.
const PAGE: i64 = 1_000;
/// The number of the segments of the change that is being rewritten: no deletion ever has it.
const REWRITTEN: i64 = i64::MIN + 1;

static SELECT_NEXT_CHANGE: LazyLock<String> = LazyLock::new(|| {
    format!("select {CHANGE_COLUMNS} where c.revision > ?1 order by c.revision limit 1")
});
const SELECT_REPLACED: &str = "select replaced from changes where revision = ?1";
const UPDATE_CHANGE: &str = "update changes set record = ?2, caller = iif(?3, caller, null), replaced = ?4, \
     events = ?5, segments = null where revision = ?1";
const DELETE_SEGMENTS: &str = "delete from change_segments where revision = ?1";
const MOVE_SEGMENTS: &str = "update change_segments set revision = ?2 where revision = ?1";
const INSERT_MARK: &str = "insert into changes (revision, time, record) values (?1, ?2, ?3)";
const SELECT_BEARERS: &str = "select key, since, delete_time from calendars where id = ?1";
const UPDATE_CALENDAR: &str = "update calendars set id = ?2, profile = ?3, update_time = create_time, revision = since \
     where key = ?1";
const UPDATE_VERSION: &str = "update versions set version = ?2 where calendar = ?1";
const SELECT_SHARED: &str = "select t.key, a.places from temp.tenant_appointments t join appointments a on a.key = t.key \
     where t.stays = 1 and t.key > ?1 order by t.key limit ?2";
const UPDATE_SHARED: &str = "update appointments set places = ?2, invitee_name = null, invitee_email = null, \
     email_key = null, invitee_phone = null, invitee_time_zone = null, note = null, metadata = null, location = null, \
     cancel_reason = null, customer_id = null where key = ?1";
const SELECT_REQUESTS: &str =
    "select hash, subject from requests where hash > ?1 order by hash limit ?2";
const SELECT_KEY: &str = "select key from appointments where id = ?1";
const DELETE_REQUEST: &str = "delete from requests where hash = ?1";
const DELETE_TOKEN: &str = "delete from tokens where id = ?1";
const COUNT_DELETIONS: &str = "select count(*) from deletions";
/// Own rows, by the prefix of their calendars.
const DELETE_CLAIMS: &str = "delete from claims where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1) \
     and key in (select key from temp.tenant_appointments where stays = 0)";
const DELETE_TYPES: &str = "delete from types where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_BUSY: &str = "delete from busy where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_VERSIONS: &str = "delete from versions where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_CALENDARS: &str = "delete from calendars where substr(id, 1, length(?1)) = ?1";
const DELETE_APPOINTMENTS: &str = "delete from appointments where key in \
     (select key from temp.tenant_appointments where stays = 0)";
const DROP_TABLE: &str = "drop table temp.tenant_appointments";
const DELETE_PRINCIPALS: &str = "delete from principals where number not in \
     (select caller from changes where caller is not null \
     union select creator from tokens where creator is not null)";

impl Sqlite {
    /// Removes the tenant with these calendars, in one transaction: see the header. Those of its
    /// calendars that shared appointments name must be deleted, and no deletion may be unsettled.
    /// `progress` is called with the number of rows and changes that were looked at.
    pub fn erase_tenant(
        &mut self,
        prefixes: &Prefixes,
        progress: &dyn Fn(u64),
    ) -> Result<TenantSize, CommitError> {
        let segment_bytes_max = self.segment_bytes_max;
        self.known.clear();
        self.transaction(|connection, _| {
            if count(connection, COUNT_DELETIONS)? > 0 {
                return Err(StoreError::Other(
                    "the deletion of a calendar is not settled".to_owned(),
                ));
            }
            let tenant = Tenant::find(connection, prefixes, progress)?;
            let next_key = last(connection)?.next_key;
            let new_ids = new_ids(connection, &tenant)?;
            let mut erasure = LogErasure::new(connection, &tenant, &new_ids, segment_bytes_max)?;
            erasure.rewrite_log()?;
            let bearers = erasure.bearers;
            forget_requests(connection, &tenant)?;
            keep_shared(connection, &tenant, &new_ids)?;
            delete_own(connection, &tenant, &new_ids, bearers)?;
            connection.execute(PUT_FIRST_KEY, [signed(next_key.0)])?;
            leave_mark(connection)?;
            connection.execute(DROP_TABLE, [])?;
            Ok(tenant.size)
        })
    }

    /// Rewrites the file without its free pages, which may have what was removed.
    pub fn vacuum(&mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("vacuum")?;
        // VACUUM moved the counter to another page.
        let _page = sweep::pass_over_counter(&self.connection);
        Ok(())
    }
}

/// New ids of the calendars that stay. They have no `/`, so that no grant but one on all calendars
/// reaches them.
fn new_ids(connection: &Connection, tenant: &Tenant) -> Result<NewIds, StoreError> {
    let mut numbers = 1_u64..;
    let mut new_ids = NewIds::new();
    for id in tenant.shared_calendars.keys() {
        let new = loop {
            let new = format!("deleted-{}", numbers.next().unwrap_or_default());
            if bearers(connection, &calendar_id(&new)?, 1)?.is_empty() {
                break new;
            }
        };
        new_ids.insert(id.clone(), new);
    }
    Ok(new_ids)
}

/// The calendars that bore an id, each by the revision that created it: the key of its row, and the
/// last change that touched it.
type BearerVersions = BTreeMap<i64, (i64, Option<u64>)>;

/// The rewriting of the log.
struct LogErasure<'a> {
    connection: &'a Connection,
    tenant: &'a Tenant,
    new_ids: &'a NewIds,
    filter: CalendarFilter,
    segment_bytes_max: usize,
    /// The oldest change.
    oldest: u64,
    /// The last change that touched each of the new ids.
    touched: HashMap<String, u64>,
    /// The calendars of each of the new ids.
    bearers: HashMap<String, BearerVersions>,
}

/// A change that is rewritten.
#[derive(Default)]
struct RewrittenChange {
    revision: u64,
    /// Of a change with staged events: the revision that last touched their calendar before.
    previous: u64,
    /// The same of a calendar of the tenant, by its new id.
    new_previous: Option<u64>,
    /// Whether staged events are the tenant's.
    is_staged: bool,
    /// How many events were erased since the last one that stays.
    erased: u64,
    /// How many events stay.
    kept: u64,
    /// Whether another tenant sees one of them.
    is_seen: bool,
}

/// An event as it stays.
struct KeptEvent {
    bytes: Bytes,
    /// Whether another tenant sees it.
    is_seen: bool,
}

impl<'a> LogErasure<'a> {
    fn new(
        connection: &'a Connection,
        tenant: &'a Tenant,
        new_ids: &'a NewIds,
        segment_bytes_max: usize,
    ) -> Result<Self, StoreError> {
        let mut select = connection.prepare(SELECT_BEARERS)?;
        let mut of_ids = HashMap::new();
        for (id, new) in new_ids {
            let mut versions = BearerVersions::new();
            let mut rows = select.query([id])?;
            while let Some(row) = rows.next()? {
                if row.get::<_, Option<i64>>(2)?.is_none() {
                    return Err(StoreError::Other(format!("calendar {id} is not deleted")));
                }
                versions.insert(row.get(1)?, (row.get(0)?, None));
            }
            of_ids.insert(new.clone(), versions);
        }
        Ok(Self {
            connection,
            tenant,
            new_ids,
            filter: tenant.filter(),
            segment_bytes_max,
            oldest: log::oldest(connection)?.map_or(0, |it| it.revision.0),
            touched: HashMap::new(),
            bearers: of_ids,
        })
    }

    fn rewrite_log(&mut self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let next = {
                let mut select = self.connection.prepare_cached(&SELECT_NEXT_CHANGE)?;
                let row = |row: &Row<'_>| Ok(ChangeRow::read(row));
                select.query_row([after], row).optional()?.transpose()?
            };
            let Some(change) = next else {
                return Ok(());
            };
            after = signed(change.entry.revision.0);
            if self.is_theirs(&change)? {
                self.rewrite(&change)?;
            }
        }
    }

    /// Whether a change has something of the tenant.
    fn is_theirs(&self, change: &ChangeRow) -> Result<bool, StoreError> {
        let tokens = change.tokens();
        let mut is_theirs = tokens.iter().any(|id| self.tenant.tokens.contains(id));
        let wanted = WantedEvents::Calendars(&self.filter);
        change.walk(self.connection, 0, &wanted, |_, _| {
            is_theirs = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_theirs)
    }

    fn rewrite(&mut self, change: &ChangeRow) -> Result<(), StoreError> {
        let connection = self.connection;
        let mut segments = Segments::under(connection, REWRITTEN, self.segment_bytes_max);
        let mut rewritten = RewrittenChange {
            revision: change.entry.revision.0,
            previous: change.record.previous,
            ..RewrittenChange::default()
        };
        let mut next = 0;
        change.walk(connection, 0, &WantedEvents::ALL, |number, event| {
            // Those between were erased with another tenant.
            rewritten.erased += number - next;
            next = number + 1;
            match self.keep(event, &mut rewritten)? {
                None => rewritten.erased += 1,
                Some(KeptEvent { bytes, is_seen }) => {
                    for _ in 0..std::mem::take(&mut rewritten.erased) {
                        segments.push(Bytes::new())?;
                    }
                    segments.push(bytes)?;
                    rewritten.kept += 1;
                    rewritten.is_seen |= is_seen;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let (events, count) = segments.finish()?;
        if change.events.is_some() {
            connection
                .prepare_cached(DELETE_SEGMENTS)?
                .execute([change.segments])?;
        }
        let revision = signed(rewritten.revision);
        connection
            .prepare_cached(MOVE_SEGMENTS)?
            .execute([REWRITTEN, revision])?;
        let tokens = change.tokens().iter();
        let tokens: Vec<String> = tokens
            .filter(|id| !self.tenant.tokens.contains(*id))
            .cloned()
            .collect();
        let keeps_caller = rewritten.is_seen || !tokens.is_empty();
        let mut record = ChangeRecord::new(rewritten.cause(change, keeps_caller), events);
        record.previous = rewritten.previous();
        record.tokens = tokens;
        let replaced = self.replaced_elsewhere(revision)?;
        let record = record.encode_to_vec();
        let mut update = connection.prepare_cached(UPDATE_CHANGE)?;
        update.execute(params![revision, record, keeps_caller, replaced, count])?;
        Ok(())
    }

    /// What a change replaced on calendars of other tenants.
    fn replaced_elsewhere(&self, revision: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut select = self.connection.prepare_cached(SELECT_REPLACED)?;
        let replaced: Option<Vec<u8>> = select.query_row([revision], |row| row.get(0))?;
        let elsewhere = replaced.map(|it| replaced_elsewhere(&it, &self.tenant.prefixes));
        Ok(elsewhere.transpose()?.flatten())
    }

    /// An event as it stays; none if it is the tenant's own.
    fn keep(
        &mut self,
        event: &Bytes,
        change: &mut RewrittenChange,
    ) -> Result<Option<KeptEvent>, StoreError> {
        let head = read_head(event)?;
        let is_theirs = |id: &str| self.tenant.prefixes.has(id);
        let touched = || head.calendars.iter().map(|it| it.calendar.as_str());
        if !touched().any(is_theirs) {
            let bytes = event.clone();
            return Ok(Some(KeptEvent {
                bytes,
                is_seen: true,
            }));
        }
        let staged = change.previous > 0 && head.calendars.iter().any(|it| it.previous == 0);
        change.is_staged |= staged;
        let is_kept = if head.key > 0 {
            stays(self.connection, head.key)? == Some(true)
        } else {
            touched().any(|id| self.new_ids.contains_key(id)) && begins_or_ends_a_calendar(event)?
        };
        if !is_kept {
            return Ok(None);
        }
        let is_seen = touched().any(|id| !is_theirs(id));
        let new_ids = self.new_ids;
        let bytes = with_new_ids(event, new_ids, |id, previous| {
            self.touch(id, previous, change)
        })?;
        Ok(Some(KeptEvent { bytes, is_seen }))
    }

    /// Notes that a change touched a calendar with a new id. Returns the revision that touched it
    /// before, as its event names it.
    fn touch(&mut self, id: &str, previous: u64, change: &mut RewrittenChange) -> u64 {
        let before = self.touched.insert(id.to_owned(), change.revision);
        let revision = signed(change.revision);
        let bearers = self.bearers.get_mut(id);
        let newest = bearers.and_then(|bearers| bearers.range_mut(..=revision).next_back());
        if let Some((_, (_, version))) = newest {
            *version = Some(change.revision);
        }
        // What is no longer in the log stays as it was named.
        let named =
            |previous: u64| before.unwrap_or(if previous < self.oldest { previous } else { 0 });
        if previous == 0 && change.previous > 0 {
            let first = named(change.previous);
            change.new_previous.get_or_insert(first);
            return 0;
        }
        named(previous)
    }
}

impl RewrittenChange {
    /// The revision that last touched the calendar of the staged events before.
    fn previous(&self) -> u64 {
        if self.is_staged {
            self.new_previous.unwrap_or_default()
        } else {
            self.previous
        }
    }

    fn cause(&self, change: &ChangeRow, keeps_caller: bool) -> Cause {
        let cause = change.entry.cause;
        let is_of_log = matches!(cause, Cause::Restore | Cause::ClockReset);
        if self.kept == 0 && !keeps_caller && !is_of_log {
            Cause::TenantDeletion
        } else {
            cause
        }
    }
}

/// Removes the remembered requests that name something of the tenant alone.
fn forget_requests(connection: &Connection, tenant: &Tenant) -> Result<(), StoreError> {
    let mut after: Vec<u8> = Vec::new();
    loop {
        let page: Vec<(Vec<u8>, Vec<u8>)> = {
            let mut select = connection.prepare_cached(SELECT_REQUESTS)?;
            let rows = select.query_map(params![after, PAGE], |row| Ok((row.get(0)?, row.get(1)?)));
            rows?.collect::<rusqlite::Result<_>>()?
        };
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (hash, subject) in &page {
            if is_of_tenant(connection, tenant, &decode(subject, "a request")?)? {
                connection.prepare_cached(DELETE_REQUEST)?.execute([hash])?;
            }
        }
    }
}

fn is_of_tenant(
    connection: &Connection,
    tenant: &Tenant,
    subject: &SubjectRecord,
) -> Result<bool, StoreError> {
    let mut is_of_tenant = subject
        .calendar
        .as_ref()
        .is_some_and(|id| tenant.prefixes.has(id))
        || subject
            .token
            .as_ref()
            .is_some_and(|id| tenant.tokens.contains(id));
    for id in &subject.appointments {
        let key: Option<i64> = connection
            .prepare_cached(SELECT_KEY)?
            .query_row([id], |row| row.get(0))
            .optional()?;
        if let Some(key) = key {
            is_of_tenant |= stays(connection, record::key(key)?.0)? == Some(false);
        }
    }
    Ok(is_of_tenant)
}

/// Gives shared appointments the new ids, and removes the persons of those that are on calendars of
/// the tenant now: only who reads both tenants could see them.
fn keep_shared(
    connection: &Connection,
    tenant: &Tenant,
    new_ids: &NewIds,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page: Vec<_> = {
            let mut select = connection.prepare_cached(SELECT_SHARED)?;
            let rows = select.query_map(params![after, PAGE], |row| {
                Ok((row.get::<_, i64>(0)?, places_of(row)))
            });
            rows?.collect::<rusqlite::Result<_>>()?
        };
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = *last;
        for (key, places) in page {
            let places = places?;
            if places.calendars().any(|id| tenant.prefixes.has(id)) {
                let places = places_with_new_ids(places, new_ids).encode_to_vec();
                let mut update = connection.prepare_cached(UPDATE_SHARED)?;
                update.execute(params![key, places])?;
            }
        }
    }
}

/// Removes all rows that are the tenant's alone, and leaves nothing but times of its other
/// calendars.
fn delete_own(
    connection: &Connection,
    tenant: &Tenant,
    new_ids: &NewIds,
    of_ids: HashMap<String, BearerVersions>,
) -> Result<(), StoreError> {
    let prefix = tenant.prefix();
    for statement in [DELETE_CLAIMS, DELETE_TYPES, DELETE_BUSY] {
        connection.execute(statement, [prefix])?;
    }
    connection.execute(DELETE_APPOINTMENTS, [])?;
    let profile = ProfileRecord::blank().encode_to_vec();
    for new in new_ids.values() {
        for (since, (key, version)) in of_ids.get(new).into_iter().flatten() {
            connection.execute(UPDATE_CALENDAR, params![key, new, profile])?;
            let version = version.map_or(*since, signed);
            connection.execute(UPDATE_VERSION, [*key, version])?;
        }
    }
    for statement in [DELETE_VERSIONS, DELETE_CALENDARS] {
        connection.execute(statement, [prefix])?;
    }
    for id in &tenant.tokens {
        connection.execute(DELETE_TOKEN, [id])?;
    }
    connection.execute(DELETE_PRINCIPALS, [])?;
    Ok(())
}

/// Adds the mark of the deletion to the log, at the time of the change before it.
fn leave_mark(connection: &Connection) -> Result<(), StoreError> {
    let before = last(connection)?;
    let record = ChangeRecord::new(Cause::TenantDeletion, Vec::new()).encode_to_vec();
    let (revision, time) = (signed(before.revision.next().0), before.time.seconds());
    connection.execute(INSERT_MARK, params![revision, time, record])?;
    Ok(())
}
