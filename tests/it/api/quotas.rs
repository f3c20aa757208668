//! Quotas of tenants: what counts, who is refused, and that the count is right after every way by
//! which there come to be fewer.

use bookd::auth::Access;
use bookd::cli::exit::Exit;
use bookd::engine::{DeletionSettings, Settings};
use bookd::proto::v1 as pb;
use bookd::store::Store;
use bookd_core::ids::CalendarId;
use bookd_core::quota::{Quota, Quotas, Tenant};
use bookd_core::time::Instant;
use tonic::Code;

use crate::auth_guarded::{connected, grants_on, open};
use crate::harness::{Bookd, instant};
use crate::kill::{Process, command};
use crate::operations::hangup;
use crate::people::{bookd, said};
use crate::words::{NOW, Refused, booking, grace, holding, refused};

const MONDAY: &str = "2027-03-08";

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

/// Settings by which each tenant may have so many calendars and upcoming appointments.
fn limited(calendars: u64, upcoming_appointments: u64) -> Settings {
    let others = Quota {
        calendars: Some(calendars),
        upcoming_appointments: Some(upcoming_appointments),
    };
    Settings {
        is_clock_confirmed: true,
        quotas: Quotas {
            others,
            ..Quotas::default()
        },
        ..Settings::default()
    }
}

/// A server with so many upcoming appointments for each tenant, and these calendars.
async fn with_calendars(upcoming: u64, calendars: &[&str]) -> Bookd {
    let bookd = Bookd::start_with(NOW, limited(100, upcoming)).await;
    for calendar in calendars {
        bookd.hours(calendar, "UTC", &[("08:00", "20:00")]).await;
    }
    bookd
}

fn at(calendar: &str, clock: &str) -> pb::BookAppointmentRequest {
    booking(calendar, &format!("{MONDAY}T{clock}"))
}

fn expect_exceeded(refused: &Refused, tenant: &str, quota: &str, [limit, has]: [&str; 2]) {
    assert!(
        refused.is(Code::ResourceExhausted, "QUOTA_EXCEEDED"),
        "{refused:?}"
    );
    for (key, value) in [
        ("tenant", tenant),
        ("quota", quota),
        ("limit", limit),
        ("has", has),
    ] {
        assert_eq!(refused.metadata[key], value, "{refused:?}");
    }
    assert!(refused.details.retry_info().is_none(), "{refused:?}");
}

/// What all tenants have by the count of the server, which the store must confirm once it is stopped.
async fn counted_and_stored(bookd: Bookd) -> Vec<(Tenant, u64, u64)> {
    let now = Instant::from_seconds(bookd.clock_seconds());
    let counted = bookd.engine().quotas().usage(now).unwrap();
    let folder = bookd.stop_and_keep().await;
    let zones = std::sync::Arc::new(bookd::zones::Zones::bundled());
    let file = folder.path().join("bookd.db");
    let mut store = bookd::open_store::open_sqlite(&file, &zones).unwrap();
    assert_eq!(counted, store.usage(now).unwrap().all(now));
    counted
}

