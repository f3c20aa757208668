//! What every store promises, asked of both: the reference in memory and SQLite.
//!
//! Commands are decided by the core and committed; what is loaded again must be what the core's own state says.

use std::collections::{BTreeMap, BTreeSet};

use bookd::fold::email_key;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::{
    CalendarFilter, ChangePart, CommitBatch, CommitError, ListQuery, Reader, RequestRecord,
    StoreError,
};
use bookd_core::appointment::{
    Appointment, AppointmentState, Carried, Invitee, PersonDetails, PersonPatch,
};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits};
use bookd_core::calendar::availability::{Override, Window};
use bookd_core::change::Cause;
use bookd_core::command::{Booking, Command, Move, ProfilePatch, Redacted};
use bookd_core::decide::{REDACTED_MAX, decide, expire};
use bookd_core::ids::{AppointmentKey, Caller, Revision, SeriesId, TypeId};
use bookd_core::log::LogPosition;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, LocalDate, MINUTE};
use uuid::Uuid;

use crate::stored::{
    CODE_KEY, MONDAY, World, appointment_id, at_hour, booking, cancel, history, id, live_a_life,
    minutes, move_to, moved, of_appointment, of_calendar, of_series, open, profile, put_special,
    query, special_type, zones,
};

fn an_empty_store_stands_at_revision_zero(mut world: World) {
    world.check();
    assert_eq!(world.store().boot().unwrap().code_key, CODE_KEY);
    assert_eq!(
        world.store().load_calendars(&[id("ada")], MONDAY).unwrap(),
        [None]
    );
    let mut reader = world.store().reader().unwrap();
    assert_eq!(
        reader.appointments(&[appointment_id(1)]).unwrap(),
        (Vec::new(), Revision(0))
    );
    assert!(reader.list_calendars("", None, 10).unwrap().0.is_empty());
    assert_eq!(
        history(&mut *reader, &of_calendar(&id("ada"), None, 10)).unwrap(),
        None
    );
    assert_eq!(
        history(&mut *reader, &of_appointment(appointment_id(1), None, 10)).unwrap(),
        None
    );
}

fn a_calendar_comes_back_as_it_was_left(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    world.check();
    let patch = ProfilePatch {
        paused: Some(true),
        zone: zones()("Asia/Tokyo"),
        ..ProfilePatch::default()
    };
    world.run(&Command::UpdateCalendar {
        calendar: id("ada"),
        patch,
        etag: None,
    });
    put_special(&mut world);
    world.check();
    let date = LocalDate::from_days(21_000);
    let windows = vec![
        Window::new(60, 120).unwrap(),
        Window::new(1380, 1500).unwrap(),
    ];
    let closed = Override {
        windows: Vec::new(),
        note: "closed".to_owned(),
    };
    let overrides = BTreeMap::from([
        (
            date,
            Override {
                windows,
                note: String::new(),
            },
        ),
        (date.plus(1), closed),
    ]);
    world.run(&Command::PutOverrides {
        calendar: id("ada"),
        overrides,
        etag: None,
    });
    world.check();
    world.run(&Command::DeleteOverrides {
        calendar: id("ada"),
        dates: BTreeSet::from([date]),
        etag: None,
    });
    let range = Interval::new(MONDAY, MONDAY.plus(2 * DAY));
    for (source, start) in [("outlook", 8), ("phone", 9)] {
        let periods = vec![Interval::new(at_hour(start), at_hour(12))];
        world.run(&Command::PutBusy {
            calendar: id("ada"),
            source: source.to_owned(),
            range,
            periods,
        });
    }
    world.check();
    world.run(&Command::PutBusy {
        calendar: id("ada"),
        source: "phone".to_owned(),
        range,
        periods: Vec::new(),
    });
    world.run(&Command::DeleteAppointmentType {
        calendar: id("ada"),
        type_id: special_type().id,
        etag: None,
    });
    world.check();
    put_special(&mut world);
    world.check();
}

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

fn an_appointment_comes_back_whatever_happened_to_it(mut world: World) {
    live_a_life(&mut world);
    world.check();
    world.now = MONDAY.plus(11 * MINUTE);
    let expired = expire(&world.state, appointment_id(4), world.now).unwrap();
    world.commit(&expired, &[]).unwrap();
    world.check();
    assert_eq!(
        world
            .store()
            .load_appointments(&[appointment_id(4)])
            .unwrap()[0]
            .state,
        AppointmentState::Expired
    );
}

