//! Odd texts and forged page tokens, in bookings, hours, filters and lists: every call gets a
//! documented answer in time.

use bookd::proto::v1 as pb;

use crate::harness::{Bookd, minutes, timestamp};
use crate::hostile::answered;
use crate::words::{booking, rule, set_availability};

const TEXTS: [&str; 16] = [
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "-001-01-01",
    "0000-00-00",
    "2027-02-29",
    "5999-12-31",
    "0001-01-01T00:00",
    "5999-12-31T23:59",
    "9999-12-31T23:59",
    "2027-03-02T24:00",
    "\u{0}",
    "٢٠٢٧-٠٣-٠٢",
    "../../etc/passwd",
    "é",
    "🦀🦀🦀🦀🦀🦀🦀🦀",
];

/// Sends the text as a date, a zone, a start, and in every field of a booking.
async fn book_with(bookd: &Bookd, text: &str) {
    let list = pb::ListSlotsRequest {
        calendar_id: "ada".into(),
        date: text.into(),
        ..Default::default()
    };
    let _ = answered(&list, bookd.slots().list_slots(list.clone())).await;
    let zoned = pb::ListSlotsRequest {
        time_zone: text.into(),
        date: "2027-03-02".into(),
        ..list.clone()
    };
    let _ = answered(&zoned, bookd.slots().list_slots(zoned.clone())).await;
    let book = booking("ada", text);
    let _ = answered(&book, bookd.booking().book_appointment(book.clone())).await;
    let name = pb::Invitee {
        name: text.into(),
        email: text.into(),
        phone: text.into(),
        time_zone: text.into(),
    };
    let book = pb::BookAppointmentRequest {
        invitee: Some(name),
        note: text.into(),
        metadata: [(text.to_owned(), text.to_owned())].into(),
        hold_id: text.into(),
        request_id: text.into(),
        ..booking(text, text)
    };
    let _ = answered(&book, bookd.booking().book_appointment(book.clone())).await;
}

/// Sends the text as hours, dates and zone of a calendar.
async fn change_hours_with(bookd: &Bookd, text: &str) {
    let ranged = pb::AvailabilityRule {
        from_date: text.into(),
        to_date: text.into(),
        ..rule("00:00", "24:00")
    };
    let set = set_availability("odd", text, vec![ranged, rule(text, text)]);
    let _ = answered(&set, bookd.availability().set_availability(set.clone())).await;
    let over = pb::AvailabilityOverride {
        date: text.into(),
        note: text.into(),
        ..Default::default()
    };
    let put = pb::PutOverridesRequest {
        calendar_id: "ada".into(),
        overrides: vec![over],
        ..Default::default()
    };
    let _ = answered(&put, bookd.availability().put_overrides(put.clone())).await;
    let delete = pb::DeleteOverridesRequest {
        calendar_id: "ada".into(),
        dates: vec![text.into()],
        etag: text.into(),
        ..Default::default()
    };
    let _ = answered(
        &delete,
        bookd.availability().delete_overrides(delete.clone()),
    )
    .await;
}

/// Sends the text as a filter and as a page token.
async fn list_with(bookd: &Bookd, text: &str) {
    let find = pb::ListAppointmentsRequest {
        confirmation_code: text.into(),
        invitee_email: text.into(),
        page_token: text.into(),
        ..Default::default()
    };
    let _ = answered(&find, bookd.lists().list_appointments(find.clone())).await;
    let calendars = pb::ListCalendarsRequest {
        id_prefix: text.into(),
        page_token: text.into(),
        ..Default::default()
    };
    let _ = answered(
        &calendars,
        bookd.calendars().list_calendars(calendars.clone()),
    )
    .await;
    let prefix = pb::ListCalendarsRequest {
        id_prefix: text.into(),
        ..Default::default()
    };
    let _ = answered(&prefix, bookd.calendars().list_calendars(prefix.clone())).await;
}

#[tokio::test]
async fn no_text_is_too_odd_to_be_answered() {
    let bookd = Bookd::with_ada().await;
    let long = "9".repeat(100_000);
    for text in TEXTS.into_iter().chain([
        long.as_str(),
        "",
        " ",
        "Etc/GMT+12",
        "posixrules",
        "Europe/paris",
    ]) {
        book_with(&bookd, text).await;
        change_hours_with(&bookd, text).await;
        list_with(&bookd, text).await;
    }
    bookd.stop().await;
}

/// The token with each byte in turn replaced by other values.
fn forged(token: &str) -> impl Iterator<Item = String> {
    let token = token.to_owned();
    (0..token.len() / 2).flat_map(move |byte| {
        let token = token.clone();
        ["00", "01", "7f", "80", "ff"]
            .map(|with| format!("{}{with}{}", &token[..byte * 2], &token[byte * 2 + 2..]))
    })
}

async fn forge_tokens_of_slots(bookd: &Bookd) {
    let slots = pb::ListSlotsRequest {
        calendar_id: "ada".into(),
        start_time: Some(timestamp("2027-03-02T00:00:00Z")),
        end_time: Some(timestamp("2027-03-09T00:00:00Z")),
        duration: Some(minutes(60)),
        page_size: 2,
        ..Default::default()
    };
    let token = bookd
        .slots()
        .list_slots(slots.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    for page_token in forged(&token) {
        let request = pb::ListSlotsRequest {
            page_token,
            ..slots.clone()
        };
        let _ = answered(&request, bookd.slots().list_slots(request.clone())).await;
    }
}

async fn forge_tokens_of_changes(bookd: &Bookd) {
    let changes = pb::ListChangesRequest {
        calendar_id: "ada".into(),
        page_size: 2,
        ..Default::default()
    };
    let token = bookd
        .lists()
        .list_changes(changes.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    for page_token in forged(&token) {
        let request = pb::ListChangesRequest {
            page_token,
            ..changes.clone()
        };
        let _ = answered(&request, bookd.lists().list_changes(request.clone())).await;
    }
}

#[tokio::test]
async fn no_forged_page_token_is_too_odd_to_be_answered() {
    let bookd = Bookd::with_ada().await;
    for hour in 9..13 {
        bookd
            .booked("ada", &format!("2027-03-02T{hour:02}:00"))
            .await;
    }
    let appointments = pb::ListAppointmentsRequest {
        calendar_id: "ada".into(),
        page_size: 2,
        ..Default::default()
    };
    let token = bookd
        .lists()
        .list_appointments(appointments.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    for page_token in forged(&token) {
        let request = pb::ListAppointmentsRequest {
            page_token,
            ..appointments.clone()
        };
        let _ = answered(&request, bookd.lists().list_appointments(request.clone())).await;
    }
    forge_tokens_of_slots(&bookd).await;
    forge_tokens_of_changes(&bookd).await;
    // The right answer is still given.
    let request = pb::ListAppointmentsRequest {
        page_size: 10,
        ..appointments
    };
    assert_eq!(
        bookd
            .lists()
            .list_appointments(request)
            .await
            .unwrap()
            .into_inner()
            .appointments
            .len(),
        4
    );
    bookd.stop().await;
}
