//! A store beside the core's own state, and commands that fill both.
//!
//! Commands are decided by the core, committed, and only then applied to the state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bookd::store::memory::Memory;
use bookd::store::sqlite::{Sqlite, vfs_name};
use bookd::store::{
    CommitBatch, CommitError, HistoryQuery, HistorySubject, ListPage, ListQuery, Reader,
    RequestRecord, Store, StoreError, ZoneLookup,
};
use bookd::zones::Zones;
use bookd_core::appointment::{
    Appointment, AppointmentState, Assignment, Carried, IgnoredRules, Invitee, OccurrenceOf,
    PersonDetails, PersonPatch,
};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Rule, Weekdays, Window};
use bookd_core::calendar::{Calendar, Owner, Profile};
use bookd_core::command::{Booking, Command, Move, NewId, Start};
use bookd_core::decide::{Decision, decide, reset_clock};
use bookd_core::ids::{
    AppointmentId, AppointmentKey, CalendarId, Caller, Revision, SeriesId, TypeId, TypeNumber,
};
use bookd_core::log::{LogEntry, LogPosition};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::{DAY, HOUR, Instant, LocalDate, MINUTE, Minutes, Seconds};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use uuid::Uuid;

/// 2027-01-04T00:00:00Z, a Monday. The store takes the time from its caller, so that it may lie in
/// the past.
pub const MONDAY: Instant = Instant::from_seconds(1_799_020_800);
pub const CODE_KEY: u64 = u64::MAX - 5;

pub fn zones() -> ZoneLookup {
    let zones = Zones::bundled();
    Arc::new(move |name| zones.zone(name).ok())
}

pub fn id(text: &str) -> CalendarId {
    CalendarId::parse(text).unwrap()
}

pub fn appointment_id(number: u128) -> AppointmentId {
    AppointmentId(Uuid::from_u128(number))
}

pub fn minutes(minutes: u32) -> Minutes {
    Minutes::new(minutes).unwrap()
}

/// A connection to a store's file that keeps the checksums of pages valid, so that its changes are
/// damage of rows and not of pages.
pub fn raw(file: impl AsRef<Path>) -> Connection {
    Connection::open_with_flags_and_vfs(file, OpenFlags::default(), vfs_name().as_str()).unwrap()
}

/// A query for the history of an appointment, from a revision back.
pub fn of_appointment(
    id: AppointmentId,
    from: Option<Revision>,
    changes_max: usize,
) -> HistoryQuery {
    let from = from.map(LogPosition::of);
    HistoryQuery {
        subject: HistorySubject::Appointment(id),
        from,
        changes_max,
        prefixes: Prefixes::ALL,
    }
}

/// A query for the history of a calendar, from a revision back.
pub fn of_calendar(id: &CalendarId, from: Option<Revision>, changes_max: usize) -> HistoryQuery {
    HistoryQuery {
        subject: HistorySubject::Calendar(id.clone()),
        from: from.map(LogPosition::of),
        changes_max,
        prefixes: Prefixes::ALL,
    }
}

/// The changes of a page of a history; none if its subject never existed.
pub fn history(
    reader: &mut dyn Reader,
    query: &HistoryQuery,
) -> Result<Option<Vec<LogEntry>>, StoreError> {
    Ok(reader.history(query)?.map(|page| page.entries))
}

/// A store, the core's state of it, and the current time.
pub struct World {
    store: Option<Box<dyn Store>>,
    reopen: Box<dyn Fn() -> Box<dyn Store>>,
    pub state: State,
    pub now: Instant,
    pub folder: Option<Arc<TempDir>>,
}

impl World {
    fn new(reopen: Box<dyn Fn() -> Box<dyn Store>>) -> Self {
        let state = State {
            next_key: AppointmentKey(1),
            ..State::default()
        };
        Self {
            store: Some(reopen()),
            reopen,
            state,
            now: MONDAY,
            folder: None,
        }
    }

    pub fn memory() -> Self {
        let memory = Memory::new(CODE_KEY);
        Self::new(Box::new(move || Box::new(memory.clone())))
    }

