//! Random calls of every unary RPC, and what came of each.
//!
//! A call can be sent again as it is: that is how a client finds out what became of one that was not answered.

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::readable::readable;

/// What an answer said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub revision: i64,
    pub appointments: Vec<pb::Appointment>,
    /// Of a list that goes on.
    pub next_page_token: String,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done(Answered),
    /// Refused, and certainly not applied; the reason, and each rule that stood in the way with its calendar.
    Refused(String, Vec<(String, String)>),
    /// Nothing happened, and it is worth trying again; the reason.
    Later(String),
    /// It happened, or it did not.
    Unknown(String),
}

impl Outcome {
    /// What an error says of the call.
    pub fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == "bookd");
        let Some(info) = ours else { return Self::Unknown(format!("{:?}: {}", status.code(), status.message())) };
        match info.reason.as_str() {
            "OVERLOADED" | "SHUTTING_DOWN" | "STORE_UNAVAILABLE" | "EXPIRED_IN_QUEUE" => {
                Self::Later(info.reason.clone())
            }
            reason if matches!(status.code(), Code::Unknown | Code::Internal | Code::DeadlineExceeded) => {
                Self::Unknown(reason.to_owned())
            }
            reason => {
                let violations = details.precondition_failure().map(|it| it.violations.clone()).unwrap_or_default();
                Self::Refused(reason.to_owned(), violations.into_iter().map(|it| (it.r#type, it.subject)).collect())
            }
        }
    }
}

macro_rules! calls {
    ($($client:ident { $($name:ident $request:ident $method:ident |$answer:ident| $appointments:expr;)* })*) => {
        /// A unary call.
        #[derive(Clone, Debug)]
        pub enum Call {
            $($($name(pb::$request),)*)*
        }

        impl Call {
            /// Of every call its method, as it stands in a request.
            pub fn paths() -> Vec<String> {
                let path = |client: &str, name| format!("/bookd.v1.{}/{name}", client.trim_end_matches("Client"));
                vec![$($(path(stringify!($client), stringify!($name)),)*)*]
            }

            /// The message as bytes.
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

            /// Sends it over a channel, or straight to routes.
            pub async fn send<T>(&self, channel: &T) -> Result<Answered, Status>
            where
                T: GrpcService<tonic::body::Body, Error: Into<StdError>> + Clone,
                T::ResponseBody: Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
            {
                match self {
                    $($(Self::$name(request) => {
                        let mut client = $client::new(channel.clone());
                        let $answer = client.$method(request.clone()).await?.into_inner();
                        let next_page_token = next_page_token(&readable(&$answer));
                        Ok(Answered { revision: $answer.revision, appointments: $appointments, next_page_token })
                    })*)*
                }
            }
        }
    };
}

macro_rules! request_ids {
    ($($name:ident)*) => {
        impl Call {
            /// What it is repeated by, if it has any; none for calls that change nothing.
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

fn next_page_token(answer: &DynamicMessage) -> String {
    let token = answer.get_field_by_name("next_page_token");
    token.and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

fn one(it: Option<pb::Appointment>) -> Vec<pb::Appointment> {
    it.into_iter().collect()
}

calls! {
    BookingServiceClient {
        BookAppointment BookAppointmentRequest book_appointment |it| one(it.appointment);
        HoldAppointment HoldAppointmentRequest hold_appointment |it| one(it.appointment);
        ExtendHold ExtendHoldRequest extend_hold |it| one(it.appointment);
        ReleaseHold ReleaseHoldRequest release_hold |it| one(it.appointment);
        ConfirmAppointment ConfirmAppointmentRequest confirm_appointment |it| one(it.appointment);
        ApproveAppointment ApproveAppointmentRequest approve_appointment |it| one(it.appointment);
        DeclineAppointment DeclineAppointmentRequest decline_appointment |it| one(it.appointment);
        RescheduleAppointment RescheduleAppointmentRequest reschedule_appointment |it| one(it.appointment);
        CancelAppointment CancelAppointmentRequest cancel_appointment |it| one(it.appointment);
        UpdateAppointment UpdateAppointmentRequest update_appointment |it| one(it.appointment);
        MarkNoShow MarkNoShowRequest mark_no_show |it| one(it.appointment);
        CompleteAppointment CompleteAppointmentRequest complete_appointment |it| one(it.appointment);
        BookSeries BookSeriesRequest book_series
            |it| it.occurrences.into_iter().filter_map(|it| it.appointment).collect();
        CancelSeries CancelSeriesRequest cancel_series |it| it.appointments;
        BatchBook BatchBookRequest batch_book |it| it.appointments;
        RedactInvitee RedactInviteeRequest redact_invitee |it| Vec::new();
    }
    CalendarServiceClient {
        CreateCalendar CreateCalendarRequest create_calendar |it| Vec::new();
        UpdateCalendar UpdateCalendarRequest update_calendar |it| Vec::new();
        DeleteCalendar DeleteCalendarRequest delete_calendar |it| Vec::new();
        GetCalendar GetCalendarRequest get_calendar |it| Vec::new();
        ListCalendars ListCalendarsRequest list_calendars |it| Vec::new();
        PutAppointmentType PutAppointmentTypeRequest put_appointment_type |it| Vec::new();
        DeleteAppointmentType DeleteAppointmentTypeRequest delete_appointment_type |it| Vec::new();
        GetAppointmentType GetAppointmentTypeRequest get_appointment_type |it| Vec::new();
        ListAppointmentTypes ListAppointmentTypesRequest list_appointment_types |it| Vec::new();
    }
    AvailabilityServiceClient {
        SetAvailability SetAvailabilityRequest set_availability |it| Vec::new();
        PutOverrides PutOverridesRequest put_overrides |it| Vec::new();
        DeleteOverrides DeleteOverridesRequest delete_overrides |it| Vec::new();
        PutBusy PutBusyRequest put_busy |it| Vec::new();
        GetAvailability GetAvailabilityRequest get_availability |it| Vec::new();
        ListBusy ListBusyRequest list_busy |it| Vec::new();
    }
    SlotsServiceClient {
        ListSlots ListSlotsRequest list_slots |it| Vec::new();
        ExplainSlot ExplainSlotRequest explain_slot |it| Vec::new();
        QueryFreeBusy QueryFreeBusyRequest query_free_busy |it| Vec::new();
    }
    ListServiceClient {
        GetAppointment GetAppointmentRequest get_appointment |it| one(it.appointment);
        ListAppointments ListAppointmentsRequest list_appointments |it| it.appointments;
        ListChanges ListChangesRequest list_changes |it| Vec::new();
        ListZoneDrift ListZoneDriftRequest list_zone_drift |it| Vec::new();
    }
    ServerInfoServiceClient {
        GetServerInfo GetServerInfoRequest get_server_info |it| Vec::new();
    }
}