#[tokio::test]
async fn a_tenant_may_have_so_many_calendars_and_another_is_not_concerned() {
    let bookd = Bookd::start_with(NOW, limited(2, 100)).await;
    let create = async |id: &str| {
        let request = pb::CreateCalendarRequest {
            calendar: Some(pb::Calendar {
                calendar_id: id.to_owned(),
                time_zone: "UTC".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        bookd.calendars().create_calendar(request).await
    };
    create("acme/ada").await.unwrap();
    create("acme/room/1").await.unwrap();
    let third = refused(create("acme/eve").await);
    expect_exceeded(&third, "acme/", "calendars", ["2", "2"]);
    // Whether it exists is said first.
    assert!(refused(create("acme/ada").await).is(Code::AlreadyExists, "CALENDAR_EXISTS"));
    for id in ["acmeX/ada", "ada", "bob"] {
        create(id).await.unwrap();
    }
    expect_exceeded(&refused(create("eve").await), "", "calendars", ["2", "2"]);
    // SetAvailability creates a calendar too.
    let implicit = crate::words::set_availability("acme/new", "UTC", Vec::new());
    let implicit = refused(bookd.availability().set_availability(implicit).await);
    expect_exceeded(&implicit, "acme/", "calendars", ["2", "2"]);
    let request = pb::DeleteCalendarRequest {
        calendar_id: "acme/room/1".to_owned(),
        ..Default::default()
    };
    bookd.calendars().delete_calendar(request).await.unwrap();
    create("acme/eve").await.unwrap();
    let all = counted_and_stored(bookd).await;
    assert_eq!(
        all,
        [
            (tenant(""), 2, 0),
            (tenant("acme/"), 2, 0),
            (tenant("acmeX/"), 1, 0)
        ]
    );
}

#[tokio::test]
async fn what_is_cancelled_expired_or_over_no_longer_counts() {
    let bookd = with_calendars(2, &["acme/ada", "acme/bob", "beta/eve"]).await;
    let full = async |what: &str| {
        let refused = refused(bookd.book(at("acme/bob", "19:00")).await);
        assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{what}");
        expect_exceeded(&refused, "acme/", "upcoming_appointments", ["2", "2"]);
    };
    let first = bookd.book(at("acme/ada", "09:00")).await.unwrap();
    bookd.hold("acme/bob", &format!("{MONDAY}T09:00")).await;
    full("a hold counts").await;
    let another = holding("acme/bob", &format!("{MONDAY}T11:00"));
    let another = refused(bookd.booking().hold_appointment(another).await);
    assert_eq!(another.reason, "QUOTA_EXCEEDED");
    bookd.book(at("beta/eve", "09:00")).await.unwrap();
    // A race that is lost is said before.
    let taken = refused(bookd.book(at("acme/ada", "09:00")).await);
    assert_eq!(taken.reason, "SLOT_TAKEN");
    bookd.cancel(&first.appointment_id).await;
    let second = bookd.book(at("acme/ada", "10:00")).await.unwrap();
    full("cancelled and booked anew").await;
    // The hold expires.
    bookd.advance(3_600).await;
    bookd.book(at("acme/bob", "12:00")).await.unwrap();
    full("expired and booked anew").await;
    // A move takes nothing more, of who is full too.
    let request = pb::RescheduleAppointmentRequest {
        appointment_id: second.appointment_id.clone(),
        local_start: format!("{MONDAY}T14:00"),
        ..Default::default()
    };
    bookd
        .booking()
        .reschedule_appointment(request)
        .await
        .unwrap();
    // At the very end of an appointment it is no longer upcoming.
    bookd.set_clock(&format!("{MONDAY}T12:59:59Z")).await;
    full("a second before the end").await;
    bookd.set_clock(&format!("{MONDAY}T13:00:00Z")).await;
    bookd.book(at("acme/bob", "15:00")).await.unwrap();
    full("one ended and one booked anew").await;
    bookd.set_clock(&format!("{MONDAY}T23:00:00Z")).await;
    let all = counted_and_stored(bookd).await;
    assert_eq!(all, [(tenant("acme/"), 2, 0), (tenant("beta/"), 1, 0)]);
}

#[tokio::test]
async fn a_batch_or_a_series_counts_whole_and_a_dry_run_is_refused_as_the_call_is() {
    let bookd = with_calendars(3, &["acme/ada"]).await;
    let batch = |clocks: &[&str], validate_only| pb::BatchBookRequest {
        requests: clocks.iter().map(|it| at("acme/ada", it)).collect(),
        validate_only,
        ..Default::default()
    };
    let series = |count, validate_only| pb::BookSeriesRequest {
        calendar_id: "acme/ada".to_owned(),
        local_start: format!("{MONDAY}T18:00"),
        invitee: grace(),
        frequency: pb::Frequency::Daily.into(),
        count: Some(count),
        validate_only,
        ..Default::default()
    };
    for validate_only in [true, false] {
        let four = batch(&["08:00", "09:00", "10:00", "11:00"], validate_only);
        let four = refused(bookd.booking().batch_book(four).await);
        expect_exceeded(&four, "acme/", "upcoming_appointments", ["3", "0"]);
        let four = refused(bookd.booking().book_series(series(4, validate_only)).await);
        expect_exceeded(&four, "acme/", "upcoming_appointments", ["3", "0"]);
    }
    let two = batch(&["08:00", "09:00"], true);
    bookd.booking().batch_book(two.clone()).await.unwrap();
    let two = pb::BatchBookRequest {
        validate_only: false,
        request_id: "two".to_owned(),
        ..two
    };
    bookd.booking().batch_book(two.clone()).await.unwrap();
    for validate_only in [true, false] {
        let more = bookd.booking().book_series(series(2, validate_only)).await;
        expect_exceeded(&refused(more), "acme/", "upcoming_appointments", ["3", "2"]);
    }
    bookd.booking().book_series(series(1, false)).await.unwrap();
    // A repeated request gets its first answer.
    bookd.booking().batch_book(two).await.unwrap();
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 1, 3)]);
}

