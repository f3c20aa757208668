//! The answers of every store to its readers, asked of both stores: lists, histories and the log,
//! page by page.
//!
//! All pages of a list show the moment of the first page, and the log shows appointments as they
//! were, with personal data as it is now.

use std::sync::Arc;

use bookd::fold::email_key;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::{CalendarFilter, ChangePart, ListQuery, Reader, StoreError, WatchFilter};
use bookd_core::appointment::{Appointment, AppointmentState, Carried, PersonPatch};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::change::Cause;
use bookd_core::command::{Command, Move};
use bookd_core::ids::{AppointmentKey, Revision, SeriesId};
use bookd_core::log::{LogEntry, LogPosition};
use bookd_core::prefixes::Prefixes;
use bookd_core::time::DAY;
use uuid::Uuid;

use crate::store::on_both_stores;
use crate::stored::{
    MONDAY, World, appointment_id, at_hour, cancel, history, id, live_a_life, minutes, move_to,
    moved, of_appointment, of_calendar, open, query, special_type,
};

fn a_deleted_calendar_is_listed_by_its_id_though_another_takes_it(mut world: World) {
    open(&mut world, "ada", "UTC");
    let booked = world.book(1, "ada", at_hour(9));
    world.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag: None,
        beforehand: None,
    });
    assert_eq!(
        world.store().load_calendars(&[id("ada")], MONDAY).unwrap(),
        [None]
    );
    let numbers = |world: &World| {
        world
            .list(&query())
            .appointments
            .iter()
            .map(|it| it.id.0.as_u128())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&world), [1]);
    world.check();
    open(&mut world, "ada", "UTC");
    world.check();
    world.book(2, "ada", at_hour(10));
    assert_eq!(numbers(&world), [1, 2]);
    let mut reader = world.store().reader().unwrap();
    let chain = |reader: &mut dyn Reader, from: Option<u64>, limit| {
        let found = history(
            &mut *reader,
            &of_calendar(&id("ada"), from.map(Revision), limit),
        )
        .unwrap()
        .unwrap();
        found.iter().map(|it| it.revision.0).collect::<Vec<_>>()
    };
    assert_eq!(chain(&mut *reader, None, 100), [7, 6, 5, 4, 3, 2, 1]);
    for from in 1..=7 {
        assert_eq!(
            chain(&mut *reader, Some(from), 2),
            (1..=from).rev().take(2).collect::<Vec<_>>(),
            "pages over both"
        );
    }
    assert_eq!(
        history(&mut *reader, &of_appointment(booked.id, None, 100))
            .unwrap()
            .unwrap()
            .len(),
        2
    );
    let had = |reader: &mut dyn Reader, name: &str| reader.ever_had(&id(name)).unwrap();
    assert!(had(&mut *reader, "ada") && !had(&mut *reader, "nobody"));
    assert_eq!(
        history(&mut *reader, &of_calendar(&id("nobody"), None, 100)).unwrap(),
        None
    );
}

fn later_pages_show_what_was_there_when_the_first_was_read(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    let hours = 2..12;
    let numbers = (1..).zip(hours);
    numbers.for_each(|(number, hour)| drop(world.book(number, "ada", at_hour(hour))));
    let views = |world: &World, query: ListQuery| {
        let of = |it: &Appointment| {
            (
                it.id,
                it.start,
                it.local_start,
                it.state,
                it.sequence,
                it.revision,
            )
        };
        let mut query = ListQuery { limit: 3, ..query };
        let mut seen = Vec::new();
        loop {
            let page = world.list(&query);
            seen.extend(page.appointments.iter().map(of));
            query.after = page.next;
            if page.next.is_none() {
                return seen;
            }
        }
    };
    for is_descending in [false, true] {
        for by_email in [false, true] {
            let at = Some(world.state.revision);
            let email = by_email.then(|| email_key("gRACE@example.COM"));
            let calendar = (!by_email).then(|| id("ada"));
            let query = ListQuery {
                is_descending,
                at,
                email,
                calendar,
                ..query()
            };
            let before = views(&world, query.clone());
            assert!(before.len() >= 10);
            let alive: Vec<_> = world
                .list(&ListQuery {
                    states: vec![AppointmentState::Confirmed],
                    ..query.clone()
                })
                .appointments
                .iter()
                .map(|it| it.id)
                .collect();
            let number = world.state.next_key.0;
            let hour = 200 + 10 * i64::try_from(number).unwrap();
            world.run(&move_to(alive[0], at_hour(hour)));
            world.run(&cancel(alive[1]));
            world.book(u128::from(number), "ada", at_hour(hour + 1));
            assert_eq!(views(&world, query.clone()), before);
            assert_ne!(views(&world, ListQuery { at: None, ..query }), before);
        }
    }
}

