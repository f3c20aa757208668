//! R4 for lists: all pages together show what stood at one revision, whatever changed between the
//! pages.

use std::collections::HashMap;

use bookd::proto::v1 as pb;
use prost::Message;

use super::caller::ALL_STATES;
use super::calls::{Answered, Call};
use super::history::Op;
use super::log::{Log, wire_state};

/// A list that is read page by page: its encoded request without page token and page size.
type List = Vec<u8>;

/// Where the next page of a list begins: the revision and the last appointment of the page before.
#[derive(PartialEq, Eq, Debug)]
struct Position<'a> {
    revision: i64,
    after: &'a str,
}

fn list(request: &pb::ListAppointmentsRequest) -> List {
    pb::ListAppointmentsRequest {
        page_token: String::new(),
        page_size: 0,
        ..request.clone()
    }
    .encode_to_vec()
}

/// Every answered page of every list, in the order of the calls.
fn pages(ops: &[Op]) -> impl Iterator<Item = (&pb::ListAppointmentsRequest, &Answered)> {
    ops.iter().flat_map(|op| {
        let request = match &op.call {
            Call::ListAppointments(request) => Some(request),
            _ => None,
        };
        request.into_iter().flat_map(|request| {
            op.answers()
                .map(move |(_, _, answered)| (request, answered))
        })
    })
}

/// R4: the later pages of a list are of the revision of the first page, and all pages together are
/// what stood at that revision: each page begins right behind the one before, and the last one ends
/// with the last appointment. The content of each appointment is judged with all other answers.
pub fn r4_all_pages_of_a_list_are_of_one_revision(ops: &[Op], log: &Log) -> Vec<String> {
    let (mut found, mut given) = (Vec::new(), HashMap::<(List, &str), Position<'_>>::new());
    for (request, answered) in
        pages(ops).filter(|(_, answered)| !answered.next_page_token.is_empty())
    {
        let Some(last) = answered.appointments.last() else {
            continue;
        };
        let position = Position {
            revision: answered.revision,
            after: &last.appointment_id,
        };
        let token = (list(request), answered.next_page_token.as_str());
        if given.get(&token).is_some_and(|other| *other != position) {
            found.push(format!(
                "R4 one page token goes on in two places, one of them {position:?}: {request:?}"
            ));
        }
        given.insert(token, position);
    }
    for (request, answered) in pages(ops) {
        let before = match request.page_token.as_str() {
            "" => None,
            token => match given.get(&(list(request), token)) {
                Some(position) => Some(position),
                None => {
                    found.push(format!("R4 nobody was given this page token: {request:?}"));
                    continue;
                }
            },
        };
        if let Some(before) = before.filter(|it| it.revision != answered.revision) {
            let (first, this) = (before.revision, answered.revision);
            found.push(format!(
                "R4 a list began at revision {first} and goes on at {this}: {request:?}"
            ));
        } else if let Some(all) = standing(request, answered.revision, log)
            && let Err(wrong) = is_next_page(request, answered, before, &all)
        {
            found.push(format!(
                "R4 a page {wrong}: {request:?} {answered:?} of {all:?}"
            ));
        }
    }
    found
}

/// Whether a page begins right behind the page before it, and is full unless it is the last.
fn is_next_page(
    request: &pb::ListAppointmentsRequest,
    answered: &Answered,
    before: Option<&Position<'_>>,
    all: &[&str],
) -> Result<(), &'static str> {
    let first = match before {
        None => 0,
        Some(before) => {
            1 + all
                .iter()
                .position(|id| *id == before.after)
                .ok_or("follows an appointment that the list did not have then")?
        }
    };
    let rest = &all[first..];
    let due = &rest[..rest.len().min(usize::try_from(request.page_size).unwrap())];
    if !answered
        .appointments
        .iter()
        .map(|it| it.appointment_id.as_str())
        .eq(due.iter().copied())
    {
        return Err("does not begin right behind the page before");
    }
    let (says_last, is_last) = (answered.next_page_token.is_empty(), due.len() == rest.len());
    if says_last && !is_last {
        Err("has no token although more follows")
    } else if is_last && !says_last {
        Err("has a token although it is the last")
    } else {
        Ok(())
    }
}

/// The appointments that a list shows at a revision, in order; none where they depend on the time
/// as well.
fn standing<'a>(
    request: &pb::ListAppointmentsRequest,
    revision: i64,
    log: &'a Log,
) -> Option<Vec<&'a str>> {
    let pb::ListAppointmentsRequest {
        calendar_id,
        invitee_email,
        confirmation_code,
        series_id,
        appointment_type_id,
        states,
        start_time,
        end_time,
        order_by,
        page_size,
        page_token: _,
    } = request;
    // An appointment that expires is in one of these states before and after.
    let [held, pending, _, _, _, expired, _, _] =
        ALL_STATES.map(|it| states.contains(&i32::from(it)));
    let is_timeless =
        start_time.is_some() && !states.is_empty() && held == pending && pending == expired;
    let is_of_log = invitee_email.is_empty() && confirmation_code.is_empty() && *page_size > 0;
    if !is_timeless || !is_of_log {
        return None;
    }
    let is_meant = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    let then = log
        .standing()
        .filter(|(_, revisions, _)| revisions.contains(&revision));
    let mut all: Vec<_> = then
        .filter(|(id, _, image)| {
            (calendar_id.is_empty() || image.calendars().any(|it| it.as_str() == calendar_id))
                && is_meant(series_id, &log.series(id))
                && is_meant(appointment_type_id, image.type_id.as_str())
                && states.contains(&wire_state(image.state))
                && start_time.is_none_or(|from| image.end().seconds() > from.seconds)
                && end_time.is_none_or(|to| image.start.seconds() < to.seconds)
        })
        .map(|(id, _, image)| (image.start, id))
        .collect();
    all.sort_unstable();
    if order_by.ends_with("desc") {
        all.reverse();
    }
    Some(all.into_iter().map(|(_, id)| id).collect())
}
