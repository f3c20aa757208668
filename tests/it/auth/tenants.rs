//! Tenants on one server: what each sees of an appointment that is also on another's calendars, and
//! that pages, streams and the right to ignore rules keep to their calendars.

use bookd::auth::Access;
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use tempfile::TempDir;
use tonic::Code;

use crate::auth_guarded::{Guarded, connected, grants_on, open};
use crate::harness::{Bookd, reason};
use crate::words::booking;

const ADMIN: &[&str] = &["admin"];

/// A server of two tenants, with the callers and an appointment on calendars of both.
struct World {
    folder: TempDir,
    bookd: Bookd,
    access: Access,
    owner: Guarded,
    acme: Guarded,
    beta: Guarded,
    /// On `acme/ada` and `beta/room`.
    shared: pb::Appointment,
    /// On `acme/ada` alone.
    own: pb::Appointment,
}

const CALLERS: [(&str, &[&str], &str); 5] = [
    ("owner", ADMIN, ""),
    ("acme", ADMIN, "acme/"),
    ("beta", ADMIN, "beta/"),
    ("both", &["read"], "acme/"),
    ("both", &["read", "book", "staff"], "beta/"),
];

async fn book(caller: &Guarded, request: pb::BookAppointmentRequest) -> pb::Appointment {
    let booked = BookingServiceClient::new(caller.clone())
        .book_appointment(request)
        .await
        .unwrap();
    booked.into_inner().appointment.unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let access = Access::granted(grants_on(folder.path(), &CALLERS));
        let bookd = Bookd::start_guarded(access.clone()).await;
        let owner = connected(&bookd, "owner").await;
        for calendar in ["acme/ada", "acme/bob", "beta/room", "acmeX/eve"] {
            open(&owner, calendar, "").await.unwrap();
        }
        let shared = pb::BookAppointmentRequest {
            calendar_id: String::new(),
            calendar_ids: vec!["acme/ada".to_owned(), "beta/room".to_owned()],
            assignment: pb::Assignment::All.into(),
            note: "a secret".to_owned(),
            ..booking("", "2027-01-05T09:00")
        };
        let shared = book(&owner, shared).await;
        let own = book(&owner, booking("acme/ada", "2027-01-05T11:00")).await;
        Self {
            acme: connected(&bookd, "acme").await,
            beta: connected(&bookd, "beta").await,
            folder,
            bookd,
            access,
            owner,
            shared,
            own,
        }
    }

    /// Moves the appointment of acme alone to a calendar of beta.
    async fn give_own_to_beta(&self) {
        let moved = pb::RescheduleAppointmentRequest {
            appointment_id: self.own.appointment_id.clone(),
            calendar_ids: vec!["beta/room".to_owned()],
            assignment: pb::Assignment::All.into(),
            local_start: "2027-01-05T13:00".to_owned(),
            ..Default::default()
        };
        BookingServiceClient::new(self.owner.clone())
            .reschedule_appointment(moved)
            .await
            .unwrap();
    }

    async fn stop(self) {
        drop((self.owner, self.acme, self.beta, self.access));
        self.bookd.stop().await;
    }
}

async fn get(caller: &Guarded, appointment_id: &str) -> Result<pb::Appointment, String> {
    let request = pb::GetAppointmentRequest {
        appointment_id: appointment_id.to_owned(),
    };
    let answer = ListServiceClient::new(caller.clone())
        .get_appointment(request)
        .await;
    answer
        .map(|it| it.into_inner().appointment.unwrap())
        .map_err(|status| reason(&status))
}

async fn list(caller: &Guarded, request: pb::ListAppointmentsRequest) -> Vec<pb::Appointment> {
    let answer = ListServiceClient::new(caller.clone())
        .list_appointments(request)
        .await;
    answer.unwrap().into_inner().appointments
}

/// The appointment as somebody sees it who sees one of its two calendars.
fn half_of(whole: &pb::Appointment, calendar: &str) -> pb::Appointment {
    pb::Appointment {
        calendar_ids: vec![calendar.to_owned()],
        invitee: None,
        note: String::new(),
        ..whole.clone()
    }
}