fn an_appointment_of_two_calendars_claims_both(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    open(&mut world, "room", "UTC");
    let both = Booking {
        calendars: vec![id("ada"), id("room")],
        ..booking(1, "ada", at_hour(9))
    };
    let booked = world.run(&Command::Book(both)).remove(0);
    world.run(&move_to(booked.id, at_hour(12)));
    world.check();
    let of_room = ListQuery {
        calendar: Some(id("room")),
        ..query()
    };
    assert_eq!(
        world.list(&of_room).appointments,
        world.list(&query()).appointments
    );
    world.run(&cancel(booked.id));
    world.check();
}

fn a_request_is_remembered_until_it_is_forgotten(mut world: World) {
    let hash = |number: u8| [number; 16];
    for number in 1..=3 {
        let calendar = id(&format!("calendar-{number}"));
        let create = Command::CreateCalendar {
            calendar: calendar.clone(),
            profile: profile("UTC"),
        };
        let decision = decide(&world.state, &create, world.now).unwrap();
        let request = RequestRecord {
            hash: hash(number),
            fingerprint: hash(100 + number),
            revision: world.state.revision.next(),
            time: world.now,
            appointments: vec![appointment_id(1), appointment_id(2)],
            calendar: Some(calendar),
            type_id: Some(TypeId::default_type()),
        };
        world
            .commit(&decision, std::slice::from_ref(&request))
            .unwrap();
        world.reopen();
        assert_eq!(
            world
                .store()
                .seen_requests(&[hash(9), hash(number)])
                .unwrap(),
            [request]
        );
        world.now = world.now.plus(HOUR);
    }
    let forget = |world: &mut World, limit| {
        world
            .store()
            .forget_requests(MONDAY.plus(2 * HOUR), limit)
            .unwrap()
    };
    assert_eq!(forget(&mut world, 1), 1);
    assert!(
        world.store().seen_requests(&[hash(1)]).unwrap().is_empty(),
        "the oldest goes first"
    );
    assert_eq!(forget(&mut world, 10), 1);
    assert_eq!(forget(&mut world, 10), 0);
    assert_eq!(
        world
            .store()
            .seen_requests(&[hash(2), hash(3)])
            .unwrap()
            .len(),
        1
    );
}

fn a_batch_decided_on_an_older_calendar_is_refused_whole(mut world: World) {
    open(&mut world, "ada", "UTC");
    let decision = decide(
        &world.state,
        &Command::Book(booking(1, "ada", at_hour(9))),
        world.now,
    )
    .unwrap();
    let change = decision
        .change(&world.state, world.now, Caller::default())
        .unwrap();
    for expected in [(id("ada"), Revision(1)), (id("nobody"), Revision(2))] {
        let stale = CommitError::Refused(StoreError::Stale(expected.0.clone()));
        let batch = CommitBatch {
            changes: std::slice::from_ref(&change),
            requests: &[],
            expected: &[expected],
        };
        assert_eq!(world.store().commit(&batch), Err(stale));
        world.check();
        assert!(
            world
                .store()
                .load_appointments(&[appointment_id(1)])
                .unwrap()
                .is_empty()
        );
    }
    world.commit(&decision, &[]).unwrap();
    world.check();
}

fn a_calendar_that_was_let_go_of_is_touched_only_after_it_was_loaded_again(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    let decision = decide(
        &world.state,
        &Command::Book(booking(1, "ada", at_hour(9))),
        world.now,
    )
    .unwrap();
    world.store().let_go(&[id("ada"), id("nobody")]);
    let stale = CommitError::Refused(StoreError::Stale(id("ada")));
    assert_eq!(world.commit(&decision, &[]), Err(stale));
    world.store().load_calendars(&[id("ada")], MONDAY).unwrap();
    world.commit(&decision, &[]).unwrap();
    world.check();
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
        "what ran out shows so before it is recorded"
    );
}