#[tokio::test]
async fn a_hold_counts_until_it_expires_whether_the_writer_has_seen_that_or_not() {
    let bookd = with_calendars(1, &["acme/ada"]).await;
    let held = bookd.hold("acme/ada", &format!("{MONDAY}T09:00")).await;
    let left = held.expire_time.unwrap().seconds - bookd.clock_seconds();
    let dry = pb::BookAppointmentRequest {
        validate_only: true,
        ..at("acme/ada", "09:00")
    };
    let elsewhere = pb::BookAppointmentRequest {
        validate_only: true,
        ..at("acme/ada", "11:00")
    };
    bookd.pass(left - 1);
    let full = refused(bookd.book(elsewhere.clone()).await);
    assert_eq!(full.reason, "QUOTA_EXCEEDED");
    bookd.pass(1);
    bookd.book(elsewhere).await.unwrap();
    bookd.book(dry).await.unwrap();
    bookd.book(at("acme/ada", "11:00")).await.unwrap();
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 1, 1)]);
}

#[tokio::test]
async fn what_takes_place_counts_until_its_end_and_undoing_that_takes_nothing_more() {
    let bookd = with_calendars(1, &["acme/ada", "acme/bob"]).await;
    let booked = bookd.book(at("acme/ada", "09:00")).await.unwrap();
    bookd.set_clock(&format!("{MONDAY}T09:10:00Z")).await;
    let complete = |undo| pb::CompleteAppointmentRequest {
        appointment_id: booked.appointment_id.clone(),
        undo,
        ..Default::default()
    };
    for undo in [false, true, false] {
        let done = bookd.booking().complete_appointment(complete(undo)).await;
        done.unwrap();
        let full = refused(bookd.book(at("acme/bob", "12:00")).await);
        assert_eq!(full.reason, "QUOTA_EXCEEDED");
    }
    bookd.set_clock(&format!("{MONDAY}T10:00:00Z")).await;
    bookd.book(at("acme/bob", "12:00")).await.unwrap();
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 2, 1)]);
}

#[tokio::test]
async fn how_many_there_are_is_told_to_who_sees_all_of_the_tenant_alone() {
    let folder = tempfile::TempDir::new().unwrap();
    let callers: [(&str, &[&str], &str); 3] = [
        ("operator", &["admin"], ""),
        ("acme", &["admin"], "acme/"),
        ("north", &["admin"], "acme/north/"),
    ];
    let access = Access::granted(grants_on(folder.path(), &callers));
    let bookd = Bookd::start_guarded_with(access, limited(1, 9)).await;
    let operator = connected(&bookd, "operator").await;
    open(&operator, "acme/south/ada", "").await.unwrap();
    for (caller, has) in [
        ("operator", Some("1")),
        ("acme", Some("1")),
        ("north", None),
    ] {
        let caller = connected(&bookd, caller).await;
        let refused = Refused::of(&open(&caller, "acme/north/bob", "").await.unwrap_err());
        assert!(refused.is(Code::ResourceExhausted, "QUOTA_EXCEEDED"));
        assert_eq!(refused.metadata.get("has").map(String::as_str), has);
        assert_eq!(refused.metadata["limit"], "1");
    }
    bookd.stop().await;
}

