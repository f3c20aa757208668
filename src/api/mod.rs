//! The gRPC API: handlers that parse a request, call the engine and render the answer.
//!
//! Every handler reads all fields before it asks the engine, and `convert/status` alone decides
//! what an error looks like.

pub mod context;
pub mod convert;
pub mod services;
pub mod stack;
mod stream;

use bookd_transport::grpc::REQUEST_BYTES_MAX;
use tonic::service::{Routes, RoutesBuilder};

use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::availability_service_server::AvailabilityServiceServer;
use crate::proto::v1::booking_service_server::BookingServiceServer;
use crate::proto::v1::calendar_service_server::CalendarServiceServer;
use crate::proto::v1::list_service_server::ListServiceServer;
use crate::proto::v1::server_info_service_server::ServerInfoServiceServer;
use crate::proto::v1::slots_service_server::SlotsServiceServer;

use context::Api;
use services::Services;

/// `ErrorInfo.domain` of every error.
pub use convert::status::ERROR_DOMAIN;
/// Sets the health of each service of `SERVICES`, and of all of them by the empty name.
pub use tonic_health::server::HealthReporter;

/// Every service of the contract, by its full name.
pub const SERVICES: [&str; 6] = [
    "bookd.v1.CalendarService",
    "bookd.v1.AvailabilityService",
    "bookd.v1.SlotsService",
    "bookd.v1.BookingService",
    "bookd.v1.ListService",
    "bookd.v1.ServerInfoService",
];

/// All services, with health and reflection; and the reporter of their health.
pub async fn routes(
    api: &Api,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health
            .set_service_status(service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = services(api);
    routes
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((routes.routes(), health))
}

/// The services of the contract, without health and reflection.
pub fn services(api: &Api) -> RoutesBuilder {
    let services = Services(api.clone());
    let mut routes = Routes::builder();
    routes
        .add_service(
            CalendarServiceServer::new(services.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            AvailabilityServiceServer::new(services.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            SlotsServiceServer::new(services.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            BookingServiceServer::new(services.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            ListServiceServer::new(services.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            ServerInfoServiceServer::new(services).max_decoding_message_size(REQUEST_BYTES_MAX),
        );
    routes
}
