//! A store on which two tenants have lived, `acme/` and `globex/`: with types, hours, busy time,
//! holds, series, sessions, moves, cancellations, deleted calendars, tokens, and appointments on
//! calendars of both.
//!
//! Its days are counted from tomorrow by the clock of the machine, so that the commands, which go by
//! that clock, find the same appointments upcoming.

use std::path::Path;

use bookd::auth::Access;
use bookd::clock::{Clock, SystemClock};
use bookd::engine::{DeletionSettings, Settings};
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd_core::time::Instant;
use tempfile::TempDir;

use crate::auth_guarded::{Guarded, connected, grants_on};
use crate::harness::{Bookd, minutes};
use crate::words::{appointment_type, booking, grace, holding, rule, set_availability, window};

const ADMIN: &[&str] = &["admin"];
const CALLERS: [(&str, &[&str], &str); 3] = [
    ("owner-of-all", ADMIN, ""),
    ("acme-desk", ADMIN, "acme/"),
    ("globex-desk", ADMIN, "globex/"),
];

/// Everything that only the tenant `acme/` said, and that is in its file. None of it is in another
/// word here.
pub const OF_ACME: [&str; 22] = [
    "acme/",
    "acme-desk",
    "acme-robot",
    "aurelia",
    "bertrand",
    "gone-room",
    "Zephyrine",
    "Marchetti",
    "oswin@",
    "crm-7781",
    "onboarding-for-members",
    "Beratung",
    "exchange-outlook",
    "Betriebsausflug",
    "Ostrander",
    "philippa@",
    "555-0177",
    "Kniescheibe",
    "case-9932",
    "Hinterhof",
    "verschnupft",
    "Shared-person",
];

/// The world, served.
pub struct Tenants {
    pub bookd: Bookd,
    /// The files with the tokens of its callers.
    grants: TempDir,
    pub owner: Guarded,
    pub acme: Guarded,
    pub globex: Guarded,
    /// An upcoming appointment on calendars of both, and one that took place.
    pub upcoming: pb::Appointment,
    pub past: pb::Appointment,
    /// One that was of acme and is of globex, and one that went the other way.
    pub given: pb::Appointment,
    pub taken: pb::Appointment,
    /// The last appointment that was booked, of acme alone.
    pub last: pb::Appointment,
}

/// 08:00 UTC of a day, counted from tomorrow.
pub fn morning(day: i64) -> Instant {
    let today = SystemClock.now().seconds().div_euclid(86_400);
    Instant::from_seconds((today + 1 + day) * 86_400 + 8 * 3_600)
}

/// A local start in UTC.
pub fn local(day: i64, clock: &str) -> String {
    format!("{}T{clock}", &morning(day).to_string()[..10])
}

fn date(day: i64) -> String {
    morning(day).to_string()[..10].to_owned()
}

fn philippa() -> Option<pb::Invitee> {
    Some(pb::Invitee {
        name: "Philippa Ostrander".to_owned(),
        email: "philippa@example.com".to_owned(),
        phone: "555-0177".to_owned(),
        time_zone: "Europe/Oslo".to_owned(),
    })
}

pub async fn book(caller: &Guarded, request: pb::BookAppointmentRequest) -> pb::Appointment {
    let booked = BookingServiceClient::new(caller.clone())
        .book_appointment(request)
        .await;
    booked.unwrap().into_inner().appointment.unwrap()
}

fn on_both(day: i64, clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: vec!["acme/aurelia".to_owned(), "globex/room".to_owned()],
        assignment: pb::Assignment::All.into(),
        invitee: Some(pb::Invitee {
            name: "Shared-person".to_owned(),
            ..Default::default()
        }),
        ..booking("", &local(day, clock))
    }
}

