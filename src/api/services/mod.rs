//! The services of the contract: each method enters by `Call::enter`, is handled by one function,
//! and leaves by `leave`.
//!
//! A call finds its method by its path in one table, and no other file answers a method, so that
//! none can skip the entry or the exit. The servers that tonic generates are not used: they box a
//! call three times, and know no answer whose bytes are made already.

mod access;
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
mod tokens;
mod watch;
pub mod watch_slots;
mod zone_drift;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bookd_transport::grpc::REQUEST_BYTES_MAX;
use bookd_transport::{CertificateName, Peer};
use bytes::Bytes;
use prost::Message;
use tonic::codegen::{Body, StdError};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::api::context::{Answered, Api, Call, leave};
use crate::api::convert::status;
use crate::api::encoded::Encoded;
use crate::api::no_answer::NoAnswer;
use crate::api::stream::{Messages, Source, StreamReader, messages};
use crate::auth::{Access, CallOrigin, MethodScopes, Principal};
use crate::proto::v1 as pb;

/// The answer to a call, as it begins.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> + Send>>;

/// A message of type `R`, or its bytes.
trait MessageOf<R>: Message {}

impl<R: Message> MessageOf<R> for R {}

impl<R: Message> MessageOf<R> for Encoded<R> {}

/// A handler at work. It is boxed here, where it begins: the futures around it would be as large as
/// it, some kilobytes, and are moved.
type Handling<T> = Pin<Box<dyn Future<Output = Answered<T>> + Send>>;

/// A call that was let in, before its message is read.
struct Admitted {
    /// The method's name.
    name: &'static str,
    principal: Principal,
    wanted: MethodScopes,
    access: Access,
}

impl Admitted {
    /// Logs that the caller was refused, if that is the answer.
    fn note<T>(&self, answered: &Answered<T>) {
        if let Some(error) = answered.as_ref().err().and_then(NoAnswer::not_allowed) {
            self.access.note_refused(&self.principal, self.name, &error);
        }
    }
}

/// Lets a call of this method in, or answers it with why not.
fn admit<B>(
    api: &Api,
    (name, wanted): (&'static str, MethodScopes),
    request: &http::Request<B>,
) -> Result<Admitted, Answering> {
    let peer = request.extensions().get::<Peer>();
    let origin = CallOrigin {
        certificate: peer
            .and_then(|it| it.certificate.as_deref())
            .map(CertificateName::as_str),
        address: peer.and_then(|it| it.address).map(|it| it.ip()),
        method: name,
    };
    match api.access.admit(request.headers(), origin, wanted) {
        Ok(principal) => Ok(Admitted {
            name,
            principal,
            wanted,
            access: api.access.clone(),
        }),
        Err(error) => {
            let answer = status::not_allowed(&error).into_http();
            Err(Box::pin(std::future::ready(Ok(answer))))
        }
    }
}

/// A handler as tonic calls it: once for the message of a call.
struct Handler<H> {
    /// None once it was called.
    admitted: Option<Admitted>,
    handle: H,
}

impl<H> Handler<H> {
    fn take(&mut self) -> Admitted {
        let admitted = self.admitted.take();
        admitted.expect("tonic calls the handler of a call once")
    }
}

impl<Q, A, H> UnaryService<Q> for Handler<H>
where
    H: FnMut(Call<Q>) -> Handling<A>,
{
    type Response = A;
    type Future = Leaving<A>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let admitted = self.take();
        let Admitted {
            name,
            principal,
            wanted,
            access,
        } = &admitted;
        // The message may have come long after its headers.
        let handling = match access.still(principal, *wanted) {
            Ok(()) => (self.handle)(Call::enter((name, *wanted), principal.clone(), request)),
            Err(error) => Box::pin(async move { Err(error.into()) }),
        };
        Leaving { handling, admitted }
    }
}

/// A handler at work, whose answer leaves by `leave`. A refusal of the caller is logged.
struct Leaving<A> {
    handling: Handling<A>,
    admitted: Admitted,
}

impl<A> Future for Leaving<A> {
    type Output = Result<Response<A>, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(self.handling.as_mut().poll(context));
        self.admitted.note(&answered);
        Poll::Ready(leave(answered))
    }
}

/// The beginning of a stream.
type Opening<T> = Pin<Box<dyn Future<Output = Result<Response<Messages<T>>, Status>> + Send>>;

