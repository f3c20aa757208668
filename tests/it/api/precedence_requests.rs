//! Refusals before any decision: size, malformed bytes, a clock that is not believed, a full queue.
//!
//! A refused call changes nothing; the last two carry the delay after which to retry.

use bookd::engine::Settings;
use bookd::proto::v1 as pb;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::harness::Bookd;
use crate::precedence::{PARIS, expect};
use crate::words::{NOW, Refused, booking, holding, refused};

/// A message whose first field is a number where the contract has a string.
#[derive(Clone, PartialEq, prost::Message)]
struct Garbled {
    #[prost(int64, tag = "1")]
    calendar_id: i64,
}

#[tokio::test]
async fn a_size_outranks_a_field_and_bytes_that_are_no_message_are_malformed() {
    let bookd = Bookd::with_ada().await;
    let large = pb::BookAppointmentRequest {
        note: "n".repeat(1_100_000),
        ..booking(" ", "never")
    };
    expect(
        &bookd,
        bookd.booking().book_appointment(large),
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
    )
    .await;

    let garbled = async {
        let mut client = Grpc::new(bookd.channel.clone());
        client.ready().await.unwrap();
        let path = "/bookd.v1.BookingService/BookAppointment".parse().unwrap();
        let codec: ProstCodec<Garbled, pb::BookAppointmentResponse> = ProstCodec::default();
        client
            .unary(Request::new(Garbled { calendar_id: 7 }), path, codec)
            .await
    };
    expect(&bookd, garbled, Code::InvalidArgument, "MALFORMED_REQUEST").await;
    bookd.stop().await;
}

#[tokio::test]
async fn of_very_many_bad_fields_the_first_are_named_and_the_rest_is_counted_in_6_kib() {
    let bookd = Bookd::with_ada().await;
    let bad = || pb::BookAppointmentRequest {
        calendar_id: "x".repeat(4_000),
        ..Default::default()
    };
    let batch = pb::BatchBookRequest {
        requests: (0..100).map(|_| bad()).collect(),
        ..Default::default()
    };
    let status = bookd.booking().batch_book(batch).await.unwrap_err();
    let answer = Refused::of(&status);
    assert!(
        answer.is(Code::InvalidArgument, "FIELD_INVALID"),
        "{answer:?}"
    );
    let violations = &answer.details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "requests[0].calendar_id");
    assert_eq!(violations.last().unwrap().description, "and 284 more");
    assert!(
        status.details().len() <= 6 * 1_024,
        "{} bytes",
        status.details().len()
    );
    let many = pb::BatchBookRequest {
        requests: (0..101).map(|_| bad()).collect(),
        ..Default::default()
    };
    assert_eq!(
        refused(bookd.booking().batch_book(many).await).fields(),
        ["requests"]
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_is_not_believed_and_the_caller_is_told_to_come_again() {
    let bookd = Bookd::start_with(NOW, Settings::default()).await;
    bookd.hours("ada", PARIS, &[("09:00", "17:00")]).await;
    let mut client = bookd.booking();
    bookd.jump(366 * 86_400).await;
    let call = client.hold_appointment(holding("ada", "2028-03-02T09:00"));
    let answer = expect(&bookd, call, Code::Unavailable, "STORE_UNAVAILABLE").await;
    assert!(answer.details.retry_info().unwrap().retry_delay.is_some());
    bookd.jump(-366 * 86_400).await;
    bookd.advance(60).await;
    bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_what_it_refused_did_not_happen() {
    let settings = Settings {
        is_clock_confirmed: true,
        mailbox_max: 1,
        ..Settings::default()
    };
    let bookd = Bookd::start_with(NOW, settings).await;
    bookd.hours("ada", PARIS, &[("00:00", "24:00")]).await;
    let (mut booked, mut overloaded) = (0, 0);
    for round in 0..20 {
        let mut clients = tokio::task::JoinSet::new();
        for hour in 0..24 {
            let mut client = bookd.booking();
            let request = booking("ada", &format!("2027-04-{:02}T{hour:02}:00", round + 1));
            clients.spawn(async move { client.book_appointment(request).await });
        }
        for answer in clients.join_all().await {
            match answer {
                Ok(_) => booked += 1,
                lost => {
                    let lost = refused(lost);
                    assert!(lost.is(Code::Unavailable, "OVERLOADED"), "{lost:?}");
                    assert!(lost.details.retry_info().unwrap().retry_delay.is_some());
                    overloaded += 1;
                }
            }
        }
    }
    assert!(overloaded > 0, "a queue of one was never full");
    let all = pb::ListAppointmentsRequest {
        calendar_id: "ada".into(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = bookd
        .lists()
        .list_appointments(all)
        .await
        .unwrap()
        .into_inner()
        .appointments
        .len();
    assert_eq!((listed, booked + overloaded), (booked, 480));
    bookd.stop().await;
}
