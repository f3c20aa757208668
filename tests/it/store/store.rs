//! The promises of every store to its writer, asked of both stores: the reference in memory and
//! SQLite.
//!
//! Commands are decided by the core and committed; what is loaded again must be the core's own
//! state.

use std::collections::{BTreeMap, BTreeSet};

use bookd::fold::email_key;
use bookd::store::{CommitBatch, CommitError, ListQuery, RequestRecord, StoreError, WatchFilter};
use bookd_core::appointment::{AppointmentState, Invitee, PersonDetails};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits};
use bookd_core::calendar::availability::{Override, Window};
use bookd_core::command::{Booking, Command, ProfilePatch, Redacted};
use bookd_core::decide::{REDACTED_MAX, decide, expire};
use bookd_core::ids::{Caller, Revision, SeriesId, TypeId};
use bookd_core::log::LogPosition;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, LocalDate, MINUTE};
use bookd_core::token::{NewToken, ScopeBits, SecretHash, TokenExpiry, TokenId};
use uuid::Uuid;

use crate::stored::{
    CODE_KEY, MONDAY, World, appointment_id, at_hour, booking, cancel, history, id, live_a_life,
    move_to, of_appointment, of_calendar, of_series, open, profile, put_special, query,
    special_type, zones,
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
    assert!(
        reader
            .list_calendars(&Prefixes::ALL, None, 10)
            .unwrap()
            .0
            .is_empty()
    );
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
    change_overrides_and_busy_periods(&mut world);
    world.run(&Command::DeleteAppointmentType {
        calendar: id("ada"),
        type_id: special_type().id,
        etag: None,
    });
    world.check();
    put_special(&mut world);
    world.check();
}

fn change_overrides_and_busy_periods(world: &mut World) {
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
            token: Some(TokenId::parse("bookd_k7x2q5m4hb").unwrap()),
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
        // A writer knows the appointments that it loaded for the command, and no others.
        let keys = world
            .store()
            .keys_of_email(&email_key("GRACE@example.com"), &Reach::ALL, REDACTED_MAX)
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
            .keys_of_email(&email_key("grace@example.com"), &Reach::ALL, 10)
            .unwrap()
            .is_empty()
    );
    let kept = world.store().load_appointments(&[other.id]).unwrap();
    assert_eq!(
        kept[0].person.invitee.name, "Ada",
        "an invitee without an address matches no address"
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
        // The request waits for approval, and takes no time until then.
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
    assert_eq!(
        past.claims.len(),
        lacks,
        "only the claims that memory lacks are loaded"
    );
    later.reach_back(earlier.kept_from, past);
    assert_eq!(later, earlier);
}

/// Makes each function a test of the store in memory and a test of SQLite.
fn tokens_come_back_until_they_are_revoked_and_no_reader_of_the_log_sees_them(mut world: World) {
    open(&mut world, "ada", "Europe/Paris");
    assert!(!world.store().boot().unwrap().tokens.is_guarded());
    let ids = ["bookd_aaaaaaaaaa", "bookd_bbbbbbbbbb"].map(|it| TokenId::parse(it).unwrap());
    for (number, id) in (1..).zip(&ids) {
        world.run(&Command::CreateToken(Box::new(NewToken {
            id: id.clone(),
            hash: SecretHash([number; 32]),
            name: Caller("front".into()),
            scopes: ScopeBits(6),
            prefixes: Prefixes::parse(["", "acme/"][usize::from(number) % 2]).unwrap(),
            expiry: [TokenExpiry::Never, TokenExpiry::At(MONDAY.plus(DAY))]
                [usize::from(number) % 2],
            creator: Caller(["", "root"][usize::from(number) % 2].into()),
            creator_token: None,
        })));
    }
    world.check();
    world.run(&Command::RevokeToken(ids[0].clone()));
    world.check();
    world.run(&Command::RevokeToken(ids[1].clone()));
    world.check();
    let tokens = world.store().boot().unwrap().tokens;
    assert!(tokens.is_empty() && tokens.is_guarded());
    let mut reader = world.store().reader().unwrap();
    let from = LogPosition::of(Revision(1));
    let page = reader.changes_from(from, &WatchFilter::ALL, 10).unwrap();
    let shown: Vec<u64> = page.changes.iter().map(|it| it.entry.revision.0).collect();
    assert_eq!(shown, [1, 2], "the calendar alone");
    assert_eq!(page.next, LogPosition::after(world.state.revision));
    let mut found = Vec::new();
    world
        .store()
        .compare_derived(&mut |it| found.push(it))
        .unwrap();
    assert_eq!(found, Vec::<String>::new());
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

pub(crate) use on_both_stores;

on_both_stores!(
    an_empty_store_stands_at_revision_zero,
    a_calendar_comes_back_as_it_was_left,
    an_appointment_comes_back_whatever_happened_to_it,
    an_appointment_of_two_calendars_claims_both,
    a_request_is_remembered_until_it_is_forgotten,
    a_batch_decided_on_an_older_calendar_is_refused_whole,
    a_calendar_that_was_let_go_of_is_touched_only_after_it_was_loaded_again,
    what_memory_lacks_of_the_past_is_loaded_alone,
    a_person_with_many_appointments_is_redacted_in_several_turns,
    a_series_is_loaded_whole_and_in_order,
    tokens_come_back_until_they_are_revoked_and_no_reader_of_the_log_sees_them,
);
