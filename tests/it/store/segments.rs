//! Changes in segments: both stores answer them alike, whole, in parts and by event; unneeded
//! segments are not read, a missing segment is damage, and files of before schema 5 have every
//! event.

use std::path::PathBuf;
use std::sync::Arc;

use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::{
    CalendarFilter, ChangePart, CommitBatch, HistoryPage, HistoryQuery, ListQuery, Reader,
    StoreError, UNDONE_APPOINTMENTS_MAX, WatchFilter,
};
use bookd_core::appointment::{Appointment, AppointmentState, IgnoredRules, Image};
use bookd_core::change::{AppointmentEvent, Cause, Change, Event};
use bookd_core::command::{Booking, Command};
use bookd_core::ids::{AppointmentKey, Caller, Revision};
use bookd_core::log::{LogEvent, LogPosition};
use rusqlite::Connection;

use crate::stored::{
    MONDAY, World, appointment_id, at_hour, booking, cancel, id, move_to, of_appointment,
    of_calendar, open, query, raw, zones,
};
use bookd_kit::log::whole_log;

/// The number of events of the large change.
const EVENTS: u32 = 2_000;
/// The revision of the large change.
const LARGE: Revision = Revision(7);

/// Fills three calendars with 2,000 bookings in one change: 1,000 of `a`, 600 of `b/1`, 400 of
/// `b/2`; one of `a` and one of `b/1` are cancelled and moved afterwards.
fn fill(world: &mut World) {
    for calendar in ["a", "b/1", "b/2"] {
        open(world, calendar, "UTC");
    }
    assert_eq!(world.state.revision.next(), LARGE);
    let batch = (0..EVENTS).map(|number| {
        let calendar = match number {
            0..1_000 => "a",
            1_000..1_600 => "b/1",
            _ => "b/2",
        };
        let ignored_rules = IgnoredRules {
            limit: true,
            notice: true,
            ..IgnoredRules::default()
        };
        Booking {
            ignored_rules,
            ..booking(u128::from(number) + 1, calendar, at_hour(i64::from(number)))
        }
    });
    world.run(&Command::BatchBook(batch.collect()));
    world.run(&cancel(appointment_id(350)));
    world.run(&move_to(appointment_id(1_200), at_hour(2_500)));
}

fn both() -> [World; 2] {
    let mut worlds = [World::memory(), World::sqlite()];
    worlds.iter_mut().for_each(fill);
    worlds
}

/// Uses a connection to the database file beside the store.
fn with_connection<T>(world: &mut World, change: impl Fn(&Connection) -> T) -> T {
    let file: PathBuf = world.folder.as_ref().unwrap().path().join("bookd.db");
    change(&raw(file))
}

fn segments(world: &mut World) -> Vec<i64> {
    with_connection(world, |connection| {
        let mut select = connection
            .prepare("select event from change_segments where revision = 7")
            .unwrap();
        let events = select.query_map([], |row| row.get(0)).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    })
}

/// The log as a watcher with this filter reads it, page by page.
fn read_log(
    reader: &mut dyn Reader,
    filter: &CalendarFilter,
    part_events_max: usize,
) -> Vec<ChangePart> {
    let (mut all, mut from) = (Vec::new(), LogPosition::of(Revision(1)));
    loop {
        let page = reader
            .changes_from(from, &WatchFilter::of(filter.clone()), part_events_max)
            .unwrap();
        all.extend(page.changes);
        if page.next == from {
            return all;
        }
        from = page.next;
    }
}

fn filters() -> [CalendarFilter; 5] {
    let among = |names: &[&str]| CalendarFilter::Among(names.iter().map(|name| id(name)).collect());
    [
        CalendarFilter::All,
        CalendarFilter::beginning_with("b/"),
        among(&["a"]),
        among(&["b/2", "a"]),
        among(&["nobody"]),
    ]
}

