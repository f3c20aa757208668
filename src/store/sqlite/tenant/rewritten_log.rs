//! The rewriting of the log when a tenant is deleted.
//!
//! Every revision keeps its change and every event of another tenant its number. Chains that led
//! over erased events lead to the ones before.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{TenantContent, stays};
use crate::store::codec::change::{ChangeRecord, read_head};
use crate::store::codec::erasure::{
    NewIds, begins_or_ends_a_calendar, replaced_elsewhere, with_new_ids,
};
use crate::store::sqlite::log;
use crate::store::sqlite::rows::signed;
use crate::store::sqlite::segments::{CHANGE_COLUMNS, ChangeRow, Segments, WantedEvents};
use crate::store::{CalendarFilter, StoreError};
use bookd_core::change::Cause;

/// The number of the segments of the change that is being rewritten: no deletion ever has it.
const REWRITTEN: i64 = i64::MIN + 1;
static SELECT_NEXT_CHANGE: LazyLock<String> = LazyLock::new(|| {
    format!("select {CHANGE_COLUMNS} where c.revision > ?1 order by c.revision limit 1")
});
const MAKE_GONE_TOKENS: &str = "create temp table if not exists gone_token_changes \
     (revision integer primary key) strict";
const EMPTY_GONE_TOKENS: &str = "delete from temp.gone_token_changes";
const PUT_GONE_TOKENS: &str = "insert into temp.gone_token_changes (revision) values (?1)";
const SELECT_REPLACED: &str = "select replaced from changes where revision = ?1";
const UPDATE_CHANGE: &str = "update changes set record = ?2, caller = iif(?3, caller, null), replaced = ?4, \
     events = ?5, segments = null where revision = ?1";
const DELETE_SEGMENTS: &str = "delete from change_segments where revision = ?1";
const MOVE_SEGMENTS: &str = "update change_segments set revision = ?2 where revision = ?1";
const SELECT_BEARERS: &str = "select key, since, delete_time from calendars where id = ?1";

/// The calendars that bore an id, each by the revision that created it: the key of its row, and the
/// last change that touched it.
pub(super) type BearerVersions = BTreeMap<i64, (i64, Option<u64>)>;

/// The rewriting of the log.
pub(super) struct LogErasure<'a> {
    connection: &'a Connection,
    tenant: &'a TenantContent,
    new_ids: &'a NewIds,
    filter: CalendarFilter,
    segment_bytes_max: usize,
    /// The oldest change.
    oldest: u64,
    /// The last change that touched each of the new ids.
    touched: HashMap<String, u64>,
    /// The calendars of each of the new ids.
    pub(super) bearers: HashMap<String, BearerVersions>,
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
    pub(super) fn new(
        connection: &'a Connection,
        tenant: &'a TenantContent,
        new_ids: &'a NewIds,
        segment_bytes_max: usize,
    ) -> Result<Self, StoreError> {
        connection.execute(MAKE_GONE_TOKENS, [])?;
        connection.execute(EMPTY_GONE_TOKENS, [])?;
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

    /// Rewrites the log. The temporary table of changes of tokens that are gone has them afterwards.
    pub(super) fn rewrite(&mut self) -> Result<(), StoreError> {
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
                self.rewrite_change(&change)?;
            } else if self.is_of_gone_tokens(&change) {
                let mut put = self.connection.prepare_cached(PUT_GONE_TOKENS)?;
                put.execute([after])?;
            }
        }
    }

    /// Whether a change names tokens, and none that is stored: revoked ones, or dropped by a
    /// restore.
    fn is_of_gone_tokens(&self, change: &ChangeRow) -> bool {
        let (tokens, stored) = (change.tokens(), &self.tenant.other_tokens);
        !tokens.is_empty() && !tokens.iter().any(|id| stored.contains(id))
    }

    /// Whether a change has something of the tenant, or of a remnant.
    fn is_theirs(&self, change: &ChangeRow) -> Result<bool, StoreError> {
        let tokens = change.tokens();
        let mut is_theirs = tokens.iter().any(|id| self.tenant.tokens.contains(id));
        let wanted = WantedEvents::Calendars(&self.filter);
        change.walk(self.connection, 0, &wanted, |_, event| {
            let touched = read_head(event)?.calendars;
            is_theirs |= touched.iter().any(|it| self.tenant.has(&it.calendar));
            Ok(if is_theirs {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        Ok(is_theirs)
    }

    fn rewrite_change(&mut self, change: &ChangeRow) -> Result<(), StoreError> {
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
        let is_theirs = |id: &str| self.tenant.has(id);
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