#[tokio::test]
async fn of_a_shared_appointment_each_tenant_sees_its_own_calendar_and_no_person() {
    let world = World::new().await;
    let id = world.shared.appointment_id.as_str();
    assert_eq!(get(&world.owner, id).await.unwrap(), world.shared);
    for (caller, calendar) in [(&world.acme, "acme/ada"), (&world.beta, "beta/room")] {
        let half = half_of(&world.shared, calendar);
        assert_eq!(get(caller, id).await.unwrap(), half);
        let of_calendar = pb::ListAppointmentsRequest {
            calendar_id: calendar.to_owned(),
            ..Default::default()
        };
        assert_eq!(list(caller, of_calendar).await[0], half);
        let by_code = pb::ListAppointmentsRequest {
            confirmation_code: world.shared.confirmation_code.clone(),
            ..Default::default()
        };
        assert_eq!(list(caller, by_code).await, [half]);
    }
    // An address leads to the appointments that are the tenant's alone: whose the shared one is, is
    // not told.
    let by_email = pb::ListAppointmentsRequest {
        invitee_email: world.own.invitee.clone().unwrap().email,
        ..Default::default()
    };
    assert_eq!(list(&world.owner, by_email.clone()).await.len(), 2);
    let of_acme = list(&world.acme, by_email.clone()).await;
    assert_eq!(of_acme, std::slice::from_ref(&world.own));
    assert!(list(&world.beta, by_email).await.is_empty());
    let missing = get(&world.beta, &world.own.appointment_id).await;
    assert_eq!(missing.unwrap_err(), "APPOINTMENT_NOT_FOUND");
    world.stop().await;
}

#[tokio::test]
async fn a_command_needs_all_calendars_of_what_it_touches() {
    let world = World::new().await;
    let cancel = |id: &str| pb::CancelAppointmentRequest {
        appointment_id: id.to_owned(),
        ..Default::default()
    };
    let mut acme = BookingServiceClient::new(world.acme.clone());
    let refused = acme
        .cancel_appointment(cancel(&world.shared.appointment_id))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    assert!(!refused.message().contains("beta"), "{refused:?}");
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "acme/ada".to_owned(),
        force: true,
        ..Default::default()
    };
    let refused = CalendarServiceClient::new(world.acme.clone())
        .delete_calendar(delete)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // An erasure by address leaves the shared one, whose person the tenant does not see.
    let erase = pb::RedactInviteeRequest {
        invitee_email: world.own.invitee.clone().unwrap().email,
        ..Default::default()
    };
    let erased = acme.redact_invitee(erase).await.unwrap().into_inner();
    assert_eq!((erased.appointments_redacted, erased.more), (1, false));
    let shared = get(&world.owner, &world.shared.appointment_id).await;
    assert_eq!(shared.unwrap(), world.shared);
    let mut owner = BookingServiceClient::new(world.owner.clone());
    owner
        .cancel_appointment(cancel(&world.shared.appointment_id))
        .await
        .unwrap();
    world.stop().await;
}

/// The changes that a caller is shown from the beginning up to the newest one.
async fn watched(caller: &Guarded, id_prefix: &str) -> Vec<pb::Change> {
    let request = pb::WatchAppointmentsRequest {
        start_revision: 1,
        id_prefix: id_prefix.to_owned(),
        ..Default::default()
    };
    let answer = ListServiceClient::new(caller.clone())
        .watch_appointments(request)
        .await;
    let (mut stream, mut changes) = (answer.unwrap().into_inner(), Vec::new());
    loop {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Change(change) => changes.push(change),
            Message::Progress(_) => return changes,
        }
    }
}

