//! R8, asked of a service: a sample of the listed slots can be booked, and a sample of the other
//! times cannot.

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use prost_types::Timestamp;
use tonic::Status;
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};

const DAY: i64 = 86_400;
const QUARTER: i64 = 900;

/// The slots that are probed.
#[derive(Clone, Copy)]
pub struct ProbedSlots<'a> {
    pub calendar: &'a str,
    pub of_type: &'a str,
    /// Seconds; slots from the quarter of an hour on that has this instant.
    pub now: i64,
    pub days: i64,
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

impl ProbedSlots<'_> {
    fn from(self) -> i64 {
        self.now.div_euclid(QUARTER) * QUARTER
    }

    fn list(self) -> pb::ListSlotsRequest {
        pb::ListSlotsRequest {
            calendar_id: self.calendar.to_owned(),
            appointment_type_id: self.of_type.to_owned(),
            start_time: at(self.from()),
            end_time: at(self.from() + self.days * DAY),
            page_size: 1_000,
            ..Default::default()
        }
    }

    fn book(self, start: i64) -> pb::BookAppointmentRequest {
        pb::BookAppointmentRequest {
            calendar_id: self.calendar.to_owned(),
            appointment_type_id: self.of_type.to_owned(),
            start_time: at(start),
            invitee: Some(pb::Invitee {
                name: "Grace Hopper".to_owned(),
                ..Default::default()
            }),
            validate_only: true,
            ..Default::default()
        }
    }
}

/// Lists the slots, probes one in `sample` of them and of the other quarters of an hour with a dry
/// run, and answers the slots with what contradicts R8.
pub async fn probe<T>(
    service: &T,
    wanted: ProbedSlots<'_>,
    sample: usize,
) -> Result<(Vec<pb::Slot>, Vec<String>), Status>
where
    T: GrpcService<tonic::body::Body, Error: Into<StdError>> + Clone,
    T::ResponseBody: Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let answer = SlotsServiceClient::new(service.clone())
        .list_slots(wanted.list())
        .await?;
    let slots = answer.into_inner().slots;
    let listed: Vec<i64> = slots
        .iter()
        .filter_map(|slot| Some(slot.start_time?.seconds))
        .collect();
    let quarters = (0..wanted.days * DAY / QUARTER).map(|n| wanted.from() + n * QUARTER);
    let unlisted = quarters
        .filter(|start| !listed.contains(start))
        .map(|it| (it, false))
        .step_by(sample);
    let tries = listed
        .iter()
        .map(|it| (*it, true))
        .step_by(sample)
        .chain(unlisted);
    let mut found = Vec::new();
    for (start, is_listed) in tries {
        let attempt = BookingServiceClient::new(service.clone())
            .book_appointment(wanted.book(start))
            .await;
        if attempt.is_ok() != is_listed {
            let ProbedSlots {
                calendar, of_type, ..
            } = wanted;
            found.push(format!(
                "R8 {of_type} of {calendar} at {start}: listed is {is_listed}, booked {attempt:?}"
            ));
        }
    }
    Ok((slots, found))
}
