//! The fuzz target whose bytes are page tokens: each is answered with a page of the list, or
//! refused as a wrong token.

use bookd::api::Routes;
use bookd::api::stack::GrpcStack;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use prost_types::Timestamp;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use super::caller::CALENDARS;
use super::calls::Call;
use super::fuzzed::{NOW, is_of_the_contract, runtime};
use super::fuzzed_calls::{DAY, Life};
use super::history::Op;

/// The lists of the contract that have pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    Calendars,
    Types,
    Appointments,
    AppointmentsDescending,
    OfInvitee,
    Changes,
    Busy,
    Slots,
    Drift,
}

const LISTS: [List; 9] = [
    List::Calendars,
    List::Types,
    List::Appointments,
    List::AppointmentsDescending,
    List::OfInvitee,
    List::Changes,
    List::Busy,
    List::Slots,
    List::Drift,
];

/// A page of one item.
struct Page {
    token: String,
    calendars: Vec<String>,
}

async fn page(service: &GrpcStack<Routes>, list: List, page_token: String) -> Result<Page, Status> {
    match list {
        List::Calendars | List::Types => page_of_calendar_service(service, list, page_token).await,
        List::Appointments => page_of_appointments(service, "", page_token).await,
        List::AppointmentsDescending => {
            page_of_appointments(service, "start_time desc", page_token).await
        }
        List::OfInvitee => page_of_invitee(service, page_token).await,
        List::Changes | List::Drift => page_of_log_or_drift(service, list, page_token).await,
        List::Busy => page_of_busy(service, page_token).await,
        List::Slots => page_of_slots(service, page_token).await,
    }
}

/// Items on a page; small, so that every list has a second page.
const PAGE_SIZE: i32 = 1;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

impl Page {
    /// A page whose items name no calendar.
    fn without_calendars(token: String) -> Self {
        Self {
            token,
            calendars: Vec::new(),
        }
    }
}

async fn page_of_calendar_service(
    service: &GrpcStack<Routes>,
    list: List,
    page_token: String,
) -> Result<Page, Status> {
    let mut client = CalendarServiceClient::new(service.clone());
    let token = if list == List::Calendars {
        let request = pb::ListCalendarsRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let answer = client.list_calendars(request).await?.into_inner();
        answer.next_page_token
    } else {
        let request = pb::ListAppointmentTypesRequest {
            calendar_id: CALENDARS[0].to_owned(),
            page_size: PAGE_SIZE,
            page_token,
        };
        let answer = client.list_appointment_types(request).await?.into_inner();
        answer.next_page_token
    };
    Ok(Page::without_calendars(token))
}

async fn page_of_appointments(
    service: &GrpcStack<Routes>,
    order_by: &str,
    page_token: String,
) -> Result<Page, Status> {
    let request = pb::ListAppointmentsRequest {
        calendar_id: CALENDARS[0].to_owned(),
        order_by: order_by.to_owned(),
        page_size: PAGE_SIZE,
        page_token,
        ..Default::default()
    };
    let answer = ListServiceClient::new(service.clone())
        .list_appointments(request)
        .await?
        .into_inner();
    let appointments = answer.appointments.into_iter();
    Ok(Page {
        token: answer.next_page_token,
        calendars: appointments.flat_map(|it| it.calendar_ids).collect(),
    })
}

async fn page_of_invitee(service: &GrpcStack<Routes>, page_token: String) -> Result<Page, Status> {
    let request = pb::ListAppointmentsRequest {
        invitee_email: "grace.hopper@example.com".to_owned(),
        page_size: PAGE_SIZE,
        page_token,
        ..Default::default()
    };
    let answer = ListServiceClient::new(service.clone())
        .list_appointments(request)
        .await?
        .into_inner();
    assert!(answer.appointments.iter().all(|appointment| {
        appointment
            .invitee
            .as_ref()
            .is_some_and(|invitee| invitee.email.starts_with("grace"))
    }));
    Ok(Page::without_calendars(answer.next_page_token))
}

