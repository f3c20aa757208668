//! The clients: callers that repeat a call until they know its outcome, and watchers that resume
//! where they were cut.

use std::rc::Rc;
use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::server::connect;
use crate::world::{Phase, World};
use bookd_kit::caller::Caller;
use bookd_kit::calls::{Call, Outcome};
use bookd_kit::chance::Chance;
use bookd_kit::readable::assert_readable;
use bookd_kit::watch_record::{Scope, WatchRecord};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many attempts a call gets while things fail; its outcome is found out when nothing fails any
/// more.
const TRIES: usize = 4;
/// How many attempts a call gets when nothing fails any more; one of them must be answered.
const TRIES_HEALED: usize = 40;
/// The longest silence of a watch before the watcher connects again; a server sends something every
/// 30 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Sends a call once. After any failure the next attempt takes a new connection.
pub async fn send(channel: &mut Channel, call: &Call) -> Outcome {
    let outcome = match timeout(PATIENCE, call.send(channel)).await {
        Ok(Ok(answered)) => return Outcome::Done(answered),
        Ok(Err(status)) => Outcome::of_status(&status),
        Err(_) => Outcome::Unknown("no answer".to_owned()),
    };
    if !matches!(outcome, Outcome::Refused(..)) {
        *channel = connect();
    }
    outcome
}

/// Makes so many calls, each with a few attempts, some repeated after an answer; then finds out the
/// outcome of each call that was not answered.
pub async fn calls(
    world: Rc<World>,
    name: String,
    chance: Chance,
    count: usize,
) -> turmoil::Result {
    let mut caller = Caller::new(&name, chance);
    let mut channel = connect();
    let mut mine = Vec::new();
    while world.phase.get() < Phase::Faults {
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..count {
        caller.known.clone_from(&world.known.borrow());
        let call = caller.any(world.now());
        let op = world.begin(&name, call.clone());
        mine.push(op);
        for attempt in 1.. {
            let outcome = send(&mut channel, &call).await;
            world.note(op, outcome.clone());
            if let Outcome::Done(answered) = &outcome {
                caller.learn(&call, answered);
            }
            // Some calls are repeated after an answer, as by a client that lost it, and must be
            // answered the same.
            let asks_again = attempt < TRIES && caller.chance.is(6);
            match outcome {
                Outcome::Done(_) if !asks_again => break,
                Outcome::Refused(..) => break,
                _ if attempt >= TRIES => break,
                _ => sleep(Duration::from_millis(100 * caller.chance.below(10))).await,
            }
        }
        sleep(Duration::from_millis(caller.chance.below(300))).await;
    }
    while world.phase.get() < Phase::Healed {
        sleep(Duration::from_millis(200)).await;
    }
    for op in mine {
        resolve(&world, op, &mut channel).await;
    }
    world.busy.set(world.busy.get() - 1);
    Ok(())
}

/// Repeats a call until it is known whether it was applied.
async fn resolve(world: &World, op: usize, channel: &mut Channel) {
    let (may_have_happened, call) = {
        let ops = world.ops.borrow();
        (ops[op].may_have_happened(), ops[op].call.clone())
    };
    if !may_have_happened {
        return;
    }
    for _ in 0..TRIES_HEALED {
        let outcome = send(channel, &call).await;
        world.note(op, outcome.clone());
        if matches!(outcome, Outcome::Done(_) | Outcome::Refused(..)) {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
    world.find(format!(
        "R10 call {op} is never answered though nothing fails any more"
    ));
}

/// Watches, resumes after each cut, and ends when it has seen every change.
pub async fn watches(world: Rc<World>, name: String, scope: Scope) -> turmoil::Result {
    let place = {
        let mut watched = world.watched.borrow_mut();
        watched.push(WatchRecord::of(scope));
        watched.len() - 1
    };
    let is_over = || {
        world.phase.get() == Phase::Over && world.watched.borrow()[place].upto >= world.last.get()
    };
    while !is_over() {
        let request = world.watched.borrow_mut()[place].request();
        let mut client = ListServiceClient::new(connect());
        let stream = timeout(PATIENCE, client.watch_appointments(request)).await;
        let mut stream = match stream {
            Ok(Ok(stream)) => stream.into_inner(),
            Ok(Err(status)) => {
                note_end(&world, place, &name, &status);
                sleep(Duration::from_millis(300)).await;
                continue;
            }
            Err(_) => continue,
        };
        loop {
            match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    assert_readable(&message);
                    note_message(&world, place, &name, message);
                }
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(status)) => {
                    note_end(&world, place, &name, &status);
                    break;
                }
            }
            if is_over() {
                break;
            }
        }
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

fn note_message(world: &World, place: usize, name: &str, message: pb::WatchAppointmentsResponse) {
    match &message.message {
        Some(Message::Change(change)) => {
            let (revision, part, count) = (change.revision, message.part, change.events.len());
            world.trace(format_args!(
                "{name} sees part {part} of {revision} with {count} events"
            ));
        }
        Some(Message::Progress(progress)) => world.trace(format_args!(
            "{name} sees progress to {}",
            progress.revision
        )),
        None => {}
    }
    world.watched.borrow_mut()[place].note(message);
}

fn note_end(world: &World, place: usize, name: &str, status: &tonic::Status) {
    let reason = world.watched.borrow_mut()[place].cut(status);
    world.trace(format_args!("{name} is cut: {:?} {reason}", status.code()));
}