async fn give(owner: &Guarded, of: &pb::Appointment, to: &str, start: &str) -> pb::Appointment {
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: of.appointment_id.clone(),
        calendar_ids: vec![to.to_owned()],
        assignment: pb::Assignment::All.into(),
        local_start: start.to_owned(),
        ..Default::default()
    };
    let moved = BookingServiceClient::new(owner.clone())
        .reschedule_appointment(moved)
        .await;
    moved.unwrap().into_inner().appointment.unwrap()
}

/// Opens a calendar all day.
pub async fn open(caller: &Guarded, calendar: &str) {
    let request = set_availability(calendar, "UTC", vec![rule("00:00", "24:00")]);
    AvailabilityServiceClient::new(caller.clone())
        .set_availability(request)
        .await
        .unwrap();
}

async fn put_type(caller: &Guarded, calendar: &str, of: pb::AppointmentType) {
    let request = pb::PutAppointmentTypeRequest {
        calendar_id: calendar.to_owned(),
        appointment_type: Some(of),
        ..Default::default()
    };
    CalendarServiceClient::new(caller.clone())
        .put_appointment_type(request)
        .await
        .unwrap();
}

/// Calendars of acme with everything that they can have.
async fn acme_opens(acme: &Guarded) {
    let created = pb::CreateCalendarRequest {
        calendar: Some(pb::Calendar {
            calendar_id: "acme/aurelia".to_owned(),
            display_name: "Zephyrine Quill".to_owned(),
            time_zone: "UTC".to_owned(),
            owner: Some(pb::Owner {
                name: "Oswin Marchetti".to_owned(),
                email: "oswin@example.com".to_owned(),
            }),
            metadata: [("crm".to_owned(), "crm-7781".to_owned())].into(),
            ..Default::default()
        }),
        request_id: "first".to_owned(),
        ..Default::default()
    };
    CalendarServiceClient::new(acme.clone())
        .create_calendar(created)
        .await
        .unwrap();
    for calendar in ["acme/aurelia", "acme/bertrand", "acme/gone-room"] {
        open(acme, calendar).await;
    }
    let long = pb::AppointmentType {
        display_name: "Beratung".to_owned(),
        capacity: Some(3),
        ..appointment_type("onboarding-for-members", 30)
    };
    put_type(acme, "acme/aurelia", long.clone()).await;
    put_type(acme, "acme/gone-room", long).await;
    let mut availability = AvailabilityServiceClient::new(acme.clone());
    let overrides = vec![pb::AvailabilityOverride {
        date: date(20),
        windows: vec![window("10:00", "12:00")],
        note: "Betriebsausflug".to_owned(),
        ..Default::default()
    }];
    let request = pb::PutOverridesRequest {
        calendar_id: "acme/aurelia".to_owned(),
        overrides,
        ..Default::default()
    };
    availability.put_overrides(request).await.unwrap();
    let at = |hour: i64| {
        Some(prost_types::Timestamp {
            seconds: morning(9).seconds() + hour * 3_600,
            nanos: 0,
        })
    };
    let busy = pb::PutBusyRequest {
        calendar_id: "acme/bertrand".to_owned(),
        source: "exchange-outlook".to_owned(),
        start_time: at(0),
        end_time: at(9),
        periods: vec![pb::Period {
            start_time: at(1),
            end_time: at(2),
        }],
        ..Default::default()
    };
    availability.put_busy(busy).await.unwrap();
}

