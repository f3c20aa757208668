//! Tenants that share appointments are deleted one after the other: what is shared stays as long as
//! one of them does, and then goes.

use bookd::auth::Access;
use bookd::engine::Settings;
use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use tempfile::TempDir;

use crate::auth_guarded::{Guarded, connected, grants_on};
use crate::backup::run_json;
use crate::harness::Bookd;
use crate::tenant_world::{book, found_in, local, morning, open};
use crate::transfer::well;
use crate::words::booking;

const CALLERS: [(&str, &[&str], &str); 2] = [
    ("owner-of-all", &["admin"], ""),
    ("initech-desk", &["admin"], "initech/"),
];
const CALENDARS: [&str; 3] = ["acme/one", "globex/two", "initech/three"];

async fn served(folder: TempDir, grants: &TempDir, hours: i64) -> (Bookd, Guarded, Guarded) {
    let access = Access::granted(grants_on(grants.path(), &CALLERS));
    let settings = Settings {
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let now = morning(0).plus(hours * 3_600).to_string();
    let bookd = Bookd::start_guarded_in(folder, &now, settings, access).await;
    let owner = connected(&bookd, "owner-of-all").await;
    let initech = connected(&bookd, "initech-desk").await;
    (bookd, owner, initech)
}

async fn on_all_of(owner: &Guarded, calendars: &[&str], day: i64) -> String {
    let shared = pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: calendars.iter().map(|it| (*it).to_owned()).collect(),
        assignment: pb::Assignment::All.into(),
        ..booking("", &local(day, "10:00"))
    };
    book(owner, shared).await.appointment_id
}

/// The ids of the calendars of an appointment, as this caller is told; none where it is not there.
async fn calendars_of(caller: &Guarded, id: &str) -> Option<Vec<String>> {
    let request = pb::GetAppointmentRequest {
        appointment_id: id.to_owned(),
    };
    let mut lists = ListServiceClient::new(caller.clone());
    let found = lists.get_appointment(request).await.ok()?.into_inner();
    Some(found.appointment.unwrap().calendar_ids)
}

#[tokio::test]
async fn what_several_tenants_share_goes_with_the_last_of_them() {
    let (folder, grants) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (bookd, owner, initech) = served(folder, &grants, 0).await;
    for calendar in CALENDARS {
        open(&owner, calendar).await;
    }
    // A user's own calendar is no remnant, whatever it is called.
    open(&owner, "deleted-1").await;
    let [one, two, three] = CALENDARS;
    let mut of_all = Vec::new();
    let mut of_two = Vec::new();
    // Those that go lie between those that stay, in the history of each calendar.
    for day in [3, 5, 7] {
        of_all.push(on_all_of(&owner, &CALENDARS, day).await);
        of_two.push(on_all_of(&owner, &[one, two], day + 1).await);
        on_all_of(&owner, &[one, three], day + 20).await;
    }
    let own = on_all_of(&owner, &[two, "deleted-1"], 12).await;
    drop((owner, initech));
    let folder = bookd.stop_and_keep().await;

    run_json(folder.path(), &["tenant", "delete", "acme/", "--yes"]);
    well(folder.path(), &["check"]);
    let deleted = run_json(folder.path(), &["tenant", "delete", "globex/", "--yes"]);
    assert_eq!(deleted["appointments"], 3);
    assert_eq!(deleted["shared_appointments"], 4);
    well(folder.path(), &["check"]);
    let (bookd, owner, initech) = served(folder, &grants, 1).await;
    for id in &of_all {
        let seen = calendars_of(&owner, id).await.unwrap();
        assert_eq!(seen, ["deleted-2", "deleted-3", three]);
        assert_eq!(calendars_of(&initech, id).await.unwrap(), [three]);
    }
    for id in &of_two {
        assert_eq!(calendars_of(&owner, id).await, None);
    }
    assert_eq!(
        calendars_of(&owner, &own).await.unwrap(),
        ["deleted-3", "deleted-1"]
    );
    drop((owner, initech));
    let folder = bookd.stop_and_keep().await;

    run_json(folder.path(), &["tenant", "delete", "initech/", "--yes"]);
    well(folder.path(), &["check"]);
    let gone = ["acme", "globex", "initech", "deleted-2"];
    assert_eq!(found_in(folder.path(), &gone), Vec::<String>::new());
    // Its calendar is there, and the remnant beside it.
    let kept = ["deleted-1", "deleted-3"];
    assert_eq!(found_in(folder.path(), &kept), kept);
}
