//! Lists with filters: both stores answer every filter and page size alike, however few rows a page
//! may scan, and a row that a filter passes over is not read whole.

use std::time::Duration;

use bookd::fold::email_key;
use bookd::store::{ListQuery, StoreError};
use bookd_core::appointment::AppointmentState;
use bookd_core::command::{Booking, Command};
use bookd_core::ids::{AppointmentId, SeriesId, TypeId};
use bookd_core::time::{DAY, HOUR, Instant, MINUTE, Seconds};
use uuid::Uuid;

use crate::stored::{
    MONDAY, World, appointment_id, at_hour, booking, cancel, id, live_a_life, open, query, raw,
    special_type,
};

/// A time at which all appointments have begun, and all holds but one have expired without a
/// record.
const LATER: Instant = MONDAY.plus(5 * DAY);

/// Appointments in every state, of two types and two calendars, some at the same time, and holds
/// past their expiry.
fn live_mixed_lives(world: &mut World) {
    live_a_life(world);
    open(world, "bob", "UTC");
    for (number, hour) in (20..).zip(30..36) {
        world.book(number, "ada", at_hour(hour));
        world.book(number + 100, "bob", at_hour(hour));
    }
    let calendars = vec![id("ada"), id("bob")];
    world.run(&Command::Book(Booking {
        calendars,
        ..booking(200, "ada", at_hour(36))
    }));
    for (number, ttl) in [(40, 10 * MINUTE), (41, 10 * MINUTE), (42, 24 * HOUR)] {
        let ttl = Seconds::new(ttl).unwrap();
        world.run(&Command::Hold {
            booking: booking(number, "ada", at_hour(number as i64)),
            ttl,
        });
    }
    world.run(&cancel(appointment_id(20)));
    world.now = LATER;
    let (undo, etag) = (false, None);
    world.run(&Command::MarkNoShow {
        appointment: appointment_id(21),
        undo,
        etag,
    });
    world.run(&Command::Complete {
        appointment: appointment_id(22),
        undo,
        etag,
    });
}

/// The appointments of all pages, and the number of pages.
fn all_pages(world: &World, query: &ListQuery) -> (Vec<AppointmentId>, usize) {
    let mut query = query.clone();
    let mut found: Vec<AppointmentId> = Vec::new();
    for pages in 1.. {
        let page = world.list(&query);
        assert!(page.appointments.len() <= query.limit.min(query.scanned_max));
        found.extend(page.appointments.iter().map(|it| it.id));
        if page.next.is_none() {
            return (found, pages);
        }
        let order = query.is_descending;
        assert!(
            query
                .after
                .is_none_or(|after| (page.next.unwrap() < after) == order),
            "each page goes on"
        );
        query.after = page.next;
    }
    unreachable!("pages end")
}

/// Queries by every kind of subject and range of time.
fn subjects() -> Vec<ListQuery> {
    let none = ListQuery {
        calendar: None,
        ..query()
    };
    let email = Some(email_key("grace@example.com"));
    let series = Some(SeriesId(Uuid::from_u128(7)));
    vec![
        query(),
        ListQuery {
            from: at_hour(32),
            to: Some(at_hour(40)),
            ..query()
        },
        ListQuery {
            calendar: Some(id("bob")),
            email: email.clone(),
            ..query()
        },
        ListQuery {
            email,
            ..none.clone()
        },
        ListQuery { series, ..none },
    ]
}

#[test]
fn every_filter_lists_alike_in_both_stores_however_few_rows_a_page_looks_at() {
    let (mut sqlite, mut memory) = (World::sqlite(), World::memory());
    live_mixed_lives(&mut sqlite);
    live_mixed_lives(&mut memory);
    let of_one = AppointmentState::ALL.into_iter().map(|state| vec![state]);
    let states: Vec<Vec<_>> = of_one.chain([AppointmentState::ALL.to_vec()]).collect();
    let types = [
        None,
        Some(special_type().id),
        Some(TypeId::parse("rare").unwrap()),
    ];
    for subject in subjects() {
        let mut shown = 0;
        for (states, now) in states
            .iter()
            .flat_map(|states| [MONDAY, LATER].map(|now| (states, now)))
        {
            for (type_id, is_descending) in types
                .iter()
                .flat_map(|it| [false, true].map(|order| (it, order)))
            {
                let (states, type_id) = (states.clone(), type_id.clone());
                let asked = ListQuery {
                    states,
                    type_id,
                    is_descending,
                    now,
                    ..subject.clone()
                };
                let (expected, _) = all_pages(&memory, &asked);
                shown += expected.len();
                for (limit, scanned_max) in [(100, 50_000), (3, 50_000), (100, 1), (2, 4)] {
                    let asked = ListQuery {
                        limit,
                        scanned_max,
                        ..asked.clone()
                    };
                    assert_eq!(all_pages(&sqlite, &asked).0, expected, "{asked:?}");
                }
            }
        }
        assert!(shown > 0, "{subject:?}");
    }
}

#[test]
fn a_page_ends_at_so_many_rows_though_none_of_them_is_on_it() {
    let mut world = World::sqlite();
    live_mixed_lives(&mut world);
    let (all, _) = all_pages(&world, &query());
    let type_id = Some(TypeId::parse("rare").unwrap());
    for scanned_max in [1, 4, 7] {
        let (found, pages) = all_pages(
            &world,
            &ListQuery {
                scanned_max,
                type_id: type_id.clone(),
                ..query()
            },
        );
        // A page that ends with the last row does not know yet that it was the last.
        assert_eq!((found, pages), (Vec::new(), all.len() / scanned_max + 1));
    }
}

#[test]
fn a_row_that_a_filter_passes_over_is_not_read_whole() {
    let mut world = World::sqlite();
    live_mixed_lives(&mut world);
    let file = world.folder.as_ref().unwrap().path().join("bookd.db");
    let connection = raw(file);
    // From now on a read of these rows finds them damaged; the store's own process may still be
    // writing.
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        connection
            .execute("update appointments set places = x'ff' where state = 3", [])
            .unwrap()
            > 0
    );
    let mut reader = world.store().reader().unwrap();
    let mut lists = |query: ListQuery| {
        reader
            .list_appointments(&query)
            .map(|it| it.appointments.len())
    };
    for states in AppointmentState::ALL.map(|state| vec![state]) {
        let listed = lists(ListQuery {
            states: states.clone(),
            ..query()
        });
        if states[..] == [AppointmentState::Confirmed] {
            assert!(matches!(listed, Err(StoreError::Damaged(_))));
        } else {
            assert!(listed.is_ok(), "{states:?}: {listed:?}");
        }
    }
    assert_eq!(
        lists(ListQuery {
            type_id: Some(TypeId::parse("rare").unwrap()),
            ..query()
        }),
        Ok(0)
    );
    assert_eq!(
        lists(ListQuery {
            to: Some(MONDAY),
            ..query()
        }),
        Ok(0)
    );
}