#[test]
fn a_change_is_told_in_parts_that_are_together_what_passes_of_it() {
    let [mut memory, mut sqlite] = both();
    assert!(
        segments(&mut sqlite).len() > 1,
        "{:?}",
        segments(&mut sqlite)
    );
    let log = whole_log(&mut *memory.store().reader().unwrap());
    assert_eq!(log[6].events.len(), EVENTS as usize);
    assert_eq!(whole_log(&mut *sqlite.store().reader().unwrap()), log);
    for filter in filters() {
        let passing = |event: &&LogEvent| filter.passes(event);
        for part_events_max in [1, 7, 200, PART_EVENTS_MAX] {
            let [of_memory, of_file] = [&mut memory, &mut sqlite].map(|world| {
                read_log(
                    &mut *world.store().reader().unwrap(),
                    &filter,
                    part_events_max,
                )
            });
            assert_eq!(of_file, of_memory, "{filter:?} {part_events_max}");
            assert!(
                of_file
                    .iter()
                    .all(|it| (1..=part_events_max).contains(&it.entry.events.len()))
            );
            for entry in &log {
                let parts: Vec<&ChangePart> = of_file
                    .iter()
                    .filter(|it| it.entry.revision == entry.revision)
                    .collect();
                let events: Vec<&LogEvent> = parts.iter().flat_map(|it| &it.entry.events).collect();
                assert_eq!(
                    events,
                    entry.events.iter().filter(passing).collect::<Vec<_>>()
                );
                assert!(
                    parts
                        .iter()
                        .rev()
                        .enumerate()
                        .all(|(after, it)| it.is_last() == (after == 0))
                );
            }
        }
    }
}

/// All pages of a history.
fn pages(world: &mut World, mut query: HistoryQuery) -> Vec<HistoryPage> {
    let mut reader = world.store().reader().unwrap();
    let mut pages = Vec::new();
    loop {
        let page = reader.history(&query).unwrap().unwrap();
        query.from = page.next;
        pages.push(page);
        if query.from.is_none() {
            return pages;
        }
    }
}

#[test]
fn a_history_has_the_events_of_its_subject_on_pages_of_any_size() {
    let [mut memory, mut sqlite] = both();
    let log = whole_log(&mut *memory.store().reader().unwrap());
    for changes_max in [1, 2, 100] {
        for calendar in ["a", "b/1", "b/2"] {
            let query = of_calendar(&id(calendar), None, changes_max);
            let of_file = pages(&mut sqlite, query.clone());
            assert_eq!(
                of_file,
                pages(&mut memory, query),
                "{calendar} {changes_max}"
            );
            let is_of_it =
                |event: &&LogEvent| event.calendars.iter().any(|it| it.calendar == id(calendar));
            let of_log = log
                .iter()
                .rev()
                .flat_map(|it| it.events.iter().filter(is_of_it));
            let events = of_file
                .iter()
                .flat_map(|it| &it.entries)
                .flat_map(|it| &it.events);
            assert_eq!(events.collect::<Vec<_>>(), of_log.collect::<Vec<_>>());
        }
        for (number, changes) in [(1, 1), (350, 2), (1_200, 2), (2_000, 1)] {
            let query = of_appointment(appointment_id(number), None, changes_max);
            let of_file = pages(&mut sqlite, query.clone());
            assert_eq!(of_file, pages(&mut memory, query));
            assert_eq!(
                of_file
                    .iter()
                    .flat_map(|it| &it.entries)
                    .map(|it| it.events.len())
                    .sum::<usize>(),
                changes
            );
        }
    }
    // From any event of the change on, and from one that it does not have.
    for event in [1, 999, 1_000, 1_500, 2_000, u64::MAX] {
        let from = Some(LogPosition {
            revision: LARGE,
            event,
        });
        let query = HistoryQuery {
            from,
            ..of_calendar(&id("b/1"), None, 100)
        };
        assert_eq!(
            pages(&mut sqlite, query.clone()),
            pages(&mut memory, query),
            "{event}"
        );
    }
}

fn damage_of<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Damaged(_)))
}

#[test]
fn segments_that_cannot_have_what_is_asked_for_are_not_read() {
    let [_, mut sqlite] = both();
    let first = segments(&mut sqlite)[0];
    with_connection(&mut sqlite, |connection| {
        let spoil = "update change_segments set record = x'ff' where event = ?1";
        assert_eq!(connection.execute(spoil, [first]).unwrap(), 1);
    });
    let mut reader = sqlite.store().reader().unwrap();
    let mut is_readable = |query: &HistoryQuery| match reader.history(query) {
        Err(StoreError::Damaged(_)) => false,
        answer => !answer.unwrap().unwrap().entries.is_empty(),
    };
    assert!(
        is_readable(&of_appointment(appointment_id(1), None, 10)),
        "in the row of the change"
    );
    assert!(
        is_readable(&of_appointment(appointment_id(2_000), None, 10)),
        "in the last segment"
    );
    assert!(!is_readable(&of_appointment(
        appointment_id(u128::from(first.unsigned_abs()) + 1),
        None,
        10
    )));
    assert!(
        is_readable(&of_calendar(&id("b/1"), None, 10))
            && is_readable(&of_calendar(&id("b/2"), None, 10))
    );
    assert!(!is_readable(&of_calendar(&id("a"), None, 10)));
}