impl<Q, S, H> ServerStreamingService<Q> for Handler<H>
where
    S: Source,
    H: FnMut(Call<Q>) -> Handling<S>,
{
    type Response = S::Message;
    type ResponseStream = Messages<S::Message>;
    type Future = Opening<S::Message>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let admitted = self.take();
        let Admitted {
            name,
            principal,
            wanted,
            access,
        } = &admitted;
        let call = Call::enter((name, *wanted), principal.clone(), request);
        let opening = (self.handle)(call);
        let reader = StreamReader {
            access: access.clone(),
            principal: principal.clone(),
            wanted: *wanted,
        };
        Box::pin(async move {
            let opened = opening.await;
            admitted.note(&opened);
            leave(opened.map(|source| messages(source, reader)))
        })
    }
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Answers a call of a method with one answer.
fn unary<Q, A, R, B>(
    admitted: Admitted,
    handle: impl FnMut(Call<Q>) -> Handling<A> + Send + 'static,
    request: http::Request<B>,
) -> Answering
where
    Q: Message + Default + Send + 'static,
    A: MessageOf<R> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let admitted = Some(admitted);
    let method = Handler { admitted, handle };
    Box::pin(async move { Ok(grpc().unary(method, request).await) })
}

/// Answers a call of a method with a stream of answers.
fn stream<Q, S, R, B>(
    admitted: Admitted,
    handle: impl FnMut(Call<Q>) -> Handling<S> + Send + 'static,
    request: http::Request<B>,
) -> Answering
where
    Q: Message + Default + Send + 'static,
    S: Source<Message: MessageOf<R> + Send>,
    B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let admitted = Some(admitted);
    let method = Handler { admitted, handle };
    Box::pin(async move { Ok(grpc().server_streaming(method, request).await) })
}

/// Writes the table of methods, with rows of `unary Name = module::handler(Request) -> Response;`, or
/// `stream` for a method that answers a stream.
macro_rules! services {
    ($($service:ident { $($kind:ident $name:ident = $module:ident::$handler:ident($request:ident) -> $response:ident;)* })*) => {
        /// Every service of the contract, by its full name.
        pub const SERVICES: &[&str] = &[$(concat!("bookd.v1.", stringify!($service))),*];

        /// Kind, service, name, request and response of each method.
        #[cfg(test)]
        const METHODS: &[[&str; 5]] = &[$($(
            [
                stringify!($kind),
                stringify!($service),
                stringify!($name),
                stringify!($request),
                stringify!($response),
            ],
        )*)*];

        /// Answers a call, by `otherwise` where the contract has no method of its path.
        pub(super) fn answer<B>(
            api: &Arc<Api>,
            request: http::Request<B>,
            otherwise: impl FnOnce(http::Request<B>) -> Answering,
        ) -> Answering
        where
            B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        {
            match request.uri().path() {
                $($(
                    concat!("/bookd.v1.", stringify!($service), "/", stringify!($name)) => {
                        static WANTED: LazyLock<MethodScopes> = LazyLock::new(|| {
                            let path = concat!("/bookd.v1.", stringify!($service), "/", stringify!($name));
                            MethodScopes::of(path).expect("the table has only methods of the contract")
                        });
                        let admitted = match admit(api, (stringify!($name), *WANTED), &request) {
                            Ok(admitted) => admitted,
                            Err(refused) => return refused,
                        };
                        let api = Arc::clone(api);
                        let handle = move |call: Call<pb::$request>| -> Handling<_> {
                            let api = Arc::clone(&api);
                            Box::pin(async move { $module::$handler(&api, call).await })
                        };
                        $kind::<_, _, pb::$response, _>(admitted, handle, request)
                    }
                )*)*
                _ => otherwise(request),
            }
        }
    };
}

