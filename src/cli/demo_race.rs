//! `bookd demo-race`: 64 clients book the same and overlapping slots at once, and the outcome is
//! checked.
//!
//! Of any two slots that overlap, at most one may be booked, and every loser must get the reason
//! SLOT_TAKEN. Otherwise the command fails.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic_types::StatusExt;

use super::client::{CallError, Client, Server};
use super::commands::ClientOptions;
use super::dates::Dates;
use super::demo::in_memory;
use super::exit::Exit;
use super::lookup::Lookup;
use super::output::say;
use super::run::{complain, run_to_end};
use crate::auth::Access;
use crate::engine::Stopped;
use crate::zones::Zones;

/// The number of clients.
const CLIENTS: usize = 64;
/// The number of starts: fewer than clients, so that several clients want the same start.
const STARTS: usize = 25;
/// Minutes from one start to the next: fewer than a slot is long, so that slots overlap.
const STEP: usize = 10;
/// The length of each slot, in minutes.
const LENGTH: usize = 60;
/// The first start, in minutes after midnight.
const FIRST: usize = 9 * 60;
/// The reason that a loser must get.
const LOST: &str = "SLOT_TAKEN";

/// What `bookd demo-race` needs to know.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  bookd demo-race\n  bookd demo-race --server 127.0.0.1:50051 --json\n  \
                  bookd demo-race --server https://localhost:50051 --server-ca ca.pem --token-file root.token\n\n\
                  On a server that is named it makes a calendar demo-race/… and deletes it at the end; a token \
                  must have the scopes book and manage on it."
)]
pub struct RaceConfig {}

/// The outcome of one start.
#[derive(Debug, Default, PartialEq, Eq)]
struct RaceSlot {
    asked: usize,
    won: usize,
    /// The reasons of the losers, each with the number of clients that got it.
    lost: BTreeMap<String, usize>,
}

/// The outcome of the race, by start in minutes after midnight.
type Slots = BTreeMap<usize, RaceSlot>;

/// Runs the race on the server that is named, otherwise on one of its own; answers the exit code.
pub fn run(_config: &RaceConfig, options: &ClientOptions) -> Exit {
    match run_to_end(race_somewhere(options)) {
        Ok(slots) => {
            let wrong = wrong(&slots);
            let shown = if options.json {
                format!("{:#}", as_json(&slots, &wrong))
            } else {
                as_table(&slots, &wrong)
            };
            say(&shown);
            if wrong.is_empty() {
                Exit::Done
            } else {
                Exit::Failed
            }
        }
        Err(error) => complain(&error),
    }
}

async fn race_somewhere(options: &ClientOptions) -> Result<Slots, CallError> {
    if let Some(server) = options.named_server()? {
        return race(&server).await;
    }
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let zones = Arc::new(Zones::bundled());
    let service = in_memory(listen, Access::open(), zones, false)
        .await
        .map_err(CallError::Failed)?;
    let raced = race(&Server::new(
        service.local_addr().to_string(),
        options.timeout,
    ))
    .await;
    match service.stop(Duration::from_secs(1)).await.1 {
        Stopped::Done => raced,
        Stopped::Failed(why) | Stopped::FileGone(why) => Err(CallError::Failed(why)),
    }
}

/// Makes a calendar, races for its slots, and deletes it again.
async fn race(server: &Server) -> Result<Slots, CallError> {
    let client = Client::connect(server).await?;
    let calendar = format!("demo-race/{}", uuid::Uuid::now_v7());
    let rule = json!({ "start_time": "00:00", "end_time": "24:00" });
    client
        .call(
            "SetAvailability",
            json!({ "calendar_id": calendar, "rules": [rule] }),
        )
        .await?;
    let appointment_type = json!({
        "appointment_type_id": "race",
        "duration": format!("{}s", LENGTH * 60),
        "slot_step": format!("{}s", STEP * 60),
    });
    let request = json!({ "calendar_id": calendar, "appointment_type": appointment_type });
    client.call("PutAppointmentType", request).await?;
    let raced = run_all(server, &client, &calendar).await;
    client
        .call(
            "DeleteCalendar",
            json!({ "calendar_id": calendar, "force": true }),
        )
        .await?;
    raced
}