#[tokio::test]
async fn an_appointment_of_two_tenants_counts_for_both() {
    let bookd = with_calendars(1, &["acme/ada", "acme/bob", "beta/room"]).await;
    let both = |clock: &str, calendars: &[&str]| pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: calendars.iter().map(|it| (*it).to_owned()).collect(),
        assignment: pb::Assignment::All.into(),
        ..at("", clock)
    };
    let shared = bookd
        .book(both("09:00", &["acme/ada", "acme/bob", "beta/room"]))
        .await
        .unwrap();
    for (calendar, of) in [("acme/bob", "acme/"), ("beta/room", "beta/")] {
        let refused = refused(bookd.book(at(calendar, "12:00")).await);
        expect_exceeded(&refused, of, "upcoming_appointments", ["1", "1"]);
    }
    bookd.cancel(&shared.appointment_id).await;
    bookd.book(at("beta/room", "12:00")).await.unwrap();
    let refused = refused(bookd.book(both("14:00", &["acme/ada", "beta/room"])).await);
    expect_exceeded(&refused, "beta/", "upcoming_appointments", ["1", "1"]);
    let all = counted_and_stored(bookd).await;
    assert_eq!(all, [(tenant("acme/"), 2, 0), (tenant("beta/"), 1, 1)]);
}

#[tokio::test]
async fn a_calendar_deleted_in_slices_gives_back_all_that_it_had() {
    let settings = Settings {
        deletion_settings: DeletionSettings {
            direct_max: 0,
            slice_size: 2,
        },
        ..limited(10, 8)
    };
    let bookd = Bookd::start_with(NOW, settings).await;
    for calendar in ["acme/ada", "acme/bob"] {
        bookd.hours(calendar, "UTC", &[("08:00", "20:00")]).await;
    }
    for clock in ["08:00", "09:00", "10:00", "11:00", "12:00"] {
        bookd.book(at("acme/ada", clock)).await.unwrap();
    }
    // What the deletion itself cancels: a hold, and an appointment on another calendar too.
    bookd.hold("acme/ada", &format!("{MONDAY}T13:00")).await;
    let both = pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["acme/ada".to_owned(), "acme/bob".to_owned()],
        assignment: pb::Assignment::All.into(),
        ..at("", "15:00")
    };
    bookd.book(both).await.unwrap();
    bookd.book(at("acme/bob", "17:00")).await.unwrap();
    let refused = refused(bookd.book(at("acme/bob", "18:00")).await);
    expect_exceeded(&refused, "acme/", "upcoming_appointments", ["8", "8"]);
    let request = pb::DeleteCalendarRequest {
        calendar_id: "acme/ada".to_owned(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(request).await.unwrap();
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 1, 1)]);
}

#[tokio::test]
async fn of_many_who_race_for_the_last_places_no_more_are_let_in() {
    let calendars: Vec<String> = (0..64).map(|number| format!("acme/{number}")).collect();
    let names: Vec<&str> = calendars.iter().map(String::as_str).collect();
    let bookd = with_calendars(10, &names).await;
    let mut calls = tokio::task::JoinSet::new();
    for calendar in &calendars {
        let (mut client, request) = (bookd.booking(), at(calendar, "09:00"));
        calls.spawn(async move { client.book_appointment(request).await });
    }
    let answers = calls.join_all().await;
    let (booked, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(booked.len(), 10);
    for answer in refused {
        assert_eq!(Refused::of(&answer.unwrap_err()).reason, "QUOTA_EXCEEDED");
    }
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 64, 10)]);
}

