//! WatchSlots: the first set with all additions and removals is what ListSlots answers, after any
//! command.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bookd::log::WatchSettings;
use bookd::proto::v1 as pb;
use prost_types::Timestamp;
use tonic::{Code, Streaming};

use crate::harness::{Bookd, at, minutes, timestamp};
use crate::random::Chance;
use crate::watch::start;
use crate::words::{Refused, appointment_type, refused, rule, set_availability};
use bookd_kit::readable::assert_readable;

type Stream = Streaming<pb::WatchSlotsResponse>;
/// The offered slots by their start in seconds, as a client keeps them.
type Offered = BTreeMap<i64, pb::Slot>;

const PATIENCE: Duration = Duration::from_secs(60);

/// Settings with messages so frequent that hardly any step goes by without one.
fn quick() -> WatchSettings {
    let (progress, slots_pause) = (Duration::from_millis(5), Duration::from_millis(1));
    WatchSettings {
        progress,
        slots_pause,
        ..WatchSettings::default()
    }
}

async fn next(stream: &mut Stream) -> pb::WatchSlotsResponse {
    let message = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("a message comes in time");
    let message = message.unwrap().expect("a message");
    assert_readable(&message);
    message
}

fn seconds(slot: &pb::Slot) -> i64 {
    slot.start_time.unwrap().seconds
}

/// Applies a message: a removed slot must be there as it is named, an added one must not be there.
fn apply(offered: &mut Offered, message: &pb::WatchSlotsResponse) {
    for slot in &message.removed {
        assert_eq!(offered.remove(&seconds(slot)).as_ref(), Some(slot));
    }
    for slot in &message.added {
        assert_eq!(offered.insert(seconds(slot), slot.clone()), None);
    }
}

/// The answer of ListSlots to the question of a watch: revision, time in seconds, slots.
async fn listed(bookd: &Bookd, request: &pb::WatchSlotsRequest) -> (i64, i64, Offered) {
    let request = pb::ListSlotsRequest {
        calendar_ids: request.calendar_ids.clone(),
        assignment: request.assignment,
        appointment_type_id: request.appointment_type_id.clone(),
        start_time: request.start_time,
        end_time: request.end_time,
        time_zone: request.time_zone.clone(),
        page_size: 1_000,
        ..Default::default()
    };
    let answer = bookd
        .slots()
        .list_slots(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.next_page_token, "");
    let offered = answer
        .slots
        .into_iter()
        .map(|slot| (seconds(&slot), slot))
        .collect();
    (answer.revision, answer.read_time.unwrap().seconds, offered)
}

/// Makes a random call that may change the offered slots; a refused call changes nothing, which is
/// as good.
async fn step(bookd: &Bookd, chance: &mut Chance, booked: &mut Vec<String>) {
    let calendar_id = chance.of(&["ada", "bob"]).to_owned();
    let quarter = i64::try_from(chance.below(3 * 96)).unwrap() * 900;
    let from = timestamp("2027-01-04T00:00:00Z").seconds + quarter;
    let start_time = Some(Timestamp {
        seconds: from,
        nanos: 0,
    });
    match chance.below(12) {
        0..=4 => {
            let appointment_type_id = "class".to_owned();
            let request = pb::BookAppointmentRequest {
                start_time,
                appointment_type_id,
                ..at(&calendar_id, "09:00")
            };
            booked.extend(bookd.book(request).await.ok().map(|it| it.appointment_id));
        }
        5 | 6 => {
            let appointment_type_id = "class".to_owned();
            let request = pb::HoldAppointmentRequest {
                calendar_id,
                start_time,
                appointment_type_id,
                ..Default::default()
            };
            let _maybe = bookd.booking().hold_appointment(request).await;
        }
        7 if !booked.is_empty() => {
            let appointment_id =
                booked.remove(usize::try_from(chance.below(booked.len() as u64)).unwrap());
            let request = pb::CancelAppointmentRequest {
                appointment_id,
                ..Default::default()
            };
            bookd.booking().cancel_appointment(request).await.unwrap();
        }
        8 => {
            let hours = chance.of(&[("09:00", "17:00"), ("06:00", "12:00"), ("20:00", "27:00")]);
            let request = set_availability(&calendar_id, "", vec![rule(hours.0, hours.1)]);
            bookd
                .availability()
                .set_availability(request)
                .await
                .unwrap();
        }
        9 => put_busy(bookd, calendar_id, from).await,
        10 => {
            class(
                bookd,
                &calendar_id,
                chance.of(&[0, 17, 3_600]),
                chance.of(&[1, 2, 3]),
            )
            .await
        }
        _ => bookd.advance(chance.of(&[1, 59, 60, 301, 3_600])).await,
    }
}

