//! The services of the contract: each method enters by `Call::enter`, is handled by one function,
//! and leaves by `leave`.
//!
//! No other file implements a service, so that no method can skip the entry or the exit.

pub mod availability;
pub mod booking;
mod booking_fields;
mod calendars;
mod free_busy;
mod lists;
mod series;
mod server_info;
mod slot_question;
mod slots;
mod watch;
pub mod watch_slots;
mod zone_drift;

use std::pin::Pin;

use tonic::{Request, Response, Status};

use crate::api::context::{Api, Call, leave};
use crate::api::stream::{Messages, messages};
use crate::proto::v1 as pb;

/// All services of the contract.
#[derive(Clone)]
pub(crate) struct Services(pub(crate) Api);

/// The future of a method, as `tonic::async_trait` would write it; the attribute does not expand
/// macros.
type Answering<'call, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'call>>;

/// Implements services by rows of `"Method" = module::handler(Request) -> Response;`. A row begins
/// with `stream` if the method answers a stream, and then ends with the name that tonic has for the
/// stream's type.
macro_rules! services {
    ($($server:ident::$service:ident { $($method:tt)* })*) => {
        $(impl pb::$server::$service for Services {
            services! { @methods $($method)* }
        })*
    };
    (@methods) => {};
    (@methods
        $name:literal = $module:ident::$handler:ident($request:ident) -> $response:ident;
        $($rest:tt)*
    ) => {
        fn $handler<'api, 'call>(
            &'api self,
            request: Request<pb::$request>,
        ) -> Answering<'call, Response<pb::$response>>
        where
            'api: 'call,
            Self: 'call,
        {
            Box::pin(async move {
                let call = Call::enter($name, request);
                leave($module::$handler(&self.0, call).await)
            })
        }
        services! { @methods $($rest)* }
    };
    (@methods
        stream $name:literal = $module:ident::$handler:ident($request:ident) -> $response:ident
            as $stream:ident;
        $($rest:tt)*
    ) => {
        type $stream = Messages<pb::$response>;

        fn $handler<'api, 'call>(
            &'api self,
            request: Request<pb::$request>,
        ) -> Answering<'call, Response<Self::$stream>>
        where
            'api: 'call,
            Self: 'call,
        {
            Box::pin(async move {
                let call = Call::enter($name, request);
                leave($module::$handler(&self.0, call).await.map(messages))
            })
        }
        services! { @methods $($rest)* }
    };
}

services! {
    calendar_service_server::CalendarService {
        "CreateCalendar" = calendars::create_calendar(CreateCalendarRequest) -> CreateCalendarResponse;
        "GetCalendar" = calendars::get_calendar(GetCalendarRequest) -> GetCalendarResponse;
        "UpdateCalendar" = calendars::update_calendar(UpdateCalendarRequest) -> UpdateCalendarResponse;
        "DeleteCalendar" = calendars::delete_calendar(DeleteCalendarRequest) -> DeleteCalendarResponse;
        "ListCalendars" = calendars::list_calendars(ListCalendarsRequest) -> ListCalendarsResponse;
        "PutAppointmentType" = calendars::put_appointment_type(PutAppointmentTypeRequest) -> PutAppointmentTypeResponse;
        "GetAppointmentType" = calendars::get_appointment_type(GetAppointmentTypeRequest) -> GetAppointmentTypeResponse;
        "DeleteAppointmentType" = calendars::delete_appointment_type(DeleteAppointmentTypeRequest) -> DeleteAppointmentTypeResponse;
        "ListAppointmentTypes" = calendars::list_appointment_types(ListAppointmentTypesRequest) -> ListAppointmentTypesResponse;
    }
    availability_service_server::AvailabilityService {
        "SetAvailability" = availability::set_availability(SetAvailabilityRequest) -> SetAvailabilityResponse;
        "GetAvailability" = availability::get_availability(GetAvailabilityRequest) -> GetAvailabilityResponse;
        "PutOverrides" = availability::put_overrides(PutOverridesRequest) -> PutOverridesResponse;
        "DeleteOverrides" = availability::delete_overrides(DeleteOverridesRequest) -> DeleteOverridesResponse;
        "PutBusy" = availability::put_busy(PutBusyRequest) -> PutBusyResponse;
        "ListBusy" = availability::list_busy(ListBusyRequest) -> ListBusyResponse;
    }
    slots_service_server::SlotsService {
        "ListSlots" = slots::list_slots(ListSlotsRequest) -> ListSlotsResponse;
        "ExplainSlot" = slots::explain_slot(ExplainSlotRequest) -> ExplainSlotResponse;
        "QueryFreeBusy" = free_busy::query_free_busy(QueryFreeBusyRequest) -> QueryFreeBusyResponse;
        stream "WatchSlots" = watch_slots::watch_slots(WatchSlotsRequest) -> WatchSlotsResponse as WatchSlotsStream;
    }
    booking_service_server::BookingService {
        "BookAppointment" = booking::book_appointment(BookAppointmentRequest) -> BookAppointmentResponse;
        "HoldAppointment" = booking::hold_appointment(HoldAppointmentRequest) -> HoldAppointmentResponse;
        "ExtendHold" = booking::extend_hold(ExtendHoldRequest) -> ExtendHoldResponse;
        "ReleaseHold" = booking::release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        "ConfirmAppointment" = booking::confirm_appointment(ConfirmAppointmentRequest) -> ConfirmAppointmentResponse;
        "ApproveAppointment" = booking::approve_appointment(ApproveAppointmentRequest) -> ApproveAppointmentResponse;
        "DeclineAppointment" = booking::decline_appointment(DeclineAppointmentRequest) -> DeclineAppointmentResponse;
        "RescheduleAppointment" = booking::reschedule_appointment(RescheduleAppointmentRequest) -> RescheduleAppointmentResponse;
        "CancelAppointment" = booking::cancel_appointment(CancelAppointmentRequest) -> CancelAppointmentResponse;
        "UpdateAppointment" = booking::update_appointment(UpdateAppointmentRequest) -> UpdateAppointmentResponse;
        "MarkNoShow" = booking::mark_no_show(MarkNoShowRequest) -> MarkNoShowResponse;
        "CompleteAppointment" = booking::complete_appointment(CompleteAppointmentRequest) -> CompleteAppointmentResponse;
        "BookSeries" = series::book_series(BookSeriesRequest) -> BookSeriesResponse;
        "CancelSeries" = series::cancel_series(CancelSeriesRequest) -> CancelSeriesResponse;
        "BatchBook" = booking::batch_book(BatchBookRequest) -> BatchBookResponse;
        "RedactInvitee" = booking::redact_invitee(RedactInviteeRequest) -> RedactInviteeResponse;
    }
    list_service_server::ListService {
        "GetAppointment" = lists::get_appointment(GetAppointmentRequest) -> GetAppointmentResponse;
        "ListAppointments" = lists::list_appointments(ListAppointmentsRequest) -> ListAppointmentsResponse;
        "ListChanges" = lists::list_changes(ListChangesRequest) -> ListChangesResponse;
        "ListZoneDrift" = zone_drift::list_zone_drift(ListZoneDriftRequest) -> ListZoneDriftResponse;
        stream "WatchAppointments" = watch::watch_appointments(WatchAppointmentsRequest) -> WatchAppointmentsResponse as WatchAppointmentsStream;
    }
    server_info_service_server::ServerInfoService {
        "GetServerInfo" = server_info::get_server_info(GetServerInfoRequest) -> GetServerInfoResponse;
    }
}
