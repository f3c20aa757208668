//! Appointments of a deleted calendar, in both stores: they stay in its lists and its history, also
//! when another calendar takes the id.

use bookd::store::{CommitBatch, ListQuery};
use bookd_core::command::Command;
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, Caller, Revision};

use crate::store_log::both;
use crate::stored::{
    World, appointment_id, at_hour, cancel, history, id, move_to, of_calendar, open, query, raw,
};

/// Opens `ada`, books two appointments, and deletes the calendar after they have passed.
fn outlived(world: &mut World) {
    open(world, "ada", "Europe/Paris");
    world.book(1, "ada", at_hour(9));
    world.book(2, "ada", at_hour(12));
    world.now = at_hour(40);
    world.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: false,
        etag: None,
        beforehand: None,
    });
}

/// The ids of all appointments of `ada`, read page by page.
fn listed(world: &World, limit: usize) -> Vec<AppointmentId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = world.list(&ListQuery {
            limit,
            after,
            now: world.now,
            ..query()
        });
        found.extend(page.appointments.iter().map(|it| it.id));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn revisions_of_ada(world: &mut World) -> Vec<u64> {
    let mut reader = world.store().reader().unwrap();
    let mut found: Vec<u64> = Vec::new();
    loop {
        let from = found.last().map(|last| Revision(last - 1));
        let page = history(&mut *reader, &of_calendar(&id("ada"), from, 2))
            .unwrap()
            .unwrap();
        found.extend(page.iter().map(|it| it.revision.0));
        if page.len() < 2 {
            return found;
        }
    }
}

#[test]
fn what_happens_to_appointments_of_a_deleted_calendar_is_in_its_lists_and_its_history() {
    for mut world in both() {
        outlived(&mut world);
        world.run(&cancel(appointment_id(1)));
        world.reopen();
        world.run(&Command::MarkNoShow {
            appointment: appointment_id(2),
            undo: false,
            etag: None,
        });
        assert_eq!(listed(&world, 1), [1, 2].map(appointment_id));
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
        // Another calendar takes the id.
        open(&mut world, "ada", "Europe/Paris");
        world.run(&Command::MarkNoShow {
            appointment: appointment_id(2),
            undo: true,
            etag: None,
        });
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
    }
}

#[test]
fn an_appointment_lies_once_in_the_lists_of_an_id_that_was_used_again() {
    for mut world in both() {
        outlived(&mut world);
        open(&mut world, "ada", "Europe/Paris");
        world.run(&move_to(appointment_id(1), at_hour(60)));
        assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
        world.reopen();
        world.run(&cancel(appointment_id(2)));
        assert_eq!(listed(&world, 100), [2, 1].map(appointment_id));
        assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
    }
}

#[test]
fn a_calendar_is_deleted_and_its_appointments_are_changed_in_one_batch() {
    for mut world in both() {
        open(&mut world, "ada", "Europe/Paris");
        world.book(1, "ada", at_hour(9));
        world.now = at_hour(40);
        let expected = [(id("ada"), world.state.calendars[&id("ada")].version)];
        let delete = Command::DeleteCalendar {
            calendar: id("ada"),
            force: false,
            etag: None,
            beforehand: None,
        };
        let changes = [delete, cancel(appointment_id(1))].map(|command| {
            let decision = decide(&world.state, &command, world.now).unwrap();
            let change = decision
                .change(&world.state, world.now, Caller::default())
                .unwrap();
            world.state.apply(&change);
            change
        });
        world
            .store()
            .commit(&CommitBatch {
                changes: &changes,
                requests: &[],
                expected: &expected,
            })
            .unwrap();
        assert_eq!(listed(&world, 1), [appointment_id(1)]);
        assert_eq!(revisions_of_ada(&mut world), [5, 4, 3, 2, 1]);
        world.check();
    }
}

/// Binaries before schema 4 wrote the claims of moved and cancelled appointments under the calendar
/// that has the id now.
#[test]
fn claims_that_lie_under_another_bearer_of_the_id_are_put_right_when_an_older_file_is_opened() {
    let mut world = World::sqlite();
    outlived(&mut world);
    open(&mut world, "ada", "Europe/Paris");
    world.run(&move_to(appointment_id(1), at_hour(60)));
    world.run(&cancel(appointment_id(2)));
    let file = raw(world.folder.as_ref().unwrap().path().join("bookd.db"));
    let claims = || -> Vec<(i64, bool, i64, i64)> {
        let mut select = file
            .prepare("select calendar, is_over, start, key from claims order by 1, 2, 3, 4")
            .unwrap();
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        select
            .query_map([], row)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let whole = claims();
    assert_eq!(
        whole,
        [
            (1, true, at_hour(12).seconds(), 2),
            (2, false, at_hour(60).seconds(), 1)
        ]
    );
    file.execute("update claims set calendar = 2 where is_over = 1", [])
        .unwrap();
    let stale = "insert into claims select 1, 0, ?1, id, key from appointments where key = ?2";
    for (hour, key) in [(9, 1), (12, 2)] {
        file.execute(stale, [at_hour(hour).seconds(), key]).unwrap();
    }
    assert_eq!(listed(&world, 100).len(), 4);
    file.execute("delete from meta where name = 'rows'", [])
        .unwrap();
    world.reopen();
    assert_eq!(claims(), whole);
    assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
}