fn a_person_with_many_appointments_is_redacted_in_several_turns(mut world: World) {
    open(&mut world, "ada", "UTC");
    for number in 1..=REDACTED_MAX as u128 + 1 {
        let booked = world.book(number, "ada", at_hour(9));
        world.run(&cancel(booked.id));
    }
    let other = Booking {
        person: PersonDetails {
            invitee: Some(Invitee {
                name: "Ada".to_owned(),
                ..Invitee::default()
            }),
            ..PersonDetails::default()
        },
        ..booking(5_000, "ada", at_hour(9))
    };
    let other = world.run(&Command::Book(other)).remove(0);
    let all = std::mem::take(&mut world.state.appointments);
    for expected in [REDACTED_MAX, 1] {
        // A writer knows those that it loaded for the command, and no others.
        let keys = world
            .store()
            .keys_of_email(&email_key("GRACE@example.com"), REDACTED_MAX)
            .unwrap();
        assert_eq!(keys.len(), expected);
        world.state.appointments = all
            .values()
            .filter(|it| keys.contains(&it.key))
            .map(|it| (it.id, it.clone()))
            .collect();
        let redacted = world.run(&Command::Redact(Redacted::Email(email_key(
            "grace@EXAMPLE.com",
        ))));
        assert_eq!(redacted.len(), expected);
    }
    assert!(
        world
            .store()
            .keys_of_email(&email_key("grace@example.com"), 10)
            .unwrap()
            .is_empty()
    );
    let kept = world.store().load_appointments(&[other.id]).unwrap();
    assert_eq!(
        kept[0].person.invitee.name, "Ada",
        "who has no address is nobody's namesake"
    );
}

fn a_series_is_loaded_whole_and_in_order(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    let (one, other) = (SeriesId(Uuid::from_u128(7)), SeriesId(Uuid::from_u128(8)));
    world.book(3, "ada", at_hour(9));
    world.book(1, "ada", at_hour(11));
    world.run(&Command::Book(Booking {
        occurrence: Some(of_series(8)),
        ..booking(4, "ada", at_hour(13))
    }));
    world.run(&Command::Book(Booking {
        occurrence: None,
        ..booking(5, "ada", at_hour(15))
    }));
    world.book(2, "ada", at_hour(17));
    world.run(&cancel(appointment_id(1)));
    world.run(&move_to(appointment_id(2), at_hour(7)));
    for _ in 0..2 {
        let loaded = world.store().load_series(one).unwrap();
        let expected: Vec<_> = [2, 3, 1]
            .map(|n| (*world.state.appointments[&appointment_id(n)]).clone())
            .to_vec();
        assert_eq!(loaded, expected, "whatever their state is, by start");
        assert_eq!(world.store().load_series(other).unwrap().len(), 1);
        assert!(
            world
                .store()
                .load_series(SeriesId(Uuid::from_u128(9)))
                .unwrap()
                .is_empty()
        );
        world.reopen();
    }
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
        let (rows, _) = reader
            .list_calendars(prefix, after.map(id).as_ref(), limit)
            .unwrap();
        rows.iter()
            .map(|row| row.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 10), ["acme/1", "acme/10", "acmf", "b"]);
    assert_eq!(names("acme/", None, 10), ["acme/1", "acme/10"]);
    assert_eq!(names("acme/", Some("acme/1"), 1), ["acme/10"]);
    let row = reader.list_calendars("b", None, 1).unwrap().0.remove(0);
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

