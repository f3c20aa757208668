//! ListZoneDrift: upcoming appointments whose stored wall time no longer matches their instant.
//!
//! A page looks at a bounded number of appointments; it may find no drift and still have a next
//! page.

use crate::proto::v1 as pb;
use crate::store::ListQuery;
use bookd_core::appointment::zone_drift::{Drift, drift};
use bookd_core::appointment::{Appointment, AppointmentState};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision};
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

use crate::api::context::{Answered, Api, Call, Viewer};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;

/// The most appointments that one page looks at.
const EXAMINED_MAX: usize = 10_000;
/// The states in which people will come at a wall time.
const STATES: [AppointmentState; 3] = [
    AppointmentState::Held,
    AppointmentState::Pending,
    AppointmentState::Confirmed,
];

/// Appointments to look at, each with the token that continues after it, and the token after all of
/// them.
struct DriftPage {
    appointments: Vec<(Appointment, PageToken)>,
    next: Option<PageToken>,
    revision: Revision,
}

pub(crate) async fn list_zone_drift(
    api: &Api,
    call: Call<pb::ListZoneDriftRequest>,
) -> Answered<pb::ListZoneDriftResponse> {
    let Call { context, message } = call;
    let until = context.wait.deadline;
    let mut fields = Fields::default();
    let page = fields.page(&message, &context.principal.name);
    let calendar = fields.optional_calendar_id("calendar_id", &message.calendar_id);
    let (Page { limit, token }, calendar) = fields.finish(page.zip(calendar))?;
    context.expect_everybody()?;
    match &calendar {
        Some(calendar) => context.expect_all([calendar])?,
        // The appointments of all calendars are looked at page by page: the pages would tell how
        // many there are.
        None if context.reach.is_all() => {}
        None => return Err(context.out_of_reach().into()),
    }
    let viewer = context.viewer();
    let now = api.engine.now();
    let token = token.unwrap_or_else(|| PageToken {
        start: i64::MIN,
        ..PageToken::default()
    });
    let examined = match calendar {
        Some(calendar) => of_calendar(api, calendar, now, token, until).await?,
        None => of_all(api, token, until).await?,
    };
    let DriftPage {
        appointments,
        mut next,
        revision,
    } = examined;
    let mut drifts = Vec::new();
    for (appointment, after) in appointments {
        let is_upcoming = appointment.end() > now && STATES.contains(&appointment.state_at(now));
        let zone = api.zones.zone(&appointment.time_zone).ok();
        let Some(drift) = drift(&appointment, zone.as_deref()).filter(|_| is_upcoming) else {
            continue;
        };
        drifts.extend(rendered(api, &viewer, &appointment, drift, now));
        if drifts.len() == limit {
            next = Some(after);
            break;
        }
    }
    Ok(pb::ListZoneDriftResponse {
        drifts,
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(revision),
    })
}

/// The appointments of one calendar, ordered by start and then id, as in every list of a calendar.
async fn of_calendar(
    api: &Api,
    calendar: CalendarId,
    now: Instant,
    token: PageToken,
    until: Option<tokio::time::Instant>,
) -> Answered<DriftPage> {
    let id = uuid::Uuid::from_slice(&token.id).ok().map(AppointmentId);
    let query = ListQuery {
        calendar: Some(calendar.clone()),
        email: None,
        key: None,
        series: None,
        type_id: None,
        states: STATES.to_vec(),
        from: now,
        to: None,
        is_descending: false,
        after: id.map(|id| (Instant::from_seconds(token.start), id)),
        limit: EXAMINED_MAX,
        scanned_max: ListQuery::SCANNED_MAX,
        reach: Reach::ALL,
        at: None,
        now,
    };
    let asked = calendar.clone();
    let read = api.engine.query(until, move |store| {
        if store.has_calendar(&asked)? {
            store.list_appointments(&query).map(Some)
        } else {
            Ok(None)
        }
    });
    let page = read.await?.ok_or(Refusal::CalendarNotFound(calendar))?;
    let at = |start: Instant, id: AppointmentId| PageToken {
        start: start.seconds(),
        id: id.0.as_bytes().to_vec(),
        ..token.clone()
    };
    let next = page.next.map(|(start, id)| at(start, id));
    let appointments = page.appointments.into_iter().map(|appointment| {
        let after = at(appointment.start, appointment.id);
        (appointment, after)
    });
    Ok(DriftPage {
        appointments: appointments.collect(),
        next,
        revision: page.revision,
    })
}

/// The appointments of all calendars in the order of their booking, past ones included: no index
/// has the upcoming appointments of all calendars.
async fn of_all(
    api: &Api,
    token: PageToken,
    until: Option<tokio::time::Instant>,
) -> Answered<DriftPage> {
    let after = AppointmentKey(token.start.max(0).unsigned_abs());
    let read = api
        .engine
        .query(until, move |store| {
            store.appointments_after(after, EXAMINED_MAX)
        })
        .await?;
    let (found, revision) = read;
    let at = |key: AppointmentKey| PageToken {
        start: i64::try_from(key.0).unwrap_or(i64::MAX),
        ..token.clone()
    };
    let next = found
        .last()
        .filter(|_| found.len() == EXAMINED_MAX)
        .map(|it| at(it.key));
    let appointments = found.into_iter().map(|appointment| {
        let after = at(appointment.key);
        (appointment, after)
    });
    Ok(DriftPage {
        appointments: appointments.collect(),
        next,
        revision,
    })
}

fn rendered(
    api: &Api,
    viewer: &Viewer,
    appointment: &Appointment,
    drift: Drift,
    now: Instant,
) -> Option<pb::ZoneDrift> {
    Some(pb::ZoneDrift {
        appointment: Some(api.seen(viewer, appointment, now)?),
        local_start_now: drift
            .local_start
            .map(|it| it.to_string())
            .unwrap_or_default(),
        start_time_now: drift.start.map(render::timestamp),
    })
}