/// Puts a busy period of an hour and a half.
async fn put_busy(bookd: &Bookd, calendar_id: String, from: i64) {
    let start_time = Some(Timestamp {
        seconds: from,
        nanos: 0,
    });
    let end_time = Some(Timestamp {
        seconds: from + 5_400,
        nanos: 0,
    });
    let periods = vec![pb::Period {
        start_time,
        end_time,
    }];
    let source = "work".to_owned();
    let request = pb::PutBusyRequest {
        calendar_id,
        source,
        start_time,
        end_time,
        periods,
        ..Default::default()
    };
    bookd.availability().put_busy(request).await.unwrap();
}

async fn class(bookd: &Bookd, calendar: &str, notice: i64, capacity: i32) {
    let class = pb::AppointmentType {
        slot_step: Some(minutes(15)),
        min_notice: Some(prost_types::Duration {
            seconds: notice,
            nanos: 0,
        }),
        horizon_days: Some(2),
        capacity: Some(capacity),
        ..appointment_type("class", 30)
    };
    bookd.put_type(calendar, class).await;
}

async fn follow(seed: u64, assignment: pb::Assignment) {
    let bookd = start(quick()).await;
    for calendar in ["ada", "bob"] {
        bookd.open(calendar, "08:00", "18:00").await;
        class(&bookd, calendar, 0, 1).await;
    }
    let request = pb::WatchSlotsRequest {
        calendar_ids: vec!["ada".to_owned(), "bob".to_owned()],
        assignment: assignment.into(),
        appointment_type_id: "class".to_owned(),
        start_time: Some(timestamp("2027-01-04T00:00:00Z")),
        end_time: Some(timestamp("2027-01-08T00:00:00Z")),
        time_zone: "Europe/Paris".to_owned(),
        ..Default::default()
    };
    let mut stream = bookd
        .slots()
        .watch_slots(request.clone())
        .await
        .unwrap()
        .into_inner();
    let (mut chance, mut booked, mut offered) = (Chance(seed), Vec::new(), Offered::new());
    let (mut lists, mut met, mut moved) = (HashMap::new(), 0, 0);
    let (revision, time, list) = listed(&bookd, &request).await;
    lists.insert((revision, time), list);
    for round in 0..250 {
        step(&bookd, &mut chance, &mut booked).await;
        let (revision, time, list) = listed(&bookd, &request).await;
        lists.insert((revision, time), list);
        // Most rounds wait until the watch has caught up; some let several changes gather.
        if round % 5 == 0 {
            continue;
        }
        loop {
            let message = next(&mut stream).await;
            apply(&mut offered, &message);
            moved += message.added.len() + message.removed.len();
            let at = (message.revision, message.read_time.unwrap().seconds);
            if let Some(list) = lists.get(&at) {
                assert_eq!(offered, *list, "seed {seed}, round {round}");
                met += 1;
            }
            if at >= (revision, time) {
                break;
            }
        }
    }
    assert!(
        met >= 200 && moved > 200,
        "seed {seed}: compared {met} times, {moved} slots"
    );
    drop(stream);
    bookd.stop().await;
}