    pub fn sqlite() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let file = folder.path().join("bookd.db");
        let open =
            move || Box::new(Sqlite::open(&file, zones(), CODE_KEY).unwrap()) as Box<dyn Store>;
        Self {
            folder: Some(folder),
            ..Self::new(Box::new(open))
        }
    }

    pub fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    /// Closes the store and opens it again without anything in memory, then loads all calendars.
    pub fn reopen(&mut self) {
        self.store = None;
        self.store = Some((self.reopen)());
        let calendars: Vec<_> = self.state.calendars.keys().cloned().collect();
        let now = self.now;
        self.store().load_calendars(&calendars, now).unwrap();
    }

    pub fn commit(
        &mut self,
        decision: &Decision,
        requests: &[RequestRecord],
    ) -> Result<(), CommitError> {
        let change = decision
            .change(&self.state, self.now, Caller("clerk".into()))
            .unwrap();
        let touched: BTreeSet<_> = change.events.iter().flat_map(|it| it.calendars()).collect();
        let version =
            |id: &&CalendarId| Some(((*id).clone(), self.state.calendars.get(*id)?.version));
        let expected: Vec<_> = touched.iter().filter_map(version).collect();
        let batch = CommitBatch {
            changes: std::slice::from_ref(&change),
            requests,
            expected: &expected,
        };
        self.store.as_mut().unwrap().commit(&batch)?;
        self.state.apply(&change);
        Ok(())
    }

    /// Decides a command, commits it, and answers its appointments.
    pub fn run(&mut self, command: &Command) -> Vec<Arc<Appointment>> {
        let decision = decide(&self.state, command, self.now).unwrap();
        self.commit(&decision, &[]).unwrap();
        decision.outcome.appointments
    }

    /// Resets the store's clock to `now`, as `bookd clock reset` does.
    pub fn reset_clock(&mut self, now: Instant) {
        let state = State {
            revision: self.state.revision,
            ..State::default()
        };
        let waiting: Vec<_> = self.state.appointments.values().cloned().collect();
        let change = reset_clock(&state, &waiting, now);
        self.store()
            .commit(&CommitBatch {
                changes: std::slice::from_ref(&change),
                requests: &[],
                expected: &[],
            })
            .unwrap();
        self.state.apply(&change);
        self.now = now;
    }

    pub fn book(&mut self, number: u128, calendar: &str, start: Instant) -> Arc<Appointment> {
        self.run(&Command::Book(booking(number, calendar, start)))
            .remove(0)
    }

    pub fn list(&self, query: &ListQuery) -> ListPage {
        self.store
            .as_ref()
            .unwrap()
            .reader()
            .unwrap()
            .list_appointments(query)
            .unwrap()
    }

    /// Asserts that everything that is loaded, before and after the store is opened again, is the
    /// core's state.
    pub fn check(&mut self) {
        for _ in 0..2 {
            let now = self.now;
            for calendar in self.state.calendars.clone().into_values() {
                let loaded = self
                    .store()
                    .load_calendars(std::slice::from_ref(&calendar.id), now)
                    .unwrap()
                    .remove(0);
                let loaded = Calendar {
                    kept_from: calendar.kept_from,
                    ..loaded.unwrap()
                };
                assert_eq!(loaded, *calendar);
            }
            for appointment in self.state.appointments.clone().into_values() {
                assert_eq!(
                    self.store().load_appointments(&[appointment.id]).unwrap(),
                    [(*appointment).clone()]
                );
                assert_eq!(
                    self.store().load_by_key(&[appointment.key]).unwrap(),
                    [(*appointment).clone()]
                );
            }
            let boot = self.store().boot().unwrap();
            let State {
                revision,
                last_time,
                next_key,
                ..
            } = self.state;
            assert_eq!(
                (boot.revision, boot.last_time, boot.next_key),
                (revision, last_time, next_key)
            );
            assert_eq!(boot.tokens, self.state.tokens);
            let waiting = self
                .state
                .appointments
                .values()
                .filter(|it| it.is_waiting());
            let mut waiting: Vec<_> = waiting.map(|it| (it.expire_time.unwrap(), it.id)).collect();
            let mut expiring: Vec<_> = boot
                .expiring
                .iter()
                .map(|it| (it.expire_time, it.appointment))
                .collect();
            waiting.sort_unstable();
            expiring.sort_unstable();
            assert_eq!(expiring, waiting);
            self.reopen();
        }
    }
}

pub fn profile(zone: &str) -> Profile {
    Profile {
        display_name: "Ada’s room".to_owned(),
        owner: Owner {
            name: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
        },
        zone: zones()(zone).unwrap(),
        paused: false,
        limits: Limits {
            per_week: Some(50),
            ..Limits::default()
        },
        metadata: BTreeMap::from([("colour".to_owned(), "blue".to_owned())]),
        availability: Default::default(),
    }
}

pub fn invitee() -> Invitee {
    Invitee {
        name: "Grace Hopper".to_owned(),
        email: bookd::fold::email("Grace@Example.com"),
        phone: "+1 555 0100".to_owned(),
        time_zone: "America/New_York".to_owned(),
    }
}

pub fn booking(number: u128, calendar: &str, start: Instant) -> Booking {
    Booking {
        id: NewId::Made(appointment_id(number)),
        calendars: vec![id(calendar)],
        assignment: Assignment::All,
        type_id: None,
        start: Some(Start::At(start)),
        duration: None,
        person: PersonDetails {
            invitee: Some(invitee()),
            carried: Carried {
                note: "secret-note".to_owned(),
                metadata: BTreeMap::from([("secret-key".to_owned(), "secret-value".to_owned())]),
                location: "secret-location".to_owned(),
            },
        },
        hold: None,
        ignored_rules: IgnoredRules {
            notice: true,
            ..IgnoredRules::default()
        },
        occurrence: Some(OccurrenceOf {
            original_start: start,
            ..of_series(7)
        }),
    }
}

