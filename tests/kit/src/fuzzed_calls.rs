//! What the fuzz targets do whose bytes are lives of calls: judged as every other proof is, at the end.

use std::sync::Arc;

use bookd::api::stack::{self, GrpcStack};
use bookd::clock::{Clock, ManualClock};
use bookd::engine::{CLOCK_STEADY, Engine, REQUEST_MEMORY};
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::store::log_reader::PART_EVENTS_MAX;
use bookd::store::memory::Memory;
use bookd::store::{CalendarFilter, Store, ZoneLookup};
use bookd_core::log::LogPosition;
use bookd_core::time::Instant;
use prost_types::Timestamp;
use tokio::runtime::Runtime;
use tonic::service::Routes;
use tonic::{Code, Status};

use super::caller::{CALENDARS, Caller, TYPES};
use super::calls::{Call, Outcome};
use super::chance::Chance;
use super::fuzzed::{NOW, is_of_the_contract, runtime, service_on, zones};
use super::history::{self, Op};
use super::log::{Log, is_expiry, number};
use super::panics::{note_panics, r11_nothing_panics};
use super::tried::{self, Wanted};
use super::watched::from_the_beginning;

const DAY: i64 = 86_400;
const QUARTER: i64 = 900;
/// Calls of one life at most.
const CALLS_MAX: usize = 48;
/// Calls that open the first calendar.
const OPENING: usize = 5;
/// Every so manieth slot is tried, and of the quarters that are none.
const SAMPLE: usize = 11;
/// How far the clock is moved: by a moment, past a hold, past days; and back.
const MOVES: [i64; 8] = [1, 59, 121, 901, 3_600, DAY, 8 * DAY, -3_600];

/// A service in memory whose clock is moved by hand, and all that was asked of it.
struct Life {
    store: Memory,
    clock: Arc<ManualClock>,
    engine: Engine,
    service: GrpcStack<Routes>,
    caller: Caller,
    ops: Vec<Op>,
}

impl Life {
    /// With so many of the calls that open all calendars.
    async fn begin(opening: usize) -> Self {
        note_panics();
        let store = Memory::new(7);
        let clock = Arc::new(ManualClock::new(Instant::from_seconds(NOW)));
        let (engine, routes) = service_on(store.clone(), Arc::clone(&clock)).await;
        let caller = Caller::new("fuzz", Chance(7));
        let mut life = Self {
            store,
            clock,
            engine,
            service: stack::alone(routes),
            caller,
            ops: Vec::new(),
        };
        for call in life.caller.opening().into_iter().take(opening) {
            life.ops.push(Op::new("fuzz", call, 0));
            life.send(life.ops.len() - 1).await;
        }
        life
    }

    /// How much has been answered.
    fn moment(&self) -> u64 {
        self.ops.iter().map(|it| it.outcomes.len() as u64).sum()
    }

    /// Sends a call, for the first time or again.
    async fn send(&mut self, op: usize) {
        let call = self.ops[op].call.clone();
        let before = self.engine.revision();
        let outcome = match call.send(&self.service).await {
            Ok(answered) => {
                self.caller.learn(&call, &answered);
                self.caller.known.extend(
                    answered
                        .appointments
                        .iter()
                        .map(|it| it.appointment_id.clone()),
                );
                Outcome::Done(answered)
            }
            Err(status) => {
                is_of_the_contract(call.name(), &status);
                // What has expired is recorded by whichever call comes first; nothing else happens.
                let mut reader = self.store.reader().unwrap();
                let from = LogPosition::after(before);
                let made = reader
                    .changes_from(from, &CalendarFilter::All, PART_EVENTS_MAX)
                    .unwrap()
                    .changes;
                let is_quiet = made.iter().all(|it| is_expiry(&it.entry));
                assert!(is_quiet, "{}: {status:?} {made:?}", call.name());
                Outcome::of_status(&status)
            }
        };
        let moment = self.moment();
        self.ops[op].note(outcome, moment);
    }