/// Bookings of acme alone.
async fn acme_books(acme: &Guarded) {
    let mut bookings = BookingServiceClient::new(acme.clone());
    let whole = pb::BookAppointmentRequest {
        invitee: philippa(),
        note: "Kniescheibe".to_owned(),
        metadata: [("case".to_owned(), "case-9932".to_owned())].into(),
        location: "Hinterhof 7b".to_owned(),
        request_id: "visit".to_owned(),
        ..booking("acme/aurelia", &local(3, "09:00"))
    };
    book(acme, whole.clone()).await;
    for seat in 0..3 {
        let class = pb::BookAppointmentRequest {
            appointment_type_id: "onboarding-for-members".to_owned(),
            request_id: format!("seat-{seat}"),
            ..booking("acme/aurelia", &local(4, "09:00"))
        };
        book(acme, class).await;
    }
    let series = pb::BookSeriesRequest {
        calendar_id: "acme/bertrand".to_owned(),
        local_start: local(5, "10:00"),
        frequency: pb::Frequency::Weekly.into(),
        count: Some(4),
        invitee: philippa(),
        ..Default::default()
    };
    bookings.book_series(series).await.unwrap();
    let cancelled = book(acme, booking("acme/bertrand", &local(6, "10:00"))).await;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: cancelled.appointment_id,
        reason: "verschnupft".to_owned(),
        ..Default::default()
    };
    bookings.cancel_appointment(cancel).await.unwrap();
    let redacted = pb::BookAppointmentRequest {
        invitee: Some(pb::Invitee {
            name: "Ronja".to_owned(),
            email: "ronja@example.com".to_owned(),
            ..Default::default()
        }),
        ..booking("acme/bertrand", &local(7, "10:00"))
    };
    book(acme, redacted).await;
    let redact = pb::RedactInviteeRequest {
        invitee_email: "ronja@example.com".to_owned(),
        ..Default::default()
    };
    bookings.redact_invitee(redact).await.unwrap();
    let hold = pb::HoldAppointmentRequest {
        ttl: Some(minutes(30)),
        ..holding("acme/bertrand", &local(8, "10:00"))
    };
    bookings.hold_appointment(hold).await.unwrap();
    // A deletion in slices, of a calendar whose id is borne again.
    for hour in 10..18 {
        let on = pb::BookAppointmentRequest {
            appointment_type_id: "onboarding-for-members".to_owned(),
            ..booking("acme/gone-room", &local(2, &format!("{hour}:00")))
        };
        book(acme, on).await;
    }
    delete(acme, "acme/gone-room").await;
    open(acme, "acme/gone-room").await;
}

pub async fn delete(caller: &Guarded, calendar: &str) {
    let request = pb::DeleteCalendarRequest {
        calendar_id: calendar.to_owned(),
        force: true,
        ..Default::default()
    };
    CalendarServiceClient::new(caller.clone())
        .delete_calendar(request)
        .await
        .unwrap();
}

/// What globex does, beside acme.
async fn globex_lives(globex: &Guarded) {
    for calendar in ["globex/room", "globex/eve", "globex/attic"] {
        open(globex, calendar).await;
    }
    for hour in 10..15 {
        let request = pb::BookAppointmentRequest {
            request_id: format!("visit-{hour}"),
            ..booking("globex/eve", &local(3, &format!("{hour}:00")))
        };
        book(globex, request).await;
    }
    book(globex, booking("globex/attic", &local(4, "10:00"))).await;
    let series = pb::BookSeriesRequest {
        calendar_id: "globex/room".to_owned(),
        local_start: local(5, "10:00"),
        frequency: pb::Frequency::Daily.into(),
        count: Some(3),
        invitee: grace(),
        ..Default::default()
    };
    BookingServiceClient::new(globex.clone())
        .book_series(series)
        .await
        .unwrap();
    delete(globex, "globex/attic").await;
}

async fn tokens(owner: &Guarded) {
    for (name, prefix) in [("acme-robot", "acme/"), ("globex-robot", "globex/")] {
        let request = pb::CreateTokenRequest {
            name: name.to_owned(),
            scopes: vec![pb::Scope::Read.into()],
            prefix: prefix.to_owned(),
            ..Default::default()
        };
        AccessServiceClient::new(owner.clone())
            .create_token(request)
            .await
            .unwrap();
    }
}