#[tokio::test]
async fn a_lowered_quota_takes_nothing_away_and_a_restart_counts_again() {
    let bookd = with_calendars(3, &["acme/ada"]).await;
    for clock in ["08:00", "09:00", "10:00"] {
        bookd.book(at("acme/ada", clock)).await.unwrap();
    }
    let quotas = bookd.engine().quotas();
    let of = |upcoming| Quotas {
        named: [(
            tenant("acme/"),
            Quota {
                upcoming_appointments: Some(upcoming),
                ..Quota::default()
            },
        )]
        .into(),
        ..Quotas::default()
    };
    quotas.replace(of(1)).unwrap();
    let lowered = refused(bookd.book(at("acme/ada", "11:00")).await);
    expect_exceeded(&lowered, "acme/", "upcoming_appointments", ["1", "3"]);
    quotas.replace(of(4)).unwrap();
    bookd.book(at("acme/ada", "11:00")).await.unwrap();
    quotas.replace(Quotas::default()).unwrap();
    bookd.book(at("acme/ada", "12:00")).await.unwrap();
    // It starts with the quota of before, and everything is there.
    let bookd = bookd.restart().await;
    let again = refused(bookd.book(at("acme/ada", "13:00")).await);
    expect_exceeded(&again, "acme/", "upcoming_appointments", ["3", "5"]);
    assert_eq!(counted_and_stored(bookd).await, [(tenant("acme/"), 1, 5)]);
}

#[tokio::test]
async fn the_first_quota_of_a_running_server_needs_a_restart() {
    let bookd = Bookd::start_at(NOW).await;
    let quotas = bookd.engine().quotas();
    let now = instant(NOW);
    assert_eq!(quotas.usage(now), None);
    let first = limited(1, 1).quotas;
    let refused = quotas.replace(first).unwrap_err();
    assert!(refused.to_string().contains("needs a restart"), "{refused}");
    quotas.replace(Quotas::default()).unwrap();
    assert_eq!(
        Tenant::of(&CalendarId::parse("a/b/c").unwrap()),
        tenant("a/")
    );
}

#[tokio::test]
async fn the_binary_takes_quotas_of_its_file_and_others_at_sighup() {
    let folder = tempfile::TempDir::new().unwrap();
    let (home, file) = (folder.path(), folder.path().join("bookd.toml"));
    let configure = |calendars: u64| {
        let text = format!("[[quota]]\ncalendars = {calendars}\n");
        std::fs::write(&file, text).unwrap();
    };
    configure(1);
    let checked = bookd(
        "127.0.0.1:1",
        home,
        &["config", "check", "--config", "bookd.toml"],
    );
    assert!(
        said(&checked).contains("a quota for each tenant"),
        "{}",
        said(&checked)
    );
    let mut served = command(&home.join("bookd.db"));
    served.arg("--config").arg(&file);
    let process = Process::spawn(served, "with this program");
    let server = process.address.to_string();
    let open = |calendar: &str| bookd(&server, home, &["hours", calendar, "daily", "09:00-17:00"]);
    assert!(open("acme/ada").status.success());
    let refused = open("acme/bob");
    assert!(!refused.status.success());
    let why = "the quota of tenant acme/ for calendars is 1, and it has 1: delete calendars, or";
    assert!(said(&refused).contains(why), "{}", said(&refused));
    assert_eq!(
        refused.status.code(),
        Some(i32::from(Exit::NotAllowed.code()))
    );
    configure(2);
    hangup(&process);
    let mut tries = 0;
    while !open("acme/bob").status.success() {
        tries += 1;
        assert!(tries < 200, "the quotas are not read again");
    }
    assert!(!open("acme/eve").status.success());
    assert!(process.terminate_beside_clients().await.success());
}