#[test]
fn a_segment_that_is_missing_is_damage_to_who_reads_all_of_the_log() {
    let last = segments(&mut both()[1]).pop().unwrap();
    for spoil in [
        format!("delete from change_segments where event = {last}"),
        "delete from change_segments where event = (select min(event) from change_segments)"
            .to_owned(),
        "delete from change_segments".to_owned(),
        "update changes set events = 2001 where revision = 7".to_owned(),
        "update changes set events = -1 where revision = 7".to_owned(),
        "update change_segments set event = event + 1".to_owned(),
    ] {
        let [_, mut sqlite] = both();
        with_connection(&mut sqlite, |connection| {
            connection.execute_batch(&spoil).unwrap()
        });
        let mut reader = sqlite.store().reader().unwrap();
        let page = reader.changes_from(LogPosition::of(LARGE), &WatchFilter::ALL, usize::MAX);
        assert!(damage_of(page), "{spoil}");
        let oldest = reader.oldest_change().unwrap();
        let report = bookd::admin::check::check(sqlite.store(), oldest, &zones(), MONDAY, |_| ());
        assert!(damage_of(report), "{spoil}");
    }
}

#[test]
fn a_change_of_a_file_of_schema_4_is_cut_when_the_file_is_opened_and_goes_with_its_segments() {
    let [_, mut sqlite] = both();
    let (log, cut) = (
        whole_log(&mut *sqlite.store().reader().unwrap()),
        segments(&mut sqlite),
    );
    with_connection(&mut sqlite, |connection| {
        let mut select = connection
            .prepare("select record from change_segments order by event")
            .unwrap();
        let records: Vec<Vec<u8>> = select
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let first = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
        let first = connection
            .query_row("select record from changes where revision = 7", [], first)
            .unwrap();
        // Concatenated messages of one kind are one message.
        let whole = [first, records.concat()].concat();
        connection
            .execute(
                "update changes set record = ?1, events = null where revision = 7",
                [whole],
            )
            .unwrap();
        let back = "drop trigger segments_go_with_their_change; drop table change_segments; \
             alter table changes drop column events; \
             alter table changes drop column segments; drop table deletions; drop table tokens; delete from refinery_schema_history where version >= 5; \
             update meta set value = 4 where name = 'rows'; pragma user_version = 4";
        connection.execute_batch(back).unwrap();
    });
    sqlite.reopen();
    assert_eq!(segments(&mut sqlite), cut);
    assert_eq!(whole_log(&mut *sqlite.store().reader().unwrap()), log);
    sqlite.check();
    sqlite.store().compact_changes(MONDAY.plus(1), 7).unwrap();
    assert_eq!(segments(&mut sqlite), [0_i64; 0]);
}

#[test]
fn a_list_that_would_put_back_too_many_appointments_is_refused() {
    for mut world in [World::memory(), World::sqlite()] {
        open(&mut world, "a", "UTC");
        let booked = world.book(1, "a", at_hour(9));
        let (before, revision) = (world.state.revision, world.state.revision.next());
        let image = Image {
            state: AppointmentState::Cancelled,
            expire_time: None,
            revision,
            ..booked.image.clone()
        };
        let event = |number: u64| {
            let (id, key) = (appointment_id(number.into()), AppointmentKey(number));
            let after = Arc::new(Appointment {
                id,
                key,
                image: image.clone(),
                ..(*booked).clone()
            });
            Event::Appointment {
                kind: AppointmentEvent::Imported,
                before: None,
                after,
            }
        };
        let events = (2..).take(UNDONE_APPOINTMENTS_MAX + 1).map(event).collect();
        let change = Change {
            revision,
            time: MONDAY,
            cause: Cause::Import,
            caller: Caller::default(),
            events,
        };
        world
            .store()
            .commit(&CommitBatch {
                changes: &[change],
                requests: &[],
                expected: &[],
            })
            .unwrap();
        let mut reader = world.store().reader().unwrap();
        let mut list = |at| {
            reader.list_appointments(&ListQuery {
                calendar: Some(id("a")),
                at: Some(at),
                ..query()
            })
        };
        assert_eq!(
            list(before),
            Err(StoreError::Compacted { oldest: revision })
        );
        assert_eq!(list(revision).unwrap().appointments.len(), 100);
    }
}
