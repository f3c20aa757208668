//! An export: writes the calendars and appointments of a store, or of a tenant, as the file that an
//! import reads.
//!
//! The store is unchanged, and the same store gives the same bytes. A file appears whole or not at
//! all: it is written under another name first.

mod items;
pub mod tenant;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value};

use super::{AdminError, Position, Progress, Step, StoreFile};
use crate::admin::tenant::TenantPrefix;
use crate::api::convert::file::{exported_appointment, exported_calendar};
use crate::clock::{Clock, SystemClock};
use crate::open_store::open_existing_sqlite;
use crate::proto_json;
use crate::store::sqlite::{Sqlite, is_there};
use crate::store::{ListQuery, Reader, Store};
use bookd_core::appointment::AppointmentState;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::reach::Reach;
use bookd_core::time::Instant;
use items::Items;

/// Rows that are read at a time.
const PAGE_ROWS: usize = 1_000;

/// What an export has.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Whether it has confirmation codes.
    pub has_codes: bool,
    /// The only tenant, of which it has everything, as the tenant sees it; none = all calendars and
    /// their appointments.
    pub tenant: Option<TenantPrefix>,
    /// Whether the export of a tenant has its history.
    pub has_history: bool,
}

/// The destination of an export.
pub enum Output<'a> {
    /// A file, which is replaced.
    File(&'a Path),
    /// A stream, written as the store is read.
    Stream(&'a mut dyn Write),
}

/// The size of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The number of calendars.
    pub calendars: u64,
    /// The number of appointments.
    pub appointments: u64,
}

/// Exports a store, or a tenant of it.
pub fn export(
    store: &StoreFile,
    selection: &Selection,
    output: Output<'_>,
    progress: Progress,
) -> Result<Exported, AdminError> {
    let zones = store.load_zones()?;
    let file = &store.path;
    if !is_there(file)? {
        return Err(AdminError::NotFound(format!(
            "{} is not there; name the store with --store",
            file.display()
        )));
    }
    let mut store = open_existing_sqlite(file, &zones)?;
    let mut exporter = Exporter::new(&mut store, selection, progress)?;
    match output {
        Output::Stream(out) => exporter.write(out),
        Output::File(to) => write_atomically(to, |out| exporter.write(out)),
    }
}

/// Writes a file whole or not at all: under another name in its folder, to the disk, and then by a
/// rename.
fn write_atomically<T>(
    to: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let cannot = |error: io::Error| {
        AdminError::Failed(format!("{} cannot be written: {error}", to.display()))
    };
    let mut name = to
        .file_name()
        .ok_or_else(|| AdminError::Failed(format!("{} is no file", to.display())))?
        .to_owned();
    name.push(".");
    let folder = to.parent().unwrap_or(Path::new(""));
    // The file has the usual permissions of this user, not those of a temporary file.
    let made = tempfile::Builder::new()
        .prefix(&name)
        .suffix(".part")
        .make_in(folder, |path| File::create_new(path));
    let mut made = made.map_err(cannot)?;
    let done = write(made.as_file_mut())?;
    made.as_file().sync_all().map_err(cannot)?;
    made.persist(to).map_err(|failed| cannot(failed.error))?;
    Ok(done)
}

/// The state of an export.
struct Exporter<'a> {
    store: &'a mut Sqlite,
    reader: Box<dyn Reader>,
    /// The revision at which each calendar was made. An appointment may name a calendar of an
    /// earlier revision, which was deleted.
    since: HashMap<CalendarId, Revision>,
    now: Instant,
    /// The key of confirmation codes; none if they are left out.
    code_key: Option<u64>,
    json: Json,
    /// Whose appointments and calendars are exported.
    reach: Reach,
    is_of_tenant: bool,
    has_history: bool,
    /// The number of appointments that were written.
    written: u64,
    position: Position,
}

impl<'a> Exporter<'a> {
    fn new(
        store: &'a mut Sqlite,
        selection: &Selection,
        progress: Progress,
    ) -> Result<Self, AdminError> {
        let boot = store.boot()?;
        let now = SystemClock.now().max(boot.last_time);
        let reader = store.reader()?;
        let code_key = selection.has_codes.then_some(boot.code_key);
        let tenant = selection.tenant.as_ref();
        let reach = tenant.map_or(Reach::ALL, |it| Reach::on(it.calendars().clone()));
        let json = Json {
            pool: proto_json::descriptors(),
        };
        let position = progress(Step::Writing);
        Ok(Self {
            store,
            reader,
            since: HashMap::new(),
            now,
            code_key,
            json,
            reach,
            is_of_tenant: tenant.is_some(),
            has_history: selection.has_history,
            written: 0,
            position,
        })
    }

