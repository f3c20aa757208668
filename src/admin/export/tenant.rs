//! What the export of a tenant has beside its calendars: deleted calendars, appointments that an
//! import cannot take, history and tokens.
//!
//! Each is a member of its own, which an import knows by name and passes over.

use std::io::Write;

use serde_json::Value;

use super::items::Items;
use super::{Exporter, PAGE_ROWS};
use crate::admin::AdminError;
use crate::api::convert::render;
use crate::proto::v1 as pb;
use crate::store::log_reader::PART_EVENTS_MAX;
use crate::store::{CalendarFilter, Store, WatchFilter};
use bookd_core::appointment::{Appointment, AppointmentState};
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::LogPosition;
use bookd_core::reach::Reach;

/// The members that an import passes over.
pub const MEMBERS: [&str; 4] = [
    "deleted_calendars",
    "further_appointments",
    "tokens",
    "changes",
];

/// Begins a further member of the file.
fn member<'a>(out: &'a mut dyn Write, name: &str) -> Result<Items<'a>, AdminError> {
    write!(out, ",\n\"{name}\": ")?;
    Ok(Items::begin(out)?)
}

impl Exporter<'_> {
    /// Writes the members beside the calendars.
    pub(super) fn tenant(&mut self, out: &mut dyn Write) -> Result<(), AdminError> {
        let [deleted, further, tokens, changes] = MEMBERS;
        self.deleted_calendars(member(out, deleted)?)?;
        self.further_appointments(member(out, further)?)?;
        self.tokens(member(out, tokens)?)?;
        // The history is the largest member, and the one that a reader may stop at.
        if self.has_history {
            self.changes(member(out, changes)?)?;
        }
        Ok(())
    }

    fn deleted_calendars(&self, mut items: Items<'_>) -> Result<(), AdminError> {
        for deleted in self.store.deleted_calendars(&self.reach.calendars)? {
            let mut item = self.json.calendar(&deleted.calendar);
            item["delete_time"] = Value::from(deleted.delete_time.to_string());
            items.add(&item)?;
        }
        Ok(items.end()?)
    }

    /// Appointments that are not, or not whole, among those of the calendars: on deleted calendars,
    /// and holds.
    fn further_appointments(&mut self, mut items: Items<'_>) -> Result<(), AdminError> {
        let mut after = AppointmentKey::default();
        loop {
            let (page, _) = self.reader.appointments_after(after, PAGE_ROWS)?;
            let Some(last) = page.last() else { break };
            after = last.key;
            for it in &page {
                let seen = self.reach.show(it);
                let Some(seen) = seen.filter(|it| !self.is_whole_in_calendars(it)) else {
                    continue;
                };
                let code_key = self.code_key.unwrap_or_default();
                let mut message = render::appointment(&seen, self.now, code_key);
                if self.code_key.is_none() {
                    message.confirmation_code.clear();
                }
                items.add(&self.json.message("Appointment", &message))?;
                self.count();
            }
        }
        Ok(items.end()?)
    }

    fn is_whole_in_calendars(&self, seen: &Appointment) -> bool {
        let mut places = seen.places.iter();
        seen.state_at(self.now) != AppointmentState::Held
            && places.all(|it| self.since.get(&it.calendar) == Some(&it.since))
    }

    /// The history, the oldest change first. A change with many events comes in several items.
    fn changes(&mut self, mut items: Items<'_>) -> Result<(), AdminError> {
        let oldest = self.store.oldest()?.map_or(Revision(1), |it| it.revision);
        let filter = WatchFilter {
            calendars: CalendarFilter::Prefixes(self.reach.calendars.clone()),
            reach: self.reach.clone(),
        };
        let mut from = LogPosition::of(oldest);
        loop {
            let page = self.reader.changes_from(from, &filter, PART_EVENTS_MAX)?;
            if page.next == from {
                return Ok(items.end()?);
            }
            for part in &page.changes {
                let change: pb::Change = render::change(&part.entry, &self.reach);
                items.add(&self.json.message("Change", &change))?;
            }
            from = page.next;
        }
    }

    /// The tokens that are limited to the tenant, without their hashes.
    fn tokens(&mut self, mut items: Items<'_>) -> Result<(), AdminError> {
        let Reach { calendars, .. } = self.reach.clone();
        let tokens = self.store.boot()?.tokens;
        for token in tokens.iter().filter(|it| calendars.include(&it.prefixes)) {
            items.add(
                &self
                    .json
                    .message("TokenRecord", &render::token_record(token)),
            )?;
        }
        Ok(items.end()?)
    }
}