fn a_list_shows_only_what_is_asked_for(mut world: World) {
    live_a_life(&mut world);
    let found = |query: ListQuery| {
        world
            .list(&query)
            .appointments
            .iter()
            .map(|it| it.id.0.as_u128())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(query()), [2, 3, 4, 1, 5, 6, 7]);
    assert_eq!(
        found(ListQuery {
            is_descending: true,
            ..query()
        }),
        [7, 6, 5, 1, 4, 3, 2]
    );
    assert_eq!(
        found(ListQuery {
            key: Some(AppointmentKey(3)),
            ..query()
        }),
        [3]
    );
    let by_series = ListQuery {
        calendar: None,
        series: Some(SeriesId(Uuid::from_u128(7))),
        ..query()
    };
    assert_eq!(found(by_series).len(), 7);
    assert_eq!(
        found(ListQuery {
            type_id: Some(special_type().id),
            ..query()
        }),
        [5, 6, 7]
    );
    assert_eq!(
        found(ListQuery {
            states: vec![AppointmentState::Cancelled],
            ..query()
        }),
        [3, 1]
    );
    assert_eq!(
        found(ListQuery {
            from: at_hour(10),
            to: Some(at_hour(11)),
            ..query()
        }),
        [3]
    );
    let later = ListQuery {
        states: vec![AppointmentState::Expired],
        now: MONDAY.plus(DAY),
        ..query()
    };
    assert_eq!(
        found(later),
        [4],
        "an expired hold is shown as expired before the record"
    );
}

fn calendars_are_listed_by_name_and_prefix(mut world: World) {
    ["b", "acme/2", "acme/1", "acme/10", "acmf"]
        .iter()
        .for_each(|name| open(&mut world, name, "UTC"));
    world.run(&Command::DeleteCalendar {
        calendar: id("acme/2"),
        force: false,
        etag: None,
        beforehand: None,
    });
    let mut reader = world.store().reader().unwrap();
    let mut names = |prefix: &str, after: Option<&str>, limit| {
        let (prefixes, after) = (Prefixes::beginning_with(prefix), after.map(id));
        let (rows, _) = reader
            .list_calendars(&prefixes, after.as_ref(), limit)
            .unwrap();
        rows.iter()
            .map(|row| row.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 10), ["acme/1", "acme/10", "acmf", "b"]);
    assert_eq!(names("acme/", None, 10), ["acme/1", "acme/10"]);
    assert_eq!(names("acme/", Some("acme/1"), 1), ["acme/10"]);
    let of_b = Prefixes::beginning_with("b");
    let row = reader.list_calendars(&of_b, None, 1).unwrap().0.remove(0);
    let calendar = &world.state.calendars[&id("b")];
    assert_eq!(
        (&row.profile, row.stamps),
        (&*calendar.profile, calendar.stamps)
    );
}