/// Connects all clients, lets each book once, and counts the outcomes by start.
async fn run_all(server: &Server, client: &Client, calendar: &str) -> Result<Slots, CallError> {
    let ask = Lookup { client };
    let date = Dates::new(&ask, None, Some(calendar))
        .date("tomorrow")
        .await?;
    let mut clients = Vec::new();
    // All clients connect before the first one books.
    for number in 0..CLIENTS {
        clients.push((number, Client::connect(server).await?));
    }
    let mut running = JoinSet::new();
    for (number, client) in clients {
        let start = FIRST + number * 7 % STARTS * STEP;
        let request = json!({
            "calendar_id": calendar,
            "appointment_type_id": "race",
            "local_start": format!("{date}T{}", clock(start)),
            "invitee": { "name": format!("client {number}") },
        });
        running.spawn(async move { (start, client.call("BookAppointment", request).await) });
    }
    let mut slots = Slots::new();
    for (start, answer) in running.join_all().await {
        let slot = slots.entry(start).or_default();
        slot.asked += 1;
        match answer {
            Ok(_) => slot.won += 1,
            Err(CallError::Refused(status)) => {
                let details = status.get_error_details();
                let reason = details.error_info().map(|it| it.reason.clone());
                *slot
                    .lost
                    .entry(reason.unwrap_or_else(|| format!("{:?}", status.code())))
                    .or_default() += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(slots)
}

/// Minutes after midnight as `HH:MM`.
fn clock(minutes: usize) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Every violation of the rules of the race; empty after a fair one.
fn wrong(slots: &Slots) -> Vec<String> {
    let mut wrong = Vec::new();
    let asked: usize = slots.values().map(|it| it.asked).sum();
    if asked != CLIENTS {
        wrong.push(format!("{asked} of {CLIENTS} clients were answered"));
    }
    let won: Vec<usize> = slots
        .iter()
        .flat_map(|(start, slot)| std::iter::repeat_n(*start, slot.won))
        .collect();
    for pair in won.windows(2).filter(|pair| pair[1] - pair[0] < LENGTH) {
        wrong.push(format!(
            "{} and {} overlap, and both were had",
            clock(pair[0]),
            clock(pair[1])
        ));
    }
    for (start, slot) in slots {
        let has_rival = won.iter().any(|other| other.abs_diff(*start) < LENGTH);
        if !has_rival {
            wrong.push(format!("{} was free, and nobody got it", clock(*start)));
        }
        for reason in slot.lost.keys().filter(|reason| *reason != LOST) {
            wrong.push(format!(
                "a loser of {} was told {reason} instead of {LOST}",
                clock(*start)
            ));
        }
    }
    wrong
}

/// The reasons of the losers with their counts, separated by commas.
fn reasons(slot: &RaceSlot) -> String {
    slot.lost
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn as_table(slots: &Slots, wrong: &[String]) -> String {
    let mut lines = vec![" START  CLIENTS  WON  TOLD".to_owned()];
    for (start, slot) in slots {
        let line = format!(
            " {}  {:>7}  {:>3}  {}",
            clock(*start),
            slot.asked,
            slot.won,
            reasons(slot)
        );
        lines.push(line.trim_end().to_owned());
    }
    let won: usize = slots.values().map(|it| it.won).sum();
    lines.push(String::new());
    lines.push(match wrong {
        [] => format!("{CLIENTS} clients, {won} winners, no two at one time, every loser told why"),
        wrong => format!("WRONG: {}", wrong.join("; ")),
    });
    lines.join("\n")
}

fn as_json(slots: &Slots, wrong: &[String]) -> Value {
    let slot = |(start, slot): (&usize, &RaceSlot)| {
        json!({
            "start": clock(*start),
            "clients": slot.asked,
            "won": slot.won,
            "lost": slot.lost,
        })
    };
    json!({ "slots": slots.iter().map(slot).collect::<Vec<_>>(), "wrong": wrong })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(won: usize, lost: &[(&str, usize)]) -> RaceSlot {
        let lost: BTreeMap<String, usize> = lost
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect();
        RaceSlot {
            asked: won + lost.values().sum::<usize>(),
            won,
            lost,
        }
    }

    #[test]
    fn a_race_in_which_something_is_wrong_is_told_so() {
        let fair = || {
            Slots::from([
                (540, slot(1, &[(LOST, 31)])),
                (590, slot(0, &[(LOST, 31)])),
                (600, slot(1, &[])),
            ])
        };
        assert_eq!(wrong(&fair()), Vec::<String>::new());
        let mut twice = fair();
        twice.insert(540, slot(2, &[(LOST, 30)]));
        assert_eq!(
            wrong(&twice),
            ["09:00 and 09:00 overlap, and both were had"]
        );
        let mut overlapping = fair();
        overlapping.insert(590, slot(1, &[(LOST, 30)]));
        assert_eq!(wrong(&overlapping).len(), 2);
        let mut unanswered = fair();
        unanswered.insert(600, slot(0, &[("Unknown", 1)]));
        assert_eq!(
            wrong(&unanswered).len(),
            2,
            "nobody at 10:00, and no reason"
        );
        assert!(!wrong(&Slots::new()).is_empty());
    }
}