#[tokio::test]
async fn changes_show_a_tenant_its_own_calendars() {
    let world = World::new().await;
    // A move from one tenant to the other: each sees its half.
    world.give_own_to_beta().await;
    for (caller, ours, theirs) in [
        (&world.acme, "acme/", "beta"),
        (&world.beta, "beta/", "acme"),
    ] {
        for prefix in ["", ours] {
            let changes = watched(caller, prefix).await;
            let shown = format!("{changes:?}");
            assert!(
                !shown.contains(theirs) && !shown.contains("acmeX"),
                "{shown}"
            );
            assert!(!shown.contains("a secret"), "{shown}");
            let last = changes.last().unwrap().events[0].clone();
            assert_eq!(last.appointment_id, world.own.appointment_id);
            let (before, after) = (last.before.is_some(), last.after.is_some());
            assert_eq!((before, after), (ours == "acme/", ours == "beta/"));
        }
        let listed = pb::ListChangesRequest {
            calendar_id: format!("{ours}{}", if ours == "acme/" { "ada" } else { "room" }),
            ..Default::default()
        };
        let listed = ListServiceClient::new(caller.clone())
            .list_changes(listed)
            .await
            .unwrap();
        let shown = format!("{:?}", listed.into_inner().changes);
        assert!(shown.contains(ours) && !shown.contains(theirs), "{shown}");
    }
    // The history of an appointment is for whose it is now, from when it was theirs.
    let history = pb::ListChangesRequest {
        appointment_id: world.own.appointment_id.clone(),
        page_size: 1,
        ..Default::default()
    };
    let of_beta = ListServiceClient::new(world.beta.clone())
        .list_changes(history.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(of_beta.changes.len(), 1);
    assert!(
        of_beta.next_page_token.is_empty(),
        "the booking was not theirs"
    );
    let of_acme = ListServiceClient::new(world.acme.clone())
        .list_changes(history)
        .await
        .unwrap_err();
    assert_eq!(reason(&of_acme), "APPOINTMENT_NOT_FOUND");
    assert!(watched(&world.owner, "").await.len() > watched(&world.acme, "").await.len());
    world.stop().await;
}

#[tokio::test]
async fn what_a_tenant_writes_into_an_appointment_is_not_shown_to_the_one_before() {
    let world = World::new().await;
    let page = |page_token: String| {
        let request = pb::ListAppointmentsRequest {
            calendar_id: "acme/ada".to_owned(),
            page_size: 1,
            page_token,
            ..Default::default()
        };
        let mut lists = ListServiceClient::new(world.acme.clone());
        async move { lists.list_appointments(request).await.unwrap().into_inner() }
    };
    let first = page(String::new()).await;
    world.give_own_to_beta().await;
    let secret = pb::UpdateAppointmentRequest {
        appointment_id: world.own.appointment_id.clone(),
        note: "of beta alone".to_owned(),
        ..Default::default()
    };
    BookingServiceClient::new(world.beta.clone())
        .update_appointment(secret)
        .await
        .unwrap();
    // What acme was shown of it then has no person any more, in a watch and in a later page.
    let second = page(first.next_page_token).await;
    assert_eq!(
        second.appointments[0].appointment_id,
        world.own.appointment_id
    );
    assert_eq!(second.appointments[0].invitee, None);
    let shown = format!("{:?}{second:?}", watched(&world.acme, "").await);
    assert!(shown.contains(&world.own.appointment_id) && !shown.contains("of beta alone"));
    let whole = format!("{:?}", watched(&world.owner, "").await);
    assert!(whole.contains("of beta alone"));
    world.stop().await;
}

#[tokio::test]
async fn lists_of_calendars_are_the_callers_own() {
    let world = World::new().await;
    let both = connected(&world.bookd, "both").await;
    for (caller, prefix, expected) in [
        (
            &world.owner,
            "acme",
            &["acme/ada", "acme/bob", "acmeX/eve"][..],
        ),
        (&world.acme, "", &["acme/ada", "acme/bob"]),
        (&world.acme, "acme/b", &["acme/bob"]),
        (&world.acme, "a", &["acme/ada", "acme/bob"]),
        (&both, "", &["acme/ada", "acme/bob", "beta/room"]),
    ] {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = pb::ListCalendarsRequest {
                id_prefix: prefix.to_owned(),
                page_size: 1,
                page_token,
            };
            let page = CalendarServiceClient::new(caller.clone())
                .list_calendars(request)
                .await
                .unwrap()
                .into_inner();
            found.extend(page.calendars.into_iter().map(|it| it.calendar_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, expected, "{prefix}");
    }
    drop(both);
    world.stop().await;
}

#[tokio::test]
async fn a_page_token_is_the_callers_own() {
    let world = World::new().await;
    let request = pb::ListAppointmentsRequest {
        calendar_id: "acme/ada".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let of = |caller: &Guarded, page_token: String| {
        let request = pb::ListAppointmentsRequest {
            page_token,
            ..request.clone()
        };
        let mut client = ListServiceClient::new(caller.clone());
        async move { client.list_appointments(request).await }
    };
    let first = of(&world.acme, String::new()).await.unwrap().into_inner();
    let token = first.next_page_token;
    assert!(of(&world.acme, token.clone()).await.is_ok());
    let refused = of(&world.owner, token).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    world.stop().await;
}

#[tokio::test]
async fn each_scope_counts_on_the_calendars_of_its_own_grant() {
    let world = World::new().await;
    let both = connected(&world.bookd, "both").await;
    let who = AccessServiceClient::new(both.clone())
        .get_principal(pb::GetPrincipalRequest {})
        .await
        .unwrap()
        .into_inner()
        .principal
        .unwrap();
    let prefixes: Vec<_> = who.grants.iter().map(|it| it.prefix.as_str()).collect();
    assert_eq!(prefixes, ["acme/", "beta/"]);
    assert_eq!(who.grants[0].scopes, [i32::from(pb::Scope::Read)]);

    // It reads both halves, and so the whole.
    let seen = get(&both, &world.shared.appointment_id).await.unwrap();
    assert_eq!(seen, world.shared);
    let mut bookings = BookingServiceClient::new(both.clone());
    let refused = bookings
        .book_appointment(booking("acme/bob", "2027-01-05T09:00"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    assert!(refused.message().contains("beta/"), "{refused:?}");
    let early = pb::BookAppointmentRequest {
        ignore_rules: vec![pb::IgnorableRule::OutsideAvailability.into()],
        ..booking("beta/room", "2027-01-05T07:00")
    };
    bookings.book_appointment(early).await.unwrap();
    drop((both, bookings));
    world.stop().await;
}

#[tokio::test]
async fn who_is_in_the_way_is_told_to_readers_of_all_asked_calendars() {
    let world = World::new().await;
    let explained = |caller: &Guarded| {
        let request = pb::ExplainSlotRequest {
            calendar_id: "acme/ada".to_owned(),
            local_start: "2027-01-05T09:00".to_owned(),
            ..Default::default()
        };
        let mut client = SlotsServiceClient::new(caller.clone());
        async move { client.explain_slot(request).await.unwrap().into_inner() }
    };
    let told = explained(&world.acme).await;
    assert_eq!(
        told.violations[0].appointment_ids,
        std::slice::from_ref(&world.shared.appointment_id)
    );
    // Hours that leave it outside show its half.
    let closed = pb::SetAvailabilityRequest {
        calendar_id: "acme/ada".to_owned(),
        ..Default::default()
    };
    let outside = AvailabilityServiceClient::new(world.acme.clone())
        .set_availability(closed)
        .await
        .unwrap()
        .into_inner()
        .appointments_outside;
    assert_eq!(outside[0], half_of(&world.shared, "acme/ada"));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_one_of_its_calendars_is_taken_away() {
    let world = World::new().await;
    let both = connected(&world.bookd, "both").await;
    let request = pb::WatchAppointmentsRequest::default();
    let mut stream = ListServiceClient::new(both.clone())
        .watch_appointments(request)
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    // A grant that has nothing to do with it, and one more for it, leave it open.
    let mut callers = CALLERS.to_vec();
    callers.push(("page", &["slots"], ""));
    callers.push(("both", &["read"], "gamma/"));
    let grants = grants_on(world.folder.path(), &callers);
    world.access.replace(grants);
    open(&world.owner, "acme/ada", "").await.unwrap();
    stream.message().await.unwrap().unwrap();
    let fewer = grants_on(world.folder.path(), &CALLERS[..4]);
    world.access.replace(fewer);
    let ended = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the stream says why it ends"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "PERMISSION_DENIED");
    drop((stream, both));
    world.stop().await;
}