fn what_happened_is_told_newest_first_and_page_by_page(mut world: World) {
    live_a_life(&mut world);
    let revision = world.state.revision.0;
    let mut reader = world.store().reader().unwrap();
    let of_first = history(&mut *reader, &of_appointment(appointment_id(1), None, 10))
        .unwrap()
        .unwrap();
    let causes: Vec<_> = of_first.iter().map(|it| it.cause).collect();
    use Cause as C;
    assert_eq!(
        causes,
        [
            C::CancelAppointment,
            C::UpdateAppointment,
            C::RescheduleAppointment,
            C::BookAppointment
        ]
    );
    assert!(
        of_first
            .iter()
            .all(|it| it.caller.0.as_ref() == "clerk" && it.time == MONDAY)
    );
    let from = Some(of_first[2].revision);
    let page = history(&mut *reader, &of_appointment(appointment_id(1), from, 1))
        .unwrap()
        .unwrap();
    assert_eq!(page, of_first[2..3]);
    let changes = history(&mut *reader, &of_calendar(&id("ada"), None, 100))
        .unwrap()
        .unwrap();
    let revisions: Vec<_> = changes.iter().map(|it| it.revision.0).collect();
    assert_eq!(revisions, (1..=revision).rev().collect::<Vec<_>>());
}

/// The log after a revision as a watcher with this filter reads it, page by page.
fn read_log(world: &mut World, after: u64, filter: &CalendarFilter) -> Vec<ChangePart> {
    let mut reader = world.store().reader().unwrap();
    let (mut all, mut from) = (Vec::new(), LogPosition::after(Revision(after)));
    loop {
        let page = reader
            .changes_from(from, &WatchFilter::of(filter.clone()), PART_EVENTS_MAX)
            .unwrap();
        assert!(
            page.changes
                .iter()
                .all(|it| it.entry.revision >= from.revision && it.next <= page.next)
        );
        all.extend(page.changes);
        if page.next == from {
            return all;
        }
        from = page.next;
    }
}

/// Fills the store, then moves appointment 5 from `ada` to `room` and gives it another note.
/// Answers the appointment before and after the move, and the revision before the move.
fn move_to_the_room(world: &mut World) -> (Vec<Arc<Appointment>>, u64) {
    let mut then = Vec::new();
    live_a_life(world);
    open(world, "room", "UTC");
    let plain = AppointmentType {
        buffer_before: minutes(0),
        buffer_after: minutes(0),
        ..special_type()
    };
    world.run(&Command::PutAppointmentType {
        calendar: id("room"),
        appointment_type: plain,
        etag: None,
    });
    let elsewhere = Move {
        calendars: vec![id("room")],
        ..moved(appointment_id(5), at_hour(20))
    };
    then.extend(world.state.appointments.get(&appointment_id(5)).cloned());
    let before = world.state.revision.0;
    world.run(&Command::Reschedule(elsewhere));
    then.extend(world.state.appointments.get(&appointment_id(5)).cloned());
    let patch = PersonPatch {
        carried: Carried {
            note: "newest-note".to_owned(),
            ..Carried::default()
        },
        fields: vec!["note"],
        ..PersonPatch::default()
    };
    world.run(&Command::UpdateAppointment {
        appointment: appointment_id(5),
        patch,
        etag: None,
    });
    (then, before)
}

fn the_log_is_told_in_order_with_appointments_as_of_then_and_what_is_personal_as_of_now(
    mut world: World,
) {
    let (then, before) = move_to_the_room(&mut world);
    let all = read_log(&mut world, 0, &CalendarFilter::All);
    let revisions: Vec<u64> = all.iter().map(|it| it.entry.revision.0).collect();
    assert_eq!(revisions, (1..=world.state.revision.0).collect::<Vec<_>>());
    let of_five = |it: &&ChangePart| {
        it.appointments
            .iter()
            .flatten()
            .any(|it| it.id == appointment_id(5))
    };
    let seen: Vec<&ChangePart> = all.iter().filter(of_five).collect();
    assert!(
        seen.len() >= 4
            && seen.iter().all(
                |it| it.appointments[0].as_ref().unwrap().person.carried.note == "newest-note"
            )
    );
    // Each image is the one of its time, with the zone of a calendar that the appointment has left.
    for (was, revision) in then.iter().zip([then[0].revision.0, before + 1]) {
        let found = seen
            .iter()
            .find(|it| it.entry.revision.0 == revision)
            .unwrap()
            .appointments[0]
            .clone()
            .unwrap();
        assert_eq!(found.image, was.image);
    }
    assert_eq!(
        then.iter().map(|it| &*it.time_zone).collect::<Vec<_>>(),
        ["Europe/Paris", "UTC"]
    );
    let of_room: Vec<u64> = read_log(
        &mut world,
        0,
        &CalendarFilter::Among(vec![id("room"), id("nobody")]),
    )
    .iter()
    .map(|it| it.entry.revision.0)
    .collect();
    assert_eq!(of_room, (before - 2..=before + 2).collect::<Vec<_>>());
    assert_eq!(
        read_log(&mut world, before, &CalendarFilter::beginning_with("roo")).len(),
        2
    );
    assert!(read_log(&mut world, 0, &CalendarFilter::beginning_with("nobody")).is_empty());
}

