//! Every unary RPC as a call, and the outcome of each call.
//!
//! A call can be sent again unchanged: so a client finds out whether a call without an answer
//! happened.

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::readable::readable;

/// The content of an answer that is not an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub revision: i64,
    /// The appointments that it shows as of its revision, wherever they are in the message.
    pub appointments: Vec<pb::Appointment>,
    /// The appointments outside open time, which are read after the batch: as of its revision or a
    /// later one.
    pub outside: Vec<pb::Appointment>,
    /// The token of the next page of a list; empty when there is none.
    pub next_page_token: String,
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done(Answered),
    /// Refused, and certainly not applied: the reason, and each violation with its calendar.
    Refused(String, Vec<(String, String)>),
    /// Certainly not applied, and worth another attempt: the reason.
    Later(String),
    /// Applied or not, nobody knows: the status or the reason.
    Unknown(String),
}

impl Answered {
    pub(crate) fn new(revision: i64, answer: &DynamicMessage) -> Self {
        let token = answer.get_field_by_name("next_page_token");
        let next_page_token = token
            .and_then(|it| it.as_str().map(str::to_owned))
            .unwrap_or_default();
        let (mut appointments, mut outside) = (Vec::new(), Vec::new());
        for (field, value) in answer.fields() {
            gather(
                value,
                if field.name() == "appointments_outside" {
                    &mut outside
                } else {
                    &mut appointments
                },
            );
        }
        Self {
            revision,
            appointments,
            outside,
            next_page_token,
        }
    }
}

/// Collects every appointment in a value, in order.
fn gather(value: &Value, found: &mut Vec<pb::Appointment>) {
    match value {
        Value::Message(it) if it.descriptor().full_name() == "bookd.v1.Appointment" => {
            found.push(it.transcode_to().unwrap());
        }
        Value::Message(it) => it.fields().for_each(|(_, value)| gather(value, found)),
        Value::List(items) => items.iter().for_each(|it| gather(it, found)),
        Value::Map(entries) => entries.values().for_each(|it| gather(it, found)),
        _ => {}
    }
}

impl Outcome {
    /// The outcome that an error means for the call.
    pub fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == "bookd");
        let Some(info) = ours else {
            return Self::Unknown(format!("{:?}: {}", status.code(), status.message()));
        };
        match info.reason.as_str() {
            "OVERLOADED" | "SHUTTING_DOWN" | "STORE_UNAVAILABLE" | "EXPIRED_IN_QUEUE" => {
                Self::Later(info.reason.clone())
            }
            reason
                if matches!(
                    status.code(),
                    Code::Unknown | Code::Internal | Code::DeadlineExceeded
                ) =>
            {
                Self::Unknown(reason.to_owned())
            }
            reason => {
                let violations = details
                    .precondition_failure()
                    .map(|it| it.violations.clone())
                    .unwrap_or_default();
                Self::Refused(
                    reason.to_owned(),
                    violations
                        .into_iter()
                        .map(|it| (it.r#type, it.subject))
                        .collect(),
                )
            }
        }
    }
}

macro_rules! calls {
    ($($client:ident { $($name:ident $request:ident $method:ident)* })*) => {
        /// A unary call.
        #[derive(Clone, Debug)]
        pub enum Call {
            $($($name(pb::$request),)*)*
        }

        impl Call {
            /// The path of every method, as a request has it.
            pub fn paths() -> Vec<String> {
                let path = |client: &str, name| format!("/bookd.v1.{}/{name}", client.trim_end_matches("Client"));
                vec![$($(path(stringify!($client), stringify!($name)),)*)*]
            }

            /// The encoded message.
            pub fn encoded(&self) -> Vec<u8> {
                match self {
                    $($(Self::$name(request) => request.encode_to_vec(),)*)*
                }
            }

            pub fn name(&self) -> &'static str {
                match self {
                    $($(Self::$name(_) => stringify!($name),)*)*
                }
            }

            /// Sends the call over a channel or to routes.
            pub async fn send<T>(&self, channel: &T) -> Result<Answered, Status>
            where
                T: GrpcService<tonic::body::Body, Error: Into<StdError>> + Clone,
                T::ResponseBody: Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
            {
                match self {
                    $($(Self::$name(request) => {
                        let mut client = $client::new(channel.clone());
                        let answer = client.$method(request.clone()).await?.into_inner();
                        Ok(Answered::new(answer.revision, &readable(&answer)))
                    })*)*
                }
            }
        }
    };
}

