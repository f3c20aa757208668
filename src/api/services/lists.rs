//! ListService: appointments, and what happened to them.

use tonic::{Request, Response, Status};

use crate::engine::{HistoryQuery, HistorySubject, ListQuery};
use crate::proto::v1 as pb;
use crate::proto::v1::list_service_server::ListService;
use bookd_core::appointment::AppointmentState;
use bookd_core::appointment::confirmation_code;
use bookd_core::ids::{AppointmentId, Revision, SeriesId};
use bookd_core::log::LogPosition;
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

use crate::api::context::{Api, deadline};
use crate::api::convert::page_token::{PageToken, fingerprint};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::convert::status;
use crate::api::pulled::Pulled;
use crate::api::services::watch::{self, Changes};

/// See the header.
pub struct Lists(pub Api);

/// What a list shows unless asked otherwise: everything that takes time or took it.
const STATES_DEFAULT: [AppointmentState; 5] = [
    AppointmentState::Held,
    AppointmentState::Pending,
    AppointmentState::Confirmed,
    AppointmentState::NoShow,
    AppointmentState::Completed,
];

fn states(message: &pb::ListAppointmentsRequest, fields: &mut Fields) -> Option<Vec<AppointmentState>> {
    if message.states.is_empty() {
        return Some(STATES_DEFAULT.to_vec());
    }
    let state = |(n, state): (usize, &i32)| {
        render::read_state(*state).or_else(|| fields.wrong(&format!("states[{n}]"), "is not a state"))
    };
    message.states.iter().enumerate().map(state).collect::<Vec<_>>().into_iter().collect()
}

impl Lists {
    fn query(&self, message: &pb::ListAppointmentsRequest, bound: u64, fields: &mut Fields) -> Option<ListQuery> {
        let calendar = match message.calendar_id.as_str() {
            "" => Some(None),
            id => fields.calendar_id("calendar_id", id).map(Some),
        };
        let email = fields.email("invitee_email", &message.invitee_email);
        let key = match message.confirmation_code.as_str() {
            "" => Some(None),
            text => match confirmation_code::decode(text, self.0.engine.code_key()) {
                Some(key) => Some(Some(key)),
                None => fields.wrong("confirmation_code", "must be a code such as 7K3M-Q9XT"),
            },
        };
        let series = fields.optional_appointment_id("series_id", &message.series_id);
        let type_id = match message.appointment_type_id.as_str() {
            "" => Some(None),
            id => fields.type_id("appointment_type_id", id).map(Some),
        };
        let states = states(message, fields);
        let is_by_code = !message.confirmation_code.is_empty();
        let now = self.0.engine.now();
        let mut bound_of = |field: &str, at: Option<&prost_types::Timestamp>| match at {
            None => Some(None),
            Some(at) => fields.bound(field, Some(at)).map(Some),
        };
        let from = bound_of("start_time", message.start_time.as_ref());
        let to = bound_of("end_time", message.end_time.as_ref());
        let is_descending = match message.order_by.as_str() {
            "" | "start_time" => Some(false),
            "start_time desc" => Some(true),
            _ => fields.wrong("order_by", "must be `start_time` or `start_time desc`"),
        };
        let limit = fields.page_size(message.page_size);
        let has_subject =
            [&message.calendar_id, &message.invitee_email, &message.confirmation_code, &message.series_id];
        if has_subject.iter().all(|it| it.is_empty()) {
            fields.wrong::<()>("calendar_id", "is required, or invitee_email, confirmation_code or series_id");
        }
        let token = fields.page_token(&message.page_token, bound);
        let token = token?;
        // All pages are as of the first one's moment, or what ended meanwhile would fall out of the list.
        let now = token.as_ref().map_or(now, |token| Instant::from_seconds(token.now));
        // A code is asked for by name: then history counts as well.
        let from = from?.unwrap_or(if is_by_code { Instant::MIN } else { now });
        let after = token.as_ref().and_then(|token| {
            let id = uuid::Uuid::from_slice(&token.id).ok().map(AppointmentId)?;
            Some((Instant::from_seconds(token.start), id))
        });
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
            after,
            limit: limit?,
            scanned_max: ListQuery::SCANNED_MAX,
            at: token.map(|token| Revision(token.revision)),
            now,
        })
    }
}

