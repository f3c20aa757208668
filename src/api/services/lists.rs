//! ListService: appointments, and the changes of an appointment or a calendar.
//!
//! All pages of a list show the revision and the moment of its first page.

use crate::auth::AuthError;
use crate::proto::v1 as pb;
use crate::store::{HistoryQuery, HistorySubject, ListQuery};
use bookd_core::appointment::AppointmentState;
use bookd_core::appointment::confirmation_code;
use bookd_core::ids::{AppointmentId, AppointmentKey, Caller, Revision, SeriesId};
use bookd_core::log::LogPosition;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;
use uuid::Uuid;

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;

/// The states that a list shows by default: those of appointments that take time or took it.
const STATES_DEFAULT: [AppointmentState; 5] = [
    AppointmentState::Held,
    AppointmentState::Pending,
    AppointmentState::Confirmed,
    AppointmentState::NoShow,
    AppointmentState::Completed,
];

fn states(
    message: &pb::ListAppointmentsRequest,
    fields: &mut Fields,
) -> Option<Vec<AppointmentState>> {
    if message.states.is_empty() {
        return Some(STATES_DEFAULT.to_vec());
    }
    let state = |(n, state): (usize, &i32)| {
        render::read_state(*state)
            .or_else(|| fields.wrong(&format!("states[{n}]"), "is not a state"))
    };
    message
        .states
        .iter()
        .enumerate()
        .map(state)
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

fn query(
    api: &Api,
    message: &pb::ListAppointmentsRequest,
    caller: &Caller,
    fields: &mut Fields,
) -> Option<ListQuery> {
    let calendar = fields.optional_calendar_id("calendar_id", &message.calendar_id);
    let email = fields.email("invitee_email", &message.invitee_email);
    let key = key_of_code(api, &message.confirmation_code, fields);
    let series = fields.optional_appointment_id("series_id", &message.series_id);
    let type_id = match message.appointment_type_id.as_str() {
        "" => Some(None),
        id => fields.type_id("appointment_type_id", id).map(Some),
    };
    let states = states(message, fields);
    let from = fields.optional_bound("start_time", message.start_time.as_ref());
    let to = fields.optional_bound("end_time", message.end_time.as_ref());
    let is_descending = match message.order_by.as_str() {
        "" | "start_time" => Some(false),
        "start_time desc" => Some(true),
        _ => fields.wrong("order_by", "must be `start_time` or `start_time desc`"),
    };
    let page = fields.page(message, caller);
    require_subject(message, fields);
    let Page { limit, token } = page?;
    // All pages show the moment of the first one; otherwise appointments that ended in between
    // would fall out of the list.
    let now = token.as_ref().map_or_else(
        || api.engine.now(),
        |token| Instant::from_seconds(token.now),
    );
    // A confirmation code names one appointment, which may be over already.
    let is_by_code = !message.confirmation_code.is_empty();
    let from = from?.unwrap_or(if is_by_code { Instant::MIN } else { now });
    Some(ListQuery {
        calendar: calendar?,
        email: Some(email?.key).filter(|email| !email.is_empty()),
        key: key?,
        series: series?.map(|id| SeriesId(id.0)),
        type_id: type_id?,
        states: states?,
        from,
        to: to?,
        is_descending: is_descending?,
        after: token.as_ref().and_then(last_of_page),
        limit,
        scanned_max: ListQuery::SCANNED_MAX,
        at: token.map(|token| Revision(token.revision)),
        now,
        reach: Reach::on(Prefixes::nothing()),
    })
}

fn key_of_code(api: &Api, code: &str, fields: &mut Fields) -> Option<Option<AppointmentKey>> {
    if code.is_empty() {
        return Some(None);
    }
    match confirmation_code::decode(code, api.engine.code_key()) {
        Some(key) => Some(Some(key)),
        None => fields.wrong("confirmation_code", "must be a code such as 7K3M-Q9XT"),
    }
}

/// Notes a violation where nothing narrows the list down.
fn require_subject(message: &pb::ListAppointmentsRequest, fields: &mut Fields) {
    let subjects = [
        &message.calendar_id,
        &message.invitee_email,
        &message.confirmation_code,
        &message.series_id,
    ];
    if subjects.iter().all(|subject| subject.is_empty()) {
        fields.wrong::<()>(
            "calendar_id",
            "is required, or invitee_email, confirmation_code or series_id",
        );
    }
}

/// The start and the id of the appointment that ended the page before.
fn last_of_page(token: &PageToken) -> Option<(Instant, AppointmentId)> {
    let id = Uuid::from_slice(&token.id).ok().map(AppointmentId)?;
    Some((Instant::from_seconds(token.start), id))
}

pub(crate) async fn get_appointment(
    api: &Api,
    call: Call<pb::GetAppointmentRequest>,
) -> Answered<pb::GetAppointmentResponse> {
    let mut fields = Fields::default();
    let id = fields.appointment_id("appointment_id", &call.message.appointment_id);
    let id = fields.finish(id)?;
    let read = api
        .engine
        .query(call.context.wait.deadline, move |store| {
            store.appointments(&[id])
        })
        .await;
    let (found, revision) = read?;
    let viewer = call.context.viewer();
    let seen = found
        .first()
        .and_then(|it| api.seen(&viewer, it, api.engine.now()));
    Ok(pb::GetAppointmentResponse {
        appointment: Some(seen.ok_or(Refusal::AppointmentNotFound(id))?),
        revision: render::revision(revision),
    })
}

pub(crate) async fn list_appointments(
    api: &Api,
    call: Call<pb::ListAppointmentsRequest>,
) -> Answered<pb::ListAppointmentsResponse> {
    let Call {
        context,
        mut message,
    } = call;
    if let Some(customer) = &context.reach.customer
        && message.invitee_email.is_empty()
    {
        message.invitee_email = customer.as_str().to_owned();
    }
    let mut fields = Fields::default();
    let query = query(api, &message, &context.principal.name, &mut fields);
    let query = ListQuery {
        reach: context.reach.clone(),
        ..fields.finish(query)?
    };
    context.expect_all(&query.calendar)?;
    if context.reach.customer.is_some() && context.reach.customer != query.email {
        return Err(AuthError::OwnOnly.into());
    }
    let now = query.now;
    let viewer = context.viewer();
    let calendar = query.calendar.clone();
    let read = api
        .engine
        .query(context.wait.deadline, move |store| match &query.calendar {
            Some(calendar) if !store.ever_had(calendar)? => Ok(None),
            _ => store.list_appointments(&query).map(Some),
        });
    let page = read.await?;
    let not_found = || calendar.map(Refusal::CalendarNotFound);
    let page = page.ok_or_else(|| not_found().expect("only a calendar is looked for"))?;
    let next = page.next.map(|(start, id)| PageToken {
        start: start.seconds(),
        id: id.0.as_bytes().to_vec(),
        revision: page.revision.0,
        now: now.seconds(),
        ..PageToken::default()
    });
    Ok(pb::ListAppointmentsResponse {
        appointments: page
            .appointments
            .iter()
            .filter_map(|it| api.seen(&viewer, it, now))
            .collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(page.revision),
    })
}

pub(crate) async fn list_changes(
    api: &Api,
    call: Call<pb::ListChangesRequest>,
) -> Answered<pb::ListChangesResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let page = fields.page(&message, &context.principal.name);
    let subject = match (
        message.appointment_id.as_str(),
        message.calendar_id.as_str(),
    ) {
        ("", "") => fields.wrong("appointment_id", "is required, or calendar_id"),
        ("", id) => fields
            .calendar_id("calendar_id", id)
            .map(HistorySubject::Calendar),
        (id, "") => fields
            .appointment_id("appointment_id", id)
            .map(HistorySubject::Appointment),
        _ => fields.wrong("calendar_id", "cannot stand beside appointment_id"),
    };
    let (Page { limit, token }, subject) = fields.finish(page.zip(subject))?;
    let from = token.map(|it| LogPosition {
        revision: Revision(it.revision),
        event: it.event,
    });
    if let HistorySubject::Calendar(id) = &subject {
        context.expect_all([id])?;
        context.expect_everybody()?;
    }
    let viewer = context.viewer();
    let query = HistoryQuery {
        changes_max: limit,
        from,
        subject,
        prefixes: context.reach.calendars,
    };
    // The history of an appointment is for those who see it now.
    if let HistorySubject::Appointment(id) = query.subject
        && !viewer.reach.is_all()
    {
        let read = api.engine.query(context.wait.deadline, move |store| {
            store.appointments(&[id])
        });
        let (found, _) = read.await?;
        if !found.iter().any(|it| viewer.reach.has_some_of(it)) {
            return Err(Refusal::AppointmentNotFound(id).into());
        }
    }
    let asked = query.clone();
    let read = api
        .engine
        .read_log(context.wait.deadline, move |log| log.history(&asked))
        .await;
    let page = read?;
    let page = page.ok_or_else(|| not_found(query.subject))?;
    let next = page.next.map(|LogPosition { revision, event }| PageToken {
        revision: revision.0,
        event,
        ..PageToken::default()
    });
    Ok(pb::ListChangesResponse {
        changes: page
            .entries
            .iter()
            .map(|it| render::change(it, &viewer.reach))
            .collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(api.engine.revision()),
    })
}

fn not_found(subject: HistorySubject) -> Refusal {
    match subject {
        HistorySubject::Appointment(id) => Refusal::AppointmentNotFound(id),
        HistorySubject::Calendar(id) => Refusal::CalendarNotFound(id),
    }
}