macro_rules! request_ids {
    ($($name:ident)*) => {
        impl Call {
            /// The request id, which may be empty; none for calls that change nothing.
            pub fn request_id(&self) -> Option<&str> {
                match self {
                    $(Self::$name(request) => Some(&request.request_id),)*
                    _ => None,
                }
            }
        }
    };
}

request_ids! {
    BookAppointment HoldAppointment ExtendHold ReleaseHold ConfirmAppointment ApproveAppointment DeclineAppointment
    RescheduleAppointment CancelAppointment UpdateAppointment MarkNoShow CompleteAppointment BookSeries CancelSeries
    BatchBook RedactInvitee CreateCalendar UpdateCalendar DeleteCalendar PutAppointmentType DeleteAppointmentType
    SetAvailability PutOverrides DeleteOverrides PutBusy
}

calls! {
    BookingServiceClient {
        BookAppointment BookAppointmentRequest book_appointment
        HoldAppointment HoldAppointmentRequest hold_appointment
        ExtendHold ExtendHoldRequest extend_hold
        ReleaseHold ReleaseHoldRequest release_hold
        ConfirmAppointment ConfirmAppointmentRequest confirm_appointment
        ApproveAppointment ApproveAppointmentRequest approve_appointment
        DeclineAppointment DeclineAppointmentRequest decline_appointment
        RescheduleAppointment RescheduleAppointmentRequest reschedule_appointment
        CancelAppointment CancelAppointmentRequest cancel_appointment
        UpdateAppointment UpdateAppointmentRequest update_appointment
        MarkNoShow MarkNoShowRequest mark_no_show
        CompleteAppointment CompleteAppointmentRequest complete_appointment
        BookSeries BookSeriesRequest book_series
        CancelSeries CancelSeriesRequest cancel_series
        BatchBook BatchBookRequest batch_book
        RedactInvitee RedactInviteeRequest redact_invitee
    }
    CalendarServiceClient {
        CreateCalendar CreateCalendarRequest create_calendar
        UpdateCalendar UpdateCalendarRequest update_calendar
        DeleteCalendar DeleteCalendarRequest delete_calendar
        GetCalendar GetCalendarRequest get_calendar
        ListCalendars ListCalendarsRequest list_calendars
        PutAppointmentType PutAppointmentTypeRequest put_appointment_type
        DeleteAppointmentType DeleteAppointmentTypeRequest delete_appointment_type
        GetAppointmentType GetAppointmentTypeRequest get_appointment_type
        ListAppointmentTypes ListAppointmentTypesRequest list_appointment_types
    }
    AvailabilityServiceClient {
        SetAvailability SetAvailabilityRequest set_availability
        PutOverrides PutOverridesRequest put_overrides
        DeleteOverrides DeleteOverridesRequest delete_overrides
        PutBusy PutBusyRequest put_busy
        GetAvailability GetAvailabilityRequest get_availability
        ListBusy ListBusyRequest list_busy
    }
    SlotsServiceClient {
        ListSlots ListSlotsRequest list_slots
        ExplainSlot ExplainSlotRequest explain_slot
        QueryFreeBusy QueryFreeBusyRequest query_free_busy
    }
    ListServiceClient {
        GetAppointment GetAppointmentRequest get_appointment
        ListAppointments ListAppointmentsRequest list_appointments
        ListChanges ListChangesRequest list_changes
        ListZoneDrift ListZoneDriftRequest list_zone_drift
    }
    ServerInfoServiceClient {
        GetServerInfo GetServerInfoRequest get_server_info
    }
}