fn old_changes_are_forgotten_in_steps_and_never_the_last(mut world: World) {
    live_a_life(&mut world);
    let newest = world.state.revision;
    let mut reader = world.store().reader().unwrap();
    let of_first = history(&mut *reader, &of_appointment(appointment_id(1), None, 100))
        .unwrap()
        .unwrap();
    let compact = |world: &mut World, before, limit| {
        world
            .store()
            .compact_changes(before, limit)
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        compact(&mut world, MONDAY, 100).revision,
        Revision(1),
        "no change is older"
    );
    let later = MONDAY.plus(1);
    assert_eq!(compact(&mut world, later, 4).revision, Revision(5));
    drop(reader);
    world.reopen();
    let oldest = world
        .store()
        .reader()
        .unwrap()
        .oldest_change()
        .unwrap()
        .unwrap();
    assert_eq!(
        (oldest.revision, oldest.time, oldest.is_followed),
        (Revision(5), MONDAY, true)
    );
    only_what_is_left_is_shown(&mut world, &of_first);
    let last = compact(&mut world, later, 1_000);
    assert_eq!((last.revision, last.is_followed), (newest, false));
    world.check();
    assert_eq!(
        world.list(&as_of(newest.0)).appointments,
        world.list(&query()).appointments
    );
    world.book(9, "ada", at_hour(20));
    world.check();
}

fn as_of(revision: u64) -> ListQuery {
    ListQuery {
        at: Some(Revision(revision)),
        ..query()
    }
}

/// In a log that begins at revision 5 earlier changes are refused with the oldest that is left, and
/// the others are as they were.
fn only_what_is_left_is_shown(world: &mut World, of_first: &[LogEntry]) {
    let newest = world.state.revision;
    let mut reader = world.store().reader().unwrap();
    let gone = StoreError::Compacted {
        oldest: Revision(5),
    };
    assert_eq!(
        reader.changes_from(LogPosition::of(Revision(4)), &WatchFilter::ALL, 1),
        Err(gone.clone())
    );
    assert_eq!(
        read_log(world, 4, &CalendarFilter::All).len() as u64,
        newest.0 - 4
    );
    assert_eq!(reader.list_appointments(&as_of(3)), Err(gone));
    assert!(reader.list_appointments(&as_of(4)).is_ok());
    let kept = history(&mut *reader, &of_appointment(appointment_id(1), None, 100))
        .unwrap()
        .unwrap();
    assert_eq!(
        kept,
        of_first[..kept.len()],
        "a chain ends where the log does"
    );
    assert!(kept.len() < of_first.len() && kept.iter().all(|it| it.revision >= Revision(5)));
    assert!(
        history(&mut *reader, &of_calendar(&id("ada"), None, 100))
            .unwrap()
            .unwrap()
            .iter()
            .all(|it| it.revision >= Revision(5))
    );
}

on_both_stores!(
    a_deleted_calendar_is_listed_by_its_id_though_another_takes_it,
    later_pages_show_what_was_there_when_the_first_was_read,
    a_list_shows_only_what_is_asked_for,
    calendars_are_listed_by_name_and_prefix,
    what_happened_is_told_newest_first_and_page_by_page,
    the_log_is_told_in_order_with_appointments_as_of_then_and_what_is_personal_as_of_now,
    old_changes_are_forgotten_in_steps_and_never_the_last,
);
