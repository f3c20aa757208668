//! WatchAppointments: the changes of appointments in order, with marks of progress.
//!
//! No change is left out and none is repeated.

use prost::Message as _;

use bookd_core::ids::{ID_CHARACTERS_MAX, Revision};
use bookd_core::prefixes::Prefixes;

use crate::engine::{Watch, Watched};
use crate::proto::v1 as pb;
use crate::proto::v1::watch_appointments_response::Message;
use crate::store::{CalendarFilter, ChangePart, WatchFilter};

use crate::api::context::{Answered, Api, Call, Viewer};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::encoded::Encoded;
use crate::api::stream::Source;

/// The messages of one watch.
pub(crate) struct Changes {
    api: Api,
    viewer: Viewer,
    watch: Watch,
}

/// The filter of somebody who may see these calendars; none where nothing of it may be seen.
fn within(filter: CalendarFilter, prefixes: &Prefixes) -> Option<CalendarFilter> {
    let filter = match filter {
        CalendarFilter::All if prefixes.is_all() => CalendarFilter::All,
        CalendarFilter::All => CalendarFilter::Prefixes(prefixes.clone()),
        CalendarFilter::Prefixes(wanted) => CalendarFilter::Prefixes(wanted.and(prefixes)),
        CalendarFilter::Among(calendars) => {
            let is_seen = calendars.iter().all(|id| prefixes.has(id.as_str()));
            return is_seen.then_some(CalendarFilter::Among(calendars));
        }
    };
    match &filter {
        CalendarFilter::Prefixes(seen) if seen.is_nothing() => None,
        _ => Some(filter),
    }
}

fn filter(message: &pb::WatchAppointmentsRequest, fields: &mut Fields) -> Option<CalendarFilter> {
    match (message.calendar_id.as_str(), message.id_prefix.as_str()) {
        ("", "") => Some(CalendarFilter::All),
        ("", prefix) => fields
            .text("id_prefix", prefix, ID_CHARACTERS_MAX)
            .map(|prefix| CalendarFilter::beginning_with(&prefix)),
        (id, "") => fields
            .calendar_id("calendar_id", id)
            .map(|id| CalendarFilter::Among(vec![id])),
        _ => fields.wrong("id_prefix", "cannot stand beside calendar_id"),
    }
}

pub(crate) async fn watch_appointments(
    api: &Api,
    call: Call<pb::WatchAppointmentsRequest>,
) -> Answered<Changes> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let filter = filter(&message, &mut fields);
    let start = match u64::try_from(message.start_revision) {
        Ok(start) => Some(Revision(start)),
        Err(_) => fields.wrong(
            "start_revision",
            "must be a revision, or 0 for what comes after now",
        ),
    };
    let (filter, start) = fields.finish(filter.zip(start))?;
    let viewer = context.viewer();
    let calendars =
        within(filter, &viewer.reach.calendars).ok_or_else(|| context.out_of_reach())?;
    let reach = viewer.reach.clone();
    let filter = WatchFilter { calendars, reach };
    let watched = api.engine.watch(filter, start, context.wait.deadline);
    let watch = watched.await?;
    Ok(Changes {
        api: api.clone(),
        viewer,
        watch,
    })
}

impl Changes {
    /// The message of a change, or of a part of it.
    fn message(&self, change: &ChangePart, part: u32) -> pb::WatchAppointmentsResponse {
        pb::WatchAppointmentsResponse {
            part: i32::try_from(part).unwrap_or(i32::MAX),
            is_last: change.is_last(),
            message: Some(Message::Change(self.change(change))),
        }
    }

    /// The message of a change; its appointments show their state at the time of the change.
    fn change(&self, change_part: &ChangePart) -> pb::Change {
        let time = change_part.entry.time;
        let mut change = render::change(&change_part.entry, &self.viewer.reach);
        for (event, appointment) in change.events.iter_mut().zip(&change_part.appointments) {
            event.appointment = appointment
                .as_ref()
                .and_then(|it| self.api.seen(&self.viewer, it, time));
        }
        change
    }
}

impl Source for Changes {
    type Message = Encoded<pb::WatchAppointmentsResponse>;

    async fn next(&mut self) -> Answered<Self::Message> {
        let message = match self.watch.next().await? {
            Watched::Whole(whole) => {
                let make = |part: &ChangePart| self.message(part, 1).encode_to_vec().into();
                return Ok(Encoded::new(whole.message(make)));
            }
            Watched::Change { change, part } => self.message(&change, part),
            Watched::Progress(revision) => {
                let time = Some(render::timestamp(self.api.engine.now()));
                let progress = pb::WatchProgress {
                    revision: render::revision(revision),
                    time,
                };
                pb::WatchAppointmentsResponse {
                    message: Some(Message::Progress(progress)),
                    ..Default::default()
                }
            }
        };
        Ok(Encoded::new(message.encode_to_vec().into()))
    }
}