    fn write(&mut self, out: &mut dyn Write) -> Result<Exported, AdminError> {
        let mut out = BufWriter::new(out);
        let ids = self.calendar_ids()?;
        for id in &ids {
            let calendar = self.calendar(id)?;
            self.since.insert(id.clone(), calendar.since);
        }
        write!(out, "{{\"calendars\": ")?;
        let mut calendars = Items::begin(&mut out)?;
        for id in &ids {
            let calendar = self.calendar(id)?;
            let head = self.json.calendar(&calendar).to_string();
            // The appointments are the last member, an appointment on each line.
            let (head, item) = (
                head.strip_suffix('}').unwrap_or(&head),
                calendars.next_item()?,
            );
            write!(item, "{head}, \"appointments\": ")?;
            self.appointments(Items::begin(item)?, id)?;
            write!(item, "}}")?;
        }
        calendars.end()?;
        if self.is_of_tenant {
            self.tenant(&mut out)?;
        }
        writeln!(out, "}}")?;
        out.flush()?;
        Ok(Exported {
            calendars: ids.len() as u64,
            appointments: self.written,
        })
    }

    fn calendar_ids(&mut self) -> Result<Vec<CalendarId>, AdminError> {
        let mut ids: Vec<CalendarId> = Vec::new();
        loop {
            let (page, _) =
                self.reader
                    .list_calendars(&self.reach.calendars, ids.last(), PAGE_ROWS)?;
            let is_last = page.len() < PAGE_ROWS;
            ids.extend(page.into_iter().map(|row| row.id));
            if is_last {
                return Ok(ids);
            }
        }
    }

    fn calendar(&mut self, id: &CalendarId) -> Result<Calendar, AdminError> {
        let found = self
            .store
            .load_calendars(std::slice::from_ref(id), self.now)?
            .pop()
            .flatten();
        found.ok_or_else(|| AdminError::Failed(format!("calendar {id} vanished while it was read")))
    }

    /// Writes the appointments whose first calendar is this one.
    fn appointments(
        &mut self,
        mut items: Items<'_>,
        calendar: &CalendarId,
    ) -> Result<(), AdminError> {
        let mut query = self.all_of(calendar);
        loop {
            let page = self.reader.list_appointments(&query)?;
            for it in &page.appointments {
                let Some(seen) = self.reach.show(it) else {
                    continue;
                };
                let is_there = |id: &CalendarId, since| self.since.get(id) == Some(&since);
                let Some(message) = exported_appointment(&seen, is_there, self.now, self.code_key)
                else {
                    continue;
                };
                if message
                    .calendar_ids
                    .first()
                    .is_none_or(|first| first != calendar.as_str())
                {
                    continue;
                }
                items.add(&self.json.message("Appointment", &message))?;
                self.count();
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(items.end()?),
            }
        }
    }

    /// Counts an appointment that was written.
    fn count(&mut self) {
        self.written += 1;
        (self.position)(self.written);
    }

    /// The query of all appointments of a calendar.
    fn all_of(&self, calendar: &CalendarId) -> ListQuery {
        ListQuery {
            calendar: Some(calendar.clone()),
            email: None,
            key: None,
            series: None,
            type_id: None,
            states: AppointmentState::ALL.to_vec(),
            from: Instant::MIN,
            to: None,
            is_descending: false,
            after: None,
            limit: PAGE_ROWS,
            scanned_max: ListQuery::SCANNED_MAX,
            reach: self.reach.clone(),
            at: None,
            now: self.now,
        }
    }
}

/// Renders messages of the contract as JSON.
struct Json {
    pool: DescriptorPool,
}

impl Json {
    fn message(&self, name: &str, message: &impl Message) -> Value {
        let descriptor = proto_json::message(&self.pool, name);
        let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
        let message = message.expect("a message of the contract is one to its descriptors too");
        let mut value =
            proto_json::to_json(&message).expect("every message of the contract has a JSON form");
        // A map has no order of its own, and the same store must give the same bytes.
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.sort_keys();
        }
        value
    }

    fn calendar(&self, calendar: &Calendar) -> Value {
        let file = exported_calendar(calendar);
        let mut value = self.message("Calendar", &file.calendar);
        let all = |name: &str, messages: Vec<Value>| {
            (!messages.is_empty()).then(|| (name.to_owned(), messages.into()))
        };
        let rules = file
            .rules
            .iter()
            .map(|rule| self.message("AvailabilityRule", rule))
            .collect();
        let overrides = file
            .overrides
            .iter()
            .map(|date| self.message("AvailabilityOverride", date))
            .collect();
        let types = file
            .appointment_types
            .iter()
            .map(|appointment_type| self.message("AppointmentType", appointment_type))
            .collect();
        let last = file
            .last_definitions
            .iter()
            .map(|appointment_type| self.message("AppointmentType", appointment_type))
            .collect();
        let deleted = file
            .deleted_appointment_types
            .iter()
            .map(|name| Value::from(name.as_str()))
            .collect();
        let source = |(source, periods): &(String, Vec<crate::proto::v1::Period>)| {
            let periods: Vec<Value> = periods
                .iter()
                .map(|period| self.message("Period", period))
                .collect();
            Value::Object(Map::from_iter([
                ("source".to_owned(), Value::from(source.as_str())),
                ("periods".to_owned(), Value::from(periods)),
            ]))
        };
        let busy = file.busy.iter().map(source).collect();
        let members_of_file: [Option<(String, Value)>; 6] = [
            all("rules", rules),
            all("overrides", overrides),
            all("appointment_types", types),
            all("deleted_appointment_types", deleted),
            all("last_definitions", last),
            all("busy", busy),
        ];
        if let Some(members) = value.as_object_mut() {
            members.extend(members_of_file.into_iter().flatten());
        }
        value
    }
}