/// The whole log as a watcher of this filter is told it, page by page.
fn told(world: &mut World, after: u64, filter: &CalendarFilter) -> Vec<ChangePart> {
    let mut reader = world.store().reader().unwrap();
    let (mut all, mut from) = (Vec::new(), LogPosition::after(Revision(after)));
    loop {
        let page = reader.changes_from(from, filter, PART_EVENTS_MAX).unwrap();
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

fn the_log_is_told_in_order_with_appointments_as_of_then_and_what_is_personal_as_of_now(
    mut world: World,
) {
    let mut then = Vec::new();
    live_a_life(&mut world);
    open(&mut world, "room", "UTC");
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
    let all = told(&mut world, 0, &CalendarFilter::All);
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
    // As of then in everything, the zone of a calendar that it is no longer on among it.
    for (was, revision) in then.iter().zip([was_revision(&then[0]), before + 1]) {
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
    let of_room: Vec<u64> = told(
        &mut world,
        0,
        &CalendarFilter::Among(vec![id("room"), id("nobody")]),
    )
    .iter()
    .map(|it| it.entry.revision.0)
    .collect();
    assert_eq!(of_room, (before - 2..=before + 2).collect::<Vec<_>>());
    assert_eq!(
        told(
            &mut world,
            before,
            &CalendarFilter::Prefix("roo".to_owned())
        )
        .len(),
        2
    );
    assert!(told(&mut world, 0, &CalendarFilter::Prefix("nobody".to_owned())).is_empty());
}

fn was_revision(appointment: &Appointment) -> u64 {
    appointment.revision.0
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
        "none is older"
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
    // What is gone is refused with what is left, and what is left is as it was.
    let mut reader = world.store().reader().unwrap();
    let gone = StoreError::Compacted {
        oldest: Revision(5),
    };
    assert_eq!(
        reader.changes_from(LogPosition::of(Revision(4)), &CalendarFilter::All, 1),
        Err(gone.clone())
    );
    assert_eq!(
        told(&mut world, 4, &CalendarFilter::All).len() as u64,
        newest.0 - 4
    );
    let at = |revision| ListQuery {
        at: Some(Revision(revision)),
        ..query()
    };
    assert_eq!(reader.list_appointments(&at(3)), Err(gone));
    assert!(reader.list_appointments(&at(4)).is_ok());
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
    drop(reader);
    let last = compact(&mut world, later, 1_000);
    assert_eq!((last.revision, last.is_followed), (newest, false));
    world.check();
    assert_eq!(
        world.list(&at(newest.0)).appointments,
        world.list(&query()).appointments
    );
    world.book(9, "ada", at_hour(20));
    world.check();
}

fn what_memory_lacks_of_the_past_is_loaded_alone(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    let patch = ProfilePatch {
        limits: Some(Limits::default()),
        ..ProfilePatch::default()
    };
    world.run(&Command::UpdateCalendar {
        calendar: id("ada"),
        patch,
        etag: None,
    });
    let appointment_type = AppointmentType {
        limits: Limits::default(),
        ..special_type()
    };
    world.run(&Command::PutAppointmentType {
        calendar: id("ada"),
        appointment_type,
        etag: None,
    });
    for day in 0..6 {
        world.book(
            10 + u128::try_from(day).unwrap(),
            "ada",
            at_hour(24 * day + 9),
        );
        // It waits for approval, and takes no time until then.
        let type_id = Some(special_type().id);
        let number = 20 + u128::try_from(day).unwrap();
        world.run(&Command::Book(Booking {
            type_id,
            ..booking(number, "ada", at_hour(24 * day + 12))
        }));
    }
    let mut load = |now| {
        world
            .store()
            .load_calendars(&[id("ada")], now)
            .unwrap()
            .remove(0)
            .unwrap()
    };
    let (earlier, mut later) = (load(MONDAY), load(MONDAY.plus(5 * DAY)));
    let lacks = earlier.claims.len() - later.claims.len();
    assert!(lacks > 0 && !later.claims.is_empty());
    let past = world.store().load_past(&later, earlier.kept_from).unwrap();
    assert_eq!(past.claims.len(), lacks, "and not what it has");
    later.reach_back(earlier.kept_from, past);
    assert_eq!(later, earlier);
}

macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name(super::World::memory()); })*
        }
        mod sqlite {
            $(#[test] fn $name() { super::$name(super::World::sqlite()); })*
        }
    };
}

on_both_stores!(
    an_empty_store_stands_at_revision_zero,
    a_calendar_comes_back_as_it_was_left,
    a_deleted_calendar_is_listed_by_its_id_though_another_takes_it,
    an_appointment_comes_back_whatever_happened_to_it,
    an_appointment_of_two_calendars_claims_both,
    a_request_is_remembered_until_it_is_forgotten,
    a_batch_decided_on_an_older_calendar_is_refused_whole,
    a_calendar_that_was_let_go_of_is_touched_only_after_it_was_loaded_again,
    what_memory_lacks_of_the_past_is_loaded_alone,
    later_pages_show_what_was_there_when_the_first_was_read,
    a_list_shows_only_what_is_asked_for,
    a_person_with_many_appointments_is_redacted_in_several_turns,
    a_series_is_loaded_whole_and_in_order,
    calendars_are_listed_by_name_and_prefix,
    what_happened_is_told_newest_first_and_page_by_page,
    the_log_is_told_in_order_with_appointments_as_of_then_and_what_is_personal_as_of_now,
    old_changes_are_forgotten_in_steps_and_never_the_last,
);
