//! Callers without the scope `read` are told no person, and no appointment that they do not know.

use bookd::auth::Access;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use tempfile::TempDir;

use crate::auth_guarded::{Guarded, connected, grants, open};
use crate::harness::Bookd;
use crate::words::booking;

/// A server with an appointment at 9:00 that the page has booked, and who calls it.
struct World {
    bookd: Bookd,
    booked: pb::Appointment,
    admin: Guarded,
    page: Guarded,
    owner: Guarded,
    staff: Guarded,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let callers: [(&str, &[&str]); 4] = [
            ("admin", &["admin"]),
            ("page", &["slots", "book"]),
            ("owner", &["manage"]),
            ("staff", &["staff", "read", "slots"]),
        ];
        let bookd = Bookd::start_guarded(Access::granted(grants(folder.path(), &callers))).await;
        let admin = connected(&bookd, "admin").await;
        let page = connected(&bookd, "page").await;
        open(&admin, "ada", "").await.unwrap();
        let request = pb::BookAppointmentRequest {
            note: "a secret".to_owned(),
            ..booking("ada", "2027-01-05T09:00")
        };
        let booked = BookingServiceClient::new(page.clone())
            .book_appointment(request)
            .await
            .unwrap();
        Self {
            booked: booked.into_inner().appointment.unwrap(),
            owner: connected(&bookd, "owner").await,
            staff: connected(&bookd, "staff").await,
            bookd,
            admin,
            page,
        }
    }

    async fn stop(self) {
        drop((self.admin, self.page, self.owner, self.staff));
        self.bookd.stop().await;
    }
}

/// Whether an answer says whose appointment it is, or anything else of the person.
fn says_of_whom(appointment: &pb::Appointment) -> bool {
    appointment.invitee.is_some()
        || !appointment.note.is_empty()
        || !appointment.metadata.is_empty()
}

/// The ids of the appointments that are in the way, as this caller is told, and how many rules are
/// broken.
async fn in_the_way(caller: &Guarded) -> (Vec<String>, usize) {
    let asked = pb::ExplainSlotRequest {
        calendar_id: "ada".to_owned(),
        local_start: "2027-01-05T09:00".to_owned(),
        ..Default::default()
    };
    let explained = SlotsServiceClient::new(caller.clone())
        .explain_slot(asked)
        .await
        .unwrap();
    let violations = explained.into_inner().violations;
    let ids = violations.iter().flat_map(|it| it.appointment_ids.clone());
    (ids.collect(), violations.len())
}

#[tokio::test]
async fn which_appointment_is_in_the_way_is_for_readers() {
    let world = World::new().await;
    let (of_page, broken) = in_the_way(&world.page).await;
    assert!(of_page.is_empty() && broken > 0);
    let (of_staff, _) = in_the_way(&world.staff).await;
    assert_eq!(of_staff, std::slice::from_ref(&world.booked.appointment_id));
    world.stop().await;
}

#[tokio::test]
async fn whose_appointments_lie_outside_of_new_hours_is_for_readers() {
    let world = World::new().await;
    for (caller, is_told) in [(&world.owner, false), (&world.admin, true)] {
        let closed = pb::SetAvailabilityRequest {
            calendar_id: "ada".to_owned(),
            validate_only: true,
            ..Default::default()
        };
        let answer = AvailabilityServiceClient::new(caller.clone())
            .set_availability(closed)
            .await
            .unwrap()
            .into_inner();
        let [outside] = &answer.appointments_outside[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(outside.appointment_id, world.booked.appointment_id);
        assert_eq!(says_of_whom(outside), is_told);
    }
    world.stop().await;
}

#[tokio::test]
async fn who_books_is_told_what_it_said_and_who_cancels_only_with_the_right_to_read() {
    let world = World::new().await;
    assert!(says_of_whom(&world.booked), "the caller said it itself");
    for (caller, is_told) in [(&world.page, false), (&world.admin, true)] {
        let cancelled = pb::CancelAppointmentRequest {
            appointment_id: world.booked.appointment_id.clone(),
            ..Default::default()
        };
        let answer = BookingServiceClient::new(caller.clone())
            .cancel_appointment(cancelled)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(says_of_whom(&answer.appointment.unwrap()), is_told);
    }
    world.stop().await;
}
