//! QueryFreeBusy: open and taken time of calendars, without the appointments that take it.
//!
//! Time that memory no longer holds is read from the store at the revision of the view.

use bookd_core::appointment::{AppointmentState, Place};
use bookd_core::calendar::Calendar;
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::slots::free_busy;
use bookd_core::time::DAY;
use bookd_core::time::interval::Interval;

use crate::api::context::{Answered, Api, Call, Weight};
use crate::api::convert::parse::Fields;
use crate::api::convert::parse_time::RANGE_DAYS_MAX;
use crate::api::convert::render;
use crate::engine::View;
use crate::proto::v1 as pb;
use crate::store::ListQuery;

/// The most periods of one answer, all calendars together.
pub(super) const PERIODS_MAX: usize = 20_000;

/// The longest buffer, in seconds: seven days.
const BUFFER_MAX: i64 = 7 * DAY;

pub(crate) async fn query_free_busy(
    api: &Api,
    call: Call<pb::QueryFreeBusyRequest>,
) -> Answered<pb::QueryFreeBusyResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    if message.calendar_ids.is_empty() {
        fields.wrong::<()>("calendar_ids", "must name at least one calendar");
    }
    let calendars = fields.several(
        "calendar_ids",
        &message.calendar_ids,
        pb::Assignment::All.into(),
    );
    let range = fields.range(
        message.start_time.as_ref(),
        message.end_time.as_ref(),
        RANGE_DAYS_MAX,
    );
    let ((calendars, _), range) = fields.finish(calendars.zip(range))?;
    context.expect_all(&calendars)?;
    let view = api.engine.view(&calendars, &context.wait).await?;
    let mut pasts = Vec::with_capacity(calendars.len());
    for calendar in &view.calendars {
        pasts.push(past(api, calendar, range, &view, context.wait.deadline).await?);
    }
    let days = usize::try_from(range.end.since(range.start) / DAY + 1).unwrap_or(usize::MAX);
    let weight = Weight::of_days(calendars.len(), days);
    let revision = render::revision(view.revision);
    let answer = api
        .compute(weight, context.wait.deadline, move || {
            free_and_busy(&view, range, &pasts)
        })
        .await?;
    let calendars = answer.ok_or_else(too_many_periods)?;
    Ok(pb::QueryFreeBusyResponse {
        calendars,
        revision,
    })
}

/// The open and the taken time of each calendar; `pasts` is the taken time that memory no longer
/// holds. None when there are more than `PERIODS_MAX` periods.
fn free_and_busy(
    view: &View,
    range: Interval,
    pasts: &[Vec<Interval>],
) -> Option<Vec<pb::CalendarFreeBusy>> {
    let mut answer = Vec::with_capacity(pasts.len());
    let mut count = 0;
    for (calendar, past) in view.calendars.iter().zip(pasts) {
        let (open, busy) = (
            free_busy::open(calendar, range),
            free_busy::busy(calendar, range, view.now, past),
        );
        count += open.len() + busy.len();
        if count > PERIODS_MAX {
            return None;
        }
        answer.push(pb::CalendarFreeBusy {
            calendar_id: calendar.id.to_string(),
            open: open.into_iter().map(render::period).collect(),
            busy: busy.into_iter().map(render::period).collect(),
        });
    }
    Some(answer)
}

fn too_many_periods() -> Refusal {
    Fields::wrong_only(
        "end_time",
        format!("more than {PERIODS_MAX} periods; ask for a shorter range"),
    )
}

/// The taken time in that part of the range that the calendar no longer holds in memory.
async fn past(
    api: &Api,
    calendar: &Calendar,
    range: Interval,
    view: &View,
    deadline: Option<tokio::time::Instant>,
) -> Answered<Vec<Interval>> {
    use AppointmentState as S;
    let mut taken = Vec::new();
    if range.start >= calendar.kept_from {
        return Ok(taken);
    }
    let mut query = ListQuery {
        calendar: Some(calendar.id.clone()),
        email: None,
        key: None,
        series: None,
        type_id: None,
        states: vec![S::Pending, S::Confirmed, S::NoShow, S::Completed],
        // Buffers reach beyond the start and the end of an appointment.
        from: range.start.plus(-BUFFER_MAX),
        to: Some(range.end.min(calendar.kept_from).plus(BUFFER_MAX)),
        is_descending: false,
        after: None,
        limit: PERIODS_MAX,
        scanned_max: ListQuery::SCANNED_MAX,
        reach: Reach::ALL,
        at: Some(view.revision),
        now: view.now,
    };
    loop {
        let asked = query.clone();
        let page = api
            .engine
            .query(deadline, move |store| store.list_appointments(&asked))
            .await;
        let page = page?;
        for appointment in page.appointments.iter().filter(|it| it.blocks) {
            // A deleted calendar that had this id is another calendar.
            let is_of =
                |place: &&Place| place.calendar == calendar.id && place.since == calendar.since;
            let places = appointment.places.iter().filter(is_of);
            taken.extend(
                places
                    .map(Place::padded)
                    .filter(|period| period.overlaps(range)),
            );
        }
        if taken.len() > PERIODS_MAX {
            return Err(too_many_periods().into());
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(taken),
        }
    }
}