#[tokio::test]
async fn what_is_added_and_removed_comes_to_what_is_listed_whatever_happens() {
    for seed in 1..3 {
        follow(seed, pb::Assignment::All).await;
        follow(seed, pb::Assignment::Any).await;
    }
}

fn of_monday() -> pb::WatchSlotsRequest {
    pb::WatchSlotsRequest {
        calendar_id: "ada".to_owned(),
        date: "2027-01-04".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn only_what_touches_the_calendar_or_passes_in_time_is_said() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.open("bob", "09:00", "17:00").await;
    let mut stream = bookd
        .slots()
        .watch_slots(of_monday())
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await;
    assert_eq!(
        (first.added.len(), first.removed.len(), first.revision),
        (8, 0, 2)
    );
    bookd.book(at("bob", "10:00")).await.unwrap();
    bookd.book(at("ada", "10:00")).await.unwrap();
    let taken = next(&mut stream).await;
    assert_eq!((taken.added.len(), taken.revision), (0, 4));
    assert_eq!(
        taken.removed,
        first.added[1..2],
        "and nothing was said of the other calendar"
    );
    // The slot at 09:00 can be booked at that very second, and not at the next.
    bookd.set_clock("2027-01-04T09:00:00Z").await;
    bookd.set_clock("2027-01-04T09:00:01Z").await;
    let gone = next(&mut stream).await;
    assert_eq!(
        (gone.added.len(), &gone.removed[..], gone.revision),
        (0, &first.added[..1], 4)
    );
    // An expired hold releases its time.
    let start_time = at("ada", "12:00").start_time;
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time,
        ..Default::default()
    };
    bookd.booking().hold_appointment(hold).await.unwrap();
    assert_eq!(next(&mut stream).await.removed, first.added[3..4]);
    bookd.advance(300).await;
    let back = next(&mut stream).await;
    assert_eq!(
        (back.removed.len(), &back.added[..]),
        (0, &first.added[3..4])
    );
    drop(stream);
    bookd.stop().await;
}

#[tokio::test]
async fn a_watch_of_too_much_or_of_nothing_is_refused_as_a_list_is_and_ends_when_its_calendar_does()
{
    let bookd = Bookd::start().await;
    bookd.open("ada", "00:00", "24:00").await;
    let minutely = pb::AppointmentType {
        slot_step: Some(minutes(1)),
        ..appointment_type("minutely", 1)
    };
    bookd.put_type("ada", minutely).await;
    let (start_time, end_time) = (
        at("ada", "00:00").start_time,
        Some(timestamp("2027-01-09T00:00:00Z")),
    );
    let appointment_type_id = "minutely".to_owned();
    let much = pb::WatchSlotsRequest {
        date: String::new(),
        start_time,
        end_time,
        appointment_type_id: appointment_type_id.clone(),
        ..of_monday()
    };
    let refusal = refused(bookd.slots().watch_slots(much).await);
    assert!(refusal.is(Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(refusal.fields(), ["end_time"]);
    let day = pb::WatchSlotsRequest {
        appointment_type_id,
        ..of_monday()
    };
    assert!(bookd.slots().watch_slots(day).await.is_ok());
    let wrong = pb::WatchSlotsRequest {
        time_zone: "Mars/Base".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(bookd.slots().watch_slots(wrong).await).fields(),
        ["calendar_id", "date", "time_zone"]
    );
    let nobody = pb::WatchSlotsRequest {
        calendar_id: "nobody".to_owned(),
        ..of_monday()
    };
    assert!(
        refused(bookd.slots().watch_slots(nobody).await).is(Code::NotFound, "CALENDAR_NOT_FOUND")
    );
    let mut stream = bookd
        .slots()
        .watch_slots(of_monday())
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await;
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap()
        .unwrap_err();
    assert!(Refused::of(&end).is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    drop(stream);
    bookd.stop().await;
}