async fn page_of_log_or_drift(
    service: &GrpcStack<Routes>,
    list: List,
    page_token: String,
) -> Result<Page, Status> {
    let mut client = ListServiceClient::new(service.clone());
    let calendar_id = CALENDARS[0].to_owned();
    let token = if list == List::Changes {
        let request = pb::ListChangesRequest {
            calendar_id,
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        client
            .list_changes(request)
            .await?
            .into_inner()
            .next_page_token
    } else {
        let request = pb::ListZoneDriftRequest {
            calendar_id,
            page_size: PAGE_SIZE,
            page_token,
        };
        client
            .list_zone_drift(request)
            .await?
            .into_inner()
            .next_page_token
    };
    Ok(Page::without_calendars(token))
}

async fn page_of_busy(service: &GrpcStack<Routes>, page_token: String) -> Result<Page, Status> {
    let request = pb::ListBusyRequest {
        calendar_id: CALENDARS[0].to_owned(),
        start_time: at(NOW - 9 * DAY),
        end_time: at(NOW + 9 * DAY),
        page_size: PAGE_SIZE,
        page_token,
        ..Default::default()
    };
    let answer = AvailabilityServiceClient::new(service.clone())
        .list_busy(request)
        .await?
        .into_inner();
    Ok(Page::without_calendars(answer.next_page_token))
}

async fn page_of_slots(service: &GrpcStack<Routes>, page_token: String) -> Result<Page, Status> {
    let request = pb::ListSlotsRequest {
        calendar_id: CALENDARS[0].to_owned(),
        start_time: at(NOW),
        end_time: at(NOW + 9 * DAY),
        page_size: PAGE_SIZE,
        page_token,
        ..Default::default()
    };
    let answer = SlotsServiceClient::new(service.clone())
        .list_slots(request)
        .await?
        .into_inner();
    Ok(Page {
        token: answer.next_page_token,
        calendars: answer
            .slots
            .into_iter()
            .flat_map(|it| it.calendar_ids)
            .collect(),
    })
}

/// Seconds of a quarter of an hour.
const QUARTER: i64 = 900;

/// A call that puts two busy periods.
fn busy() -> Call {
    let period = |start| pb::Period {
        start_time: at(start),
        end_time: at(start + QUARTER),
    };
    Call::PutBusy(pb::PutBusyRequest {
        calendar_id: CALENDARS[0].to_owned(),
        source: "elsewhere".to_owned(),
        start_time: at(NOW),
        end_time: at(NOW + DAY),
        periods: vec![period(NOW), period(NOW + DAY / 2)],
        request_id: "busy".to_owned(),
        ..Default::default()
    })
}

/// Seeds of the calls after which every list but the busy periods has a second page.
const LISTED: std::ops::RangeInclusive<u64> = 1..=60;

/// The first characters of a token, which bind it to its arguments: a tag and eight bytes, in
/// hexadecimal.
const BOUND_CHARACTERS: usize = 18;

/// The token with bits flipped, each named by a pair of bytes: its digit and the bits; still
/// hexadecimal.
fn flipped(token: &str, bits: &[u8]) -> String {
    let digit = |it: char| it.to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut digits: Vec<u8> = token.chars().filter_map(digit).collect();
    for pair in bits.chunks_exact(2) {
        let at = usize::from(pair[0]) % digits.len().max(1);
        if let Some(digit) = digits.get_mut(at) {
            *digit ^= pair[1] % 16;
        }
    }
    digits
        .into_iter()
        .map(|digit| format!("{digit:x}"))
        .collect()
}

/// A service in which every list has a second page.
async fn listed() -> Life {
    let mut life = Life::begin(usize::MAX).await;
    for seed in LISTED {
        life.call(seed).await;
    }
    life.ops.push(Op::new("fuzz", busy(), life.moment()));
    life.send(life.ops.len() - 1).await;
    life
}

/// Bytes as a page token: answered with a page of what was asked for, or refused as a wrong token.
pub fn page_tokens(bytes: &[u8]) {
    thread_local! {
        /// Lists change nothing, which is asserted, so that one service serves all inputs.
        static LIFE: (Runtime, Life) = {
            let runtime = runtime();
            let life = runtime.block_on(listed());
            (runtime, life)
        };
    }
    let [which, how, rest @ ..] = bytes else {
        return;
    };
    LIFE.with(|(runtime, life)| runtime.block_on(page_token(life, *which, *how, rest)));
}

async fn page_token(life: &Life, which: u8, how: u8, rest: &[u8]) {
    let list = LISTS[usize::from(which) % LISTS.len()];
    let valid = page(&life.service, list, String::new())
        .await
        .map_or_else(|_| String::new(), |it| it.token);
    assert!(
        !valid.is_empty() || list == List::Drift,
        "{list:?} has no second page"
    );
    let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = match how % 5 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => flipped(&valid, rest),
        2 => hex,
        3 => format!("{}{hex}", valid.get(..BOUND_CHARACTERS).unwrap_or_default()),
        _ => format!("{valid}{hex}"),
    };
    let before = life.engine.revision();
    match page(&life.service, list, token.clone()).await {
        Ok(page) => {
            let ours = CALENDARS[0].to_owned();
            assert!(
                page.calendars.is_empty() || page.calendars.contains(&ours),
                "{list:?} {token}"
            );
        }
        Err(status) => {
            is_of_the_contract(&format!("{list:?} {token}"), &status);
            // A token may also name a revision that never was, or that is no longer kept.
            let is_refused = [Code::InvalidArgument, Code::OutOfRange].contains(&status.code());
            assert!(is_refused, "{list:?} {token}: {status:?}");
        }
    }
    assert_eq!(life.engine.revision(), before, "a list changes nothing");
}