    async fn call(&mut self, seed: u64) {
        self.caller.chance = Chance(seed);
        let moment = self.moment();
        let call = self.caller.any(self.clock.now().seconds());
        self.ops.push(Op::new("fuzz", call, moment));
        self.send(self.ops.len() - 1).await;
    }

    /// What is listed for two days can be had.
    async fn try_slots(&self, calendar: &str, of_type: &str) {
        let wanted = Wanted {
            calendar,
            of_type,
            now: self.engine.now().seconds(),
            days: 2,
        };
        // The calendar may be gone; then there is nothing to be tried.
        let Ok((_, found)) = tried::slots(&self.service, wanted, SAMPLE).await else {
            return;
        };
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// The clock has run steadily since it was moved last, and is believed.
    async fn settle(&self) {
        self.engine.tick().await.unwrap();
        self.clock
            .advance(i64::try_from(CLOCK_STEADY.as_secs()).unwrap());
        self.engine.tick().await.unwrap();
    }

    async fn judge(mut self) {
        self.settle().await;
        self.try_slots(CALENDARS[0], TYPES[0]).await;
        self.try_slots(CALENDARS[0], TYPES[1]).await;
        let watched = from_the_beginning(&self.service, number(self.engine.revision())).await;
        let zones = zones();
        let lookup: ZoneLookup = Arc::new(move |name| zones.zone(name).ok());
        let report =
            bookd::admin::check::check(&mut self.store, None, &lookup, self.engine.now(), |_| ())
                .unwrap();
        let is_long = self.engine.now().max(self.clock.now()).seconds() - NOW >= REQUEST_MEMORY;
        let store = &mut self.store;
        let log = if is_long {
            Log::read_of_a_long_life(store)
        } else {
            Log::read(store, &self.ops)
        };
        let mut found: Vec<String> = report
            .invariants
            .into_iter()
            .flat_map(|it| it.findings)
            .collect();
        found.extend(r11_nothing_panics());
        found.extend(history::check(&self.ops, &watched, &log));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Bytes as a life, three to a step: a call that these bytes choose, one of the calls before it again, or time.
pub fn commands(bytes: &[u8]) {
    runtime().block_on(async {
        let mut life = Life::begin(OPENING).await;
        for step in bytes.chunks_exact(3).take(CALLS_MAX) {
            let number = u64::from(u16::from_be_bytes([step[1], step[2]]));
            match step[0] {
                0..32 => life
                    .clock
                    .advance(MOVES[usize::from(step[0]) % MOVES.len()]),
                32..64 => {
                    let op = usize::try_from(number).unwrap() % life.ops.len();
                    life.send(op).await;
                }
                // Zero is no seed.
                _ => life.call(number + 1).await,
            }
        }
        life.judge().await;
    });
}

/// Some input of `commands`: what a fuzzer begins with.
pub fn some_commands(seed: u64) -> Vec<u8> {
    let mut chance = Chance(seed + 1);
    (0..3 * CALLS_MAX)
        .map(|_| chance.next().to_le_bytes()[3])
        .collect()
}

/// A list that has more than one page.
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

/// A page of one item: the next page's token, and whose the item is.
struct Page {
    token: String,
    calendars: Vec<String>,
}

async fn page(service: &GrpcStack<Routes>, list: List, page_token: String) -> Result<Page, Status> {
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let calendar_id = CALENDARS[0].to_owned();
    let (page_size, start_time, end_time) = (1, at(NOW - 9 * DAY), at(NOW + 9 * DAY));
    let mut lists = ListServiceClient::new(service.clone());
    let of_appointments =
        |it: Vec<pb::Appointment>| it.into_iter().flat_map(|it| it.calendar_ids).collect();
    let (token, calendars) = match list {
        List::Calendars => {
            let request = pb::ListCalendarsRequest {
                page_size,
                page_token,
                ..Default::default()
            };
            let it = CalendarServiceClient::new(service.clone())
                .list_calendars(request)
                .await?
                .into_inner();
            (it.next_page_token, Vec::new())
        }
        List::Types => {
            let request = pb::ListAppointmentTypesRequest {
                calendar_id,
                page_size,
                page_token,
            };
            let it = CalendarServiceClient::new(service.clone())
                .list_appointment_types(request)
                .await?
                .into_inner();
            (it.next_page_token, Vec::new())
        }
        List::Appointments | List::AppointmentsDescending => {
            let order_by = if list == List::Appointments {
                ""
            } else {
                "start_time desc"
            }
            .to_owned();
            let request = pb::ListAppointmentsRequest {
                calendar_id,
                order_by,
                page_size,
                page_token,
                ..Default::default()
            };
            let it = lists.list_appointments(request).await?.into_inner();
            (it.next_page_token, of_appointments(it.appointments))
        }
        List::OfInvitee => {
            let invitee_email = "grace.hopper@example.com".to_owned();
            let request = pb::ListAppointmentsRequest {
                invitee_email,
                page_size,
                page_token,
                ..Default::default()
            };
            let it = lists.list_appointments(request).await?.into_inner();
            assert!(it.appointments.iter().all(|it| {
                it.invitee
                    .as_ref()
                    .is_some_and(|it| it.email.starts_with("grace"))
            }));
            (it.next_page_token, Vec::new())
        }
        List::Changes => {
            let request = pb::ListChangesRequest {
                calendar_id,
                page_size,
                page_token,
                ..Default::default()
            };
            (
                lists
                    .list_changes(request)
                    .await?
                    .into_inner()
                    .next_page_token,
                Vec::new(),
            )
        }
        List::Busy => {
            let request = pb::ListBusyRequest {
                calendar_id,
                start_time,
                end_time,
                page_size,
                page_token,
                ..Default::default()
            };
            let it = AvailabilityServiceClient::new(service.clone())
                .list_busy(request)
                .await?
                .into_inner();
            (it.next_page_token, Vec::new())
        }
        List::Slots => {
            let (start_time, end_time) = (at(NOW), at(NOW + 9 * DAY));
            let request = pb::ListSlotsRequest {
                calendar_id,
                start_time,
                end_time,
                page_size,
                page_token,
                ..Default::default()
            };
            let it = SlotsServiceClient::new(service.clone())
                .list_slots(request)
                .await?
                .into_inner();
            (
                it.next_page_token,
                it.slots
                    .into_iter()
                    .flat_map(|it| it.calendar_ids)
                    .collect(),
            )
        }
        List::Drift => {
            let request = pb::ListZoneDriftRequest {
                calendar_id,
                page_size,
                page_token,
            };
            (
                lists
                    .list_zone_drift(request)
                    .await?
                    .into_inner()
                    .next_page_token,
                Vec::new(),
            )
        }
    };
    Ok(Page { token, calendars })
}

/// An external calendar with two periods.
fn busy() -> Call {
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
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

/// Seeds of calls after which every other list has a second page.
const LISTED: std::ops::RangeInclusive<u64> = 1..=60;
/// Of a token's characters those that say which arguments it belongs to: a tag and eight bytes.
const BOUND_CHARACTERS: usize = 18;

/// The token with the bits flipped that pairs of bytes name; still hexadecimal.
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

/// A life in which every list has a second page, and the time that goes on in it.
async fn listed() -> Life {
    let mut life = Life::begin(usize::MAX).await;
    for seed in LISTED {
        life.call(seed).await;
    }
    life.ops.push(Op::new("fuzz", busy(), life.moment()));
    life.send(life.ops.len() - 1).await;
    life
}

/// Bytes as the token of a list: a page of what was asked for, or refused as a wrong token.
pub fn page_tokens(bytes: &[u8]) {
    thread_local! {
        /// Lists change nothing, which is asserted: one life does for all inputs.
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
            // A revision that was never, or is no longer kept, may be said to be so.
            let is_refused = [Code::InvalidArgument, Code::OutOfRange].contains(&status.code());
            assert!(is_refused, "{list:?} {token}: {status:?}");
        }
    }
    assert_eq!(life.engine.revision(), before, "a list changes nothing");
}
