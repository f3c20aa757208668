//! Every question that can be asked of a store with four calendars, and the answers as text.
//!
//! Stores with the same content give the same answers, so that a damaged store can be compared with
//! a sound one.

use bookd::fold::email_key;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::sqlite::Sqlite;
use bookd::store::{ListQuery, Reader, Store, StoreError, WatchFilter};
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::log::LogPosition;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;

use crate::stored::{MONDAY, appointment_id, at_hour, id, of_appointment, of_calendar, query};

/// The calendars that are asked about.
pub const CALENDARS: [&str; 4] = ["ada", "bob", "cy", "dora"];
/// The hashes of the requests that are asked about.
pub const HASHES: [[u8; 16]; 2] = [[7; 16], [8; 16]];

/// An answer as text, or the error.
pub type Answer = Result<String, StoreError>;

/// The answer to every question that can be asked of a store, in the order of the questions. A
/// refused reader, or a refused page of the log, ends the list.
pub fn answers(store: &mut Sqlite) -> Vec<Answer> {
    let mut all = vec![store.boot().map(|it| format!("{it:?}"))];
    for name in CALENDARS {
        all.push(
            store
                .load_calendars(&[id(name)], MONDAY)
                .map(|it| format!("{it:?}")),
        );
    }
    for number in (1..8).chain((100..400).step_by(17)) {
        all.push(
            store
                .load_appointments(&[appointment_id(number)])
                .map(|it| format!("{it:?}")),
        );
    }
    all.push(
        store
            .keys_of_email(&email_key("grace@example.com"), &Reach::ALL, 1_000)
            .map(|it| format!("{it:?}")),
    );
    all.push(store.seen_requests(&HASHES).map(|it| format!("{it:?}")));
    let mut reader = match store.reader() {
        Ok(reader) => reader,
        Err(error) => {
            all.push(Err(error));
            return all;
        }
    };
    all.push(
        reader
            .list_calendars(&Prefixes::ALL, None, 10)
            .map(|(it, at)| {
                let shown: Vec<_> = it
                    .iter()
                    .map(|it| (&it.id, format!("{:?} {:?}", it.profile, it.stamps)))
                    .collect();
                format!("{shown:?} {at:?}")
            }),
    );
    all.push(
        reader
            .appointments_after(AppointmentKey(0), 10_000)
            .map(|it| format!("{it:?}")),
    );
    lists(&mut *reader, &mut all);
    histories(&mut *reader, &mut all);
    log(&mut *reader, &mut all);
    all
}

fn lists(reader: &mut dyn Reader, all: &mut Vec<Answer>) {
    let of = |name: &str| ListQuery {
        calendar: Some(id(name)),
        limit: 500,
        ..query()
    };
    let lists = CALENDARS.map(of).into_iter().chain([
        ListQuery {
            from: at_hour(210),
            to: Some(at_hour(500)),
            ..of("dora")
        },
        ListQuery {
            calendar: None,
            email: Some(email_key("grace@example.com")),
            limit: 500,
            ..query()
        },
        ListQuery {
            is_descending: true,
            ..of("bob")
        },
        ListQuery {
            at: Some(Revision(200)),
            ..of("cy")
        },
    ]);
    for list in lists {
        all.push(reader.list_appointments(&list).map(|it| format!("{it:?}")));
    }
}

fn histories(reader: &mut dyn Reader, all: &mut Vec<Answer>) {
    for name in CALENDARS {
        all.push(
            reader
                .history(&of_calendar(&id(name), None, 1_000))
                .map(|it| format!("{it:?}")),
        );
    }
    for number in (1..8).chain((100..400).step_by(23)) {
        all.push(
            reader
                .history(&of_appointment(appointment_id(number), None, 100))
                .map(|it| format!("{it:?}")),
        );
    }
}

/// Every page of the log, up to the first that is refused.
fn log(reader: &mut dyn Reader, all: &mut Vec<Answer>) {
    let mut from = LogPosition::of(Revision(1));
    loop {
        match reader.changes_from(from, &WatchFilter::ALL, PART_EVENTS_MAX) {
            Ok(page) if page.next == from => break,
            Ok(page) => {
                from = page.next;
                all.push(Ok(format!("{page:?}")));
            }
            Err(error) => {
                all.push(Err(error));
                break;
            }
        }
    }
}