/// An occurrence of a series, with its original start on Monday.
pub fn of_series(number: u128) -> OccurrenceOf {
    OccurrenceOf {
        series: SeriesId(Uuid::from_u128(number)),
        original_start: MONDAY,
    }
}

pub fn query() -> ListQuery {
    ListQuery {
        calendar: Some(id("ada")),
        email: None,
        key: None,
        series: None,
        type_id: None,
        states: AppointmentState::ALL.to_vec(),
        from: Instant::MIN,
        to: None,
        is_descending: false,
        after: None,
        limit: 100,
        scanned_max: ListQuery::SCANNED_MAX,
        reach: Reach::ALL,
        at: None,
        now: MONDAY,
    }
}

pub fn at_hour(hour: i64) -> Instant {
    MONDAY.plus(DAY + hour * HOUR)
}

pub fn always_open() -> Vec<Rule> {
    let window = Window::new(0, 1440).unwrap();
    vec![Rule {
        weekdays: Weekdays::ALL,
        window,
        first_date: None,
        last_date: Some(LocalDate::from_days(30_000)),
    }]
}

pub fn open(world: &mut World, calendar: &str, zone: &str) {
    let calendar = id(calendar);
    world.run(&Command::CreateCalendar {
        calendar: calendar.clone(),
        profile: profile(zone),
    });
    let utc = zones()("UTC").unwrap();
    world.run(&Command::SetAvailability {
        calendar,
        zone: None,
        utc,
        rules: always_open(),
        etag: None,
    });
}

pub fn special_type() -> AppointmentType {
    AppointmentType {
        id: TypeId::parse("special").unwrap(),
        number: TypeNumber(9),
        display_name: "Special".to_owned(),
        duration: minutes(45),
        duration_options: vec![minutes(90)],
        slot_step: Some(minutes(15)),
        buffer_before: minutes(5),
        buffer_after: minutes(10),
        min_notice: Seconds::new(HOUR).unwrap(),
        horizon_days: 90,
        capacity: 3,
        limits: Limits {
            per_day: Some(4),
            per_month: Some(40),
            ..Limits::default()
        },
        requires_approval: true,
        pending_blocks: false,
        cancel_notice: Some(Seconds::new(60).unwrap()),
        reschedule_notice: Some(Seconds::new(0).unwrap()),
        rules: always_open(),
        stamps: Stamps::default(),
    }
}

pub fn put_special(world: &mut World) {
    world.run(&Command::PutAppointmentType {
        calendar: id("ada"),
        appointment_type: special_type(),
        etag: None,
    });
}

pub fn moved(appointment: AppointmentId, start: Instant) -> Move {
    Move {
        appointment,
        start: Some(Start::At(start)),
        duration: None,
        calendars: Vec::new(),
        assignment: Assignment::All,
        ignored_rules: IgnoredRules::default(),
        etag: None,
    }
}

pub fn move_to(appointment: AppointmentId, start: Instant) -> Command {
    Command::Reschedule(moved(appointment, start))
}

pub fn cancel(appointment: AppointmentId) -> Command {
    Command::Cancel {
        appointment,
        reason: "secret-reason".to_owned(),
        etag: None,
    }
}

/// Commands for everything that can happen to an appointment, with personal data in each field.
pub fn live_a_life(world: &mut World) {
    open(world, "ada", "Europe/Paris");
    put_special(world);
    let booked = world.book(1, "ada", at_hour(9));
    world.run(&move_to(booked.id, at_hour(14)));
    let patch = PersonPatch {
        carried: Carried {
            note: "secret-note-2".to_owned(),
            ..Carried::default()
        },
        fields: vec!["note"],
        ..PersonPatch::default()
    };
    world.run(&Command::UpdateAppointment {
        appointment: booked.id,
        patch,
        etag: None,
    });
    world.run(&cancel(booked.id));
    let ttl = Seconds::new(10 * MINUTE).unwrap();
    for (number, hour) in [(2, 9), (3, 10), (4, 11)] {
        world.run(&Command::Hold {
            booking: booking(number, "ada", at_hour(hour)),
            ttl,
        });
    }
    world.run(&Command::Confirm {
        appointment: appointment_id(2),
        invitee: None,
        etag: None,
    });
    world.run(&Command::ReleaseHold {
        appointment: appointment_id(3),
        etag: None,
    });
    let special = |number, hour| {
        let type_id = Some(special_type().id);
        Command::Book(Booking {
            type_id,
            ..booking(number, "ada", at_hour(hour))
        })
    };
    (5..8)
        .zip(16..)
        .for_each(|(number, hour)| drop(world.run(&special(number, hour))));
    world.run(&Command::Approve {
        appointment: appointment_id(5),
        etag: None,
    });
    let reason = "secret-reason".to_owned();
    world.run(&Command::Decline {
        appointment: appointment_id(6),
        reason,
        etag: None,
    });
}
