//! A deletion by force in a store: its cancellations are staged before the change and settled after
//! it.
//!
//! At every moment the file shows the same as a store in which the deletion was made at once.

use std::path::Path;
use std::sync::Arc;

use bookd::store::{ListQuery, Reader};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Event};
use bookd_core::command::{Beforehand, Booking, Command};
use bookd_core::deletion::{STAMPS, Staged, cancelled_with_calendar, is_staged};
use bookd_core::ids::{AppointmentKey, Etag, Revision};
use bookd_core::log::{LogEntry, LogEvent};
use bookd_core::time::{Instant, MINUTE, Seconds};
use tempfile::TempDir;

use crate::check_derived::checked;
use crate::stored::{
    World, always_open, appointment_id, at_hour, booking, cancel, history, id, of_calendar,
    profile, query, raw, zones,
};
use bookd_kit::log::whole_log;

fn hold(booking: Booking, minutes: i64) -> Command {
    Command::Hold {
        booking,
        ttl: Seconds::new(minutes * MINUTE).unwrap(),
    }
}

/// Commands that make appointments of every kind that a deletion of `ada` meets: confirmed, of both
/// calendars, held, held of both, cancelled; and one of `bob` alone.
pub fn commands() -> Vec<Command> {
    let both = |number, hour| Booking {
        calendars: vec![id("ada"), id("bob")],
        ..booking(number, "ada", at_hour(hour))
    };
    let calendar = |name: &str| {
        let utc = zones()("UTC").unwrap();
        let create = Command::CreateCalendar {
            calendar: id(name),
            profile: profile("UTC"),
        };
        [
            create,
            Command::SetAvailability {
                calendar: id(name),
                zone: None,
                utc,
                rules: always_open(),
                etag: None,
            },
        ]
    };
    let booked = |number: u128| {
        Command::Book(booking(
            number,
            "ada",
            at_hour(i64::try_from(number).unwrap()),
        ))
    };
    let mut commands: Vec<Command> = ["ada", "bob"].into_iter().flat_map(calendar).collect();
    commands.extend((1..=9).map(booked));
    commands.push(Command::Book(both(20, 20)));
    commands.push(Command::Book(booking(21, "bob", at_hour(1))));
    commands.push(hold(booking(22, "ada", at_hour(22)), 20));
    commands.push(hold(both(23, 23), 10));
    commands.push(cancel(appointment_id(4)));
    commands
}

pub fn delete(etag: Option<Etag>) -> Command {
    Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag,
        beforehand: None,
    }
}

/// The log with events in the order of their appointments, and without the previous revisions of
/// calendars.
fn alike(log: Vec<LogEntry>) -> Vec<LogEntry> {
    let alike = |mut entry: LogEntry| {
        entry
            .events
            .iter_mut()
            .flat_map(|it| &mut it.calendars)
            .for_each(|it| it.previous = Revision(0));
        entry.events.sort_by_key(|it| {
            it.appointment()
                .map_or(AppointmentKey(u64::MAX), |it| it.key)
        });
        entry
    };
    log.into_iter().map(alike).collect()
}

/// The appointments of lists by every kind of filter.
fn lists(reader: &mut dyn Reader) -> Vec<Vec<Appointment>> {
    let of_series = ListQuery {
        calendar: None,
        series: Some(crate::stored::of_series(7).series),
        ..query()
    };
    let email = Some(crate::stored::invitee().email.key);
    let of_email = ListQuery {
        calendar: None,
        email,
        ..query()
    };
    let by_state = query().states.into_iter().map(|state| ListQuery {
        states: vec![state],
        ..query()
    });
    let of_bob = ListQuery {
        calendar: Some(id("bob")),
        ..query()
    };
    let all = [query(), of_bob, of_series, of_email]
        .into_iter()
        .chain(by_state);
    all.map(|query| reader.list_appointments(&query).unwrap().appointments)
        .collect()
}

/// Everything that a reader can see: appointments, lists, the log, and the histories of calendars.
pub type Seen = (
    Vec<Appointment>,
    Vec<Vec<Appointment>>,
    Vec<LogEntry>,
    Vec<Vec<LogEntry>>,
);

pub fn seen(reader: &mut dyn Reader) -> Seen {
    let all = reader
        .appointments_after(AppointmentKey::default(), 1_000)
        .unwrap()
        .0;
    let of = |name| {
        alike(
            history(reader, &of_calendar(&id(name), None, 1_000))
                .unwrap()
                .unwrap(),
        )
    };
    let histories = ["ada", "bob"].map(of).to_vec();
    (all, lists(reader), alike(whole_log(reader)), histories)
}