services! {
    AccessService {
        unary GetPrincipal = access::get_principal(GetPrincipalRequest) -> GetPrincipalResponse;
        unary CreateToken = tokens::create_token(CreateTokenRequest) -> CreateTokenResponse;
        unary ListTokens = tokens::list_tokens(ListTokensRequest) -> ListTokensResponse;
        unary RevokeToken = tokens::revoke_token(RevokeTokenRequest) -> RevokeTokenResponse;
    }
    CalendarService {
        unary CreateCalendar = calendars::create_calendar(CreateCalendarRequest) -> CreateCalendarResponse;
        unary GetCalendar = calendars::get_calendar(GetCalendarRequest) -> GetCalendarResponse;
        unary UpdateCalendar = calendars::update_calendar(UpdateCalendarRequest) -> UpdateCalendarResponse;
        unary DeleteCalendar = calendars::delete_calendar(DeleteCalendarRequest) -> DeleteCalendarResponse;
        unary ListCalendars = calendars::list_calendars(ListCalendarsRequest) -> ListCalendarsResponse;
        unary PutAppointmentType = calendars::put_appointment_type(PutAppointmentTypeRequest) -> PutAppointmentTypeResponse;
        unary GetAppointmentType = calendars::get_appointment_type(GetAppointmentTypeRequest) -> GetAppointmentTypeResponse;
        unary DeleteAppointmentType = calendars::delete_appointment_type(DeleteAppointmentTypeRequest) -> DeleteAppointmentTypeResponse;
        unary ListAppointmentTypes = calendars::list_appointment_types(ListAppointmentTypesRequest) -> ListAppointmentTypesResponse;
    }
    AvailabilityService {
        unary SetAvailability = availability::set_availability(SetAvailabilityRequest) -> SetAvailabilityResponse;
        unary GetAvailability = availability::get_availability(GetAvailabilityRequest) -> GetAvailabilityResponse;
        unary PutOverrides = availability::put_overrides(PutOverridesRequest) -> PutOverridesResponse;
        unary DeleteOverrides = availability::delete_overrides(DeleteOverridesRequest) -> DeleteOverridesResponse;
        unary PutBusy = availability::put_busy(PutBusyRequest) -> PutBusyResponse;
        unary ListBusy = availability::list_busy(ListBusyRequest) -> ListBusyResponse;
    }
    SlotsService {
        unary ListSlots = slots::list_slots(ListSlotsRequest) -> ListSlotsResponse;
        unary ExplainSlot = slots::explain_slot(ExplainSlotRequest) -> ExplainSlotResponse;
        unary QueryFreeBusy = free_busy::query_free_busy(QueryFreeBusyRequest) -> QueryFreeBusyResponse;
        stream WatchSlots = watch_slots::watch_slots(WatchSlotsRequest) -> WatchSlotsResponse;
    }
    BookingService {
        unary BookAppointment = booking::book_appointment(BookAppointmentRequest) -> BookAppointmentResponse;
        unary HoldAppointment = booking::hold_appointment(HoldAppointmentRequest) -> HoldAppointmentResponse;
        unary ExtendHold = booking::extend_hold(ExtendHoldRequest) -> ExtendHoldResponse;
        unary ReleaseHold = booking::release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        unary ConfirmAppointment = booking::confirm_appointment(ConfirmAppointmentRequest) -> ConfirmAppointmentResponse;
        unary ApproveAppointment = booking::approve_appointment(ApproveAppointmentRequest) -> ApproveAppointmentResponse;
        unary DeclineAppointment = booking::decline_appointment(DeclineAppointmentRequest) -> DeclineAppointmentResponse;
        unary RescheduleAppointment = booking::reschedule_appointment(RescheduleAppointmentRequest) -> RescheduleAppointmentResponse;
        unary CancelAppointment = booking::cancel_appointment(CancelAppointmentRequest) -> CancelAppointmentResponse;
        unary UpdateAppointment = booking::update_appointment(UpdateAppointmentRequest) -> UpdateAppointmentResponse;
        unary MarkNoShow = booking::mark_no_show(MarkNoShowRequest) -> MarkNoShowResponse;
        unary CompleteAppointment = booking::complete_appointment(CompleteAppointmentRequest) -> CompleteAppointmentResponse;
        unary BookSeries = series::book_series(BookSeriesRequest) -> BookSeriesResponse;
        unary CancelSeries = series::cancel_series(CancelSeriesRequest) -> CancelSeriesResponse;
        unary BatchBook = booking::batch_book(BatchBookRequest) -> BatchBookResponse;
        unary RedactInvitee = booking::redact_invitee(RedactInviteeRequest) -> RedactInviteeResponse;
    }
    ListService {
        unary GetAppointment = lists::get_appointment(GetAppointmentRequest) -> GetAppointmentResponse;
        unary ListAppointments = lists::list_appointments(ListAppointmentsRequest) -> ListAppointmentsResponse;
        unary ListChanges = lists::list_changes(ListChangesRequest) -> ListChangesResponse;
        unary ListZoneDrift = zone_drift::list_zone_drift(ListZoneDriftRequest) -> ListZoneDriftResponse;
        stream WatchAppointments = watch::watch_appointments(WatchAppointmentsRequest) -> WatchAppointmentsResponse;
    }
    ServerInfoService {
        unary GetServerInfo = server_info::get_server_info(GetServerInfoRequest) -> GetServerInfoResponse;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn the_table_has_every_method_of_the_contract_with_its_messages_and_kind() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
            .expect("the descriptors were made by this build");
        let services = files.file.iter().flat_map(|it| &it.service);
        let methods = services.flat_map(|service| {
            service.method.iter().map(|method| {
                let kind = if method.server_streaming() {
                    "stream"
                } else {
                    "unary"
                };
                let [request, response] = [method.input_type(), method.output_type()]
                    .map(|it| it.trim_start_matches(".bookd.v1."));
                assert!(!method.client_streaming());
                [kind, service.name(), method.name(), request, response]
            })
        });
        let table: BTreeSet<_> = METHODS.iter().copied().collect();
        assert_eq!(table, methods.collect());
    }
}