/// A token that acme made itself, and revoked.
async fn revoked_token(acme: &Guarded) {
    let mut access = AccessServiceClient::new(acme.clone());
    let request = pb::CreateTokenRequest {
        name: "acme/passing".to_owned(),
        scopes: vec![pb::Scope::Read.into()],
        prefix: "acme/".to_owned(),
        ..Default::default()
    };
    let created = access.create_token(request).await.unwrap().into_inner();
    let request = pb::RevokeTokenRequest {
        token_id: created.record.unwrap().token_id,
        ..Default::default()
    };
    access.revoke_token(request).await.unwrap();
}

/// The booking of globex that acme has afterwards.
pub fn taken() -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        request_id: "taken".to_owned(),
        ..booking("globex/eve", &local(10, "20:00"))
    }
}

/// A booking on calendars of both, each an appointment of its own.
pub fn batch_of_both() -> pb::BatchBookRequest {
    let requests = ["acme/aurelia", "globex/room", "acme/bertrand", "globex/eve"];
    pb::BatchBookRequest {
        requests: requests.map(|it| booking(it, &local(13, "14:00"))).to_vec(),
        request_id: "batch-of-both".to_owned(),
        ..Default::default()
    }
}

fn settings() -> Settings {
    Settings {
        is_clock_confirmed: true,
        // So that a calendar of a few appointments is deleted in slices.
        deletion_settings: DeletionSettings {
            direct_max: 3,
            slice_size: 2,
        },
        ..Settings::default()
    }
}

impl Tenants {
    /// Starts a server and lets both live on it.
    pub async fn new() -> Self {
        let (folder, grants) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let bookd = Self::serve(folder, grants.path(), &morning(0).to_string()).await;
        let owner = connected(&bookd, "owner-of-all").await;
        let acme = connected(&bookd, "acme-desk").await;
        let globex = connected(&bookd, "globex-desk").await;
        acme_opens(&acme).await;
        globex_lives(&globex).await;
        let past = book(&owner, on_both(0, "09:00")).await;
        bookd.advance(4 * 3_600).await;
        tokens(&owner).await;
        revoked_token(&acme).await;
        acme_books(&acme).await;
        let upcoming = book(&owner, on_both(3, "16:00")).await;
        let given = book(&acme, booking("acme/bertrand", &local(9, "20:00"))).await;
        let given = give(&owner, &given, "globex/eve", &local(9, "20:00")).await;
        let taken = book(&globex, taken()).await;
        let taken = give(&owner, &taken, "acme/bertrand", &local(10, "20:00")).await;
        // One change of both.
        BookingServiceClient::new(owner.clone())
            .batch_book(batch_of_both())
            .await
            .unwrap();
        let last = book(&acme, booking("acme/aurelia", &local(14, "10:00"))).await;
        Self {
            bookd,
            grants,
            owner,
            acme,
            globex,
            upcoming,
            past,
            given,
            taken,
            last,
        }
    }

    async fn serve(folder: TempDir, grants: &Path, now: &str) -> Bookd {
        let access = Access::granted(grants_on(grants, &CALLERS));
        Bookd::start_guarded_in(folder, now, settings(), access).await
    }

    /// Stops the server; its folder stays.
    pub async fn stop(self) -> (TempDir, TempDir) {
        drop((self.owner, self.acme, self.globex));
        (self.bookd.stop_and_keep().await, self.grants)
    }

    /// Serves a store on which they lived, a few hours later; answers the server and globex.
    pub async fn served_again(folder: TempDir, grants: &Path) -> (Bookd, Guarded) {
        let later = morning(0).plus(8 * 3_600).to_string();
        let bookd = Self::serve(folder, grants, &later).await;
        let globex = connected(&bookd, "globex-desk").await;
        (bookd, globex)
    }
}

/// The words of the tenant that are found in the files of a folder.
pub fn found_in(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|it| it.unwrap().path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let is_in = |word: &&&str| bytes.windows(word.len()).any(|it| it == word.as_bytes());
        found.extend(words.iter().filter(is_in).map(|it| (*it).to_owned()));
    }
    found
}