pub fn left(file: &Path) -> (i64, i64) {
    let count = |sql| raw(file).query_row(sql, [], |row| row.get(0)).unwrap();
    (
        count("select count(*) from deletions"),
        count("select count(*) from change_segments where revision < 0"),
    )
}

/// The findings of `bookd check` in a copy of an open file.
pub fn checked_copy(file: &Path) -> (Vec<String>, i32) {
    let folder = TempDir::new().unwrap();
    for name in ["bookd.db", "bookd.db-wal"] {
        std::fs::copy(file.with_file_name(name), folder.path().join(name)).unwrap();
    }
    checked(folder.path())
}

/// The appointments that a deletion of `ada` at this time cancels, in the order of their keys.
fn upcoming_of_ada(world: &World, now: Instant) -> Vec<Arc<Appointment>> {
    let upcoming: Vec<AppointmentKey> = world.state.calendars[&id("ada")].upcoming(now).collect();
    let of = |key: &AppointmentKey| {
        world
            .state
            .appointments
            .values()
            .find(|it| it.key == *key)
            .unwrap()
            .clone()
    };
    let mut all: Vec<Arc<Appointment>> = upcoming.iter().map(of).collect();
    all.sort_by_key(|it| it.key);
    all
}

/// The event that a deletion stages for an appointment.
fn cancellation(before: &Arc<Appointment>) -> LogEvent {
    let event = Event::Appointment {
        kind: AppointmentEvent::Cancelled,
        before: Some(Arc::clone(before)),
        after: Arc::new(cancelled_with_calendar(before, STAMPS)),
    };
    LogEvent::new(&event, |_| STAMPS.1).unwrap()
}

#[test]
fn what_a_deletion_cancels_is_shown_with_its_change_though_the_rows_come_later() {
    let (mut memory, mut sqlite) = (World::memory(), World::sqlite());
    for world in [&mut memory, &mut sqlite] {
        commands().iter().for_each(|it| drop(world.run(it)));
    }
    let folder = sqlite.folder.clone().unwrap();
    let file = folder.path().join("bookd.db");
    let unchanged = seen(&mut *memory.store().reader().unwrap());
    // One deletion is begun and never committed.
    let began = sqlite.now;
    let abandoned = sqlite
        .store()
        .begin_deletion(&id("ada"), began)
        .unwrap()
        .unwrap();
    let all = upcoming_of_ada(&sqlite, began);
    let (staged, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| is_staged(it, began));
    assert_eq!((staged.len(), others.len()), (8, 3));
    let events: Vec<LogEvent> = staged.iter().map(cancellation).collect();
    sqlite.store().stage(abandoned, 0, &events[..3]).unwrap();
    let number = sqlite
        .store()
        .begin_deletion(&id("ada"), began)
        .unwrap()
        .unwrap();
    assert_ne!(number, abandoned);
    for (before, events) in [(0, &events[..3]), (3, &events[3..6]), (6, &events[6..])] {
        sqlite.store().stage(number, before, events).unwrap();
        assert_eq!(
            seen(&mut *sqlite.store().reader().unwrap()),
            unchanged,
            "readers do not see staged events"
        );
    }
    assert_eq!(checked_copy(&file), (Vec::new(), 0), "staged");

    // The change that deletes the calendar.
    let staged_all = Staged {
        number,
        events: staged.len() as u64,
        began,
    };
    let others = others.iter().map(|it| it.id).collect();
    let beforehand = Some(Box::new(Beforehand {
        staged: staged_all,
        others,
    }));
    sqlite.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag: None,
        beforehand,
    });
    memory.run(&delete(None));
    for it in &staged {
        let after = cancelled_with_calendar(it, (sqlite.now, sqlite.state.revision));
        sqlite.state.appointments.insert(it.id, Arc::new(after));
    }
    let wanted = seen(&mut *memory.store().reader().unwrap());
    settle_in_steps(&mut sqlite, &file, &wanted);
    assert_eq!(left(&file).0, 0);
    let segments: i64 = raw(&file)
        .query_row(
            "select count(distinct revision) from change_segments where revision < 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(segments, 1, "those of the change alone");
}

/// Settles a deletion two rows at a time; before each step the file shows what is wanted and is
/// sound.
fn settle_in_steps(sqlite: &mut World, file: &Path, wanted: &Seen) {
    let mut settled = 0;
    loop {
        assert_eq!(
            seen(&mut *sqlite.store().reader().unwrap()),
            *wanted,
            "after {settled} steps"
        );
        sqlite.check();
        assert_eq!(checked_copy(file), (Vec::new(), 0), "after {settled} steps");
        if !sqlite.store().settle(2, None).unwrap() {
            break;
        }
        settled += 1;
    }
    assert!(settled > 4, "{settled}");
}