#[tonic::async_trait]
impl ListService for Lists {
    async fn get_appointment(
        &self,
        request: Request<pb::GetAppointmentRequest>,
    ) -> Result<Response<pb::GetAppointmentResponse>, Status> {
        let deadline = deadline(request.extensions());
        let mut fields = Fields::default();
        let id = fields.appointment_id("appointment_id", &request.get_ref().appointment_id);
        let id = fields.finish(id)?;
        let read = self.0.engine.read(deadline, move |reader| reader.appointments(&[id])).await;
        let (found, revision) = read.map_err(|failure| status::failed(&failure))?;
        let found = found.first().ok_or_else(|| status::refused(&Refusal::AppointmentNotFound(id)))?;
        let appointment = Some(self.0.appointment(found, self.0.engine.now()));
        Ok(Response::new(pb::GetAppointmentResponse { appointment, revision: render::revision(revision) }))
    }

    async fn list_appointments(
        &self,
        request: Request<pb::ListAppointmentsRequest>,
    ) -> Result<Response<pb::ListAppointmentsResponse>, Status> {
        let deadline = deadline(request.extensions());
        let message = request.into_inner();
        let bound =
            fingerprint(&pb::ListAppointmentsRequest { page_token: String::new(), page_size: 0, ..message.clone() });
        let mut fields = Fields::default();
        let query = self.query(&message, bound, &mut fields);
        let query = fields.finish(query)?;
        let now = query.now;
        let absent = query.calendar.clone();
        let read = self.0.engine.read(deadline, move |reader| match &query.calendar {
            Some(calendar) if !reader.ever_had(calendar)? => Ok(None),
            _ => reader.list_appointments(&query).map(Some),
        });
        let page = read.await.map_err(|failure| status::failed(&failure))?;
        let not_found = || absent.map(|id| status::refused(&Refusal::CalendarNotFound(id)));
        let page = page.ok_or_else(|| not_found().expect("only a calendar is looked for"))?;
        let next = page.next.map(|(start, id)| PageToken {
            fingerprint: bound,
            start: start.seconds(),
            id: id.0.as_bytes().to_vec(),
            revision: page.revision.0,
            now: now.seconds(),
            event: 0,
        });
        Ok(Response::new(pb::ListAppointmentsResponse {
            appointments: page.appointments.iter().map(|it| self.0.appointment(it, now)).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(page.revision),
        }))
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        let deadline = deadline(request.extensions());
        let message = request.into_inner();
        let bound = fingerprint(&pb::ListChangesRequest { page_token: String::new(), page_size: 0, ..message.clone() });
        let mut fields = Fields::default();
        let limit = fields.page_size(message.page_size);
        let from = fields.page_token(&message.page_token, bound);
        let from = from.map(|token| token.map(|it| LogPosition { revision: Revision(it.revision), event: it.event }));
        let subject = match (message.appointment_id.as_str(), message.calendar_id.as_str()) {
            ("", "") => fields.wrong("appointment_id", "is required, or calendar_id"),
            ("", id) => fields.calendar_id("calendar_id", id).map(HistorySubject::Calendar),
            (id, "") => fields.appointment_id("appointment_id", id).map(HistorySubject::Appointment),
            _ => fields.wrong("calendar_id", "cannot stand beside appointment_id"),
        };
        let query = (|| Some(HistoryQuery { changes_max: limit?, from: from?, subject: subject? }))();
        let query = fields.finish(query)?;
        let asked = query.clone();
        let read = self.0.engine.read(deadline, move |reader| reader.history(&asked)).await;
        let page = read.map_err(|failure| status::failed(&failure))?;
        let page = page.ok_or_else(|| status::refused(&not_found(query.subject)))?;
        let next = page.next.map(|LogPosition { revision, event }| PageToken {
            fingerprint: bound,
            revision: revision.0,
            event,
            ..PageToken::default()
        });
        Ok(Response::new(pb::ListChangesResponse {
            changes: page.entries.iter().map(render::change).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(self.0.engine.revision()),
        }))
    }

    async fn list_zone_drift(
        &self,
        request: Request<pb::ListZoneDriftRequest>,
    ) -> Result<Response<pb::ListZoneDriftResponse>, Status> {
        crate::api::services::zone_drift::list_zone_drift(&self.0, request).await.map(Response::new)
    }

    type WatchAppointmentsStream = Pulled<Changes>;

    async fn watch_appointments(
        &self,
        request: Request<pb::WatchAppointmentsRequest>,
    ) -> Result<Response<Self::WatchAppointmentsStream>, Status> {
        watch::open(&self.0, request).await
    }
}

fn not_found(subject: HistorySubject) -> Refusal {
    match subject {
        HistorySubject::Appointment(id) => Refusal::AppointmentNotFound(id),
        HistorySubject::Calendar(id) => Refusal::CalendarNotFound(id),
    }
}
